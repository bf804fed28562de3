package provider_test

import (
	"bufio"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/storage"
)

// The tests of docs/bad-input.md send requests as they stand on the wire and hold
// the answers, whole, against a line of text; see wire and says.

// The pair of RFC 7636 Appendix B.
const (
	rfcVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	rfcChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// strangers is a world with one client more: cli, public, with loopback redirect
// URIs. So has other, which is confidential.
func strangers(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	loopback := []string{"http://127.0.0.1/cb", "http://[::1]/cb"}
	w.update(func(tx storage.Tx) error {
		cli, err := client.ByName(tx, "demo", "spa")
		if err != nil {
			return err
		}
		cli.ID, cli.ClientID, cli.RedirectURIs = "cli", "cli", loopback
		return client.Clients.Put(tx, "demo", cli.ID, cli)
	})
	w.editClient("other", func(c *client.Client) { c.RedirectURIs = append(c.RedirectURIs, loopback...) })
	return w
}

// wire sends a request in its own words: the request line without a version,
// headers, an empty line and the body. An address without a slash before it is
// below the realm's protocol endpoints. A body is a form unless a header says
// otherwise.
func (w *world) wire(text string) *reply {
	w.t.Helper()
	return w.do(parseWire(w.t, text))
}

// wire sends the browser's cookies along, keeps those that come back, and follows
// nothing.
func (b *browser) wire(text string) *reply {
	b.t.Helper()
	r := parseWire(b.t, text)
	u, _ := url.Parse(origin)
	for _, c := range b.jar.Cookies(u) {
		r.AddCookie(c)
	}
	got := b.do(r)
	b.jar.SetCookies(u, (&http.Response{Header: got.header}).Cookies())
	got.header.Set("X-Address", origin+r.URL.RequestURI())
	return got
}

func parseWire(t testing.TB, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, to, _ := strings.Cut(lines[0], " ")
	if !strings.HasPrefix(to, "/") {
		to = "/realms/demo/protocol/openid-connect/" + to
	}
	said := strings.ToLower(head)
	lines[0] = method + " " + to + " HTTP/1.1"
	if !strings.Contains(said, "\nhost:") {
		lines = append(lines, "Host: id.test")
	}
	if method == http.MethodPost && !strings.Contains(said, "\ncontent-type:") {
		lines = append(lines, "Content-Type: application/x-www-form-urlencoded")
	}
	lines = append(lines, fmt.Sprint("Content-Length: ", len(body)))
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)))
	if err != nil {
		t.Fatalf("%v in the request %q", err, text)
	}
	r.RemoteAddr = "192.0.2.7:4711"
	return r
}

var (
	lead     = regexp.MustCompile(`(?s)<p class="(?:lead|problem)"[^>]*>(.*?)</p>`)
	heading  = regexp.MustCompile(`<h1>(.*?)</h1>`)
	hrefs    = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	markup   = regexp.MustCompile(`<[^>]*>`)
	resource = regexp.MustCompile(`^/realms/demo/resources/style\.[0-9a-f]+\.css$`)
)

// says is an answer in one line:
//
//	400 invalid_grant: description (grant_status)       an error as JSON
//	200 {"active":false}                                other JSON
//	400 page: text                                      what a person reads; with a form its heading
//	303 https://app.test/cb code iss state=S1           a redirect, code and iss being what they should
//
// with the headers that mean something behind it. What every answer of its kind
// must have, and must not, is checked here.
func (r *reply) says() string {
	r.t.Helper()
	kind := strings.Split(r.header.Get("Content-Type"), ";")[0]
	location := r.header.Get("Location")
	if r.header.Get("Cache-Control") != "no-store" && r.status != http.StatusNoContent {
		r.t.Errorf("the answer may be kept: %d %v", r.status, r.header)
	}
	if (r.status/100 == 3) != (location != "") || r.status/100 == 3 && r.status != http.StatusSeeOther {
		r.t.Errorf("status %d with Location %q", r.status, location)
	}
	if r.body != "" && r.header.Get("X-Content-Type-Options") != "nosniff" {
		r.t.Errorf("the answer may be sniffed: %v", r.header)
	}
	out := fmt.Sprint(r.status)
	switch {
	case location != "":
		if r.header.Get("Referrer-Policy") != "no-referrer" {
			r.t.Errorf("the redirect tells where it comes from: %v", r.header)
		}
		out += " " + spell(r.t, location)
	case kind == "application/json":
		out += " " + r.error()
	case kind == "text/html":
		r.pageHeaders()
		out += " page: " + r.words()
	case r.body != "":
		r.t.Errorf("an answer of type %q: %s", kind, r.body)
	}
	for _, name := range []string{"WWW-Authenticate", "Allow", "Retry-After"} {
		if v := r.header.Get(name); v != "" {
			out += " | " + v
		}
	}
	return out
}

// error is the JSON error, or the body if it has any member more.
func (r *reply) error() string {
	rest := len(r.json)
	for _, name := range []string{"error", "error_description", "grant_status"} {
		if r.json[name] != nil {
			rest--
		}
	}
	if r.text("error") == "" || rest > 0 {
		return r.body
	}
	out := r.text("error") + ": " + r.text("error_description")
	if s := r.text("grant_status"); s != "" {
		out += " (" + s + ")"
	}
	return out
}

// pageHeaders is line 7 for the page at hand: nothing may frame it, run in it or
// learn where it leads. No form-action: Chromium holds it against every redirect
// that follows a form.
func (r *reply) pageHeaders() {
	r.t.Helper()
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
	} {
		if got := r.header.Get(name); got != want {
			r.t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	policy := r.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'") ||
		strings.Contains(policy, "form-action") || strings.Contains(policy, "unsafe") {
		r.t.Errorf("policy %q", policy)
	}
	for _, m := range hrefs.FindAllStringSubmatch(r.body, -1) {
		if to := html.UnescapeString(m[1]); !resource.MatchString(to) && !strings.HasPrefix(to, "/realms/demo/") && to != callback && to != "#content" {
			r.t.Errorf("the page leads to %q", to)
		}
	}
}

// words of a page: of a form its heading, else what it says.
func (r *reply) words() string {
	if m := heading.FindStringSubmatch(r.body); m != nil && strings.Contains(r.body, "<form") {
		return html.UnescapeString(m[1])
	}
	m := lead.FindStringSubmatch(r.body)
	if m == nil {
		return r.body
	}
	return html.UnescapeString(markup.ReplaceAllString(m[1], ""))
}

// spell writes a redirect as its address and its parameters, sorted. Of what is
// random only the name stays, and of iss where it is ours.
func spell(t testing.TB, location string) string {
	t.Helper()
	if strings.ContainsAny(location, "\r\n") {
		t.Errorf("Location has a line break: %q", location)
	}
	u, err := url.Parse(location)
	if err != nil {
		t.Fatalf("Location %q: %v", location, err)
	}
	raw, sign := u.RawQuery, ""
	if u.Fragment != "" {
		raw, sign = u.EscapedFragment(), "#"
	}
	u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
	q, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatalf("Location %q: %v", location, err)
	}
	var parts []string
	for name, values := range q {
		switch v := strings.Join(values, " and "); {
		case slices.Contains([]string{"code", "request", "session_state"}, name) && len(v) >= 22, name == "iss" && v == issuer:
			parts = append(parts, name)
		default:
			parts = append(parts, name+"="+v)
		}
	}
	slices.Sort(parts)
	to := u.String()
	if to == "" {
		to = "?" // the same address
	}
	return strings.TrimSpace(to + sign + " " + strings.Join(parts, " "))
}

// exact is one request and its answer.
type exact struct{ name, request, want string }

// answer runs a table through something that sends, a world or a browser.
func answers(t *testing.T, send func(string) *reply, table []exact) {
	t.Helper()
	for _, tt := range table {
		t.Run(tt.name, func(t *testing.T) {
			got := send(tt.request)
			got.t = t
			if said := got.says(); said != tt.want {
				t.Errorf("%s\n answers: %s\n    want: %s", brief(tt.request), said, tt.want)
			}
		})
	}
}

func brief(request string) string { return request[:min(len(request), 800)] }

// asking is the authorization request of client reports. Parameters come in
// pairs; "" takes one out.
func asking(more ...string) string { return "GET auth?" + form(authorization(), more...) }

func authorization() url.Values {
	return url.Values{
		"response_type": {"code"}, "client_id": {"reports"}, "redirect_uri": {callback}, "scope": {"openid offline_access"},
		"state": {"S1"}, "nonce": {"N1"}, "code_challenge": {rfcChallenge}, "code_challenge_method": {"S256"},
	}
}

func form(v url.Values, more ...string) string {
	for i := 0; i < len(more); i += 2 {
		if v.Set(more[i], more[i+1]); more[i+1] == "" {
			v.Del(more[i])
		}
	}
	return v.Encode()
}

// code is what alice's browser gets for an authorization request.
func (b *browser) code(t *testing.T, more ...string) string {
	t.Helper()
	got := b.wire(asking(more...))
	u, err := url.Parse(got.header.Get("Location"))
	if err != nil || u.Query().Get("code") == "" {
		t.Fatalf("no code: %d %s", got.status, got.header.Get("Location"))
	}
	return u.Query().Get("code")
}

// alice is a browser in which alice is logged in.
func (w *world) alice() *browser {
	w.t.Helper()
	b := w.browser()
	b.grant("alice", "reports", "openid")
	return b
}

const (
	basicReports = "Authorization: Basic cmVwb3J0czpyZXBvcnRzLXNlY3JldA==" // reports:reports-secret
	basicOther   = "Authorization: Basic b3RoZXI6b3RoZXItc2VjcmV0"         // other:other-secret
	basicWrong   = "Authorization: Basic cmVwb3J0czp3cm9uZw=="             // reports:wrong
	basicNobody  = "Authorization: Basic bm9ib2R5OnNlY3JldA=="             // nobody:secret
)

// redeeming is the token request for a code, as a client whose header it is given.
func redeeming(header, code string, more ...string) string {
	return "POST token\n" + header + "\n\n" + form(url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {rfcVerifier},
	}, more...)
}

// refreshing is the token request with a refresh token.
func refreshing(header, token string, more ...string) string {
	return "POST token\n" + header + "\n\n" + form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, more...)
}

func asked(endpoint, header, token string, more ...string) string {
	return "POST " + endpoint + "\n" + header + "\n\n" + form(url.Values{"token": {token}}, more...)
}

// fields reads the form of a page, filled in with nothing: its path and what is
// hidden in it.
func (b *browser) fields(page *reply, id string) (to string, hidden url.Values) {
	b.t.Helper()
	m := formTag.FindStringSubmatch(page.body)
	if m == nil || m[1] != id {
		b.t.Fatalf("want form %s on this page (%d):\n%s", id, page.status, page.body)
	}
	hidden = url.Values{}
	for _, tag := range inputTag.FindAllString(m[2], -1) {
		if n, v := attrName.FindStringSubmatch(tag), attrVal.FindStringSubmatch(tag); n != nil && v != nil && strings.Contains(tag, "hidden") {
			hidden.Set(n[1], unescape(v[1]))
		}
	}
	return unescape(action.FindStringSubmatch(m[0])[1]), hidden
}

func unescape(s string) string { return html.UnescapeString(s) }
