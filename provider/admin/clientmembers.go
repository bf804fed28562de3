package admin

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nightlatch/nightlatch/provider/client"
)

// secretMask stands for a secret that is not shown; a PUT may bring it back.
const secretMask = "**********"

// Methods of client authentication, in Keycloak's names.
const (
	bySecret = "client-secret"
	byJWT    = "client-jwt"
)

// clientMembers is Keycloak's ClientRepresentation.
var clientMembers = table[clientView]{
	"id":          shown(func(v *clientView) any { return v.ID }),
	"clientId":    line(func(v *clientView) *string { return &v.ClientID }),
	"name":        line(func(v *clientView) *string { return &v.Name }),
	"description": line(func(v *clientView) *string { return &v.Description }),
	"baseUrl":     long(func(v *clientView) *string { return &v.BaseURL }),
	"enabled":     flag(func(v *clientView) *bool { return &v.Enabled }),
	"notBefore":   notBefore(func(v *clientView) *int64 { return &v.NotBefore }),

	"publicClient": flag(func(v *clientView) *bool { return &v.Public }),
	"secret": {
		show: func(v *clientView) any {
			if len(v.SecretHash) > 0 {
				return secretMask
			}
			return nil
		},
		set: func(into, _ *clientView, v any) (err error) {
			if v == secretMask {
				return nil
			}
			if into.Secret, err = asText(v, 255); err == nil && into.Secret == "" {
				err = errors.New("must not be empty")
			}
			return err
		},
	},
	"clientAuthenticatorType": {
		show: func(v *clientView) any {
			if v.AuthMethod == client.MethodPrivateKey {
				return byJWT
			}
			return bySecret
		},
		set: func(into, _ *clientView, v any) error {
			switch v {
			case bySecret:
				into.AuthMethod = ""
			case byJWT:
				into.AuthMethod = client.MethodPrivateKey
			default:
				return errors.New("want " + bySecret + " or " + byJWT)
			}
			return nil
		},
	},

	"redirectUris":              lines(func(v *clientView) *[]string { return &v.RedirectURIs }),
	"webOrigins":                lines(func(v *clientView) *[]string { return &v.WebOrigins }),
	"standardFlowEnabled":       flag(func(v *clientView) *bool { return &v.StandardFlow }),
	"directAccessGrantsEnabled": flag(func(v *clientView) *bool { return &v.DirectAccessGrants }),
	"serviceAccountsEnabled":    flag(func(v *clientView) *bool { return &v.ServiceAccount }),
	"consentRequired":           flag(func(v *clientView) *bool { return &v.ConsentRequired }),
	"fullScopeAllowed":          flag(func(v *clientView) *bool { return &v.FullScope }),
	"defaultClientScopes":       lines(func(v *clientView) *[]string { return &v.DefaultScopes }),
	"optionalClientScopes":      lines(func(v *clientView) *[]string { return &v.OptionalScopes }),

	"access":   shown(func(*clientView) any { return object{"view": true, "configure": true, "manage": true} }),
	"declared": declaredNames(func(v *clientView) []string { return v.ReadOnly() }),
	// Whether the configuration declares it: those fields are read-only.
	"origin": shown(func(v *clientView) any {
		if len(v.ReadOnly()) > 0 {
			return "Caddyfile"
		}
		return nil
	}),

	"attributes": attributes(clientAttributes),

	"protocol":                           fixed[clientView]("openid-connect"),
	"implicitFlowEnabled":                fixed[clientView](false),
	"bearerOnly":                         fixed[clientView](false),
	"frontchannelLogout":                 fixed[clientView](false),
	"surrogateAuthRequired":              fixed[clientView](false),
	"authorizationServicesEnabled":       inert[clientView](false),
	"alwaysDisplayInConsole":             inert[clientView](false),
	"rootUrl":                            inert[clientView](""),
	"adminUrl":                           inert[clientView](""),
	"type":                               inert[clientView](""),
	"protocolMappers":                    fixed[clientView]([]any{}),
	"authenticationFlowBindingOverrides": fixed[clientView](object{}),
	"nodeReRegistrationTimeout":          inert[clientView](json.Number("-1"), json.Number("0")),
	"registeredNodes":                    inert[clientView](object{}),
}

// clientAttributes is the map of a client's attributes.
var clientAttributes = table[clientView]{
	"access.token.lifespan":               secondsText(func(v *clientView) **time.Duration { return &v.AccessTokenLifespan }),
	"client.session.idle.timeout":         secondsText(func(v *clientView) **time.Duration { return &v.ClientSessionIdle }),
	"client.session.max.lifespan":         secondsText(func(v *clientView) **time.Duration { return &v.ClientSessionMax }),
	"client.offline.session.idle.timeout": secondsText(func(v *clientView) **time.Duration { return &v.OfflineSessionIdle }),
	"client.offline.session.max.lifespan": secondsText(func(v *clientView) **time.Duration { return &v.OfflineSessionMax }),
	"revoke.refresh.token": {
		show: func(v *clientView) any {
			if v.RevokeRefreshToken == nil {
				return nil
			}
			return flagText(func(v *clientView) *bool { return v.RevokeRefreshToken }).show(v)
		},
		set: func(into, _ *clientView, v any) error {
			if v == "" {
				into.RevokeRefreshToken = nil
				return nil
			}
			into.RevokeRefreshToken = new(bool)
			return flagText(func(v *clientView) *bool { return v.RevokeRefreshToken }).set(into, nil, v)
		},
	},
	"refresh.token.max.reuse": {
		show: func(v *clientView) any {
			if v.RefreshTokenMaxReuse == nil {
				return nil
			}
			return text(*v.RefreshTokenMaxReuse)
		},
		set: func(into, _ *clientView, v any) error {
			if v == "" {
				into.RefreshTokenMaxReuse = nil
				return nil
			}
			n, err := numberText(v, 0)
			reuse := int(n)
			into.RefreshTokenMaxReuse = &reuse
			return err
		},
	},
	"pkce.code.challenge.method": {
		show: func(v *clientView) any {
			if v.RequirePKCE {
				return "S256"
			}
			return ""
		},
		set: func(into, _ *clientView, v any) error {
			if v != "" && v != "S256" {
				return errors.New(`want "S256" or ""`)
			}
			into.RequirePKCE = v == "S256"
			return nil
		},
	},
	"access.token.signed.response.alg": signedWith,
	"id.token.signed.response.alg":     signedWith,
	"post.logout.redirect.uris": {
		show: func(v *clientView) any {
			if len(v.PostLogoutRedirectURIs) == 0 {
				return nil
			}
			return strings.Join(v.PostLogoutRedirectURIs, "##")
		},
		set: func(into, _ *clientView, v any) error {
			s, err := asText(v, 64<<10)
			into.PostLogoutRedirectURIs = nil
			if s != "" {
				into.PostLogoutRedirectURIs = strings.Split(s, "##")
			}
			return err
		},
	},
	"backchannel.logout.url":                    long(func(v *clientView) *string { return &v.BackchannelLogoutURI }),
	"oauth2.device.authorization.grant.enabled": flagText(func(v *clientView) *bool { return &v.DeviceGrant }),
	// Asks consent for offline_access although consentRequired is off.
	"consent.offline.access": flagText(func(v *clientView) *bool { return &v.ConsentOffline }),
	"jwks.string": {
		show: func(v *clientView) any {
			if v.JWKS == nil {
				return nil
			}
			return text(v.JWKS)
		},
		set: func(into, _ *clientView, v any) error {
			s, err := asText(strip(v), 64<<10)
			if err != nil || s == "" {
				into.JWKS = nil
				return err
			}
			set := new(jose.JSONWebKeySet)
			if err := json.Unmarshal([]byte(s), set); err != nil || len(set.Keys) == 0 {
				return errors.New("want a JSON Web Key Set")
			}
			for _, k := range set.Keys {
				if !k.IsPublic() || !k.Valid() {
					return errors.New("want public keys alone")
				}
			}
			into.JWKS = set
			return nil
		},
	},
	"use.jwks.string": {
		show: func(v *clientView) any {
			if v.JWKS == nil {
				return nil
			}
			return "true"
		},
		set: func(into, _ *clientView, v any) error {
			if v == "true" || v == "false" && into.JWKS == nil {
				return nil
			}
			return errors.New("keys stand in jwks.string")
		},
	},

	// What has no effect here; see docs/admin.md for the ones that are always on.
	"use.refresh.tokens":                          fixed[clientView]("true"),
	"client_credentials.use_refresh_token":        inert[clientView]("false", "true"), // who asks for offline_access gets an offline token
	"use.jwks.url":                                inert[clientView]("false", ""),
	"jwks.url":                                    inert[clientView](""),
	"oidc.ciba.grant.enabled":                     inert[clientView]("false", ""),
	"tls.client.certificate.bound.access.tokens":  inert[clientView]("false", ""),
	"dpop.bound.access.tokens":                    inert[clientView]("false", ""),
	"require.pushed.authorization.requests":       inert[clientView]("false", ""),
	"client.use.lightweight.access.token.enabled": inert[clientView]("false", ""),
	"access.token.header.type.rfc9068":            inert[clientView]("true"),
	"backchannel.logout.session.required":         inert[clientView]("true", "false", ""),
	"backchannel.logout.revoke.offline.tokens":    inert[clientView]("false", ""),
	"frontchannel.logout.session.required":        inert[clientView]("true", "false", ""),
	"frontchannel.logout.url":                     inert[clientView](""),
	"display.on.consent.screen":                   inert[clientView]("false", ""),
	"consent.screen.text":                         inert[clientView](""),
	"acr.loa.map":                                 inert[clientView]("{}", ""),
	"default.acr.values":                          inert[clientView](""),
	"minimum.acr.value":                           inert[clientView](""),
	"request.uris":                                inert[clientView](""),
	"request.object.required":                     inert[clientView]("not required", ""),
	"request.object.signature.alg":                inert[clientView]("any", ""),
	"user.info.response.signature.alg":            inert[clientView](""),
	"id.token.encrypted.response.alg":             inert[clientView](""),
	"id.token.encrypted.response.enc":             inert[clientView](""),
	"id.token.as.detached.signature":              inert[clientView]("false", ""),
	"exclude.session.state.from.auth.response":    inert[clientView]("false", "true", ""),
	"token.response.type.bearer.lower-case":       inert[clientView]("false", ""),
	"realm_client":                                inert[clientView]("false", ""),
	"login_theme":                                 inert[clientView](""),
	"logoUri":                                     inert[clientView](""),
	"policyUri":                                   inert[clientView](""),
	"tosUri":                                      inert[clientView](""),
}

// long is a text that holds a URL.
func long[T any](at func(*T) *string) member[T] {
	m := line(at)
	m.set = func(into, _ *T, v any) (err error) {
		*at(into), err = asText(v, 2000)
		return err
	}
	return m
}

// strip takes the line breaks out of a text that is JSON.
func strip(v any) any {
	if s, ok := v.(string); ok {
		return strings.Map(func(r rune) rune {
			if r == '\n' || r == '\r' || r == '\t' {
				return ' '
			}
			return r
		}, s)
	}
	return v
}

// signedWith is one algorithm for ID and access tokens, "" for the realm's.
var signedWith = member[clientView]{
	show: func(v *clientView) any {
		if v.SigningAlgorithm == "" {
			return nil
		}
		return v.SigningAlgorithm
	},
	set: func(into, now *clientView, v any) error {
		alg := ""
		if v != "" {
			var err error
			if alg, err = algorithm(v); err != nil {
				return err
			}
		}
		if into.SigningAlgorithm != now.SigningAlgorithm && into.SigningAlgorithm != alg {
			return errors.New("ID and access tokens of a client are signed with the same algorithm")
		}
		into.SigningAlgorithm = alg
		return nil
	},
}
