package provider_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
)

// loginPage opens the login page of a request and fills it in.
func (b *browser) loginPage(name string, more ...string) (*reply, *url.URL) {
	b.t.Helper()
	page, _ := b.open("GET", authURL("reports", "openid"), nil)
	fill := url.Values{"username": {name}, "password": {name + "-pw"}}
	for i := 0; i < len(more); i += 2 {
		fill.Set(more[i], more[i+1])
	}
	return b.submit(page, "login", fill)
}

// ssoCookie is the cookie as the login sets it.
func ssoCookie(t *testing.T, page *reply) *http.Cookie {
	t.Helper()
	for _, c := range (&http.Response{Header: page.header}).Cookies() {
		if strings.Contains(c.Name, "sso") {
			return c
		}
	}
	t.Fatal("no cookie")
	return nil
}

func TestRememberMe(t *testing.T) {
	remember := func(s *realm.Settings) {
		s.RememberMe, s.SSOSessionIdleRememberMe, s.SSOSessionMaxRememberMe = true, 7*day, 30*day
	}
	t.Run("the checkbox is there when the realm has it", func(t *testing.T) {
		for on, edit := range map[bool]func(*realm.Settings){false: func(*realm.Settings) {}, true: remember} {
			page, _ := newWorld(t, edit).browser().open("GET", authURL("reports", "openid"), nil)
			if strings.Contains(page.body, `name="rememberMe"`) != on {
				t.Errorf("switched on: %v, the page says something else", on)
			}
		}
	})
	t.Run("limits", func(t *testing.T) {
		w := newWorld(t, remember)
		plain, kept := w.browser(), w.browser()
		plain.loginPage("alice")
		_, left := kept.loginPage("alice", "rememberMe", "on")
		r := w.exchange("reports", left.Query().Get("code")).ok()
		offline := kept.grant("", "reports", "openid offline_access")
		if n := r.number("refresh_expires_in"); n != (7 * day).Seconds() {
			t.Errorf("refresh_expires_in %v", n)
		}
		w.advance(31 * time.Minute)
		refused(t, plain.silently("reports", "openid"), "login_required", "")
		for range 4 {
			w.advance(6 * day)
			if err := w.provider.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if q := kept.silently("reports", "openid"); q.Get("code") == "" {
				t.Fatalf("a remembered login ended: %v", q)
			}
			r = w.refresh("reports", r.refreshed()).ok()
		}
		w.advance(6 * day) // 30 days and more in all
		refused(t, kept.silently("reports", "openid"), "login_required", "")
		w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "max_expired")
		w.refresh("reports", offline.refreshed()).fails(400, "invalid_grant", "idle_expired") // unused for 30 days: no effect on it
	})
	t.Run("idle, and the switch", func(t *testing.T) {
		w := newWorld(t, remember)
		b := w.browser()
		b.loginPage("alice", "rememberMe", "on")
		w.advance(day)
		w.edit(func(s *realm.Settings) { s.RememberMe = false })
		refused(t, b.silently("reports", "openid"), "login_required", "")
		w.edit(func(s *realm.Settings) { s.RememberMe = true })
		if q := b.silently("reports", "openid"); q.Get("code") == "" {
			t.Errorf("switched on again: %v", q)
		}
		w.advance(7*day + time.Minute)
		refused(t, b.silently("reports", "openid"), "login_required", "")
	})
	t.Run("the cookie survives the browser's end", func(t *testing.T) {
		w := newWorld(t, remember)
		for name, want := range map[string]int{"": 0, "on": int((30 * day).Seconds())} {
			b := w.browser()
			page, _ := b.open("GET", authURL("reports", "openid"), nil)
			to, fields := b.fields(page, "login")
			fields.Set("username", "alice")
			fields.Set("password", "alice-pw")
			if name != "" {
				fields.Set("rememberMe", name)
			}
			if got := ssoCookie(t, b.wire("POST "+to+"\n\n"+fields.Encode())).MaxAge; got != want {
				t.Errorf("rememberMe=%q: Max-Age %d, want %d", name, got, want)
			}
		}
	})
	t.Run("nobody is remembered where it is off", func(t *testing.T) {
		w := newWorld(t, func(s *realm.Settings) { s.SSOSessionIdleRememberMe = 7 * day })
		b := w.browser()
		b.loginPage("alice", "rememberMe", "on")
		w.advance(31 * time.Minute)
		refused(t, b.silently("reports", "openid"), "login_required", "")
	})
}

// A client's own limits end its session alone: single sign-on makes it a new one.
func TestClientSessionLimits(t *testing.T) {
	for name, set := range map[string]func(w *world, idle, most time.Duration){
		"of all clients": func(w *world, idle, most time.Duration) {
			w.edit(func(s *realm.Settings) { s.ClientSessionIdle, s.ClientSessionMax = idle, most })
		},
		"of the client": func(w *world, idle, most time.Duration) {
			w.editClient("reports", func(c *client.Client) { c.ClientSessionIdle, c.ClientSessionMax = &idle, &most })
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			r := b.grant("alice", "reports", "openid")
			other := b.grant("", "other", "openid")
			set(w, 10*time.Minute, 0) // applies to what exists
			w.advance(9 * time.Minute)
			r = w.refresh("reports", r.refreshed()).ok()
			if n := r.number("refresh_expires_in"); n != 600 {
				t.Errorf("refresh_expires_in %v", n)
			}
			other = w.refresh("other", other.refreshed()).ok()
			w.advance(10 * time.Minute)
			w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "idle_expired")
			if name == "of the client" {
				w.refresh("other", other.refreshed()).ok()
			}
			r = b.grant("", "reports", "openid") // single sign-on
			w.refresh("reports", r.refreshed()).ok()

			set(w, 0, 15*time.Minute)
			for range 2 {
				w.advance(7 * time.Minute)
				r = w.refresh("reports", r.refreshed()).ok()
			}
			w.advance(time.Minute)
			w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "max_expired")
			b.grant("", "reports", "openid")
		})
	}
}

func TestClientOfflineSessionLimitsOfTheRealm(t *testing.T) {
	w := newWorld(t, limited(0, 60*day), func(s *realm.Settings) { s.ClientOfflineSessionIdle, s.ClientOfflineSessionMax = 2*day, 5*day })
	own := 3 * day
	w.editClient("other", func(c *client.Client) { c.OfflineSessionIdle = &own })
	r, longer := w.password("reports", "alice", "offline_access").ok(), w.password("other", "alice", "offline_access").ok()
	if n := r.number("refresh_expires_in"); n != (2 * day).Seconds() {
		t.Errorf("refresh_expires_in %v", n)
	}
	w.advance(2*day + time.Minute)
	w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "idle_expired")
	longer = w.refresh("other", longer.refreshed()).ok()
	w.advance(2 * day)
	longer = w.refresh("other", longer.refreshed()).ok()
	w.advance(day)
	w.refresh("other", longer.refreshed()).fails(400, "invalid_grant", "max_expired")
}

// One page of a login may be open for Login Action Timeout, the whole of it for
// Login Timeout.
func TestLoginTimeouts(t *testing.T) {
	fill := url.Values{"username": {"alice"}, "password": {"alice-pw"}}
	w := newWorld(t)
	w.editClient("reports", func(c *client.Client) { c.ConsentRequired = true })
	b := w.browser()
	page, _ := b.open("GET", authURL("reports", "openid"), nil)
	w.advance(5*time.Minute + time.Second)
	page, left := b.submit(page, "login", fill)
	if left != nil || page.status != 200 || !strings.Contains(page.body, "open for too long") {
		t.Fatalf("a page that was open for too long: %v, %d", left, page.status)
	}
	w.advance(5 * time.Minute)
	page, _ = b.submit(page, "login", fill)
	w.advance(6 * time.Minute)
	page, left = b.submit(page, "consent", url.Values{"accept": {"yes"}})
	if left != nil || !strings.Contains(page.body, `id="consent"`) {
		t.Fatalf("a consent page that was open for too long: %v", left)
	}
	if _, left = b.submit(page, "consent", url.Values{"accept": {"yes"}}); left == nil || left.Query().Get("code") == "" {
		t.Fatalf("the page shown anew: %v", left)
	}

	b = w.browser()
	page, _ = b.open("GET", authURL("reports", "openid"), nil)
	w.advance(30 * time.Minute)
	if page, left = b.submit(page, "login", fill); left != nil || page.status != http.StatusBadRequest {
		t.Errorf("a login of 30 minutes: %v, %d", left, page.status)
	}

	w.edit(func(s *realm.Settings) { s.LoginActionTimeout, s.CodeLifespan = time.Hour, 10*time.Second })
	b = w.browser()
	page, _ = b.open("GET", authURL("other", "openid"), nil)
	w.advance(20 * time.Minute)
	_, left = b.submit(page, "login", fill)
	w.advance(11 * time.Second)
	w.exchange("other", left.Query().Get("code")).fails(400, "invalid_grant", "")
}

// A client that is told to get access tokens alone gets no refresh token and no
// offline access, and no error; what it has goes on.
func TestUseRefreshTokensOff(t *testing.T) {
	w := newWorld(t)
	before := w.password("reports", "alice", "openid").ok()
	w.editClient("reports", func(c *client.Client) { c.NoRefreshTokens = true })
	on, off := w.sessions()
	r := w.password("reports", "alice", "openid offline_access").ok()
	if r.text("refresh_token") != "" || strings.Contains(r.text("scope"), "offline_access") || !w.active(r.access()) {
		t.Errorf("answer %v", r.json)
	}
	if on2, off2 := w.sessions(); off2 != off || on2 != on+1 {
		t.Errorf("sessions: %d and %d, then %d and %d", on, off, on2, off2)
	}
	if r := w.refresh("reports", before.refreshed()).ok(); r.text("refresh_token") != "" || !w.active(r.access()) {
		t.Errorf("a refresh answers %v", r.json)
	}
}
