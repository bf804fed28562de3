package provider_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
)

// Every setting of a realm stands under Keycloak's name with its default, takes
// a new value and keeps it.
func TestAdminRealmSettings(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	for _, tt := range []struct {
		name     string
		def, set any
	}{
		{"displayName", nil, "Demo"},
		{"ssoSessionIdleTimeout", 1800, 60},
		{"ssoSessionMaxLifespan", 36000, 7200},
		{"rememberMe", false, true},
		{"ssoSessionIdleTimeoutRememberMe", 0, 86400},
		{"ssoSessionMaxLifespanRememberMe", 0, 86401},
		{"clientSessionIdleTimeout", 0, 61},
		{"clientSessionMaxLifespan", 0, 62},
		{"offlineSessionIdleTimeout", 2592000, 3600},
		{"offlineSessionMaxLifespanEnabled", false, true},
		{"offlineSessionMaxLifespan", 5184000, 7200},
		{"clientOfflineSessionIdleTimeout", 0, 63},
		{"clientOfflineSessionMaxLifespan", 0, 64},
		{"accessCodeLifespanLogin", 1800, 600},
		{"accessCodeLifespanUserAction", 300, 301},
		{"revokeRefreshToken", false, true},
		{"refreshTokenMaxReuse", 0, 2},
		{"accessTokenLifespan", 300, 301},
		{"accessTokenLifespanForImplicitFlow", 900, 901},
		{"accessCodeLifespan", 60, 61},
		{"notBefore", 0, 1600000000},
		{"bruteForceProtected", true, false},
		{"failureFactor", 30, 5},
		{"waitIncrementSeconds", 60, 30},
		{"maxFailureWaitSeconds", 900, 600},
		{"maxDeltaTimeSeconds", 43200, 3600},
		{"eventsEnabled", true, false},
		{"eventsExpiration", 7776000, 0},
		{"adminEventsEnabled", true, false},
		{"enabledEventTypes", []string{}, []string{"LOGIN"}},
		{"defaultDefaultClientScopes", []string{"basic", "profile", "email", "roles", "web-origins", "acr"}, []string{"basic"}},
		{"defaultOptionalClientScopes", []string{"offline_access", "address", "phone"}, []string{"phone"}},
	} {
		c.get("").has(tt.name, tt.def)
		c.put("", o{tt.name: tt.set}).is(204)
		c.get("").has(tt.name, tt.set)
	}
	c.get("").has("attributes", o{"offlineSessionLimit": "100"}).has("realm", "demo").has("enabled", true)
	c.put("", o{"attributes": o{"offlineSessionLimit": "7"}}).is(204)
	c.get("").has("attributes", o{"offlineSessionLimit": "7"})
	w.restart() // what administrators set stays
	c.get("").has("ssoSessionIdleTimeout", 60).has("revokeRefreshToken", true)

	for name, tt := range map[string]struct {
		body  any
		field string
	}{
		"unknown":       {o{"bogus": 1}, "bogus"},
		"negative":      {o{"accessTokenLifespan": -5}, "accessTokenLifespan"},
		"a fraction":    {o{"accessTokenLifespan": 1.5}, "accessTokenLifespan"},
		"huge":          {o{"accessTokenLifespan": 1 << 40}, "accessTokenLifespan"},
		"a text":        {o{"accessTokenLifespan": "300"}, "accessTokenLifespan"},
		"disabled":      {o{"enabled": false}, "enabled"},
		"registration":  {o{"registrationAllowed": true}, "registrationAllowed"},
		"reuse":         {o{"refreshTokenMaxReuse": -1}, "refreshTokenMaxReuse"},
		"algorithm":     {o{"defaultSignatureAlgorithm": "HS256"}, "defaultSignatureAlgorithm"},
		"a scope":       {o{"defaultOptionalClientScopes": []string{"none"}}, "defaultOptionalClientScopes[0]"},
		"an attribute":  {o{"attributes": o{"bogus": "1"}}, "attributes.bogus"},
		"the attribute": {o{"attributes": o{"offlineSessionLimit": "0"}}, "attributes.offlineSessionLimit"},
		"not a text":    {o{"attributes": o{"offlineSessionLimit": 5}}, "attributes.offlineSessionLimit"},
		"identity":      {o{"identityProviders": []any{o{"alias": "x"}}}, "identityProviders"},
	} {
		r := c.put("", tt.body).refused(400)
		if r.object()["field"] != tt.field {
			t.Errorf("%s: %s, want field %s", name, r.raw, tt.field)
		}
	}
	c.get("").has("accessTokenLifespan", 301) // nothing of it came in
}

// Settings lowered by an administrator are in force at once (O36).
func TestAdminRealmSettingsAreInForce(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	r := w.password("reports", "alice", "openid offline_access").ok()
	c.put("", o{"offlineSessionIdleTimeout": 60}).is(204)
	w.advance(2 * time.Minute)
	w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "idle_expired")
	c.put("", o{"offlineSessionIdleTimeout": 0}).is(204) // the default again
	w.refresh("reports", r.refreshed()).ok()
}

// A PUT of what a GET answered changes nothing, of each kind of thing.
func TestAdminRoundTrip(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	id := c.create("clients", o{"clientId": "full", "redirectUris": []string{callback}, "attributes": o{
		"access.token.lifespan": "60", "client.offline.session.idle.timeout": "3600", "post.logout.redirect.uris": "https://a.test/##https://b.test/",
		"revoke.refresh.token": "true", "refresh.token.max.reuse": "2", "id.token.signed.response.alg": "ES256",
	}})
	w.edit(func(s *realm.Settings) { s.NotBefore = 1600000000123 })
	w.editClient("full", func(c *client.Client) { c.NotBefore = 1600000000123 })
	for _, path := range []string{
		"", "events/config", "clients/" + id, "clients/" + c.client("spa"), "clients/" + c.client("reports"), "clients/" + c.client("account"),
		"clients/" + c.client("admin-cli"), "users/" + c.user("alice"), "users/" + c.user("bob"),
		"roles/keeper", "roles/offline_access", "roles/default-roles-demo", "client-scopes/" + c.get("client-scopes").list()[0]["id"].(string),
	} {
		before := c.get(path)
		c.put(path, before.object()).is(204)
		if after := c.get(path); after.raw != before.raw {
			t.Errorf("%s was %s, is %s", path, before.raw, after.raw)
		}
	}
	w.edit(func(s *realm.Settings) {
		if s.NotBefore != 1600000000123 {
			t.Errorf("not-before was rounded to %d", s.NotBefore)
		}
	})
}

// What the configuration declares is read-only, and the answer says where it is.
func TestAdminDeclared(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	w.settings.SSOSessionIdle, w.settings.DefaultRoles = 10*time.Minute, []string{"offline_access"}
	w.restart()
	alice, reports, keeper := "users/"+c.user("alice"), "clients/"+c.client("reports"), "roles/keeper"
	for _, tt := range []struct {
		method, path string
		body         any
		words        string
	}{
		{"PUT", "", o{"ssoSessionIdleTimeout": 60}, "sso_session_idle of this realm is declared in the Caddyfile (realm demo)"},
		{"PUT", alice, o{"email": "other@example.com"}, "email, email_verified of user alice is declared in the Caddyfile"},
		{"PUT", alice, o{"firstName": "Eve", "enabled": false}, "first_name of user alice"},
		{"DELETE", alice, nil, "user alice is declared"},
		{"PUT", reports, o{"redirectUris": []string{"https://evil.test/"}}, "redirect_uris of client reports"},
		{"PUT", reports, o{"clientId": "renamed"}, "client_id of client reports"},
		{"PUT", reports, o{"secret": "new"}, "secret_hash of client reports"},
		{"PUT", reports, o{"publicClient": true, "serviceAccountsEnabled": false}, "client reports is declared"},
		{"POST", reports + "/client-secret", nil, "secret_hash of client reports"},
		{"DELETE", reports, nil, "client reports is declared"},
		{"PUT", keeper, o{"composites": o{"realm": []string{}}}, "composites of role keeper"},
		{"DELETE", keeper, nil, "role keeper is declared"},
		{"POST", keeper + "/composites", []o{{"name": "realm-admin"}}, "composites of role keeper"},
		{"POST", "roles/default-roles-demo/composites", []o{{"name": "realm-admin"}}, "composites of role default-roles-demo"},
		{"DELETE", "roles/offline_access", nil, "built in"},
		{"DELETE", "roles/realm-admin", nil, "built in"},
		{"DELETE", "roles/default-roles-demo", nil, "built in"},
		{"DELETE", "clients/" + c.client("admin-cli"), nil, "built in"},
		{"PUT", "clients/" + c.client("admin-cli"), o{"clientId": "x"}, "built in"},
	} {
		c.call(tt.method, tt.path, tt.body).refused(400, tt.words)
	}
	// What it does not declare, and what is state, is the administrator's.
	c.put(alice, o{"enabled": false, "notBefore": 5}).is(204)
	c.put(reports, o{"enabled": false, "description": "theirs"}).is(204)
	c.put(keeper, o{"description": "theirs"}).is(204)
	c.put(alice+"/reset-password", o{"type": "password", "value": "new"}).is(204)
	c.get(alice).has("origin", "Caddyfile")
	w.restart()
	c.get(alice).has("enabled", false).has("notBefore", 5)
	c.get(reports).has("enabled", false).has("description", "theirs")
	c.get(keeper).has("description", "theirs")

	// What has left the configuration can be deleted.
	err := w.provider.Retire(t.Context(), provider.Declaration{Users: []provider.DeclaredUser{{Username: "carol"}}})
	if err != nil {
		t.Fatal(err)
	}
	w.editClient("admin-cli", enable)
	c.delete(alice).is(204)
	c.delete(reports).is(204)
	c.delete(keeper).is(204)
	c.call("GET", alice, nil).is(404)
}

// Not-before of the realm, and all sessions at once.
func TestAdminLogoutAll(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	online := w.password("reports", "alice", "openid").ok()
	offline := w.password("reports", "alice", "openid offline_access").ok()
	c.get("")
	w.advance(time.Second)
	if got := c.send("logout-all", nil).is(200).object(); fmt.Sprint(got) != "map[failedRequests:[] successRequests:[]]" {
		t.Errorf("answered %v", got)
	}
	if w.rest("GET", "realms/demo", c.token, nil).status != 401 {
		t.Error("the administrator's own token works on")
	}
	w.refresh("reports", offline.refreshed()).fails(400, "invalid_grant", "not_before")
	if w.refresh("reports", online.refreshed()).status != 400 || w.active(online.access()) {
		t.Error("the online session lives")
	}
	w.advance(5 * time.Minute)
	w.refresh("reports", w.password("reports", "alice", "offline_access").ok().refreshed()).ok()
	c.send("push-revocation", nil).is(200).has("successRequests", []string{}).has("failedRequests", []string{})
	c.put("", o{"notBefore": 0}).is(204)
	w.refresh("reports", offline.refreshed()).ok()
	// A console sets it to now with a fraction of a second.
	c.put("", o{"notBefore": float64(w.clock().UnixMilli()+500) / 1000}).is(204)
	w.refresh("reports", offline.refreshed()).fails(400, "invalid_grant", "not_before")
	w.advance(5 * time.Minute)
	c.put("", o{"notBefore": 0}).is(204)
	for _, body := range []o{{"notBefore": -1}, {"notBefore": "now"}, {"notBefore": 1e15}} {
		w.advance(5 * time.Minute)
		c.put("", body).refused(400, "notBefore")
	}
}

func TestAdminRealmScopes(t *testing.T) {
	c := newWorld(t).console()
	id := c.create("client-scopes", o{"name": "reports.read"})
	ids := map[string]string{}
	for _, s := range c.get("client-scopes").list() {
		ids[s["name"].(string)] = s["id"].(string)
	}
	if ids["reports.read"] != id {
		t.Fatalf("scopes %v, want %s", maps.Keys(ids), id)
	}
	c.put("default-optional-client-scopes/"+id, nil).is(204)
	c.get("default-optional-client-scopes").names("offline_access", "address", "phone", "reports.read")
	c.put("default-default-client-scopes/"+id, nil).is(204) // it is in the other list
	c.get("default-default-client-scopes").names("basic", "profile", "email", "roles", "web-origins", "acr")
	c.delete("default-default-client-scopes/" + ids["acr"]).is(204)
	uuid := c.create("clients", o{"clientId": "fresh"})
	c.get("clients/"+uuid).has("defaultClientScopes", []string{"basic", "profile", "email", "roles", "web-origins"}).
		has("optionalClientScopes", []string{"offline_access", "address", "phone", "reports.read"})
	c.delete("client-scopes/" + id).is(204)
	c.get("default-optional-client-scopes").names("offline_access", "address", "phone")
	c.get("clients/"+uuid).has("optionalClientScopes", []string{"offline_access", "address", "phone"})
}
