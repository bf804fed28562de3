package provider_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/realm"
)

// The settings of a realm: Keycloak's labels and defaults, each saved and shown;
// what is wrong is said beside its field and loses nothing.
func TestConsoleSettings(t *testing.T) {
	w := newWorld(t, func(s *realm.Settings) { s.SigningAlgorithm = "" })
	c, b := w.console(), w.browser()
	defaults := map[string]map[string]string{
		"settings/sessions": {
			"SSO Session Idle": "ssoSessionIdleTimeout 30 m", "SSO Session Max": "ssoSessionMaxLifespan 10 h",
			"SSO Session Idle Remember Me": "ssoSessionIdleTimeoutRememberMe  m", "SSO Session Max Remember Me": "ssoSessionMaxLifespanRememberMe  m",
			"Client Session Idle": "clientSessionIdleTimeout  m", "Client Session Max": "clientSessionMaxLifespan  m",
			"Offline Session Idle": "offlineSessionIdleTimeout 30 d", "Offline Session Max": "offlineSessionMaxLifespan 60 d",
			"Client Offline Session Idle": "clientOfflineSessionIdleTimeout  m", "Client Offline Session Max": "clientOfflineSessionMaxLifespan  m",
			"Offline Session Max Limited": "offlineSessionMaxLifespanEnabled", "Login timeout": "accessCodeLifespanLogin 30 m",
			"Login action timeout": "accessCodeLifespanUserAction 5 m", "Offline sessions of one user at one client": "attributes.offlineSessionLimit 100",
		},
		"settings/tokens": {
			"Default Signature Algorithm": "defaultSignatureAlgorithm RS256", "Revoke Refresh Token": "revokeRefreshToken", "Refresh Token Max Reuse": "refreshTokenMaxReuse 0",
			"Access Token Lifespan": "accessTokenLifespan 5 m", "Access Token Lifespan For Implicit Flow": "accessTokenLifespanForImplicitFlow 15 m", "Client Login Timeout": "accessCodeLifespan 1 m",
		},
		"settings/events": {"Save events": "eventsEnabled on", "Expiration": "eventsExpiration 90 d", "Saved types": "enabledEventTypes"},
	}
	for page, fields := range defaults {
		got := b.admin(page).on(page, 200)
		form := got.form("edit").values
		for label, want := range fields {
			member, rest, _ := strings.Cut(want, " ")
			have := form.Get(member)
			if form.Has(member + ".unit") {
				have += " " + form.Get(member+".unit")
			}
			if have != rest || !strings.Contains(got.body, ">"+label+"</label>") && !strings.Contains(got.body, "> "+label+"</label>") {
				t.Errorf("%s: %s is %q, want %q", page, label, have, rest)
			}
		}
		// Saving what is there changes nothing.
		before := c.get("").raw
		b.send(got, "edit").on(page+"?done=saved", 200)
		if after := c.get("").raw; after != before {
			t.Errorf("saving %s changed\n%s to\n%s", page, before, after)
		}
	}

	page := b.admin("settings/sessions")
	for _, bad := range []struct{ field, value, says string }{
		{"ssoSessionIdleTimeout", "soon", "a time"}, {"offlineSessionIdleTimeout", "0", "a time"}, {"offlineSessionIdleTimeout", "99999999", "too long"},
		{"attributes.offlineSessionLimit", "0", "from 1"}, {"attributes.offlineSessionLimit", "-1", "whole number"}, {"accessCodeLifespanLogin", "1.5", "a time"},
	} {
		before := c.get("").raw
		got := b.send(page, "edit", bad.field, bad.value, "ssoSessionMaxLifespan", "11", "sure", "yes").on("settings/sessions", 400)
		got.shows(`id="`+strings.ReplaceAll(bad.field, ".", "-")+`-problem"`, bad.says)
		if have := got.field("edit", bad.field); have != bad.value || got.field("edit", "ssoSessionMaxLifespan") != "11" {
			t.Errorf("what was typed for %s is %q now", bad.field, have)
		}
		if after := c.get("").raw; after != before {
			t.Errorf("%s %q changed\n%s to\n%s", bad.field, bad.value, before, after)
		}
	}
	b.send(b.admin("settings/events"), "edit", "enabledEventTypes", "LOGIN\nNONSENSE").on("settings/events", 400).shows(`id="enabledEventTypes-problem"`, "NONSENSE")
	b.send(b.admin("settings/events"), "edit", "eventsExpiration", "7", "enabledEventTypes", "LOGIN\nLOGOUT", "adminEventsEnabled", "").on("settings/events?done=saved", 200)
	c.get("").has("eventsExpiration", 7*86400).has("enabledEventTypes", []string{"LOGIN", "LOGOUT"}).has("adminEventsEnabled", false).has("eventsEnabled", true)
	b.send(b.admin("settings/events"), "edit", "eventsExpiration", "").on("settings/events?done=saved", 200)
	c.get("").has("eventsExpiration", 0)

	// What is no field of the page is no way in.
	before := c.get("").raw
	b.send(b.admin("settings"), "edit", "notBefore", "9", "declared", "x", "enabled", "", "id", "x", "realm", "x", "defaultRole", "x").on("settings?done=saved", 200)
	if after := c.get("").raw; after != before {
		t.Errorf("a member that the page does not have changed\n%s to\n%s", before, after)
	}
}

// A limit that is shorter ends sessions at once (O36): the page says so, once,
// with how many there are, and does nothing until then.
func TestO36_ShorterLimitsInTheConsole(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	token := w.password("reports", "alice", "openid offline_access").ok()
	w.advance(2 * time.Hour)
	page := b.admin("settings/sessions")
	ask := b.send(page, "edit", "offlineSessionIdleTimeout", "1", "offlineSessionIdleTimeout.unit", "h").on("settings/sessions", 200)
	ask.shows("Of 1 offline session", "Save all the same").hides("regular session", "older than")
	c.get("").has("offlineSessionIdleTimeout", 30*86400)
	if got := ask.field("edit", "offlineSessionIdleTimeout") + ask.field("edit", "offlineSessionIdleTimeout.unit"); got != "1h" {
		t.Errorf("what was typed is %q now", got)
	}
	b.send(ask, "edit", "offlineSessionIdleTimeout", "2", "sure", "yes").on("settings/sessions", 200).shows("Save all the same") // another change
	if !w.active(token.refreshed()) {
		t.Error("asking ended it")
	}
	b.send(ask, "edit").on("settings/sessions?done=saved", 200)
	c.get("").has("offlineSessionIdleTimeout", 3600)
	w.dead("reports", token, "idle_expired")

	// A longer one ends nothing, and asks nothing.
	page = b.send(b.admin("settings/sessions"), "edit", "offlineSessionIdleTimeout", "30", "offlineSessionIdleTimeout.unit", "d").on("settings/sessions?done=saved", 200)
	// Max: when it is switched on, and when it is shorter.
	page = b.send(b.send(page, "edit", "offlineSessionMaxLifespanEnabled", "on").shows("older than the new limit"), "edit").on("settings/sessions?done=saved", 200)
	page = b.send(page, "edit", "offlineSessionMaxLifespan", "61").on("settings/sessions?done=saved", 200)
	b.send(page, "edit", "offlineSessionMaxLifespan", "1").on("settings/sessions", 200).shows("older than the new limit")
	page = b.send(page, "edit", "offlineSessionMaxLifespanEnabled", "").on("settings/sessions?done=saved", 200)
	page = b.send(page, "edit", "offlineSessionMaxLifespan", "1").on("settings/sessions?done=saved", 200) // not limited
	// Logins.
	for _, field := range []string{"ssoSessionIdleTimeout", "ssoSessionMaxLifespan", "clientSessionIdleTimeout"} {
		b.send(page, "edit", field, "9", field+".unit", "m").on("settings/sessions", 200).shows("regular session").hides("offline session")
	}
	if rows := c.get("admin-events?operationTypes=UPDATE").list(); rows[0]["resourcePath"] != "" || rows[0]["authDetails"].(o)["username"] != "carol" || rows[0]["authDetails"].(o)["ipAddress"] != "192.0.2.1" {
		t.Errorf("events %v", fmt.Sprint(rows[0]))
	}
}

// What the Caddyfile says about the realm is shown with where, and cannot be
// changed here.
func TestConsoleDeclaredSettings(t *testing.T) {
	w := newWorld(t, func(s *realm.Settings) { s.OfflineSessionIdle, s.DisplayName = 20*day, `Demo <b>"` })
	c, b := w.console(), w.browser()
	page := b.admin("settings/sessions").shows("Declared in the Caddyfile: realm demo.")
	before := c.get("").raw
	b.send(page, "edit", "offlineSessionIdleTimeout", "1", "sure", "yes").on("settings/sessions?done=saved", 200)
	b.send(b.admin("settings").shows("Declared in the Caddyfile: realm demo.", "Demo &lt;b&gt;&#34;").hides("<b>"), "edit", "displayName", "Evil").on("settings?done=saved", 200)
	if after := c.get("").raw; after != before {
		t.Errorf("declared settings changed\n%s to\n%s", before, after)
	}
}
