package adapter

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/storage"
)

// logout asks on GET, because a link must not log anybody out, and acts on POST.
// The grant stays: background access has its own place to be removed.
func (rp *RelyingParty) logout(w http.ResponseWriter, r *http.Request) {
	if !rp.method(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	cookie, record, err := rp.session(r)
	switch {
	case err != nil:
		rp.unavailable(w, r, err)
	case record == nil:
		rp.redirect(w, r, LoggedOutURL(rp.config.Site))
	case r.Method == http.MethodGet:
		rp.page(w, r, http.StatusOK, "logout", "Log out", logoutPage{
			User: record.Identity.Name, CSRF: proof(cookie, "logout"), Offline: record.Identity.Offline,
		})
	default:
		form, ok := rp.form(w, r)
		if !ok || !rp.proven(w, r, cookie, "logout", form) {
			return
		}
		rp.endSession(r.Context(), w, r)
		rp.parties.forget(w)
		rp.config.Events("logout", rp.event("sub", record.Identity.Subject))
		rp.redirect(w, r, rp.endSessionURL(r.Context(), record))
	}
}

// endSessionURL leads to the provider's logout (OpenID Connect RP-Initiated
// Logout §2), or stays here if it has none or is away.
func (rp *RelyingParty) endSessionURL(ctx context.Context, record *session.Record) string {
	here := LoggedOutURL(rp.config.Site)
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
	q.Set("post_logout_redirect_uri", here)
	u.RawQuery = q.Encode()
	return u.String()
}

// endSession ends the browser's session here. A store that does not answer is
// told in the log: the browser loses its cookie in any case.
func (rp *RelyingParty) endSession(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	for i, c := range r.CookiesNamed(rp.cookieName("session")) {
		if i == 4 {
			break
		}
		if err := rp.sessions.End(ctx, c.Value); err != nil {
			rp.config.Log.ErrorContext(ctx, "logging out", "err", err)
		}
	}
	rp.setCookie(w, "session", "", -1)
}

// seenLogout remembers a logout token until it expires.
type seenLogout struct {
	Expires time.Time `json:"expires"`
}

var seenLogouts = storage.Table[seenLogout]{Name: "logout_token", Expires: func(s *seenLogout) time.Time { return s.Expires }}

var errReplay = errors.New("logout token was used before")

// backchannel takes a logout token (OpenID Connect Back-Channel Logout §2.5): the
// provider says that a session, or all of a person's, are over. Background
// access is not what it is about.
func (rp *RelyingParty) backchannel(w http.ResponseWriter, r *http.Request) {
	if !rp.method(w, r, http.MethodPost) {
		return
	}
	if form, ok := rp.form(w, r); ok {
		rp.endBy(w, r, form.Get("logout_token"))
	}
}

// endBy judges a logout token and does what it says.
func (rp *RelyingParty) endBy(w http.ResponseWriter, r *http.Request, raw string) {
	d, err := rp.discover(r.Context())
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	now := rp.config.Now()
	token, err := d.verifier.VerifyLogout(rp.clientContext(r.Context()), raw)
	switch {
	case err != nil && d.keys.away():
		rp.unavailable(w, r, err)
		return
	case err == nil && (token.IssuedAt.IsZero() || token.IssuedAt.After(now.Add(maxAhead)) || token.Expiry.After(now.Add(24*time.Hour))):
		err = errors.New("iat or exp is out of range")
	}
	if err == nil {
		err = rp.rememberLogout(r.Context(), token.TokenID, token.Expiry)
	}
	if err == nil {
		// The provider's clock stamped what is over, whatever ours says; a second is what
		// it tells.
		name, at := rp.config.Provider.Name, token.IssuedAt.Add(time.Second-1)
		if token.SessionID != "" {
			err = rp.sessions.EndProviderSession(r.Context(), name, token.SessionID, at)
		} else {
			err = rp.sessions.EndSubject(r.Context(), name, token.Subject, at)
		}
		if err != nil {
			rp.unavailable(w, r, err)
			return
		}
		rp.config.Events("logout", rp.event("sub", token.Subject, "by", "provider"))
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		return
	}
	rp.config.Log.WarnContext(r.Context(), "logout token refused", "err", err)
	rp.answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "the logout token is not valid"})
}

func (rp *RelyingParty) rememberLogout(ctx context.Context, jti string, expires time.Time) error {
	sum := sha256.Sum256([]byte(rp.config.Provider.Issuer + "\x00" + jti)) // unique for its issuer alone
	id := base64.RawURLEncoding.EncodeToString(sum[:])
	return rp.config.Store.Update(ctx, func(tx storage.Tx) error {
		switch _, err := seenLogouts.Get(tx, rp.config.Site.String(), id); {
		case err == nil:
			return errReplay
		case !errors.Is(err, storage.ErrNotFound):
			return err
		}
		return seenLogouts.Put(tx, rp.config.Site.String(), id, &seenLogout{Expires: expires})
	})
}
