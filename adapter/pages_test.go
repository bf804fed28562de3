package adapter

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/nightlatch/nightlatch/page/pagetest"
)

// Every page, as it is, in testdata: a change is seen in review.
func TestPages(t *testing.T) {
	set, err := newPages(Config{Site: &url.URL{Scheme: "https", Host: "app.test"}, Name: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	rp := &RelyingParty{pages: set, config: Config{Failed: func(w http.ResponseWriter, r *http.Request, f Failure) { f.Page(w, r) }}}
	const evil = pagetest.Evil
	jobs := []namedJob{{Name: "nightly-backup", May: "read your profile", Used: "1 March 2026, 12:00 UTC", Remove: "proof"}, {Name: evil, May: evil, Remove: "proof"}}
	for name, show := range map[string]func(http.ResponseWriter, *http.Request){
		"logout": func(w http.ResponseWriter, r *http.Request) {
			rp.page(w, r, http.StatusOK, "logout", "Log out", logoutPage{User: evil, CSRF: "proof"})
		},
		"logout_offline": func(w http.ResponseWriter, r *http.Request) {
			rp.page(w, r, http.StatusOK, "logout", "Log out", logoutPage{User: "alice", CSRF: "proof", Offline: true})
		},
		"loggedout": func(w http.ResponseWriter, r *http.Request) {
			rp.page(w, r, http.StatusOK, "loggedout", "Logged out", nil)
		},
		"refused": func(w http.ResponseWriter, r *http.Request) {
			rp.page(w, r, http.StatusForbidden, "refused", "No background access", refusalPage{Reason: evil, Return: "/backup?a=b&c", CSRF: "proof"})
		},
		"jobs_asking": func(w http.ResponseWriter, r *http.Request) {
			rp.page(w, r, http.StatusForbidden, "jobs", "Allow background access?", jobsPage{User: evil, CSRF: "proof", Return: "/backup", Jobs: jobs, Asking: true})
		},
		"jobs": func(w http.ResponseWriter, r *http.Request) {
			rp.page(w, r, http.StatusOK, "jobs", "Background access", jobsPage{User: "alice", Jobs: jobs})
		},
		"jobs_none": func(w http.ResponseWriter, r *http.Request) {
			rp.page(w, r, http.StatusOK, "jobs", "Background access", jobsPage{User: "alice"})
		},
		"choose": func(w http.ResponseWriter, r *http.Request) {
			rp.page(w, r, http.StatusOK, "choose", "Log in", choicePage{State: "state", Providers: []choice{{Name: evil}, {Name: "google", Failing: true}, {Name: "home", Selected: true}}})
		},
		"failure": func(w http.ResponseWriter, r *http.Request) {
			rp.fail(w, r, http.StatusBadRequest, "invalid_request", "The form has %s twice.", evil)
		},
		"failure_away": func(w http.ResponseWriter, r *http.Request) {
			rp.fail(w, r, http.StatusServiceUnavailable, "temporarily_unavailable", "The login provider does not answer at the moment.")
		},
		"failure_again": func(w http.ResponseWriter, r *http.Request) {
			rp.failure(w, r, fault{status: http.StatusForbidden, heading: "You are not logged in", code: "login_failed", text: "The request was declined.", again: "https://app.test/backup"})
		},
		"failure_forbidden": func(w http.ResponseWriter, r *http.Request) {
			rp.failure(w, r, fault{status: http.StatusForbidden, heading: "This account may not come in", code: "access_denied", logout: true, text: "You are logged in as %s, and this account may not use this site.", values: []any{evil}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			r.Header.Set("Sec-Fetch-Dest", "document")
			r.Header.Set("Accept", "text/html")
			show(rec, r)
			pagetest.Golden(t, name, rec)
		})
	}
}
