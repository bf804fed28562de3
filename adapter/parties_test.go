package adapter_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/adapter"
)

// newChoice is a site with two providers, elsewhere (s.op) and other.
func newChoice(t *testing.T) (s *site, other *foreign) {
	t.Helper()
	var config adapter.Config
	s = newSite(t, func(c *adapter.Config) { config = *c })
	other = newForeign(t, s.clock.Now)
	other.is("sub-alice", "alice of the other") // the same sub, and somebody else
	second := config
	second.Provider.Name, second.Provider.Issuer = "other one", other.server.URL
	both, err := adapter.NewParties(config, second)
	if err != nil {
		t.Fatal(err)
	}
	s.front = both
	return s, other
}

// pick presses the button of a provider on the page of choice.
func (b *browser) pick(p page, provider string) page {
	b.t.Helper()
	p.wants(b.t, http.StatusOK, "Choose where you have an account")
	form := fields(b.t, p.body)
	form.Set("provider", provider)
	b.hops = nil
	return b.follow(b.post(p.Request.URL.Scheme+"://"+p.Request.URL.Host+"/.nightlatch/choose", form))
}

// TestChoice: somebody who is nobody yet chooses a provider, comes back to what was
// asked for, and is asked again only after a logout.
func TestChoice(t *testing.T) {
	s, other := newChoice(t)
	b := newBrowser(t)
	b.pick(b.open(s.url+"/a?x=%2F&y"), "other one").wants(t, http.StatusOK, "app of alice of the other")
	if got := s.last(); got.uri != "/a?x=%2F&y" || got.id.Provider != "other one" {
		t.Errorf("%s as %+v", got.uri, got.id)
	}
	if _, n := s.op.asked(); n != 0 {
		t.Errorf("the provider that was not chosen was asked %d times", n)
	}
	for _, c := range b.cookies(s, "") {
		if strings.Contains(c.Name, "flow") {
			t.Errorf("a flow's cookie is left: %s", c.Name)
		}
	}
	// Its session's end is no new question.
	s.clock.Advance(24 * 60 * 60 * 1e9)
	b.open(s.url+"/").wants(t, http.StatusOK, "alice of the other")
	if _, n := other.asked(); n != 2 {
		t.Errorf("the remembered provider was asked %d times", n)
	}
	b.press(b.open(s.url+"/.nightlatch/logout"), "submit").wants(t, http.StatusOK, "logged out")
	if other.count("/logout") != 1 || s.op.count("/logout") != 0 {
		t.Error("the logout went to the wrong provider")
	}
	b.pick(b.open(s.url+"/"), "elsewhere").wants(t, http.StatusOK, "app of alice")
	if got := s.last().id; got.Provider != "elsewhere" || got.Name != "alice" {
		t.Errorf("%+v", got)
	}
}

// TestChoiceOfOneThatIsDown: at start one provider is away. The page says nothing of
// it before it was tried, then does; whoever has chosen it can choose anew.
func TestChoiceOfOneThatIsDown(t *testing.T) {
	s, other := newChoice(t)
	other.set(func(p *foreign) { p.down = true })
	b := newBrowser(t)
	first := b.pick(b.open(s.url+"/a"), "other one")
	first.wants(t, http.StatusServiceUnavailable, "does not answer")
	if first.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	again := b.open(s.url + "/a")
	again.wants(t, http.StatusOK, "other one (does not answer at the moment)")
	b.pick(again, "elsewhere").wants(t, http.StatusOK, "app of alice")
	// It comes back while others are logged in elsewhere.
	other.set(func(p *foreign) { p.down = false })
	s.clock.Advance(60 * 1e9)
	late := newBrowser(t)
	late.pick(late.open(s.url+"/b"), "other one").wants(t, http.StatusOK, "alice of the other")
	late.open(s.url+"/c").wants(t, http.StatusOK, "alice of the other")
	b.open(s.url+"/c").wants(t, http.StatusOK, "app of alice")
}

// TestChoiceMixUp: an answer counts at the provider that the login began with alone,
// whatever the other one says (RFC 9207), and a login that only waits for its choice
// is not one.
func TestChoiceMixUp(t *testing.T) {
	s, other := newChoice(t)
	b := newBrowser(t)
	choosing := b.open(s.url + "/a")
	waiting := fields(t, choosing.body).Get("state")
	b.step(s.url+"/.nightlatch/callback?"+url.Values{"state": {waiting}, "code": {"c"}, "iss": {s.op.server.URL}}.Encode()).
		wants(t, http.StatusBadRequest, "This login has ended")
	form := url.Values{"state": {waiting}, "provider": {"elsewhere"}}
	sent := b.post(s.url+"/.nightlatch/choose", form)
	to, err := url.Parse(sent.Header.Get("Location"))
	if err != nil || !strings.HasPrefix(to.String(), s.op.server.URL) {
		t.Fatalf("%d %v", sent.StatusCode, sent.Header)
	}
	state := to.Query().Get("state")
	for name, iss := range map[string]string{"of the other": other.server.URL, "none": "", "of nobody": "https://evil.test"} {
		q := url.Values{"state": {state}, "code": {"code-1"}}
		if iss != "" {
			q.Set("iss", iss)
		}
		u, _ := url.Parse(s.url)
		keep := b.jar.Cookies(u)
		if p := b.step(s.url + "/.nightlatch/callback?" + q.Encode()); p.StatusCode != http.StatusForbidden {
			t.Errorf("iss %s: %d", name, p.StatusCode)
		}
		b.jar.SetCookies(u, keep)
	}
	if other.count("/token")+s.op.count("/token") != 0 {
		t.Error("a code was sent to a provider")
	}
	// The choice was used up.
	b.post(s.url+"/.nightlatch/choose", form).wants(t, http.StatusBadRequest, "This login has ended")
}

// TestChoiceIsBound: session, bearer, logout and grant are of the provider that was
// chosen; the same sub at the other one is somebody else.
func TestChoiceIsBound(t *testing.T) {
	s, other := newChoice(t)
	mine, theirs := newBrowser(t), newBrowser(t)
	mine.pick(mine.open(s.url+"/"), "elsewhere").wants(t, http.StatusOK, "app of alice")
	theirs.pick(theirs.open(s.url+"/backup"), "other one").wants(t, http.StatusOK, "alice of the other")
	if saved := s.grants.logins(); len(saved) != 1 || saved[0].Provider != "other one" || saved[0].Username != "alice of the other" {
		t.Errorf("grants: %+v", saved)
	}
	token := func(op *foreign, jti string) string {
		c := map[string]any{
			"iss": op.server.URL, "aud": clientID, "iat": s.clock.Now().Unix(), "exp": s.clock.Now().Unix() + 60, "jti": jti, "sub": "sub-alice",
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		}
		op.mu.Lock()
		defer op.mu.Unlock()
		return op.jwt(map[string]any{"typ": "logout+jwt"}, c)
	}
	end := func(token string) int {
		return newBrowser(t).post(s.url+"/.nightlatch/backchannel-logout", url.Values{"logout_token": {token}}).StatusCode
	}
	if got := end(token(other, "j")); got != http.StatusOK {
		t.Fatalf("back-channel logout of the other: %d", got)
	}
	in := func(b *browser) int { return b.do(http.MethodGet, s.url+"/", nil).StatusCode }
	if in(mine) != 200 || in(theirs) != 401 {
		t.Errorf("after the other's logout: %d, %d", in(mine), in(theirs))
	}
	if end(token(other, "j")) != 400 || end(token(s.op, "j")) != 200 {
		t.Error("a jti is unique for its issuer")
	}
	if in(mine) != 401 {
		t.Errorf("after mine: %d", in(mine))
	}
	s.clock.Advance(1e9)
	for op, want := range map[*foreign]string{s.op: "elsewhere", other: "other one"} {
		raw := op.jwt(map[string]any{"typ": "at+jwt"}, op.claimsOf(map[string]any{"aud": s.url, "client_id": clientID, "scope": "openid"}))
		if p := program(t, s, raw, "/"); p.StatusCode != 200 || s.last().id.Provider != want {
			t.Errorf("bearer of %s: %d, %+v", want, p.StatusCode, s.last().id)
		}
	}
	if p := program(t, s, "x.y.z", "/"); p.StatusCode != 401 {
		t.Errorf("a bearer of nobody: %d", p.StatusCode)
	}
}

// TestChoiceBadInput: nothing that a link or a form says leads elsewhere or makes a
// choice for somebody.
func TestChoiceBadInput(t *testing.T) {
	s, _ := newChoice(t)
	b := newBrowser(t)
	state := fields(t, b.open(s.url+"/a").body).Get("state")
	choose := s.url + "/.nightlatch/choose"
	b.post(choose, url.Values{"state": {state}, "provider": {"elsewhere"}}, "Origin", "https://evil.test").wants(t, http.StatusBadRequest, "This login has ended")
	b.post(choose, url.Values{"state": {state}, "provider": {"a third"}}).wants(t, http.StatusBadRequest, "no such login provider")
	b.post(choose, url.Values{"state": {state[:12] + strings.Repeat("x", 10)}, "provider": {"elsewhere"}}).wants(t, http.StatusBadRequest, "This login has ended")
	newBrowser(t).post(choose, url.Values{"state": {state}, "provider": {"elsewhere"}}).wants(t, http.StatusBadRequest, "This login has ended")
	if p := b.do(http.MethodPut, choose, nil); p.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %d", p.StatusCode)
	}
	for _, query := range []string{"", "?state=x", "?state=" + state + "&return=//evil.test", "?return=https://evil.test", "?rd=%2F%2Fevil.test&provider=elsewhere"} {
		p := newBrowser(t).open(choose + query)
		p.wants(t, http.StatusOK, "Choose where")
		if strings.Contains(p.body, "evil.test") || p.Request.URL.Host != strings.TrimPrefix(s.url, "http://") {
			t.Errorf("%s: %s", query, p.body)
		}
	}
	// A program is told 401, and no page.
	if p := newBrowser(t).do(http.MethodGet, s.url+"/a", nil); p.StatusCode != 401 || p.Header.Get("Location") != "" {
		t.Errorf("a program: %d", p.StatusCode)
	}
	if p := newBrowser(t).do(http.MethodPost, s.url+"/a", nil, navigating...); p.StatusCode != 401 {
		t.Errorf("a form: %d", p.StatusCode)
	}
	// The app sees none of our cookies, the choice's too.
	b.pick(b.open(s.url+"/a"), "elsewhere").wants(t, http.StatusOK, "app of alice")
	if got := s.last().header.Get("Cookie"); got != "" {
		t.Errorf("the app sees %s", got)
	}
}
