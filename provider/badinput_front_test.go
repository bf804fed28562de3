package provider_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/integration/openredirect"
	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/user"
)

const unregistered = "400 page: redirect_uri is not registered for this application: it must equal a registered one, byte by byte."

func TestBadInput01_RedirectURI(t *testing.T) {
	w := strangers(t)
	b := w.alice() // logged in: nothing but the address stands in the way
	table := []exact{{"as registered", asking(), "303 https://app.test/callback code iss session_state state=S1"}}
	for _, uri := range []string{
		callback + "/", "https://app.test/CALLBACK", "https://app.test:8443/callback", callback + "?x=1", callback + "%2f..", callback + "#f",
		"https://app.test@evil.test/callback", "https://app.test.evil.test/callback", "http://app.test/callback",
	} {
		table = append(table, exact{uri, asking("redirect_uri", uri), unregistered})
	}
	answers(t, b.wire, table)

	good, _ := url.Parse(callback)
	for _, uri := range openredirect.Payloads(good, "evil.test") {
		got := b.wire(asking("redirect_uri", uri))
		if said := got.says(); said != unregistered {
			t.Errorf("redirect_uri %q: %s", uri, said)
		}
		if strings.Contains(got.body, "evil.test") {
			t.Errorf("redirect_uri %q is on the page", uri)
		}
	}
	if n := w.codes(); n != 2 { // of the login, and of the first case
		t.Errorf("%d codes were made", n)
	}
}

func TestBadInput02_LoopbackPorts(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	cli := func(uri string) string { return asking("client_id", "cli", "redirect_uri", uri) }
	answers(t, b.wire, []exact{
		{"as registered", cli("http://127.0.0.1/cb"), "303 http://127.0.0.1/cb code iss session_state state=S1"},
		{"another port", cli("http://127.0.0.1:53123/cb"), "303 http://127.0.0.1:53123/cb code iss session_state state=S1"},
		{"another port, IPv6", cli("http://[::1]:53123/cb"), "303 http://[::1]:53123/cb code iss session_state state=S1"},
		{"another path", cli("http://127.0.0.1:53123/other"), unregistered},
		{"https", cli("https://127.0.0.1:53123/cb"), unregistered},
		{"another loopback host", cli("http://localhost:53123/cb"), unregistered},
		{"a port that is none", cli("http://127.0.0.1:0/cb"), unregistered},
		{"a port that is somebody", cli("http://127.0.0.1:53123@evil.test/cb"), unregistered},
		// RFC 8252 §7.3 is about native apps, which are public (§8.4).
		{"a confidential client", asking("client_id", "other", "redirect_uri", "http://127.0.0.1:53123/cb"), unregistered},
		{"a confidential client, as registered", asking("client_id", "other", "redirect_uri", "http://127.0.0.1/cb"), "303 http://127.0.0.1/cb code iss session_state state=S1"},
	})
}

// Dynamic registration is not there. What it would refuse a configuration is
// refused.
func TestBadInput03_Registration(t *testing.T) {
	w := strangers(t)
	answers(t, w.wire, []exact{{
		"no endpoint", "POST /realms/demo/clients-registrations/openid-connect\nContent-Type: application/json\n\n" + `{"redirect_uris":["javascript:alert(1)"]}`,
		"404 page: There is no such page here.",
	}})
	config := w.wire("GET /realms/demo/.well-known/openid-configuration").ok()
	if config.json["registration_endpoint"] != nil {
		t.Error("discovery names a registration endpoint")
	}
	for uri, why := range map[string]string{
		"javascript:alert(1)": "private scheme", "data:text/html,x": "private scheme", "https://rp.test/*": "*", "https://rp.test/cb#f": "fragment",
		"myapp:/cb": "private scheme", "/cb": "not absolute", "https://": "host", "https://a@rp.test/cb": "user name", "https://rp.test/a b": "character",
	} {
		for kind, c := range map[string]client.Client{
			" redirect_uris": {RedirectURIs: []string{uri}}, "post_logout_redirect_uris": {PostLogoutRedirectURIs: []string{uri}},
		} {
			c.ClientID = "new"
			err := w.provider.Declare(context.Background(), provider.Declaration{
				Settings: w.settings, Clients: []provider.DeclaredClient{{Secret: "s", Client: c}},
			})
			if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "client new") || !strings.Contains(err.Error(), kind) {
				t.Errorf("%s %s: %v, want an error that names client, %s and %q", kind, uri, err, kind, why)
			}
		}
	}
	if page := w.wire(asking("client_id", "new")); page.status != http.StatusBadRequest {
		t.Error("the client is there")
	}
}

// The adapter's side is TestBadInput04_MixUp there.
func TestBadInput04_Issuer(t *testing.T) {
	w := strangers(t)
	w.editClient("reports", func(c *client.Client) { c.ConsentRequired = true })
	b := w.browser()
	page, _ := b.open("GET", issuer+"/protocol/openid-connect/auth?"+form(authorization()), nil)
	page, _ = b.submit(page, "login", credentials("alice", "alice-pw"))
	_, left := b.submit(page, "consent", url.Values{"cancel": {"yes"}})
	if got, want := spell(t, left.String()), "https://app.test/callback error=access_denied error_description=the user declined iss state=S1"; got != want {
		t.Errorf("declined: %s, want %s", got, want)
	}
	page, _ = b.open("GET", issuer+"/protocol/openid-connect/auth?"+form(authorization()), nil)
	_, left = b.submit(page, "consent", url.Values{"accept": {"yes"}})
	if got, want := spell(t, left.String()), "https://app.test/callback code iss session_state state=S1"; got != want {
		t.Errorf("allowed: %s, want %s", got, want)
	}
	if w.wire("GET /realms/demo/.well-known/openid-configuration").ok().json["authorization_response_iss_parameter_supported"] != true {
		t.Error("discovery does not say that iss is sent")
	}
}

func TestBadInput05_UnknownClientAndScope(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	answers(t, b.wire, []exact{
		{"unknown client", asking("client_id", "nope"), "400 page: This application is not known here: no client has this client_id."},
		{"no client", asking("client_id", ""), "400 page: client_id is missing."},
		{"no redirect URI of two", asking("client_id", "cli", "redirect_uri", ""), "400 page: redirect_uri is missing, and this application has not exactly one registered."},
		{"no redirect URI of one", asking("redirect_uri", ""), "303 https://app.test/callback code iss session_state state=S1"},
		{
			"a header in the scope", asking("scope", "openid\r\nX: y"),
			"303 https://app.test/callback error=invalid_scope error_description=scope has a character that is not allowed iss state=S1",
		},
		{"a header in the state", asking("state", "S\r\nX: y"), "303 https://app.test/callback code iss session_state state=S\r\nX: y"},
		{"a header in the redirect URI", asking("redirect_uri", callback+"\r\nX: y"), unregistered},
	})
	if got := b.wire(asking("state", "S\r\nX: y")); got.header.Get("X") != "" || strings.Contains(got.header.Get("Location"), "\n") {
		t.Errorf("a header was injected: %v", got.header)
	}
}

func TestBadInput06_FormPost(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	for name, more := range map[string][]string{
		"an answer": nil, "an error": {"scope", "nonsense"},
	} {
		for _, state := range []string{`<script>alert(1)</script>`, `"><form action=//evil.test>`, "'-alert(1)-'", "</form><form action=//evil.test>"} {
			got := b.wire(asking(append(more, "response_mode", "form_post", "state", state)...))
			if said := got.says(); said != "200 page: One moment" {
				t.Errorf("%s: %s", name, said)
			}
			if n := strings.Count(got.body, "<form"); n != 1 || !strings.Contains(got.body, `<form method="post" action="`+callback+`">`) {
				t.Errorf("%s: %d forms:\n%s", name, n, got.body)
			}
			// One script, the page's own, by its hash.
			if n := strings.Count(got.body, "<script"); n != 1 || !strings.Contains(got.header.Get("Content-Security-Policy"), "; script-src 'sha256-") {
				t.Errorf("%s: %d scripts, policy %s", name, n, got.header.Get("Content-Security-Policy"))
			}
			if strings.Contains(got.body, state) {
				t.Errorf("%s: the state is not escaped:\n%s", name, got.body)
			}
			b.submitted(t, got, "state", state)
			b.submitted(t, got, "iss", issuer)
		}
	}
}

// submitted checks a hidden field of a form that submits itself.
func (b *browser) submitted(t *testing.T, page *reply, name, want string) {
	t.Helper()
	for _, tag := range inputTag.FindAllString(page.body, -1) {
		if n := attrName.FindStringSubmatch(tag); n != nil && n[1] == name {
			if got := unescape(attrVal.FindStringSubmatch(tag)[1]); got != want {
				t.Errorf("field %s is %q, want %q", name, got, want)
			}
			return
		}
	}
	t.Errorf("no field %s:\n%s", name, page.body)
}

// Every page of the realm. The pages of the adapter are in its own test; the
// account console's are in those of provider/account; the admin console,
// login-status-iframe.html and 3p-cookies are not there.
func TestBadInput07_PageHeaders(t *testing.T) {
	w := deviceWorld(t)
	w.editClient("reports", func(c *client.Client) { c.ConsentRequired = true })
	b := w.browser()
	seen := map[string]int{}
	shown := func(page *reply, left *url.URL) *reply {
		t.Helper()
		if left != nil {
			t.Fatalf("the browser left for %v", left)
		}
		seen[page.says()]++ // checks the headers
		return page
	}
	authorize := issuer + "/protocol/openid-connect/auth?" + form(authorization())
	login := shown(b.open("GET", authorize, nil))
	shown(b.submit(login, "login", credentials("alice", "wrong")))
	shown(b.submit(login, "login", url.Values{"csrf": {"x"}}))
	consent := shown(b.submit(login, "login", credentials("alice", "alice-pw")))
	shown(b.submit(consent, "consent", url.Values{"csrf": {"x"}}))
	d := w.device("reports", "openid")
	page := shown(b.open("GET", issuer+"/device", nil))
	shown(b.submit(page, "device", url.Values{"user_code": {"BBBB-BBBB"}}))
	page = shown(b.submit(page, "device", url.Values{"user_code": {d.text("user_code")}}))
	shown(b.submit(page, "consent", url.Values{"accept": {"yes"}}))
	denied := w.device("reports", "openid")
	page, _ = b.open("GET", issuer+"/device", nil)
	page, _ = b.submit(page, "device", url.Values{"user_code": {denied.text("user_code")}})
	shown(b.submit(page, "consent", url.Values{"cancel": {"yes"}}))
	page, _ = b.open("GET", issuer+"/device", nil)
	for range 20 {
		_, _ = b.submit(page, "device", url.Values{"user_code": {"BBBB-BBBB"}})
	}
	shown(b.submit(page, "device", url.Values{"user_code": {"BBBB-BBBB"}}))
	w.editClient("reports", func(c *client.Client) { c.ConsentRequired = false })
	shown(b.open("GET", authorize+"&response_mode=form_post", nil))
	logout := shown(b.open("GET", logoutURL(), nil))
	shown(b.submit(logout, "logout", url.Values{"csrf": {"x"}}))
	shown(b.submit(logout, "logout", nil))
	shown(b.open("GET", issuer+"/nothing", nil))
	shown(b.open("GET", issuer+"/resources/x.css", nil))
	account := shown(b.open("GET", accountURL, nil))
	b.submit(account, "login", url.Values{"username": {"alice"}, "password": {"alice-pw"}})
	shown(b.open("GET", accountURL, nil))
	w.backend.next.Store(1)
	shown(b.open("GET", authorize, nil))

	for page, times := range map[string]int{
		"200 page: Log in": 3,
		"200 page: These applications may act for you while you are away, also after you have logged out. Remove what you do not need any more.": 1,
		"200 page: Allow background access?": 1,
		"200 page: Allow access?":            1,
		"403 page: This form is not valid in this browser any more; go back to the application and begin again.": 3,
		"200 page: Connect a device": 2,
		"200 page: reports goes on by itself in a few seconds. You can close this page.": 1,
		"200 page: reports gets no access. You can close this page.":                     1,
		"429 page: Too many attempts were wrong; try again in 10 minutes. | 600":         1,
		"200 page: One moment": 1,
		"200 page: Log out?":   1,
		"200 page: This browser's session has ended. You can close this page.":   1,
		"404 page: There is no such page here.":                                  2,
		"503 page: The request could not be completed; send the same again. | 1": 1,
	} {
		if seen[page] != times {
			t.Errorf("%q was seen %d times, want %d", page, seen[page], times)
		}
		delete(seen, page)
	}
	if len(seen) > 0 {
		t.Errorf("pages that nobody expected: %v", seen)
	}
	for _, path := range []string{"account/nothing", "protocol/openid-connect/login-status-iframe.html", "protocol/openid-connect/3p-cookies/step1.html"} {
		if got := w.wire("GET /realms/demo/" + path).says(); got != "404 page: There is no such page here." {
			t.Errorf("%s: %s", path, got)
		}
	}
	style := w.wire("GET " + hrefs.FindStringSubmatch(login.body)[1])
	if style.status != 200 || style.header.Get("X-Content-Type-Options") != "nosniff" || style.header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("stylesheet: %d %v", style.status, style.header)
	}
}

// A form that leads on does so by GET, which repeats nothing (RFC 9700 §4.12).
func TestBadInput08_RedirectsAfterForms(t *testing.T) {
	w := deviceWorld(t)
	w.editClient("reports", func(c *client.Client) {
		c.ConsentRequired, c.PostLogoutRedirectURIs = true, []string{loggedOut}
	})
	b := w.browser()
	send := func(page *reply, name string, fill ...string) *reply {
		t.Helper()
		to, fields := b.fields(page, name)
		return b.wire("POST " + to + "\nOrigin: " + origin + "\n\n" + form(fields, fill...))
	}
	login, _ := b.open("GET", issuer+"/protocol/openid-connect/auth?"+form(authorization()), nil)
	got := send(login, "login", "username", "alice", "password", "alice-pw")
	if said, want := got.says(), "303 /realms/demo/login-actions/continue request"; said != want {
		t.Errorf("login: %s, want %s", said, want)
	}
	consent, _ := b.open("GET", origin+got.header.Get("Location"), nil)
	if said, want := send(consent, "consent", "accept", "yes").says(), "303 https://app.test/callback code iss session_state state=S1"; said != want {
		t.Errorf("consent: %s, want %s", said, want)
	}
	page, _ := b.open("GET", issuer+"/device", nil)
	if said, want := send(page, "device", "user_code", w.device("reports", "openid").text("user_code")).says(), "303 /realms/demo/login-actions/continue request"; said != want {
		t.Errorf("device: %s, want %s", said, want)
	}
	logout, _ := b.open("GET", logoutURL("client_id", "reports", "post_logout_redirect_uri", loggedOut, "state", "S1"), nil)
	if said, want := send(logout, "logout").says(), "303 https://app.test/bye state=S1"; said != want {
		t.Errorf("logout: %s, want %s", said, want)
	}
	answers(t, b.wire, []exact{
		{"an authorization request by POST", "POST auth\n\nclient_id=reports&scope=openid&state=S1", "303 ? client_id=reports scope=openid state=S1"},
		{"a logout by POST", "POST logout\n\nclient_id=reports&state=S1", "303 ? client_id=reports state=S1"},
		// It would end in the history of the browser.
		{"a secret by POST", "POST auth\n\nclient_id=reports&client_secret=s&redirect_uri=" + url.QueryEscape(callback), "303 https://app.test/callback error=invalid_request error_description=client_secret must not be in the URL, where logs keep it: send it in the body of a POST iss"},
		{"a secret at the logout", "POST logout\n\nclient_id=reports&client_secret=s", "400 page: client_secret must not be in the URL, where logs keep it: send it in the body of a POST."},
	})
}

// Nothing leads off but what is registered for the client that asks, and only if
// it proves who it is or the person says so.
func TestBadInput09_PostLogoutRedirect(t *testing.T) {
	w := strangers(t)
	w.editClient("reports", func(c *client.Client) { c.PostLogoutRedirectURIs = []string{loggedOut} })
	b := w.browser()
	mine := b.grant("alice", "reports", "openid").text("id_token")
	others := b.grant("", "other", "openid").text("id_token")
	const refused = "400 page: post_logout_redirect_uri is not registered for this application: it must equal a registered one, byte by byte."
	ask := func(more ...string) string { return "GET logout?" + form(url.Values{"state": {"S1"}}, more...) }

	good, _ := url.Parse(loggedOut)
	for _, uri := range append(openredirect.Payloads(good, "evil.test"), loggedOut+"?foo=bar", callback) {
		for name, more := range map[string][]string{"a hint": {"id_token_hint", mine}, "a client": {"client_id", "reports"}} {
			if said := b.wire(ask(append(more, "post_logout_redirect_uri", uri)...)).says(); said != refused {
				t.Fatalf("%s with %q: %s", name, uri, said)
			}
		}
		// Nobody says whose it is: the page asks, and leads nowhere.
		page := b.wire(ask("post_logout_redirect_uri", uri))
		if said := page.says(); said != "200 page: Log out?" {
			t.Fatalf("%q: %s", uri, said)
		}
	}
	parts := strings.Split(mine, ".")
	alien := newWorld(t).browser().grant("alice", "reports", "openid").text("id_token")
	answers(t, b.wire, []exact{
		{"another client's hint", ask("id_token_hint", others, "post_logout_redirect_uri", loggedOut), refused},
		{"another client's hint, and the client", ask("id_token_hint", others, "client_id", "reports", "post_logout_redirect_uri", loggedOut), "400 page: client_id is not the client of id_token_hint."},
		{"alg none", ask("id_token_hint", "eyJhbGciOiJub25lIn0."+parts[1]+".", "post_logout_redirect_uri", loggedOut), "200 page: Log out?"},
		{"a foreign signature", ask("id_token_hint", alien, "post_logout_redirect_uri", loggedOut), "200 page: Log out?"},
		{"no signature", ask("id_token_hint", parts[0]+"."+parts[1]+".", "post_logout_redirect_uri", loggedOut), "200 page: Log out?"},
		{"a foreign signature, and the client", ask("id_token_hint", alien, "client_id", "reports", "post_logout_redirect_uri", loggedOut), "200 page: Log out?"},
	})
	// What the page carries on leads nowhere either: an unproven hint is none.
	page, _ := b.open("GET", origin+"/realms/demo/protocol/openid-connect/"+strings.TrimPrefix(ask("id_token_hint", alien, "post_logout_redirect_uri", "https://evil.test/"), "GET "), nil)
	to, fields := b.fields(page, "logout")
	if b.silently("reports", "openid").Get("code") == "" {
		t.Fatal("alice is logged out")
	}
	if said := b.wire("POST " + to + "\n\n" + fields.Encode()).says(); said != "200 page: This browser's session has ended. You can close this page." {
		t.Errorf("confirmed: %s", said)
	}
	// Expired, but ours; the session that it is about has ended.
	w.advance(day)
	answers(t, b.wire, []exact{{"an expired hint", ask("id_token_hint", mine, "post_logout_redirect_uri", loggedOut), "303 https://app.test/bye state=S1"}})
}

func TestBadInput10_LogoutCSRF(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	for name, request := range map[string]string{
		"a link":            "GET logout\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document",
		"an image":          "GET logout\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors\nSec-Fetch-Dest: image",
		"a link with state": "GET logout?state=S1&client_id=reports\nSec-Fetch-Site: cross-site",
	} {
		if said := b.wire(request).says(); said != "200 page: Log out?" {
			t.Errorf("%s: %s", name, said)
		}
	}
	page, _ := b.open("GET", logoutURL(), nil)
	to, fields := b.fields(page, "logout")
	stranger := w.browser()
	stranger.grant("carol", "reports", "openid")
	theirs, _ := stranger.open("GET", logoutURL(), nil)
	_, stolen := stranger.fields(theirs, "logout")
	const invalid = "403 page: This form is not valid in this browser any more; go back to the application and begin again."
	answers(t, b.wire, []exact{
		{"a form of another site", "POST " + to + "\nOrigin: https://evil.test\nSec-Fetch-Site: cross-site\n\n" + fields.Encode(), "403 page: This form came from another site."},
		{"a form of a like-named site", "POST " + to + "\nOrigin: http://id.test.evil.test\n\n" + fields.Encode(), "403 page: This form came from another site."},
		{"no proof", "POST " + to + "\n\n", invalid},
		{"somebody else's proof", "POST " + to + "\n\n" + stolen.Encode(), invalid},
		{"by GET", "GET " + to + "?" + fields.Encode(), "405 invalid_request: method must be POST | POST"},
		{"by POST to the endpoint", "POST logout\nOrigin: https://evil.test\nSec-Fetch-Site: cross-site\n\n" + fields.Encode(), "303 ? csrf=" + fields.Get("csrf")},
	})
	if q := b.silently("reports", "openid"); q.Get("code") == "" {
		t.Fatalf("alice is logged out: %v", q)
	}
	answers(t, b.wire, []exact{{"the form itself", "POST " + to + "\nOrigin: null\n\n" + fields.Encode(), "200 page: This browser's session has ended. You can close this page."}})
	refused(t, b.silently("reports", "openid"), "login_required", "")
}

// The addresses that a realm hands out are configured. (There is no mail that
// resets a password.) At the door of the program such a request gets 421, see
// TestWrongHost; the adapter's side is TestBadInput11_Host there.
func TestBadInput11_Host(t *testing.T) {
	w := deviceWorld(t)
	b := w.alice()
	for _, headers := range []string{"Host: evil.test", "X-Forwarded-Host: evil.test\nX-Forwarded-Proto: ftp\nForwarded: host=evil.test\nX-Original-Host: evil.test"} {
		for _, request := range []string{
			"GET /realms/demo/.well-known/openid-configuration", "GET /.well-known/oauth-authorization-server/realms/demo", "GET /realms/demo", asking(),
			asking("scope", "nonsense"), "GET logout", "GET /realms/demo/device", "GET /realms/demo/nothing",
		} {
			plain, got := b.wire(request), b.wire(request+"\n"+headers)
			if strings.Contains(got.body+fmt.Sprint(got.header), "evil.test") || strings.Contains(got.body, "ftp:") {
				t.Errorf("%s with %q: %v\n%s", brief(request), headers, got.header, got.body)
			}
			if got.says() != plain.says() && !strings.Contains(request, "openid-configuration") {
				t.Errorf("%s with %q: %s, without: %s", brief(request), headers, got.says(), plain.says())
			}
		}
		r := parseWire(t, "POST auth/device\n"+basicReports+"\n"+headers+"\n\nscope=openid")
		if got := w.do(r).ok(); got.text("verification_uri") != issuer+"/device" {
			t.Errorf("verification_uri %s", got.text("verification_uri"))
		}
		token := w.wire("POST token\n" + basicReports + "\n" + headers + "\n\ngrant_type=client_credentials&scope=openid").ok()
		if token.claims()["iss"] != issuer {
			t.Errorf("iss %v", token.claims()["iss"])
		}
	}
}

func TestBadInput12_PromptNone(t *testing.T) {
	w := strangers(t)
	w.editClient("other", func(c *client.Client) { c.ConsentRequired = true })
	stranger, b := w.browser(), w.alice()
	answers(t, stranger.wire, []exact{
		{"nobody logged in", asking("prompt", "none"), "303 https://app.test/callback error=login_required error_description=nobody is logged in iss state=S1"},
		{"none and login", asking("prompt", "none login"), "303 https://app.test/callback error=invalid_request error_description=prompt none stands alone iss state=S1"},
		{"none and login, by form_post", asking("prompt", "none login", "response_mode", "form_post"), "200 page: One moment"},
		{"an unknown one", asking("prompt", "dance"), "303 https://app.test/callback error=invalid_request error_description=prompt dance is not supported iss state=S1"},
	})
	answers(t, b.wire, []exact{
		{"logged in", asking("prompt", "none"), "303 https://app.test/callback code iss session_state state=S1"},
		{"logged in too long ago", asking("prompt", "none", "max_age", "0"), "303 https://app.test/callback error=login_required error_description=nobody is logged in iss state=S1"},
		{"logged in, not consented", asking("prompt", "none", "client_id", "other"), "303 https://app.test/callback error=consent_required error_description=the user has not consented iss state=S1"},
	})
	w.editUser("alice", func(u *user.User) { u.DefaultRoles = false })
	answers(t, b.wire, []exact{{
		"the role is missing", asking("prompt", "none"),
		"303 https://app.test/callback error=access_denied error_description=offline access needs the role offline_access, which the user does not have iss state=S1",
	}})
}
