package provider_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/user"
)

// Until the redirect URI is proven, nothing goes there.
func TestAuthorizePages(t *testing.T) {
	w := newWorld(t)
	w.editClient("other", disable)
	for name, address := range map[string]string{
		"unknown client":           authURL("nobody", "openid"),
		"no client":                authURL("", "openid"),
		"disabled client":          authURL("other", "openid"),
		"unregistered redirect":    authURL("reports", "openid", "redirect_uri", "https://evil.test/callback"),
		"redirect with a suffix":   authURL("reports", "openid", "redirect_uri", callback+"/x"),
		"redirect with a query":    authURL("reports", "openid", "redirect_uri", callback+"?x=1"),
		"repeated client":          authURL("reports", "openid") + "&client_id=spa",
		"repeated redirect":        authURL("reports", "openid") + "&redirect_uri=" + url.QueryEscape(callback),
		"malformed encoding":       authURL("reports", "openid") + "&x=%zz",
		"a zero byte":              authURL("reports", "openid", "state", "a\x00b"),
		"a page of nobody's login": issuer + "/login-actions/authenticate?request=" + strings.Repeat("A", 22),
		"no request":               issuer + "/login-actions/continue",
	} {
		got, left := w.browser().open("GET", address, nil)
		if left != nil {
			t.Errorf("%s: went to %v", name, left)
			continue
		}
		if got.status != http.StatusBadRequest || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, got.status, got.header)
		}
		policy := got.header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", name, policy)
		}
	}
	if got := w.do(httptest.NewRequest(http.MethodDelete, issuer+"/protocol/openid-connect/auth", nil)); got.status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", got.status)
	}
	large := w.post("auth", "", "client_id", "reports", "state", strings.Repeat("x", 70<<10))
	if large.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", large.status)
	}
	for _, path := range []string{"/nothing", "/realms/other", "/realms/demo/nothing", "/realms/demo/resources/x.css", "/"} {
		if got := w.do(httptest.NewRequest(http.MethodGet, origin+path, nil)); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}

// Afterwards every error goes to the client, with state and iss.
func TestAuthorizeErrors(t *testing.T) {
	w := newWorld(t)
	w.editClient("other", func(c *client.Client) { c.StandardFlow = false })
	for _, tt := range []struct {
		name, client, code, words string
		more                      []string
	}{
		{"no response type", "reports", "invalid_request", "response_type", []string{"response_type", ""}},
		{"implicit", "reports", "unsupported_response_type", "code", []string{"response_type", "token"}},
		{"hybrid", "reports", "unsupported_response_type", "code", []string{"response_type", "code id_token"}},
		{"response mode", "reports", "invalid_request", "response_mode", []string{"response_mode", "jwt"}},
		{"flow switched off", "other", "unauthorized_client", "", nil},
		{"unknown scope", "reports", "invalid_scope", "nonsense", []string{"scope", "openid nonsense"}},
		{"malformed scope", "reports", "invalid_scope", "", []string{"scope", "a\"b"}},
		{"prompt", "reports", "invalid_request", "prompt", []string{"prompt", "dance"}},
		{"prompt none and more", "reports", "invalid_request", "none", []string{"prompt", "none login"}},
		{"max_age", "reports", "invalid_request", "max_age", []string{"max_age", "-1"}},
		{"resource", "reports", "invalid_target", "resource", []string{"resource", "here"}},
		{"request object", "reports", "request_not_supported", "", []string{"request", "e30.e30."}},
		{"request by reference", "reports", "request_uri_not_supported", "", []string{"request_uri", "https://x.test/"}},
		{"hint", "reports", "invalid_request", "id_token_hint", []string{"id_token_hint", "x"}},
		{"no challenge", "reports", "invalid_request", "PKCE", []string{"code_challenge", "", "code_challenge_method", ""}},
		{"no challenge of a public client", "spa", "invalid_request", "PKCE", []string{"code_challenge", "", "code_challenge_method", ""}},
		{"method without challenge", "reports", "invalid_request", "code_challenge", []string{"code_challenge", ""}},
		{"plain", "reports", "invalid_request", "S256", []string{"code_challenge_method", "plain"}},
		{"plain by default", "reports", "invalid_request", "S256", []string{"code_challenge_method", ""}},
		{"short challenge", "reports", "invalid_request", "code_challenge", []string{"code_challenge", "abc"}},
		{"long nonce", "reports", "invalid_request", "nonce", []string{"nonce", strings.Repeat("n", 5000)}},
		{"nobody logged in", "reports", "login_required", "", []string{"prompt", "none"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, left := w.browser().open("GET", authURL(tt.client, "openid", tt.more...), nil)
			if left == nil {
				t.Fatal("a page instead of an error for the client")
			}
			q := left.Query()
			if left.Fragment != "" {
				q, _ = url.ParseQuery(left.Fragment)
			}
			refused(t, q, tt.code, tt.words)
		})
	}
	if w.codes() != 0 {
		t.Error("a code was made")
	}

	t.Run("PKCE switched off", func(t *testing.T) {
		w.editClient("reports", func(c *client.Client) { c.RequirePKCE = false })
		w.editClient("spa", func(c *client.Client) { c.RequirePKCE = false })
		none := []string{"code_challenge", "", "code_challenge_method", ""}
		b := w.browser()
		q := b.authorize("alice", "reports", "openid", none...)
		w.post("token", "reports", "grant_type", "authorization_code", "code", q.Get("code"), "redirect_uri", callback).ok()
		refused(t, b.authorize("", "spa", "openid", none...), "invalid_request", "PKCE")
	})
}

func TestResponseModes(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	if q := b.authorize("alice", "reports", "openid", "state", "a b&c=d"); q.Get("state") != "a b&c=d" || q.Get("iss") != issuer || q.Get("session_state") == "" {
		t.Errorf("query: %v", q)
	}
	_, left := b.open("GET", authURL("reports", "openid", "response_mode", "fragment"), nil)
	q, err := url.ParseQuery(left.Fragment)
	if err != nil || left.RawQuery != "" || q.Get("code") == "" || q.Get("state") != "st" || q.Get("iss") != issuer {
		t.Errorf("fragment: %v", left)
	}
	page, left := b.open("GET", authURL("reports", "openid", "response_mode", "form_post", "state", `"><script>`), nil)
	if left != nil || page.status != http.StatusOK {
		t.Fatalf("form_post: %v", left)
	}
	if !strings.Contains(page.body, `action="`+callback+`"`) || !strings.Contains(page.body, `name="code"`) || strings.Contains(page.body, `"><script>`) ||
		!strings.Contains(page.body, "<noscript>") || !strings.Contains(page.header.Get("Content-Security-Policy"), "script-src 'sha256-") {
		t.Errorf("form_post: %v\n%s", page.header, page.body)
	}
	// The registered query stays.
	w.editClient("reports", func(c *client.Client) { c.RedirectURIs = []string{callback + "?a=b"} })
	if q := b.authorize("", "reports", "openid", "redirect_uri", callback+"?a=b"); q.Get("a") != "b" || q.Get("code") == "" {
		t.Errorf("registered query: %v", q)
	}
	if q := b.authorize("", "reports", "openid", "redirect_uri", ""); q.Get("a") != "b" || q.Get("code") == "" {
		t.Errorf("the only registered one: %v", q)
	}
	// As a POST.
	u, _ := url.Parse(authURL("reports", "openid", "redirect_uri", callback+"?a=b"))
	if _, left := b.open("POST", issuer+"/protocol/openid-connect/auth", u.Query()); left == nil || left.Query().Get("code") == "" {
		t.Errorf("POST: %v", left)
	}
}

func TestPrompt(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first := b.grant("alice", "reports", "openid").idClaims()
	w.advance(10 * time.Minute)
	if q := b.silently("reports", "openid"); q.Get("code") == "" {
		t.Errorf("prompt=none: %v", q)
	}
	for _, more := range [][]string{{"prompt", "login"}, {"prompt", "select_account"}, {"max_age", "600"}, {"max_age", "0"}} {
		page, left := b.open("GET", authURL("reports", "openid", more...), nil)
		if left != nil {
			t.Errorf("%v: single sign-on: %v", more, left)
			continue
		}
		_, left = b.submit(page, "login", url.Values{"username": {"alice"}, "password": {"alice-pw"}})
		if left == nil {
			t.Fatalf("%v: did not come back", more)
		}
		again := w.exchange("reports", left.Query().Get("code")).ok().idClaims()
		if again["auth_time"] == first["auth_time"] {
			t.Errorf("%v: auth_time did not move", more)
		}
		w.advance(10 * time.Minute)
	}
	if q := b.authorize("", "reports", "openid", "max_age", "601"); q.Get("code") == "" {
		t.Errorf("a recent login: %v", q)
	}
	refused(t, b.silently("reports", "openid", "max_age", "60"), "login_required", "")

	hint := b.grant("", "reports", "openid").text("id_token")
	if q := b.silently("reports", "openid", "id_token_hint", hint); q.Get("code") == "" {
		t.Errorf("hint of the same user: %v", q)
	}
	carol := w.browser()
	carol.grant("carol", "reports", "openid")
	refused(t, carol.silently("reports", "openid", "id_token_hint", hint), "login_required", "")
	if page, _ := carol.open("GET", authURL("reports", "openid", "id_token_hint", hint), nil); page == nil {
		t.Error("hint of another user: no login page")
	}
	page, _ := w.browser().open("GET", authURL("reports", "openid", "login_hint", `alice"><b>`), nil)
	if !strings.Contains(page.body, `value="alice&#34;&gt;&lt;b&gt;"`) {
		t.Error("login_hint is not filled in, or not escaped")
	}
}

// Single sign-on has the limits of the realm.
func TestSingleSignOnEnds(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.grant("alice", "reports", "openid")
	for range 19 { // each use moves the idle limit
		w.advance(29 * time.Minute)
		if q := b.silently("reports", "openid"); q.Get("code") == "" {
			t.Fatalf("in use: %v", q)
		}
	}
	idle := w.browser()
	idle.grant("alice", "reports", "openid")
	w.advance(31 * time.Minute)
	refused(t, idle.silently("reports", "openid"), "login_required", "")
	w.advance(30 * time.Minute) // ten hours and a bit in all
	refused(t, b.silently("reports", "openid"), "login_required", "")

	b = w.browser()
	b.grant("alice", "reports", "openid")
	w.editUser("alice", func(u *user.User) { u.Enabled = false })
	refused(t, b.silently("reports", "openid"), "login_required", "")
	w.editUser("alice", func(u *user.User) { u.Enabled, u.NotBefore = true, w.clock().UnixMilli()+1 })
	refused(t, b.silently("reports", "openid"), "login_required", "")
}
