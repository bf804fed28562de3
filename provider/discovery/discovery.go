package discovery

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"maps"
	"net/http"
	"slices"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// Handler serves the documents. Every field is needed.
type Handler struct {
	Store *storage.Store
	Realm string
	Ring  *keys.Ring
	// GrantTypes of the token endpoint.
	GrantTypes []string
	Log        *slog.Logger
}

// anyone may read the documents, from any origin: they hold no user's data.
var anyone = []string{"*"}

// configuration is the metadata of OpenID Connect Discovery §3 and RFC 8414 §2.
// One document serves both: what one does not know it ignores.
type configuration struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
	UserInfoEndpoint      string `json:"userinfo_endpoint"`
	EndSessionEndpoint    string `json:"end_session_endpoint"`
	DeviceEndpoint        string `json:"device_authorization_endpoint"` // RFC 8628 §4
	JWKSURI               string `json:"jwks_uri"`

	GrantTypes        []string `json:"grant_types_supported"`
	ResponseTypes     []string `json:"response_types_supported"`
	ResponseModes     []string `json:"response_modes_supported"`
	SubjectTypes      []string `json:"subject_types_supported"`
	Scopes            []string `json:"scopes_supported"`
	Claims            []string `json:"claims_supported"`
	ClaimTypes        []string `json:"claim_types_supported"`
	Prompts           []string `json:"prompt_values_supported"`
	ChallengeMethods  []string `json:"code_challenge_methods_supported"`
	IDTokenAlgorithms []string `json:"id_token_signing_alg_values_supported"`

	TokenAuthMethods            []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgorithms         []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthMethods    []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthAlgorithms []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgorithms    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`

	DetailTypes []string `json:"authorization_details_types_supported"`          // RFC 9396 §10
	ResponseIss bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	// What is not there is said: the default of request_uri is true.
	ClaimsParameter     bool `json:"claims_parameter_supported"`
	RequestParameter    bool `json:"request_parameter_supported"`
	RequestURIParameter bool `json:"request_uri_parameter_supported"`

	// RefreshIdempotency: the token endpoint knows the Idempotency-Key of a
	// refresh request (docs/idempotent-refresh.md).
	RefreshIdempotency bool `json:"nightlatch_refresh_idempotency"`
	// CodeIdempotency: and that of a request with a code.
	CodeIdempotency bool `json:"nightlatch_code_idempotency"`
}

// Configuration serves …/.well-known/openid-configuration and RFC 8414's form.
func (h *Handler) Configuration(w http.ResponseWriter, r *http.Request) {
	var s realm.Settings
	var set map[string]*client.Scope
	ok := h.open(w, r, func(tx storage.Tx) error {
		var err error
		if s, err = realm.Get(tx, h.Realm); err != nil {
			return err
		}
		set, err = client.ScopeSet(tx, h.Realm)
		return err
	})
	if !ok {
		return
	}
	secret := []string{client.MethodBasic, client.MethodPost, client.MethodPrivateKey}
	withPublic := append([]string{client.MethodNone}, secret...)
	assertion := client.AssertionAlgorithms()
	endpoint.JSON(w, http.StatusOK, configuration{
		Issuer:                s.Issuer(),
		AuthorizationEndpoint: s.Endpoint("auth"),
		TokenEndpoint:         s.Endpoint("token"),
		IntrospectionEndpoint: s.Endpoint("token/introspect"),
		RevocationEndpoint:    s.Endpoint("revoke"),
		UserInfoEndpoint:      s.Endpoint("userinfo"),
		EndSessionEndpoint:    s.Endpoint("logout"),
		DeviceEndpoint:        s.Endpoint("auth/device"),
		JWKSURI:               s.Endpoint("certs"),

		GrantTypes:       h.GrantTypes,
		ResponseTypes:    []string{"code"},
		ResponseModes:    []string{"query", "fragment", "form_post"},
		SubjectTypes:     []string{"public"},
		Scopes:           scopes(set),
		Claims:           []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "azp", "at_hash", "sid", "preferred_username", "name", "given_name", "family_name", "email", "email_verified", "realm_access", "groups"},
		ClaimTypes:       []string{"normal"},
		Prompts:          []string{"none", "login", "consent", "select_account"},
		ChallengeMethods: []string{"S256"},

		IDTokenAlgorithms:           h.Ring.Algorithms(),
		TokenAuthMethods:            withPublic,
		TokenAuthAlgorithms:         assertion,
		IntrospectionAuthMethods:    secret,
		IntrospectionAuthAlgorithms: assertion,
		RevocationAuthMethods:       withPublic,
		RevocationAuthAlgorithms:    assertion,
		DetailTypes:                 []string{oidc.DetailOfflineJob},
		ResponseIss:                 true,
		RefreshIdempotency:          true,
		CodeIdempotency:             true,
	})
}

// scopes that a client can name, sorted but for openid.
func scopes(set map[string]*client.Scope) []string {
	out := []string{oidc.ScopeOpenID}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if set[name].InToken {
			out = append(out, name)
		}
	}
	return out
}

// Keys serves …/protocol/openid-connect/certs, from memory.
func (h *Handler) Keys(w http.ResponseWriter, r *http.Request) {
	if endpoint.CORS(w, r, anyone) || !endpoint.Method(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	endpoint.JSON(w, http.StatusOK, h.Ring.JWKS())
}

// summary of a realm as Keycloak has it. Old adapters read it.
type summary struct {
	Realm     string `json:"realm"`
	PublicKey string `json:"public_key,omitempty"` // of the realm's RS256 key: SubjectPublicKeyInfo, base64
	Token     string `json:"token-service"`
	Account   string `json:"account-service"`
	NotBefore int64  `json:"tokens-not-before"` // Unix seconds
}

// Summary serves GET /realms/{realm}.
func (h *Handler) Summary(w http.ResponseWriter, r *http.Request) {
	var s realm.Settings
	ok := h.open(w, r, func(tx storage.Tx) error {
		var err error
		s, err = realm.Get(tx, h.Realm)
		return err
	})
	if !ok {
		return
	}
	endpoint.JSON(w, http.StatusOK, summary{
		Realm: s.Name, PublicKey: h.publicKey(), Token: s.Issuer() + "/protocol/openid-connect",
		Account: s.Issuer() + "/account", NotBefore: s.NotBefore / 1000,
	})
}

func (h *Handler) publicKey() string {
	for _, k := range h.Ring.JWKS().Keys {
		if k.Algorithm != realm.DefaultSigningAlgorithm {
			continue
		}
		if der, err := x509.MarshalPKIXPublicKey(crypto.PublicKey(k.Key)); err == nil {
			return base64.StdEncoding.EncodeToString(der)
		}
	}
	return ""
}

// open does what every document begins with, and tells whether to go on.
func (h *Handler) open(w http.ResponseWriter, r *http.Request, read func(storage.Tx) error) bool {
	if endpoint.CORS(w, r, anyone) || !endpoint.Method(w, r, http.MethodGet, http.MethodHead) {
		return false
	}
	if err := h.Store.View(r.Context(), read); err != nil {
		endpoint.Error(w, r, h.Log, err)
		return false
	}
	return true
}
