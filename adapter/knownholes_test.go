package adapter_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
)

// hole is a request with which an adapter of its kind was once broken, and what it
// is answered here. Whatever the answer: the app sees no request of somebody who may
// not make it and no header that vouches for "admin", no Location leads off the site
// and the provider, no page holds what was sent as markup or as a link, and no
// answer is the app's with something else before it.
type hole struct {
	known  string // where it was found
	as     string // who asks: nobody, alice, or mallory, who may not come in
	method string // default GET
	path   string
	header []string
	status int    // of a browser's navigation, or of the method's answer
	want   string // in the answer
	app    bool   // the app is to be reached
}

const (
	asNobody, asAlice, asMallory = "nobody", "alice", "mallory"
	long                         = 10 << 10
)

// TestKnownHoles: each known hole of the peers that can be aimed at a site.
func TestKnownHoles(t *testing.T) {
	s := newSite(t, func(c *adapter.Config) {
		c.Allow = func(_ *http.Request, id session.Identity) bool { return slices.Contains(id.Groups, "staff") }
	})
	ours := s.url
	browsers := map[string]*browser{asNobody: newBrowser(t), asAlice: newBrowser(t), asMallory: newBrowser(t)}
	browsers[asAlice].open(s.url+"/").wants(t, 200, "app of alice")
	s.op.is("sub-mallory", "mallory")
	browsers[asMallory].open(s.url+"/").wants(t, 403, "may not use this site")
	cookie := browsers[asAlice].cookies(s, "session")[0]
	pair := func(value string) []string { return []string{"Cookie", cookie.Name + "=" + value} }
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	access := func(header, change map[string]any) []string { return bearer(accessToken(s, header, change)) }
	holes := []hole{
		// oauth2-proxy
		{known: "CVE-2025-54576, rule matched path and query", path: "/private?x=/public/status", status: 303},
		{known: "CVE-2025-54576, by a fragment's sign", path: "/private%3f/public/status", status: 303},
		{known: "CVE-2025-64484, underscores", as: asAlice, path: "/", header: []string{"X_Forwarded_User", "admin", "x-forwarded_user", "admin", "X.Forwarded.User", "admin"}, status: 200, app: true},
		{known: "CVE-2025-64484 on an open path", path: "/public/x", header: []string{"X_Forwarded_User", "admin", "X-User", "admin", "X_User", "admin"}, status: 200, app: true},
		{known: "CVE-2026-34457, health check's name", path: "/admin", header: []string{"User-Agent", "GoogleHC/1.0"}, status: 303},
		{known: "CVE-2026-34457 at forward-auth", path: "/.nightlatch/auth", header: []string{"User-Agent", "GoogleHC/1.0"}, status: 303},
		{known: "CVE-2026-40575, the client's address of another request", path: "/private", header: []string{"X-Forwarded-Uri", "/public"}, status: 303},
		{known: "CVE-2026-40575", path: "/private", header: []string{"X-Original-URL", "/public", "X-Rewrite-URL", "/public"}, status: 303},
		{known: "CVE-2026-40575 at forward-auth", path: "/.nightlatch/auth", header: []string{"X-Forwarded-Uri", "/public"}, status: 303},
		{known: "CVE-2026-41059, number sign", path: "/private/secret%23/public", status: 303},
		{known: "CVE-2026-41059, encoded twice", path: "/private/secret%2523/public", status: 303},
		{known: "CVE-2021-21411, group ignored", as: asMallory, path: "/", status: 403, want: "may not use this site"},
		{known: "CVE-2021-21411 at forward-auth", as: asMallory, path: "/.nightlatch/auth", status: 403},
		// caddy-security
		{known: "CVE-2023-52430, path as markup", path: `/.nightlatch/admin%22%3E%3Cscript%3Ealert(1)%3C/script%3E/login`, status: 404},
		{known: "CVE-2023-52430", path: `/.nightlatch/%3Cimg%20src=x%20onerror=alert(1)%3E`, status: 404},
		{known: "CVE-2024-21496, Referer as a link", path: "/.nightlatch/nothing", header: []string{"Referer", "javascript:alert(document.domain)//X"}, status: 404},
		{known: "CVE-2024-21497, redirect_url", as: asAlice, path: "/.nightlatch/userinfo?redirect_url=https://evil.test", status: 200, want: `"sub":"sub-alice"`},
		{known: "CVE-2024-21498, forwarded host", as: asAlice, path: "/.nightlatch/logout", header: []string{"X-Forwarded-Host", "id.example.com.evil.test"}, status: 200},
		{known: "CVE-2024-21498 on the way to the login", path: "/", header: []string{"X-Forwarded-Host", "id.example.com.evil.test"}, status: 303},
		{known: "CVE-2024-21499, forwarded proto", path: "/", header: []string{"X-Forwarded-Proto", "evil"}, status: 303},
		{known: "empty path", method: http.MethodOptions, path: "/", status: 401},
		// mod_auth_openidc
		{known: "CVE-2017-6059, a text of nobody", path: "/.nightlatch/callback?error=x&error_description=" + url.QueryEscape("<b>call 555"), status: 400},
		{known: "CVE-2017-6062", method: http.MethodOptions, path: "/public/x", header: []string{"X-User", "admin"}, status: 200, app: true},
		{known: "CVE-2017-6413, with a bearer", path: "/", header: append(access(nil, map[string]any{"groups": []string{"staff"}}), "X-User", "admin"), status: 200, app: true},
		{known: "CVE-2021-32785, format string", path: "/", header: pair("%s%n%x"), status: 303},
		{known: "CVE-2021-32785, 10 KB", path: "/", header: pair(strings.Repeat("A", long)), status: 303},
		{known: "CVE-2021-32785, not ASCII", path: "/", header: pair("\xff\xfe\x80"), status: 303},
		{known: "CVE-2021-32785, of the right length", path: "/", header: pair(strings.Repeat("%", 43)), status: 303},
		{known: "CVE-2023-28625, odd cookies", path: "/", header: []string{"Cookie", ";", "Cookie", "=", "Cookie", "name", "Cookie", " ; ;="}, status: 303},
		{known: "CVE-2023-28625, 200 cookies", path: "/", header: []string{"Cookie", strings.Repeat("a=b; ", 200) + "c"}, status: 303},
		{known: "CVE-2023-28625, 200 of ours", path: "/", header: []string{"Cookie", strings.Repeat(cookie.Name+"=x; ", 200)}, status: 303},
		{known: "CVE-2024-24814, number of chunks", path: "/", header: []string{"Cookie", cookie.Name + "_chunks=99999999; " + cookie.Name + ".Chunks=2000000000"}, status: 303},
		{known: "CVE-2025-31492, content behind the redirect", path: "/secret", status: 303},
		{known: "CVE-2025-3891, empty POST", method: http.MethodPost, path: "/x", status: 401},
		{known: "CVE-2025-3891, of another type", method: http.MethodPost, path: "/x", header: []string{"Content-Type", "a/b; c"}, status: 401},
		{known: "GHSA-wcvh, another aud", path: "/", header: access(nil, map[string]any{"aud": "another"}), status: 401},
		{known: "GHSA-wcvh, another iss", path: "/", header: access(nil, map[string]any{"iss": "https://evil.test"}), status: 401},
		{known: "GHSA-wcvh, no exp", path: "/", header: access(nil, map[string]any{"exp": nil}), status: 401},
		{known: "GHSA-wcvh, alg none", path: "/", header: bearer(unsigned(map[string]any{"iss": s.op.server.URL, "sub": "x", "aud": ours, "exp": s.clock.Now().Add(time.Hour).Unix(), "scope": "openid"})), status: 401},
		{known: "GHSA-wcvh, an ID token", path: "/", header: access(map[string]any{"typ": "JWT"}, map[string]any{"aud": clientID, "nonce": "n", "scope": nil}), status: 401},
		{known: "state and code doubled", path: "/.nightlatch/callback?state=a&state=b&code=c&code=d", status: 400},
		{known: "a link chooses scopes", path: "/?scope=offline_access+admin", as: asAlice, status: 400},
		// Envoy
		{known: "CVE-2022-29226, any bearer", path: "/", header: bearer("x"), status: 401},
		{known: "CVE-2022-29226, in the query", path: "/?access_token=x", status: 303},
		{known: "CVE-2022-29226, a bearer without a token", path: "/", header: []string{"Authorization", "Bearer"}, status: 401},
	}
	for _, bad := range redirectSet {
		q := url.QueryEscape(bad)
		for _, name := range []string{"rd", "redirect_url", "return", "target_link_uri", "post_logout_redirect_uri"} {
			holes = append(holes,
				hole{known: "CVE-2020-5233 and kin, the login by " + name + "=" + bad, path: "/?" + name + "=" + q, status: 303},
				hole{known: "CVE-2019-14857 and kin, the logout by " + name + "=" + bad, as: asAlice, path: "/.nightlatch/logout?" + name + "=" + q, status: 200},
				hole{known: "a logout that is over, " + name + "=" + bad, path: "/.nightlatch/logout?" + name + "=" + q, status: 303},
				hole{known: "a login that has ended, " + name + "=" + bad, path: "/.nightlatch/callback?state=x&" + name + "=" + q, status: 400},
			)
		}
	}
	for _, h := range holes {
		if h.as == "" {
			h.as = asNobody
		}
		if h.method == "" {
			h.method = http.MethodGet
		}
		who := browsers[h.as]
		if h.as == asNobody {
			who = newBrowser(t) // flows of before are none of this one's
		}
		before := s.reached()
		p := who.do(h.method, s.url+h.path, nil, append(slices.Clone(navigating), h.header...)...)
		if p.StatusCode != h.status || !strings.Contains(p.body, h.want) {
			t.Errorf("%s: %d, want %d with %q:\n%s", h.known, p.StatusCode, h.status, h.want, p.body)
		}
		h.holds(t, s, p, s.reached() > before)
	}
}

// redirectSet leads off the site where a check is careless; the last are hosts that look
// like another or become it: other scripts, full width, punycode.
var redirectSet = []string{
	"//evil.test", `/\evil.test`, "/%5cevil.test", "/%09/evil.test", "/%0d%0a/evil.test", "/ /evil.test", "/%20/evil.test", "/..//evil.test", "https:evil.test",
	"https://app.example.com.evil.test", "https://evil-app.example.com", `https://evil.test\.app.example.com`, "https://app.example.com@evil.test",
	"javascript://app.example.com/%0aalert(1)", "data:text/html,x",
	"https://аpp.example.com", "https://app.exаmple.com/x", "https://app.example.com。evil.test", "https://app．example．com@evil.test", "https://xn--pp-6kc.example.com",
	"https://xn--evil-app.example.com", "https://ａｐｐ.example.com", "／／evil.test", "/／evil.test", "/＼evil.test", "/%EF%BC%8Fevil.test", "//evil。test", "//ｅｖｉｌ.test",
	"//eᴠil.test", "https://app.example.com⁄evil.test", "https://app.example.com\u202e@evil.test", "//еvil.test", "//xn--vil-8cd.test",
}

// holds checks what every answer has to.
func (h hole) holds(t *testing.T, s *site, p page, reached bool) {
	t.Helper()
	if reached != h.app {
		t.Errorf("%s: the app was reached: %v", h.known, reached)
	}
	if reached {
		for name, values := range s.last().header {
			if slices.Contains(values, "admin") {
				t.Errorf("%s: the app sees %s: %v", h.known, name, values)
			}
		}
	} else if strings.Contains(p.body, "app of") {
		t.Errorf("%s: the app's answer is behind ours: %s", h.known, p.body)
	}
	to, err := url.Parse(p.Header.Get("Location"))
	if err != nil || to.Host != "" && "http://"+to.Host != s.url && "http://"+to.Host != s.op.server.URL || to.Host == "" && to.String() != "" {
		t.Errorf("%s leads to %q", h.known, p.Header.Get("Location"))
	}
	if back := to.Query().Get("redirect_uri"); back != "" && back != s.url+"/.nightlatch/callback" {
		t.Errorf("%s: the login comes back to %s", h.known, back)
	}
	for _, bad := range []string{"evil.test", "javascript:", "<script>", "onerror", "<b>call"} {
		if strings.Contains(p.body, bad) {
			t.Errorf("%s: %q is on the page:\n%s", h.known, bad, p.body)
		}
	}
}

// TestKnownHolesOfLogins: those that take more than one request.
func TestKnownHolesOfLogins(t *testing.T) {
	callback := func(s *site, q url.Values) string { return s.url + "/.nightlatch/callback?" + q.Encode() }
	begin := func(t *testing.T, s *site, b *browser, path string) url.Values {
		t.Helper()
		to, err := url.Parse(b.step(s.url + path).Header.Get("Location"))
		if err != nil || !strings.HasPrefix(to.String(), s.op.server.URL) {
			t.Fatalf("%v %v", to, err)
		}
		return to.Query()
	}
	for known, try := range map[string]func(t *testing.T, s *site, b *browser){
		"GHSA-f24x, session fixation": func(t *testing.T, s *site, b *browser) {
			u, _ := url.Parse(s.url)
			b.open(s.url + "/")
			old := b.cookies(s, "session")[0]
			s.clock.Advance(24 * time.Hour)
			b.jar.SetCookies(u, []*http.Cookie{old})
			p := b.step(s.url + "/")
			if !strings.Contains(strings.Join(p.Header["Set-Cookie"], "|"), old.Name+"=; Path=/; Max-Age=0") {
				t.Errorf("the old cookie is not deleted: %v", p.Header["Set-Cookie"])
			}
			b.follow(p).wants(t, 200, "app of alice")
			if now := b.cookies(s, "session")[0]; now.Value == old.Value {
				t.Error("the session has the old id")
			}
		},
		"CVE-2017-1000069, login CSRF": func(t *testing.T, s *site, b *browser) {
			state := begin(t, s, newBrowser(t), "/").Get("state")
			b.step(callback(s, url.Values{"state": {state}, "code": {"code-1"}, "iss": {s.op.server.URL}})).wants(t, 400, "began in another browser")
			if len(b.cookies(s, "session")) > 0 || s.op.count("/token") > 0 {
				t.Error("a stranger's login was taken on")
			}
		},
		"CVE-2017-6059, the provider's text": func(t *testing.T, s *site, b *browser) {
			state := begin(t, s, b, "/").Get("state")
			p := b.step(callback(s, url.Values{"state": {state}, "error": {"x"}, "error_description": {"<b>call 555 <script>alert(1)</script>"}, "iss": {s.op.server.URL}}))
			p.wants(t, 403, "&lt;b&gt;call 555")
			if strings.Contains(p.body, "<b>call") || strings.Contains(p.body, "<script>") {
				t.Errorf("not escaped: %s", p.body)
			}
		},
		"CVE-2024-21492, a session after its logout": func(t *testing.T, s *site, b *browser) {
			b.open(s.url + "/")
			old := b.cookies(s, "session")[0]
			b.press(b.open(s.url+"/.nightlatch/logout"), "submit")
			if p := newBrowser(t).do(http.MethodGet, s.url+"/", nil, "Cookie", old.Name+"="+old.Value); p.StatusCode != 401 {
				t.Errorf("it answers %d", p.StatusCode)
			}
		},
		"CVE-2025-55162, a deletion that deletes nothing": func(t *testing.T, s *site, b *browser) {
			back := b.step(b.step(s.url + "/").Header.Get("Location")).Header.Get("Location")
			set := b.step(back).Header["Set-Cookie"]
			p := b.post(s.url+"/.nightlatch/logout", fields(t, b.open(s.url+"/.nightlatch/logout").body))
			attributes := func(lines []string, name string) string {
				for _, line := range lines {
					if strings.HasPrefix(line, name) && strings.Contains(line, "session") {
						_, after, _ := strings.Cut(line, ";")
						return strings.ReplaceAll(after, " Max-Age=0;", "")
					}
				}
				return "none"
			}
			if made, gone := attributes(set, "nightlatch_session"), attributes(p.Header["Set-Cookie"], "nightlatch_session"); made != gone || made == "none" {
				t.Errorf("set with%s, deleted with%s", made, gone)
			}
		},
		"CVE-2026-47775 and CVE-2023-35941, a flow's cookie with other bytes": func(t *testing.T, s *site, b *browser) {
			q := url.Values{"state": {begin(t, s, b, "/").Get("state")}, "code": {"code-1"}, "iss": {s.op.server.URL}}
			c := b.cookies(s, "flow")[0]
			raw, err := base64.RawURLEncoding.DecodeString(c.Value)
			if err != nil {
				t.Fatal(err)
			}
			answers := map[string]int{}
			for i := range raw {
				raw[i] ^= 1 << (i % 8)
				p := newBrowser(t).do(http.MethodGet, callback(s, q), nil, append([]string{"Cookie", c.Name + "=" + base64.RawURLEncoding.EncodeToString(raw)}, navigating...)...)
				answers[fmt.Sprint(p.StatusCode, p.body)]++
				raw[i] ^= 1 << (i % 8)
			}
			if len(answers) != 1 || s.op.count("/token") > 0 {
				t.Errorf("%d different answers to %d cookies", len(answers), len(raw))
			}
		},
		"CVE-2021-32791, what is sealed is sealed for its place": func(t *testing.T, s *site, b *browser) {
			other := newBrowser(t)
			mine, theirs := begin(t, s, b, "/"), begin(t, s, other, "/")
			one, two := b.cookies(s, "flow")[0], other.cookies(s, "flow")[0]
			if one.Value[:40] == two.Value[:40] {
				t.Error("two seals begin alike")
			}
			for _, q := range []url.Values{mine, theirs} {
				p := newBrowser(t).do(http.MethodGet, callback(s, url.Values{"state": {q.Get("state")}, "code": {"code-1"}, "iss": {s.op.server.URL}}), nil,
					append([]string{"Cookie", one.Name + "=" + two.Value + "; " + two.Name + "=" + one.Value}, navigating...)...)
				p.wants(t, 400, "began in another browser")
			}
		},
		"userinfo about somebody else": func(t *testing.T, s *site, b *browser) {
			s.op.set(func(p *foreign) {
				p.user = map[string]any{"sub": "sub-alice"}
				p.info = map[string]any{"sub": "sub-admin", "preferred_username": "admin"}
			})
			b.open(s.url+"/").wants(t, 403, "could not be verified")
		},
		"userinfo that is a list": func(t *testing.T, s *site, b *browser) {
			s.op.set(func(p *foreign) {
				p.user = map[string]any{"sub": "sub-alice"}
				p.info = []any{map[string]any{"sub": "sub-admin"}}
			})
			b.open(s.url+"/").wants(t, 200, "app of sub-alice")
		},
		"CVE-2021-21411, the group after a refresh": func(t *testing.T, s *site, b *browser) {
			b.open(s.url+"/").wants(t, 200, "app of alice")
			s.op.set(func(p *foreign) { p.user["groups"] = []string{"others"} })
			s.clock.Advance(6 * time.Minute)
			b.open(s.url+"/").wants(t, 403, "may not use this site")
		},
	} {
		t.Run(known, func(t *testing.T) {
			s := newSite(t, func(c *adapter.Config) {
				c.Allow = func(_ *http.Request, id session.Identity) bool {
					return id.Claims["groups"] == nil || slices.Contains(id.Groups, "staff")
				}
			})
			try(t, s, newBrowser(t))
			if strings.Contains(s.log.String(), "level=ERROR") {
				t.Errorf("the log has an error: %s", s.log)
			}
		})
	}
}
