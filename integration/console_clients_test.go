package integration

import (
	"strings"
	"testing"
)

// TestAdminConsoleClients: an administrator looks at every page of a client and
// does all that can be done there.
func TestAdminConsoleClients(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	console := g.URL("http://localhost:8080/admin/demo/console/")

	person := newBrowser(t)
	person.Open(g.URL("http://localhost:8081/backup"))
	person.Login("alice", "alice-demo")
	person.Click(`form#consent [name="accept"]`)

	b := newBrowser(t)
	b.pictures, b.pictured = "admin-", []string{
		"clients", "client-settings", "client-credentials", "client-scopes", "client-roles", "client-sessions", "client-offline", "client-offline-revoke-all",
		"client-revocation", "client-revocation-set", "client-advanced", "client-new", "client-new-problem", "client-new-secret", "client-delete",
	}
	b.Open(console + "clients")
	b.Login("admin", "admin-demo")
	b.Wants("public-demo")
	b.fits("clients")
	b.fill("search", "port")
	b.Click(`.search button`)
	b.Wants("portal")

	// The application of the example, whose tabs are all looked at.
	b.Click(`td a[href*="/clients/"]`)
	portal := b.URL()
	b.Wants("Declared in the Caddyfile: client portal.")
	b.fits("client-settings")
	for page, says := range map[string]string{
		"credentials": "Client authenticator", "scopes": "Assigned type", "roles": "Full scope allowed", "sessions": "alice", "offline": "1 offline session",
		"revocation": "Not before", "advanced": "Client Offline Session Idle",
	} {
		b.Open(portal + "/" + page)
		b.Wants(says)
		b.fits("client-" + page)
	}
	b.Open(portal + "/offline")
	b.fill("user", "bob")
	b.Click(`.search button`)
	b.Wants("No offline session is like this.")
	b.fits("client-offline-none")
	b.Click(`.search .row a`)
	b.Wants("alice")
	b.Click(`td.do a`)
	b.Wants("Revoke this offline session?")
	b.fits("client-offline-revoke")
	b.Click(`form#confirm a`)
	b.Click(`.list .head a.bad`)
	b.Wants("1 offline session ends at once")
	b.fits("client-offline-revoke-all")
	b.Click(`form#confirm button`)
	b.Wants("All offline sessions are revoked.")
	b.Wants("0 offline sessions")
	b.fits("client-offline-empty")
	for _, step := range []string{"set", "clear", "push"} {
		b.Open(portal + "/revocation/" + step)
		b.fits("client-revocation-" + step)
		b.Click(`form#confirm button`)
		b.Wants("Not before")
	}

	// One that is made here.
	b.Open(console + "new-client")
	b.fits("client-new")
	b.Click(`form#edit button`)
	b.Wants("Please fill this in.")
	b.fits("client-new-problem")
	b.fill("clientId", "nightly")
	b.fill("name", "Nightly reports")
	b.fill("redirectUris", "https://nightly.example.com/callback")
	b.Click(`form#edit button`)
	b.Wants("Created.")
	made, _, _ := strings.Cut(b.URL(), "?")
	b.fits("client-made")
	b.fill("redirectUris", "nowhere")
	b.Click(`form#edit button`)
	b.Wants("Nothing is saved yet")
	b.fits("client-settings-refused")
	b.Open(made + "/credentials")
	b.fits("client-made-credentials")
	b.Click(`.head a.bad`)
	b.Wants("stops working at once")
	b.fits("client-new-secret")
	b.Click(`form#confirm button`)
	b.Wants("The new secret is there")
	b.Open(made + "/scopes")
	b.Wants("offline_access")
	b.fits("client-made-scopes")
	b.Click(`td.do a.bad`)
	b.Wants("is not granted it any more")
	b.Click(`form#confirm button`)
	b.Wants("Saved.")
	b.Open(made + "/roles/full-off")
	b.fits("client-full-off")
	b.Click(`form#confirm button`)
	b.Wants("Saved.")
	b.fits("client-made-roles")
	for _, step := range []string{"disable", "enable", "delete"} {
		b.Open(made + "/" + step)
		b.fits("client-" + step)
		b.Click(`form#confirm button`)
	}
	b.Wants("Deleted.")
	b.fits("clients-deleted")
}
