package adapter_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

func scopesAsked(q url.Values) []string {
	s := strings.Fields(q.Get("scope"))
	slices.Sort(s)
	return s
}

// TestA02_OfflinePath: the adapter adds the scope by itself, with what jobs may
// need, and the app sees that access was granted.
func TestA02_OfflinePath(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url+"/backup/now?x=1").wants(t, 200, "app of alice")
	q, n := s.op.asked()
	if got := scopesAsked(q); !slices.Equal(got, []string{"email", "files", "offline_access", "openid", "profile"}) || n != 1 {
		t.Errorf("asked for %v in %d logins", got, n)
	}
	if got := s.last(); got.uri != "/backup/now?x=1" || !got.id.Offline {
		t.Errorf("the app sees %s, offline %v", got.uri, got.id.Offline)
	}
	saved := s.grants.logins()
	if len(saved) != 1 {
		t.Fatalf("%d grants", len(saved))
	}
	l := saved[0]
	if l.Provider != "elsewhere" || l.Client != clientID || l.Site != s.url || l.Sub != "sub-alice" || l.Username != "alice" || l.Email != "alice@example.com" || !l.EmailVerified ||
		!slices.Equal(l.Groups, []string{"staff"}) || !slices.Contains(l.Scopes, "files") || !strings.HasPrefix(l.RefreshToken, "offline-") || l.AccessToken == "" ||
		!l.AccessExpires.Equal(s.clock.Now().Add(5*time.Minute)) {
		t.Errorf("saved %+v", l)
	}
	// The next visits need no further login; other pages neither.
	for _, path := range []string{"/backup", "/", "/maybe"} {
		b.open(s.url+path).wants(t, 200, "app of alice")
	}
	if _, n := s.op.asked(); n != 1 {
		t.Errorf("%d logins", n)
	}
}

// TestA03_Parameter: ?scope=offline_access asks on any secured URL; neither the
// app nor the address bar keeps it. Any other scope is the app's.
func TestA03_Parameter(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	p := b.open(s.url + "/customer-portal/secured?a=1&scope=offline_access&b=%20x")
	p.wants(t, 200, "app of alice")
	if p.url != s.url+"/customer-portal/secured?a=1&b=%20x" || s.last().uri != "/customer-portal/secured?a=1&b=%20x" || s.reached() != 1 {
		t.Errorf("ends at %s, the app sees %s, %d requests", p.url, s.last().uri, s.reached())
	}
	if len(s.grants.logins()) != 1 {
		t.Fatal("no grant")
	}
	// With a grant: taken out at once, for a program too.
	p = b.open(s.url + "/x?scope=openid%20offline_access")
	if p.url != s.url+"/x" || len(b.hops) != 1 {
		t.Errorf("ends at %s by %v", p.url, b.hops)
	}
	if p := b.post(s.url+"/form?z=1&scope=offline_access", url.Values{"scope": {"offline_access"}}); p.StatusCode != 200 || s.last().uri != "/form?z=1" {
		t.Errorf("a form: %d, the app sees %s", p.StatusCode, s.last().uri)
	}

	// What an address may ask for besides.
	b.open(s.url+"/x?scope=offline_access+reports.read").wants(t, 200, "app of alice")
	if q, _ := s.op.asked(); !slices.Contains(scopesAsked(q), "reports.read") || !slices.Contains(scopesAsked(q), "files") {
		t.Errorf("asked for %v", scopesAsked(q))
	}
	for _, who := range []*browser{b, newBrowser(t)} {
		_, before := s.op.asked()
		who.open(s.url+"/x?scope=offline_access+admin").wants(t, 400, "admin")
		if _, n := s.op.asked(); n != before {
			t.Error("a scope outside the list was asked for")
		}
	}
	if p := b.do(http.MethodGet, s.url+"/x?scope=offline_access+%22%3Cb%3E", nil, "Accept", "application/json"); p.StatusCode != 400 || strings.Contains(p.body, "<b") {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}

	// The app's own.
	_, before := s.op.asked()
	for _, query := range []string{"scope=mail", "scope=", "scope", "scope=admin+openid", "xscope=offline_access", "scope=offline_accessx", "Scope=offline_access", "q=scope%3Doffline_access"} {
		b.open(s.url+"/x?"+query).wants(t, 200, "app of alice")
		if s.last().uri != "/x?"+query {
			t.Errorf("%s: the app sees %s", query, s.last().uri)
		}
	}
	// Only our part of several.
	b.open(s.url + "/x?scope=mail&scope=offline_access&scope=x")
	if s.last().uri != "/x?scope=mail&scope=x" {
		t.Errorf("the app sees %s", s.last().uri)
	}
	// On an open path it is the app's, whatever it says.
	for _, who := range []*browser{b, newBrowser(t)} {
		who.open(s.url+"/public/authorize?scope=offline_access+admin").wants(t, 200, "app of")
		if s.last().uri != "/public/authorize?scope=offline_access+admin" {
			t.Errorf("the app sees %s", s.last().uri)
		}
	}
	if _, n := s.op.asked(); n != before {
		t.Errorf("%d logins for the app's own parameters", n-before)
	}
}

// TestA04_StepUp: somebody who is logged in without a grant goes back to the
// provider for the offline scope, on a top-level GET only.
func TestA04_StepUp(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url + "/")
	// A program cannot consent.
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
		p := b.do(method, s.url+"/backup", nil, "Accept", "application/json")
		if p.StatusCode != 403 || method != http.MethodHead && !strings.Contains(p.body, `"consent_uri":"`+s.url+`/backup"`) {
			t.Errorf("%s: %d %s", method, p.StatusCode, p.body)
		}
	}
	// A form would lose what it sends: the person is told where to consent.
	sent := b.post(s.url+"/backup/now?x=1", url.Values{})
	sent.wants(t, 403, `href="`+s.url+`/backup/now"`)
	sent.wants(t, 403, "what you sent was not taken")
	b.open(s.url+"/backup").wants(t, 200, "app of alice")
	if q, n := s.op.asked(); n != 2 || !slices.Contains(scopesAsked(q), "offline_access") || q.Get("prompt") != "" {
		t.Errorf("%d logins, the last %v", n, q)
	}
	if len(s.grants.logins()) != 1 || !s.last().id.Offline {
		t.Error("no grant")
	}
	// The user revoked it at the provider: the next visit asks again (A08).
	s.clock.Advance(time.Minute)
	s.grants.revoke("sub-alice")
	b.open(s.url+"/backup").wants(t, 200, "app of alice")
	if len(s.grants.logins()) != 2 {
		t.Error("the visit after a revocation left no grant")
	}
}

// TestA04_Refusals: whatever says no, the page tells why, remembers it, offers
// both ways out, and nothing loops.
func TestA04_Refusals(t *testing.T) {
	role := "offline access needs the role offline_access, which the user does not have"
	for name, c := range map[string]struct {
		no     func(p *foreign)
		reason string
	}{
		"the role is missing": {func(p *foreign) {
			p.refuse = func(q url.Values) (string, string) {
				if strings.Contains(q.Get("scope"), "offline_access") {
					return "access_denied", role
				}
				return "", ""
			}
		}, "Offline access needs the role offline_access"},
		"the person declined": {func(p *foreign) {
			p.refuse = func(q url.Values) (string, string) {
				if strings.Contains(q.Get("scope"), "offline_access") {
					return "access_denied", ""
				}
				return "", ""
			}
		}, "declined"},
		"the scope is not the client's": {func(p *foreign) {
			p.refuse = func(q url.Values) (string, string) {
				if strings.Contains(q.Get("scope"), "offline_access") {
					return "invalid_scope", "scope files is not available to this client"
				}
				return "", ""
			}
		}, "files"},
		"said by the token endpoint": {func(p *foreign) {
			p.tokenError = func(url.Values) (int, string) {
				if q := p.requests[len(p.requests)-1]; strings.Contains(q.Get("scope"), "offline_access") {
					return 400, "not_allowed"
				}
				return 0, ""
			}
		}, "Told by the token endpoint"},
		"no refresh token": {func(p *foreign) { p.answer = map[string]any{"refresh_token": ""} }, "gave no offline token"},
		"the scope was dropped": {func(p *foreign) {
			p.grants = func(s []string) []string {
				return slices.DeleteFunc(s, func(s string) bool { return s == "offline_access" })
			}
		}, "gave no offline token"},
	} {
		for _, path := range []string{"/backup?x=1", "/page?scope=offline_access&x=1"} {
			for _, before := range []bool{false, true} {
				t.Run(name+" "+path+map[bool]string{true: ", logged in"}[before], func(t *testing.T) {
					s := newSite(t)
					s.op.set(c.no)
					b := newBrowser(t)
					if before {
						b.open(s.url+"/").wants(t, 200, "app of alice")
					}
					hits := s.reached()
					p := b.open(s.url + path)
					p.wants(t, 403, "Continue without background access")
					p.wants(t, 403, "offline_access")
					p.wants(t, 403, c.reason)
					if len(s.grants.logins()) > 0 || s.reached() != hits {
						t.Fatalf("grants %v, %d requests reached the app", s.grants.logins(), s.reached()-hits)
					}
					// Remembered: the same page at once. The rest of the site works.
					_, n := s.op.asked()
					b.open(s.url+path).wants(t, 403, c.reason)
					b.open(s.url+"/").wants(t, 200, "app of alice")
					if _, now := s.op.asked(); now != n || len(b.hops) > 0 {
						t.Errorf("%d further logins", now-n)
					}
					// Once more, with the same outcome.
					p = b.press(p, "again")
					p.wants(t, 403, c.reason)
					// On without.
					p = b.press(p, "without")
					p.wants(t, 200, "app of alice")
					want := strings.Replace(path, "scope=offline_access&", "", 1)
					if s.last().uri != want || s.last().id.Offline {
						t.Errorf("the app sees %s, offline %v; want %s", s.last().uri, s.last().id.Offline, want)
					}
					b.open(s.url+want).wants(t, 200, "app of alice")
					if p := b.do(http.MethodPost, s.url+want, nil); p.StatusCode != 200 {
						t.Errorf("a script of the page gets %d", p.StatusCode)
					}
				})
			}
		}
	}
}

// TestA04_ChangeOfMind: a yes after a no gives the grant.
func TestA04_ChangeOfMind(t *testing.T) {
	s := newSite(t)
	no := func(q url.Values) (string, string) {
		if strings.Contains(q.Get("scope"), "offline_access") {
			return "access_denied", ""
		}
		return "", ""
	}
	s.op.set(func(p *foreign) { p.refuse = no })
	b := newBrowser(t)
	p := b.open(s.url + "/page?scope=offline_access+reports.read")
	s.op.set(func(p *foreign) { p.refuse = nil })
	p = b.press(p, "again")
	p.wants(t, 200, "app of alice")
	if g := s.grants.logins(); p.url != s.url+"/page" || len(g) != 1 || !slices.Contains(g[0].Scopes, "reports.read") {
		t.Errorf("ends at %s, grants %+v", p.url, g)
	}
	// Declining everything is no dead end either.
	s.op.set(func(p *foreign) { p.refuse = func(url.Values) (string, string) { return "access_denied", "" } })
	stranger := newBrowser(t)
	p = stranger.open(s.url + "/backup")
	p.wants(t, 403, "Try again")
	s.op.set(func(p *foreign) { p.refuse = nil })
	stranger.open(between(p.body, `primary" href="`, `"`)).wants(t, 200, "app of alice")
	if s.last().uri != "/backup" {
		t.Errorf("ends at %s", s.last().uri)
	}
}

// TestA04_OptionalPath: asked once, served in any case.
func TestA04_OptionalPath(t *testing.T) {
	s := newSite(t)
	s.op.set(func(p *foreign) {
		p.refuse = func(q url.Values) (string, string) {
			if strings.Contains(q.Get("scope"), "offline_access") {
				return "access_denied", ""
			}
			return "", ""
		}
	})
	b := newBrowser(t)
	b.open(s.url+"/maybe").wants(t, 200, "app of alice")
	_, n := s.op.asked()
	b.open(s.url+"/maybe").wants(t, 200, "app of alice")
	if _, now := s.op.asked(); now != n || n != 2 {
		t.Errorf("%d logins, then %d", n, now)
	}
	if p := b.do(http.MethodGet, s.url+"/maybe", nil, "Accept", "application/json"); p.StatusCode != 200 {
		t.Errorf("a script gets %d", p.StatusCode)
	}
}

// TestA04_NoCircles: a provider that drops a scope, or takes a grant back at
// once, does not send the browser round.
func TestA04_NoCircles(t *testing.T) {
	s := newSite(t)
	s.op.set(func(p *foreign) {
		p.grants = func(s []string) []string {
			return slices.DeleteFunc(s, func(s string) bool { return s == "files" })
		}
	})
	b := newBrowser(t)
	b.open(s.url+"/backup").wants(t, 200, "app of alice")
	b.open(s.url+"/backup").wants(t, 200, "app of alice")
	if _, n := s.op.asked(); n != 1 {
		t.Errorf("%d logins for a scope that is not given", n)
	}
	s.op.set(func(p *foreign) { p.grants = nil })
	again := newBrowser(t)
	answer := again.step(again.step(s.url + "/backup").Header.Get("Location"))
	answer = again.step(answer.Header.Get("Location"))
	s.grants.revoke("sub-alice")
	again.follow(answer).wants(t, 403, "took it back")
	s.clock.Advance(time.Minute)
	again.open(s.url+"/backup").wants(t, 200, "app of alice")
}

// TestA05_GrantBeforeCookie: the browser gets its session only when the grant is
// saved, and never sees the token.
func TestA05_GrantBeforeCookie(t *testing.T) {
	s := newSite(t)
	saving, release := make(chan struct{}), make(chan struct{})
	s.grants.saving = func() { close(saving); <-release }
	b := newBrowser(t)
	answer := b.step(b.step(s.url + "/backup").Header.Get("Location")).Header.Get("Location")
	got := make(chan page)
	go func() { got <- b.step(answer) }()
	<-saving
	select {
	case <-got:
		t.Fatal("the browser was answered while the grant was being saved")
	case <-time.After(50 * time.Millisecond):
	}
	s.grants.mu.Lock()
	s.grants.saving = nil
	s.grants.mu.Unlock()
	close(release)
	p := <-got
	if len(b.cookies(s, "session")) != 1 {
		t.Fatal("no session")
	}
	if all := strings.Join(p.Header.Values("Set-Cookie"), "") + p.Header.Get("Location") + p.body; strings.Contains(all, "offline-") || strings.Contains(all, "eyJ") {
		t.Errorf("a token left: %s", all)
	}

	s.grants.set(errors.New("disk is full"))
	other := newBrowser(t)
	p = other.open(s.url + "/backup")
	p.wants(t, 503, "try again")
	if len(other.cookies(s, "session")) > 0 {
		t.Error("a session without its grant")
	}
	s.grants.set(nil)
	other.open(s.url+"/backup").wants(t, 200, "app of alice")
}

func (g *grants) set(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

// TestSaveOutlivesANode: a node that died while it refreshed the person's grant holds
// it for a while. The login waits longer than that, however long its exchange took.
func TestSaveOutlivesANode(t *testing.T) {
	s := newSite(t)
	newBrowser(t).open(s.url+"/backup").wants(t, http.StatusOK, "app of alice")
	if left := time.Until(s.grants.until); left < vault.HeldFor+10*time.Second {
		t.Errorf("a login gives up after %v, a grant may be held for %v", left, vault.HeldFor)
	}
}

// TestClosedTab: a browser that goes away during the code exchange loses its
// session, not the grant.
func TestClosedTab(t *testing.T) {
	s := newSite(t)
	saving, release := make(chan struct{}), make(chan struct{})
	s.grants.saving = func() { close(saving); <-release }
	b := newBrowser(t)
	answer := b.step(b.step(s.url + "/backup").Header.Get("Location")).Header.Get("Location")
	b.http.Timeout = 100 * time.Millisecond
	req, _ := http.NewRequest(http.MethodGet, answer, nil)
	if _, err := b.http.Do(req); err == nil {
		t.Fatal("the tab was not closed")
	}
	<-saving
	time.Sleep(50 * time.Millisecond) // the server hears of it by itself
	close(release)
	for range 100 {
		if len(s.grants.logins()) == 1 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the grant is lost")
}

// TestLaterLoginKeepsScopes: a login that asks for less takes nothing away.
func TestLaterLoginKeepsScopes(t *testing.T) {
	s := newSite(t)
	newBrowser(t).open(s.url+"/x?scope=offline_access+reports.read").wants(t, 200, "app of alice")
	newBrowser(t).open(s.url+"/backup").wants(t, 200, "app of alice") // another day
	g := s.grants.logins()
	if last := g[len(g)-1]; !slices.Contains(last.Scopes, "reports.read") || !slices.Contains(last.Scopes, "files") {
		t.Errorf("the grant holds %v", last.Scopes)
	}
	// Nor does a provider that does not give them any more send anybody round.
	s.op.set(func(p *foreign) {
		p.refuse = func(q url.Values) (string, string) {
			if strings.Contains(q.Get("scope"), "reports.read") {
				return "invalid_scope", ""
			}
			return "", ""
		}
	})
	newBrowser(t).open(s.url+"/backup").wants(t, 200, "app of alice")
}

// TestA10_ForeignWays: prompt=consent where the provider wants it (OpenID
// Connect Core §11), own parameters where it has no such scope.
func TestA10_ForeignWays(t *testing.T) {
	t.Run("prompt=consent", func(t *testing.T) {
		s := newSite(t)
		s.op.set(func(p *foreign) { p.offlineOnly = "consent" })
		newBrowser(t).open(s.url+"/backup").wants(t, 200, "app of alice")
		if q, n := s.op.asked(); n != 2 || q.Get("prompt") != "consent" || len(s.grants.logins()) != 1 {
			t.Errorf("%d logins, prompt %q", n, q.Get("prompt"))
		}
	})
	t.Run("own parameters", func(t *testing.T) {
		s := newSite(t, func(c *adapter.Config) {
			c.Provider.AuthParams = map[string]string{"access_type": "offline", "prompt": "consent"}
		})
		s.op.set(func(p *foreign) {
			p.metadata["scopes_supported"] = []string{"openid", "profile", "email", "files"}
			p.answer = map[string]any{"refresh_token": "1//google"}
		})
		b := newBrowser(t)
		b.open(s.url+"/").wants(t, 200, "app of alice")
		if q, _ := s.op.asked(); q.Has("access_type") {
			t.Error("an ordinary login asks for background access")
		}
		b.open(s.url+"/backup").wants(t, 200, "app of alice")
		q, _ := s.op.asked()
		if g := s.grants.logins(); q.Get("access_type") != "offline" || q.Get("prompt") != "consent" || strings.Contains(q.Get("scope"), "offline_access") || len(g) != 1 || g[0].RefreshToken != "1//google" {
			t.Errorf("%v: %+v", q, g)
		}
	})
	if _, err := adapter.New(adapter.Config{Site: &url.URL{Scheme: "https", Host: "x"}, Provider: adapter.Provider{Issuer: "i", ClientID: "c"}}); err == nil {
		t.Error("a config without a store is taken")
	}
}
