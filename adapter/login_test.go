package adapter_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
)

// TestA01_ThereAndBack: a secured path without a session leads to the provider
// and back to the very URL that was asked for.
func TestA01_ThereAndBack(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/", "/orders?tab=1&x=%2F%26&y", "/a%2fb/%C3%A4?q=a+b", "//double//slash?z=1", "/..%2f..%2fx", "/scope?scope=mail+files&scope=x"} {
		b := newBrowser(t)
		p := b.open(s.url + path)
		p.wants(t, 200, "app of alice")
		if got := s.last(); got.uri != path || got.method != http.MethodGet {
			t.Errorf("the app sees %s %s, want GET %s", got.method, got.uri, path)
		}
		q, _ := s.op.asked()
		if q.Get("scope") != "openid profile email" || len(q.Get("state")) != 22 || len(q.Get("nonce")) != 22 || q.Get("redirect_uri") != s.url+"/.nightlatch/callback" {
			t.Errorf("authorization request %v", q)
		}
		if left := b.cookies(s, "flow"); len(left) > 0 {
			t.Errorf("flow cookies are left behind: %v", left)
		}
	}
	id := s.last().id
	if id.Subject != "sub-alice" || id.Name != "alice" || id.Email != "alice@example.com" || !id.EmailVerified || !id.HasRole("editor") || !slices.Equal(id.Groups, []string{"staff"}) || id.Provider != "elsewhere" || id.Offline {
		t.Errorf("identity %+v", id)
	}
	if len(s.grants.logins()) > 0 {
		t.Error("a login without an offline path left a grant")
	}
}

// TestLongWayBack: an address that no cookie can hold is kept in the store.
func TestLongWayBack(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	path := "/search?q=" + strings.Repeat("a", 6<<10)
	first := b.step(s.url + path)
	for _, c := range first.Cookies() {
		if len(c.String()) > 4000 {
			t.Errorf("a cookie of %d bytes", len(c.String()))
		}
	}
	b.follow(first).wants(t, 200, "app of alice")
	if s.last().uri != path {
		t.Errorf("the app sees %.60s", s.last().uri)
	}
}

// TestForgedIDTokens: none of them logs anybody in.
func TestForgedIDTokens(t *testing.T) {
	s := newSite(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&signingKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	with := func(name string, value any) func(map[string]any) string {
		return func(c map[string]any) string {
			if c[name] = value; value == nil {
				delete(c, name)
			}
			return s.op.jwt(nil, c)
		}
	}
	for name, forge := range map[string]func(map[string]any) string{
		"wrong nonce":             with("nonce", "AAAAAAAAAAAAAAAAAAAAAA"),
		"no nonce":                with("nonce", nil),
		"wrong aud":               with("aud", "other"),
		"no aud":                  with("aud", nil),
		"several aud without azp": with("aud", []string{clientID, "other"}),
		"azp of another":          with("azp", "other"),
		"wrong iss":               with("iss", "https://evil.test"),
		"no iss":                  with("iss", nil),
		"expired":                 with("exp", s.clock.Now().Add(-time.Second).Unix()),
		"no exp":                  with("exp", nil),
		"from the future":         with("iat", s.clock.Now().Add(time.Hour).Unix()),
		"no sub":                  with("sub", nil),
		"wrong at_hash":           with("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"alg none":                unsigned,
		"other key":               func(c map[string]any) string { return s.op.sign(jose.RS256, other, "k1", nil, c) },
		"unknown kid":             func(c map[string]any) string { return s.op.sign(jose.RS256, other, "k2", nil, c) },
		"HS256 with public key":   func(c map[string]any) string { return s.op.sign(jose.HS256, public, "k1", nil, c) },
		"PS256, not announced":    func(c map[string]any) string { return s.op.sign(jose.PS256, signingKey(), "k1", nil, c) },
		"garbage":                 func(map[string]any) string { return "garbage" },
		"none at all":             func(map[string]any) string { return "" },
		"signature cut off":       func(c map[string]any) string { return s.op.jwt(nil, c)[:200] },
	} {
		t.Run(name, func(t *testing.T) {
			s.op.set(func(p *foreign) { p.forge = forge })
			b := newBrowser(t)
			p := b.open(s.url + "/")
			p.wants(t, 403, "not logged in")
			if len(b.cookies(s, "session")) > 0 {
				t.Error("a session cookie was set")
			}
		})
	}
	if s.reached() > 0 {
		t.Fatal("the app was reached")
	}
	// The same provider, honest again.
	s.op.set(func(p *foreign) { p.forge = nil })
	newBrowser(t).open(s.url+"/").wants(t, 200, "app of alice")
	for _, secret := range []string{"eyJ", clientSecret, "code-1", "refresh-"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TestLoginCSRF: an answer that another browser began logs nobody in.
func TestLoginCSRF(t *testing.T) {
	s := newSite(t)
	attacker, victim := newBrowser(t), newBrowser(t)
	s.op.is("sub-mallory", "mallory")
	answer := attacker.step(attacker.step(s.url + "/").Header.Get("Location")).Header.Get("Location")
	if !strings.HasPrefix(answer, s.url+"/.nightlatch/callback?") {
		t.Fatalf("the provider leads to %s", answer)
	}
	victim.open(answer).wants(t, 400, "another browser")
	// Nor does it mix with a login of the victim's own.
	victim.step(s.url + "/mine")
	victim.open(answer).wants(t, 400, "another browser")
	if len(victim.cookies(s, "session")) > 0 || s.reached() > 0 {
		t.Fatal("the victim is logged in as mallory")
	}
	// The answer works once, where it belongs.
	attacker.open(answer).wants(t, 200, "app of mallory")
	attacker.open(answer).wants(t, 400, "another browser")
}

// TestAnswersThatAreRefused: mix-up, doubled and missing parameters.
func TestAnswersThatAreRefused(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		change func(url.Values)
		status int
	}{
		"iss of another provider": {func(q url.Values) { q.Set("iss", "https://evil.test") }, 403},
		"iss is missing":          {func(q url.Values) { q.Del("iss") }, 403},
		"code twice":              {func(q url.Values) { q.Add("code", "x") }, 400},
		"state twice":             {func(q url.Values) { q.Add("state", q.Get("state")) }, 400},
		"no state":                {func(q url.Values) { q.Del("state") }, 400},
		"no code":                 {func(q url.Values) { q.Del("code") }, 403},
		"another code":            {func(q url.Values) { q.Set("code", "code-99") }, 403},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t)
			answer, _ := url.Parse(b.step(b.step(s.url + "/").Header.Get("Location")).Header.Get("Location"))
			q := answer.Query()
			c.change(q)
			answer.RawQuery = q.Encode()
			b.open(answer.String()).wants(t, c.status, "<h1>")
			if len(b.cookies(s, "session")) > 0 {
				t.Error("a session cookie was set")
			}
		})
	}
	// What a provider says is shown, never run.
	s.op.set(func(p *foreign) {
		p.refuse = func(url.Values) (string, string) { return "access_denied", "<script>alert(1)</script> call 555" }
	})
	b := newBrowser(t)
	p := b.open(s.url + "/")
	p.wants(t, 403, "&lt;script&gt;")
	if strings.Contains(p.body, "<script") || !strings.Contains(p.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("page with policy %q:\n%s", p.Header.Get("Content-Security-Policy"), p.body)
	}
	p = b.open(s.url + "/.nightlatch/callback?error=x&error_description=call+555&state=AAAAAAAAAAAAAAAAAAAAAA")
	if p.wants(t, 400, "<h1>"); strings.Contains(p.body, "555") {
		t.Error("a text of a stranger is shown")
	}
}

// TestParallelTabs: each tab ends where it began, in any order, and abandoned
// logins never lock anybody out.
func TestParallelTabs(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	var answers []string
	for _, path := range []string{"/one", "/two", "/three"} {
		answers = append(answers, b.step(b.step(s.url+path).Header.Get("Location")).Header.Get("Location"))
	}
	for i, path := range []string{"/one", "/two", "/three"} {
		last := answers[len(answers)-1-i]
		if p := b.step(last); p.Header.Get("Location") != s.url+[]string{"/three", "/two", "/one"}[i] {
			t.Errorf("tab %s ends at %s", path, p.Header.Get("Location"))
		}
	}
	b.open(s.url+"/").wants(t, 200, "app of alice")

	crowd := newBrowser(t)
	for range 30 {
		crowd.step(s.url + "/abandoned")
		s.clock.Advance(time.Second)
	}
	if n := len(crowd.cookies(s, "flow")); n > 7 {
		t.Errorf("%d flow cookies", n)
	}
	crowd.open(s.url+"/").wants(t, 200, "app of alice")
}

// TestFlowsAreSealedAndEnd: a flow cookie tells nothing, cannot be changed or
// moved, and does not last.
func TestFlowsAreSealedAndEnd(t *testing.T) {
	s := newSite(t)
	one, two := newBrowser(t), newBrowser(t)
	answer := one.step(one.step(s.url + "/secret-page").Header.Get("Location")).Header.Get("Location")
	two.step(s.url + "/secret-page")
	a, o := one.cookies(s, "flow")[0], two.cookies(s, "flow")[0]
	if strings.Contains(a.Value, "secret-page") || a.Value == o.Value {
		t.Error("a flow cookie can be read")
	}
	u, _ := url.Parse(s.url)
	flipped := []byte(a.Value)
	flipped[40] ^= 1
	for _, value := range []string{string(flipped), o.Value, "", strings.Repeat("A", 3000)} {
		one.jar.SetCookies(u, []*http.Cookie{{Name: a.Name, Value: value, Path: "/"}})
		one.open(answer).wants(t, 400, "another browser")
	}
	one.jar.SetCookies(u, []*http.Cookie{{Name: a.Name, Value: a.Value, Path: "/"}})
	s.clock.Advance(31 * time.Minute)
	one.open(answer).wants(t, 400, "another browser")
}

// TestNoOpenRedirect: nothing that a link holds leads off the site.
func TestNoOpenRedirect(t *testing.T) {
	s := newSite(t)
	onSite := func(what string, hops []string) {
		t.Helper()
		for _, hop := range hops {
			u, err := url.Parse(hop)
			if err != nil || u.Host != "" && u.Host != strings.TrimPrefix(s.url, "http://") && u.Host != strings.TrimPrefix(s.op.server.URL, "http://") || u.Scheme == "javascript" || u.Scheme == "data" {
				t.Errorf("%s leads to %q", what, hop)
			}
		}
	}
	for _, bad := range redirectSet {
		b := newBrowser(t)
		for _, name := range []string{"rd", "redirect", "redirect_uri", "return", "return_to", "target_link_uri", "url", "next"} {
			p := b.open(s.url + "/?" + name + "=" + url.QueryEscape(bad))
			p.wants(t, 200, "app of")
			onSite(name+"="+bad, b.hops)
			b.open(s.url + "/.nightlatch/logout?" + name + "=" + url.QueryEscape(bad) + "&post_logout_redirect_uri=" + url.QueryEscape(bad))
			onSite("logout?"+name+"="+bad, b.hops)
		}
		// As the path of the request itself.
		if strings.HasPrefix(bad, "/") && !strings.ContainsAny(bad, `\ `) {
			b = newBrowser(t)
			b.open(s.url + bad)
			onSite(bad, b.hops)
		}
		// By a proxy that asks for permission, and by a form.
		p := b.do(http.MethodGet, s.url+"/.nightlatch/auth", nil, append([]string{"X-Forwarded-Uri", bad}, navigating...)...)
		b.follow(p)
		onSite("X-Forwarded-Uri: "+bad, b.hops)
		p = b.post(s.url+"/.nightlatch/resume", url.Values{"return": {bad}, "csrf": {"x"}, "without": {"yes"}})
		if p.StatusCode/100 == 3 && p.Header.Get("Location") != s.url+"/" {
			t.Errorf("a forged form leads to %s", p.Header.Get("Location"))
		}
	}
	// Headers that name another host change nothing.
	b := newBrowser(t)
	for _, h := range [][2]string{{"X-Forwarded-Host", "evil.test"}, {"X-Forwarded-Proto", "evil"}, {"X-Forwarded-Uri", "/public"}, {"X-Original-Url", "/public"}, {"X-Rewrite-Url", "/public"}, {"Referer", "javascript:alert(1)"}, {"User-Agent", "GoogleHC/1.0"}} {
		p := b.do(http.MethodGet, s.url+"/private", nil, append([]string{h[0], h[1]}, navigating...)...)
		if to := p.Header.Get("Location"); p.StatusCode != 303 || !strings.HasPrefix(to, s.op.server.URL+"/auth?") || strings.Contains(to, "evil") {
			t.Errorf("%s: %d to %s", h[0], p.StatusCode, to)
		}
	}
}

// TestForwardAuthLeadsNowhereElse: what a proxy tells of the request, trusted or not,
// leads through a whole login and back to this site.
func TestForwardAuthLeadsNowhereElse(t *testing.T) {
	for name, trusted := range map[string]func(*http.Request) (string, *url.URL){
		"a stranger": nil,
		"a trusted proxy": func(r *http.Request) (string, *url.URL) {
			if u, err := url.ParseRequestURI(r.Header.Get("X-Forwarded-Uri")); err == nil && strings.HasPrefix(u.Path, "/") {
				return http.MethodGet, u
			}
			return "", nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(c *adapter.Config) { c.Forwarded = trusted })
			for _, bad := range redirectSet {
				b := newBrowser(t)
				p := b.follow(b.do(http.MethodGet, s.url+"/.nightlatch/auth", nil, append([]string{
					"X-Forwarded-Uri", bad, "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "javascript", "X-Forwarded-Server", "evil.test", "Forwarded", "host=evil.test;proto=javascript",
				}, navigating...)...))
				p.wants(t, 200, "app of alice")
				if len(b.hops) < 3 {
					t.Errorf("%q: no login: %q", bad, b.hops)
				}
				for _, hop := range append(b.hops, p.url) {
					if !strings.HasPrefix(hop, s.url+"/") && !strings.HasPrefix(hop, s.op.server.URL+"/auth?") {
						t.Errorf("%q leads to %q", bad, hop)
					}
				}
			}
		})
	}
}

// TestIssuerWithASlash: an issuer is compared letter by letter (OpenID Connect Discovery
// §4.3), with its slash if it has one, as Auth0's; only the address of its document does
// without. The other spelling is another issuer: nobody logs in, and the log says why.
func TestIssuerWithASlash(t *testing.T) {
	for _, c := range []struct {
		theirs, ours string // behind the server's address
		works        bool
	}{{"/", "/", true}, {"", "", true}, {"/", "", false}, {"", "/", false}} {
		s := newSite(t, func(a *adapter.Config) { a.Provider.Issuer += c.ours })
		s.op.set(func(p *foreign) { p.metadata["issuer"] = p.server.URL + c.theirs })
		p := newBrowser(t).open(s.url + "/")
		bearer := program(t, s, accessToken(s, nil, nil), "/")
		other := program(t, s, accessToken(s, nil, map[string]any{"iss": strings.TrimSuffix(s.op.server.URL+c.theirs, "/") + map[string]string{"/": "", "": "/"}[c.theirs]}), "/")
		if c.works {
			p.wants(t, 200, "app of alice")
			bearer.wants(t, 200, "app of alice")
			if q, _ := s.op.asked(); q.Get("client_id") != clientID || other.StatusCode != 401 || s.op.count("/.well-known/openid-configuration") != 1 {
				t.Errorf("%+v: a token of the other spelling: %d", c, other.StatusCode)
			}
			continue
		}
		if p.StatusCode != 503 || bearer.StatusCode != 503 || s.reached() > 0 || !strings.Contains(s.log.String(), "issuer") {
			t.Errorf("%+v: %d, a bearer %d, %s", c, p.StatusCode, bearer.StatusCode, s.log)
		}
	}
}

// TestProviderIsAway: pages answer 503 and say when to come back; nothing needs a
// restart, and those who are logged in go on.
func TestProviderIsAway(t *testing.T) {
	s := newSite(t)
	s.op.set(func(p *foreign) { p.down = true })
	b := newBrowser(t)
	for range 5 {
		p := b.open(s.url + "/")
		p.wants(t, 503, "try again")
		if p.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if n := s.op.count("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("%d discoveries for 5 requests within a moment", n)
	}
	if p := b.do(http.MethodGet, s.url+"/", nil); p.StatusCode != 401 {
		t.Errorf("a program gets %d", p.StatusCode)
	}
	s.op.set(func(p *foreign) { p.down = false })
	s.clock.Advance(3 * time.Second)
	b.open(s.url+"/").wants(t, 200, "app of alice")
	s.op.set(func(p *foreign) { p.down = true })
	b.open(s.url+"/").wants(t, 200, "app of alice")
	// In the middle of a login: the page says to try again.
	late := newBrowser(t)
	s.op.set(func(p *foreign) { p.down = false })
	answer := late.step(late.step(s.url + "/").Header.Get("Location")).Header.Get("Location")
	s.op.set(func(p *foreign) { p.down = true })
	late.open(answer).wants(t, 503, "try again")
}

// TestAnotherSub: whoever comes back as somebody else has a session of his own,
// and the former one is over.
func TestAnotherSub(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url+"/").wants(t, 200, "app of alice")
	former := b.cookies(s, "session")[0]
	s.op.is("sub-bob", "bob")
	b.open(s.url+"/backup").wants(t, 200, "app of bob") // a step-up of alice
	now := b.cookies(s, "session")[0]
	if now.Value == former.Value {
		t.Error("the session id is the former one")
	}
	if p := newBrowser(t).do(http.MethodGet, s.url+"/", nil, "Cookie", former.Name+"="+former.Value); p.StatusCode != 401 {
		t.Errorf("the former session answers %d", p.StatusCode)
	}
	if g := s.grants.logins(); len(g) != 1 || g[0].Sub != "sub-bob" {
		t.Errorf("grants %+v", g)
	}
}

// TestAllow: a person who may not come in is told so, leaves no grant, and can
// log out.
func TestAllow(t *testing.T) {
	s := newSite(t, func(c *adapter.Config) {
		c.Allow = func(_ *http.Request, id session.Identity) bool { return id.HasRole("editor") }
	})
	s.op.is("sub-bob", "bob")
	b := newBrowser(t)
	p := b.open(s.url + "/backup")
	p.wants(t, 403, "bob")
	if !strings.Contains(p.body, "/.nightlatch/logout") || s.reached() > 0 || len(s.grants.logins()) > 0 {
		t.Errorf("reached %d, grants %v:\n%s", s.reached(), s.grants.logins(), p.body)
	}
	if p := b.do(http.MethodGet, s.url+"/data", nil, "Accept", "application/json"); p.StatusCode != 403 || !strings.HasPrefix(p.Header.Get("Content-Type"), "application/json") {
		t.Errorf("a script gets %d %s", p.StatusCode, p.Header.Get("Content-Type"))
	}
	b.open(s.url+"/public/x").wants(t, 200, "app of")
	if !s.last().id.Anonymous() {
		t.Error("on an open path he is somebody")
	}
}

// TestRedirectsAreNoNews: the way to the login and back is in the log at level
// debug, without what it is made of.
func TestRedirectsAreNoNews(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url+"/").wants(t, http.StatusOK, "app of alice")
	said := s.log.String()
	if !strings.Contains(said, "level=DEBUG") || strings.Contains(said, "level=INFO") || strings.Contains(said, "level=WARN") || strings.Contains(said, "level=ERROR") {
		t.Errorf("the log says:\n%s", said)
	}
	asked, _ := s.op.asked()
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if asked.Get(name) == "" || strings.Contains(said, asked.Get(name)) {
			t.Errorf("%s is in the log:\n%s", name, said)
		}
	}
}
