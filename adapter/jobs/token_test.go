package jobs_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/jobs"
	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
)

func TestA06_JobGetsAToken(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	a := e.post("/token", form("user", "alice", "purpose", "run 8812"))
	if a.status != 200 || !strings.HasPrefix(a.get("access_token"), "at-") || a.get("token_type") != "Bearer" || a.get("scope") != "openid profile" ||
		!strings.HasPrefix(a.get("grant_id"), "g_") || a.body["expires_in"] != 300.0 || a.body["expires_at"] != float64(e.clock().Add(5*time.Minute).Unix()) {
		t.Fatalf("answer %d %s", a.status, a.raw)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	for _, who := range []string{form("user", "ALICE"), form("grant_id", a.get("grant_id")), form("sub", "sub-alice"), form("email", "Alice@example.com")} {
		if b := e.post("/token", who); b.get("access_token") != a.get("access_token") {
			t.Errorf("%s: %s", who, b.raw)
		}
	}
	last := e.events[len(e.events)-1]
	first := map[string]any{}
	for _, ev := range e.events {
		if ev["event"] == "job_token" {
			first = ev
			break
		}
	}
	if last["event"] != "job_token" || first["job"] != "nightly-backup" || first["user"] != "alice" || first["scope"] != "openid profile" || first["purpose"] != "run 8812" {
		t.Errorf("event %v", first)
	}
}

func TestA06_AfterRestart(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	for range 3 {
		if a := e.post("/token", form("user", "alice")); a.status != 200 {
			t.Fatal(a.raw)
		}
		e.advance(time.Hour)
		e.stop()
		e.start()
	}
	if _, refreshes, replays := e.provider.Counts(); refreshes != 3 || replays != 0 {
		t.Errorf("%d refreshes, %d replays", refreshes, replays)
	}
}

func TestA07_FiftyAsksOneRefresh(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if a := e.post("/token", form("user", "alice")); a.status != 200 {
				t.Error(a.raw)
			}
		})
	}
	wg.Wait()
	if requests, _, replays := e.provider.Counts(); requests != 1 || replays != 0 {
		t.Errorf("%d requests, %d replays; want one", requests, replays)
	}
}

func TestA08_RevokedByTheUser(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	e.post("/token", form("user", "alice"))
	e.provider.SetStatus("sub-alice", "revoked")
	// What the gateway does with the realm's event.
	if err := e.vault.DropCached(context.Background(), "demo", "sub-alice", "session-1", "revoked"); err != nil {
		t.Fatal(err)
	}
	e.want(e.post("/token", form("user", "alice")), 400, "invalid_grant", "grant_status", "revoked", "reconsent_uri", site+"/backup")
	e.login("alice")
	if a := e.post("/token", form("user", "alice")); a.status != 200 {
		t.Error(a.raw)
	}
}

func TestDisabledUserHasLostNothing(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	e.provider.SetStatus("sub-alice", "user_disabled")
	e.want(e.post("/token", form("user", "alice")), 400, "invalid_grant", "grant_status", "user_disabled", "reconsent_uri", site+"/backup")
	e.provider.SetStatus("sub-alice", "")
	e.advance(time.Hour)
	if a := e.post("/token", form("user", "alice")); a.status != 200 {
		t.Error(a.raw)
	}
}

func TestScopes(t *testing.T) {
	rule := nightly()
	rule.Scopes = append(rule.Scopes, "mail")
	e := newEnv(t, rule)
	e.login("alice")
	for scope, want := range map[string]struct {
		status int
		code   string
		rule   string
		scope  string
	}{
		"":               {200, "", "", "openid profile"},
		"openid":         {200, "", "", "openid"},
		"profile openid": {200, "", "", "openid profile"},
		"mail":           {400, "invalid_scope", "", ""},
		"offline_access": {403, "access_denied", "nightly-backup/scopes", ""},
		"openid admin":   {403, "access_denied", "nightly-backup/scopes", ""},
	} {
		a := e.post("/token", form("user", "alice", "scope", scope))
		if a.status != want.status || a.get("error") != want.code || a.get("rule") != want.rule || a.get("scope") != want.scope {
			t.Errorf("scope %q: %d %s", scope, a.status, a.raw)
		}
	}
}

func TestRulesAreJudgedBeforeLookups(t *testing.T) {
	e := newEnv(t)
	e.login("bob")
	denied := func(part string) []string { return []string{"rule", "nightly-backup/" + part} }
	e.want(e.post("/token", form("user", "bob")), 403, "access_denied", denied("users")...)
	e.want(e.post("/token", form("user", "nobody")), 403, "access_denied", denied("users")...)
	e.want(e.post("/token", form("sub", "sub-bob")), 403, "access_denied", denied("users")...)
	e.want(e.post("/token", form("sub", "sub-nobody")), 403, "access_denied", denied("users")...)
	e.want(e.post("/token", form("grant_id", "g_nothing")), 403, "access_denied", denied("users")...)
	e.want(e.post("/token", form("user", "alice", "provider", "google")), 403, "access_denied", denied("provider")...)
	e.want(e.post("/token", form("user", "alice", "site", "http://localhost:9999")), 403, "access_denied", denied("site")...)
	e.want(e.post("/token", form("user", "alice", "provider", "demo", "site", site+"/")), 404, "no_grant", "consent_uri", site+"/backup")
	if requests, _, _ := e.provider.Counts(); requests != 0 {
		t.Errorf("%d requests to the provider", requests)
	}
}

func TestUsersOfARule(t *testing.T) {
	for users, want := range map[string]map[string]int{
		"*":                         {form("user", "alice"): 200, form("sub", "sub-bob"): 200, form("user", "nobody"): 404, form("grant_id", "g_no"): 404},
		"group=staff":               {form("user", "alice"): 403, form("user", "bob"): 200, form("user", "nobody"): 403, form("sub", "sub-bob"): 200},
		"sub=sub-bob":               {form("user", "bob"): 200, form("user", "alice"): 403, form("sub", "sub-bob"): 200, form("sub", "sub-alice"): 403},
		"email=alice@example.com":   {form("email", "ALICE@example.com"): 200, form("email", "bob@example.com"): 403, form("user", "alice"): 200},
		"alice group=staff":         {form("user", "alice"): 200, form("user", "bob"): 200, form("user", "carol"): 403, form("email", "carol@example.com"): 403},
		"":                          {form("user", "alice"): 403},
		"email=mallory@example.com": {form("email", "mallory@example.com"): 404, form("sub", "sub-mallory"): 403}, // hers is not verified
	} {
		rule := nightly()
		rule.Users = strings.Fields(users)
		e := newEnv(t, rule)
		e.login("alice")
		e.login("bob", "staff")
		e.login("carol")
		e.save(vault.Login{Provider: "demo", Sub: "sub-mallory", Username: "mallory", Email: "mallory@example.com"})
		for who, status := range want {
			if a := e.post("/token", who); a.status != status {
				t.Errorf("users %q, asked for %s: %d %s; want %d", users, who, a.status, a.raw, status)
			}
		}
	}
}

func TestForeignProvider(t *testing.T) {
	rule := nightly()
	rule.Site, rule.Users = "http://localhost:8083", []string{"*"}
	e := newEnv(t, rule)
	e.save(vault.Login{Provider: "google", Sub: "1234", Username: "alice", Email: "alice@example.com", EmailVerified: true})
	e.want(e.post("/token", form("user", "alice")), 400, "invalid_request")
	for _, who := range []string{form("sub", "1234"), form("email", "alice@example.com")} {
		if a := e.post("/token", who); a.status != 200 {
			t.Errorf("%s: %s", who, a.raw)
		}
	}
}

func TestAmbiguousGrant(t *testing.T) {
	rule := nightly()
	rule.Users = []string{"*"}
	e := newEnv(t, rule)
	for _, sub := range []string{"one", "two"} {
		e.save(vault.Login{Provider: "demo", Sub: sub, Username: "alice"})
	}
	e.want(e.post("/token", form("user", "alice")), 400, "ambiguous_grant")
	if a := e.post("/token", form("sub", "one")); a.status != 200 {
		t.Error(a.raw)
	}
	// One of them was deleted and her name given to another person.
	e.provider.SetStatus("one", "user_deleted")
	if err := e.vault.DropCached(context.Background(), "demo", "one", "", "user_deleted"); err != nil {
		t.Fatal(err)
	}
	if a := e.post("/token", form("user", "alice")); a.status != 200 || !strings.HasPrefix(a.get("access_token"), "at-session-2-") {
		t.Error(a.raw)
	}
}

func TestProviderAway(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	down := vaulttest.Fault{Status: 503, Header: map[string]string{"Retry-After": "17"}}
	e.provider.Fail(down) // it says when to come back: nothing is sent before
	a := e.post("/token", form("user", "alice"))
	e.want(a, 503, "temporarily_unavailable")
	if got := a.header.Get("Retry-After"); got != "17" {
		t.Errorf("Retry-After %q", got)
	}
	e.provider.Fail(vaulttest.Fault{Status: 401, Body: `{"error":"invalid_client"}`})
	e.want(e.post("/token", form("user", "alice")), 503, "temporarily_unavailable")
	requests, _, _ := e.provider.Counts()
	e.want(e.post("/token", form("user", "alice")), 503, "temporarily_unavailable")
	if n, _, _ := e.provider.Counts(); n != requests {
		t.Error("a provider that does not take our client was asked again at once")
	}
	e.advance(2 * time.Minute)
	e.provider.Fail(vaulttest.Fault{Status: 400, Body: `{"error":"invalid_target"}`})
	e.want(e.post("/token", form("user", "alice", "resource", "https://files.example")), 400, "invalid_target")
}

func TestBadRequests(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	for name, body := range map[string]string{
		"nobody":              "",
		"two names":           form("user", "alice", "sub", "sub-alice"),
		"repeated":            "user=alice&user=alice",
		"repeated scope":      "user=alice&scope=openid&scope=profile",
		"malformed":           "user=%zz",
		"semicolon":           "user=alice;scope=openid",
		"min_ttl":             form("user", "alice", "min_ttl", "soon"),
		"negative min_ttl":    form("user", "alice", "min_ttl", "-1s"),
		"huge min_ttl":        form("user", "alice", "min_ttl", "99999999999999"),
		"purpose with a line": form("user", "alice", "purpose", "a\nb"),
		"long purpose":        form("user", "alice", "purpose", strings.Repeat("x", 257)),
	} {
		if a := e.post("/token", body); a.status != 400 || a.get("error") != "invalid_request" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	e.want(e.post("/token", form("user", "alice", "resource", "files")), 400, "invalid_target")
	e.want(e.post("/token?scope=openid", form("user", "alice")), 400, "invalid_request")
	e.want(e.post("/token", form("user", strings.Repeat("a", 64<<10))), 413, "invalid_request")
	e.want(e.post("/nothing", ""), 404, "not_found")
	e.want(e.get("/token", ""), 405, "invalid_request")
	for _, ttl := range []string{"60s", "90", "2m"} {
		if a := e.post("/token", form("user", "alice", "min_ttl", ttl)); a.status != 200 {
			t.Errorf("min_ttl %s: %s", ttl, a.raw)
		}
	}
	r := e.request(http.MethodPost, "/token", `{"user":"alice"}`)
	r.Header.Set("Content-Type", "application/json")
	e.want(e.do(r), 400, "invalid_request")
}

func TestBrowsersAreRefused(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	for _, header := range []string{"Origin", "Sec-Fetch-Site"} {
		for _, value := range []string{"http://localhost:8081", "same-origin", "none", ""} {
			r := e.request(http.MethodPost, "/token", form("user", "alice"))
			r.Header[header] = []string{value}
			e.want(e.do(r), 403, "access_denied")
		}
	}
}

func TestAuthentication(t *testing.T) {
	odd := nightly()
	odd.Name, odd.Secret = "odd job", "100%+ä:b"
	e := newEnv(t, nightly(), odd)
	e.login("alice")
	for name, c := range map[string]struct {
		job, secret string
		ok          bool
	}{
		"right":           {"nightly-backup", secret, true},
		"as curl sends":   {"odd job", "100%+ä:b", true},
		"form-encoded":    {"odd+job", "100%25%2B%C3%A4%3Ab", true},
		"wrong":           {"nightly-backup", "wrong", false},
		"empty":           {"nightly-backup", "", false},
		"unknown":         {"other", secret, false},
		"another's":       {"odd job", secret, false},
		"a prefix":        {"nightly-backup", secret[:5], false},
		"case of the job": {"Nightly-Backup", secret, false},
	} {
		r := e.request(http.MethodPost, "/token", form("user", "alice"))
		r.SetBasicAuth(c.job, c.secret)
		a := e.do(r)
		if c.ok && a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
		if !c.ok {
			e.want(a, 401, "invalid_client")
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s: WWW-Authenticate %q", name, a.header.Get("WWW-Authenticate"))
			}
		}
	}
	r := e.request(http.MethodPost, "/token", form("user", "alice"))
	r.Header.Del("Authorization")
	e.want(e.do(r), 401, "invalid_client")
}

func TestNothingSecretIsSaid(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	e.provider.Fail(vaulttest.Fault{Lose: true}, vaulttest.Fault{Status: 500}, vaulttest.Fault{Status: 400, Body: `{"error":"odd e30.leak.c2ln"}`})
	first := e.post("/token", form("user", "alice"))
	a := e.post("/token", form("user", "alice"))
	if a.status != 200 || first.status == 200 {
		t.Fatal(first.raw, a.raw)
	}
	r := e.request(http.MethodPost, "/token", form("user", "alice"))
	r.SetBasicAuth("nightly-backup", "wrong-secret")
	e.do(r)
	e.said.mu.Lock()
	said := e.said.String()
	e.said.mu.Unlock()
	if !strings.Contains(said, "job_token") || !strings.Contains(said, "job_refused") {
		t.Fatalf("events are missing: %s", said)
	}
	for _, word := range []string{a.get("access_token"), "e30.eyJ", secret, "wrong-secret", vaulttest.ClientSecret} {
		if strings.Contains(said, word) {
			t.Errorf("%q was said: %s", word, said)
		}
	}
	if strings.Contains(a.raw+first.raw, "e30.") {
		t.Error("an answer holds a refresh token")
	}
}

func TestNewChecksTheRules(t *testing.T) {
	v := newEnv(t).vault
	sites := []jobs.Site{{URL: site, Provider: "demo", Client: "portal", Local: true}, {URL: "https://b.example", Provider: "google", Client: "b"}}
	for name, c := range map[string]struct {
		sites []jobs.Site
		job   jobs.Job
		want  string
	}{
		"no name":         {sites, jobs.Job{Secret: "s", Site: site}, "name"},
		"no secret":       {sites, jobs.Job{Name: "j", Site: site}, "job j: option secret is missing"},
		"unknown site":    {sites, jobs.Job{Name: "j", Secret: "s", Site: "https://c.example"}, `"https://c.example" has no directive nightlatch: want one of http`},
		"no site of two":  {sites, jobs.Job{Name: "j", Secret: "s"}, "option site is missing"},
		"no sites at all": {nil, jobs.Job{Name: "j", Secret: "s"}, "no grants to use"},
		"wrong provider":  {sites, jobs.Job{Name: "j", Secret: "s", Site: site, Provider: "google"}, "has provider google"},
		"foreign name":    {sites, jobs.Job{Name: "j", Secret: "s", Site: "https://b.example", Users: []string{"alice"}}, "sub="},
		"empty group":     {sites, jobs.Job{Name: "j", Secret: "s", Site: site, Users: []string{"group="}}, "group="},
		"one site":        {sites[:1], jobs.Job{Name: "j", Secret: "s", Users: []string{"alice"}}, ""},
		"by provider":     {sites, jobs.Job{Name: "j", Secret: "s", Provider: "demo"}, ""},
		"slash at end":    {sites, jobs.Job{Name: "j", Secret: "s", Site: site + "/"}, ""},
	} {
		_, err := jobs.New(jobs.Config{Vault: v, Sites: c.sites, Jobs: []jobs.Job{c.job}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}
