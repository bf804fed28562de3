package adapter

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/page"
)

// A person's consent names the job. A provider that knows the authorization detail
// offline_job (RFC 9396) asks for it with its own consent page; for all others the
// site shows a page, once, and again when a job is added. What a person allowed is
// seen and removed, job by job, at /.nightlatch/jobs.

// unallowed are the jobs of this site that may use a grant, as far as it goes, but
// that the person has not allowed by name.
func (rp *RelyingParty) unallowed(g *vault.Grant) vault.Jobs {
	return g.Jobs.Missing(rp.config.Jobs().Within(g.Scopes))
}

// namedJob is a job on a page.
type namedJob struct {
	Name   string
	May    string // what it may do, in words
	Used   string // when it last did; "": never
	Remove string // CSRF token of its button
}

type jobsPage struct {
	User, CSRF, Return string
	Jobs               []namedJob
	Asking             bool // for consent; else what was allowed is shown
}

// verbs say what scopes let a job do.
var verbs = map[string]page.Text{
	"openid": "know who you are", "profile": "read your profile", "email": "read your mail address",
	"address": "read your postal address", "phone": "read your phone number",
}

// inWords says what scopes let a job do. A scope that has no words says its name.
func inWords(words *page.Words, scopes []string) string {
	var out []string
	for _, s := range slices.Sorted(slices.Values(scopes)) {
		verb := verbs[s]
		switch {
		case s == "offline_access":
		case verb != "":
			out = append(out, words.T(verb))
		default:
			out = append(out, words.T("use %s", s))
		}
	}
	if len(out) == 0 {
		return words.T("nothing yet")
	}
	return strings.Join(out, ", ")
}

// askingStep is what the consent form does: allow these jobs and no others.
func askingStep(jobs vault.Jobs, back string) string {
	raw, _ := json.Marshal(jobs.Details()) // of texts: cannot fail
	return "allow " + string(raw) + " " + back
}

// nameJobs asks the person to allow jobs by name.
func (rp *RelyingParty) nameJobs(w http.ResponseWriter, r *http.Request, q request, back string) {
	v := jobsPage{User: q.record.Identity.Name, CSRF: proof(q.cookie, askingStep(q.jobs, back)), Return: back, Asking: true}
	for _, d := range q.jobs.Details() {
		v.Jobs = append(v.Jobs, namedJob{Name: d.Job, May: inWords(rp.pages.Words(r), strings.Fields(d.Scope))})
	}
	rp.page(w, r, http.StatusForbidden, "jobs", "Allow background access?", v)
}

// jobs shows what may act for a person, and takes the answers of both pages.
func (rp *RelyingParty) jobs(w http.ResponseWriter, r *http.Request) {
	if !rp.method(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	cookie, record, err := rp.session(r)
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	if record == nil {
		if r.Method == http.MethodPost || !navigation(r) {
			rp.challenge(w, r, "", "log in first")
			return
		}
		rp.begin(w, r, flow{Return: jobsPath})
		return
	}
	g, err := rp.grantOf(r.Context(), record.Identity.Subject)
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	if r.Method != http.MethodPost {
		rp.showJobs(w, r, cookie, record, &g)
		return
	}
	form, ok := rp.form(w, r)
	if !ok {
		return
	}
	if job := form.Get("remove"); job != "" {
		rp.removeJob(w, r, cookie, &g, job, form.Get("csrf"))
		return
	}
	back, asked := form.Get("return"), rp.unallowed(&g)
	if !rp.proven(w, r, cookie, askingStep(asked, back), form) {
		return
	}
	id := record.Identity
	if form.Has("accept") {
		err = rp.config.Grants.AllowJobs(r.Context(), rp.config.Provider.Name, rp.config.Provider.ClientID, id.Subject, asked)
		if errors.Is(err, vault.ErrNoGrant) {
			err = nil // it ended meanwhile: the page that it was for asks anew
		}
	} else {
		rp.config.Events("refused", rp.event("sub", id.Subject, "error", "jobs_declined"))
		_, err = rp.sessions.Change(r.Context(), cookie, func(s *session.Record) {
			s.Refused, s.Without = "You did not allow the jobs to act for you.", false
		})
	}
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	rp.redirect(w, r, rp.onSite(back))
}

// showJobs lists what was allowed, each with a button that takes it back.
func (rp *RelyingParty) showJobs(w http.ResponseWriter, r *http.Request, cookie string, record *session.Record, g *vault.Grant) {
	v := jobsPage{User: record.Identity.Name}
	for _, d := range g.Jobs.Details() {
		j := namedJob{Name: d.Job, May: inWords(rp.pages.Words(r), strings.Fields(d.Scope)), Remove: proof(cookie, "remove "+d.Job)}
		if at := g.Uses[d.Job]; !at.IsZero() {
			j.Used = rp.pages.Words(r).At(at, rp.config.Now()).Text
		}
		v.Jobs = append(v.Jobs, j)
	}
	rp.page(w, r, http.StatusOK, "jobs", "Background access", v)
}

func (rp *RelyingParty) removeJob(w http.ResponseWriter, r *http.Request, cookie string, g *vault.Grant, job, csrf string) {
	if !rp.proven(w, r, cookie, "remove "+job, map[string][]string{"csrf": {csrf}}) {
		return
	}
	if g.ID != "" {
		if err := rp.config.Grants.RemoveJob(r.Context(), g.ID, job); err != nil && !errors.Is(err, vault.ErrNoGrant) {
			rp.unavailable(w, r, err)
			return
		}
	}
	rp.redirect(w, r, rp.onSite(jobsPath))
}
