package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// verdict is what becomes of a request.
type verdict int

const (
	pass         verdict = iota // to the app
	logIn                       // redirect to the provider
	stepUp                      // redirect for background access
	renew                       // redirect without a page, for fresh claims
	cleanURL                    // redirect to the URL without our parameter
	unauthorized                // 401: nobody is logged in
	forbidden                   // 403: this person may not come in
	refused                     // 403: the page that says why there is no background access
	needsGrant                  // 403 for a program: a person has to consent first
)

// facts is all that a verdict depends on.
type facts struct {
	navigation bool // a top-level GET of a browser
	get        bool
	public     bool
	loggedIn   bool
	allowed    bool
	stale      bool // claims have to be renewed by a navigation
	parameter  bool // ?scope=…offline_access… is in the URL
	offline    Offline
	granted    bool   // a grant holds what is asked for
	refused    string // why there is none, as remembered in the session
	without    bool   // the person goes on without
}

// judge decides. Only a top-level GET is ever redirected to the provider: any
// other request would lose its body or its caller.
func judge(f facts) verdict {
	wanted := f.parameter || f.offline.Required || f.offline.Optional
	switch {
	case !f.loggedIn && f.public && !f.parameter:
		return pass
	case !f.loggedIn && f.navigation:
		return logIn
	case !f.loggedIn && f.public:
		return pass
	case !f.loggedIn:
		return unauthorized
	case !f.allowed && !f.public:
		return forbidden
	case f.stale && f.navigation:
		return renew
	case wanted && !f.granted && !f.without:
		switch {
		case f.refused != "" && !f.offline.Required && !f.parameter:
			return pass // asked once
		case f.refused != "" && f.navigation:
			return refused
		case f.navigation:
			return stepUp
		case f.offline.Required:
			return needsGrant
		}
	}
	if f.parameter && f.navigation {
		return cleanURL
	}
	return pass
}

// Handler guards next: it gets only requests that may pass, with an identity in
// their context (session.FromContext), without cookies and parameters of ours.
// A request of a known session costs no storage read, but for an offline path,
// where the grant is looked up.
func (rp *RelyingParty) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token, ok := bearerToken(r); ok {
			rp.serveBearer(w, r, next, token)
			return
		}
		rp.serveBrowser(w, r, next)
	})
}

func (rp *RelyingParty) serveBrowser(w http.ResponseWriter, r *http.Request, next http.Handler) {
	ctx := r.Context()
	original := rp.config.OriginalURL(r)
	asked, rest, err := splitScope(original.RawQuery, rp.config.RequestScopes)
	f := facts{
		navigation: navigation(r), get: r.Method == http.MethodGet, public: rp.config.Public(r),
		parameter: asked != nil, offline: rp.config.Offline(r),
	}
	if err != nil {
		rp.fail(w, r, http.StatusBadRequest, "invalid_scope", "The address asks for "+err.Error()+", which this site does not hand out.")
		return
	}
	cookie := rp.sessionCookie(r)
	record, err := rp.sessions.Get(ctx, cookie)
	if err == nil && record != nil {
		record, f.stale, err = rp.fresh(ctx, cookie, record)
	}
	var scopes []string
	if err == nil && record != nil {
		f.loggedIn = true
		f.allowed = rp.config.Allow == nil || rp.config.Allow(record.Identity)
		f.refused, f.without = record.Refused, record.Without
		if f.parameter || f.offline.Required || f.offline.Optional {
			scopes = rp.offlineScopes(asked)
			f.granted, err = rp.config.Grants.Has(ctx, rp.config.Provider.Name, rp.config.Provider.ClientID, record.Identity.Subject, grantable(scopes))
		}
	}
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	// The page that the browser comes back to, without our parameter.
	page := original.EscapedPath()
	if rest != "" {
		page += "?" + rest
	}
	switch judge(f) {
	case logIn:
		start := flow{Return: page}
		if f.parameter || f.offline.Required || f.offline.Optional {
			start.Offline, start.Scopes = true, rp.offlineScopes(asked)
		}
		rp.begin(w, r, start)
	case stepUp:
		rp.begin(w, r, flow{Return: page, Offline: true, Scopes: scopes})
	case renew:
		rp.begin(w, r, flow{Return: requestURI(original), Silent: true, Subject: record.Identity.Subject})
	case cleanURL:
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, rp.onSite(page), http.StatusSeeOther)
	case unauthorized:
		rp.challenge(w, "", "log in first")
	case forbidden:
		rp.forbid(w, r, record)
	case refused:
		rp.refuse(w, r, cookie, record, page)
	case needsGrant:
		rp.answer(w, http.StatusForbidden, map[string]string{
			"error": "insufficient_scope", "error_description": "a person has to allow background access first",
			"consent_uri": rp.onSite(original.EscapedPath()),
		})
	case pass:
		id := session.Identity{}
		if record != nil && (f.allowed || !f.public) {
			id = record.Identity
			id.Offline = f.granted || id.Offline && !f.offline.Required && !f.offline.Optional
		}
		rp.forward(w, r, next, id, asked != nil)
	}
}

// forward hands the request to the app as its identity's.
func (rp *RelyingParty) forward(w http.ResponseWriter, r *http.Request, next http.Handler, id session.Identity, parameter bool) {
	rp.config.Apply(r, id)
	stripCookies(r.Header)
	if parameter {
		stripScope(r.URL)
		r.RequestURI = requestURI(r.URL)
	}
	next.ServeHTTP(w, r.WithContext(session.NewContext(r.Context(), id)))
}

// navigation tells a browser's top-level GET from everything else: from a
// program's request, a script's, a frame's, and from one that carries a body.
func navigation(r *http.Request) bool {
	if r.Method != http.MethodGet || r.Header.Get("X-Requested-With") != "" || upgrades(r) {
		return false
	}
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	if mode != "" || dest != "" {
		return mode == "navigate" && (dest == "document" || dest == "")
	}
	// Browsers without fetch metadata say text/html, programs do not.
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

func upgrades(r *http.Request) bool { return r.Header.Get("Upgrade") != "" }

// splitScope finds ?scope=… that contains offline_access: only then it is ours
// (A03). It returns the scopes asked for and the query without the parameter,
// byte by byte as it was. A scope outside the allowed ones is an error.
func splitScope(query string, allowed []string) (asked []string, rest string, err error) {
	if !strings.Contains(query, "scope") {
		return nil, query, nil
	}
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		scopes, mine := scopeParameter(part)
		if !mine {
			kept = append(kept, part)
			continue
		}
		for _, s := range scopes {
			if !slices.Contains(alwaysAllowed, s) && !slices.Contains(allowed, s) {
				err = errors.New("the scope " + printable(s))
			}
			if !slices.Contains(asked, s) {
				asked = append(asked, s)
			}
		}
	}
	return asked, strings.Join(kept, "&"), err
}

// alwaysAllowed is what an address may ask for whatever is configured.
var alwaysAllowed = []string{"openid", "offline_access", "profile", "email"}

// scopeParameter tells whether one part of a query is our parameter.
func scopeParameter(part string) (scopes []string, mine bool) {
	name, value, _ := strings.Cut(part, "=")
	if n, err := url.QueryUnescape(name); err != nil || n != "scope" {
		return nil, false
	}
	v, err := url.QueryUnescape(value)
	if err != nil {
		return nil, false
	}
	scopes = strings.Fields(v)
	return scopes, slices.Contains(scopes, "offline_access")
}

// stripScope takes our parameter out of the URL that the app sees.
func stripScope(u *url.URL) {
	var kept []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if _, mine := scopeParameter(part); !mine {
			kept = append(kept, part)
		}
	}
	u.RawQuery = strings.Join(kept, "&")
	u.ForceQuery = false
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x21 || r > 0x7e {
			return '?'
		}
		return r
	}, s[:min(64, len(s))])
}

func requestURI(u *url.URL) string {
	uri := u.EscapedPath()
	if u.RawQuery != "" {
		uri += "?" + u.RawQuery
	}
	return uri
}

// offlineScopes is what an offline login asks for: what jobs may need, so that
// one consent is enough, and what the address named.
func (rp *RelyingParty) offlineScopes(asked []string) []string {
	scopes := []string{"openid", "offline_access"}
	for _, s := range slices.Concat(rp.config.JobScopes(), asked) {
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// grantable leaves out offline_access: a provider may grant it without naming
// it, and a grant is nothing else.
func grantable(scopes []string) []string {
	var out []string
	for _, s := range scopes {
		if s != "offline_access" {
			out = append(out, s)
		}
	}
	return out
}

// fresh renews claims that are older than SessionRecheck by the session's own
// refresh token. Without one it asks for a navigation (stale). A session that
// the provider does not vouch for any more ends: record is nil then.
func (rp *RelyingParty) fresh(ctx context.Context, cookie string, record *session.Record) (_ *session.Record, stale bool, err error) {
	if rp.config.Now().Sub(record.Checked) < rp.config.SessionRecheck {
		return record, false, nil
	}
	if record.RefreshToken == "" {
		return record, true, nil
	}
	// One flight per session, which outlives its asker: a closed tab must not
	// lose a rotated token.
	v, err, _ := rp.rechecks.Do(cookie, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		return rp.renewClaims(ctx, cookie)
	})
	if err != nil {
		// The provider is away: what it said last stands while the session lives.
		rp.config.Log.WarnContext(ctx, "renewing claims", "site", rp.config.Site.String(), "err", err)
		return record, false, nil
	}
	return v.(*session.Record), false, nil
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
