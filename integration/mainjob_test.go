package integration

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestMainJob is the product's one sentence: a person logs in with a browser,
// leaves, and a job still gets a token, also after the machine lost power.
func TestMainJob(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	b := newBrowser(t)

	// A01, A03: a secured address of the app leads to the login and back.
	b.Open(g.URL("http://localhost:8081/customer-portal/secured?tab=orders&scope=offline_access"))
	if !strings.HasPrefix(b.URL(), g.URL("http://localhost:8080/realms/demo/")) {
		t.Fatalf("the login is at %s", b.URL())
	}
	b.Login("alice", "alice-demo")

	// O14: a link cannot make a grant unseen.
	b.Wants("Offline")
	b.Shot("consent")
	b.Click(`form#consent [name="accept"]`)
	if want := g.URL("http://localhost:8081/customer-portal/secured?tab=orders"); b.URL() != want {
		t.Fatalf("the browser ended on %s, want %s", b.URL(), want)
	}
	b.Wants("alice")
	b.Shot("portal")

	// Consent is asked once.
	b.Open(g.URL("http://localhost:8081/backup"))
	if want := g.URL("http://localhost:8081/backup"); b.URL() != want {
		t.Fatalf("a second offline path led to %s", b.URL())
	}

	// The person leaves.
	b.Open(g.URL("http://localhost:8081/.nightlatch/logout"))
	b.Shot("logout")
	b.Click(`form#logout button[type="submit"], form#logout button:not([type])`)
	b.Open(g.URL("http://localhost:8081/"))
	if !b.Has("form#login") {
		t.Fatalf("after logging out the portal shows %s without a login", b.URL())
	}

	// A06: the job gets a token, before and after kill -9.
	first := g.Token("alice")
	if first.Code != 0 || strings.Count(first.Stdout, "\n") != 1 || first.Stderr != "" {
		t.Fatalf("grants token: %+v", first)
	}
	whoami(t, g, strings.TrimSpace(first.Stdout))
	g.Kill()
	g.Start()
	again := g.Token("alice")
	if again.Code != 0 {
		t.Fatalf("grants token after kill -9: %+v", again)
	}
	whoami(t, g, strings.TrimSpace(again.Stdout))

	list := g.Run(backup, "grants", "list")
	if list.Code != 0 || !strings.Contains(list.Stdout, "alice") {
		t.Fatalf("grants list: %+v", list)
	}
	for _, secret := range []string{strings.TrimSpace(first.Stdout), strings.TrimSpace(again.Stdout), "backup-demo", "alice-demo\""} {
		if strings.Contains(g.out.String(), secret) {
			t.Errorf("the log holds a secret")
		}
	}
}

// whoami: the token opens the app's API as alice.
func whoami(t *testing.T, g *gateway, token string) {
	t.Helper()
	resp, body := get(t, g.URL("http://localhost:8081/api/whoami"), http.Header{"Authorization": {"Bearer " + token}})
	var who struct{ Sub, Username, Scope string }
	if err := json.Unmarshal([]byte(body), &who); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("whoami: %d %s", resp.StatusCode, body)
	}
	if who.Username != "alice" || who.Sub == "" || !strings.Contains(who.Scope, "openid") {
		t.Fatalf("whoami says %s", body)
	}
}

// TestNoRole: bob uses the portal; the page at an offline path says what he
// lacks and lets him go on (A04, O11).
func TestNoRole(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8081/orders?x=1"))
	b.Login("bob", "bob-demo")
	if want := g.URL("http://localhost:8081/orders?x=1"); b.URL() != want {
		t.Fatalf("the browser ended on %s, want %s", b.URL(), want)
	}
	b.Wants("bob")
	b.Open(g.URL("http://localhost:8081/backup"))
	b.Wants("offline_access")
	b.Wants("Continue without background access")
	b.Shot("refused")
	// Remembered: no loop, the same page at once.
	b.Open(g.URL("http://localhost:8081/backup"))
	b.Wants("offline_access")
	b.Open(g.URL("http://localhost:8081/orders"))
	b.Wants("bob")
	if r := g.Token("bob"); r.Code != 77 || r.Stdout != "" {
		t.Fatalf("a user outside the job's rule: %+v", r)
	}
}

// TestDecline: a person who declines reaches the app all the same.
func TestDecline(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8081/backup/now"))
	b.Login("alice", "alice-demo")
	b.Click(`form#consent [name="cancel"]`)
	b.Wants("Continue without background access")
	b.Shot("declined")
	if r := g.Token("alice"); r.Code != 4 {
		t.Fatalf("a job asks for a user without a grant: %+v", r)
	}
	b.Open(g.URL("http://localhost:8081/"))
	b.Wants("alice")
}
