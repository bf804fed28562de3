package adapter_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/integration/openredirect"
)

// The adapter's lines of docs/bad-input.md.

// TestBadInput04_MixUp: the code of an answer that does not say whose it is, or
// says another, goes nowhere (RFC 9207 §2.4).
func TestBadInput04_MixUp(t *testing.T) {
	s := newSite(t)
	const other, said = "The answer comes from another login provider.", "<h1>You are not logged in</h1>"
	for _, tt := range []struct {
		name, iss string
		want      int
	}{
		{"another provider", "https://evil.test", 403},
		{"nobody", "", 403},
		{"a path more", s.op.server.URL + "/", 403},
		{"in capitals", strings.ToUpper(s.op.server.URL), 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBrowser(t)
			answer, err := url.Parse(b.step(b.step(s.url + "/").Header.Get("Location")).Header.Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			q := answer.Query()
			if q.Set("iss", tt.iss); tt.iss == "" {
				q.Del("iss")
			}
			answer.RawQuery = q.Encode()
			p := b.open(answer.String())
			p.wants(t, tt.want, other)
			p.wants(t, tt.want, said)
			if len(b.cookies(s, "session")) > 0 || s.op.count("/token") > 0 {
				t.Errorf("cookies %v, %d token requests", b.cookies(s, "session"), s.op.count("/token"))
			}
		})
	}
	newBrowser(t).open(s.url+"/").wants(t, 200, "app of alice")
	if s.op.count("/token") != 1 {
		t.Errorf("%d token requests for one honest answer", s.op.count("/token"))
	}
}

// framed checks the headers of a page of ours.
func (p page) framed(t *testing.T, name string) {
	t.Helper()
	if !strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
		t.Errorf("%s: no page but %s", name, p.Header.Get("Content-Type"))
	}
	for header, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
	} {
		if got := p.Header.Get(header); got != want {
			t.Errorf("%s: %s is %q, want %q", name, header, got, want)
		}
	}
	policy := p.Header.Get("Content-Security-Policy")
	// No form-action: a logout ends at the provider, and Chromium holds the policy
	// against every redirect that follows a form.
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'") ||
		strings.Contains(policy, "form-action") || strings.Contains(policy, "script-src") {
		t.Errorf("%s: policy %q", name, policy)
	}
	if strings.Contains(p.body, "<script") || strings.Contains(p.body, "style=") || strings.Contains(p.body, "javascript:") {
		t.Errorf("%s: the page has what its policy does not allow:\n%s", name, p.body)
	}
}

func TestBadInput07_AdapterPages(t *testing.T) {
	s := newSite(t, func(c *adapter.Config) {
		c.Allow = func(_ *http.Request, id session.Identity) bool { return id.Name != "mallory" }
	})
	b := newBrowser(t)
	own := s.url + "/.nightlatch/"
	show := func(name, to string, status int, text string) {
		t.Helper()
		p := b.open(to)
		p.wants(t, status, text)
		p.framed(t, name)
	}
	show("no such page", own+"nothing", 404, "There is no such page here.")
	show("logged out", own+"logged-out", 200, "logged out")
	show("an answer that nobody asked for", own+"callback?code=x&state=AAAAAAAAAAAAAAAAAAAAAA", 400, "another browser")
	show("another method", own+"resume", 405, "This address takes POST only.")
	show("too much asked for", s.url+"/?scope=offline_access+admin", 400, "scope admin is not allowed")
	s.op.set(func(p *foreign) {
		p.refuse = func(q url.Values) (string, string) {
			if strings.Contains(q.Get("scope"), "offline_access") {
				return "access_denied", "<b>no</b>"
			}
			return "", ""
		}
	})
	show("no background access", s.url+"/backup", 403, "&lt;b&gt;no&lt;/b&gt;")
	show("logout", own+"logout", 200, "Log out")
	p := b.post(own+"logout", url.Values{"csrf": {"x"}})
	p.wants(t, 403, "not valid in this browser")
	p.framed(t, "a form without proof")
	p = b.do(http.MethodPost, own+"logout", strings.NewReader("{}"), append([]string{"Content-Type", "application/json"}, navigating...)...)
	p.wants(t, 400, "A form is expected here.")
	p.framed(t, "a form that is none")
	s.op.is("sub-mallory", "mallory")
	b = newBrowser(t)
	show("not allowed", s.url+"/", 403, "mallory")
	away := newSite(t)
	away.op.set(func(p *foreign) { p.down = true })
	p = b.open(away.url + "/")
	p.wants(t, 503, "The login provider does not answer at the moment.")
	p.framed(t, "the provider is away")

	// A program is told the same, as JSON.
	for path, status := range map[string]int{"nothing": 404, "callback": 400, "userinfo": 401, "auth": 401} {
		p := newBrowser(t).do(http.MethodGet, own+path, nil, "Accept", "application/json")
		if p.StatusCode != status || p.Header.Get("Content-Type") != "application/json" || p.Header.Get("Cache-Control") != "no-store" || p.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, p.StatusCode, p.Header)
		}
	}
}

// TestBadInput08_AdapterForms: a form that leads on does so by GET.
func TestBadInput08_AdapterForms(t *testing.T) {
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
	refused := b.open(s.url + "/backup?x=1")
	form := fields(t, refused.body)
	form.Set("without", "yes")
	p := b.post(s.url+"/.nightlatch/resume", form)
	if p.StatusCode != http.StatusSeeOther || p.Header.Get("Location") != s.url+"/backup?x=1" {
		t.Errorf("resume: %d to %s", p.StatusCode, p.Header.Get("Location"))
	}
	p = b.post(s.url+"/.nightlatch/logout", fields(t, b.open(s.url+"/.nightlatch/logout").body))
	if p.StatusCode != http.StatusSeeOther || !strings.HasPrefix(p.Header.Get("Location"), s.op.server.URL+"/logout?") {
		t.Errorf("logout: %d to %s", p.StatusCode, p.Header.Get("Location"))
	}
	for _, h := range []string{"Cache-Control: no-store", "Referrer-Policy: no-referrer"} {
		if name, want, _ := strings.Cut(h, ": "); p.Header.Get(name) != want {
			t.Errorf("%s is %q", name, p.Header.Get(name))
		}
	}
}

// TestBadInput09_AdapterRedirects: of several hundred addresses none leads off the
// site, wherever it stands. Where a login ends that begins with one of them is
// shown by TestNoOpenRedirect.
func TestBadInput09_AdapterRedirects(t *testing.T) {
	s := newSite(t)
	site, _ := url.Parse(s.url)
	good := *site
	good.Path = "/.nightlatch/logged-out"
	b := newBrowser(t)
	for _, bad := range openredirect.Payloads(&good, "evil.test") {
		q := url.QueryEscape(bad)
		for _, to := range []string{"/?rd=" + q + "&redirect_uri=" + q, "/.nightlatch/logout?post_logout_redirect_uri=" + q + "&return=" + q, "/.nightlatch/callback?state=" + q + "&error=" + q} {
			p := b.step(s.url + to)
			at := p.Header.Get("Location")
			u, err := url.Parse(at)
			if err != nil || u.Host != "" && u.Host != site.Host && "http://"+u.Host != s.op.server.URL || strings.Contains(at, "evil.test") {
				t.Errorf("%s leads to %q", to, at)
			}
		}
		header := strings.Map(func(r rune) rune {
			if r < 0x20 && r != '\t' || r == 0x7f {
				return -1
			}
			return r
		}, bad)
		p := b.do(http.MethodGet, s.url+"/.nightlatch/auth", nil, append([]string{"X-Forwarded-Uri", header}, navigating...)...)
		if at := p.Header.Get("Location"); !strings.HasPrefix(at, s.op.server.URL+"/auth?") || strings.Contains(at, "evil.test") {
			t.Errorf("X-Forwarded-Uri %q leads to %q", header, at)
		}
	}
	if s.reached() > 0 {
		t.Error("the app was reached")
	}
}

func TestBadInput10_AdapterLogoutCSRF(t *testing.T) {
	s := newSite(t)
	b, stranger := newBrowser(t), newBrowser(t)
	b.open(s.url+"/").wants(t, 200, "app of alice")
	stranger.open(s.url + "/")
	to := s.url + "/.nightlatch/logout"
	b.do(http.MethodGet, to, nil, append([]string{"Sec-Fetch-Site", "cross-site"}, navigating...)...).wants(t, 200, "Log out")
	mine, theirs := fields(t, b.open(to).body), fields(t, stranger.open(to).body)
	for name, c := range map[string]struct {
		form   url.Values
		origin string
	}{
		"no proof":                 {url.Values{}, "null"},
		"somebody else's proof":    {theirs, "null"},
		"a form of another site":   {mine, "https://evil.test"},
		"a form of a like-named":   {mine, s.url + ".evil.test"},
		"a form of the other port": {mine, strings.TrimSuffix(s.url, s.url[strings.LastIndex(s.url, ":"):])},
	} {
		body := strings.NewReader(c.form.Encode())
		p := b.do(http.MethodPost, to, body, append([]string{"Content-Type", "application/x-www-form-urlencoded", "Origin", c.origin}, navigating...)...)
		if p.StatusCode != http.StatusForbidden || !strings.Contains(p.body, "not valid in this browser") {
			t.Errorf("%s: %d\n%s", name, p.StatusCode, p.body)
		}
	}
	b.open(s.url+"/").wants(t, 200, "app of alice")
	if n := len(b.cookies(s, "session")); n != 1 {
		t.Fatalf("%d sessions", n)
	}
	b.post(to, mine)
	if n := len(b.cookies(s, "session")); n != 0 {
		t.Errorf("%d sessions after the logout", n)
	}
}

// TestBadInput11_AdapterHost: what a request says about its host changes no
// address that a browser is sent to, and no cookie.
func TestBadInput11_AdapterHost(t *testing.T) {
	s := newSite(t)
	forged := []string{"X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "ftp", "Forwarded", "host=evil.test", "X-Original-Host", "evil.test"}
	ask := func(host, path string) page {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		for i, h := 0, append(forged, navigating...); i < len(h); i += 2 {
			req.Header.Set(h[i], h[i+1])
		}
		resp, err := newBrowser(t).http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return page{Response: resp}
	}
	for _, host := range []string{"evil.test", "evil.test:80", strings.TrimPrefix(s.url, "http://")} {
		for _, path := range []string{"/private?x=1", "/backup", "/.nightlatch/logout", "/.nightlatch/auth"} {
			p := ask(host, path)
			at, err := url.Parse(p.Header.Get("Location"))
			if err != nil || p.StatusCode != http.StatusSeeOther || strings.Contains(fmt.Sprint(p.Header), "evil.test") {
				t.Fatalf("%s at %s: %d %v", path, host, p.StatusCode, p.Header)
			}
			if back := at.Query().Get("redirect_uri"); path != "/.nightlatch/logout" && back != s.url+"/.nightlatch/callback" {
				t.Errorf("%s at %s comes back to %q", path, host, back)
			}
			for _, c := range p.Cookies() {
				if c.Domain != "" {
					t.Errorf("a cookie for %s", c.Domain)
				}
			}
		}
	}
}
