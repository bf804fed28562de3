package provider_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
)

func limited(idle, max time.Duration) func(*realm.Settings) {
	return func(s *realm.Settings) {
		s.OfflineSessionIdle, s.OfflineSessionMaxLimited, s.OfflineSessionMax = idle, true, max
	}
}

func TestO01_OfflineTokenInsteadOfRefreshToken(t *testing.T) {
	w := newWorld(t)
	online := w.browser().grant("alice", "reports", "openid")
	if typ := online.offlineToken()["typ"]; typ != "Refresh" || slices.Contains(online.scopes(), "offline_access") {
		t.Errorf("without the scope: typ %v, scope %v", typ, online.scopes())
	}
	if online.number("refresh_expires_in") <= 0 {
		t.Errorf("an online refresh token does not say when it ends")
	}
	offline := w.browser().grant("alice", "reports", "openid offline_access")
	if typ := offline.offlineToken()["typ"]; typ != "Offline" || !slices.Contains(offline.scopes(), "offline_access") {
		t.Errorf("with the scope: typ %v, scope %v", typ, offline.scopes())
	}
	if got := offline.number("refresh_expires_in"); got != 0 {
		t.Errorf("refresh_expires_in = %v, want 0", got)
	}
	if got, want := offline.number("refresh_idle_expires_in"), (30 * day).Seconds(); got != want {
		t.Errorf("refresh_idle_expires_in = %v, want %v", got, want)
	}
	if offline.header.Get("Cache-Control") != "no-store" {
		t.Error("tokens may be cached")
	}
}

func TestO02_OfflineTokenFormat(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		w := newWorld(t, func(s *realm.Settings) { s.SigningAlgorithm = alg })
		r := w.password("reports", "alice", "openid offline_access").ok()
		if got := decode(t, r.access(), 0); got["alg"] != alg || got["typ"] != "at+jwt" {
			t.Errorf("%s: header of the access token: %v", alg, got)
		}
		if got := decode(t, r.refreshed(), 0); got["alg"] != "HS512" || got["typ"] != "JWT" {
			t.Errorf("%s: header of the offline token: %v", alg, got)
		}
		c := r.offlineToken()
		for _, name := range []string{"iss", "aud", "azp", "sub", "sid", "scope", "iat", "jti", "offline_session"} {
			if !c.has(name) {
				t.Errorf("%s: offline token lacks %s", alg, name)
			}
		}
		if c["iss"] != issuer || c["aud"] != issuer || c["azp"] != "reports" || c.has("exp") || c.has("nonce") || c.has("realm_access") {
			t.Errorf("%s: claims of the offline token: %v", alg, c)
		}
		if a := r.claims(); a["typ"] != "Bearer" || a["offline_session"] != c["offline_session"] || a["sub"] != c["sub"] {
			t.Errorf("%s: claims of the access token: %v", alg, a)
		}
		w.restart()
		w.refresh("reports", r.refreshed()).ok()
	}
}

func TestO03_MaxLimitedSetsExp(t *testing.T) {
	w := newWorld(t, limited(30*time.Second, time.Minute))
	r := w.password("reports", "alice", "offline_access").ok()
	if got := r.number("refresh_expires_in"); got != 30 {
		t.Errorf("refresh_expires_in = %v, want the idle limit", got)
	}
	if got := r.number("expires_in"); got != 60 {
		t.Errorf("expires_in = %v, want the max limit", got)
	}
	exp := time.Unix(int64(r.offlineToken()["exp"].(float64)), 0)
	if want := w.clock().Add(30 * time.Second); !exp.Equal(want) {
		t.Errorf("exp = %v, want %v", exp, want)
	}
	w.advance(25 * time.Second)
	w.refresh("reports", r.refreshed()).ok()
	w.advance(20 * time.Second)
	r = w.refresh("reports", r.refreshed()).ok()
	if got := r.number("refresh_expires_in"); got != 15 {
		t.Errorf("refresh_expires_in = %v, want what is left of the max limit", got)
	}
	// exp is a hint: the settings of now decide.
	w.edit(func(s *realm.Settings) { s.OfflineSessionIdle, s.OfflineSessionMaxLimited = time.Hour, false })
	w.advance(50 * time.Minute)
	if r = w.refresh("reports", r.refreshed()).ok(); r.offlineToken().has("exp") {
		t.Error("exp although the limit is off")
	}
}

func TestO04_Introspection(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "openid offline_access").ok()
	for name, token := range map[string]string{"Bearer": r.access(), "Offline": r.refreshed()} {
		c := claims(w.introspect(token))
		if c["active"] != true || c["client_id"] != "reports" || c["username"] != "alice" || c["token_type"] != name || c["sub"] != r.claims()["sub"] || !c.has("scope") {
			t.Errorf("%s: %v", name, c)
		}
		if c.has("exp") != (name == "Bearer") {
			t.Errorf("%s: exp: %v", name, c)
		}
	}
	if got := w.post("token/introspect", "spa", "token", r.access()); got.status != 401 {
		t.Errorf("a public client may introspect: %d", got.status)
	}
	if w.active("garbage") || w.active(r.text("id_token")) {
		t.Error("garbage or an ID token is active")
	}
	w.post("token/introspect", "reports").fails(400, "invalid_request", "")

	// Inactive for every reason for which a refresh would fail.
	reasons := map[string]struct{ break_, mend func() }{
		"user_disabled": {
			func() { w.editUser("alice", func(u *user.User) { u.Enabled = false }) },
			func() { w.editUser("alice", func(u *user.User) { u.Enabled = true }) },
		},
		"role_missing": {
			func() { w.editUser("alice", func(u *user.User) { u.DefaultRoles = false }) },
			func() { w.editUser("alice", func(u *user.User) { u.DefaultRoles = true }) },
		},
		"not_before": {
			func() { w.edit(func(s *realm.Settings) { s.NotBefore = w.clock().UnixMilli() + 1 }) },
			func() { w.edit(func(s *realm.Settings) { s.NotBefore = 0 }) },
		},
		"idle_expired": {
			func() { w.edit(func(s *realm.Settings) { s.OfflineSessionIdle = time.Second }); w.advance(time.Second) },
			func() { w.edit(func(s *realm.Settings) { s.OfflineSessionIdle = 0 }) },
		},
		"max_expired": {
			func() { w.edit(limited(0, time.Second)); w.advance(time.Second) },
			func() { w.edit(func(s *realm.Settings) { s.OfflineSessionMaxLimited = false }) },
		},
	}
	for reason, do := range reasons {
		do.break_()
		if w.active(r.access()) || w.active(r.refreshed()) {
			t.Errorf("%s: active", reason)
		}
		if w.userinfo(r.access()).status != 401 {
			t.Errorf("%s: UserInfo answers", reason)
		}
		w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", reason)
		do.mend()
		if !w.active(r.access()) || !w.active(r.refreshed()) {
			t.Errorf("%s: inactive although it was mended", reason)
		}
	}
	w.post("revoke", "reports", "token", r.refreshed()).ok()
	if w.active(r.access()) || w.active(r.refreshed()) {
		t.Error("active after it was revoked")
	}
	if w.count(event.IntrospectTokenError, "revoked") == 0 {
		t.Error("no event")
	}
}

func TestO05_IDTokenAtRefresh(t *testing.T) {
	w := newWorld(t)
	first := w.browser().grant("alice", "reports", "openid offline_access")
	if first.idClaims()["nonce"] != "n-1" {
		t.Errorf("ID token of the code: %v", first.idClaims())
	}
	w.advance(time.Hour)
	next := w.refresh("reports", first.refreshed()).ok()
	was, is := first.idClaims(), next.idClaims()
	if is.has("nonce") || !is.has("at_hash") || is["at_hash"] == was["at_hash"] || is["sub"] != was["sub"] || is["auth_time"] != was["auth_time"] || is["aud"] != "reports" {
		t.Errorf("ID token of the refresh: %v, of the login: %v", is, was)
	}
	if less := w.refresh("reports", first.refreshed(), "scope", "email").ok(); less.text("id_token") == "" || less.idClaims()["sub"] != was["sub"] {
		t.Error("no ID token at a refresh for less, although openid was granted")
	}
	if without := w.password("reports", "alice", "offline_access").ok(); without.text("id_token") != "" {
		t.Error("ID token without openid")
	}
}

func TestO06_RefreshKeepsTheGrantedScope(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "openid offline_access").ok()
	less := w.refresh("reports", r.refreshed(), "scope", "openid").ok()
	if got := less.scopes(); !slices.Equal(got, []string{"openid"}) || less.claims()["scope"] != "openid" || less.claims().has("email") {
		t.Errorf("scope of the access token %v, claims %v", got, less.claims())
	}
	c := less.offlineToken()
	if c["typ"] != "Offline" || c["scope"] != r.offlineToken()["scope"] {
		t.Errorf("offline token after a narrow refresh: %v", c)
	}
	all := w.refresh("reports", less.refreshed()).ok()
	if !slices.Equal(all.scopes(), r.scopes()) || !all.claims().has("email") {
		t.Errorf("scope after a refresh for all: %v, want %v", all.scopes(), r.scopes())
	}
	for _, scope := range []string{"phone", "openid phone", "nonsense"} {
		w.refresh("reports", r.refreshed(), "scope", scope).fails(400, "invalid_scope", "")
	}
	// A refused scope consumes nothing.
	w.edit(func(s *realm.Settings) { s.RevokeRefreshToken = true })
	w.refresh("reports", r.refreshed(), "scope", "phone").fails(400, "invalid_scope", "")
	w.refresh("reports", r.refreshed()).ok()
}

func TestO10_ScopeIsOptionalAndCanBeTaken(t *testing.T) {
	w := newWorld(t)
	if r := w.password("reports", "alice", "openid").ok(); slices.Contains(r.scopes(), "offline_access") {
		t.Error("offline_access without asking")
	}
	kept := w.password("reports", "alice", "offline_access").ok()
	w.editClient("reports", func(c *client.Client) {
		c.OptionalScopes = slices.DeleteFunc(c.OptionalScopes, func(s string) bool { return s == "offline_access" })
	})
	w.password("reports", "alice", "offline_access").fails(400, "invalid_scope", "")
	w.post("token", "reports", "grant_type", "client_credentials", "scope", "offline_access").fails(400, "invalid_scope", "")
	if q := w.browser().authorize("", "reports", "openid offline_access"); q.Get("error") != "invalid_scope" || q.Get("state") != "st" {
		t.Errorf("authorization request: %v", q)
	}
	w.refresh("reports", kept.refreshed()).fails(400, "invalid_grant", "role_missing")
	w.password("other", "alice", "offline_access").ok() // a client is a client
	w.editClient("reports", func(c *client.Client) { c.OptionalScopes = append(c.OptionalScopes, "offline_access") })
	w.refresh("reports", kept.refreshed()).ok()
}

func TestO11_O12_RoleMissingAtTheTokenEndpoint(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "bob", "offline_access").fails(400, "invalid_scope", "role_missing")
	if d := r.text("error_description"); !containsWord(d, "offline_access") {
		t.Errorf("description %q does not name the role", d)
	}
	w.password("reports", "bob", "openid").ok()

	// O12: the client scope carries the role, unless it was taken out of it.
	w.editClient("reports", func(c *client.Client) { c.FullScope = false })
	kept := w.password("reports", "alice", "offline_access").ok()
	w.editScope("offline_access", func(s *client.Scope) { s.Roles = nil })
	w.password("reports", "alice", "offline_access").fails(400, "invalid_scope", "role_missing")
	w.refresh("reports", kept.refreshed()).fails(400, "invalid_grant", "role_missing")
	w.editClient("reports", func(c *client.Client) { c.ScopeRoles = []string{"offline_access"} })
	w.refresh("reports", kept.refreshed()).ok()
}

func TestO13_CompositeAndDefaultRoles(t *testing.T) {
	w := newWorld(t)
	w.password("reports", "carol", "offline_access").ok()
	r := w.password("reports", "alice", "offline_access").ok()
	w.edit(func(s *realm.Settings) { s.DefaultRoles = []string{} })
	w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "role_missing")
	w.password("reports", "carol", "offline_access").ok()
}

func TestO15_DirectAccessGrant(t *testing.T) {
	w := newWorld(t)
	one := w.password("reports", "alice", "openid offline_access").ok()
	two := w.password("reports", "alice", "openid offline_access").ok()
	if one.offlineToken()["offline_session"] == two.offlineToken()["offline_session"] {
		t.Error("two calls share an offline session")
	}
	for _, r := range []*reply{one, two} {
		// No user session remains: the sid is the offline session's own.
		if c := r.offlineToken(); c["typ"] != "Offline" || c["sid"] != c["offline_session"] {
			t.Errorf("offline token: %v", c)
		}
		w.refresh("reports", r.refreshed()).ok()
	}
	w.post("revoke", "reports", "token", one.refreshed()).ok()
	w.refresh("reports", two.refreshed()).ok()

	w.post("token", "reports", "grant_type", "password", "username", "alice", "password", "wrong", "scope", "offline_access").fails(400, "invalid_grant", "")
	w.post("token", "reports", "grant_type", "password", "username", "nobody", "password", "wrong").fails(400, "invalid_grant", "")
	w.post("token", "spa", "grant_type", "password", "username", "alice", "password", "alice-pw").fails(400, "unauthorized_client", "")
}

func TestO16_ServiceAccount(t *testing.T) {
	w := newWorld(t)
	ask := func(scope string) *reply {
		return w.post("token", "reports", "grant_type", "client_credentials", "scope", scope).ok()
	}
	plain := ask("")
	if plain.refreshed() != "" || !w.active(plain.access()) {
		t.Errorf("client credentials: %v", plain.json)
	}
	one, two := ask("offline_access"), ask("offline_access")
	if one.offlineToken()["typ"] != "Offline" || one.offlineToken()["sub"] != plain.claims()["sub"] {
		t.Errorf("offline token: %v", one.offlineToken())
	}
	for _, r := range []*reply{one, two} {
		w.advance(14 * day)
		again := w.refresh("reports", r.refreshed()).ok()
		if c := w.introspect(again.access()); c["username"] != "service-account-reports" {
			t.Errorf("introspection: %v", c)
		}
	}
	w.post("token", "spa", "grant_type", "client_credentials").fails(400, "unauthorized_client", "")
}

func TestO18_OnlineAndOfflineLiveOnTheirOwn(t *testing.T) {
	w := newWorld(t)
	t.Run("online first", func(t *testing.T) {
		b := w.browser()
		online := b.grant("alice", "reports", "openid")
		offline := b.grant("", "reports", "openid offline_access")
		if online.claims()["sid"] != offline.claims()["sid"] {
			t.Error("single sign-on made another user session")
		}
		w.refresh("reports", online.refreshed()).ok()
		w.refresh("reports", offline.refreshed()).ok()
		w.post("revoke", "reports", "token", offline.refreshed()).ok()
		w.refresh("reports", online.refreshed()).ok()
	})
	t.Run("offline first", func(t *testing.T) {
		b := w.browser()
		offline := b.grant("alice", "reports", "openid offline_access")
		if q := b.authorize("", "other", "openid", "prompt", "none"); q.Get("code") == "" {
			t.Errorf("single sign-on after an offline login: %v", q)
		}
		w.refresh("reports", offline.refreshed()).ok()
	})
}

func TestO19_LimitPerUserAndClient(t *testing.T) {
	w := newWorld(t, func(s *realm.Settings) { s.OfflineSessionLimit = 3 })
	begin := func() string { return w.password("reports", "alice", "offline_access").ok().refreshed() }
	one, two, three := begin(), begin(), begin()
	elsewhere := w.password("other", "alice", "offline_access").ok().refreshed()

	w.advance(6 * day)
	four := begin() // beyond the limit, but all were used within 7 days
	for _, token := range []string{one, two, three, four} {
		if !w.active(token) {
			t.Fatal("a session that was used within 7 days went")
		}
	}
	w.refresh("reports", one).ok()
	w.advance(2 * day)
	five := begin() // two and three are unused for 8 days, and both are too much
	if !w.active(one) || !w.active(four) || !w.active(five) || w.active(two) || w.active(three) {
		t.Errorf("active: one %v two %v three %v four %v five %v", w.active(one), w.active(two), w.active(three), w.active(four), w.active(five))
	}
	if !w.active(elsewhere) {
		t.Error("the limit of one client reached another")
	}
	w.refresh("reports", two).fails(400, "invalid_grant", "revoked")
	if n := w.count(event.OfflineSessionEnd, "evicted"); n != 2 {
		t.Errorf("%d events of eviction, want 2", n)
	}
}
