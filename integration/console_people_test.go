package integration

import (
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestAdminConsolePeople: an administrator looks at every page about people,
// sessions and settings, and does by hand what each offers.
func TestAdminConsolePeople(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	console := g.URL("http://localhost:8080/admin/demo/console/")

	alice := newBrowser(t)
	alice.Open(g.URL("http://localhost:8081/backup"))
	alice.Login("alice", "alice-demo")
	alice.Click(`form#consent [name="accept"]`)
	if r := g.Token("alice"); r.Code != 0 {
		t.Fatalf("before: %+v", r)
	}

	b := newBrowser(t)
	b.pictures, b.pictured = "admin-", []string{
		"users", "user-new-problem", "user", "user-alice-credentials", "user-roles", "user-role-unassign", "user-alice-consents", "user-consent-revoke",
		"user-alice-sessions", "user-delete", "sessions", "sessions-end-all", "revocation", "revocation-set", "settings-sessions", "settings-sessions-shorter",
		"settings-tokens", "settings-events",
	}
	b.Open(console + "users")
	b.Login("admin", "admin-demo")
	b.Wants("alice@example.com")
	b.fits("users")

	// A person is made, with what was wrong said beside its field.
	b.Click(`main .head a[href$="/users/new"]`)
	b.fits("user-new")
	b.fill("username", "dave")
	b.fill("email", "no address")
	b.fill("firstName", "David")
	b.Click(`form#edit button[type="submit"]`)
	b.Wants("This has to be a mail address")
	b.fits("user-new-problem")
	b.fill("email", "dave@example.com")
	b.Click(`form#edit button[type="submit"]`)
	b.Wants("Without a password nobody can log in")
	b.fits("user-credentials")
	b.fill("value", "dave-demo")
	b.fill("confirmation", "dave-demo")
	b.Click(`form#edit button[type="submit"]`)
	b.Wants("The password is set.")
	dave := newBrowser(t)
	dave.Open(g.URL("http://localhost:8081/"))
	dave.Login("dave", "dave-demo")
	dave.Wants("dave")

	// A role, taken away and given back.
	b.Click(`.tabs a[href$="/roles"]`)
	b.fits("user-roles")
	b.Click(`a[href*="/roles/unassign"]`)
	b.Wants("Without offline_access nobody acts for dave")
	b.fits("user-role-unassign")
	b.Click(`form#confirm button[type="submit"]`)
	b.Wants("dave was given no role.")
	b.Click(`main a[href$="/roles/assign"]`)
	b.fits("user-role-assign")
	b.Click(`a[href$="role=realm-admin"]`)
	b.Wants("dave is an administrator")
	b.fits("user-role-give")
	b.Click(`form#confirm a.button`) // cancel
	b.Wants("dave has no role.")

	// Gone again.
	b.Click(`.tabs a`)
	b.Click(`main .head a[href$="/delete"]`)
	b.Wants("1 session ends.")
	b.fits("user-delete")
	b.Click(`form#confirm button[type="submit"]`)
	b.Wants("Deleted.")

	// Alice: what is declared is locked, and her background access is taken back.
	b.Open(console + "users?search=alice")
	b.Click(`td a[href*="/users/"]`)
	b.Wants("Declared in the Caddyfile: user alice.")
	b.fits("user")
	at := b.URL()
	for _, tab := range []string{"credentials", "roles", "consents", "sessions", "revocation"} {
		b.Click(`.tabs a[href$="/` + tab + `"]`)
		b.Wants("alice")
		b.fits("user-alice-" + tab)
	}
	b.Click(`a[href$="/revocation/set"]`)
	b.Wants("1 offline session is refused")
	b.fits("user-revocation-set")
	b.Open(at + "/sessions")
	b.Click(`a[href$="/sessions/end-all"]`)
	b.fits("user-sessions-end-all")
	b.Open(at + "/sessions")
	b.Click(`a[href*="offline=true"]`)
	b.Wants("Revoke this offline session?")
	b.fits("user-session-end")
	b.Open(at + "/sessions/revoke-all")
	b.fits("user-sessions-revoke-all")
	b.Open(console + "sessions")
	b.Wants("Offline")
	b.fits("sessions")
	b.Open(console + "sessions?search=nobody")
	b.Wants("No session is like this.")
	b.fits("sessions-none")
	b.Click(`.search a.button`)
	b.Click(`main .head a[href$="/revocation"]`)
	b.Wants("Not before")
	b.fits("revocation")
	b.Click(`a[href$="/revocation/set"]`)
	b.Wants("1 offline session is refused")
	b.fits("revocation-set")
	b.Open(console + "sessions/end-all")
	b.fits("sessions-end-all")
	if r := g.Token("alice"); r.Code != 0 {
		t.Fatalf("looking at the questions ended it: %+v", r)
	}
	b.Open(at + "/consents")
	b.Click(`td a[href*="/consents/revoke"]`)
	b.Wants("1 offline session ends for good")
	b.fits("user-consent-revoke")
	b.Click(`form#confirm button[type="submit"]`)
	b.Wants("Revoked. The client has to ask again.")
	if r := g.Token("alice"); r.Code != 3 || r.Stdout != "" {
		t.Errorf("the job after the consent was revoked: %+v", r)
	}

	// Settings, one that ends sessions asked about first.
	for _, page := range []string{"settings", "settings/sessions", "settings/tokens", "settings/events"} {
		b.Open(console + page)
		b.fits(strings.ReplaceAll(page, "/", "-"))
	}
	b.Open(console + "settings/sessions")
	b.fill("clientSessionIdleTimeout", "1")
	b.Click(`form#edit button[type="submit"]`)
	b.Wants("Save all the same")
	b.fits("settings-sessions-shorter")
	b.Click(`form#edit button[type="submit"]`)
	b.Wants("Saved.")

	// All out, this browser too.
	b.Open(console + "sessions/end-all")
	b.Click(`form#confirm button[type="submit"]`)
	if !b.Has("form#login") {
		t.Errorf("the administrator is still in: %s", b.Text())
	}
}

// fill puts a text into a field of a form, in place of what is there. (Clear of the
// library knows no textarea that is empty.)
func (b *browser) fill(name, text string) {
	b.t.Helper()
	at := `form [name="` + name + `"]`
	b.do(chromedp.WaitVisible(chromedp.CSS(at)))
	ask(b, chromedp.Evaluate[string](`document.querySelector(`+strconv.Quote(at)+`).value = ""`))
	b.do(chromedp.SendKeys(chromedp.CSS(at), text))
}
