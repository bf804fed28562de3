package integration

import (
	"testing"
)

// TestAdminConsole: an administrator logs in, looks at every page, and changes a
// setting.
func TestAdminConsole(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	console := g.URL("http://localhost:8080/admin/demo/console")

	// One person has background access.
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8081/backup"))
	b.Login("alice", "alice-demo")
	b.Click(`form#consent [name="accept"]`)
	// She is no administrator.
	b.Open(console + "/")
	b.Wants("lacks the role realm-admin")

	b = newBrowser(t)
	b.pictures, b.pictured = "admin-", []string{"overview"}
	b.Open(console)
	b.Login("admin", "admin-demo")
	if want := console + "/"; b.URL() != want {
		t.Fatalf("the browser ended on %s, want %s", b.URL(), want)
	}
	b.Wants("portal")
	b.fits("overview")
	for page, says := range map[string]string{
		"settings": "Display name", "settings/sessions": "Offline Session Idle", "settings/tokens": "Refresh Token Max Reuse",
	} {
		b.Open(console + "/" + page)
		b.Wants(says)
		b.fits(page)
	}
}
