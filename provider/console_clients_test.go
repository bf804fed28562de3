package provider_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// The list of clients: what it says, its search, its pages.
func TestConsoleClients(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	w.offline(3, c.user("alice"), c.client("reports"))
	page := b.admin("clients").on("clients", 200)
	page.shows("reports", "spa", "Confidential", "Public", "Enabled", ">3</a>")
	b.send(page, "console/clients", "search", "EPOR").on("clients?search=EPOR", 200).shows(">reports<").hides(">spa<")
	b.send(page, "console/clients", "search", `<b>"`).shows("There is no such client.", "&lt;b&gt;&#34;").hides("<b>")
	for i := range 45 {
		c.send("clients", o{"clientId": "app-" + string(rune('a'+i/26)) + string(rune('a'+i%26))}).is(201)
	}
	second := b.admin("clients?search=app&first=20").shows("app-au", "app-bn", "first=40").hides("app-at", "app-bo")
	second.shows(`rel="prev" href="/admin/demo/console/clients?search=app"`)
	b.admin("clients?search=app&first=40").shows("app-bo", "app-bs").hides("first=60")
	for _, bad := range []string{"-1", "x", "99999999999"} {
		b.admin("clients?first="+bad).on("clients?first="+bad, 400).shows("whole number")
	}
}

// A client is made, changed, disabled, enabled and deleted; what is wrong is said
// beside its field and loses nothing.
func TestConsoleClient(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()

	page := b.admin("new-client").on("new-client", 200)
	wrong := b.send(page, "edit", "clientId", "night", "name", "Night & day", "redirectUris", "https://ok.test/cb\nnot a URI").on("new-client", 400)
	wrong.shows(`aria-invalid="true"`, "Nothing is saved yet", "Night &amp; day")
	if got := wrong.field("edit", "redirectUris"); got != "https://ok.test/cb\nnot a URI" {
		t.Errorf("what was typed is %q now", got)
	}
	if n := len(c.get("clients?clientId=night").list()); n != 0 {
		t.Error("a refused client was made")
	}
	b.send(wrong, "edit", "clientId", "reports").on("new-client", 400)
	b.send(wrong, "edit", "clientId", "reports", "redirectUris", callback).on("new-client", 400).shows("Client reports already exists.")
	page = b.send(wrong, "edit", "redirectUris", callback)
	id := c.client("night")
	page.on("clients/"+id+"?done=created", 200).shows("Created.", "Night &amp; day")
	at := "clients/" + id

	// Saving what is there changes nothing.
	before := c.get(at).raw
	page = b.send(page, "edit").on(at+"?done=saved", 200)
	if after := c.get(at).raw; after != before {
		t.Errorf("saving changed\n%s to\n%s", before, after)
	}
	page = b.send(page, "edit", "clientId", "nightly", "name", "", "description", "Works at night", "baseUrl", "https://night.test/",
		"redirectUris", "https://night.test/cb\r\n\r\n https://night.test/cb2 ", "attributes.post.logout.redirect.uris", "+\nhttps://night.test/bye",
		"webOrigins", "+", "attributes.backchannel.logout.url", "https://night.test/hear", "directAccessGrantsEnabled", "on", "serviceAccountsEnabled", "on",
		"attributes.oauth2.device.authorization.grant.enabled", "on", "attributes.pkce.code.challenge.method", "", "consentRequired", "on",
		"attributes.consent.offline.access", "on").on(at+"?done=saved", 200)
	got := c.get(at)
	for member, want := range map[string]any{
		"clientId": "nightly", "name": nil, "description": "Works at night", "baseUrl": "https://night.test/", "redirectUris": []any{"https://night.test/cb", "https://night.test/cb2"},
		"webOrigins": []any{"+"}, "directAccessGrantsEnabled": true, "serviceAccountsEnabled": true, "standardFlowEnabled": true, "consentRequired": true,
	} {
		got.has(member, want)
	}
	attributes := got.object()["attributes"].(map[string]any)
	for name, want := range map[string]any{
		"post.logout.redirect.uris": "+##https://night.test/bye", "backchannel.logout.url": "https://night.test/hear",
		"oauth2.device.authorization.grant.enabled": "true", "pkce.code.challenge.method": "", "consent.offline.access": "true",
	} {
		if attributes[name] != want {
			t.Errorf("%s is %v, want %v", name, attributes[name], want)
		}
	}
	// A public client has no service account; PKCE is not left out for it.
	b.send(page, "edit", "publicClient", "on").on(at, 400).shows("A public client")
	page = b.send(page, "edit", "publicClient", "on", "serviceAccountsEnabled", "", "attributes.pkce.code.challenge.method", "S256").on(at+"?done=saved", 200)
	// What is no field of the page is no way in.
	b.send(page, "edit", "enabled", "", "fullScopeAllowed", "", "secret", "mine", "notBefore", "9", "id", "other", "declared", "x").on(at+"?done=saved", 200)
	c.get(at).has("enabled", true).has("fullScopeAllowed", true).has("notBefore", 0)

	// Switched off, and on again.
	w.offline(2, c.user("alice"), id)
	ask := b.admin(at+"/disable").on(at+"/disable", 200)
	ask.shows("2 offline sessions, 0 active sessions")
	c.get(at).has("enabled", true)
	b.send(ask, "confirm").on(at+"?done=disabled", 200).shows("Disabled")
	c.get(at).has("enabled", false)
	b.admin("clients?search=nightly").shows("Disabled")
	ask = b.admin(at+"/enable").on(at+"/enable", 200)
	c.get(at).has("enabled", false)
	b.send(ask, "confirm").on(at+"?done=enabled", 200)
	c.get(at).has("enabled", true)

	// Gone.
	ask = b.admin(at + "/delete").shows("2 offline sessions")
	c.get(at)
	b.send(ask, "confirm").on("clients?done=deleted", 200).shows("Deleted.").hides("nightly")
	for _, page := range []string{"", "/disable", "/delete"} {
		b.admin(at+page).on(at+page, 404)
	}
	if n := len(c.get("admin-events?operationTypes=DELETE").list()); n != 1 {
		t.Errorf("%d events of one deletion", n)
	}
}

// What the configuration declares is shown with where it does, and cannot be
// changed or deleted here.
func TestConsoleDeclaredClient(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	at := "clients/" + c.client("reports")
	page := b.admin(at).shows("Declared in the Caddyfile: client reports.").hides(at + "/delete")
	before := c.get(at).raw
	b.send(page, "edit", "clientId", "other-name", "redirectUris", "https://evil.test/", "directAccessGrantsEnabled", "").on(at+"?done=saved", 200)
	if after := c.get(at).raw; after != before {
		t.Errorf("declared fields changed:\n%s", after)
	}
	ask := b.admin(at + "/delete")
	b.send(ask, "confirm").on(at+"/delete", 400).shows("is declared in the Caddyfile")
	c.get(at)
	// Built-in clients can be switched off, never deleted.
	account := "clients/" + c.client("account")
	b.admin(account).shows(account + "/disable").hides(account + "/delete")
}

// The secret is shown while the REST has it, and made anew after a question.
func TestConsoleCredentials(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	id := c.create("clients", o{"clientId": "night", "directAccessGrantsEnabled": true})
	at := "clients/" + id
	secret := c.get(at + "/client-secret").object()["value"].(string)
	page := b.admin(at+"/credentials").on(at+"/credentials", 200).shows(secret)
	ask := b.admin(at+"/credentials/regenerate").on(at+"/credentials/regenerate", 200)
	c.get(at+"/client-secret").has("value", secret)
	page.shows("shown for an hour")
	page = b.send(ask, "confirm").on(at+"/credentials?done=new-secret", 200).hides(secret)
	page.shows(c.get(at + "/client-secret").object()["value"].(string))
	w.advance(61 * time.Minute)
	b.admin(at + "/credentials").shows("Hidden")

	// Keys in place of a secret.
	page = b.admin(at + "/credentials")
	b.send(page, "edit", "clientAuthenticatorType", "client-jwt").on(at+"/credentials", 400).shows("private_key_jwt needs a key set")
	wrong := b.send(page, "edit", "clientAuthenticatorType", "client-jwt", "attributes.jwks.string", `{"keys":[]}`).on(at+"/credentials", 400).shows("This has to be a JSON Web Key Set")
	if got := wrong.field("edit", "attributes.jwks.string"); got != `{"keys":[]}` {
		t.Errorf("what was typed is %q now", got)
	}
	const jwks = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	b.send(wrong, "edit", "attributes.jwks.string", jwks).on(at+"/credentials?done=saved", 200)
	c.get(at).has("clientAuthenticatorType", "client-jwt")

	// A public client has none.
	b.admin("clients/"+c.client("spa")+"/credentials").on("clients/"+c.client("spa")+"/credentials", 404)
	b.admin("clients/" + c.client("spa")).hides("/credentials")
}

// Client scopes are assigned in two ways; what hangs on offline_access is said.
func TestConsoleClientScopes(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	id := c.create("clients", o{"clientId": "night", "directAccessGrantsEnabled": true, "secret": "night-secret"})
	at := "clients/" + id
	token := w.password("night", "alice", "openid offline_access").ok().refreshed()
	scope := ""
	for _, s := range c.get("client-scopes").list() {
		if s["name"] == "offline_access" {
			scope = s["id"].(string)
		}
	}
	page := b.admin(at+"/scopes").on(at+"/scopes", 200)
	page.shows("offline_access</code>", "Optional", at+"/scopes/assign?as=default&amp;scope="+scope, at+"/scopes/assign?scope="+scope)
	ask := b.admin(at + "/scopes/assign?scope=" + scope).shows("1 offline session does not work any more")
	w.refresh("night", token).ok()
	b.send(ask, "confirm").on(at+"/scopes?done=saved", 200)
	w.refresh("night", token).fails(400, "invalid_grant", "role_missing")
	ask = b.admin(at + "/scopes/assign?as=default&scope=" + scope).shows("each login makes an offline session")
	b.send(ask, "confirm")
	if got := fmt.Sprint(c.get(at).object()["defaultClientScopes"]); !strings.Contains(got, "offline_access") {
		t.Errorf("default scopes are %s", got)
	}
	ask = b.admin(at + "/scopes/assign?as=optional&scope=" + scope)
	b.send(ask, "confirm")
	if got := fmt.Sprint(c.get(at).object()["optionalClientScopes"]); !strings.Contains(got, "offline_access") {
		t.Errorf("optional scopes are %s", got)
	}
	w.refresh("night", token).ok()
	for _, bad := range []string{"", "?scope=nothing", "?scope=..", "?scope=" + scope + "&as=both"} {
		b.admin(at+"/scopes/assign"+bad).on(at+"/scopes/assign"+bad, 404)
	}
}

// The scope of a client: all roles, or those that were assigned.
func TestConsoleClientRoles(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	id := c.create("clients", o{"clientId": "night", "directAccessGrantsEnabled": true, "secret": "night-secret"})
	at := "clients/" + id
	b.admin(at+"/roles").on(at+"/roles", 200).shows("Full scope allowed", "/roles/full-off", "offline_access")
	w.password("night", "alice", "openid offline_access").ok()
	ask := b.admin(at + "/roles/full-off").shows("1 offline session goes on without the roles")
	c.get(at).has("fullScopeAllowed", true)
	b.send(ask, "confirm").on(at+"/roles?done=saved", 200).shows("/roles/full-on")
	c.get(at).has("fullScopeAllowed", false)
	for role, want := range map[string]bool{"keeper": true, "offline_access": true} {
		ask = b.admin(at + "/roles/add?role=" + role)
		b.send(ask, "confirm").on(at+"/roles?done=saved", 200).shows("/roles/remove?role=" + role)
		if got := slices.Contains(c.get(at+"/scope-mappings/realm").each("name"), role); got != want {
			t.Errorf("role %s assigned: %v", role, got)
		}
	}
	ask = b.admin(at + "/roles/remove?role=keeper")
	b.send(ask, "confirm").hides("/roles/remove?role=keeper")
	ask = b.admin(at + "/roles/full-on")
	b.send(ask, "confirm")
	c.get(at).has("fullScopeAllowed", true)
	for _, bad := range []string{"/roles/add", "/roles/add?role=nothing", "/roles/remove?role=.", "/roles/remove?role=a/b"} {
		b.admin(at+bad).on(at+bad, 404)
	}
}

// Overrides of the realm's settings; empty inherits.
func TestConsoleClientAdvanced(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	id := c.create("clients", o{"clientId": "night"})
	at := "clients/" + id
	w.offline(1, c.user("alice"), id)
	page := b.admin(at+"/advanced").on(at+"/advanced", 200)
	before := c.get(at).raw
	page = b.send(page, "edit")
	if after := c.get(at).raw; after != before {
		t.Errorf("saving changed\n%s to\n%s", before, after)
	}
	page = b.send(page, "edit", "attributes.access.token.lifespan", "90", "attributes.access.token.lifespan.unit", "s",
		"attributes.access.token.signed.response.alg", "EdDSA", "attributes.revoke.refresh.token", "false", "attributes.refresh.token.max.reuse", "2",
		"attributes.client.session.idle.timeout", "1", "attributes.client.session.idle.timeout.unit", "h",
		"attributes.client.offline.session.max.lifespan", "7", "attributes.client.offline.session.max.lifespan.unit", "d").on(at+"/advanced", 200)
	// Shorter limits end sessions, so the page asks once.
	page.shows("Of 1 offline session it ends if it is older", "Of 0 regular sessions", "Save all the same")
	if after := c.get(at).raw; after != before {
		t.Error("asking changed it")
	}
	page = b.send(page, "edit").on(at+"/advanced?done=saved", 200)
	got := c.get(at).object()["attributes"].(map[string]any)
	for name, want := range map[string]any{
		"access.token.lifespan": "90", "access.token.signed.response.alg": "EdDSA", "id.token.signed.response.alg": "EdDSA", "revoke.refresh.token": "false",
		"refresh.token.max.reuse": "2", "client.session.idle.timeout": "3600", "client.offline.session.max.lifespan": "604800", "client.session.max.lifespan": nil,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	wrong := b.send(page, "edit", "attributes.refresh.token.max.reuse", "many", "attributes.client.session.idle.timeout", "-3", "attributes.access.token.lifespan", "x").on(at+"/advanced", 400)
	for _, name := range []string{"refresh.token.max.reuse", "client.session.idle.timeout", "access.token.lifespan"} {
		wrong.shows(`id="attributes-` + strings.ReplaceAll(name, ".", "-") + `-problem"`)
	}
	if wrong.field("edit", "attributes.client.session.idle.timeout") != "-3" {
		t.Error("what was typed is gone")
	}
	b.send(wrong, "edit", "attributes.refresh.token.max.reuse", "", "attributes.client.session.idle.timeout", "", "attributes.access.token.lifespan", "",
		"attributes.revoke.refresh.token", "", "attributes.access.token.signed.response.alg", "", "attributes.client.offline.session.max.lifespan", "").on(at+"/advanced?done=saved", 200)
	if after := c.get(at).raw; after != before {
		t.Errorf("inheriting again left\n%s, was\n%s", after, before)
	}
}
