package vault_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
)

// allowed are the names of the jobs that the person allowed.
func (e *env) allowed() []string { return slices.Sorted(maps.Keys(e.grant().Jobs)) }

// TestWhatAProviderSaysOfJobs at a refresh counts where its consents name jobs, and
// nowhere else; what it says of other things is no reason to lose an answer.
func TestWhatAProviderSaysOfJobs(t *testing.T) {
	both := vault.Jobs{"backup": {"openid"}, "report": {"openid"}}
	for name, c := range map[string]struct {
		named   bool   // the login's answer named jobs
		details string // of a refresh
		want    []string
	}{
		"fewer":           {true, `[{"type":"offline_job","job":"report","scope":"openid"}]`, []string{"report"}},
		"none any more":   {true, `[]`, nil},
		"nothing":         {true, `null`, []string{"backup", "report"}},
		"no list":         {true, `"x"`, []string{"backup", "report"}},
		"another kind":    {true, `[{"type":"payment","scope":["a"],"job":7},{"type":"offline_job","job":"report","scope":"openid"}]`, []string{"report"}},
		"it names no job": {false, `[{"type":"offline_job","job":"thief","scope":"openid"}]`, []string{"backup", "report"}},
	} {
		e := newEnv(t)
		l := vault.Login{
			Provider: "demo", Client: vaulttest.ClientID, Sub: "sub-alice", Username: "alice",
			Scopes: []string{"openid", "profile", "offline_access"}, RefreshToken: e.provider.Login("sub-alice", "alice", granted),
		}
		if c.named {
			l.Jobs = both
		}
		if _, err := e.vault.Save(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if !c.named {
			if err := e.vault.AllowJobs(t.Context(), "demo", vaulttest.ClientID, "sub-alice", both); err != nil {
				t.Fatal(err)
			}
		}
		e.provider.Fail(vaulttest.Fault{Status: http.StatusOK, Body: `{"access_token":"at","token_type":"Bearer","expires_in":300,"authorization_details":` + c.details + `}`})
		e.token(e.grant().ID)
		if got := e.allowed(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
}

// TestAllowingJobs needs a grant, adds to what was allowed, and is no way back for a
// grant that the realm has ended meanwhile.
func TestAllowingJobs(t *testing.T) {
	e := newEnv(t)
	allow := func(job string, scopes ...string) error {
		return e.vault.AllowJobs(context.Background(), "demo", vaulttest.ClientID, "sub-alice", vault.Jobs{job: scopes})
	}
	if err := allow("backup"); !errors.Is(err, vault.ErrNoGrant) {
		t.Errorf("without a grant: %v", err)
	}
	id := e.login()
	for _, scope := range []string{"openid", "profile"} {
		if err := allow("backup", scope); err != nil {
			t.Fatal(err)
		}
	}
	if got := e.grant().Jobs["backup"]; !slices.Equal(got, []string{"openid", "profile"}) {
		t.Errorf("allowed %v", got)
	}
	if err := e.vault.DropClient(t.Context(), "demo", "", "not_before"); err != nil {
		t.Fatal(err)
	}
	if err := allow("report", "openid"); err != nil || e.has() {
		t.Errorf("allowing a job undid what the realm said: %v", err)
	}
	if err := e.vault.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := allow("report", "openid"); !errors.Is(err, vault.ErrNoGrant) || len(e.allowed()) != 0 {
		t.Errorf("of a grant that is over: %v, %v", err, e.allowed())
	}
}
