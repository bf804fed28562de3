package adapter

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/storage"
)

//go:embed pages
var pageFiles embed.FS

var (
	style, _ = pageFiles.ReadFile("pages/style.css")
	pages    = template.Must(template.ParseFS(pageFiles, "pages/*.html"))
)

type pageData struct {
	Title string
	Site  string
	Style string
	Body  template.HTML
}

type logoutPage struct {
	User, CSRF string
	Offline    bool
}

type refusalPage struct {
	Reason, Return, CSRF string
}

type failurePage struct{ Heading, Text, Code string }

// page answers with one of our own pages. Its policy lets nothing in but the
// stylesheet; form-action is left open because logging out ends at the provider.
func (rp *RelyingParty) page(w http.ResponseWriter, r *http.Request, status int, name, title string, view any) {
	var body, whole bytes.Buffer
	err := pages.ExecuteTemplate(&body, name+".html", view)
	if err == nil {
		err = pages.ExecuteTemplate(&whole, "base.html", pageData{title, rp.config.Site.Host, stylePath, template.HTML(body.String())})
	}
	if err != nil {
		http.Error(w, "this page could not be shown", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(whole.Bytes())
	}
}

// fail answers a browser with a page and a program with JSON.
func (rp *RelyingParty) fail(w http.ResponseWriter, r *http.Request, status int, code, text string) {
	if !wantsPage(r) {
		rp.answer(w, status, map[string]string{"error": code, "error_description": text})
		return
	}
	heading := "This did not work"
	switch {
	case status == http.StatusServiceUnavailable:
		heading = "Please try again in a moment"
	case status == http.StatusNotFound:
		heading = "Nothing here"
	}
	rp.page(w, r, status, "failure", heading, failurePage{heading, text, code})
}

func wantsPage(r *http.Request) bool {
	return navigation(r) || r.Method == http.MethodPost && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

// unavailable: the store or the provider does not answer now.
func (rp *RelyingParty) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	rp.config.Log.WarnContext(r.Context(), "request failed for now", "site", rp.config.Site.String(), "err", err)
	text := "The login provider does not answer at the moment."
	if errors.Is(err, storage.ErrUnknown) || errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrClosed) {
		text = "The server could not finish this. Nothing was lost."
	}
	w.Header().Set("Retry-After", "2")
	rp.fail(w, r, http.StatusServiceUnavailable, "temporarily_unavailable", text)
}

// forbid: logged in, but not let in.
func (rp *RelyingParty) forbid(w http.ResponseWriter, r *http.Request, record *session.Record) {
	rp.fail(w, r, http.StatusForbidden, "access_denied", "You are logged in as "+record.Identity.Name+", and this account may not use this site.")
}

// refuse says why there is no background access, and how to go on.
func (rp *RelyingParty) refuse(w http.ResponseWriter, r *http.Request, cookie string, record *session.Record, back string) {
	rp.page(w, r, http.StatusForbidden, "refused", "No background access", refusalPage{
		Reason: record.Refused, Return: back, CSRF: rp.proof(cookie, "resume "+back),
	})
}
