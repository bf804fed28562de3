package adapter_test

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// noRefreshTokens makes the provider give no refresh token to ordinary logins.
func noRefreshTokens(p *foreign) { p.answer = map[string]any{"refresh_token": ""} }

// TestSessionLimits: idle and max are the session's own. Neither silent renewals
// nor step-ups make it younger.
func TestSessionLimits(t *testing.T) {
	for name, change := range map[string]func(*foreign){"by refresh token": func(*foreign) {}, "by prompt=none": noRefreshTokens} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.op.set(change)
			b := newBrowser(t)
			b.open(s.url + "/")
			begun := s.clock.Now()
			for s.clock.Now().Sub(begun) < 10*time.Hour-time.Minute {
				b.open(s.url+"/").wants(t, 200, "app of alice")
				s.clock.Advance(20 * time.Minute)
			}
			s.op.set(func(p *foreign) { p.user = nil })
			if p := b.open(s.url + "/"); p.body != "login page" {
				t.Errorf("after session_max: %d %s", p.StatusCode, p.body)
			}
		})
	}
	t.Run("a step-up", func(t *testing.T) {
		s := newSite(t, func(c *adapter.Config) { c.SessionRecheck, c.SessionIdle = 24*time.Hour, 24*time.Hour })
		b := newBrowser(t)
		b.open(s.url + "/")
		s.clock.Advance(9 * time.Hour)
		b.open(s.url+"/backup").wants(t, 200, "app of alice")
		s.clock.Advance(time.Hour)
		if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 401 {
			t.Errorf("after session_max: %d", p.StatusCode)
		}
	})
	s := newSite(t, func(c *adapter.Config) { c.SessionRecheck = 24 * time.Hour })
	s.op.set(noRefreshTokens) // else it would be asked ahead of the access token's expiry
	b := newBrowser(t)
	b.open(s.url + "/")
	s.op.set(func(p *foreign) { p.user = nil })
	for range 3 {
		s.clock.Advance(29 * time.Minute)
		b.open(s.url+"/").wants(t, 200, "app of alice")
	}
	s.clock.Advance(30*time.Minute + time.Second)
	if p := b.open(s.url + "/"); p.body != "login page" {
		t.Errorf("after session_idle: %s", p.body)
	}
	if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 401 {
		t.Errorf("a script after session_idle: %d", p.StatusCode)
	}
}

// TestRequestsCostNoRead: a known session is served from memory.
func TestRequestsCostNoRead(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url + "/")
	b.open(s.url + "/")
	views, updates := s.store.Stats().Views.Load(), s.store.Stats().Updates.Load()
	for range 50 {
		b.open(s.url+"/").wants(t, 200, "app of alice")
	}
	if v, u := s.store.Stats().Views.Load()-views, s.store.Stats().Updates.Load()-updates; v+u > 0 {
		t.Errorf("50 requests made %d reads and %d writes", v, u)
	}
}

// TestRecheckByRefreshToken: claims are renewed after session_recheck, in one
// flight; a provider that is away is not waited for twice; one that says no ends
// the session.
func TestRecheckByRefreshToken(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url + "/")
	s.op.set(func(p *foreign) { p.user["groups"] = []string{"staff", "new"} })
	b.open(s.url + "/")
	if slices.Contains(s.last().id.Groups, "new") {
		t.Error("claims are new too early")
	}
	s.clock.Advance(5 * time.Minute)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() { b.do(http.MethodGet, s.url+"/data", nil) })
	}
	wait.Wait()
	b.open(s.url + "/")
	s.op.mu.Lock()
	refreshes, key := s.op.refreshes, s.op.keys[len(s.op.keys)-1]
	s.op.mu.Unlock()
	if refreshes != 1 || key == "" || !slices.Contains(s.last().id.Groups, "new") {
		t.Errorf("%d refreshes, key %q, groups %v", refreshes, key, s.last().id.Groups)
	}

	s.clock.Advance(5 * time.Minute)
	s.op.set(func(p *foreign) { p.down = true })
	before := s.op.count("/token")
	for range 10 {
		b.open(s.url+"/").wants(t, 200, "app of alice")
	}
	if n := s.op.count("/token") - before; n != 1 {
		t.Errorf("%d attempts while the provider is away", n)
	}
	s.op.set(func(p *foreign) {
		p.down = false
		p.tokenError = func(form url.Values) (int, string) {
			if form.Get("grant_type") == "refresh_token" {
				return 400, "invalid_grant"
			}
			return 0, ""
		}
		p.user = nil
	})
	s.clock.Advance(time.Minute)
	if p := b.do(http.MethodGet, s.url+"/data", nil); p.StatusCode != 401 {
		t.Errorf("a session that the provider ended answers %d", p.StatusCode)
	}
	if p := b.open(s.url + "/"); p.body != "login page" {
		t.Errorf("the next page is %s", p.body)
	}
}

// TestRefreshAhead: however old claims may be, they are renewed ahead of the access
// token's expiry, once for all that ask, and for whoever has gone; sub stays.
func TestRefreshAhead(t *testing.T) {
	s := newSite(t, func(c *adapter.Config) { c.SessionRecheck = time.Hour })
	s.op.set(func(p *foreign) { p.answer = map[string]any{"expires_in": 600} })
	b := newBrowser(t)
	b.open(s.url + "/")
	refreshes := func() int {
		s.op.mu.Lock()
		defer s.op.mu.Unlock()
		return s.op.refreshes
	}
	s.clock.Advance(8*time.Minute - time.Second)
	if b.open(s.url + "/"); refreshes() != 0 {
		t.Error("refreshed too early")
	}
	s.clock.Advance(time.Second)
	asked, answer := make(chan struct{}), make(chan struct{})
	s.op.set(func(p *foreign) {
		p.user["groups"] = []string{"new"}
		p.tokenError = func(url.Values) (int, string) {
			close(asked)
			<-answer
			return 0, ""
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(b.cookies(s, "session")[0])
	go func() {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	select {
	case <-asked:
	case <-gone:
		t.Fatal("nothing is refreshed ahead of the expiry")
	}
	leave()
	if err := <-gone; err == nil {
		t.Fatal("the asker did not leave")
	}
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() { b.do(http.MethodGet, s.url+"/data", nil) })
	}
	close(answer)
	wait.Wait()
	if b.open(s.url + "/"); refreshes() != 1 || !slices.Contains(s.last().id.Groups, "new") {
		t.Errorf("%d refreshes, groups %v", refreshes(), s.last().id.Groups)
	}
	// The next token, and the one after it, ahead of their own expiry.
	s.op.set(func(p *foreign) { p.tokenError = nil })
	for i := range 3 {
		s.clock.Advance(8*time.Minute - time.Second)
		b.open(s.url + "/")
		s.clock.Advance(time.Second)
		if b.open(s.url + "/"); refreshes() != i+2 {
			t.Errorf("%d refreshes after %d more tokens", refreshes(), i+1)
		}
	}
	s.op.is("sub-bob", "bob")
	s.clock.Advance(8 * time.Minute)
	if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 401 {
		t.Errorf("another sub: %d, the app sees %s", p.StatusCode, s.last().id.Name)
	}
}

// TestRecheckOfAnotherSub: a refresh that speaks of somebody else ends the
// session.
func TestRecheckOfAnotherSub(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url + "/")
	s.op.is("sub-bob", "bob")
	s.clock.Advance(6 * time.Minute)
	if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 401 {
		t.Errorf("%d, the app sees %s", p.StatusCode, s.last().id.Name)
	}
}

// TestRecheckByPromptNone: without a refresh token the next navigation asks, with
// no page; scripts go on meanwhile.
func TestRecheckByPromptNone(t *testing.T) {
	s := newSite(t)
	s.op.set(noRefreshTokens)
	b := newBrowser(t)
	b.open(s.url + "/")
	cookie := b.cookies(s, "session")[0].Value
	s.clock.Advance(6 * time.Minute)
	s.op.set(func(p *foreign) { p.user["groups"] = []string{"new"} })
	if p := b.do(http.MethodPost, s.url+"/data", nil); p.StatusCode != 200 {
		t.Errorf("a script: %d", p.StatusCode)
	}
	b.open(s.url+"/page?x=1").wants(t, 200, "app of alice")
	q, n := s.op.asked()
	if q.Get("prompt") != "none" || n != 2 || s.last().uri != "/page?x=1" || !slices.Equal(s.last().id.Groups, []string{"new"}) || b.cookies(s, "session")[0].Value != cookie {
		t.Errorf("%d logins, the last %v; the app sees %s %v", n, q, s.last().uri, s.last().id.Groups)
	}
	b.open(s.url + "/")
	if _, now := s.op.asked(); now != n {
		t.Error("asked again at once")
	}
	// The provider has a moment: the session stands, nothing loops.
	s.clock.Advance(6 * time.Minute)
	s.op.set(func(p *foreign) {
		p.refuse = func(url.Values) (string, string) { return "temporarily_unavailable", "" }
	})
	b.open(s.url+"/").wants(t, 200, "app of alice")
	// Somebody else is logged in there by now: a new login, with his own session.
	s.clock.Advance(6 * time.Minute)
	s.op.set(func(p *foreign) { p.refuse = nil })
	s.op.is("sub-bob", "bob")
	b.open(s.url+"/").wants(t, 200, "app of bob")
	if b.cookies(s, "session")[0].Value == cookie {
		t.Error("bob has alice's session")
	}
	// Nobody is: the login page.
	s.clock.Advance(6 * time.Minute)
	s.op.set(func(p *foreign) { p.user = nil })
	if p := b.open(s.url + "/"); p.body != "login page" {
		t.Errorf("logged out at the provider: %s", p.body)
	}
	if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 401 {
		t.Errorf("the session answers %d", p.StatusCode)
	}
}

// TestLogout: asked on GET, done on POST with the page's own proof, here and at
// the provider; the grant stays, the cookie is worth nothing.
func TestLogout(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url + "/backup")
	cookie := b.cookies(s, "session")[0]
	p := b.open(s.url + "/.nightlatch/logout")
	p.wants(t, 200, `id="logout"`)
	b.open(s.url+"/").wants(t, 200, "app of alice")
	for name, form := range map[string]url.Values{"no proof": {}, "forged": {"csrf": {"x"}}, "of another session": {"csrf": {forgedProof(t, s)}}} {
		if p := b.post(s.url+"/.nightlatch/logout", form); p.StatusCode != 403 {
			t.Errorf("%s: %d", name, p.StatusCode)
		}
	}
	evil := b.do(http.MethodPost, s.url+"/.nightlatch/logout", strings.NewReader(fields(t, p.body).Encode()), "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.test")
	if evil.StatusCode != 403 {
		t.Errorf("from another origin: %d", evil.StatusCode)
	}
	b.open(s.url+"/").wants(t, 200, "app of alice")
	s.op.set(func(p *foreign) { p.user = nil })
	b.press(p, "go").wants(t, 200, "logged out")
	first, err := url.Parse(b.hops[0])
	if err != nil || !strings.HasPrefix(b.hops[0], s.op.server.URL+"/logout?") || first.Query().Get("post_logout_redirect_uri") != s.url+"/.nightlatch/logged-out" || first.Query().Get("client_id") != clientID || first.Query().Get("id_token_hint") == "" {
		t.Errorf("logging out goes by %v", b.hops)
	}
	if len(b.cookies(s, "session")) > 0 {
		t.Error("the cookie is still there")
	}
	// The former cookie, replayed.
	if p := newBrowser(t).do(http.MethodGet, s.url+"/", nil, "Cookie", cookie.String()); p.StatusCode != 401 {
		t.Errorf("a replayed cookie: %d", p.StatusCode)
	}
	if kept, _ := s.grants.Has(context.Background(), "", "", "sub-alice", []string{"files"}); !kept {
		t.Error("the grant went with the session")
	}
	if p := b.open(s.url + "/"); p.body != "login page" {
		t.Errorf("after logging out: %s", p.body)
	}
	b.open(s.url+"/.nightlatch/logout").wants(t, 200, "logged out")
}

// forgedProof is a proof for somebody else's session.
func forgedProof(t *testing.T, s *site) string {
	other := newBrowser(t)
	other.open(s.url + "/")
	return fields(t, other.open(s.url+"/.nightlatch/logout").body).Get("csrf")
}

// TestBackchannelLogout: the provider ends a session or all of a person's;
// nobody else can, and no token works twice.
func TestBackchannelLogout(t *testing.T) {
	s := newSite(t)
	n := 0
	token := func(change map[string]any) string {
		n++
		c := map[string]any{
			"iss": s.op.server.URL, "aud": clientID, "iat": s.clock.Now().Unix(), "exp": s.clock.Now().Add(time.Minute).Unix(), "jti": strings.Repeat("j", n),
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		}
		maps.Copy(c, change)
		s.op.mu.Lock()
		defer s.op.mu.Unlock()
		return s.op.jwt(map[string]any{"typ": "logout+jwt"}, c)
	}
	provider := newBrowser(t)
	send := func(token string) int {
		return provider.post(s.url+"/.nightlatch/backchannel-logout", url.Values{"logout_token": {token}}).StatusCode
	}
	alice := newBrowser(t)
	alice.open(s.url + "/")
	for name, bad := range map[string]string{
		"empty":           "",
		"garbage":         "x.y.z",
		"nonce":           token(map[string]any{"sid": "session-1", "nonce": "n"}),
		"other aud":       token(map[string]any{"sid": "session-1", "aud": "other"}),
		"other iss":       token(map[string]any{"sid": "session-1", "iss": "https://evil.test"}),
		"no event":        token(map[string]any{"sid": "session-1", "events": map[string]any{}}),
		"no jti":          token(map[string]any{"sid": "session-1", "jti": ""}),
		"no iat":          token(map[string]any{"sid": "session-1", "iat": nil}),
		"expired":         token(map[string]any{"sid": "session-1", "exp": s.clock.Now().Add(-time.Minute).Unix()}),
		"about nobody":    token(nil),
		"an access token": accessToken(s, nil, nil),
		"alg none":        unsigned(map[string]any{"sid": "session-1"}),
	} {
		if status := send(bad); status != 400 {
			t.Errorf("%s: %d", name, status)
		}
	}
	if p := alice.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 200 {
		t.Fatalf("a bad token logged alice out: %d", p.StatusCode)
	}
	good := token(map[string]any{"sid": "session-1"})
	if status := send(good); status != 200 {
		t.Fatalf("%d", status)
	}
	if p := alice.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 401 {
		t.Errorf("alice's session answers %d", p.StatusCode)
	}
	alice.open(s.url + "/")
	if status := send(good); status != 400 {
		t.Errorf("a replay: %d", status)
	}
	if p := alice.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 200 {
		t.Error("a replay logged alice out")
	}
	if status := send(token(map[string]any{"sub": "sub-alice"})); status != 200 {
		t.Errorf("by sub: %d", status)
	}
	if p := alice.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 401 {
		t.Errorf("by sub: alice's session answers %d", p.StatusCode)
	}
}

// TestRestart: a session survives the process, on the same store; a change of
// the site's provider ends it.
func TestRestart(t *testing.T) {
	var config adapter.Config
	s := newSite(t, func(c *adapter.Config) { config = *c })
	b := newBrowser(t)
	b.open(s.url + "/")
	again, err := adapter.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s.rp = again
	if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 200 || s.last().id.Name != "alice" {
		t.Errorf("after a restart: %d", p.StatusCode)
	}
	config.Provider.Name = "another"
	if s.rp, err = adapter.New(config); err != nil {
		t.Fatal(err)
	}
	if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 401 {
		t.Errorf("at another provider: %d as %s", p.StatusCode, s.last().id.Name)
	}
}

// TestRun hears of what other nodes ended, and sweeps.
func TestRun(t *testing.T) {
	var config adapter.Config
	s := newSite(t, func(c *adapter.Config) { config = *c })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.rp.Run(ctx); close(done) }()
	b := newBrowser(t)
	b.open(s.url + "/")
	other, err := adapter.New(config)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // the watch may begin after the login
		_ = other.EndSubject(t.Context(), "sub-alice")
		if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode == 401 {
			cancel()
			<-done
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	t.Error("what another node ended goes on here")
}

// TestNewSealingKey: with a new key beside the old one everybody stays logged in, and
// a login that is under way ends well.
func TestNewSealingKey(t *testing.T) {
	var config adapter.Config
	s := newSite(t, func(c *adapter.Config) { config = *c })
	old := config.Sealer.(*seal.Keyset)
	both, err := old.WithNewKey()
	if err != nil {
		t.Fatal(err)
	}
	b, slow := newBrowser(t), newBrowser(t)
	b.open(s.url+"/").wants(t, 200, "app of alice")
	underWay := slow.step(s.url + "/late")
	config.Sealer = both
	if s.rp, err = adapter.New(config); err != nil {
		t.Fatal(err)
	}
	if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 200 {
		t.Errorf("a session of before: %d", p.StatusCode)
	}
	slow.follow(underWay).wants(t, 200, "app of alice")
	if s.last().uri != "/late" {
		t.Errorf("the login of before ends at %s", s.last().uri)
	}
	if p := slow.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 200 {
		t.Errorf("its session: %d", p.StatusCode)
	}
}

// TestClockSkew: a provider whose clock is minutes off logs people in, its tokens are
// taken while it says so itself, and what it says has ended is over, neither less nor
// more. A clock that is further ahead is not believed.
func TestClockSkew(t *testing.T) {
	for name, off := range map[string]time.Duration{"right": 0, "ahead": 9 * time.Minute, "behind": -3 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.op.set(func(p *foreign) { p.now = func() time.Time { return s.clock.Now().Add(off) } })
			alice := newBrowser(t)
			alice.open(s.url+"/").wants(t, http.StatusOK, "app of alice")
			before := accessToken(s, nil, map[string]any{"sid": "session-1"})
			answers := func(what, token string, status int) {
				t.Helper()
				if p := program(t, s, token, "/"); p.StatusCode != status {
					t.Errorf("%s: %d, want %d", what, p.StatusCode, status)
				}
			}
			answers("a token", before, http.StatusOK)
			s.op.mu.Lock()
			logout := s.op.jwt(map[string]any{"typ": "logout+jwt"}, s.op.claimsOf(map[string]any{
				"aud": clientID, "sid": "session-1", "jti": "l1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
			}))
			s.op.mu.Unlock()
			newBrowser(t).post(s.url+"/.nightlatch/backchannel-logout", url.Values{"logout_token": {logout}}).wants(t, http.StatusOK, "")
			answers("a token of before the logout", before, http.StatusUnauthorized)
			if p := alice.do(http.MethodGet, s.url+"/", nil); p.StatusCode != http.StatusUnauthorized {
				t.Errorf("a session of before the logout: %d", p.StatusCode)
			}
			s.clock.Advance(time.Second)
			answers("a token of after the logout", accessToken(s, nil, map[string]any{"sid": "session-1"}), http.StatusOK)
			alice.open(s.url+"/").wants(t, http.StatusOK, "app of alice")
		})
	}
	t.Run("too far ahead", func(t *testing.T) {
		s := newSite(t)
		s.op.set(func(p *foreign) { p.now = func() time.Time { return s.clock.Now().Add(11 * time.Minute) } })
		newBrowser(t).open(s.url+"/").wants(t, http.StatusForbidden, "not logged in")
		if p := program(t, s, accessToken(s, nil, nil), "/"); p.StatusCode != http.StatusUnauthorized {
			t.Errorf("a token: %d", p.StatusCode)
		}
	})
}
