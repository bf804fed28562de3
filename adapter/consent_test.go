package adapter_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

// withJobs is a site whose jobs are those in the map at that moment.
func withJobs(t *testing.T, jobs vault.Jobs) *site {
	t.Helper()
	return newSite(t, func(c *adapter.Config) { c.Jobs = func() vault.Jobs { return jobs } })
}

func (g *grants) jobs(sub string) vault.Jobs {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.kept[sub].Jobs
}

// TestAConsentNamesTheJob: with a provider whose consent page knows no jobs the site
// shows one itself, once, and again when a job is added.
func TestAConsentNamesTheJob(t *testing.T) {
	jobs := vault.Jobs{"nightly-backup": {"openid", "profile"}}
	s := withJobs(t, jobs)
	b := newBrowser(t)
	p := b.open(s.url + "/backup/now?x=1")
	p.wants(t, http.StatusForbidden, "nightly-backup</strong> may act for you while you are away: know who you are, read your profile. Until you remove it.")
	if len(s.grants.jobs("sub-alice")) != 0 || s.reached() != 0 {
		t.Fatalf("allowed %v unasked", s.grants.jobs("sub-alice"))
	}
	p = b.press(p, "accept")
	p.wants(t, 200, "app of alice")
	if p.url != s.url+"/backup/now?x=1" || s.grants.jobs("sub-alice")["nightly-backup"] == nil {
		t.Errorf("ends at %s, allowed %v", p.url, s.grants.jobs("sub-alice"))
	}
	b.open(s.url+"/backup").wants(t, 200, "app of alice")

	// An operator adds a job: the next visit of an offline path asks for it alone,
	// with no further login; other pages and the page's own scripts go on.
	jobs["report"] = []string{"files"}
	_, before := s.op.asked()
	b.open(s.url+"/").wants(t, 200, "app of alice")
	if p := b.do(http.MethodGet, s.url+"/backup/data", nil, "Accept", "application/json"); p.StatusCode != 200 {
		t.Errorf("a script gets %d", p.StatusCode)
	}
	p = b.open(s.url + "/backup")
	p.wants(t, http.StatusForbidden, "report</strong> may act for you while you are away: use files")
	if strings.Contains(p.body, "nightly-backup") {
		t.Error("asked for what was allowed already")
	}
	b.press(p, "accept").wants(t, 200, "app of alice")
	if _, n := s.op.asked(); n != before {
		t.Errorf("%d logins for a job's sake", n-before)
	}
	if got := s.grants.jobs("sub-alice"); len(got) != 2 {
		t.Errorf("allowed %v", got)
	}
}

// TestDecliningAJob is remembered, no dead end, and takes nothing from the others.
func TestDecliningAJob(t *testing.T) {
	jobs := vault.Jobs{"nightly-backup": {"openid"}}
	s := withJobs(t, jobs)
	b := newBrowser(t)
	b.press(b.open(s.url+"/backup"), "accept").wants(t, 200, "app of alice")
	jobs["report"] = []string{"openid"}
	p := b.press(b.open(s.url+"/backup"), "cancel")
	p.wants(t, http.StatusForbidden, "You did not allow the jobs")
	p = b.press(p, "again")
	p.wants(t, http.StatusForbidden, "report</strong> may act for you")
	p = b.press(b.press(p, "cancel"), "without")
	p.wants(t, 200, "app of alice")
	if got := s.grants.jobs("sub-alice"); len(got) != 1 || got["nightly-backup"] == nil {
		t.Errorf("allowed %v", got)
	}
}

// TestRemovingAJob on the site's own page.
func TestRemovingAJob(t *testing.T) {
	s := withJobs(t, vault.Jobs{"nightly-backup": {"openid"}, "report": {"openid"}})
	b := newBrowser(t)
	b.press(b.open(s.url+"/backup"), "accept").wants(t, 200, "app of alice")
	p := b.open(s.url + "/.nightlatch/jobs")
	p.wants(t, 200, "Remove nightly-backup")
	form := fields(t, p.body[:strings.Index(p.body, "Remove nightly-backup")])
	form.Set("remove", "report") // the proof is for the other
	if p := b.post(s.url+"/.nightlatch/jobs", form); p.StatusCode != http.StatusForbidden || len(s.grants.jobs("sub-alice")) != 2 {
		t.Errorf("%d, allowed %v", p.StatusCode, s.grants.jobs("sub-alice"))
	}
	form.Set("remove", "nightly-backup")
	b.follow(b.post(s.url+"/.nightlatch/jobs", form)).wants(t, 200, "Remove report")
	if got := s.grants.jobs("sub-alice"); len(got) != 1 || got["report"] == nil {
		t.Errorf("allowed %v", got)
	}
	// The next visit of an offline path asks for it again.
	b.open(s.url+"/backup").wants(t, http.StatusForbidden, "nightly-backup</strong> may act for you")
}

// TestNobodyElseAllowsAJob: not a link, not another site's form, and not a form that
// was shown about other jobs.
func TestNobodyElseAllowsAJob(t *testing.T) {
	jobs := vault.Jobs{"nightly-backup": {"openid"}}
	s := withJobs(t, jobs)
	b := newBrowser(t)
	form := fields(t, b.open(s.url+"/backup").body)
	form.Set("accept", "yes")
	other := url.Values{"accept": {"yes"}, "return": form["return"], "csrf": form["csrf"]}
	for name, try := range map[string]func() page{
		"a form about other jobs": func() page {
			jobs["thief"] = []string{"files"} // added between the page and the answer
			defer delete(jobs, "thief")
			return b.post(s.url+"/.nightlatch/jobs", other)
		},
		"another site's form": func() page {
			return b.do(http.MethodPost, s.url+"/.nightlatch/jobs", strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.example")
		},
		"no proof": func() page {
			return b.post(s.url+"/.nightlatch/jobs", url.Values{"accept": {"yes"}, "return": {"/backup"}})
		},
		"a link": func() page {
			return b.open(s.url + "/.nightlatch/jobs?accept=yes&return=/backup&csrf=" + form.Get("csrf"))
		},
		"no session": func() page { return newBrowser(t).post(s.url+"/.nightlatch/jobs", form) },
	} {
		if p := try(); len(s.grants.jobs("sub-alice")) != 0 {
			t.Errorf("%s: %d, allowed %v", name, p.StatusCode, s.grants.jobs("sub-alice"))
		}
	}
}

// TestAProviderThatNamesJobs is told of them and asks by its own page. Its answer is
// believed, and if it forgets what it was told nothing goes round in circles.
func TestAProviderThatNamesJobs(t *testing.T) {
	jobs := vault.Jobs{"nightly-backup": {"openid"}}
	s := withJobs(t, jobs)
	says := func(details any) {
		s.op.set(func(p *foreign) { p.answer = map[string]any{"authorization_details": details} })
	}
	s.op.set(func(p *foreign) {
		p.metadata["authorization_details_types_supported"] = []string{"payment", "offline_job"}
	})
	b := newBrowser(t)
	says([]map[string]any{{"type": "payment", "scope": []string{"of another kind"}}, {"type": "offline_job", "job": "nightly-backup", "scope": "openid"}})
	b.open(s.url+"/backup").wants(t, 200, "app of alice")
	if q, _ := s.op.asked(); q.Get("authorization_details") != `[{"type":"offline_job","job":"nightly-backup","scope":"openid"}]` {
		t.Errorf("it was told %q", q.Get("authorization_details"))
	}
	if got := s.grants.jobs("sub-alice"); len(got) != 1 || got["nightly-backup"] == nil {
		t.Errorf("allowed %v", got)
	}
	// What the person takes back there, a moment later, is asked for anew.
	_, before := s.op.asked()
	if err := s.grants.RemoveJob(t.Context(), "g_sub-alice", "nightly-backup"); err != nil {
		t.Fatal(err)
	}
	b.open(s.url+"/backup").wants(t, 200, "app of alice")
	if _, n := s.op.asked(); n != before+1 || s.grants.jobs("sub-alice")["nightly-backup"] == nil {
		t.Errorf("%d logins more, allowed %v", n-before, s.grants.jobs("sub-alice"))
	}
	s.clock.Advance(time.Minute)
	jobs["report"] = []string{"openid"} // and the provider forgets it
	b.open(s.url+"/backup").wants(t, http.StatusForbidden, "did not note which jobs")
}

// TestAProviderThatWasNotTold of jobs: what it says of authorization details is about
// something else, and the site's own page asks.
func TestAProviderThatWasNotTold(t *testing.T) {
	for name, details := range map[string]any{
		"none": []any{}, "others": []map[string]any{{"type": "payment"}}, "no list": "x",
		"a job": []map[string]any{{"type": "offline_job", "job": "nightly-backup", "scope": "openid"}},
	} {
		s := withJobs(t, vault.Jobs{"nightly-backup": {"openid"}})
		s.op.set(func(p *foreign) { p.answer = map[string]any{"authorization_details": details} })
		b := newBrowser(t)
		p := b.open(s.url + "/backup")
		if q, _ := s.op.asked(); q.Has("authorization_details") {
			t.Errorf("%s: it was told of jobs", name)
		}
		b.press(p, "accept").wants(t, 200, "app of alice")
	}
}

// TestAGrantOfBeforeThereWereJobs: the realm gave it, and it says nothing of them. The
// next visit of an offline path asks, at the realm's own page.
func TestAGrantOfBeforeThereWereJobs(t *testing.T) {
	jobs := vault.Jobs{}
	s := newSite(t, func(c *adapter.Config) {
		c.Provider.Local = true
		c.Jobs = func() vault.Jobs { return jobs }
	})
	s.op.set(func(p *foreign) { p.metadata["authorization_details_types_supported"] = []string{"offline_job"} })
	b := newBrowser(t)
	b.open(s.url+"/backup").wants(t, 200, "app of alice")
	s.clock.Advance(time.Minute)
	jobs["nightly-backup"] = []string{"openid"}
	s.op.set(func(p *foreign) {
		p.answer = map[string]any{"authorization_details": []map[string]any{{"type": "offline_job", "job": "nightly-backup", "scope": "openid"}}}
	})
	b.open(s.url+"/").wants(t, 200, "app of alice")
	_, before := s.op.asked()
	b.open(s.url+"/backup").wants(t, 200, "app of alice")
	q, n := s.op.asked()
	if n != before+1 || !strings.Contains(q.Get("authorization_details"), `"nightly-backup"`) || s.grants.jobs("sub-alice")["nightly-backup"] == nil {
		t.Errorf("%d more logins, asked %q, allowed %v", n-before, q.Get("authorization_details"), s.grants.jobs("sub-alice"))
	}
}
