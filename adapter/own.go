package adapter

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/nightlatch/nightlatch/page"
)

// Own serves the site's own paths below /.nightlatch/ and tells whether it did.
// It runs for every request of the site, before any matcher, and deletes what a
// client says about who it is.
func (rp *RelyingParty) Own(w http.ResponseWriter, r *http.Request) bool {
	rp.headers.strip(r.Header)
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
	case backchannelPath:
		rp.backchannel(w, r)
	case resumePath:
		rp.resume(w, r)
	case userinfoPath:
		rp.userinfo(w, r)
	case authPath:
		rp.auth(w, r)
	case rp.pages.StylePath:
		page.Stylesheet(w)
	default:
		rp.fail(w, r, http.StatusNotFound, "not_found", "There is no such page here.")
	}
	return true
}

// method tells whether a request has one of the methods; else 405 is answered.
func (rp *RelyingParty) method(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	rp.fail(w, r, http.StatusMethodNotAllowed, "invalid_request", "This address takes "+strings.Join(methods, " and ")+" only.")
	return false
}

// userinfo tells a page's script who is logged in.
func (rp *RelyingParty) userinfo(w http.ResponseWriter, r *http.Request) {
	if !rp.method(w, r, http.MethodGet) {
		return
	}
	_, record, err := rp.session(r)
	switch {
	case err != nil:
		rp.unavailable(w, r, err)
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

// auth is for another proxy that asks before it lets a request through: 200 with
// Remote-User and kin, 401, 403, or for a browser the way to the login. What
// that proxy says of the request (X-Forwarded-Uri) only tells where a browser
// comes back to on this site; nothing is allowed because of it.
func (rp *RelyingParty) auth(w http.ResponseWriter, r *http.Request) {
	id := nobody
	if raw, ok := bearerToken(r); ok {
		var err error
		if id, err = rp.verifyBearer(r.Context(), raw); err != nil {
			rp.refuseBearer(w, r, err)
			return
		}
	} else if _, record, err := rp.session(r); err != nil {
		rp.unavailable(w, r, err)
		return
	} else if record != nil {
		id = &record.Identity
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	switch {
	case !id.Anonymous() && (rp.config.Allow == nil || rp.config.Allow(*id)):
		h.Set("Remote-User", id.Name)
		h.Set("Remote-Name", id.Subject)
		h.Set("Remote-Email", id.Email)
		h.Set("Remote-Groups", strings.Join(id.Groups, ","))
		w.WriteHeader(http.StatusOK)
	case !id.Anonymous():
		rp.answer(w, http.StatusForbidden, notAllowed)
	case navigation(r) && (r.Header.Get("X-Forwarded-Method") == "" || r.Header.Get("X-Forwarded-Method") == http.MethodGet):
		back := "/"
		if u, err := url.ParseRequestURI(r.Header.Get("X-Forwarded-Uri")); err == nil {
			back = requestURI(u)
		}
		rp.begin(w, r, flow{Return: back})
	default:
		rp.challenge(w, "", "log in first")
	}
}

var notAllowed = map[string]string{"error": "access_denied", "error_description": "this account may not use this site"}
