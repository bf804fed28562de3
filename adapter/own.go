package adapter

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// Own serves the site's own paths below /.nightlatch/ and tells whether it did.
// It runs for every request of the site, before any matcher.
func (rp *RelyingParty) Own(w http.ResponseWriter, r *http.Request) bool {
	path := rp.config.OriginalURL(r).Path
	if !strings.HasPrefix(path, Prefix) {
		return false
	}
	switch path {
	case callbackPath:
		rp.callback(w, r)
	case logoutPath:
		rp.logout(w, r)
	case loggedOutPath:
		rp.page(w, r, http.StatusOK, "loggedout", "Logged out", nil)
	case resumePath:
		rp.resume(w, r)
	case userinfoPath:
		rp.userinfo(w, r)
	case stylePath:
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(style)
	default:
		rp.fail(w, r, http.StatusNotFound, "not_found", "There is no such page here.")
	}
	return true
}

// current returns the session of the request, nil without one.
func (rp *RelyingParty) current(w http.ResponseWriter, r *http.Request) (cookie string, record *session.Record, ok bool) {
	cookie = rp.sessionCookie(r)
	record, err := rp.sessions.Get(r.Context(), cookie)
	if err != nil {
		rp.unavailable(w, r, err)
		return "", nil, false
	}
	return cookie, record, true
}

func (rp *RelyingParty) userinfo(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		rp.answer(w, http.StatusMethodNotAllowed, map[string]string{"error": "invalid_request"})
		return
	}
	_, record, ok := rp.current(w, r)
	switch {
	case !ok:
	case record == nil:
		rp.challenge(w, "", "log in first")
	default:
		id := record.Identity
		rp.answer(w, http.StatusOK, map[string]any{
			"sub": id.Subject, "preferred_username": id.Name, "email": id.Email, "groups": id.Groups, "roles": id.Roles,
			"provider": id.Provider, "offline": id.Offline,
		})
	}
}

// logout asks on GET, because a link must not log anybody out, and acts on POST.
// The grant stays: background access has its own place to be removed.
func (rp *RelyingParty) logout(w http.ResponseWriter, r *http.Request) {
	cookie, record, ok := rp.current(w, r)
	if !ok {
		return
	}
	switch r.Method {
	case http.MethodGet:
		if record == nil {
			rp.page(w, r, http.StatusOK, "loggedout", "Logged out", nil)
			return
		}
		rp.page(w, r, http.StatusOK, "logout", "Log out", logoutPage{
			User: record.Identity.Name, CSRF: rp.proof(cookie, "logout"), Offline: record.Identity.Offline,
		})
	case http.MethodPost:
		if record == nil {
			http.Redirect(w, r, loggedOutPath, http.StatusSeeOther)
			return
		}
		if !rp.proven(w, r, cookie, "logout") {
			return
		}
		ctx := r.Context()
		rp.endSession(ctx, w, r)
		rp.config.Events("logout", map[string]any{
			"site": rp.config.Site.String(), "provider": rp.config.Provider.Name, "sub": record.Identity.Subject,
		})
		http.Redirect(w, r, rp.endSessionURL(ctx, record), http.StatusSeeOther)
	default:
		w.Header().Set("Allow", "GET, POST")
		rp.fail(w, r, http.StatusMethodNotAllowed, "invalid_request", "This address logs out, by a form.")
	}
}

// endSessionURL leads to the provider's logout (OpenID Connect RP-Initiated
// Logout §2), or stays here if it has none or is away.
func (rp *RelyingParty) endSessionURL(ctx context.Context, record *session.Record) string {
	here := rp.onSite(loggedOutPath)
	d, err := rp.discover(ctx)
	if err != nil || d.endSession == "" {
		return here
	}
	u, err := url.Parse(d.endSession)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return here
	}
	q := u.Query()
	q.Set("id_token_hint", record.IDToken)
	q.Set("client_id", rp.config.Provider.ClientID)
	q.Set("post_logout_redirect_uri", LoggedOutURL(rp.config.Site))
	u.RawQuery = q.Encode()
	return u.String()
}

// endSession ends the browser's session here. A store that does not answer is
// told in the log: the browser loses its cookie in any case.
func (rp *RelyingParty) endSession(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	if cookie := rp.sessionCookie(r); cookie != "" {
		if err := rp.sessions.End(ctx, cookie); err != nil {
			rp.config.Log.ErrorContext(ctx, "logging out", "site", rp.config.Site.String(), "err", err)
		}
	}
	rp.setCookie(w, "session", "", -1)
}

// resume takes the buttons of the refusal page: on without background access, or
// once more.
func (rp *RelyingParty) resume(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		rp.fail(w, r, http.StatusMethodNotAllowed, "invalid_request", "This address takes the buttons of a page only.")
		return
	}
	cookie, record, ok := rp.current(w, r)
	if !ok {
		return
	}
	if record == nil {
		http.Redirect(w, r, rp.onSite("/"), http.StatusSeeOther)
		return
	}
	back := r.PostFormValue("return")
	if !rp.proven(w, r, cookie, "resume "+back) {
		return
	}
	without := r.PostFormValue("without") != ""
	_, err := rp.sessions.Change(r.Context(), cookie, func(s *session.Record) {
		s.Without = without
		if !without {
			s.Refused = ""
		}
	})
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	http.Redirect(w, r, rp.onSite(back), http.StatusSeeOther)
}

// proof is the CSRF token of a form, bound to the session and to what the form
// does.
func (rp *RelyingParty) proof(cookie, step string) string {
	m := hmac.New(sha256.New, []byte(cookie))
	m.Write([]byte("nightlatch form\x00" + step))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// proven checks the CSRF token of a form; without it 403 is answered.
func (rp *RelyingParty) proven(w http.ResponseWriter, r *http.Request, cookie, step string) bool {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	origin := r.Header.Get("Origin")
	site := rp.config.Site.Scheme + "://" + rp.config.Site.Host
	if (origin == "" || origin == "null" || origin == site) && hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(rp.proof(cookie, step))) {
		return true
	}
	rp.fail(w, r, http.StatusForbidden, "access_denied", "This form is not valid in this browser any more. Go back and try again.")
	return false
}
