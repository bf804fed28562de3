package adapter

import "net/http"

// Failure is a page that says why a person did not get what was asked for. It is
// no step of a login: pages on which somebody decides something are none.
type Failure struct {
	Status        int
	Code          string // as a program would be told it
	Heading, Text string // of a provider or a person perhaps, never markup
	Again         string // URL of this site to try again, "" for none
	Logout        bool   // somebody is logged in, and may log out
	// Page answers with the site's own page.
	Page http.HandlerFunc
}

// failure answers a person with a page, by way of Config.Failed, and a program with
// JSON.
func (rp *RelyingParty) failure(w http.ResponseWriter, r *http.Request, f Failure) {
	if !wantsPage(r) {
		rp.answer(w, f.Status, map[string]string{"error": f.Code, "error_description": f.Text})
		return
	}
	f.Page = func(w http.ResponseWriter, r *http.Request) { rp.page(w, r, f.Status, "failure", f.Heading, f) }
	w.Header().Set("Cache-Control", "no-store")
	rp.config.Failed(w, r, f)
}
