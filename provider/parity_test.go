package provider_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// Counterparts of Keycloak's own tests that no row asks for; docs/keycloak-parity.md
// has the whole list.

// postTo sends a form as the client reports to an address of any realm.
func (w *world) postTo(address string, form url.Values) *reply {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("reports", "reports-secret")
	return w.do(r)
}

// An offline token of an administrator works at the REST long after the login.
func TestOfflineTokenAtAdminREST(t *testing.T) {
	c := newWorld(t)
	c.editUser("alice", func(u *user.User) { u.Roles = append(u.Roles, user.RoleRealmAdmin) })
	r := c.browser().grant("alice", "reports", "openid offline_access")
	c.advance(11 * time.Hour)
	if err := c.provider.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = c.refresh("reports", r.refreshed()).ok()
	c.rest(http.MethodGet, "realms/demo/users", r.access(), nil).is(200)
	c.post("revoke", "reports", "token", r.refreshed()).ok()
	c.rest(http.MethodGet, "realms/demo/users", r.access(), nil).is(401)
}

// Two people one after the other in one browser, the first with offline access:
// each has a login and an identity of his own.
func TestTwoPeopleInOneBrowser(t *testing.T) {
	for name, between := range map[string]func(w *world, b *browser){
		"the first logged out": func(_ *world, b *browser) {
			page, _ := b.open("GET", logoutURL(), nil)
			b.submit(page, "logout", nil)
		},
		"the first login expired": func(w *world, _ *browser) { w.advance(11 * time.Hour) },
		"the first login was swept": func(w *world, _ *browser) {
			w.advance(11 * time.Hour)
			if err := w.provider.Sweep(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
		},
		"the first is still logged in": func(*world, *browser) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			alice := b.grant("alice", "reports", "openid offline_access")
			between(w, b)
			page, _ := b.open("GET", authURL("reports", "openid offline_access", "prompt", "login"), nil)
			_, left := b.submit(page, "login", url.Values{"username": {"carol"}, "password": {"carol-pw"}})
			carol := w.exchange("reports", left.Query().Get("code")).ok()
			if carol.claims()["sub"] == alice.claims()["sub"] || carol.claims()["sid"] == alice.claims()["sid"] ||
				carol.claims()["offline_session"] == alice.claims()["offline_session"] {
				t.Errorf("carol got %v, alice had %v", carol.claims(), alice.claims())
			}
			for who, r := range map[string]*reply{"alice": alice, "carol": carol} {
				if got := w.refresh("reports", r.refreshed()).ok(); w.introspect(got.access())["username"] != who {
					t.Errorf("the token of %s is of %v", who, w.introspect(got.access())["username"])
				}
			}
		})
	}
}

// A replay ends the grant with its access tokens; logging in again by single
// sign-on revives nothing of it.
func TestReplayThenSingleSignOn(t *testing.T) {
	w := newWorld(t, singleUse(0))
	b := w.browser()
	first := b.grant("alice", "reports", "openid offline_access")
	second := w.refresh("reports", first.refreshed()).ok()
	w.refresh("reports", first.refreshed()).fails(400, "invalid_grant", "reuse_detected")
	w.dead("reports", second, "reuse_detected")
	third := b.grant("", "reports", "openid offline_access")
	w.dead("reports", first, "reuse_detected")
	w.dead("reports", second, "reuse_detected")
	w.refresh("reports", third.refreshed()).ok()
}

// Introspection of a token that was rotated out follows the client's override.
func TestIntrospectionFollowsTheOverride(t *testing.T) {
	w := newWorld(t)
	on := true
	w.editClient("reports", func(c *client.Client) { c.RevokeRefreshToken = &on })
	first := w.password("reports", "alice", "openid offline_access").ok()
	next := w.refresh("reports", first.refreshed()).ok()
	if w.active(first.refreshed()) || !w.active(next.refreshed()) {
		t.Error("single use of the client's own: the used one is active, or the new one is not")
	}
	reuse := w.password("other", "alice", "openid offline_access").ok()
	w.refresh("other", reuse.refreshed()).ok()
	if !w.active(reuse.refreshed()) {
		t.Error("a token that may be used again is inactive")
	}
}

// What a refresh answers: new ids, the same session, the client in no audience
// of its refresh token.
func TestRefreshAnswer(t *testing.T) {
	w := newWorld(t)
	first := w.browser().grant("alice", "reports", "openid offline_access")
	w.advance(time.Minute)
	next := w.refresh("reports", first.refreshed()).ok()
	a, b := first.claims(), next.claims()
	if a["jti"] == b["jti"] || a["sid"] != b["sid"] || a["sub"] != b["sub"] || next.json["session_state"] != a["sid"] || b["exp"] == a["exp"] {
		t.Errorf("access tokens %v and %v", a, b)
	}
	if c := next.offlineToken(); c["aud"] != issuer || c["azp"] != "reports" || c.has("nonce") || c.has("realm_access") {
		t.Errorf("offline token %v", c)
	}
	if !slices.Equal(first.scopes(), next.scopes()) {
		t.Errorf("scope %v, then %v", first.scopes(), next.scopes())
	}
}

// A token is good at its own issuer alone, even with the same keys.
func TestTokenOfAnotherIssuer(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "openid offline_access").ok()
	moved, err := provider.New(provider.Config{Store: w.store, Sealer: w.keyset, Realm: "demo", URL: origin + "/moved", Now: w.clock})
	if err == nil {
		err = moved.Declare(t.Context(), provider.Declaration{Settings: w.settings, Clients: []provider.DeclaredClient{declaredClient()}})
	}
	if err == nil {
		err = moved.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	home := w.provider
	w.provider = moved
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.refreshed()}}
	at := origin + "/moved/realms/demo/protocol/openid-connect/"
	if got := w.postTo(at+"token", form); got.status != 400 || got.text("error") != "invalid_grant" {
		t.Errorf("refresh at another issuer: %d %v", got.status, got.json)
	}
	if got := w.postTo(at+"token/introspect", url.Values{"token": {r.access()}}); got.json["active"] != false {
		t.Errorf("introspection at another issuer: %v", got.json)
	}
	w.provider = home
	w.restart()
	w.refresh("reports", r.refreshed()).ok()
}

// An optional scope that no scope claim shows is kept over refreshes.
func TestHiddenOptionalScopeIsKept(t *testing.T) {
	w := newWorld(t)
	w.editScope("phone", func(s *client.Scope) { s.InToken = false })
	r := w.password("reports", "alice", "openid offline_access phone").ok()
	for range 2 {
		if slices.Contains(r.scopes(), "phone") {
			t.Errorf("the scope is shown: %v", r.scopes())
		}
		if c := r.offlineToken()["scope"].(string); !containsWord(c, "phone") {
			t.Errorf("the offline token lost it: %s", c)
		}
		r = w.refresh("reports", r.refreshed()).ok()
	}
}

// Neither a restart nor a sweep is a use: what idles goes on idling.
func TestRestartIsNoUse(t *testing.T) {
	w := newWorld(t)
	idle, busy := w.password("reports", "alice", "offline_access").ok(), w.password("other", "alice", "offline_access").ok()
	for range 3 {
		w.advance(9 * day)
		w.restart()
		if err := w.provider.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.introspect(idle.refreshed())
		busy = w.refresh("other", busy.refreshed()).ok()
	}
	w.advance(3*day + time.Minute)
	w.refresh("reports", idle.refreshed()).fails(400, "invalid_grant", "idle_expired")
	w.refresh("other", busy.refreshed()).ok()
}

// A session of an earlier version, without the members that came later, goes on.
func TestRecordOfAnEarlierVersion(t *testing.T) {
	w := newWorld(t, singleUse(0))
	r := w.browser().grant("alice", "reports", "openid offline_access")
	id := r.claims()["offline_session"].(string)
	w.update(func(tx storage.Tx) error {
		key := storage.Key(session.ClientSessions.Name, "demo", id)
		it, err := tx.Get(key)
		if err != nil {
			return err
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(it.Value, &members); err != nil {
			return err
		}
		for _, name := range []string{"epoch", "exchanged_from", "uses", "consumed", "browser", "ip", "auth_time", "grant_type"} {
			delete(members, name)
		}
		it.Value, err = json.Marshal(members)
		if err != nil {
			return err
		}
		return tx.Put(it)
	})
	for range 2 {
		r = w.refresh("reports", r.refreshed()).ok()
	}
	if !slices.Contains(r.scopes(), "offline_access") || !w.active(r.access()) {
		t.Errorf("scope %v", r.scopes())
	}
}

// Two realms in one store have nothing of each other.
func TestTwoRealmsInOneStore(t *testing.T) {
	w := newWorld(t)
	mine := w.password("reports", "alice", "openid offline_access").ok()
	second, err := provider.New(provider.Config{Store: w.store, Sealer: w.keyset, Realm: "second", URL: origin, Now: w.clock})
	if err == nil {
		err = second.Declare(t.Context(), provider.Declaration{
			Settings: realm.Settings{Enabled: true, SigningAlgorithm: "ES256", OfflineSessionIdle: time.Minute},
			Users:    []provider.DeclaredUser{{Username: "alice", Password: "alice-pw"}}, Clients: []provider.DeclaredClient{declaredClient()},
		})
	}
	if err == nil {
		err = second.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	first := w.provider
	at := origin + "/realms/second/protocol/openid-connect/token"
	w.provider = second
	theirs := w.postTo(at, url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"alice-pw"}, "scope": {"openid offline_access"}}).ok()
	if got := w.postTo(at, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {mine.refreshed()}}); got.text("error") != "invalid_grant" {
		t.Errorf("a token of the other realm: %v", got.json)
	}
	w.advance(time.Hour)
	if err := second.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.postTo(at, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {theirs.refreshed()}}); got.text("grant_status") != "idle_expired" {
		t.Errorf("its own limits: %v", got.json)
	}
	w.provider = first
	w.refresh("reports", mine.refreshed()).ok()
}

// A realm that leaves the configuration is not deleted: nobody asks it, its
// neighbours go on, and when it is back its offline sessions work.
func TestRealmThatLeavesAndComesBack(t *testing.T) {
	w := newWorld(t)
	mine := w.password("reports", "alice", "openid offline_access").ok()
	first := w.provider
	second := func() *provider.Provider {
		p, err := provider.New(provider.Config{Store: w.store, Sealer: w.keyset, Realm: "second", URL: origin, Now: w.clock})
		if err == nil {
			err = p.Declare(t.Context(), provider.Declaration{
				Settings: realm.Settings{Enabled: true, SigningAlgorithm: "ES256", OfflineSessionIdle: 30 * 24 * time.Hour},
				Users:    []provider.DeclaredUser{{Username: "alice", Password: "alice-pw"}}, Clients: []provider.DeclaredClient{declaredClient()},
			})
		}
		if err == nil {
			err = p.Start(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	at := origin + "/realms/second/protocol/openid-connect/token"
	w.provider = second()
	theirs := w.postTo(at, url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"alice-pw"}, "scope": {"openid offline_access"}}).ok()

	w.provider = first // the second one has left
	if got := w.postTo(at, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {theirs.refreshed()}}); got.status != http.StatusNotFound {
		t.Errorf("a realm that has left is answered for: %d", got.status)
	}
	w.advance(24 * time.Hour)
	if err := first.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.refresh("reports", mine.refreshed()).ok()

	w.provider = second()
	w.postTo(at, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {theirs.refreshed()}}).ok()
}
