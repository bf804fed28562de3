package client

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/nightlatch/nightlatch/provider/oidc"
)

// Methods of client authentication, in the names of RFC 7591 §2.
const (
	MethodBasic      = "client_secret_basic"
	MethodPost       = "client_secret_post"
	MethodPrivateKey = "private_key_jwt"
	MethodNone       = "none"
)

// assertionType is the only client_assertion_type (RFC 7523 §2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Credentials are what a request brings to authenticate its client. Nothing in
// them is proven.
type Credentials struct {
	ClientID  string
	Secret    string
	Assertion string // compact JWS of private_key_jwt
	Method    string // one of the constants above
}

// ParseCredentials reads the credentials of a request to an endpoint that
// authenticates clients. More than one method in a request is invalid_request
// (RFC 6749 §2.3), none at all is invalid_client.
func ParseCredentials(r *http.Request, form url.Values) (Credentials, error) {
	var c Credentials
	user, password, basic, err := basicAuth(r)
	if err != nil {
		return c, err
	}
	id, secret := form.Get("client_id"), form.Get("client_secret")
	assertion, kind := form.Get("client_assertion"), form.Get("client_assertion_type")
	jwtAuth := assertion != "" || kind != ""

	methods := 0
	for _, used := range []bool{basic, secret != "", jwtAuth} {
		if used {
			methods++
		}
	}
	if methods > 1 {
		return c, oidc.Errorf(oidc.CodeInvalidRequest, "more than one method of client authentication")
	}

	switch {
	case basic:
		if id != "" && id != user {
			return c, oidc.Errorf(oidc.CodeInvalidRequest, "client_id differs from the Authorization header")
		}
		c = Credentials{ClientID: user, Secret: password, Method: MethodBasic}
		if password == "" {
			// Libraries that always send the header do so for public clients too.
			c.Method = MethodNone
		}
	case jwtAuth:
		sub, err := assertionSubject(assertion, kind)
		if err != nil {
			return c, err
		}
		if id != "" && id != sub { // RFC 7521 §4.2
			return c, invalidClient
		}
		c = Credentials{ClientID: sub, Assertion: assertion, Method: MethodPrivateKey}
	case secret != "":
		c = Credentials{ClientID: id, Secret: secret, Method: MethodPost}
	default:
		c = Credentials{ClientID: id, Method: MethodNone}
	}
	if c.ClientID == "" {
		return c, invalidClient
	}
	return c, nil
}

// basicAuth reads the Authorization header. Both parts are form-urlencoded
// before they are joined (RFC 6749 §2.3.1).
func basicAuth(r *http.Request) (user, password string, ok bool, err error) {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false, nil
	}
	user, password, ok = r.BasicAuth()
	if !ok || len(r.Header.Values("Authorization")) > 1 {
		return "", "", false, invalidClient
	}
	user, errUser := url.QueryUnescape(user)
	password, errPassword := url.QueryUnescape(password)
	if errUser != nil || errPassword != nil || user == "" {
		return "", "", false, invalidClient
	}
	return user, password, true, nil
}

// assertionSubject reads the sub of an assertion that nobody has verified yet,
// to find the client whose keys verify it.
func assertionSubject(assertion, kind string) (string, error) {
	if kind != assertionType {
		return "", invalidClient
	}
	tok, err := jwt.ParseSigned(assertion, assertionAlgorithms)
	if err != nil {
		return "", invalidClient
	}
	var claims jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&claims); err != nil || claims.Subject == "" {
		return "", invalidClient
	}
	return claims.Subject, nil
}
