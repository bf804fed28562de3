package provider_test

import (
	"crypto/sha256"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// evil is a name that would run if a page did not escape it.
const evil = `<script>alert('x')</script>"'><b>`

var (
	linked    = regexp.MustCompile(`\bhref="([^"]*)"`)
	postForms = regexp.MustCompile(`(?s)<form[^>]*\bmethod="post"[^>]*>.*?</form>`)
	uuids     = regexp.MustCompile(`[0-9A-Za-z_-]{22}|[0-9a-f]{8}-[0-9a-f-]{27}`)
)

// contents of the store, all but authorization requests, which a login page
// writes.
func (w *world) contents() map[string][32]byte {
	w.t.Helper()
	out := map[string][32]byte{}
	w.view(func(tx storage.Tx) {
		for after := []byte(nil); ; {
			items, err := tx.Scan(nil, after, 1000)
			if err != nil {
				w.t.Fatal(err)
			}
			for _, it := range items {
				after = it.Key
				if table, _ := storage.TableOf(it.Key); table != "authorization_request" {
					out[string(it.Key)] = sha256.Sum256(it.Value)
				}
			}
			if len(items) < 1000 {
				return
			}
		}
	})
	return out
}

// differ tells the first key in which two contents differ.
func differ(a, b map[string][32]byte) string {
	for _, from := range []map[string][32]byte{a, b} {
		for _, key := range slices.Sorted(maps.Keys(from)) {
			if a[key] != b[key] {
				return fmt.Sprintf("%q", key)
			}
		}
	}
	return ""
}

// crawl is every page that links of the console lead to, and every form on them.
type crawl struct {
	pages map[string]*reply
	forms map[string]url.Values // by address, with what they carry
}

// alike is how many pages that differ in ids and values alone a crawl looks at.
const alike = 5

// crawl follows links from a console's first page to what lies below its address.
func (b *browser) crawl(base string) crawl {
	b.t.Helper()
	out := crawl{map[string]*reply{}, map[string]url.Values{}}
	seen := map[string]int{}
	for next := []string{base}; len(next) > 0; next = next[1:] {
		address := next[0]
		u, err := url.Parse(address)
		if err != nil {
			b.t.Fatal(err)
		}
		kind := uuids.ReplaceAllString(u.Path, "ID") + "?" + strings.Join(slices.Sorted(maps.Keys(u.Query())), "&")
		if out.pages[address] != nil || seen[kind] >= alike {
			continue
		}
		seen[kind]++
		page, left := b.open("GET", address, nil)
		if left != nil || page.status != http.StatusOK {
			b.t.Errorf("a link leads to %s", address)
			continue
		}
		out.pages[address] = page
		for _, m := range linked.FindAllStringSubmatch(page.body, -1) {
			to, err := u.Parse(html.UnescapeString(m[1]))
			if err != nil {
				b.t.Errorf("%s links to %q: %v", address, m[1], err)
				continue
			}
			if to.Fragment = ""; strings.HasPrefix(to.String(), base) {
				next = append(next, to.String())
			}
		}
		for _, form := range postForms.FindAllString(page.body, -1) {
			to, _ := u.Parse(html.UnescapeString(action.FindStringSubmatch(form)[1]))
			fields := url.Values{}
			for _, tag := range inputTag.FindAllString(form, -1) {
				if n, v := attrName.FindStringSubmatch(tag), attrVal.FindStringSubmatch(tag); n != nil && v != nil {
					fields.Set(n[1], html.UnescapeString(v[1]))
				}
			}
			out.forms[to.String()+"#"+strings.Join(slices.Sorted(maps.Keys(fields)), ",")] = fields
		}
	}
	return out
}

// sends posts a form as a browser does, from an origin, and does not follow.
func (b *browser) sends(address, from string, form url.Values) *reply {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", from)
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	return b.do(r)
}

// administer opens the console's first page, logged in as somebody.
func (b *browser) administer(name string) *reply {
	b.t.Helper()
	page, _ := b.open("GET", consoleURL, nil)
	page, _ = b.submit(page, "login", url.Values{"username": {name}, "password": {name + "-pw"}})
	return page
}

// TestConsoleCrawl walks all of the console: no link is dead, looking changes
// nothing, every form needs its proof, every name is escaped, no page can be
// framed; and who is no administrator sees nothing of it.
func TestConsoleCrawl(t *testing.T) {
	w := newWorld(t)
	w.editUser("carol", func(u *user.User) { u.Roles = append(u.Roles, "realm-admin") })
	w.editUser("alice", func(u *user.User) { u.FirstName, u.LastName, u.Groups = evil, evil, []string{evil} })
	w.editClient("reports", func(c *client.Client) { c.Name, c.Description, c.ConsentRequired = evil, evil, true })
	w.editScope("profile", func(s *client.Scope) { s.Description, s.ConsentText = evil, evil })
	alice := w.browser()
	page, _ := alice.open("GET", authURL("reports", "openid profile offline_access"), nil)
	page = alice.press(page, "login", "username", "alice", "password", "alice-pw")
	_, left := alice.submit(page, "consent", url.Values{"accept": {"yes"}})
	w.exchange("reports", left.Query().Get("code")).ok()
	w.advance(time.Second)
	w.offline(130, "alice", "other") // more than a page

	b := w.browser()
	if got := b.administer("carol"); got.status != http.StatusOK || got.header.Get("X-Address") != consoleURL {
		t.Fatalf("the console: %d at %s\n%s", got.status, got.header.Get("X-Address"), got.body)
	}
	b.crawl(consoleURL) // what a first look may write is written
	before := w.contents()
	found := b.crawl(consoleURL)
	if key := differ(before, w.contents()); key != "" {
		t.Errorf("looking at the console changed %s", key)
	}
	t.Logf("%d pages, %d forms", len(found.pages), len(found.forms))
	if len(found.pages) < 100 || len(found.forms) < 50 {
		t.Errorf("the crawl met %d pages and %d forms", len(found.pages), len(found.forms))
	}
	for address, page := range found.pages {
		if strings.Contains(page.body, "<script") || strings.Contains(page.body, `"'><b>`) || strings.Contains(page.body, "ZgotmplZ") {
			t.Errorf("%s shows a name as it is:\n%s", address, page.body)
		}
		if policy := page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") ||
			strings.Contains(policy, "script-src") || page.header.Get("X-Frame-Options") != "DENY" || page.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", address, page.header)
		}
		if got, _ := b.open("HEAD", address, nil); got.status != http.StatusOK || got.body != "" {
			t.Errorf("HEAD %s: %d %q", address, got.status, got.body)
		}
		if got, _ := b.open("DELETE", address, nil); got.status != http.StatusMethodNotAllowed {
			t.Errorf("DELETE %s: %d", address, got.status)
		}
		if other := uuids.ReplaceAllString(address, "AAAAAAAAAAAAAAAAAAAAAA"); other != address {
			if got, _ := b.open("GET", other, nil); got.status != http.StatusNotFound {
				t.Errorf("%s, with ids of nobody: %d", address, got.status)
			}
		}
	}

	// Forms of another page, of another browser, of another site, of no page.
	stranger := w.browser()
	stranger.administer("carol")
	theirs := stranger.crawl(consoleURL)
	account := b.visit("", "/profile")
	_, hidden := b.fields(account, "profile")
	for form, fields := range found.forms {
		address, _, _ := strings.Cut(form, "#")
		for name, proof := range map[string]string{"no proof": "", "another browser's": theirs.forms[form].Get("csrf"), "the account console's": hidden.Get("csrf")} {
			forged := maps.Clone(fields)
			forged.Set("csrf", proof)
			if got := b.sends(address, origin, forged); got.status != http.StatusForbidden {
				t.Errorf("%s with %s: %d", address, name, got.status)
			}
		}
		if got := b.sends(address, "https://evil.test", fields); got.status != http.StatusForbidden {
			t.Errorf("%s from another site: %d", address, got.status)
		}
	}

	// Alice is nobody here. Whoever is not logged in comes to the login.
	nobody := w.browser()
	for address := range found.pages {
		got, _ := alice.open("GET", address, nil)
		if got.status != http.StatusForbidden || strings.Contains(got.body, "other") {
			t.Errorf("%s for alice: %d\n%s", address, got.status, got.body)
		}
		if got, _ := nobody.open("GET", address, nil); !strings.Contains(got.body, `id="login"`) {
			t.Errorf("%s for nobody: %d", address, got.status)
		}
	}
	for form, fields := range found.forms {
		address, _, _ := strings.Cut(form, "#")
		if got := alice.sends(address, origin, fields); got.status != http.StatusForbidden {
			t.Errorf("%s sent by alice: %d", address, got.status)
		}
		if got := nobody.sends(address, origin, fields); got.status != http.StatusSeeOther {
			t.Errorf("%s sent by nobody: %d", address, got.status)
		}
	}
	// The same with a proof of her own, and by carol once the role is taken away.
	w.editUser("alice", func(u *user.User) { u.Roles = append(u.Roles, "realm-admin") })
	hers := alice.crawl(consoleURL)
	w.editUser("alice", func(u *user.User) {
		u.Roles = slices.DeleteFunc(u.Roles, func(r string) bool { return r == "realm-admin" })
	})
	before = w.contents()
	for form, fields := range hers.forms {
		address, _, _ := strings.Cut(form, "#")
		if got := alice.sends(address, origin, fields); got.status != http.StatusForbidden {
			t.Errorf("%s sent by alice, who was an administrator when she opened it: %d", address, got.status)
		}
	}
	if key := differ(before, w.contents()); key != "" {
		t.Errorf("a form that was refused changed %s", key)
	}
	if got, _ := b.open("GET", consoleURL+"nothing", nil); got.status != http.StatusNotFound {
		t.Errorf("a page that is none: %d", got.status)
	}
	w.editClient(client.Console, disable)
	if got, _ := b.open("GET", consoleURL, nil); got.status != http.StatusForbidden {
		t.Errorf("the console is switched off: %d", got.status)
	}
}
