package adapter

import (
	"net/http"
	"net/url"
	"strings"
)

// Own serves the site's own paths below /.nightlatch/ and tells whether it did;
// original is what the browser asked for, before rewrites. It runs for every request
// of the site, before any matcher, and deletes what a client says about who it is.
func (rp *RelyingParty) Own(w http.ResponseWriter, r *http.Request, original *url.URL) bool {
	rp.headers.strip(r.Header)
	if !strings.HasPrefix(original.Path, Prefix) {
		return false
	}
	switch original.Path {
	case callbackPath:
		rp.callback(w, r)
	case LogoutPath:
		rp.logout(w, r)
	case loggedOutPath:
		rp.page(w, r, http.StatusOK, "loggedout", "Logged out", nil)
	case backchannelPath:
		rp.backchannel(w, r)
	case resumePath:
		rp.resume(w, r)
	case jobsPath:
		rp.jobs(w, r)
	case userinfoPath:
		rp.userinfo(w, r)
	case certsPath:
		rp.certs(w, r)
	case AuthPath:
		rp.auth(w, r)
	default:
		if rp.pages.Serve(w, r) {
			return true
		}
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
	rp.fail(w, r, http.StatusMethodNotAllowed, "invalid_request", "This address takes %s only.", strings.Join(methods, ", "))
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
		rp.challenge(w, r, "", "log in first")
	default:
		id := record.Identity
		rp.answer(w, http.StatusOK, map[string]any{
			"sub": id.Subject, "preferred_username": id.Name, "email": id.Email, "groups": id.Groups, "roles": id.Roles,
			"provider": id.Provider, "offline": id.Offline,
		})
	}
}

// auth is for another proxy that asks before it lets a request through: 200 with
// Remote-User and kin, else what the request would be answered here: 401, 403, or
// for a browser the way to the login or a page.
//
// What a trusted proxy says of the request (X-Forwarded-Method, -Uri) is judged
// like a request of this site. What anybody else says only tells where a browser
// comes back to on this site; nothing is allowed because of it.
func (rp *RelyingParty) auth(w http.ResponseWriter, r *http.Request) {
	asked := r.Clone(r.Context())
	method, uri := rp.config.Forwarded(r)
	if uri != nil {
		asked.Method, asked.URL, asked.RequestURI = method, uri, requestURI(uri)
	} else if claimed, err := url.ParseRequestURI(r.Header.Get("X-Forwarded-Uri")); err == nil {
		uri = claimed
	} else {
		uri = &url.URL{Path: "/"}
	}
	if m := r.Header.Get("X-Forwarded-Method"); m != "" && m != http.MethodGet {
		asked.Method = m // never more than a GET may
	}
	id, ok := rp.Guard(w, asked, uri)
	if !ok {
		return
	}
	h := w.Header()
	if proof := asked.Header.Get(AssertionHeader); proof != "" {
		h.Set(AssertionHeader, proof)
	}
	h.Set("Cache-Control", "no-store")
	if !id.Anonymous() {
		h.Set("Remote-User", id.Name)
		h.Set("Remote-Name", id.Subject)
		h.Set("Remote-Email", id.Email)
		h.Set("Remote-Groups", strings.Join(id.Groups, ","))
	}
	w.WriteHeader(http.StatusOK)
}

var notAllowed = map[string]string{"error": "access_denied", "error_description": "this account may not use this site"}
