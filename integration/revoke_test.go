package integration

import (
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
