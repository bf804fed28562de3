package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/nightlatch/nightlatch/integration/formlogin"
)

// answerOf sends a request; headers come in pairs.
func answerOf(t *testing.T, method, address string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// serviceToken is an access token of the realm's client reports for a site.
func (g *gateway) serviceToken(site string) string {
	g.t.Helper()
	resp, err := http.PostForm("http://"+g.realm+"/realms/demo/protocol/openid-connect/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"reports"}, "client_secret": {"reports-demo"}, "resource": {site},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		g.t.Fatalf("%d: %v", resp.StatusCode, err)
	}
	return answer.AccessToken
}

// login is the Cookie header of somebody who logged in at a path of the site, with
// the password that the demo's people have.
func (g *gateway) login(user, path string) string {
	g.t.Helper()
	cookies, err := formlogin.Login(g.t.Context(), "http://"+g.site+path, user, user+"-demo")
	if err != nil {
		g.t.Fatal(err)
	}
	var pairs []string
	for _, c := range cookies {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// TestAuthenticationProvider: Caddy's handler authentication lets in by the
// sessions and bearer tokens of a site, within its rules, redirects nobody, and
// goes with http_basic.
func TestAuthenticationProvider(t *testing.T) {
	g := newGateway(t)
	alone, paired := freeAddr(t), freeAddr(t)
	const users = "user alice {\n\tpassword alice-demo\n}\nuser bob {\n\tpassword bob-demo\n}"
	config := strings.NewReplacer("ALONE", alone, "PAIRED", paired, "SITE", g.site).Replace(`nightlatch http://SITE {
		public /open /own
		deny user bob
	}
	nightlatch_validate /own http://SITE
	respond "site {http.auth.user.name}"
}
http://ALONE {
	nightlatch_validate http://SITE
	respond "alone {http.auth.user.id} {http.auth.user.name} {http.auth.user.claims.azp} [{http.request.header.Cookie}] [{http.request.header.X-Forwarded-User}]"
}
http://PAIRED {
	nightlatch_validate
	respond paired`)
	if err := g.load(users, config, func(config string) string {
		// What a Caddyfile cannot say: two providers in one handler.
		hash, err := bcrypt.GenerateFromPassword([]byte("carol-demo"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		both := strings.Replace(config, `"nightlatch":{"challenge":true}`,
			`"nightlatch":{"site":"http://`+g.site+`"},"http_basic":{"accounts":[{"username":"carol","password":"`+string(hash)+`"}]}`, 1)
		if both == config {
			t.Fatalf("the handler is not there: %s", config)
		}
		return both
	}); err != nil {
		t.Fatal(err)
	}
	alice, bob, token := g.login("alice", "/"), g.login("bob", "/"), g.serviceToken("http://"+g.site)
	page := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	for name, c := range map[string]struct {
		at     string
		header []string
		status int
		want   string // in the answer
	}{
		"nobody":                 {alone, nil, 401, ""},
		"nobody in a browser":    {alone, page, 401, ""},
		"a session":              {alone, []string{"Cookie", alice + "; own=1", "X-Forwarded-User", "admin"}, 200, " alice "},
		"its cookie stays here":  {alone, []string{"Cookie", alice + "; own=1"}, 200, "[own=1]"},
		"no identity of theirs":  {alone, []string{"Cookie", alice, "X-Forwarded-User", "admin"}, 200, "[] []"},
		"a token":                {alone, []string{"Authorization", "Bearer " + token}, 200, " service-account-reports reports "},
		"a forged token":         {alone, []string{"Authorization", "Bearer " + token[:len(token)-4] + "AAAA"}, 401, ""},
		"another's token":        {alone, []string{"Authorization", "Bearer " + g.serviceToken("https://other.example.com")}, 401, ""},
		"whom a rule leaves out": {alone, []string{"Cookie", bob}, 401, ""},
		"an old cookie":          {alone, []string{"Cookie", strings.Repeat("x", 200)}, 401, ""},

		"behind the site's own handler": {g.site + "/own", []string{"Cookie", alice}, 200, "site alice"},
		"nobody behind it":              {g.site + "/own", page, 401, ""},
		"beside http_basic":             {paired, []string{"Cookie", alice}, 200, "paired"},
		"http_basic beside it":          {paired, []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("carol:carol-demo"))}, 200, "paired"},
		"neither":                       {paired, []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("carol:wrong"))}, 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := answerOf(t, http.MethodGet, "http://"+c.at, c.header...)
			if resp.StatusCode != c.status || !strings.Contains(body, c.want) {
				t.Errorf("%d %q, want %d with %q", resp.StatusCode, body, c.status, c.want)
			}
			if resp.Header.Get("Location") != "" || len(resp.Header["Set-Cookie"]) > 0 {
				t.Errorf("it redirects or sets cookies: %v", resp.Header)
			}
			challenge := resp.Header.Get("WWW-Authenticate")
			if want := map[string]string{alone: "Bearer", paired: "Basic", g.site + "/own": "Bearer"}[c.at]; c.status == 401 && !strings.HasPrefix(challenge, want) || c.status == 200 && challenge != "" {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
		})
	}
}

// TestAuthenticationProviderOfWhichSite: a start says which sites there are.
func TestAuthenticationProviderOfWhichSite(t *testing.T) {
	g := newGateway(t)
	two := g.guarded() + "\n}\nhttp://" + freeAddr(t) + " {\n\tnightlatch http://two.example.com\n}\nhttp://" + freeAddr(t) + " {\n\t"
	for name, c := range map[string]struct{ site, want string }{
		"none":    {"nightlatch_validate", "no site has nightlatch"},
		"which":   {two + "nightlatch_validate", "want the address of a site: one of "},
		"unknown": {two + "nightlatch_validate https://three.example.com", "https://three.example.com has no nightlatch: want one of "},
	} {
		t.Run(name, func(t *testing.T) {
			if err := g.load("", c.site); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
