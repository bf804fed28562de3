package provider_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
)

func TestCodeExchange(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.grant("alice", "reports", "openid")
	code := func() string { return b.authorize("", "reports", "openid offline_access").Get("code") }
	with := func(code string, params ...string) *reply {
		return w.post("token", "reports", append([]string{"grant_type", "authorization_code", "code", code}, params...)...)
	}

	t.Run("proof", func(t *testing.T) {
		c := code()
		with(c, "redirect_uri", callback).fails(400, "invalid_grant", "")
		with(c, "redirect_uri", callback, "code_verifier", verifier+"x").fails(400, "invalid_grant", "")
		with(c, "redirect_uri", callback+"/", "code_verifier", verifier).fails(400, "invalid_grant", "")
		with(c, "code_verifier", verifier).fails(400, "invalid_grant", "")
		w.exchange("other", c).fails(400, "invalid_grant", "")
		w.exchange("reports", c+"x").fails(400, "invalid_grant", "")
		with("", "redirect_uri", callback).fails(400, "invalid_request", "")
		w.exchange("reports", c).ok() // none of it used the code
	})
	t.Run("replay ends what was issued", func(t *testing.T) {
		c := code()
		r := w.exchange("reports", c).ok()
		next := w.refresh("reports", r.refreshed()).ok()
		w.exchange("reports", c).fails(400, "invalid_grant", "")
		w.refresh("reports", next.refreshed()).fails(400, "invalid_grant", "revoked")
		if w.active(r.access()) || w.active(next.access()) {
			t.Error("an access token lives")
		}
		if w.count(event.OfflineSessionEnd, "code_replayed") != 1 {
			t.Error("no event")
		}
	})
	t.Run("expiry", func(t *testing.T) {
		c := code()
		w.advance(time.Minute + time.Second)
		w.exchange("reports", c).fails(400, "invalid_grant", "")
	})
	t.Run("without refresh tokens", func(t *testing.T) {
		w.editClient("other", func(c *client.Client) { c.NoRefreshTokens = true })
		c := b.authorize("", "other", "openid").Get("code")
		for range 2 {
			if r := w.exchange("other", c, key, "k").ok(); r.refreshed() != "" || r.text("id_token") == "" {
				t.Errorf("answer %v", r.json)
			}
		}
	})
	t.Run("what happened meanwhile", func(t *testing.T) {
		c := code()
		w.editUser("alice", func(u *user.User) { u.Enabled = false })
		w.exchange("reports", c).fails(400, "invalid_grant", "user_disabled")
		w.editUser("alice", func(u *user.User) { u.Enabled, u.DefaultRoles = true, false })
		w.exchange("reports", c).fails(400, "invalid_grant", "role_missing")
		w.editUser("alice", func(u *user.User) { u.DefaultRoles = true })
		w.edit(func(s *realm.Settings) { s.NotBefore = w.clock().UnixMilli() + 1 })
		w.exchange("reports", c).fails(400, "invalid_grant", "not_before")
		w.edit(func(s *realm.Settings) { s.NotBefore = 0 })
		w.exchange("reports", c).ok()
	})
	t.Run("public client", func(t *testing.T) {
		r := w.browser().grant("alice", "spa", "openid offline_access")
		w.refresh("spa", r.refreshed()).ok()
		w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "")
	})
}

// The same request again, by its key, is no second use of a code: an answer that
// was lost costs nobody a login. Whoever has not the key is found as ever.
func TestCodeExchangeAgain(t *testing.T) {
	w := newWorld(t, singleUse(0))
	b := w.browser()
	b.grant("alice", "reports", "openid")
	code := func() string { return b.authorize("", "reports", "openid offline_access").Get("code") }
	same := func(first, again *reply) {
		t.Helper()
		if again.refreshed() != first.refreshed() || again.claims()["offline_session"] != first.claims()["offline_session"] ||
			again.idClaims()["nonce"] != "n-1" || again.text("scope") != first.text("scope") {
			t.Errorf("another answer: %v, %v", first.json, again.json)
		}
	}
	t.Run("as often as needed", func(t *testing.T) {
		c := code()
		first := w.exchange("reports", c, key, "k").ok()
		for range 3 {
			w.advance(2 * time.Minute) // a used code outlives its minute
			same(first, w.exchange("reports", c, key, "k").ok())
		}
		w.restart()
		same(first, w.exchange("reports", c, key, "k").ok())
		next := w.refresh("reports", first.refreshed()).ok()
		// The answer was used: a late duplicate on the wire.
		w.exchange("reports", c, key, "k").fails(400, "invalid_grant", "")
		w.refresh("reports", next.refreshed()).ok()
		if n := w.count(event.OfflineSessionStart, ""); n != 1 {
			t.Errorf("%d sessions began", n)
		}
	})
	t.Run("in doubt", func(t *testing.T) {
		for name, doubt := range map[string]*atomic.Int32{"happened": &w.backend.next, "lost": &w.backend.lost} {
			c := code()
			doubt.Store(1)
			w.exchange("reports", c, key, "k").fails(503, "temporarily_unavailable", "")
			doubt.Store(0)
			r := w.exchange("reports", c, key, "k").ok()
			w.refresh("reports", r.refreshed()).ok()
			if !w.active(r.access()) {
				t.Errorf("%s: the session ended", name)
			}
		}
	})
	t.Run("its own commit", func(t *testing.T) {
		c := code()
		w.backend.again.Store(1)
		w.refresh("reports", w.exchange("reports", c).ok().refreshed()).ok()
	})
	for name, more := range map[string][]string{"another key": {key, "k2"}, "no key": nil} {
		t.Run(name, func(t *testing.T) {
			c := code()
			first := w.exchange("reports", c, key, "k").ok()
			w.exchange("reports", c, more...).fails(400, "invalid_grant", "")
			w.refresh("reports", first.refreshed()).fails(400, "invalid_grant", "revoked")
			w.exchange("reports", c, key, "k").fails(400, "invalid_grant", "revoked")
		})
	}
	t.Run("the key alone is not enough", func(t *testing.T) {
		c := code()
		first := w.exchange("reports", c, key, "k").ok()
		w.exchange("other", c, key, "k").fails(400, "invalid_grant", "")
		w.exchange("reports", c, key, "k", "code_verifier", verifier+"x").fails(400, "invalid_request", "") // twice
		for _, wrong := range [][]string{
			{"redirect_uri", callback}, {"redirect_uri", callback + "/", "code_verifier", verifier}, {"redirect_uri", callback, "code_verifier", verifier + "x"},
		} {
			w.post("token", "reports", append([]string{"grant_type", "authorization_code", "code", c, key, "k"}, wrong...)...).fails(400, "invalid_grant", "")
		}
		same(first, w.exchange("reports", c, key, "k").ok())
	})
	t.Run("what happened meanwhile", func(t *testing.T) {
		c := code()
		first := w.exchange("reports", c, key, "k").ok()
		w.editUser("alice", func(u *user.User) { u.Enabled = false })
		w.exchange("reports", c, key, "k").fails(400, "invalid_grant", "user_disabled")
		w.editUser("alice", func(u *user.User) { u.Enabled = true })
		w.post("revoke", "reports", "token", first.refreshed()).ok()
		w.exchange("reports", c, key, "k").fails(400, "invalid_grant", "revoked")
	})
	t.Run("parallel", func(t *testing.T) {
		c := code()
		replies := make([]*reply, 20)
		var all sync.WaitGroup
		for i := range replies {
			all.Go(func() { replies[i] = w.exchange("reports", c, key, "k") })
		}
		all.Wait()
		for _, r := range replies {
			same(replies[0].ok(), r.ok())
		}
	})
	t.Run("a device", func(t *testing.T) {
		w.editClient("reports", func(c *client.Client) { c.DeviceGrant = true })
		d := w.device("reports", "openid offline_access")
		w.browser().letIn("alice", d, "accept")
		first := w.poll("reports", d, key, "k").ok()
		if again := w.poll("reports", d, key, "k").ok(); again.refreshed() != first.refreshed() {
			t.Error("another refresh token")
		}
		w.poll("reports", d).fails(400, "invalid_grant", "")
		w.refresh("reports", first.refreshed()).ok() // nothing was ended
	})
}

func TestClientAuthentication(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "offline_access").ok()
	basic := func(id, secret string) *reply {
		req := httptest.NewRequest(http.MethodPost, issuer+"/protocol/openid-connect/token",
			strings.NewReader("grant_type=refresh_token&refresh_token="+r.refreshed()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(id, secret)
		return w.do(req)
	}
	basic("reports", "reports-secret").ok()
	var first string
	for _, who := range [][2]string{{"reports", "wrong"}, {"reports", ""}, {"nobody", "x"}, {"other", "reports-secret"}} {
		got := basic(who[0], who[1]).fails(401, "invalid_client", "")
		if !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: no challenge", who[0])
		}
		if first == "" {
			first = got.body
		} else if got.body != first {
			t.Errorf("%s: answers tell clients apart: %s", who[0], got.body)
		}
	}
	w.refresh("reports", r.refreshed(), "client_id", "reports", "client_secret", "reports-secret").fails(400, "invalid_request", "")
	w.post("token", "", "client_id", "reports", "client_secret", "reports-secret", "grant_type", "refresh_token", "refresh_token", r.refreshed()).ok()
	w.editClient("reports", disable)
	basic("reports", "reports-secret").fails(401, "invalid_client", "")
	w.editClient("reports", enable)
	basic("reports", "reports-secret").ok()
}

func TestTokenEndpointBadInput(t *testing.T) {
	w := newWorld(t)
	w.post("token", "reports").fails(400, "invalid_request", "")
	w.post("token", "reports", "grant_type", "implicit").fails(400, "unsupported_grant_type", "")
	w.password("reports", "alice", "openid \x01").fails(400, "invalid_scope", "")
	w.password("reports", "alice", "openid nonsense").fails(400, "invalid_scope", "")
	w.post("token", "reports", "grant_type", "password", "username", "alice").fails(400, "invalid_request", "")
	w.post("token", "reports", "grant_type", "client_credentials", "resource", "not a uri").fails(400, "invalid_target", "")
	if got := w.post("token", "reports", "grant_type", strings.Repeat("x", 70<<10)); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", got.status)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		if got := w.do(httptest.NewRequest(method, issuer+"/protocol/openid-connect/token", nil)); got.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, got.status)
		}
	}
	r := w.post("token?refresh_token=x", "reports", "grant_type", "refresh_token")
	r.fails(400, "invalid_request", "")
}

func TestResourceIsTheAudience(t *testing.T) {
	w := newWorld(t)
	api := "https://api.example.com"
	r := w.post("token", "reports", "grant_type", "password", "username", "alice", "password", "alice-pw", "scope", "offline_access", "resource", api, "resource", api+"/two").ok()
	if got := w.refresh("reports", r.refreshed(), "resource", api).ok().claims()["aud"]; got != api {
		t.Errorf("aud = %v", got)
	}
	w.refresh("reports", r.refreshed(), "resource", "https://elsewhere.example.com").fails(400, "invalid_target", "")
	plain := w.password("reports", "alice", "offline_access").ok()
	if got := plain.claims()["aud"]; got != "reports" {
		t.Errorf("aud = %v, want the client itself", got)
	}
}

func TestUserInfo(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "openid offline_access").ok()
	got := w.userinfo(r.access()).ok()
	if got.text("sub") != r.claims()["sub"] || got.text("preferred_username") != "alice" || got.text("email") != "alice@example.com" {
		t.Errorf("claims: %v", got.json)
	}
	if less := w.userinfo(w.refresh("reports", r.refreshed(), "scope", "openid").ok().access()).ok(); less.text("email") != "" {
		t.Error("claims beyond the scope of the token")
	}
	if got := w.userinfo(w.password("reports", "alice", "email").ok().access()); got.status != 403 || !strings.Contains(got.header.Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("without openid: %d %v", got.status, got.header)
	}
	for name, token := range map[string]string{"garbage": "garbage", "offline token": r.refreshed(), "ID token": r.text("id_token")} {
		if got := w.userinfo(token); got.status != 401 || !strings.Contains(got.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: %d %v", name, got.status, got.header)
		}
	}
	none := w.do(httptest.NewRequest(http.MethodGet, issuer+"/protocol/openid-connect/userinfo", nil))
	if c := none.header.Get("WWW-Authenticate"); none.status != 401 || !strings.HasPrefix(c, "Bearer") || strings.Contains(c, "error") {
		t.Errorf("without a token: %d %q", none.status, c)
	}
	if got := w.post("userinfo", "", "access_token", r.access()).ok(); got.text("sub") == "" {
		t.Error("no claims for a POST")
	}
	w.advance(5*time.Minute + time.Second)
	if w.userinfo(r.access()).status != 401 || w.active(r.access()) {
		t.Error("an expired access token works")
	}
}

func TestCORS(t *testing.T) {
	w := newWorld(t)
	for _, origin := range []string{"https://app.test", "https://evil.test"} {
		r := w.post("token", "reports", "grant_type", "client_credentials", "header:Origin", origin).ok()
		want := ""
		if origin == "https://app.test" {
			want = origin
		}
		if got := r.header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s may read: %q", origin, got)
		}
		if r.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("cookies are part of it")
		}
	}
	for _, name := range []string{"token", "userinfo", "revoke"} {
		req := httptest.NewRequest(http.MethodOptions, issuer+"/protocol/openid-connect/"+name, nil)
		req.Header.Set("Origin", "https://app.test")
		req.Header.Set("Access-Control-Request-Method", "POST")
		if got := w.do(req); got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("preflight of %s: %d %v", name, got.status, got.header)
		}
	}
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	get := func(address string) *reply {
		t.Helper()
		return w.do(httptest.NewRequest(http.MethodGet, address, nil)).ok()
	}
	doc := get(issuer + "/.well-known/openid-configuration")
	if doc.text("issuer") != issuer {
		t.Errorf("issuer %q", doc.text("issuer"))
	}
	// Every endpoint that it names is there.
	for name, value := range doc.json {
		address, _ := value.(string)
		if strings.HasSuffix(name, "_endpoint") || name == "jwks_uri" {
			if got := w.do(httptest.NewRequest(http.MethodGet, address, nil)); got.status == http.StatusNotFound {
				t.Errorf("%s is not found", name)
			}
		}
	}
	scopes, _ := doc.json["scopes_supported"].([]any)
	if !slices.Contains(scopes, any("offline_access")) || !slices.Contains(scopes, any("openid")) {
		t.Errorf("scopes %v", scopes)
	}
	if doc.json["nightlatch_refresh_idempotency"] != true || doc.json["nightlatch_code_idempotency"] != true {
		t.Error("a client cannot tell that Idempotency-Key is known (docs/idempotent-refresh.md)")
	}
	oauth := get(origin + "/.well-known/oauth-authorization-server/realms/demo")
	if oauth.body != doc.body {
		t.Error("RFC 8414's document differs")
	}
	keys, _ := get(doc.text("jwks_uri")).json["keys"].([]any)
	for _, k := range keys {
		key, _ := k.(map[string]any)
		if key["d"] != nil || key["k"] != nil || key["kty"] == "oct" {
			t.Fatal("the key set holds a private key")
		}
	}
	if len(keys) < 3 {
		t.Errorf("%d keys", len(keys))
	}
	if s := get(issuer); s.text("realm") != "demo" || s.text("public_key") == "" || s.text("token-service") != issuer+"/protocol/openid-connect" {
		t.Errorf("summary %v", s.json)
	}
}
