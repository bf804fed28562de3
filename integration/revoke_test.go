package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestRevocationIsHeardAtOnce: what the realm ends, the vault and the sites of
// the same process stop serving at once, cached or not.
func TestRevocationIsHeardAtOnce(t *testing.T) {
	g := newGateway(t, strings.Replace(example(t), "\t\t\tusers alice\n", "\t\t\tusers alice\n\t\t\tmay revoke\n", 1))
	g.Start()
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8081/backup"))
	b.Login("alice", "alice-demo")
	b.Click(`form#consent [name="accept"]`)
	b.Wants("alice")

	r := g.Token("alice")
	if r.Code != 0 {
		t.Fatalf("before: %+v", r)
	}
	token := strings.TrimSpace(r.Stdout)
	whoami(t, g, token)

	req, err := http.NewRequest(http.MethodPost, g.URL("http://127.0.0.1:8082/revoke"), strings.NewReader(url.Values{"user": {"alice"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("nightly-backup", "backup-demo")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("revoking: %d", resp.StatusCode)
	}

	if r := g.Token("alice"); r.Code != 3 || r.Stdout != "" || !strings.Contains(r.Stderr, g.URL("http://localhost:8081/backup")) {
		t.Errorf("a job after the revocation: %+v", r)
	}
	if resp, body := get(t, g.URL("http://localhost:8081/api/whoami"), http.Header{"Authorization": {"Bearer " + token}}); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the app still takes the token: %d %s", resp.StatusCode, body)
	}
	// The person's browser session is no grant: it lives on. The next visit of an
	// offline path leads to a new grant (A08); so soon after the first one, which
	// was taken back at once, it asks before it tries again.
	b.Open(g.URL("http://localhost:8081/orders"))
	b.Wants("alice")
	b.Open(g.URL("http://localhost:8081/backup"))
	b.Click(`form#resume [name="again"]`)
	if b.Has(`form#consent [name="accept"]`) {
		b.Click(`form#consent [name="accept"]`)
	}
	if want := g.URL("http://localhost:8081/backup"); b.URL() != want {
		t.Fatalf("the browser ended on %s", b.URL())
	}
	if r := g.Token("alice"); r.Code != 0 {
		t.Errorf("a job after the new grant: %+v", r)
	}
}

// administer sends a request to the realm's administration as its administrator.
func (g *gateway) administer(method, path, body string) string {
	g.t.Helper()
	send := func(req *http.Request, err error) string {
		g.t.Helper()
		if err != nil {
			g.t.Fatal(err)
		}
		resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
		if err != nil {
			g.t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 300 {
			g.t.Fatalf("%s %s: %d %v %s", req.Method, req.URL, resp.StatusCode, err, answer)
		}
		return string(answer)
	}
	form := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {"admin-demo"}}
	req, err := http.NewRequest(http.MethodPost, g.URL("http://localhost:8080/realms/demo/protocol/openid-connect/token"), strings.NewReader(form.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(send(req, err)), &token); err != nil {
		g.t.Fatal(err)
	}
	if req, err = http.NewRequest(method, g.URL("http://localhost:8080/admin/realms/demo"+path), strings.NewReader(body)); err == nil {
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		req.Header.Set("Content-Type", "application/json")
	}
	return send(req, err)
}

// clientPath is where the administration has a client.
func (g *gateway) clientPath(clientID string) string {
	g.t.Helper()
	var found []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(g.administer(http.MethodGet, "/clients?clientId="+clientID, "")), &found); err != nil || len(found) != 1 {
		g.t.Fatalf("looking for client %s: %v, %d found", clientID, err, len(found))
	}
	return "/clients/" + found[0].ID
}

// TestAnAdministratorsEndIsHeardAtOnce: what an administrator ends for a whole
// client or the whole realm, jobs, bearers and browser sessions lose at once, and
// nothing more than that.
func TestAnAdministratorsEndIsHeardAtOnce(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	portal := g.clientPath("portal")
	now := func() string { return fmt.Sprintf(`{"notBefore":%d}`, time.Now().Unix()) }
	for _, c := range []struct {
		name, method, path string
		body               func() string
		session            bool   // whether the browser's session lives on
		status             string // that the job is told
		undo               string // brings the same grant back
	}{
		{"the client's offline sessions are revoked", http.MethodDelete, portal + "/offline-sessions", nil, true, "revoked", ""},
		{"the client is disabled", http.MethodPut, portal, func() string { return `{"enabled":false}` }, false, "", `{"enabled":true}`},
		{"the client's not-before", http.MethodPut, portal, now, false, "suspended", ""},
		{"the realm's not-before", http.MethodPut, "", now, false, "suspended", ""},
		{"logout of the whole realm", http.MethodPost, "/logout-all", nil, false, "suspended", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			session := g.login("alice", "alice-demo", func() {})
			var token string
			alive := func() (job, bearer, browser bool) {
				t.Helper()
				r := g.Token("alice")
				if r.Code == 0 {
					token = strings.TrimSpace(r.Stdout)
				}
				if c.status != "" && r.Code != 0 && !strings.Contains(r.Stderr, c.status) {
					t.Errorf("the job is not told %q: %+v", c.status, r)
				}
				with := func(header http.Header) bool {
					resp, _ := get(t, g.URL("http://localhost:8081/api/whoami"), header)
					return resp.StatusCode == http.StatusOK
				}
				return r.Code == 0, with(http.Header{"Authorization": {"Bearer " + token}}), with(http.Header{"Cookie": {session}})
			}
			if job, bearer, browser := alive(); !job || !bearer || !browser {
				t.Fatalf("before: job %v, bearer %v, browser %v", job, bearer, browser)
			}
			// A not-before is told in seconds: what is of this very second is not of before.
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
			body := ""
			if c.body != nil {
				body = c.body()
			}
			g.administer(c.method, c.path, body)
			if job, bearer, browser := alive(); job || bearer || browser != c.session {
				t.Errorf("after it: job %v, bearer %v, browser %v, want the browser %v", job, bearer, browser, c.session)
			}
			if c.undo != "" {
				g.administer(c.method, c.path, c.undo)
				if r := g.Token("alice"); r.Code != 0 {
					t.Errorf("it was taken back, and the grant is lost: %+v", r)
				}
			}
		})
	}
}
