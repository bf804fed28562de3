package adapter

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

// Guard decides about a request that Own has left; original is what the browser asked
// for, before rewrites. With ok it is the app's: r is
// without cookies and parameters that are not the client's to send, and id says
// who makes it, nobody on an open path perhaps. Otherwise it has been answered.
// An identity is shared by requests: nobody may change it.
//
// A request of a known session costs no storage access, but on an offline path,
// where the grant is looked up.
func (rp *RelyingParty) Guard(w http.ResponseWriter, r *http.Request, original *url.URL) (id *session.Identity, ok bool) {
	id, ok = rp.decide(w, r, original)
	if !ok {
		return id, false
	}
	if err := rp.prove(r, id); err != nil {
		rp.unavailable(w, r, err)
		return id, false
	}
	return id, true
}

// prove adds the assertion of who makes a request, where the app gets one.
func (rp *RelyingParty) prove(r *http.Request, id *session.Identity) error {
	if !rp.config.Assertion || id.Anonymous() {
		return nil
	}
	proof, err := rp.assert(r.Context(), id)
	if err == nil {
		r.Header[AssertionHeader] = []string{proof}
	}
	return err
}

// Validate tells who makes a request, for something else that guards it: whom
// Guard would let in with the same token or session, nobody otherwise. It answers
// nothing and redirects nobody. What it lets in is the app's, as after Guard. An
// error says that the request cannot be judged now.
func (rp *RelyingParty) Validate(r *http.Request, original *url.URL) (*session.Identity, error) {
	rp.headers.strip(r.Header)
	id, err := rp.validate(r, original)
	if err != nil || id.Anonymous() {
		return nobody, err
	}
	forApp(r, true)
	return id, rp.prove(r, id)
}

func (rp *RelyingParty) validate(r *http.Request, original *url.URL) (*session.Identity, error) {
	var refused error
	if raw, ok := bearerToken(r); ok {
		id, err := rp.verifyBearer(r.Context(), raw)
		switch {
		case err == nil && rp.allowed(r, id):
			return id, nil
		case err == nil:
			return nobody, nil
		case errors.As(err, new(*unjudged)):
			refused = err // unless a session of ours stands beside it
		}
	}
	q, err := rp.look(r, original, false)
	if err != nil {
		return nobody, err
	}
	q.navigation = false // nobody is sent anywhere
	if judge(q.facts) != pass {
		return nobody, refused
	}
	return identityOf(q), nil
}

func (rp *RelyingParty) decide(w http.ResponseWriter, r *http.Request, original *url.URL) (id *session.Identity, ok bool) {
	raw, ok := bearerToken(r)
	if !ok {
		id, ok, _ = rp.guardBrowser(w, r, original, true)
		return id, ok
	}
	id, err := rp.verifyBearer(r.Context(), raw)
	if err == nil {
		return rp.guardBearer(w, r, id)
	}
	// The token may be the app's own, beside a session of ours.
	id, ok, answered := rp.guardBrowser(w, r, original, false)
	if !ok && !answered {
		rp.refuseBearer(w, r, err)
	}
	return id, ok
}

// request is what the guard knows of a request.
type request struct {
	facts
	original *url.URL
	asked    []string // by our parameter
	cookie   string
	record   *session.Record // nil: nobody is logged in
	scopes   []string        // for background access, where it is wanted
	jobs     vault.Jobs      // that the person has still to allow by name
}

// guardBrowser judges a request by its session. With anybody false it leaves
// what would get 401 or a login alone: neither ok nor answered.
func (rp *RelyingParty) guardBrowser(w http.ResponseWriter, r *http.Request, original *url.URL, anybody bool) (id *session.Identity, ok, answered bool) {
	q, err := rp.look(r, original, rp.config.Public(r))
	if err != nil {
		rp.unavailable(w, r, err)
		return nobody, false, true
	}
	v := judge(q.facts)
	if (v == logIn || v == unauthorized) && !anybody {
		return nobody, false, false
	}
	if q.parameter {
		if err := allowedScopes(q.asked, union(rp.config.RequestScopes, rp.config.JobScopes())); err != nil {
			rp.config.Refused("invalid_scope")
			rp.fail(w, r, http.StatusBadRequest, "invalid_scope", "The address asks for access that this site does not hand out: %s.", err.Error())
			return nobody, false, true
		}
	}
	if v == pass {
		forApp(r, !q.public)
		return identityOf(q), true, false
	}
	rp.answerBrowser(w, r, q, v)
	return identityOf(q), false, true
}

// answerBrowser answers a request that does not reach the app.
func (rp *RelyingParty) answerBrowser(w http.ResponseWriter, r *http.Request, q request, v verdict) {
	page := requestURI(q.original)
	switch v {
	case logIn:
		if q.cookie != "" {
			rp.setCookie(w, "session", "", -1) // of a session that has ended
		}
		start := flow{Return: page}
		if q.wanted() {
			start.Offline, start.Scopes = true, q.scopes
		}
		if rp.parties.ask(w, r, start) {
			return
		}
		rp.begin(w, r, start)
	case stepUp:
		rp.stepUp(w, r, q)
	case renew:
		rp.begin(w, r, flow{Return: page, Silent: true, Subject: q.record.Identity.Subject})
	case cleanURL:
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, rp.onSite(withoutParameter(page)), http.StatusSeeOther)
	case unauthorized:
		rp.challenge(w, r, "", "log in first")
	case forbidden:
		rp.forbid(w, r, q.record)
	case refused:
		rp.refuse(w, r, q.cookie, q.facts.refused, page)
	case nameJobs:
		rp.nameJobs(w, r, q, page)
	case needsGrant:
		rp.config.Refused("insufficient_scope")
		consent := rp.onSite(q.original.EscapedPath())
		if wantsPage(r) {
			rp.failure(w, r, fault{
				status: http.StatusForbidden, heading: "No background access", code: "insufficient_scope", again: consent,
				text: "This page wants background access (offline_access), so what you sent was not taken. Allow it first, then send it again.",
			})
			return
		}
		rp.answer(w, http.StatusForbidden, map[string]string{
			"error": "insufficient_scope", "error_description": "a person has to allow background access (offline_access) first",
			"consent_uri": consent,
		})
	}
}

var nobody = new(session.Identity)

// identityOf a request that may pass: of a public path only if it would anywhere.
func identityOf(q request) *session.Identity {
	switch {
	case q.record == nil || !q.allowed:
		return nobody
	case !q.wanted() || q.record.Identity.Offline == q.granted:
		return &q.record.Identity
	}
	id := q.record.Identity
	id.Offline = q.granted
	return &id
}

func (rp *RelyingParty) allowed(r *http.Request, id *session.Identity) bool {
	return !id.Anonymous() && (rp.config.Allow == nil || rp.config.Allow(r, *id))
}

func (f facts) wanted() bool { return f.parameter || f.offline.Required || f.offline.Optional }

// look gathers what is known of a request.
func (rp *RelyingParty) look(r *http.Request, original *url.URL, public bool) (request, error) {
	ctx := r.Context()
	q := request{original: original}
	q.navigation, q.public = navigation(r), public
	if !q.public {
		// On an open path a parameter is the app's, whatever it says.
		q.asked, _ = splitScope(q.original.RawQuery)
		q.parameter, q.offline = q.asked != nil, rp.config.Offline(r)
	}
	if q.wanted() {
		q.scopes = rp.offlineScopes(q.asked)
	}
	var err error
	q.cookie, q.record, err = rp.session(r)
	if err != nil || q.record == nil {
		return q, err
	}
	if !q.public {
		if q.record, q.stale, err = rp.fresh(ctx, q.cookie, q.record); err != nil || q.record == nil {
			return q, err
		}
	}
	q.loggedIn, q.facts.refused, q.without = true, q.record.Refused, q.record.Without
	q.allowed = rp.allowed(r, &q.record.Identity)
	if !q.wanted() || !q.allowed {
		return q, nil
	}
	// offline_access itself need not be named by a provider, and is what a grant
	// is.
	needed := without(q.scopes, append(q.record.Denied, oidc.ScopeOfflineAccess)...)
	q.granted, err = rp.config.Grants.Has(ctx, rp.config.Provider.Name, rp.config.Provider.ClientID, q.record.Identity.Subject, needed)
	if !q.granted && len(without(needed, q.record.Scopes...)) == 0 && rp.config.Now().Sub(q.record.Granted) < grantStands {
		q.facts.refused = "The login provider granted background access, and took it back at once."
	}
	if err != nil || !q.granted {
		return q, err
	}
	g, err := rp.grantOf(ctx, q.record.Identity.Subject)
	q.jobs = rp.unallowed(&g)
	// A grant that our realm gave before there were jobs says nothing of them.
	q.unnamed, q.atProvider = len(q.jobs) > 0, g.JobsAtProvider || rp.config.Provider.Local
	if q.unnamed && q.atProvider && !q.removed() && q.facts.refused == "" && rp.config.Now().Sub(q.record.Granted) < grantStands {
		q.facts.refused = "The login provider did not note which jobs you allow to act for you."
	}
	return q, err
}

// removed tells whether a job is not allowed any more that the last login named: the
// person took it back since.
func (q *request) removed() bool {
	return slices.ContainsFunc(q.record.Named, func(job string) bool { _, missing := q.jobs[job]; return missing })
}

// grantStands is how long what a login granted must work: a grant that does not
// is not asked for again by itself.
const grantStands = 30 * time.Second

// session returns the live session of a request and its cookie. A browser may
// send several cookies of the name, of a parent domain for one: the first that
// lives counts.
func (rp *RelyingParty) session(r *http.Request) (cookie string, _ *session.Record, err error) {
	seen := 0
	for name, value := range cookies(r.Header) {
		if name != rp.sessionCookie {
			continue
		}
		if seen++; seen > 4 {
			break
		}
		record, err := rp.sessions.Get(r.Context(), value)
		if err != nil {
			return "", nil, err
		}
		// After a change of the site's provider its people log in again.
		if record != nil && record.Identity.Provider == rp.config.Provider.Name {
			return value, record, nil
		}
		cookie = value
	}
	return cookie, nil, nil
}

// stepUp asks for background access of somebody who is logged in, and for all
// that was granted before: a new token takes the place of the old one.
func (rp *RelyingParty) stepUp(w http.ResponseWriter, r *http.Request, q request) {
	had, err := rp.grantOf(r.Context(), q.record.Identity.Subject)
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	rp.begin(w, r, flow{Return: requestURI(q.original), Offline: true, Scopes: union(q.scopes, without(had.Scopes, q.record.Denied...))})
}

// forApp takes from a request what is not for the app: our cookies, and where it
// is guarded our parameter.
func forApp(r *http.Request, guarded bool) {
	stripCookies(r.Header)
	if !guarded {
		return
	}
	if asked, rest := splitScope(r.URL.RawQuery); asked != nil {
		u := *r.URL
		u.RawQuery, u.ForceQuery = rest, false
		r.URL, r.RequestURI = &u, requestURI(&u)
	}
}

// fresh renews claims that are due (dueAt) by the session's own refresh token. Without one it asks for a navigation (stale). A session that
// the provider does not vouch for any more ends: the record is nil then.
func (rp *RelyingParty) fresh(ctx context.Context, cookie string, record *session.Record) (_ *session.Record, stale bool, err error) {
	now := rp.config.Now()
	if now.Before(dueAt(record, rp.config.SessionRecheck)) || now.UnixNano() < rp.recheckAt.Load() {
		return record, false, nil
	}
	if record.RefreshToken == "" {
		return record, true, nil
	}
	// One flight per session, which outlives its asker: a closed tab must not
	// lose a rotated token.
	v, err, _ := rp.rechecks.Do(cookie, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTime)
		defer cancel()
		return rp.renewClaims(ctx, cookie)
	})
	if err != nil {
		// The provider is away: what it said last stands while the session lives,
		// and nobody waits for it again at once.
		rp.postponeRechecks()
		rp.config.Log.WarnContext(ctx, "renewing claims", "err", err)
		return record, false, nil
	}
	renewed, _ := v.(*session.Record)
	return renewed, false, nil
}

// postponeRechecks spares a provider that is away, and those who wait for it.
func (rp *RelyingParty) postponeRechecks() {
	rp.recheckAt.Store(rp.config.Now().Add(30 * time.Second).UnixNano())
}
