package jobs_test

import (
	"context"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/adapter/jobs"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

// TestAJobNeedsThePersonsWord: the right of a job is the grant ∩ the person's
// consent for that job ∩ the operator's rule.
func TestAJobNeedsThePersonsWord(t *testing.T) {
	rule := func(name string, scopes ...string) jobs.Job {
		j := nightly()
		j.Name, j.Scopes = name, scopes
		return j
	}
	for name, c := range map[string]struct {
		rule    []string
		consent vault.Jobs
		ask     string
		status  int
		says    string // the scope, or the error
	}{
		"allowed":                          {[]string{"openid", "profile"}, vault.Jobs{"nightly-backup": {"openid", "profile"}}, "", 200, "openid profile"},
		"nobody was asked":                 {[]string{"openid"}, vault.Jobs{}, "", 404, "no_grant"},
		"another job was allowed":          {[]string{"openid"}, vault.Jobs{"report": {"openid"}}, "", 404, "no_grant"},
		"allowed less than the rule":       {[]string{"openid", "profile"}, vault.Jobs{"nightly-backup": {"openid"}}, "", 200, "openid"},
		"asks for more than was allowed":   {[]string{"openid", "profile"}, vault.Jobs{"nightly-backup": {"openid"}}, "profile", 400, "invalid_scope"},
		"the rule allows less":             {[]string{"openid"}, vault.Jobs{"nightly-backup": {"openid", "profile"}}, "", 200, "openid"},
		"asks for more than the rule":      {[]string{"openid"}, vault.Jobs{"nightly-backup": {"openid", "profile"}}, "profile", 403, "access_denied"},
		"the grant holds less":             {[]string{"openid", "mail"}, vault.Jobs{"nightly-backup": {"openid", "mail"}}, "", 200, "openid"},
		"asks for more than the grant":     {[]string{"openid", "mail"}, vault.Jobs{"nightly-backup": {"openid", "mail"}}, "mail", 400, "invalid_scope"},
		"allowed nothing that it may have": {[]string{"profile"}, vault.Jobs{"nightly-backup": {"openid"}}, "", 400, "invalid_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, rule("nightly-backup", c.rule...))
			e.save(vault.Login{Provider: "demo", Sub: "sub-alice", Username: "alice", Jobs: c.consent})
			a := e.post("/token", form("user", "alice", "scope", c.ask))
			if a.status != c.status || a.get("scope") != c.says && a.get("error") != c.says {
				t.Errorf("%d %s; want %d %s", a.status, a.raw, c.status, c.says)
			}
			if a.status == 404 && (a.get("consent_uri") == "" || !strings.Contains(a.get("error_description"), "nightly-backup")) {
				t.Errorf("no way to allow it: %s", a.raw)
			}
			listed := strings.Contains(e.get("/grants", "").raw, "sub-alice")
			if want := c.status != 404; listed != want {
				t.Errorf("listed %v", listed)
			}
		})
	}
}

// TestRemovingOneJobLeavesTheOthers: and what was removed can be allowed again.
func TestRemovingOneJobLeavesTheOthers(t *testing.T) {
	other := nightly()
	other.Name = "report"
	e := newEnv(t, nightly(), other)
	e.login("alice")
	ctx := context.Background()
	if a := e.post("/token", form("user", "alice")); a.status != 200 { // a token is cached
		t.Fatal(a.raw)
	}
	gs, err := e.vault.Find(ctx, vault.Query{Provider: "demo", User: "alice"})
	if err != nil || len(gs) != 1 {
		t.Fatal(gs, err)
	}
	if err := e.vault.RemoveJob(ctx, gs[0].ID, "nightly-backup"); err != nil {
		t.Fatal(err)
	}
	e.want(e.post("/token", form("user", "alice")), 404, "no_grant")
	e.as("report")
	if a := e.post("/token", form("user", "alice")); a.status != 200 {
		t.Errorf("the other job: %s", a.raw)
	}
	e.as("nightly-backup")
	if err := e.vault.AllowJobs(ctx, "demo", gs[0].Client, gs[0].Sub, vault.Jobs{"nightly-backup": {"openid"}}); err != nil {
		t.Fatal(err)
	}
	if a := e.post("/token", form("user", "alice")); a.status != 200 || a.get("scope") != "openid" {
		t.Errorf("allowed again: %s", a.raw)
	}
	// With the grant everything is over, and a new one begins with nothing allowed.
	if err := e.vault.Revoke(ctx, gs[0].ID); err != nil {
		t.Fatal(err)
	}
	e.want(e.post("/token", form("user", "alice")), 400, "invalid_grant")
	e.save(vault.Login{Provider: "demo", Sub: "sub-alice", Username: "alice", Jobs: vault.Jobs{}})
	e.want(e.post("/token", form("user", "alice")), 404, "no_grant")
}
