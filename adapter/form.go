package adapter

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// maxForm bounds the body of a form, in bytes.
const maxForm = 64 << 10

// form reads a form, each parameter once. What is wrong with it is answered.
func (rp *RelyingParty) form(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		rp.fail(w, r, http.StatusBadRequest, "invalid_request", "A form is expected here.")
		return nil, false
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if errors.As(err, new(*http.MaxBytesError)) {
		rp.fail(w, r, http.StatusRequestEntityTooLarge, "invalid_request", "The form is too large.")
		return nil, false
	}
	form, perr := url.ParseQuery(string(raw))
	if err != nil || perr != nil {
		rp.fail(w, r, http.StatusBadRequest, "invalid_request", "The form cannot be read.")
		return nil, false
	}
	for name, values := range form {
		if len(values) > 1 {
			rp.fail(w, r, http.StatusBadRequest, "invalid_request", "The form has %s twice.", printable(name))
			return nil, false
		}
	}
	return form, true
}

// proof is the CSRF token of a form, bound to the session and to what the form
// does.
func proof(cookie, step string) string {
	m := hmac.New(sha256.New, []byte(cookie))
	m.Write([]byte("nightlatch form\x00" + step))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// proven checks the CSRF token of a form; without it 403 is answered.
func (rp *RelyingParty) proven(w http.ResponseWriter, r *http.Request, cookie, step string, form url.Values) bool {
	// Our pages send no referrer, so browsers say null for their origin.
	origin := r.Header.Get("Origin")
	if (origin == "" || origin == "null" || origin == rp.config.Site.String()) && hmac.Equal([]byte(form.Get("csrf")), []byte(proof(cookie, step))) {
		return true
	}
	rp.fail(w, r, http.StatusForbidden, "access_denied", "This form is not valid in this browser any more. Go back and try again.")
	return false
}

// resume takes the buttons of the refusal page: on without background access, or
// once more. Where to is part of what the CSRF token vouches for.
func (rp *RelyingParty) resume(w http.ResponseWriter, r *http.Request) {
	if !rp.method(w, r, http.MethodPost) {
		return
	}
	form, ok := rp.form(w, r)
	if !ok {
		return
	}
	cookie, record, err := rp.session(r)
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	if record == nil {
		rp.redirect(w, r, rp.onSite("/"))
		return
	}
	back := form.Get("return")
	if !rp.proven(w, r, cookie, "resume "+back, form) {
		return
	}
	// Whatever stood in the way is forgotten, so that the button does something.
	change := func(s *session.Record) {
		s.Refused, s.Without, s.Denied, s.Granted, s.Named = "", false, nil, time.Time{}, nil
	}
	if form.Has("without") {
		change = func(s *session.Record) { s.Without = true }
		back = withoutParameter(back)
	}
	if _, err := rp.sessions.Change(r.Context(), cookie, change); err != nil {
		rp.unavailable(w, r, err)
		return
	}
	rp.redirect(w, r, rp.onSite(back))
}
