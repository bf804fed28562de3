package adapter_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
)

// TestForgedIdentityHeaders: what a client says about who it is never reaches
// the app, on no path and in no spelling, and cannot remove what we say.
func TestForgedIdentityHeaders(t *testing.T) {
	s := newSite(t, func(c *adapter.Config) { c.IdentityHeaders = append(c.IdentityHeaders, "_Staff") })
	b := newBrowser(t)
	b.open(s.url + "/")
	names := []string{
		"_Staff", "-staff", ".STAFF",
		"X-User", "x-user", "X_User", "x_user", "X.User", "X-USER", "X_USER", "Remote-User", "REMOTE_USER", "X-Forwarded-User", "X_Forwarded_User",
		"x-forwarded_user", "X.Forwarded.User", "X-Forwarded-Email", "X-Auth-Request-Email", "Nightlatch-Assertion", "nightlatch_assertion", "Nightlatch.Anything",
	}
	for _, name := range names {
		for _, c := range []struct{ method, path string }{{"GET", "/"}, {"POST", "/x"}, {"GET", "/public/x"}, {"OPTIONS", "/public/x"}, {"OPTIONS", "/x"}} {
			for _, who := range []*browser{b, newBrowser(t)} {
				before := s.reached()
				who.do(c.method, s.url+c.path, nil, name, "admin", "Connection", name)
				if s.reached() == before {
					continue // refused, which is as good
				}
				for sent, values := range s.last().header {
					if strings.Contains(strings.Join(values, ","), "admin") {
						t.Errorf("%s %s with %s: the app sees %s: %v", c.method, c.path, name, sent, values)
					}
				}
				if id := s.last().id; !id.Anonymous() && s.last().header.Get("X-User") != "alice" {
					t.Errorf("%s %s with %s: X-User is %q", c.method, c.path, name, s.last().header.Get("X-User"))
				}
				if v := s.last().header.Get("Connection"); strings.Contains(strings.ToLower(v), "user") {
					t.Errorf("the app's proxy is told to drop %s", v)
				}
			}
		}
	}
	if s.reached() < len(names)*4 {
		t.Fatal("hardly a request reached the app")
	}
}

// TestCookiesAreStripped: the app sees its own cookies as they were sent, and
// none of ours or of the provider.
func TestCookiesAreStripped(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url + "/")
	ours := b.cookies(s, "session")[0].String()
	for sent, want := range map[string]string{
		"a=1; nightlatch_sso_1234=x; b=\"2 3\"":                   `a=1; b="2 3"`,
		"__Host-nightlatch_session_9=x":                           "",
		"__Secure-nightlatch_x=1;c=3":                             "c=3",
		"Nightlatch_Session=x; __host-NIGHTLATCH_y=":              "",
		"a==;; =; b; ;nightlatch_flow_a_b=x;x=nightlatch_session": "a==; =; b; x=nightlatch_session",
	} {
		for _, path := range []string{"/", "/public/x"} {
			b.jar = nil
			b.http.Jar = nil
			b.do(http.MethodGet, s.url+path, nil, "Cookie", sent+"; "+ours)
			if got := strings.Join(s.last().header["Cookie"], "|"); got != want {
				t.Errorf("%s: the app sees %q of %q, want %q", path, got, sent, want)
			}
			if s.last().id.Name != "alice" {
				t.Errorf("%q: nobody is logged in", sent)
			}
		}
	}
}

// TestStrangeCookies: no cookie that a client can send crashes or lets in.
func TestStrangeCookies(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url + "/")
	name := b.cookies(s, "session")[0].Name
	hits := s.reached()
	many := strings.Repeat(name+"=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; ", 200)
	for _, cookie := range []string{";", "=", "name", name, name + "=", name + "=%s%n", name + "=\x00", name + "=" + strings.Repeat("a", 10<<10), name + "=é", many, name + "_chunks=99999999"} {
		for _, accept := range []string{"text/html", "*/*"} {
			want := map[string]int{"text/html": 303, "*/*": 401}[accept]
			if got := raw(t, s, "GET /x HTTP/1.1\r\nHost: x\r\nAccept: "+accept+"\r\nCookie: "+cookie+"\r\nConnection: close\r\n\r\n"); got != want && got != 400 {
				t.Errorf("cookie %.40q: %d, want %d", cookie, got, want)
			}
		}
	}
	if s.reached() != hits {
		t.Error("the app was reached")
	}
	// The good one among dead ones of the same name, from a parent domain say.
	good := b.cookies(s, "session")[0]
	if p := newBrowser(t).do(http.MethodGet, s.url+"/", nil, "Cookie", name+"=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; "+good.String()); p.StatusCode != 200 {
		t.Errorf("a dead cookie before the good one: %d", p.StatusCode)
	}
}

// raw sends bytes and returns the status.
func raw(t *testing.T, s *site, request string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	return resp.StatusCode
}

// TestWhoIsRedirected: a top-level GET of a browser, and nothing else. The app
// is never reached.
func TestWhoIsRedirected(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		method string
		header []string
		want   int
	}{
		"navigation":                  {"GET", navigating, 303},
		"browser without metadata":    {"GET", []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}, 303},
		"curl":                        {"GET", []string{"Accept", "*/*"}, 401},
		"nothing said":                {"GET", nil, 401},
		"fetch":                       {"GET", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "text/html"}, 401},
		"image":                       {"GET", []string{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 401},
		"frame":                       {"GET", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", "text/html"}, 401},
		"prefetch":                    {"GET", append([]string{"Sec-Purpose", "prefetch;prerender"}, navigating...), 401},
		"XMLHttpRequest of old":       {"GET", []string{"X-Requested-With", "XMLHttpRequest", "Accept", "text/html"}, 401},
		"websocket":                   {"GET", []string{"Upgrade", "websocket", "Connection", "Upgrade", "Accept", "text/html"}, 401},
		"form":                        {"POST", append([]string{"Content-Type", "application/x-www-form-urlencoded"}, navigating...), 401},
		"empty POST":                  {"POST", []string{"Content-Type", "wrong"}, 401},
		"HEAD":                        {"HEAD", navigating, 401},
		"preflight":                   {"OPTIONS", []string{"Origin", "https://evil.test", "Access-Control-Request-Method", "GET"}, 401},
		"other scheme":                {"GET", []string{"Authorization", "Basic YTpi"}, 401},
		"bearer without a token":      {"GET", []string{"Authorization", "Bearer"}, 401},
		"bearer in a query":           {"GET", []string{"Accept", "*/*"}, 401},
		"health check's name":         {"GET", []string{"User-Agent", "GoogleHC/1.0"}, 401},
		"open path named in a header": {"GET", []string{"X-Forwarded-Uri", "/public/x", "X-Original-Url", "/public/x"}, 401},
	} {
		for _, path := range []string{"/private?x=/public/status&access_token=x", "/backup", "/.nightlatch", "/x/%2e%2e/public/", "/foo%23/public"} {
			p := newBrowser(t).do(c.method, s.url+path, nil, c.header...)
			if p.StatusCode != c.want {
				t.Errorf("%s %s: %d, want %d", name, path, p.StatusCode, c.want)
			}
			if p.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: may be cached", name, path)
			}
			kind := "application/json"
			if name == "form" { // a person reads that what was sent is lost
				kind = "text/html; charset=utf-8"
				if !strings.Contains(p.body, "what you sent was not taken") {
					t.Errorf("%s %s: %s", name, path, p.body)
				}
			}
			if c.want == 401 && (!strings.HasPrefix(p.Header.Get("WWW-Authenticate"), "Bearer ") || p.Header.Get("Content-Type") != kind || len(p.Cookies()) > 0) {
				t.Errorf("%s %s: %v", name, path, p.Header)
			}
		}
	}
	if s.reached() > 0 {
		t.Errorf("%d requests reached the app, the last %s", s.reached(), s.last().uri)
	}
}

// TestOwnPaths: below /.nightlatch/ nothing reaches the app.
func TestOwnPaths(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	for path, want := range map[string]int{
		"": 404, "x": 404, "callback": 400, "callback/": 404, "logout": 200, "logged-out": 200, "resume": 405, "backchannel-logout": 405, "userinfo": 401, "..": 404, "%2e%2e/x": 404,
	} {
		p := b.do(http.MethodGet, s.url+"/.nightlatch/"+path, nil, navigating...)
		if p.StatusCode == 303 {
			p = b.follow(p)
		}
		if p.StatusCode != want {
			t.Errorf("%q: %d, want %d", path, p.StatusCode, want)
		}
		if strings.Contains(p.Header.Get("Content-Type"), "html") {
			for header, want := range map[string]string{"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
				if p.Header.Get(header) != want {
					t.Errorf("%q: %s is %q", path, header, p.Header.Get(header))
				}
			}
			css := between(p.body, `rel="stylesheet" href="`, `"`)
			if style := b.step(s.url + css); style.StatusCode != 200 || !strings.HasPrefix(style.Header.Get("Content-Type"), "text/css") || !strings.Contains(style.body, "prefers-color-scheme: dark") {
				t.Errorf("%q: stylesheet %s answers %d", path, css, style.StatusCode)
			}
			if strings.Contains(p.body, "<script") || strings.Contains(p.body, "style=") {
				t.Errorf("%q has a script or inline style", path)
			}
		}
	}
	if s.reached() > 0 {
		t.Error("the app was reached")
	}
	b.open(s.url + "/")
	p := b.do(http.MethodGet, s.url+"/.nightlatch/userinfo", nil)
	if p.wants(t, 200, `"preferred_username":"alice"`); p.Header.Get("Cache-Control") != "no-store" {
		t.Error("userinfo may be cached")
	}
	large := strings.NewReader("return=" + strings.Repeat("a", 70<<10))
	if p := b.do(http.MethodPost, s.url+"/.nightlatch/resume", large, "Content-Type", "application/x-www-form-urlencoded"); p.StatusCode != 413 {
		t.Errorf("a large form: %d", p.StatusCode)
	}
	if p := b.do(http.MethodPost, s.url+"/.nightlatch/logout", strings.NewReader("csrf=a&csrf=b"), "Content-Type", "application/x-www-form-urlencoded"); p.StatusCode != 400 {
		t.Errorf("a parameter twice: %d", p.StatusCode)
	}
}

// TestForwardAuth: another proxy asks; only a session or a token decides.
func TestForwardAuth(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	ask := func(header ...string) page {
		return b.do(http.MethodGet, s.url+"/.nightlatch/auth", nil, append([]string{"X-Forwarded-Uri", "/deep?x=1", "Remote-User", "admin"}, header...)...)
	}
	if p := ask(); p.StatusCode != 401 || p.Header.Get("Remote-User") != "" {
		t.Errorf("nobody: %d %v", p.StatusCode, p.Header)
	}
	if p := ask(append([]string{"X-Forwarded-Method", "POST"}, navigating...)...); p.StatusCode != 401 {
		t.Errorf("a form: %d", p.StatusCode)
	}
	b.follow(ask(navigating...)).wants(t, 200, "app of alice")
	if s.last().uri != "/deep?x=1" {
		t.Errorf("came back to %s", s.last().uri)
	}
	if p := ask(); p.StatusCode != 200 || p.Header.Get("Remote-User") != "alice" || p.Header.Get("Remote-Email") != "alice@example.com" {
		t.Errorf("alice: %d %v", p.StatusCode, p.Header)
	}
}

// TestForwardAuthTrusted: what a trusted proxy asks about is judged like a
// request of this site: open paths, rules by path, background access, methods.
func TestForwardAuthTrusted(t *testing.T) {
	s := newSite(t, func(c *adapter.Config) {
		c.Allow = func(r *http.Request, id session.Identity) bool { return r.URL.Path != "/admin" || id.HasRole("admin") }
		c.Forwarded = func(r *http.Request) (string, *url.URL) {
			u, err := url.ParseRequestURI(r.Header.Get("X-Forwarded-Uri"))
			if err != nil {
				return "", nil
			}
			return r.Header.Get("X-Forwarded-Method"), u
		}
	})
	b := newBrowser(t)
	ask := func(method, uri string, header ...string) page {
		return b.do(http.MethodGet, s.url+"/.nightlatch/auth", nil, append([]string{"X-Forwarded-Method", method, "X-Forwarded-Uri", uri}, header...)...)
	}
	if p := ask("GET", "/public/x"); p.StatusCode != 200 || p.Header.Get("Remote-User") != "" {
		t.Errorf("an open path: %d %v", p.StatusCode, p.Header)
	}
	if p := ask("GET", "/x"); p.StatusCode != 401 {
		t.Errorf("nobody: %d", p.StatusCode)
	}
	b.follow(ask("GET", "/x?scope=mine", navigating...)).wants(t, 200, "app of alice")
	if p := ask("POST", "/x"); p.StatusCode != 200 || p.Header.Get("Remote-User") != "alice" {
		t.Errorf("alice: %d %v", p.StatusCode, p.Header)
	}
	if p := ask("GET", "/admin"); p.StatusCode != 403 || p.Header.Get("Remote-User") != "" {
		t.Errorf("a path that is not hers: %d %v", p.StatusCode, p.Header)
	}
	if p := ask("POST", "/backup"); p.StatusCode != 403 || !strings.Contains(p.body, s.url+"/backup") {
		t.Errorf("an offline path, by a form: %d %s", p.StatusCode, p.body)
	}
	p := ask("GET", "/backup", navigating...)
	if to, _ := url.Parse(p.Header.Get("Location")); p.StatusCode != 303 || !strings.Contains(to.Query().Get("scope"), "offline_access") {
		t.Errorf("an offline path: %d %s", p.StatusCode, p.Header.Get("Location"))
	}
	if s.reached() != 1 {
		t.Errorf("%d requests reached the app", s.reached())
	}
}

// TestNoGrantForAPathThatIsNotAllowed: who may come in, but not where background
// access is wanted, leaves no grant behind.
func TestNoGrantForAPathThatIsNotAllowed(t *testing.T) {
	s := newSite(t, func(c *adapter.Config) {
		c.Allow = func(r *http.Request, id session.Identity) bool {
			return !strings.HasPrefix(r.URL.Path, "/backup") || id.HasRole("admin")
		}
	})
	b := newBrowser(t)
	b.open(s.url+"/backup/all?x=1").wants(t, 403, "alice")
	if g := s.grants.logins(); len(g) > 0 || s.reached() > 0 {
		t.Errorf("grants %+v, reached %d", g, s.reached())
	}
	b.open(s.url+"/x").wants(t, 200, "app of alice")
}

// TestCookieAttributes: on https everything ours is __Host-; what is set can be
// deleted; and names tell sites of one host apart.
func TestCookieAttributes(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	var set, gone *http.Cookie
	p := b.step(s.url + "/")
	p = b.step(b.step(p.Header.Get("Location")).Header.Get("Location"))
	for _, c := range p.Cookies() {
		if !strings.HasPrefix(c.Name, "nightlatch_") || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("cookie %v", c)
		}
		if strings.Contains(c.Name, "session") {
			set = c
		}
	}
	p = b.step(s.url + "/.nightlatch/logout")
	p = b.post(s.url+"/.nightlatch/logout", fields(t, p.body))
	for _, c := range p.Cookies() {
		gone = c
	}
	if set == nil || gone == nil || set.Name != gone.Name || gone.MaxAge >= 0 || gone.Path != set.Path || gone.Secure != set.Secure {
		t.Errorf("set %v, deleted %v", set, gone)
	}
	other := newSite(t)
	if fmt.Sprint(cookieNames(other.rp, other)) == fmt.Sprint(cookieNames(s.rp, s)) {
		t.Error("two ports of one host share cookie names")
	}
	https := newSite(t, func(c *adapter.Config) {
		site := *c.Site
		site.Scheme = "https"
		c.Site = &site
	})
	for _, c := range newBrowser(t).step(https.url + "/").Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-nightlatch_") || !c.Secure || c.Path != "/" || c.Domain != "" {
			t.Errorf("cookie %v", c)
		}
	}
}

func cookieNames(_ *adapter.RelyingParty, s *site) []string {
	b := newBrowser(s.t)
	b.open(s.url + "/")
	var names []string
	for _, c := range b.cookies(s, "session") {
		names = append(names, c.Name)
	}
	return names
}
