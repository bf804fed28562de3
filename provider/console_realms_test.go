package provider_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/realm"
)

// An administrator of one realm is nobody in the console of another, whatever his
// browser brings: cookies, proofs, ids.
func TestConsoleOfAnotherRealm(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	b, err := provider.New(provider.Config{Store: w.store, Sealer: w.keyset, Realm: "b", URL: origin, Now: w.clock, Events: w})
	if err == nil {
		err = b.Declare(t.Context(), provider.Declaration{
			Settings: realm.Settings{SigningAlgorithm: "ES256"}, Users: []provider.DeclaredUser{{Username: "root", Password: "root-pw", Admin: true}},
		})
	}
	if err == nil {
		err = b.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	atB := &world{t: t, provider: b, store: w.store, keyset: w.keyset, now: w.now}
	root := atB.browser()
	login, _ := root.open("GET", origin+"/admin/b/console/users", nil)
	users, left := root.submit(login, "login", url.Values{"username": {"root"}, "password": {"root-pw"}})
	if left != nil || users.status != http.StatusOK {
		t.Fatalf("at his own console: %d", users.status)
	}
	users.shows("root").hides("alice")
	id := strings.SplitN(strings.SplitN(users.body, "/admin/b/console/users/", 3)[2], `"`, 2)[0]
	proof := field(t, root.reads("/admin/b/console/users/"+id+"/sessions/end-all"), "csrf")

	// The same browser at our realm is logged in as nobody; nothing that it sends
	// happens.
	same := &browser{world: w, jar: root.jar}
	token := w.password("reports", "alice", "openid offline_access").ok()
	alice := "users/" + c.user("alice")
	for _, page := range []string{"", alice, alice + "/sessions", "sessions", "settings"} {
		if got, _ := same.open("GET", consoleURL+page, nil); !strings.Contains(got.body, `id="login"`) {
			t.Errorf("%s: %d", page, got.status)
		}
	}
	for page, form := range map[string]url.Values{
		alice + "/sessions/end-all": {}, "sessions/end-all": {}, alice + "/delete": {}, alice: {"enabled": {""}}, "sessions/revocation/set": {},
	} {
		form.Set("csrf", proof)
		if got, _ := same.open("POST", consoleURL+page, form); !strings.Contains(got.body, `id="login"`) {
			t.Errorf("a form to %s: %d", page, got.status)
		}
	}
	token = w.refresh("reports", token.refreshed()).ok()
	// His cookies under our realm's names are none of ours.
	mine := w.browser()
	mine.admin("")
	at, _ := url.Parse(consoleURL)
	var theirs []string
	for _, cookie := range root.jar.Cookies(at) {
		theirs = append(theirs, cookie.Value)
	}
	for _, value := range theirs {
		forged := w.browser()
		var cookies []*http.Cookie
		for _, cookie := range mine.jar.Cookies(at) {
			cookies = append(cookies, &http.Cookie{Name: cookie.Name, Value: value, Path: "/"})
		}
		forged.jar.SetCookies(at, cookies)
		if got, _ := forged.open("GET", consoleURL+"users", nil); !strings.Contains(got.body, `id="login"`) {
			t.Errorf("his cookie under our name: %d", got.status)
		}
	}

	// Ids of his realm name nothing in ours, nor do ours in his.
	for _, below := range []string{"", "/delete", "/credentials", "/roles", "/roles/assign", "/roles/give?role=keeper", "/consents", "/sessions", "/sessions/end-all", "/sessions/revoke-all", "/revocation", "/revocation/set"} {
		mine.admin("users/"+id+below).on("users/"+id+below, 404).hides("root")
		if got := root.reads("/admin/b/console/" + alice + below); got.status != 404 || strings.Contains(got.body, "alice") {
			t.Errorf("our %s there: %d", below, got.status)
		}
	}
	offline := token.claims()["offline_session"].(string)
	if got := root.reads("/admin/b/console/sessions/end?offline=true&session=" + offline); got.status != 404 {
		t.Errorf("our session there: %d", got.status)
	}
	ask := mine.admin("sessions/end?offline=true&session="+offline).on("sessions/end?offline=true&session="+offline, 200)
	for _, other := range []string{"x", "", "..", "../users"} {
		mine.send(ask, "confirm", "session", other)
	}
	w.refresh("reports", token.refreshed()).ok()

	// A person of our realm without the role sees nothing, and does nothing.
	person := w.browser()
	person.grant("alice", "reports", "openid")
	for _, page := range []string{"", "users", alice, alice + "/delete", "sessions", "sessions/revocation", "settings/sessions", "nothing"} {
		got := person.admin(page)
		got.on(page, 403).hides("bob", "carol@")
	}
	his := field(t, person.visit("", "/sign-out"), "csrf") // of another console
	for _, csrf := range []string{"", his, field(t, ask, "csrf")} {
		if got, _ := person.open("POST", consoleURL+"sessions/end-all", url.Values{"csrf": {csrf}}); got.status != 403 {
			t.Errorf("a form of somebody without the role: %d", got.status)
		}
	}
	w.refresh("reports", token.refreshed()).ok()
}

// reads opens a page of the realm's server.
func (b *browser) reads(path string) *reply {
	b.t.Helper()
	page, left := b.open("GET", origin+path, nil)
	if left != nil {
		b.t.Fatalf("%s led away to %s", path, left)
	}
	return page
}

// A proof of another form's console, of another login, or of none, proves nothing;
// no page can be framed, or kept.
func TestConsoleForgery(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	alice := "users/" + c.user("alice")
	token := w.password("reports", "alice", "openid offline_access").ok()
	second := w.browser()
	for _, page := range []string{
		"", "users", "users/new", alice, alice + "/credentials", alice + "/roles", alice + "/consents", alice + "/sessions", alice + "/revocation",
		alice + "/sessions/end-all", "sessions", "sessions/revocation", "sessions/revocation/set", "settings", "settings/sessions", "settings/tokens", "settings/events", "nothing",
	} {
		h := b.admin(page).header
		if h.Get("X-Frame-Options") != "DENY" || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
			!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", page, h)
		}
	}
	elsewhere := field(t, second.admin(alice+"/sessions/end-all"), "csrf") // the same person, another login
	account := field(t, b.visit("", "/sign-out"), "csrf")
	before := c.get("").raw + c.get(alice).raw
	for _, page := range []string{
		"users/new", alice, alice + "/delete", alice + "/credentials", alice + "/roles/give", alice + "/roles/unassign", alice + "/consents/revoke", alice + "/sessions/end",
		alice + "/sessions/end-all", alice + "/sessions/revoke-all", alice + "/revocation/set", alice + "/revocation/clear", "sessions/end", "sessions/end-all",
		"sessions/revocation/set", "sessions/revocation/clear", "sessions/revocation/push", "settings", "settings/sessions", "settings/tokens", "settings/events",
	} {
		for name, csrf := range map[string]string{"none": "", "garbage": "x", "another login's": elsewhere, "the account console's": account} {
			got, _ := b.open("POST", consoleURL+page, url.Values{"csrf": {csrf}, "username": {"eve"}, "role": {"keeper"}, "client": {"reports"}, "value": {"p"}, "confirmation": {"p"}})
			if got.status != http.StatusForbidden {
				t.Errorf("%s with a proof of %s: %d", page, name, got.status)
			}
		}
	}
	for _, page := range []string{"users", alice + "/roles", "sessions", ""} { // pages that take no form
		if got, _ := b.open("POST", consoleURL+page, url.Values{"csrf": {elsewhere}}); got.status != http.StatusMethodNotAllowed {
			t.Errorf("a form to %s: %d", page, got.status)
		}
	}
	if after := c.get("").raw + c.get(alice).raw; after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
	w.refresh("reports", token.refreshed()).ok()
}
