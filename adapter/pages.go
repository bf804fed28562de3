package adapter

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/storage"
)

//go:embed pages
var pageFiles embed.FS

// views of the pages, by the name of their template.
var views = page.Views{
	"logout": logoutPage{}, "loggedout": nil, "refused": refusalPage{}, "failure": Failure{}, "jobs": jobsPage{}, "choose": choicePage{},
}

func newPages(c Config) (*page.Set, error) {
	templates, err := fs.Sub(pageFiles, "pages")
	if err != nil {
		return nil, fmt.Errorf("reading templates: %w", err)
	}
	name := cmp.Or(c.Name, c.Site.Host)
	look, err := page.NewLook(page.Config{
		Resources: strings.TrimSuffix(Prefix, "/"), Name: func(context.Context) string { return name }, Folder: c.Folder, Logo: c.Logo,
	})
	if err != nil {
		return nil, err
	}
	set, err := page.New(templates, views, look)
	if err != nil {
		return nil, err
	}
	return set, look.Strangers()
}

// CheckPages tells what is wrong with a folder of pages.
func CheckPages(folder fs.FS) error {
	_, err := newPages(Config{Site: new(url.URL), Folder: folder})
	return err
}

type logoutPage struct {
	User, CSRF string
	Offline    bool
}

type refusalPage struct {
	Reason, Return, CSRF string
}

func (rp *RelyingParty) page(w http.ResponseWriter, r *http.Request, status int, name string, title page.Text, view any) {
	rp.pages.Write(w, r, status, page.Page{Name: name, Title: rp.pages.Words(r).T(title), View: view})
}

// fail answers a browser with a page and a program with JSON.
func (rp *RelyingParty) fail(w http.ResponseWriter, r *http.Request, status int, code string, text page.Text, values ...any) {
	rp.failure(w, r, fault{status: status, code: code, text: text, values: values})
}

func wantsPage(r *http.Request) bool {
	posted := r.Method == http.MethodPost && r.Header.Get("X-Requested-With") == ""
	return navigation(r) || posted && (r.Header.Get("Sec-Fetch-Mode") == "navigate" || strings.Contains(r.Header.Get("Accept"), "text/html"))
}

// unavailable: the store or the provider does not answer now.
func (rp *RelyingParty) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.As(err, new(*undiscovered)) {
		rp.config.Log.WarnContext(r.Context(), "request failed for now", "err", err)
	}
	text := page.Text("The login provider does not answer at the moment.")
	if storage.Temporary(err) {
		text = "The server could not finish this. Nothing was lost."
	}
	w.Header().Set("Retry-After", "2")
	rp.config.Refused("unavailable")
	rp.fail(w, r, http.StatusServiceUnavailable, "temporarily_unavailable", text)
}

// forbid: logged in, but not let in.
func (rp *RelyingParty) forbid(w http.ResponseWriter, r *http.Request, record *session.Record) {
	rp.config.Refused("forbidden")
	rp.failure(w, r, fault{
		status: http.StatusForbidden, heading: "This account may not come in", code: "access_denied", logout: true,
		text: "You are logged in as %s, and this account may not use this site.", values: []any{record.Identity.Name},
	})
}

// refuse says why there is no background access, and how to go on.
// What a provider said of it stays in its words.
func (rp *RelyingParty) refuse(w http.ResponseWriter, r *http.Request, cookie string, reason page.Text, back string) {
	rp.config.Refused("no_background_access")
	if reason == "" {
		reason = "You went on without it."
	}
	rp.page(w, r, http.StatusForbidden, "refused", "No background access", refusalPage{
		Reason: rp.pages.Words(r).T(reason), Return: back, CSRF: proof(cookie, "resume "+back),
	})
}

// challenge answers 401 (RFC 6750 §3). What a person sent is lost, and the page says
// so: no redirect to a login could keep it.
func (rp *RelyingParty) challenge(w http.ResponseWriter, r *http.Request, code, description string) {
	rp.config.Refused(cmp.Or(code, "unauthorized"))
	header := `Bearer realm="` + rp.config.Site.Host + `"`
	body := map[string]string{"error": "unauthorized", "error_description": description}
	if code != "" {
		header += `, error="` + code + `", error_description="` + description + `"`
		body["error"] = code
	}
	w.Header().Set("WWW-Authenticate", header)
	if code == "" && wantsPage(r) {
		rp.failure(w, r, fault{
			status: http.StatusUnauthorized, heading: "Please log in again", code: body["error"],
			text: "You are not logged in any more, so what you sent was not taken. Log in at the start page, then send it again.",
		})
		return
	}
	rp.answer(w, http.StatusUnauthorized, body)
}

// answer answers a program.
func (rp *RelyingParty) answer(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}
