package provider_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
)

// details asks for jobs by name, each with the scope openid profile.
func details(jobs ...string) string {
	var out []string
	for _, j := range jobs {
		out = append(out, fmt.Sprintf(`{"type":"offline_job","job":%q,"scope":"profile openid"}`, j))
	}
	return "[" + strings.Join(out, ",") + "]"
}

// jobs that a token response names; nil if it says nothing.
func (r *reply) jobs() []string {
	r.t.Helper()
	list, ok := r.json["authorization_details"].([]any)
	if !ok {
		return nil
	}
	out := []string{}
	for _, d := range list {
		raw, _ := json.Marshal(d)
		var j struct{ Type, Job, Scope string }
		if err := json.Unmarshal(raw, &j); err != nil || j.Type != "offline_job" || j.Scope != "openid profile" {
			r.t.Errorf("detail %s: %v", raw, err)
		}
		out = append(out, j.Job)
	}
	slices.Sort(out)
	return out
}

// TestO14_AConsentNamesTheJob: RFC 9396, type offline_job. No job acts for a person
// who has not seen its name; one that is added is asked for; one that is taken back
// leaves the others.
func TestO14_AConsentNamesTheJob(t *testing.T) {
	w := newWorld(t)
	w.editClient("reports", func(c *client.Client) { c.ConsentOffline = true })
	b := w.browser()
	const scope = "openid profile offline_access"
	allow := url.Values{"accept": {"yes"}}
	ask := func(jobs ...string) string {
		return authURL("reports", scope, "authorization_details", details(jobs...))
	}

	page, _ := b.open("GET", ask("nightly-backup"), nil)
	page, _ = b.submit(page, "login", url.Values{"username": {"alice"}, "password": {"alice-pw"}})
	if !strings.Contains(page.body, "<strong>nightly-backup</strong> may act for you while you are away: know who you are, read your profile. Until you remove it.") {
		t.Errorf("the page does not name the job:\n%s", page.body)
	}
	_, left := b.submit(page, "consent", url.Values{"cancel": {"yes"}})
	refused(t, left.Query(), "access_denied", "declined")
	page, _ = b.open("GET", ask("nightly-backup"), nil)
	_, left = b.submit(page, "consent", allow)
	first := w.exchange("reports", left.Query().Get("code")).ok()
	if got := first.jobs(); !slices.Equal(got, []string{"nightly-backup"}) {
		t.Fatalf("the answer names %v", got)
	}

	// Remembered; a job that is added is not.
	if q := b.silently("reports", scope, "authorization_details", details("nightly-backup")); q.Get("code") == "" {
		t.Errorf("not remembered: %v", q)
	}
	refused(t, b.silently("reports", scope, "authorization_details", details("nightly-backup", "report")), "consent_required", "")
	page, _ = b.open("GET", ask("nightly-backup", "report"), nil)
	if !strings.Contains(page.body, "<strong>report</strong>") {
		t.Error("the page does not name the job that was added")
	}
	// The answer to a page about other jobs is not one to this.
	other, _ := b.open("GET", ask("nightly-backup", "thief"), nil)
	_, hidden := b.fields(other, "consent")
	if _, left := b.submit(page, "consent", url.Values{"accept": {"yes"}, "csrf": {hidden.Get("csrf")}}); left != nil {
		t.Error("the answer to one page was taken for another's")
	}
	page, _ = b.open("GET", ask("nightly-backup", "report"), nil)
	_, left = b.submit(page, "consent", allow)
	both := w.exchange("reports", left.Query().Get("code")).ok()
	if got := both.jobs(); !slices.Equal(got, []string{"nightly-backup", "report"}) {
		t.Fatalf("the answer names %v", got)
	}
	refresh := func(r *reply) *reply {
		t.Helper()
		return w.refresh("reports", r.json["refresh_token"].(string)).ok()
	}
	if got := refresh(both).jobs(); len(got) != 2 {
		t.Errorf("a refresh names %v", got)
	}

	// Taken back, one by one: in force at once, the session and the other stay.
	sub := w.userID("alice")
	for i, job := range []string{"nightly-backup", "report", "report"} {
		if err := w.provider.WithdrawJob(t.Context(), sub, "reports", job); err != nil {
			t.Fatal(err)
		}
		want := [][]string{{"report"}, {}, {}}[i]
		if got := refresh(both).jobs(); got == nil || !slices.Equal(got, want) {
			t.Errorf("after %s was taken back a refresh names %v; want %v", job, got, want)
		}
	}
	if n := w.count(event.UpdateConsent, ""); n < 2 {
		t.Errorf("%d events", n)
	}
	refused(t, b.silently("reports", scope, "authorization_details", details("nightly-backup")), "consent_required", "")

	// Without jobs nothing is said of them.
	if got := refresh(w.password("reports", "alice", scope).ok()).jobs(); got != nil {
		t.Errorf("a grant without jobs names %v", got)
	}
}

// TestJobsAreAskedForEverywhere: also by a client that needs no consent otherwise, and
// what is not understood is refused at the redirect URI.
func TestJobsAreAskedForEverywhere(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.grant("alice", "reports", "openid")
	page, left := b.open("GET", authURL("reports", "openid profile offline_access", "authorization_details", details("nightly-backup")), nil)
	if left != nil || !strings.Contains(page.body, "nightly-backup") {
		t.Errorf("a job may act for a person unseen: %v", left)
	}
	for _, raw := range map[string]string{
		"another type": `[{"type":"payment"}]`, "no JSON": "x", "more than asked for": `[{"type":"offline_job","job":"a","scope":"email"}]`,
	} {
		refused(t, b.silently("reports", "openid profile offline_access", "authorization_details", raw), "invalid_authorization_details", "")
	}
	refused(t, b.silently("reports", "openid profile", "authorization_details", details("a")), "invalid_authorization_details", "offline_access")
}
