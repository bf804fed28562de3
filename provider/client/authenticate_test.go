package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

const (
	issuer        = "https://id.test/realms/demo"
	tokenEndpoint = issuer + "/protocol/openid-connect/token"
	jwtBearer     = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

var (
	now       = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	secretKey = []byte("a key of thirty-two bytes length")
	auth      = client.Authenticator{SecretKey: secretKey, TokenEndpoint: tokenEndpoint, Issuer: issuer, Now: func() time.Time { return now }}
)

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *oidc.Error
	if code == "" {
		if err != nil {
			t.Errorf("got %v", err)
		}
		return
	}
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestParseCredentials(t *testing.T) {
	tests := []struct {
		name          string
		authorization []string
		form          url.Values
		want          client.Credentials
		code          string
	}{
		{"basic", []string{basic("web", "s3cret")}, nil, client.Credentials{ClientID: "web", Secret: "s3cret", Method: "client_secret_basic"}, ""},
		{"basic, form-urlencoded", []string{basic("https%3A%2F%2Frp.test", "a%25b+c%3A")}, nil, client.Credentials{ClientID: "https://rp.test", Secret: "a%b c:", Method: "client_secret_basic"}, ""},
		{"basic with the same client_id", []string{basic("web", "s")}, url.Values{"client_id": {"web"}}, client.Credentials{ClientID: "web", Secret: "s", Method: "client_secret_basic"}, ""},
		{"basic without a password", []string{basic("spa", "")}, nil, client.Credentials{ClientID: "spa", Method: "none"}, ""},
		{"post", nil, url.Values{"client_id": {"web"}, "client_secret": {"s"}}, client.Credentials{ClientID: "web", Secret: "s", Method: "client_secret_post"}, ""},
		{"none", nil, url.Values{"client_id": {"spa"}}, client.Credentials{ClientID: "spa", Method: "none"}, ""},
		{"an empty secret is none", nil, url.Values{"client_id": {"spa"}, "client_secret": {""}}, client.Credentials{ClientID: "spa", Method: "none"}, ""},
		{"a bearer token is no credential", []string{"Bearer x"}, url.Values{"client_id": {"spa"}}, client.Credentials{ClientID: "spa", Method: "none"}, ""},

		{"nothing", nil, nil, client.Credentials{}, "invalid_client"},
		{"secret without id", nil, url.Values{"client_secret": {"s"}}, client.Credentials{}, "invalid_client"},
		{"basic with another client_id", []string{basic("web", "s")}, url.Values{"client_id": {"web2"}}, client.Credentials{}, "invalid_request"},
		{"basic and post", []string{basic("web", "s")}, url.Values{"client_secret": {"s"}}, client.Credentials{}, "invalid_request"},
		{"basic and assertion", []string{basic("web", "s")}, url.Values{"client_assertion": {"x"}}, client.Credentials{}, "invalid_request"},
		{"post and assertion", nil, url.Values{"client_id": {"web"}, "client_secret": {"s"}, "client_assertion_type": {jwtBearer}}, client.Credentials{}, "invalid_request"},
		{"basic that is no base64", []string{"Basic !!"}, nil, client.Credentials{}, "invalid_client"},
		{"basic with a bad escape", []string{basic("web", "100%zz")}, nil, client.Credentials{}, "invalid_client"},
		{"basic without a name", []string{basic("", "s")}, nil, client.Credentials{}, "invalid_client"},
		{"two headers", []string{basic("web", "s"), basic("web2", "s")}, nil, client.Credentials{}, "invalid_client"},
		{"assertion of another type", nil, url.Values{"client_assertion": {"x"}, "client_assertion_type": {"saml"}}, client.Credentials{}, "invalid_client"},
		{"assertion that is none", nil, url.Values{"client_assertion": {"a.b.c"}, "client_assertion_type": {jwtBearer}}, client.Credentials{}, "invalid_client"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/token", nil)
			r.Header["Authorization"] = tt.authorization
			got, err := client.ParseCredentials(r, tt.form)
			wantCode(t, err, tt.code)
			if err == nil && got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestVerifySecret(t *testing.T) {
	confidential := func(change func(*client.Client)) *client.Client {
		c := &client.Client{ClientID: "web", Enabled: true, SecretHash: client.HashSecret(secretKey, "s3cret")}
		if change != nil {
			change(c)
		}
		return c
	}
	public := &client.Client{ClientID: "web", Enabled: true, Public: true}
	cred := func(method, secret string) client.Credentials {
		return client.Credentials{ClientID: "web", Secret: secret, Method: method}
	}
	for _, tt := range []struct {
		name string
		c    *client.Client
		cred client.Credentials
		ok   bool
	}{
		{"basic", confidential(nil), cred("client_secret_basic", "s3cret"), true},
		{"post", confidential(nil), cred("client_secret_post", "s3cret"), true},
		{"public", public, cred("none", ""), true},
		{"wrong secret", confidential(nil), cred("client_secret_basic", "s3creT"), false},
		{"no secret", confidential(nil), cred("none", ""), false},
		{"an empty secret", confidential(nil), cred("client_secret_post", ""), false},
		{"unknown client", nil, cred("client_secret_basic", "s3cret"), false},
		{"O39 disabled", confidential(func(c *client.Client) { c.Enabled = false }), cred("client_secret_basic", "s3cret"), false},
		{"client without a secret", &client.Client{ClientID: "web", Enabled: true}, cred("client_secret_basic", "s3cret"), false},
		{"another client's record", confidential(func(c *client.Client) { c.ClientID = "web2" }), cred("client_secret_basic", "s3cret"), false},
		{"restricted to post, basic", confidential(func(c *client.Client) { c.AuthMethod = "client_secret_post" }), cred("client_secret_basic", "s3cret"), false},
		{"restricted to post, post", confidential(func(c *client.Client) { c.AuthMethod = "client_secret_post" }), cred("client_secret_post", "s3cret"), true},
		{"restricted to keys", confidential(func(c *client.Client) { c.AuthMethod = "private_key_jwt" }), cred("client_secret_basic", "s3cret"), false},
		{"confidential with method none", confidential(func(c *client.Client) { c.AuthMethod = "none" }), cred("none", ""), false},
		{"a public client with a secret", public, cred("client_secret_post", "x"), false},
	} {
		err := auth.Verify(tt.c, tt.cred)
		if tt.ok {
			wantCode(t, err, "")
			continue
		}
		if wantCode(t, err, "invalid_client"); err != nil && err.Error() != auth.Verify(nil, cred("none", "")).Error() {
			t.Errorf("%s: answers %v, which tells more than the others", tt.name, err)
		}
	}
}

// assertionClaims of a good assertion.
func assertionClaims() map[string]any {
	return map[string]any{"iss": "web", "sub": "web", "aud": issuer, "jti": "j1", "exp": now.Add(time.Minute).Unix(), "iat": now.Unix()}
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, claims any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestVerifyAssertion(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	evil, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	set := &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: ec.Public(), KeyID: "ec", Algorithm: "ES256", Use: "sig"},
		{Key: rsaKey.Public(), KeyID: "rsa"},
	}}
	web := &client.Client{ClientID: "web", Enabled: true, AuthMethod: "private_key_jwt", JWKS: set}
	alone := &client.Client{ClientID: "web", Enabled: true, AuthMethod: "private_key_jwt", JWKS: &jose.JSONWebKeySet{Keys: set.Keys[:1]}}
	kid := map[jose.HeaderKey]any{"kid": "ec"}
	claims := func(name string, value any) map[string]any {
		c := assertionClaims()
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	good := sign(t, jose.ES256, ec, kid, assertionClaims())
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."

	for _, tt := range []struct {
		name      string
		c         *client.Client
		assertion string
		ok        bool
	}{
		{"ES256", web, good, true},
		{"RS256", web, sign(t, jose.RS256, rsaKey, map[jose.HeaderKey]any{"kid": "rsa"}, assertionClaims()), true},
		{"aud is the token endpoint", web, sign(t, jose.ES256, ec, kid, claims("aud", []string{tokenEndpoint})), true},
		{"no kid, one key", alone, sign(t, jose.ES256, ec, nil, assertionClaims()), true},
		{"no kid, two keys", web, sign(t, jose.ES256, ec, nil, assertionClaims()), false},
		{"no keys", &client.Client{ClientID: "web", Enabled: true, AuthMethod: "private_key_jwt"}, good, false},
		{"not registered for keys", &client.Client{ClientID: "web", Enabled: true, JWKS: set}, good, false},
		{"foreign key", web, sign(t, jose.ES256, evil, kid, assertionClaims()), false},
		{"foreign key in the header", web, sign(t, jose.ES256, evil, map[jose.HeaderKey]any{"kid": "ec", "jwk": jose.JSONWebKey{Key: evil.Public()}}, assertionClaims()), false},
		{"strange kid", web, sign(t, jose.ES256, ec, map[jose.HeaderKey]any{"kid": "../../etc/passwd"}, assertionClaims()), false},
		{"unknown crit", web, sign(t, jose.ES256, ec, map[jose.HeaderKey]any{"kid": "ec", "crit": []string{"x"}, "x": 1}, assertionClaims()), false},
		{"HS256 keyed with the public key", web, sign(t, jose.HS256, rsaPEM, map[jose.HeaderKey]any{"kid": "rsa"}, assertionClaims()), false},
		{"alg none", web, none, false},
		{"no signature", web, parts[0] + "." + parts[1] + ".", false},
		{"alg other than the key's", web, sign(t, jose.PS256, rsaKey, map[jose.HeaderKey]any{"kid": "ec"}, assertionClaims()), false},
		{"iss of another", web, sign(t, jose.ES256, ec, kid, claims("iss", "web2")), false},
		{"sub of another", web, sign(t, jose.ES256, ec, kid, claims("sub", "web2")), false},
		{"no jti", web, sign(t, jose.ES256, ec, kid, claims("jti", nil)), false},
		{"endless jti", web, sign(t, jose.ES256, ec, kid, claims("jti", strings.Repeat("j", 600))), false},
		{"no exp", web, sign(t, jose.ES256, ec, kid, claims("exp", nil)), false},
		{"exp past", web, sign(t, jose.ES256, ec, kid, claims("exp", now.Add(-time.Minute).Unix())), false},
		{"exp too far ahead", web, sign(t, jose.ES256, ec, kid, claims("exp", now.Add(11*time.Minute).Unix())), false},
		{"nbf ahead", web, sign(t, jose.ES256, ec, kid, claims("nbf", now.Add(time.Minute).Unix())), false},
		{"iat ahead", web, sign(t, jose.ES256, ec, kid, claims("iat", now.Add(time.Minute).Unix())), false},
		{"no aud", web, sign(t, jose.ES256, ec, kid, claims("aud", nil)), false},
		{"aud of another server", web, sign(t, jose.ES256, ec, kid, claims("aud", "https://other.test")), false},
		{"aud of another server too", web, sign(t, jose.ES256, ec, kid, claims("aud", []string{issuer, "https://other.test"})), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := "invalid_client"
			if tt.ok {
				code = ""
			}
			wantCode(t, auth.Verify(tt.c, client.Credentials{ClientID: "web", Assertion: tt.assertion, Method: "private_key_jwt"}), code)
		})
	}

	t.Run("parsed from a form", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/token", nil)
		form := url.Values{"client_assertion": {good}, "client_assertion_type": {jwtBearer}}
		cred, err := client.ParseCredentials(r, form)
		if err != nil || cred.ClientID != "web" {
			t.Fatalf("got %q, %v", cred.ClientID, err)
		}
		wantCode(t, auth.Verify(web, cred), "")
		form.Set("client_id", "web2")
		_, err = client.ParseCredentials(r, form)
		wantCode(t, err, "invalid_client")
	})
}

// An assertion works once, also after its exp with the leeway that Verify gives.
func TestRememberAssertion(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	at := now
	store := storagetest.New(t, func() time.Time { return at })
	remember := func(jti string) error {
		c := assertionClaims()
		c["jti"] = jti
		cred := client.Credentials{ClientID: "web", Assertion: sign(t, jose.ES256, key, nil, c), Method: "private_key_jwt"}
		return store.Update(t.Context(), func(tx storage.Tx) error { return client.RememberAssertion(tx, "demo", cred) })
	}
	wantCode(t, remember("j1"), "")
	wantCode(t, remember("j1"), "invalid_client")
	wantCode(t, remember("j2"), "")
	at = now.Add(89 * time.Second)
	wantCode(t, remember("j1"), "invalid_client")

	before := store.Stats().Views.Load()
	if err := client.RememberAssertion(nil, "demo", client.Credentials{ClientID: "web", Secret: "s", Method: "client_secret_basic"}); err != nil || store.Stats().Views.Load() != before {
		t.Errorf("a secret was remembered: %v", err)
	}
}
