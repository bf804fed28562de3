package provider_test

import (
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/user"
)

// The list of users: what it says, its search, its pages.
func TestConsoleUsers(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	page := b.admin("users").on("users", 200)
	page.shows("3 users", "alice", "Alice Liddell", "alice@example.com").hides("/delete\"") // they are declared
	b.send(page, "console/users", "search", `<b>"`).shows("Nobody is called so", "&lt;b&gt;&#34;").hides("<b>")
	for i := range 45 {
		c.send("users", o{"username": "person-" + string(rune('a'+i/26)) + string(rune('a'+i%26)), "enabled": i%2 == 0}).is(201)
	}
	next := regexp.MustCompile(`rel="next" href="/admin/demo/console/([^"]+)"`)
	first := b.admin("users?search=person").shows("person-aa", "person-at", "Disabled", "Delete person-at").hides("person-au", "First page")
	second := b.admin(html.UnescapeString(next.FindStringSubmatch(first.body)[1])).shows("person-au", "person-bn").hides("person-at", "person-bo")
	second.shows(`rel="first" href="/admin/demo/console/users?search=person"`)
	third := b.admin(html.UnescapeString(next.FindStringSubmatch(second.body)[1])).shows("person-bo", "person-bs")
	if next.MatchString(third.body) {
		t.Error("the last page goes on")
	}
	b.admin("users").shows("48 users", "alice", "person-aq").hides("person-ar")
	b.admin("users?after=x").on("users?after=x", 400)
}

// A user is made, changed, disabled, enabled and deleted; what is wrong is said
// beside its field and loses nothing.
func TestConsoleUser(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	page := b.admin("users/new").on("users/new", 200)
	wrong := b.send(page, "edit", "username", "dave", "email", "no address", "firstName", `Dave <b>"`, "groups", "staff\ncrew").on("users/new", 400)
	wrong.shows(`id="email-problem"`, "mail address", "Nothing is saved yet").hides("<b>")
	for name, want := range map[string]string{"username": "dave", "email": "no address", "firstName": `Dave <b>"`, "groups": "staff\ncrew", "enabled": "on"} {
		if got := wrong.field("edit", name); got != want {
			t.Errorf("%s is %q now, want %q", name, got, want)
		}
	}
	b.send(wrong, "edit", "email", "ALICE@example.com").on("users/new", 400).shows(`id="email-problem"`, "User exists with same email")
	b.send(wrong, "edit", "username", "alice", "email", "").on("users/new", 400).shows(`id="username-problem"`, "User exists with same username")
	b.send(wrong, "edit", "username", "").on("users/new", 400).shows("Please fill this in")
	if n := len(c.get("users?search=dave").list()); n != 0 {
		t.Fatal("a refused user was made")
	}
	page = b.send(wrong, "edit", "email", "dave@example.com")
	at := "users/" + c.user("dave")
	page.shows("The user is there", "Dave &lt;b&gt;&#34;").hides("<b>")
	c.get(at).has("firstName", `Dave <b>"`).has("groups", []string{"staff", "crew"}).has("enabled", true)

	// Saving what is there changes nothing, and no member beside those of the page
	// is a way in.
	page = b.admin(at).on(at, 200).shows("1 March 2026, 12:00 UTC", "readonly")
	before := c.get(at).raw
	page = b.send(page, "edit", "username", "mallory", "realmRoles", "realm-admin", "notBefore", "9", "id", "x", "declared", "x", "credentials", "x", "origin", "x").on(at+"?done=saved", 200)
	if after := c.get(at).raw; after != before {
		t.Errorf("saving changed\n%s to\n%s", before, after)
	}
	c.put(at+"/reset-password", o{"value": "dave-pw"}).is(204)
	token := w.password("reports", "dave", "openid offline_access").ok()
	page = b.send(page, "edit", "enabled", "", "lastName", "Bowman", "groups", "").on(at+"?done=saved", 200)
	w.dead("reports", token, "user_disabled") // O38
	b.send(page, "edit", "enabled", "on").on(at+"?done=saved", 200)
	token = w.refresh("reports", token.refreshed()).ok()
	c.get(at).has("lastName", "Bowman").has("groups", nil)

	// Gone, with a question first.
	ask := b.admin(at+"/delete").on(at+"/delete", 200).shows("Delete the user dave?", "1 offline session", "0 sessions", "0 consents")
	token = w.refresh("reports", token.refreshed()).ok()
	b.send(ask, "confirm").on("users?done=deleted", 200).shows("Deleted.").hides("dave")
	w.dead("reports", token, "user_deleted")
	b.send(ask, "confirm").on("users?done=gone", 200).shows("That had ended already")
	b.admin(at).on(at, 404)
	rows := c.get("admin-events?operationTypes=DELETE").list()
	if len(rows) != 1 || rows[0]["resourcePath"] != at || rows[0]["authDetails"].(o)["username"] != "carol" || rows[0]["authDetails"].(o)["ipAddress"] != "192.0.2.1" {
		t.Errorf("events %v", rows)
	}
}

// What the configuration declares is shown with where it does, and stays.
func TestConsoleDeclaredUser(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	at := "users/" + c.user("alice")
	page := b.admin(at).shows("Declared in the Caddyfile: user alice.").hides(at + "/delete")
	before := c.get(at).raw
	b.send(page, "edit", "email", "evil@example.com", "firstName", "Eve").on(at+"?done=saved", 200)
	if after := c.get(at).raw; after != before {
		t.Errorf("declared fields changed:\n%s", after)
	}
	ask := b.admin(at + "/delete")
	b.send(ask, "confirm").on(at+"/delete", 400).shows("is declared in the Caddyfile")
	b.admin(at) // she is there
	// What is state and no declaration can be changed.
	b.send(page, "edit", "enabled", "").on(at+"?done=saved", 200)
	c.get(at).has("enabled", false)
}

// Who switches himself off is told so before.
func TestConsoleOwnAccount(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	at := "users/" + c.user("carol")
	b.admin(at).shows("This is your own account")
	b.admin("users/" + c.user("alice")).hides("This is your own account")
	b.admin(at + "/delete").shows("This is your own account")
	b.admin(at + "/sessions/end-all").shows("you are logged out here too")
}

// The sessions of the realm: both kinds, by type and by user; one is ended, and
// all.
func TestConsoleSessions(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	online := w.browser().grant("alice", "reports", "openid")
	offline := w.password("reports", "alice", "openid offline_access").ok()
	other := w.password("other", "alice", "openid offline_access").ok()
	page := b.admin("sessions").on("sessions", 200).
		shows("alice", "carol", "Regular", "Offline", "1 March 2026, 12:00 UTC", "192.0.2.1", ">reports</a>", "Sign out", "Revoke")
	rows := func(r *reply) int { return strings.Count(r.body, `<td class="do">`) }
	for _, want := range []struct {
		kind, search string
		rows         int
	}{{"ALL", "", 4}, {"REGULAR", "", 2}, {"OFFLINE", "", 2}, {"OFFLINE", "alice", 2}, {"ALL", "carol", 1}, {"OFFLINE", "carol", 0}, {"ALL", "<b>", 0}, {"ALL", "192.0.2.*", 4}, {"OFFLINE", "192.0.2.1", 2}, {"ALL", "198.51.100.1", 0}} {
		if got := b.send(page, "console/sessions", "type", want.kind, "search", want.search).hides("<b>"); rows(got) != want.rows {
			t.Errorf("%s of %q: %d rows, want %d", want.kind, want.search, rows(got), want.rows)
		}
	}
	b.admin("sessions?type=x").on("sessions?type=x", 400).shows("ALL, REGULAR or OFFLINE")

	// One offline session alone; looking at the question ends nothing.
	id := offline.claims()["offline_session"].(string)
	end := "sessions/end?offline=true&session=" + id
	ask := b.admin(end).on(end, 200).shows("Revoke this offline session?", "This 1 offline session ends", "alice", "reports")
	offline = w.refresh("reports", offline.refreshed()).ok()
	b.send(ask, "confirm").on("sessions?done=revoked", 200).shows("Revoked.")
	w.dead("reports", offline, "revoked")
	other = w.refresh("other", other.refreshed()).ok()
	b.send(ask, "confirm").on("sessions?done=gone", 200).shows("That had ended already")
	// A login; offline sessions stay.
	end = "sessions/end?session=" + online.claims()["sid"].(string)
	ask = b.admin(end).on(end, 200).shows("Sign out this session?", "Offline sessions stay")
	b.send(ask, "confirm").on("sessions?done=signed-out", 200)
	if w.refresh("reports", online.refreshed()).status != 400 {
		t.Error("the login lives")
	}
	other = w.refresh("other", other.refreshed()).ok()
	paths := c.get("admin-events?operationTypes=DELETE").each("resourcePath")
	if len(paths) != 2 || paths[1] != "sessions/"+id {
		t.Errorf("events of %q", paths)
	}

	// All, offline ones too: the realm's not-before.
	w.advance(time.Second)
	ask = b.admin("sessions/end-all").shows("Sign out all active sessions?", "2 sessions end", "1 offline session is refused", "you too")
	other = w.refresh("other", other.refreshed()).ok()
	w.advance(time.Second)
	b.send(ask, "confirm").shows(`id="login"`) // who did it is out, too
	w.dead("other", other, "not_before")
	w.advance(time.Millisecond)
	b.admin("sessions?type=OFFLINE").shows("Refused: before Not before")
	w.password("other", "alice", "openid offline_access").ok()
}

// The sessions of a user, over all clients, in pages.
func TestConsoleUserSessions(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	alice := c.user("alice")
	at := "users/" + alice + "/sessions"
	b.admin(at).shows("alice is not logged in.", "Nothing may act for alice").hides("Log out all sessions", "Revoke all")
	online := w.browser().grant("alice", "reports", "openid")
	w.offline(30, alice, c.client("reports"))
	offline := w.password("other", "alice", "openid offline_access").ok()
	carols := w.password("other", "carol", "openid offline_access").ok()
	page := b.admin(at).shows("1 session", "31 offline sessions", "offline=20", ">reports</a>")
	if n := strings.Count(page.body, ">Revoke<"); n != 20 {
		t.Errorf("%d offline sessions on the first page", n)
	}
	page = b.admin(at+"?offline=20").shows(">reports</a>", "1 session").hides("offline=40")
	if n := strings.Count(page.body, ">Revoke<"); n != 11 {
		t.Errorf("%d offline sessions on the second page", n)
	}
	// One of them, from here.
	end := at + "/end?offline=true&session=" + offline.claims()["offline_session"].(string)
	b.send(b.admin(end), "confirm").on(at+"?done=revoked", 200).shows("30 offline sessions")
	w.dead("other", offline, "revoked")
	// All offline ones; the login stays.
	ask := b.admin(at + "/revoke-all").shows("30 offline sessions end for good")
	offline = w.password("other", "alice", "openid offline_access").ok()
	b.send(ask, "confirm").on(at+"?done=revoked-all", 200).shows("0 offline sessions", "1 session")
	w.dead("other", offline, "revoked")
	online = w.refresh("reports", online.refreshed()).ok()
	w.refresh("other", carols.refreshed()).ok()
	if paths := c.get("admin-events?operationTypes=DELETE").each("resourcePath"); paths[0] != "users/"+alice+"/offline-sessions" {
		t.Errorf("events of %q", paths)
	}
	// All sessions: logins end, offline ones are refused (O31).
	offline = w.password("other", "alice", "openid offline_access").ok()
	w.advance(time.Second)
	ask = b.admin(at+"/end-all").shows("Log out all sessions of alice?", "1 session ends", "1 offline session is refused")
	w.refresh("other", offline.refreshed()).ok()
	b.send(ask, "confirm").on(at+"?done=logged-out", 200).shows("Refused: before Not before", "alice is not logged in")
	w.dead("other", offline, "not_before")
	if w.refresh("reports", online.refreshed()).status != 400 {
		t.Error("the login lives")
	}
	w.refresh("other", carols.refreshed()).ok()
}

// Not-before of the realm and of a user, by the console: set to now, with a
// question that says what it ends, and cleared.
func TestO63_NotBeforeInTheConsole(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	token := w.password("reports", "alice", "openid offline_access").ok()
	alive := func() { t.Helper(); token = w.refresh("reports", token.refreshed()).ok() }
	for _, of := range []struct{ page, rest, ends string }{
		{"users/" + c.user("alice") + "/revocation", "users/" + c.user("alice"), "1 offline session is refused"},
		{"sessions/revocation", "", "1 offline session is refused"},
	} {
		w.advance(time.Second)
		b.admin(of.page).shows("Not before", "None", "Set to now").hides("/clear")
		ask := b.admin(of.page+"/set").shows("Set Not before to now?", of.ends)
		alive()
		c.get(of.rest).has("notBefore", 0)
		w.advance(1500 * time.Millisecond)
		b.send(ask, "confirm")
		w.dead("reports", token, "not_before")
		set := w.clock()
		w.advance(time.Millisecond)
		c.token = "" // the administrator may have to log in again
		b.admin(of.page).shows(set.Format("2 January 2006, 15:04 UTC"))
		c.get(of.rest).has("notBefore", set.Unix())
		ask = b.admin(of.page + "/clear").shows("Clear Not before?")
		w.dead("reports", token, "not_before")
		b.send(ask, "confirm").on(of.page+"?done=not-before-cleared", 200).shows("None", "Not before is cleared")
		alive()
		if rows := c.get("admin-events?operationTypes=UPDATE").list(); rows[0]["resourcePath"] != of.rest || rows[0]["authDetails"].(o)["username"] != "carol" || rows[0]["authDetails"].(o)["ipAddress"] != "192.0.2.1" {
			t.Errorf("events %v", rows)
		}
	}
	// The latest counts: a user's that is older than the realm's takes nothing back.
	w.advance(time.Hour)
	b.send(b.admin("users/"+c.user("alice")+"/revocation/set"), "confirm")
	token = w.password("reports", "alice", "openid offline_access").ok()
	w.dead("reports", token, "not_before") // in its very millisecond
	w.advance(time.Second)
	token = w.password("reports", "alice", "openid offline_access").ok()
	alive()
	w.advance(time.Second)
	b.send(b.admin("sessions/revocation/set"), "confirm")
	w.dead("reports", token, "not_before")
	w.advance(time.Millisecond)
	c.token = ""
	b.send(b.admin("users/"+c.user("alice")+"/revocation/clear"), "confirm")
	w.dead("reports", token, "not_before")
	b.send(b.admin("sessions/revocation/clear"), "confirm")
	alive()
	b.send(b.admin("sessions/revocation/push"), "confirm").on("sessions/revocation?done=pushed", 200).shows("in force already")
	b.admin("users/"+c.user("alice")+"/revocation/push").on("users/"+c.user("alice")+"/revocation/push", 404)
}

// A service account is shown, and is its client's to delete.
func TestConsoleServiceAccount(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	w.post("token", "reports", "grant_type", "client_credentials").ok()
	at := "users/" + c.get("clients/" + c.client("reports") + "/service-account-user").object()["id"].(string)
	b.admin(at).shows("The service account of the client reports.").hides("/delete", "Email")
	b.admin("users").hides("service-account")
}

// An administrator who loses the role between a page and its form is told so, and
// nothing happens.
func TestConsoleRoleIsLost(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	alice := "users/" + c.user("alice")
	token := w.password("reports", "alice", "openid offline_access").ok()
	edit, ask := b.admin(alice), b.admin(alice+"/sessions/revoke-all")
	w.editUser("carol", func(u *user.User) { u.Roles = []string{"keeper"} })
	for form, page := range map[string]*reply{"edit": edit, "confirm": ask} {
		if got := b.send(page, form, "enabled", ""); got.status != 403 {
			t.Errorf("%s: %d", form, got.status)
		}
	}
	w.refresh("reports", token.refreshed()).ok()
	b.admin("users").on("users", 403).shows("no administrator of this realm")
}

// The consents of a user: client, scopes, dates, Offline token among the additional
// grants; Revoke says which offline sessions end, and ends them.
func TestO61_ConsentsInTheConsole(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	c.create("clients", o{"clientId": "asks <b>", "secret": "asks-secret", "consentRequired": true, "redirectUris": []string{callback}})
	at := "users/" + c.user("alice") + "/consents"
	b.admin(at).shows("alice has allowed nothing to any client.")
	reports := w.password("reports", "alice", "openid offline_access").ok() // a client that asks nothing
	again := w.password("reports", "alice", "openid offline_access").ok()
	alices := w.browser()
	page, _ := alices.open("GET", authURL("asks <b>", "openid email offline_access"), nil)
	page = alices.press(page, "login", "username", "alice", "password", "alice-pw")
	_, left := alices.submit(page, "consent", map[string][]string{"accept": {"yes"}})
	asked := w.post("token", "", "client_id", "asks <b>", "client_secret", "asks-secret", "grant_type", "authorization_code", "code", left.Query().Get("code"),
		"redirect_uri", callback, "code_verifier", verifier).ok()

	page = b.admin(at).shows("asks &lt;b&gt;", "email", "offline_access", "1 March 2026, 12:00 UTC", "Offline token", "reports", "—").hides("<b>")
	if n := strings.Count(page.body, "Offline token<"); n != 2 {
		t.Errorf("%d clients with offline tokens", n)
	}
	revoke := at + "/revoke?client=asks+%3Cb%3E"
	if !strings.Contains(unescape(page.body), `href="/admin/demo/console/`+revoke+`"`) {
		t.Error("the consent has no link to revoke it")
	}
	ask := b.admin(revoke).on(revoke, 200).shows("Revoke what alice allowed asks &lt;b&gt;?", "1 offline session ends", "192.0.2.1").hides("<b>")
	refresh := func() *reply {
		return w.post("token", "", "client_id", "asks <b>", "client_secret", "asks-secret", "grant_type", "refresh_token", "refresh_token", asked.refreshed())
	}
	refresh().ok()
	b.send(ask, "confirm").on(at+"?done=consent-revoked", 200).hides("asks")
	refresh().fails(400, "invalid_grant", "revoked")
	reports = w.refresh("reports", reports.refreshed()).ok()
	b.send(ask, "confirm").on(at+"?done=gone", 200).shows("That had ended already")
	// The offline tokens alone.
	ask = b.admin(at + "/revoke?client=reports").shows("2 offline sessions end")
	b.send(ask, "confirm").on(at+"?done=consent-revoked", 200).shows("has allowed nothing")
	w.dead("reports", reports, "revoked")
	w.dead("reports", again, "revoked")
	rows := c.get("admin-events?operationTypes=DELETE").list()
	if len(rows) != 2 || rows[0]["resourcePath"] != at+"/reports" || rows[0]["authDetails"].(o)["ipAddress"] != "192.0.2.1" {
		t.Errorf("events %v", rows)
	}
	for _, bad := range []string{"?client=nobody", "", "?client="} {
		b.admin(at+"/revoke"+bad).on(at+"/revoke"+bad, 404)
	}
}

// A password: typed twice, set, and what else ends only if it is asked for.
func TestConsolePassword(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	id := c.create("users", o{"username": "dave", "enabled": true})
	at := "users/" + id + "/credentials"
	b.admin(at).shows("None: nobody can log in as dave.")
	page := b.admin(at)
	for _, bad := range []struct{ value, again, says string }{
		{"first-pw", "other-pw", `id="confirmation-problem"`}, {"", "", `id="value-problem"`}, {strings.Repeat("x", 5000), strings.Repeat("x", 5000), `id="value-problem"`},
	} {
		b.send(page, "edit", "value", bad.value, "confirmation", bad.again).on(at, 400).shows(bad.says, "Nothing is saved yet").hides("first-pw", "xxxx")
	}
	c.get(at)
	if n := len(c.get(at).list()); n != 0 {
		t.Error("a refused password was set")
	}
	login := func(password string) *reply {
		return w.post("token", "reports", "grant_type", "password", "username", "dave", "password", password, "scope", "openid offline_access")
	}
	b.send(page, "edit", "value", " a  b ", "confirmation", " a  b ").on(at+"?done=password-set", 200).shows("There is one.").hides("Declared")
	token := login(" a  b ").ok()
	if n := w.count(event.UpdateCredential, ""); n != 1 {
		t.Errorf("%d passwords are told of", n)
	}
	// O40: nothing ends by it.
	w.advance(time.Second)
	page = b.send(b.admin(at).shows("1 offline session is refused"), "edit", "value", "second", "confirmation", "second").on(at+"?done=password-set", 200)
	token = w.refresh("reports", token.refreshed()).ok()
	login(" a  b ").fails(400, "invalid_grant", "")
	// Unless it is ticked.
	w.advance(time.Second)
	b.send(page, "edit", "value", "third", "confirmation", "third", "everywhere", "on").on(at+"?done=password-set", 200)
	w.dead("reports", token, "not_before")
	// One that is declared can be set too, and the page says what comes of it.
	alice := "users/" + c.user("alice") + "/credentials"
	page = b.admin(alice).shows("Declared in the Caddyfile: user alice.", "stays until the one in the Caddyfile changes")
	b.send(page, "edit", "value", "new-pw", "confirmation", "new-pw").on(alice+"?done=password-set", 200)
	w.restart()
	w.post("token", "reports", "grant_type", "password", "username", "alice", "password", "new-pw", "scope", "openid").ok()
	if rows := c.get("admin-events?operationTypes=UPDATE").list(); rows[0]["resourcePath"] != "users/"+c.user("alice")+"/reset-password" || rows[0]["authDetails"].(o)["ipAddress"] != "192.0.2.1" || strings.Contains(fmt.Sprint(rows), "new-pw") {
		t.Errorf("events %v", rows)
	}
}

// Roles: assigned and effective; taking one away says what is lost by it, and
// whom it locks out.
func TestConsoleRoles(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	alice := "users/" + c.user("alice") + "/roles"
	token := w.password("reports", "alice", "openid offline_access").ok()
	b.admin(alice).shows("default-roles-demo", "Inherited", "offline_access", "Assign role")
	c.send("roles", o{"name": "evil <b>", "description": "<i>"}).is(201)
	b.admin(alice+"/assign").shows("keeper", "realm-admin", "evil &lt;b&gt;", "&lt;i&gt;").hides("default-roles-demo", "<b>", "<i>")

	// The default roles away: background access is refused, nothing is lost (O37).
	ask := b.admin(alice+"/unassign?role=default-roles-demo").shows("loses these roles at once", "offline_access", "1 offline session is refused", "Nothing is deleted")
	token = w.refresh("reports", token.refreshed()).ok()
	b.send(ask, "confirm").on(alice+"?done=role-unassigned", 200).shows("alice was given no role.", "alice has no role.")
	w.dead("reports", token, "role_missing")
	b.send(ask, "confirm").on(alice+"?done=gone", 200)
	ask = b.admin(alice+"/give?role=keeper").shows("keeper, offline_access", "what was given before works again")
	w.dead("reports", token, "role_missing")
	b.send(ask, "confirm").on(alice+"?done=role-assigned", 200)
	token = w.refresh("reports", token.refreshed()).ok()
	// By another role the same: nothing is lost.
	b.send(b.admin(alice+"/give?role=offline_access"), "confirm")
	b.send(b.admin(alice+"/unassign?role=keeper").shows("loses these roles at once", "keeper.").hides("refused", "realm-admin"), "confirm")
	w.refresh("reports", token.refreshed()).ok()

	// An administrator is made, with what that means; who takes the role from
	// himself is told that he is out.
	b.send(b.admin(alice+"/give?role=realm-admin").shows("alice is an administrator"), "confirm").on(alice+"?done=role-assigned", 200)
	b.admin(alice + "/unassign?role=realm-admin").shows("alice is no administrator any more.").hides("your own account")
	own := "users/" + c.user("carol") + "/roles"
	ask = b.admin(own+"/unassign?role=realm-admin").shows("carol is no administrator any more.", "you are out of this console at once")
	if rows := c.get("admin-events?operationTypes=DELETE").list(); rows[0]["resourcePath"] != strings.TrimSuffix(alice, "/roles")+"/role-mappings/realm" || rows[0]["authDetails"].(o)["username"] != "carol" {
		t.Errorf("events %v", rows)
	}
	if got := b.send(ask, "confirm"); got.status != 403 {
		t.Errorf("who took the role from herself sees %d", got.status)
	}
	for page, want := range map[string]int{"/give?role=nobody": 403, "": 403} {
		b.admin(alice+page).on(alice+page, want)
	}
}
