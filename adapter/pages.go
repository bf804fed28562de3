package adapter

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/storage"
)

//go:embed pages
var pageFiles embed.FS

var (
	style, _ = pageFiles.ReadFile("pages/style.css")
	pages    = template.Must(template.ParseFS(pageFiles, "pages/*.html"))
	// stylePath changes with the stylesheet, which may be kept for ever.
	stylePath = fmt.Sprintf("%sstyle.%x.css", Prefix, sha256.Sum224(style))
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

type failurePage struct {
	Heading, Text, Code string
	Again               string // URL of this site to try again, "" for none
	Logout              bool   // somebody is logged in
}

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
	heading := "This did not work"
	switch {
	case status == http.StatusServiceUnavailable:
		heading = "Please try again in a moment"
	case status == http.StatusNotFound:
		heading = "Nothing here"
	}
	rp.failure(w, r, status, failurePage{Heading: heading, Text: text, Code: code})
}

func (rp *RelyingParty) failure(w http.ResponseWriter, r *http.Request, status int, f failurePage) {
	if !wantsPage(r) {
		rp.answer(w, status, map[string]string{"error": f.Code, "error_description": f.Text})
		return
	}
	rp.page(w, r, status, "failure", f.Heading, f)
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
	text := "The login provider does not answer at the moment."
	for _, e := range []error{storage.ErrUnknown, storage.ErrConflict, storage.ErrFull, storage.ErrClosed} {
		if errors.Is(err, e) {
			text = "The server could not finish this. Nothing was lost."
		}
	}
	w.Header().Set("Retry-After", "2")
	rp.fail(w, r, http.StatusServiceUnavailable, "temporarily_unavailable", text)
}

// forbid: logged in, but not let in.
func (rp *RelyingParty) forbid(w http.ResponseWriter, r *http.Request, record *session.Record) {
	rp.failure(w, r, http.StatusForbidden, failurePage{
		Heading: "This account may not come in", Code: "access_denied", Logout: true,
		Text: "You are logged in as " + record.Identity.Name + ", and this account may not use this site.",
	})
}

// refuse says why there is no background access, and how to go on.
func (rp *RelyingParty) refuse(w http.ResponseWriter, r *http.Request, cookie, reason, back string) {
	if reason == "" {
		reason = "You went on without it."
	}
	rp.page(w, r, http.StatusForbidden, "refused", "No background access", refusalPage{
		Reason: reason, Return: back, CSRF: proof(cookie, "resume "+back),
	})
}

// challenge answers 401 (RFC 6750 §3).
func (rp *RelyingParty) challenge(w http.ResponseWriter, code, description string) {
	header := `Bearer realm="` + rp.config.Site.Host + `"`
	body := map[string]string{"error": "unauthorized", "error_description": description}
	if code != "" {
		header += `, error="` + code + `", error_description="` + description + `"`
		body["error"] = code
	}
	w.Header().Set("WWW-Authenticate", header)
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
