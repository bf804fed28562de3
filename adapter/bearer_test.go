package adapter_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
)

// program asks with a token and without a cookie.
func program(t *testing.T, s *site, token, path string) page {
	t.Helper()
	return newBrowser(t).do(http.MethodGet, s.url+path, nil, "Authorization", "Bearer "+token)
}

// accessToken of alice for the site, changed.
func accessToken(s *site, header map[string]any, change map[string]any) string {
	claims := map[string]any{"aud": s.url, "scope": "openid files", "client_id": clientID, "jti": rand.Text()}
	maps.Copy(claims, change)
	if header == nil {
		header = map[string]any{"typ": "at+jwt"}
	}
	s.op.mu.Lock()
	defer s.op.mu.Unlock()
	return s.op.jwt(header, s.op.claimsOf(claims))
}

// TestBearer: an access token of the provider that is meant for this site opens
// it; nothing else does.
func TestBearer(t *testing.T) {
	s := newSite(t, func(c *adapter.Config) { c.BearerAudience = []string{"https://api.example.com"} })
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKIXPublicKey(&signingKey().PublicKey)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{"aud": s.url, "scope": "openid", "sub": "sub-alice", "iss": s.op.server.URL, "iat": s.clock.Now().Unix(), "exp": s.clock.Now().Add(time.Minute).Unix()}
		maps.Copy(c, change)
		return c
	}
	at, jwt := map[string]any{"typ": "at+jwt"}, map[string]any{"typ": "JWT"}
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"for the site":              {accessToken(s, nil, nil), 200},
		"for the site, with slash":  {accessToken(s, nil, map[string]any{"aud": s.url + "/"}), 200},
		"for the client":            {accessToken(s, nil, map[string]any{"aud": clientID}), 200},
		"for a named audience":      {accessToken(s, nil, map[string]any{"aud": []string{"x", "https://api.example.com"}}), 200},
		"Keycloak's form":           {accessToken(s, jwt, map[string]any{"aud": clientID, "typ": "Bearer"}), 200},
		"plain form for the site":   {accessToken(s, jwt, nil), 200},
		"plain form for the client": {accessToken(s, jwt, map[string]any{"aud": clientID}), 401},
		"for another":               {accessToken(s, nil, map[string]any{"aud": "https://other.example.com"}), 401},
		"for a longer name":         {accessToken(s, nil, map[string]any{"aud": s.url + ".evil.test"}), 401},
		"for nobody":                {accessToken(s, nil, map[string]any{"aud": []string{}}), 401},
		"of another issuer":         {accessToken(s, nil, map[string]any{"iss": "https://evil.test"}), 401},
		"without exp":               {accessToken(s, nil, map[string]any{"exp": nil}), 401},
		"expired":                   {accessToken(s, nil, map[string]any{"exp": s.clock.Now().Add(-time.Second).Unix()}), 401},
		"not yet valid":             {accessToken(s, nil, map[string]any{"nbf": s.clock.Now().Add(time.Hour).Unix()}), 401},
		"without iat":               {accessToken(s, nil, map[string]any{"iat": nil}), 401},
		"iat in the future":         {accessToken(s, nil, map[string]any{"iat": s.clock.Now().Add(time.Hour).Unix()}), 401},
		"as old as may be":          {accessToken(s, nil, map[string]any{"iat": s.clock.Now().Add(time.Second - adapter.BearerMax).Unix()}), 200},
		"older":                     {accessToken(s, nil, map[string]any{"iat": s.clock.Now().Add(-adapter.BearerMax).Unix()}), 401},
		"without sub":               {accessToken(s, nil, map[string]any{"sub": ""}), 401},
		"an ID token":               {accessToken(s, jwt, map[string]any{"aud": clientID, "scope": nil, "nonce": "n", "typ": "ID"}), 401},
		"an ID token without marks": {accessToken(s, map[string]any{"x": "y"}, map[string]any{"aud": []string{clientID, s.url}, "scope": nil}), 401},
		"an ID token with nonce":    {accessToken(s, map[string]any{"x": "y"}, map[string]any{"aud": []string{clientID, s.url}, "nonce": "n"}), 401},
		"an ID token with at_hash":  {accessToken(s, nil, map[string]any{"at_hash": "x"}), 401},
		"a refresh token":           {accessToken(s, jwt, map[string]any{"typ": "Refresh"}), 401},
		"an offline token":          {accessToken(s, jwt, map[string]any{"typ": "Offline"}), 401},
		"a logout token":            {accessToken(s, map[string]any{"typ": "logout+jwt"}, map[string]any{"events": map[string]any{}}), 401},
		"alg none":                  {unsigned(claims(nil)), 401},
		"HS256 with public key":     {s.op.sign(jose.HS256, public, "k1", at, claims(nil)), 401},
		"other key":                 {s.op.sign(jose.RS256, other, "k1", at, claims(nil)), 401},
		"garbage":                   {"garbage", 401},
		"dots":                      {"..", 401},
		"null claims":               {"bnVsbA.bnVsbA.AAAA", 401},
		"empty":                     {"", 401},
		"long":                      {fmt.Sprintf("%030000d", 1), 401},
	} {
		before := s.reached()
		p := program(t, s, c.token, "/api/whoami")
		if p.StatusCode != c.want {
			t.Errorf("%s: %d, want %d: %s", name, p.StatusCode, c.want, p.body)
			continue
		}
		if c.want == 401 && (p.Header.Get("WWW-Authenticate") == "" || s.reached() != before) {
			t.Errorf("%s: %v", name, p.Header)
		}
	}
	p := program(t, s, accessToken(s, nil, nil), "/backup?scope=offline_access&x=1")
	if got := s.last(); p.StatusCode != 200 || got.uri != "/backup?x=1" || got.id.Name != "alice" || !got.id.HasRole("editor") || got.id.Claims["scope"] != "openid files" || got.header.Get("X-User") != "alice" {
		t.Errorf("%d, the app sees %+v", p.StatusCode, got)
	}
	// A browser that brings one gets no login page.
	if p := newBrowser(t).do(http.MethodGet, s.url+"/", nil, append([]string{"Authorization", "bearer x"}, navigating...)...); p.StatusCode != 401 {
		t.Errorf("a navigation with a bad token: %d", p.StatusCode)
	}
	// On an open path a token may be the app's own.
	if p := program(t, s, "the-apps-own", "/public/x"); p.StatusCode != 200 || !s.last().id.Anonymous() {
		t.Errorf("an open path: %d", p.StatusCode)
	}
	// And beside a session too.
	b := newBrowser(t)
	b.open(s.url + "/")
	if p := b.do(http.MethodGet, s.url+"/api", nil, "Authorization", "Bearer the-apps-own"); p.StatusCode != 200 || s.last().id.Name != "alice" || s.last().header.Get("Authorization") != "Bearer the-apps-own" {
		t.Errorf("beside a session: %d", p.StatusCode)
	}
}

// TestEndedBearerOverDays: an access token that lives for longer than ends are
// remembered never works again once it has ended, seen before or not; one that has not
// works for bearer_max.
func TestEndedBearerOverDays(t *testing.T) {
	const day = 24 * time.Hour
	for most, want := range map[time.Duration]time.Duration{0: day, 7 * day: 7 * day} {
		s := newSite(t, func(c *adapter.Config) { c.BearerMax = most })
		month := map[string]any{"exp": s.clock.Now().Add(30 * day).Unix()}
		seen, unseen := accessToken(s, nil, month), accessToken(s, nil, month)
		program(t, s, seen, "/").wants(t, 200, "app of alice")
		s.op.is("sub-bob", "bob")
		bobs := accessToken(s, nil, month)
		begun := s.clock.Now()
		s.clock.Advance(time.Minute)
		if err := s.rp.EndSubject(t.Context(), "sub-alice"); err != nil {
			t.Fatal(err)
		}
		for s.clock.Now().Sub(begun) < 31*day {
			age := s.clock.Now().Sub(begun)
			for name, token := range map[string]string{"seen before": seen, "not seen before": unseen} {
				if p := program(t, s, token, "/"); p.StatusCode != 401 {
					t.Fatalf("bearer_max %v: the ended token that was %s works after %v", most, name, age)
				}
			}
			switch p := program(t, s, bobs, "/"); {
			case age < want && p.StatusCode != 200, age >= want && p.StatusCode != 401:
				t.Fatalf("bearer_max %v: another's token answers %d after %v", most, p.StatusCode, age)
			case age >= want && age < 30*day && !strings.Contains(p.body, "too long ago"):
				t.Fatalf("nobody says why: %s", p.body)
			}
			if err := s.store.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.clock.Advance(9 * time.Hour)
		}
	}
}

// TestBearerIsVerifiedOnce: the result stands until the token expires, and not
// longer than what is behind it.
func TestBearerIsVerifiedOnce(t *testing.T) {
	s := newSite(t)
	token := accessToken(s, nil, map[string]any{"sid": "born-in", "offline_session": "o1", "iat_ms": s.clock.Now().UnixMilli()})
	online := accessToken(s, nil, map[string]any{"sid": "s1", "iat_ms": s.clock.Now().UnixMilli()})
	want := func(token string, status int) {
		t.Helper()
		if p := program(t, s, token, "/"); p.StatusCode != status {
			t.Errorf("%d, want %d", p.StatusCode, status)
		}
	}
	want(online, 200)
	if s.last().id.Offline {
		t.Errorf("identity of an online token: %+v", s.last().id)
	}
	want(token, 200)
	if !s.last().id.Offline {
		t.Errorf("identity of an offline session's token: %+v", s.last().id)
	}
	s.op.set(func(p *foreign) { p.down = true })
	s.clock.Advance(time.Minute)
	want(token, 200)
	// The browser session that it was born in ends: it goes on (O31).
	if err := s.rp.EndSession(t.Context(), "born-in"); err != nil {
		t.Fatal(err)
	}
	want(token, 200)
	_ = s.rp.EndSession(t.Context(), "s1")
	want(online, 401)
	_ = s.rp.EndSession(t.Context(), "o1")
	want(token, 401)

	// A subject: what was issued before is refused, what is issued later works.
	s.op.set(func(p *foreign) { p.down = false })
	old := accessToken(s, nil, nil)
	want(old, 200)
	s.clock.Advance(time.Second)
	_ = s.rp.EndSubject(t.Context(), "sub-alice")
	want(old, 401)
	s.clock.Advance(time.Second)
	late := accessToken(s, nil, nil)
	want(late, 200)
	s.clock.Advance(6 * time.Minute)
	want(late, 401)
}

// TestBearerAllow: who may come in is judged for programs too.
func TestBearerAllow(t *testing.T) {
	s := newSite(t, func(c *adapter.Config) {
		c.Allow = func(_ *http.Request, id session.Identity) bool { return id.HasRole("editor") }
	})
	if p := program(t, s, accessToken(s, nil, map[string]any{"realm_access": map[string]any{}}), "/"); p.StatusCode != 403 {
		t.Errorf("without the role: %d", p.StatusCode)
	}
	if p := program(t, s, accessToken(s, nil, nil), "/"); p.StatusCode != 200 {
		t.Errorf("with the role: %d", p.StatusCode)
	}
}

// TestUnknownKeys: a flood of forged key ids makes one fetch in a while; a new
// key is found; keys that cannot be fetched are no fault of the token.
func TestUnknownKeys(t *testing.T) {
	s := newSite(t)
	if p := program(t, s, accessToken(s, nil, nil), "/"); p.StatusCode != 200 {
		t.Fatal(p.body)
	}
	for i := range 50 {
		s.op.mu.Lock()
		forged := s.op.sign(jose.RS256, signingKey(), fmt.Sprintf("forged-%d", i), map[string]any{"typ": "at+jwt"}, s.op.claimsOf(map[string]any{"aud": s.url}))
		s.op.mu.Unlock()
		if p := program(t, s, forged, "/"); p.StatusCode != 401 {
			t.Fatalf("%d", p.StatusCode)
		}
	}
	if n := s.op.count("/certs"); n > 2 {
		t.Errorf("%d fetches of the keys", n)
	}
	// go-oidc hands the result of a fetch on until it has cleared it away, which is
	// an instant later: each answer may be the one of before for so long.
	soon := func(what, token string, status int) (p page) {
		t.Helper()
		for until := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			if p = program(t, s, token, "/"); p.StatusCode == status || time.Now().After(until) {
				break
			}
		}
		if p.StatusCode != status {
			t.Errorf("%s: %d", what, p.StatusCode)
		}
		return p
	}
	s.clock.Advance(11 * time.Second)
	s.op.set(func(p *foreign) { p.keyID = "k2" })
	soon("a new key", accessToken(s, nil, nil), 200)
	s.clock.Advance(11 * time.Second)
	s.op.set(func(p *foreign) { p.keyID, p.keysDown = "k3", true })
	token := accessToken(s, nil, nil)
	if p := soon("keys away", token, 503); p.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	s.op.set(func(p *foreign) { p.keysDown = false })
	s.clock.Advance(3 * time.Second)
	soon("keys back", token, 200)
}
