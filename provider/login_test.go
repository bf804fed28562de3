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

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

func credentials(name, password string) url.Values {
	return url.Values{"username": {name}, "password": {password}}
}

// cookie of the browser whose name has a part.
func (b *browser) cookie(part string) *http.Cookie {
	b.t.Helper()
	u, _ := url.Parse(origin)
	cookies := b.jar.Cookies(u)
	i := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return strings.Contains(c.Name, part) })
	if i < 0 {
		return nil
	}
	return cookies[i]
}

func TestLogin(t *testing.T) {
	w := newWorld(t)
	w.editUser("carol", func(u *user.User) { u.Enabled = false })
	b := w.browser()
	page, _ := b.open("GET", authURL("reports", "openid"), nil)

	t.Run("wrong", func(t *testing.T) {
		var first string
		for _, c := range [][2]string{{"alice", "wrong"}, {"nobody", "alice-pw"}, {"carol", "carol-pw"}, {"alice", ""}, {"", ""}, {"alice", strings.Repeat("x", 5000)}, {`"><b>`, "x"}} {
			again, left := b.submit(page, "login", credentials(c[0], c[1]))
			if left != nil || b.cookie("sso") != nil {
				t.Fatalf("%s: logged in", c[0])
			}
			// One answer to all of them, apart from the name that was typed.
			text := regexp.MustCompile(`value="[^"]*"( autofocus)?|autofocus`).ReplaceAllString(again.body, "")
			text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), " >", ">")
			if first == "" {
				first = text
			}
			if text != first || !strings.Contains(again.body, "Username or password is wrong") || strings.Contains(again.body, "<b>") {
				t.Errorf("%s: %s", c[0], again.body)
			}
		}
		if w.count(event.LoginError, "invalid_user_credentials") != 7 {
			t.Error("events are missing")
		}
	})

	t.Run("right", func(t *testing.T) {
		for _, name := range []string{"alice", "ALICE", "alice@example.com"} {
			b := w.browser()
			page, _ := b.open("GET", authURL("reports", "openid"), nil)
			if _, left := b.submit(page, "login", credentials(name, "alice-pw")); left == nil || left.Query().Get("code") == "" {
				t.Errorf("%s: %v", name, left)
			}
		}
	})

	t.Run("another person in the same browser", func(t *testing.T) {
		b := w.browser()
		alice := b.grant("alice", "reports", "openid")
		old := b.cookie("sso").Value
		page, _ := b.open("GET", authURL("reports", "openid", "prompt", "login"), nil)
		_, left := b.submit(page, "login", credentials("bob", "bob-pw"))
		bob := w.exchange("reports", left.Query().Get("code")).ok()
		if bob.claims()["sub"] == alice.claims()["sub"] || bob.claims()["sid"] == alice.claims()["sid"] {
			t.Error("bob has alice's session")
		}
		if now := b.cookie("sso").Value; now == old {
			t.Error("the cookie is the old one")
		}
		w.refresh("reports", alice.refreshed()).fails(400, "invalid_grant", "")
	})

	t.Run("the same person again", func(t *testing.T) {
		b := w.browser()
		before := b.grant("alice", "reports", "openid")
		old := b.cookie("sso").Value
		page, _ := b.open("GET", authURL("reports", "openid", "prompt", "login"), nil)
		_, left := b.submit(page, "login", credentials("alice", "alice-pw"))
		after := w.exchange("reports", left.Query().Get("code")).ok()
		if after.claims()["sid"] != before.claims()["sid"] {
			t.Error("another sid: other tabs lose their session")
		}
		w.refresh("reports", before.refreshed()).ok()
		if b.cookie("sso").Value == old {
			t.Error("the cookie is the old one")
		}
		u, _ := url.Parse(origin)
		thief := w.browser()
		thief.jar.SetCookies(u, []*http.Cookie{{Name: b.cookie("sso").Name, Value: old}})
		refused(t, thief.silently("reports", "openid"), "login_required", "")
	})

	t.Run("time is over", func(t *testing.T) {
		b := w.browser()
		page, _ := b.open("GET", authURL("reports", "openid"), nil)
		w.advance(30*time.Minute + time.Second)
		if got, left := b.submit(page, "login", credentials("alice", "alice-pw")); left != nil || got.status != http.StatusBadRequest || !strings.Contains(got.body, "begin again") {
			t.Errorf("went to %v", left)
		}
	})
}

// Nobody is led into somebody else's login: by a link, by a form on another
// site, or by a proof of another page.
func TestLoginIsBoundToItsBrowser(t *testing.T) {
	w := newWorld(t)
	victim, attacker := w.browser(), w.browser()
	page, _ := attacker.open("GET", authURL("reports", "openid"), nil)
	link := page.header.Get("X-Address")

	if got, left := victim.open("GET", link, nil); left != nil || got.status != http.StatusBadRequest || strings.Contains(got.body, `id="login"`) {
		t.Errorf("a link to the login page of another browser: %v", left)
	}
	_, _ = victim.open("GET", authURL("reports", "openid"), nil) // has a flow cookie of its own now
	if got, left := victim.submit(page, "login", credentials("alice", "alice-pw")); left != nil || got.status != http.StatusBadRequest {
		t.Errorf("a form of another browser: %v", left)
	}
	if got, left := victim.open("GET", strings.Replace(link, "authenticate", "continue", 1), nil); left != nil || got.status != http.StatusBadRequest {
		t.Errorf("a link to continue: %v", left)
	}

	mine, _ := victim.open("GET", authURL("reports", "openid"), nil)
	other, _ := victim.open("GET", authURL("reports", "openid"), nil)
	proof := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(other.body)[1]
	for name, csrf := range map[string]string{"no proof": "", "a proof of another request": proof} {
		form := credentials("alice", "alice-pw")
		form.Set("csrf", csrf)
		if got, left := victim.submit(mine, "login", form); left != nil || got.status != http.StatusForbidden {
			t.Errorf("%s: %v", name, left)
		}
	}
	r := httptest.NewRequest(http.MethodPost, mine.header.Get("X-Address"), strings.NewReader(url.Values{
		"username": {"alice"}, "password": {"alice-pw"}, "csrf": {regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(mine.body)[1]},
	}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://evil.test")
	r.AddCookie(victim.cookie("flow"))
	if got := w.do(r); got.status != http.StatusForbidden {
		t.Errorf("a form on another site: %d", got.status)
	}
	if victim.cookie("sso") != nil {
		t.Error("logged in")
	}
	if _, left := victim.submit(mine, "login", credentials("alice", "alice-pw")); left == nil || left.Query().Get("code") == "" {
		t.Errorf("the right form: %v", left)
	}
}

// Each tab has a request of its own, and each comes back to its client.
func TestParallelTabs(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	one, _ := b.open("GET", authURL("reports", "openid", "state", "one"), nil)
	two, _ := b.open("GET", authURL("other", "openid", "state", "two"), nil)
	_, left := b.submit(two, "login", credentials("alice", "alice-pw"))
	if left == nil || left.Query().Get("state") != "two" {
		t.Fatalf("second tab: %v", left)
	}
	w.exchange("other", left.Query().Get("code")).ok()
	_, again := b.submit(one, "login", credentials("alice", "alice-pw"))
	if again == nil || again.Query().Get("state") != "one" {
		t.Fatalf("first tab: %v", again)
	}
	w.exchange("reports", again.Query().Get("code")).ok()
	// Back in the history and once more: told, not an error of ours.
	if got, left := b.submit(two, "login", credentials("alice", "alice-pw")); left != nil || got.status != http.StatusBadRequest {
		t.Errorf("a login that is over: %v", left)
	}
}

func TestLoginCookies(t *testing.T) {
	attributes := func(t *testing.T, w *world, base string) map[string]*http.Cookie {
		t.Helper()
		p, err := provider.New(provider.Config{Store: w.store, Sealer: w.keyset, Realm: "demo", URL: base, Now: w.clock})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		out := map[string]*http.Cookie{}
		send := func(r *http.Request) *httptest.ResponseRecorder {
			for _, c := range out {
				r.AddCookie(c)
			}
			rec := httptest.NewRecorder()
			p.ServeHTTP(rec, r)
			for _, c := range rec.Result().Cookies() {
				out[regexp.MustCompile(`(sso|flow)`).FindString(c.Name)] = c
			}
			return rec
		}
		path := strings.TrimPrefix(authURL("reports", "openid"), origin)
		rec := send(httptest.NewRequest(http.MethodGet, path, nil))
		login := rec.Header().Get("Location")
		rec = send(httptest.NewRequest(http.MethodGet, login, nil))
		form := credentials("alice", "alice-pw")
		form.Set("csrf", regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(rec.Body.String())[1])
		r := httptest.NewRequest(http.MethodPost, login, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		send(r)
		return out
	}
	w := newWorld(t)
	plain, secure := attributes(t, w, origin), attributes(t, w, "https://id.test")
	for kind := range map[string]bool{"sso": true, "flow": true} {
		p, s := plain[kind], secure[kind]
		if p == nil || s == nil {
			t.Fatalf("no cookie %s", kind)
		}
		if !strings.HasPrefix(p.Name, "nightlatch_") || p.Secure || !p.HttpOnly || p.SameSite != http.SameSiteLaxMode || p.Domain != "" {
			t.Errorf("http: %v", p)
		}
		if !strings.HasPrefix(s.Name, "__Host-nightlatch_") || !s.Secure || !s.HttpOnly || s.Path != "/" || s.Domain != "" {
			t.Errorf("https: %v", s)
		}
		if strings.TrimPrefix(s.Name, "__Host-") == p.Name {
			t.Error("two issuers share a name")
		}
	}
	// The store does not hold what logs in.
	err := w.store.View(t.Context(), func(tx storage.Tx) error {
		items, err := tx.Scan(nil, nil, 10000)
		for _, it := range items {
			for kind, c := range plain {
				_, secret, _ := strings.Cut(c.Value, ".")
				if secret == "" {
					secret = c.Value
				}
				if strings.Contains(string(it.Key)+string(it.Value), secret) {
					t.Errorf("the store holds the %s cookie", kind)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A login is on disk before its cookie, and one whose outcome is unknown gives
// no cookie.
func TestLoginOfUnknownOutcome(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	page, _ := b.open("GET", authURL("reports", "openid"), nil)
	w.backend.next.Store(1)
	got, left := b.submit(page, "login", credentials("alice", "alice-pw"))
	if left != nil || got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || b.cookie("sso") != nil {
		t.Errorf("went to %v, cookie %v", left, b.cookie("sso"))
	}
	if _, left := b.submit(page, "login", credentials("alice", "alice-pw")); left == nil || left.Query().Get("code") == "" {
		t.Errorf("once more: %v", left)
	}
}

// A session in the store says from where and with what a person logged in.
func TestUserSessionTellsWhere(t *testing.T) {
	w := newWorld(t)
	r := w.browser().grant("alice", "reports", "openid offline_access")
	err := w.store.View(t.Context(), func(tx storage.Tx) error {
		us, err := session.UserSessions.Get(tx, "demo", r.claims()["sid"].(string))
		if err != nil {
			return err
		}
		cs, err := session.ClientSessions.Get(tx, "demo", r.claims()["offline_session"].(string))
		if err != nil {
			return err
		}
		if us.IP != "192.0.2.1" || cs.IP != us.IP {
			t.Errorf("addresses %q and %q", us.IP, cs.IP)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
