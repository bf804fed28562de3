package provider_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

const accountURL = issuer + "/account"

// visit opens a page of the account console, logged in as somebody if need be.
func (b *browser) visit(name, page string) *reply {
	b.t.Helper()
	got, left := b.open("GET", accountURL+page, nil)
	if left != nil {
		b.t.Fatalf("%s led away to %s", page, left)
	}
	if strings.Contains(got.body, `id="login"`) {
		if name == "" {
			b.t.Fatalf("%s asks for a login", page)
		}
		got, left = b.submit(got, "login", url.Values{"username": {name}, "password": {name + "-pw"}})
		if left != nil {
			b.t.Fatalf("the login led away to %s", left)
		}
	}
	if got.status != http.StatusOK || got.header.Get("X-Address") != accountURL+page {
		b.t.Fatalf("%s: %d at %s\n%s", page, got.status, got.header.Get("X-Address"), got.body)
	}
	return got
}

// press submits a form of the console and returns the page that it leads to.
func (b *browser) press(page *reply, form string, more ...string) *reply {
	b.t.Helper()
	fill := url.Values{}
	for i := 0; i < len(more); i += 2 {
		fill.Set(more[i], more[i+1])
	}
	got, left := b.submit(page, form, fill)
	if left != nil {
		b.t.Fatalf("form %s led away to %s", form, left)
	}
	return got
}

func (r *reply) shows(texts ...string) *reply {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.body, text) {
			r.t.Fatalf("the page lacks %q:\n%s", text, r.body)
		}
	}
	return r
}

func (r *reply) hides(texts ...string) *reply {
	r.t.Helper()
	for _, text := range texts {
		if strings.Contains(r.body, text) {
			r.t.Fatalf("the page has %q:\n%s", text, r.body)
		}
	}
	return r
}

// The console sends to the realm's login page, and comes back to where it was;
// the realm's browser session is all it needs.
func TestAccountLogin(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.visit("alice", "").shows("Background access", "Alice Liddell")
	if n := w.count(event.Login, ""); n != 1 {
		t.Errorf("%d logins are told of", n)
	}
	b.visit("", "/").shows("Background access")
	if q := b.silently("reports", "openid"); q.Get("code") == "" {
		t.Errorf("the console's login is no single sign-on: %v", q)
	}
	w.advance(31 * time.Minute)
	b.visit("alice", "?done=removed").shows("Removed.")

	// A login elsewhere is enough.
	other := w.browser()
	other.grant("carol", "reports", "openid")
	other.visit("", "").shows("carol")

	// The way back is the browser's own: a link with its id leads nobody in.
	page, _ := w.browser().open("GET", accountURL, nil)
	link := page.header.Get("X-Address")
	for _, address := range []string{link, strings.Replace(link, "/authenticate?", "/continue?", 1)} {
		if stranger, _ := other.open("GET", address, nil); stranger.status != http.StatusBadRequest {
			t.Errorf("a link into somebody's login, %s: %d", address, stranger.status)
		}
	}

	w.editUser("carol", func(u *user.User) { u.Enabled = false })
	if page, _ := other.open("GET", accountURL, nil); !strings.Contains(page.body, `id="login"`) {
		t.Errorf("a disabled user sees %d", page.status)
	}
	w.editClient(client.Account, disable)
	if page, _ := b.open("GET", accountURL, nil); page.status != http.StatusForbidden {
		t.Errorf("switched off: %d", page.status)
	}
	if got := w.do(httptest.NewRequest("DELETE", accountURL, nil)); got.status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", got.status)
	}
}

// The person sees each application and each of its grants, when, from where and
// until when, and takes back one or all: the next refresh fails.
func TestO60_BackgroundAccess(t *testing.T) {
	w := newWorld(t)
	w.editClient("reports", func(c *client.Client) {
		c.ConsentOffline, c.Name, c.Description = true, `Reports <b>&`, `<img src=x>`
	})
	b := w.browser()
	page, _ := b.open("GET", authURL("reports", "openid email offline_access"), nil)
	page = b.press(page, "login", "username", "alice", "password", "alice-pw")
	page.shows("/realms/demo/account")
	_, left := b.submit(page, "consent", url.Values{"accept": {"yes"}})
	first := w.exchange("reports", left.Query().Get("code")).ok()
	w.advance(time.Minute)
	second := b.grant("", "reports", "openid offline_access")
	other := b.grant("", "other", "openid offline_access")
	online := b.grant("", "spa", "openid")
	carol := w.browser()
	carol.grant("carol", "other", "openid offline_access")
	w.advance(10 * time.Minute)
	first = w.refresh("reports", first.refreshed()).ok()

	page = b.visit("", "").
		shows("Reports &lt;b&gt;&amp;", "&lt;img src=x&gt;", "1 March 2026, 12:00 UTC", "11 minutes ago", "192.0.2.1", "Who you are, Email address", "just now", "Not yet", "Never, unless").
		hides("<b>", "<img", ">spa<", "carol")
	if n := strings.Count(page.body, "<section"); n != 2 {
		t.Errorf("%d applications", n)
	}
	if n := strings.Count(page.body, "<dl>"); n != 3 {
		t.Errorf("%d grants", n)
	}

	// One grant, with a question first; looking at it ends nothing.
	grant := second.offlineToken()["offline_session"].(string)
	page = b.visit("", "/remove?grant="+grant).shows("Remove this access of", "keeps its other", "5 minutes", "You stay logged in")
	second = w.refresh("reports", second.refreshed()).ok()
	b.press(page, "remove").shows("Removed.")
	w.dead("reports", second, "revoked")
	first = w.refresh("reports", first.refreshed()).ok()
	w.refresh("other", other.refreshed()).ok()
	w.refresh("spa", online.refreshed()).ok()
	ends := w.kept(audit.Query{Types: []event.Type{event.OfflineSessionEnd}})
	if len(ends) != 1 || ends[0].OfflineSession != grant || ends[0].Username != "alice" || ends[0].Client != "reports" || ends[0].IP != "192.0.2.1" {
		t.Errorf("events %+v", ends)
	}
	b.press(page, "remove").shows("had ended already") // pressed twice

	// The last one takes the consent along: it would make the next grant unseen.
	page = b.visit("", "/remove?grant="+first.offlineToken()["offline_session"].(string)).shows("has to ask you again")
	b.press(page, "remove").shows("Removed.").hides("Reports")
	w.dead("reports", first, "revoked")
	if page, left := b.open("GET", authURL("reports", "openid offline_access"), nil); left != nil || !strings.Contains(page.body, `id="consent"`) {
		t.Error("the next grant asks no consent")
	}
	if n := w.count(event.RevokeGrant, ""); n != 1 {
		t.Errorf("%d withdrawals are told of", n)
	}

	// An application with all that it has.
	more := b.grant("", "other", "openid offline_access")
	var id string
	w.view(func(tx storage.Tx) { id = relyingParty(tx, "other").ID })
	page = b.visit("", "/remove?application="+id).shows("all 2 accesses end")
	w.refresh("other", more.refreshed()).ok()
	b.press(page, "remove").shows("No application has background access")
	w.dead("other", other, "revoked")
	w.dead("other", more, "revoked")
	carol.visit("", "").shows("Remove") // hers is not touched

	// What has ended by itself is not shown, what is only paused is.
	last := b.grant("", "other", "openid offline_access")
	w.editClient("other", disable)
	b.visit("", "").shows("switched this application off")
	w.editClient("other", enable)
	w.refresh("other", last.refreshed()).ok()
	w.advance(30 * day)
	b.visit("alice", "").shows("No application has background access")
}

// A job that was consented to goes alone; the grant and the other jobs stay.
func TestO60_RemoveOneJob(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	const scope = "openid profile offline_access"
	page, _ := b.open("GET", authURL("reports", scope, "authorization_details", details("nightly-backup", "report")), nil)
	page = b.press(page, "login", "username", "alice", "password", "alice-pw")
	_, left := b.submit(page, "consent", url.Values{"accept": {"yes"}})
	grant := w.exchange("reports", left.Query().Get("code")).ok()

	page = b.visit("", "").shows("nightly-backup", "report", "not used yet", "sees: ")
	link := jobLink.FindStringSubmatch(page.body)
	if link == nil || !strings.HasSuffix(unescape(link[1]), "job=nightly-backup") {
		t.Fatalf("no link in\n%s", page.body)
	}
	ask := b.visit("", strings.TrimPrefix(unescape(link[1]), "/realms/demo/account")).shows("Remove the job nightly-backup?", "What else you allowed stays")
	if got := w.refresh("reports", grant.refreshed()).ok().jobs(); len(got) != 2 {
		t.Errorf("looking at the question left %v", got)
	}
	b.press(ask, "remove").shows("Removed.", "report").hides("nightly-backup")
	if got := w.refresh("reports", grant.refreshed()).ok().jobs(); !slices.Equal(got, []string{"report"}) {
		t.Errorf("a refresh names %v", got)
	}
	if rows := w.kept(audit.Query{Types: []event.Type{event.UpdateConsent}}); len(rows) != 1 || rows[0].Details["removed_job"] != "nightly-backup" || rows[0].IP == "" {
		t.Errorf("events %+v", rows)
	}
	b.press(ask, "remove").shows("had ended already")
}

// A form has to come from a page of this very session, and an id has to be the
// person's own.
func TestAccountForgery(t *testing.T) {
	w := newWorld(t)
	b, carol := w.browser(), w.browser()
	hers := carol.grant("carol", "reports", "openid offline_access")
	his := b.grant("alice", "reports", "openid offline_access")
	grant := func(r *reply) string { return r.offlineToken()["offline_session"].(string) }
	page := b.visit("", "/remove?grant="+grant(his))

	for name, fill := range map[string]url.Values{
		"no proof":            {"csrf": {""}},
		"another's proof":     {"csrf": {field(t, carol.visit("", "/remove?grant="+grant(hers)), "csrf")}},
		"another's grant":     {"grant": {grant(hers)}},
		"a login, no grant":   {"grant": {his.claims()["sid"].(string)}},
		"nothing":             {"grant": {""}},
		"no such application": {"grant": {""}, "application": {"x"}},
	} {
		got, _ := b.submit(page, "remove", fill)
		forged := strings.Contains(name, "proof")
		if forged != (got.status == http.StatusForbidden) || !forged && !strings.Contains(got.body, "had ended already") {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	for name, query := range map[string]string{"another's": "grant=" + grant(hers), "unknown": "grant=x", "none": "", "no such application": "application=x"} {
		if got, _ := b.open("GET", accountURL+"/remove?"+query, nil); got.status != http.StatusNotFound {
			t.Errorf("GET %s: %d", name, got.status)
		}
	}

	// From another site: the browser sends no cookie, and if it did.
	form := url.Values{"csrf": {field(t, page, "csrf")}, "grant": {grant(his)}}
	r := httptest.NewRequest("POST", accountURL+"/remove", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := w.do(r); got.status != http.StatusSeeOther || !strings.Contains(got.header.Get("Location"), "/login-actions/") {
		t.Errorf("without a cookie: %d", got.status)
	}
	r = httptest.NewRequest("POST", accountURL+"/remove", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://evil.test")
	for _, c := range []*http.Cookie{b.cookie("sso"), b.cookie("flow")} {
		r.AddCookie(c)
	}
	if got := w.do(r); got.status != http.StatusForbidden {
		t.Errorf("from another site: %d", got.status)
	}
	if page.header.Get("X-Frame-Options") != "DENY" || !strings.Contains(page.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("headers %v", page.header)
	}

	w.refresh("reports", hers.refreshed()).ok()
	w.refresh("reports", his.refreshed()).ok()
	if n := w.count(event.OfflineSessionEnd, session.Revoked); n != 0 {
		t.Errorf("%d grants ended", n)
	}
}

// field of a form.
func field(t *testing.T, page *reply, name string) string {
	t.Helper()
	for _, tag := range inputTag.FindAllString(page.body, -1) {
		if n := attrName.FindStringSubmatch(tag); n != nil && n[1] == name {
			return attrVal.FindStringSubmatch(tag)[1]
		}
	}
	t.Fatalf("no field %s", name)
	return ""
}

func (w *world) view(fn func(storage.Tx)) {
	w.t.Helper()
	if err := w.store.View(w.t.Context(), func(tx storage.Tx) error { fn(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// The person sees where he is logged in, and ends one login or all; what may act
// for him lives on unless he ticks it.
func TestAccountSessions(t *testing.T) {
	w := newWorld(t)
	here, there := w.browser(), w.browser()
	online := there.grant("alice", "reports", "openid")
	offline := there.grant("", "reports", "openid offline_access")
	w.advance(time.Minute)
	mine := here.grant("alice", "other", "openid offline_access")
	carol := w.browser()
	hers := carol.grant("carol", "reports", "openid offline_access")

	sid := online.claims()["sid"].(string)
	page := here.visit("", "/sessions").shows("this browser", "reports", "1 March 2026, 12:00 UTC", "192.0.2.1")
	if n := strings.Count(page.body, "<dl>"); n != 2 {
		t.Errorf("%d logins", n)
	}
	ask := here.visit("", "/sign-out?session="+sid).shows("Sign out there?", "1, of reports", "backups and other jobs go on")
	w.refresh("reports", online.refreshed()).ok()
	here.press(ask, "signout").shows("Signed out there.")
	refused(t, there.silently("reports", "openid"), "login_required", "")
	w.refresh("reports", online.refreshed()).fails(400, "invalid_grant", "")
	offline = w.refresh("reports", offline.refreshed()).ok()
	if n := w.count(event.Logout, ""); n != 1 {
		t.Errorf("%d logouts are told of", n)
	}
	here.press(ask, "signout").shows("Signed out there.") // pressed twice

	// With the tick what was allowed there goes too, and nothing else.
	there = w.browser()
	born := there.grant("alice", "reports", "openid offline_access")
	sid = born.claims()["sid"].(string)
	ask = here.visit("", "/sign-out?session="+sid)
	here.press(ask, "signout", "offline", "on")
	w.dead("reports", born, "revoked")
	offline = w.refresh("reports", offline.refreshed()).ok()
	mine = w.refresh("other", mine.refreshed()).ok()

	// Another person's login is none.
	stranger := hers.claims()["sid"].(string)
	if got, _ := here.open("GET", accountURL+"/sign-out?session="+stranger, nil); got.status != http.StatusNotFound {
		t.Errorf("another's login: %d", got.status)
	}
	here.press(ask, "signout", "session", stranger)
	carol.visit("", "/sessions")

	// This very browser, then everywhere, without and with the tick.
	self := here.visit("", "/sign-out?session="+mine.claims()["sid"].(string)).shows("Sign out here?")
	here.press(self, "signout").shows("You are logged out")
	if here.cookie("sso") != nil {
		t.Error("the cookie is still there")
	}
	there = w.browser()
	there.visit("alice", "")
	everywhere := here.visit("alice", "/sign-out").shows("Sign out everywhere?", "2, of ")
	here.press(everywhere, "signout").shows("You are logged out")
	refused(t, there.silently("reports", "openid"), "login_required", "")
	offline = w.refresh("reports", offline.refreshed()).ok()
	everywhere = here.visit("alice", "/sign-out")
	here.press(everywhere, "signout", "offline", "on").shows("You are logged out")
	w.dead("reports", offline, "revoked")
	w.dead("other", mine, "revoked")
	w.refresh("reports", hers.refreshed()).ok()
}

// A new password leaves everything as it is, unless the person ticks the box;
// who does not know the present one changes nothing.
func TestO40_PasswordInTheConsole(t *testing.T) {
	w := newWorld(t)
	b, elsewhere := w.browser(), w.browser()
	offline := b.grant("alice", "reports", "openid offline_access")
	online := elsewhere.grant("alice", "other", "openid")
	set := func(current, fresh, again string, more ...string) *reply {
		t.Helper()
		page := b.visit("", "/password")
		return b.press(page, "password", append([]string{"current", current, "password", fresh, "confirmation", again}, more...)...)
	}
	for _, c := range [][4]string{
		{"alice-pw", "short", "short", "at least 8 characters"},
		{"alice-pw", "a new password", "another password", "differ"},
		{"wrong", "a new password", "a new password", "current password is wrong"},
		{"", "a new password", "a new password", "current password is wrong"},
		{"alice-pw", strings.Repeat("x", user.MaxPassword+1), strings.Repeat("x", user.MaxPassword+1), "too long"},
		{"the same password", "the same password", "the same password", "is the current one"},
	} {
		set(c[0], c[1], c[2]).shows(c[3])
	}
	w.password("reports", "alice", "openid").ok()
	if n := w.count(event.UpdateCredentialError, "invalid_user_credentials"); n != 2 {
		t.Errorf("%d refusals are told of", n)
	}

	set("alice-pw", "a new password", "a new password").shows("Your password is changed.")
	w.password("reports", "alice", "openid").fails(400, "invalid_grant", "")
	offline = w.refresh("reports", offline.refreshed()).ok()
	online = w.refresh("other", online.refreshed()).ok()

	set("a new password", "a third password", "a third password", "everywhere", "on").shows("all background access has ended")
	w.dead("reports", offline, "revoked")
	w.refresh("other", online.refreshed()).fails(400, "invalid_grant", "")
	refused(t, elsewhere.silently("other", "openid"), "login_required", "")
	b.visit("", "/password") // this browser stays
	if n := w.count(event.UpdateCredential, ""); n != 2 {
		t.Errorf("%d changes are told of", n)
	}

	// Nobody tries passwords at a browser that was left open.
	for range 20 {
		set("wrong", "a new password", "a new password")
	}
	set("a third password", "a fourth password", "a fourth password").shows("Too many passwords")
	w.advance(20 * time.Minute)
	set("a third password", "a fourth password", "a fourth password").shows("Your password is changed.")
}

// What was consented to is shown and taken back, with background access or
// without (O65).
func TestAccountApplications(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"reports", "other"} {
		w.editClient(name, func(c *client.Client) { c.ConsentRequired = true })
	}
	b := w.browser()
	allow := func(clientID, scope string) *reply {
		page, _ := b.open("GET", authURL(clientID, scope), nil)
		if strings.Contains(page.body, `id="login"`) {
			page = b.press(page, "login", "username", "alice", "password", "alice-pw")
		}
		_, left := b.submit(page, "consent", url.Values{"accept": {"yes"}})
		return w.exchange(clientID, left.Query().Get("code")).ok()
	}
	offline := allow("reports", "openid offline_access")
	w.advance(time.Minute)
	allow("other", "openid")
	page := b.visit("", "/applications").shows("reports", "other", "May act while you are away", "Only while you are there", "User profile")
	links := removeLink.FindAllStringSubmatch(page.body, -1)
	if len(links) != 2 {
		t.Fatalf("%d links in\n%s", len(links), page.body)
	}
	remove := func(link string) *reply {
		return b.press(b.visit("", strings.TrimPrefix(unescape(link), "/realms/demo/account")), "remove")
	}
	remove(links[0][1]).shows("Removed.", "reports").hides(">other<") // ordered by name
	w.refresh("reports", offline.refreshed()).ok()
	if page, left := b.open("GET", authURL("other", "openid"), nil); left != nil || !strings.Contains(page.body, `id="consent"`) {
		t.Error("the next login asks no consent")
	}
	remove(links[1][1]).shows("No application has asked you")
	w.dead("reports", offline, "revoked")
}

// A person changes names and address, but not what the configuration declares.
func TestAccountProfile(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	page := b.visit("alice", "/profile").shows("Liddell", "set by the configuration")
	b.press(page, "profile", "first_name", "Mallory", "last_name", "M", "email", "m@example.com") // forged
	if r := w.userinfo(b.grant("", "reports", "openid profile email").access()); r.json["name"] != "Alice Liddell" || r.json["email"] != "alice@example.com" {
		t.Errorf("a declared name changed: %v", r.json)
	}

	w.editUser("carol", func(u *user.User) { u.Email, u.EmailVerified = "old@example.com", true })
	b = w.browser()
	page = b.visit("carol", "/profile")
	for email, want := range map[string]string{"alice@example.com": "Another account has", "no address": "no email address", "Carol <c@example.com>": "no email address"} {
		b.press(page, "profile", "email", email).shows(want)
	}
	b.press(page, "profile", "first_name", "Ca\x01rol").shows("cannot be shown")
	b.press(page, "profile", "first_name", `<b>Carol`, "last_name", "C", "email", "Carol@Example.com").shows("Saved.", "&lt;b&gt;Carol", "carol@example.com").hides("<b>")
	if r := w.userinfo(b.grant("", "reports", "openid profile email").access()); r.json["given_name"] != "<b>Carol" || r.json["email"] != "carol@example.com" || r.json["email_verified"] != false {
		t.Errorf("userinfo %v", r.json)
	}
	if n := w.count(event.UpdateProfile, ""); n != 1 {
		t.Errorf("%d changes are told of", n)
	}
}

// A person reads his own events, a page at a time; uses in a row are one.
func TestAccountActivity(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	w.browser().grant("carol", "other", "openid offline_access")
	first := b.grant("alice", "reports", "openid offline_access")
	for range 5 {
		w.advance(time.Minute)
		w.refresh("reports", first.refreshed()).ok()
	}
	page := b.visit("", "/activity").shows("Background access began", "reports", "5 times since 1 March 2026, 12:01 UTC", "Logged in").hides("carol", "other", "Older")
	if n := strings.Count(page.body, "<li"); n > 20 {
		t.Errorf("%d entries", n)
	}
	for range 60 {
		w.advance(time.Second)
		b.grant("", "reports", "openid")
	}
	page = b.visit("", "/activity").shows("Older").hides("Newest", "Background access began")
	older := olderLink.FindStringSubmatch(page.body)
	b.visit("", strings.TrimPrefix(unescape(older[1]), "/realms/demo/account")).shows("Newest", "Background access began")
}

var (
	jobLink    = regexp.MustCompile(`href="([^"]*/account/remove\?[^"]*job=[^"]*)"`)
	removeLink = regexp.MustCompile(`href="([^"]*/account/remove\?[^"]*)"`)
	olderLink  = regexp.MustCompile(`href="([^"]*/account/activity\?after=[^"]*)"`)
)
