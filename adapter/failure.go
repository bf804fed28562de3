package adapter

import (
	"net/http"

	"github.com/nightlatch/nightlatch/page"
)

// Failure is a page that says why a person did not get what was asked for. It is
// no step of a login: pages on which somebody decides something are none.
type Failure struct {
	Status        int
	Code          string // as a program would be told it
	Heading, Text string // in a language of the browser; of a provider or a person perhaps, never markup
	Again         string // URL of this site to try again, "" for none
	Logout        bool   // somebody is logged in, and may log out
	// Page answers with the site's own page.
	Page http.HandlerFunc
}

// fault is why a request does not get what it asked for, before it is said in a
// language.
type fault struct {
	status  int
	code    string
	heading page.Text // default: by the status
	text    page.Text
	values  []any  // of text
	again   string // as in Failure
	logout  bool
}

// failure answers a person with a page, by way of Config.Failed, and a program with
// JSON, which stays English.
func (rp *RelyingParty) failure(w http.ResponseWriter, r *http.Request, f fault) {
	if !wantsPage(r) {
		rp.answer(w, f.status, map[string]string{"error": f.code, "error_description": page.English.T(f.text, f.values...)})
		return
	}
	switch {
	case f.heading != "":
	case f.status == http.StatusServiceUnavailable:
		f.heading = "Please try again in a moment"
	case f.status == http.StatusNotFound:
		f.heading = "Nothing here"
	default:
		f.heading = "This did not work"
	}
	words := rp.pages.Words(r)
	shown := Failure{
		Status: f.status, Code: f.code, Heading: words.T(f.heading), Text: words.T(f.text, f.values...), Again: f.again, Logout: f.logout,
	}
	shown.Page = func(w http.ResponseWriter, r *http.Request) { rp.page(w, r, f.status, "failure", f.heading, shown) }
	w.Header().Set("Cache-Control", "no-store")
	rp.config.Failed(w, r, shown)
}
