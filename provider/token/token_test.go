package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

const issuer = "http://localhost:8080/realms/demo"

var (
	issued = time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)
	login  = time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)
)

func newRing(t testing.TB) *keys.Ring {
	t.Helper()
	keyset, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.Open(context.Background(), keys.Config{
		Store: storagetest.New(t, nil), Sealer: keyset, Realm: "demo", Now: func() time.Time { return issued },
	})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func access() token.Access {
	return token.Access{
		Issuer: issuer, Subject: "u1", ClientID: "portal", Audience: []string{"portal"}, Session: "s1", OfflineSession: "o1",
		Scope: "openid offline_access", JTI: "j1", IssuedAt: issued, ExpiresAt: issued.Add(5 * time.Minute).Truncate(time.Second), AuthTime: login,
		Claims: map[string]any{"preferred_username": "alice", "realm_access": map[string]any{"roles": []any{"offline_access"}}},
	}
}

func id() token.ID {
	return token.ID{
		Issuer: issuer, Subject: "u1", ClientID: "portal", Session: "s1", Nonce: "n1", ACR: "1", AtHash: "h1", AuthTime: login,
		JTI: "j2", IssuedAt: issued.Truncate(time.Second), ExpiresAt: issued.Add(5 * time.Minute).Truncate(time.Second),
		Claims: map[string]any{"preferred_username": "alice"},
	}
}

func refresh() token.Refresh {
	return token.Refresh{
		ID: "o1", Generation: 3, Offline: true, Issuer: issuer, ClientID: "portal", Subject: "u1", Session: "s1",
		Scope: "openid offline_access", JTI: "j3", IssuedAt: issued,
	}
}

type signer interface {
	Sign(*keys.Ring, string) (string, error)
}

func sign(t testing.TB, ring *keys.Ring, s signer) string {
	t.Helper()
	raw, err := s.Sign(ring, keys.ES256)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func signRefresh(t testing.TB, ring *keys.Ring, r token.Refresh) string {
	t.Helper()
	raw, err := r.Sign(ring)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// claims reads a token as any client could.
func claims(t testing.TB, raw string) (header jose.Header, body map[string]any) {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256, jose.HS512})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(parsed.UnsafePayloadWithoutVerification(), &body); err != nil {
		t.Fatal(err)
	}
	return parsed.Signatures[0].Protected, body
}

func TestAccess(t *testing.T) {
	ring := newRing(t)
	raw := sign(t, ring, access())
	header, got := claims(t, raw)
	if header.ExtraHeaders[jose.HeaderType] != "at+jwt" {
		t.Errorf("typ of the header is %v, want at+jwt (RFC 9068 §2.1)", header.ExtraHeaders[jose.HeaderType])
	}
	want := map[string]any{
		"typ": "Bearer", "iss": issuer, "sub": "u1", "aud": "portal", "azp": "portal", "client_id": "portal", "sid": "s1",
		"offline_session": "o1", "scope": "openid offline_access", "jti": "j1", "auth_time": float64(login.Unix()),
		"iat": float64(issued.Unix()), "iat_ms": float64(issued.UnixMilli()), "exp": float64(issued.Unix() + 300),
		"preferred_username": "alice", "realm_access": map[string]any{"roles": []any{"offline_access"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	opened, err := token.OpenAccess(ring, issuer, raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(access(), opened); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}

	two := access()
	two.Audience, two.OfflineSession, two.ClientSession, two.AuthTime = []string{"https://a", "https://b"}, "", "c1", time.Time{}
	raw = sign(t, ring, two)
	if opened, err = token.OpenAccess(ring, issuer, raw); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(two, opened); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
}

func TestID(t *testing.T) {
	ring := newRing(t)
	raw := sign(t, ring, id())
	_, got := claims(t, raw)
	want := map[string]any{
		"typ": "ID", "iss": issuer, "sub": "u1", "aud": "portal", "azp": "portal", "sid": "s1", "nonce": "n1", "acr": "1", "at_hash": "h1",
		"auth_time": float64(login.Unix()), "jti": "j2", "iat": float64(issued.Unix()), "exp": float64(issued.Unix() + 300),
		"preferred_username": "alice",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	opened, err := token.OpenIDHint(ring, issuer, raw)
	if err != nil {
		t.Fatal(err)
	}
	if opened.Subject != "u1" || opened.ClientID != "portal" || opened.Session != "s1" || !opened.AuthTime.Equal(login) {
		t.Errorf("opened %+v", opened)
	}
	// O05: none at a refresh.
	at := id()
	at.Nonce = ""
	if _, got := claims(t, sign(t, ring, at)); got["nonce"] != nil {
		t.Errorf("nonce is %v", got["nonce"])
	}
}

func TestO02_OfflineToken(t *testing.T) {
	ring := newRing(t)
	raw := signRefresh(t, ring, refresh())
	header, got := claims(t, raw)
	if header.Algorithm != keys.HS512 || header.ExtraHeaders[jose.HeaderType] != "JWT" {
		t.Errorf("header is %+v", header)
	}
	want := map[string]any{
		"typ": "Offline", "iss": issuer, "aud": issuer, "azp": "portal", "sub": "u1", "sid": "s1", "offline_session": "o1", "gen": 3.0,
		"scope": "openid offline_access", "jti": "j3", "iat": float64(issued.Unix()), "iat_ms": float64(issued.UnixMilli()),
	}
	if diff := cmp.Diff(want, got); diff != "" { // above all: no exp
		t.Errorf("claims (-want +got):\n%s", diff)
	}

	limited, online := refresh(), refresh()
	limited.ExpiresAt = issued.Add(time.Hour).Truncate(time.Second)
	online.Offline, online.ExpiresAt = false, limited.ExpiresAt
	for _, r := range []token.Refresh{refresh(), limited, online} {
		raw := signRefresh(t, ring, r)
		if raw != signRefresh(t, ring, r) {
			t.Error("the same fields gave other bytes (O55)")
		}
		opened, err := token.OpenRefresh(ring, issuer, raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, opened); diff != "" {
			t.Errorf("opened (-want +got):\n%s", diff)
		}
	}
	if _, got := claims(t, signRefresh(t, ring, online)); got["typ"] != "Refresh" || got["client_session"] != "o1" || got["offline_session"] != nil {
		t.Errorf("claims of an online refresh token: %v", got)
	}
}

// A token of one kind, realm or issuer never opens as another (O41).
func TestO41_KindsAreNotMixed(t *testing.T) {
	ring, other := newRing(t), newRing(t)
	foreign := access()
	foreign.Issuer = "http://localhost:8080/realms/other"
	foreignID := id()
	foreignID.Issuer = foreign.Issuer
	foreignRefresh := refresh()
	foreignRefresh.Issuer = foreign.Issuer
	plain, err := ring.Sign(keys.ES256, keys.TypJWT, []byte(`{"typ":"Bearer","iss":"`+issuer+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	pointless := refresh()
	pointless.ID = ""
	tokens := map[string]string{
		"an access token":                   sign(t, ring, access()),
		"an ID token":                       sign(t, ring, id()),
		"an offline token":                  signRefresh(t, ring, refresh()),
		"an access token of another issuer": sign(t, ring, foreign),
		"an ID token of another issuer":     sign(t, ring, foreignID),
		"a refresh token of another issuer": signRefresh(t, ring, foreignRefresh),
		"an access token of other keys":     sign(t, other, access()),
		"an ID token of other keys":         sign(t, other, id()),
		"an offline token of other keys":    signRefresh(t, other, refresh()),
		"an access token without at+jwt":    plain,
		"a refresh token to nothing":        signRefresh(t, ring, pointless),
		"garbage":                           "garbage",
		"nothing":                           "",
	}
	open := map[string]func(string) error{
		"an access token":  func(raw string) error { _, err := token.OpenAccess(ring, issuer, raw); return err },
		"an ID token":      func(raw string) error { _, err := token.OpenIDHint(ring, issuer, raw); return err },
		"an offline token": func(raw string) error { _, err := token.OpenRefresh(ring, issuer, raw); return err },
	}
	for as, open := range open {
		for what, raw := range tokens {
			err := open(raw)
			switch {
			case what == as && err != nil:
				t.Errorf("%s: %v", what, err)
			case what != as && !errors.Is(err, keys.ErrInvalid) && !errors.Is(err, token.ErrWrongKind):
				t.Errorf("%s opened as %s: %v", what, as, err)
			}
		}
	}
}

// Whatever an attribute of a user is called, it stands for no claim of ours.
func TestUserClaimsReplaceNothing(t *testing.T) {
	ring := newRing(t)
	evil := map[string]any{}
	for _, name := range []string{"typ", "iss", "sub", "aud", "azp", "client_id", "sid", "SID", "offline_session", "client_session", "scope", "jti", "iat", "iat_ms", "exp", "nbf", "auth_time", "nonce", "at_hash", "acr"} {
		evil[name] = "evil"
	}
	a := token.Access{Issuer: issuer, Subject: "u1", ClientID: "portal", Audience: []string{"portal"}, IssuedAt: issued, ExpiresAt: issued, Claims: evil}
	i := token.ID{Issuer: issuer, Subject: "u1", ClientID: "portal", IssuedAt: issued, ExpiresAt: issued, Claims: evil}
	for _, s := range []signer{a, i} {
		if _, got := claims(t, sign(t, ring, s)); strings.Contains(strings.ToLower(cmp.Diff(nil, got)), "evil") {
			t.Errorf("claims of %T: %v", s, got)
		}
	}
	if evil["sid"] != "evil" {
		t.Error("signing changed the claims that it was given")
	}
}

func TestAtHash(t *testing.T) {
	// OpenID Connect Core Appendix A.3.
	got, err := token.AtHash(keys.RS256, "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y")
	if err != nil || got != "77QmUPtjPfzWtF2AnpK9RQ" {
		t.Errorf("AtHash = %q, %v", got, err)
	}
	if got, err := token.AtHash(keys.EdDSA, "x"); err != nil || len(got) != 43 {
		t.Errorf("AtHash for EdDSA = %q, %v: want half of SHA-512", got, err)
	}
	if _, err := token.AtHash("none", "x"); err == nil {
		t.Error("AtHash knows none")
	}
}

// FuzzOpen: what a client sends is refused or opened, and nothing else happens.
func FuzzOpen(f *testing.F) {
	ring := newRing(f)
	f.Add(sign(f, ring, access()))
	f.Add(sign(f, ring, id()))
	f.Add(signRefresh(f, ring, refresh()))
	for _, raw := range []string{"", ".", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "{}"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		_, err := token.OpenAccess(ring, issuer, raw)
		_, errID := token.OpenIDHint(ring, issuer, raw)
		_, errRefresh := token.OpenRefresh(ring, issuer, raw)
		opened := 0
		for _, err := range []error{err, errID, errRefresh} {
			switch {
			case err == nil:
				opened++
			case !errors.Is(err, keys.ErrInvalid) && !errors.Is(err, token.ErrWrongKind):
				t.Errorf("error is neither of ours: %v", err)
			}
		}
		if opened > 1 {
			t.Errorf("%q opened as %d kinds", raw, opened)
		}
	})
}

// FuzzPayload: even under our own signature no payload opens as two kinds.
func FuzzPayload(f *testing.F) {
	ring := newRing(f)
	for _, raw := range []string{
		``, `{}`, `null`, `[]`, `{"typ":"Offline","iss":"` + issuer + `","offline_session":"o","gen":-1}`,
		`{"typ":"Bearer","iss":"` + issuer + `","aud":{}}`, `{"typ":"ID","exp":1e400}`, `{"typ":"Refresh","iat":9223372036854775807}`,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		signed, err := ring.Sign(keys.ES256, keys.TypAccess, payload)
		if err != nil {
			t.Fatal(err)
		}
		symmetric, err := ring.SignHMAC(payload)
		if err != nil {
			t.Fatal(err)
		}
		_, err = token.OpenAccess(ring, issuer, signed)
		_, errID := token.OpenIDHint(ring, issuer, signed)
		if err == nil && errID == nil {
			t.Errorf("%q is an access token and an ID token", payload)
		}
		_, _ = token.OpenRefresh(ring, issuer, symmetric)
	})
}
