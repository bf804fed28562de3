package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/nightlatch/nightlatch/adapter/jobs"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

// sessionView is a browser session as an operator sees it; times are Unix seconds.
// The id is a hash of the cookie and opens nothing.
type sessionView struct {
	ID         string `json:"session_id"`
	Sub        string `json:"sub"`
	User       string `json:"user,omitempty"`
	Provider   string `json:"provider"`
	Offline    bool   `json:"offline"` // background access was granted
	CreatedAt  int64  `json:"created_at"`
	LastSeenAt int64  `json:"last_seen_at"` // to a tenth of session_idle
	EndsAt     int64  `json:"ends_at"`      // if nobody uses it from now on
}

// asked is what a request for sessions or grants names.
type asked struct {
	site   *Site
	at     *siteProvider // the one that is named, or the site's only one; nil: any
	sub    string
	cursor string
	limit  int
}

const (
	pageDefault = 100
	pageMost    = 1000
)

// readAsked reads the query: the names given are the ones known, each once. The
// site may be left out where there is only one.
func readAsked(a *App, r *http.Request, known ...string) (asked, error) {
	bad := func(format string, args ...any) (asked, error) {
		return asked{}, apiError(http.StatusBadRequest, fmt.Errorf(format, args...))
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return bad("the query cannot be read")
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return bad("unknown parameter %q: want %s", name, strings.Join(known, ", "))
		case len(values) > 1:
			return bad("parameter %s is given twice", name)
		}
	}
	q := asked{sub: query.Get("sub"), cursor: query.Get("cursor"), limit: pageDefault}
	if query.Has("limit") {
		if q.limit, err = strconv.Atoi(query.Get("limit")); err != nil || q.limit < 1 || q.limit > pageMost {
			return bad("limit must be a number from 1 to %d", pageMost)
		}
	}
	name := strings.TrimSuffix(query.Get("site"), "/")
	var declared []string
	for _, s := range a.sites {
		if s.URL == name || name == "" && len(a.sites) == 1 {
			q.site = s
			return q, q.readProvider(query.Get("provider"))
		}
		declared = append(declared, s.URL)
	}
	switch {
	case len(declared) == 0:
		return asked{}, apiError(http.StatusNotFound, errors.New("no site has nightlatch"))
	case name == "":
		return bad("want the parameter site: one of %s", strings.Join(declared, ", "))
	}
	return asked{}, apiError(http.StatusNotFound, fmt.Errorf("site %q has no nightlatch: want one of %s", name, strings.Join(declared, ", ")))
}

// readProvider finds the provider that is asked about.
func (q *asked) readProvider(name string) error {
	if name == "" && len(q.site.providers) == 1 {
		q.at = q.site.providers[0]
		return nil
	}
	if q.at = q.site.at(name); q.at == nil && name != "" {
		return apiError(http.StatusNotFound, fmt.Errorf("site %s has no provider %q", q.site.URL, name))
	}
	return nil
}

// one is the provider that a request has to be about.
func (q *asked) one() (*siteProvider, error) {
	if q.at == nil {
		return nil, apiError(http.StatusBadRequest, fmt.Errorf("site %s has several providers: want the parameter provider", q.site.URL))
	}
	return q.at, nil
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(v)
}

// listSessions is GET /nightlatch/sessions.
func listSessions(a *App, w http.ResponseWriter, r *http.Request) error {
	q, err := readAsked(a, r, "site", "provider", "sub", "limit", "cursor")
	if err != nil {
		return err
	}
	provider := ""
	if q.sub != "" {
		p, err := q.one()
		if err != nil {
			return err
		}
		provider = p.name
	}
	found, next, err := q.site.rp.Sessions(r.Context(), provider, q.sub, q.cursor, q.limit)
	if err != nil {
		return notNow(a, w, err)
	}
	answer := struct {
		Sessions []sessionView `json:"sessions"`
		Next     string        `json:"next,omitempty"`
	}{make([]sessionView, 0, len(found)), next}
	for _, s := range found {
		answer.Sessions = append(answer.Sessions, sessionView{
			ID: s.ID, Sub: s.Identity.Subject, User: s.Identity.Name, Provider: s.Identity.Provider, Offline: s.Identity.Offline,
			CreatedAt: s.Created.Unix(), LastSeenAt: s.LastSeen.Unix(), EndsAt: s.Ends.Unix(),
		})
	}
	return writeJSON(w, answer)
}

// endSessions is DELETE /nightlatch/sessions: all of a person's, and the access
// tokens that were issued before.
func endSessions(a *App, w http.ResponseWriter, r *http.Request) error {
	q, err := readAsked(a, r, "site", "provider", "sub")
	if err != nil {
		return err
	}
	if q.sub == "" {
		return apiError(http.StatusBadRequest, errors.New("want the parameter sub: whose sessions"))
	}
	p, err := q.one()
	if err != nil {
		return err
	}
	if err := q.site.rp.Of(p.name).EndSubject(r.Context(), q.sub); err != nil {
		return notNow(a, w, err)
	}
	a.loggedOut(q.site, p.name, q.sub)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// endSession is DELETE /nightlatch/sessions/{id}.
func endSession(a *App, w http.ResponseWriter, r *http.Request) error {
	q, err := readAsked(a, r, "site", "provider")
	if err != nil {
		return err
	}
	ended, err := q.site.rp.EndBrowserSession(r.Context(), r.PathValue("id"))
	switch {
	case err != nil:
		return notNow(a, w, err)
	case ended == nil:
		return apiError(http.StatusNotFound, fmt.Errorf("site %s has no such session", q.site.URL))
	}
	a.loggedOut(q.site, ended.Identity.Provider, ended.Identity.Subject)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// loggedOut tells that an operator ended sessions.
func (a *App) loggedOut(s *Site, provider, sub string) {
	a.emit("site_logout", map[string]any{"site": s.URL, "provider": provider, "sub": sub, "by": "operator"})
}

// listGrants is GET /nightlatch/grants.
func listGrants(a *App, w http.ResponseWriter, r *http.Request) error {
	q, err := readAsked(a, r, "site", "provider", "sub", "limit", "cursor")
	if err != nil {
		return err
	}
	p, err := q.one()
	if err != nil {
		return err
	}
	var found []vault.Grant
	next := ""
	if q.sub != "" {
		found, err = a.lease.vault.Find(r.Context(), vault.Query{Provider: p.name, Client: p.clientID, Sub: q.sub})
		found, next = pageOf(found, q.cursor, q.limit)
	} else if found, err = a.lease.vault.List(r.Context(), p.name, p.clientID, q.cursor, q.limit); len(found) == q.limit {
		next = found[len(found)-1].ID
	}
	if err != nil {
		return notNow(a, w, err)
	}
	answer := struct {
		Grants []jobs.View `json:"grants"`
		Next   string      `json:"next,omitempty"`
	}{make([]jobs.View, 0, len(found)), next}
	for i := range found {
		answer.Grants = append(answer.Grants, jobs.ViewOf(&found[i], found[i].Site))
	}
	return writeJSON(w, answer)
}

// pageOf is a page of a short list of grants, in the order of their ids.
func pageOf(all []vault.Grant, cursor string, limit int) (page []vault.Grant, next string) {
	for _, g := range slices.SortedFunc(slices.Values(all), func(a, b vault.Grant) int { return strings.Compare(a.ID, b.ID) }) {
		switch {
		case g.ID <= cursor:
		case len(page) == limit:
			return page, page[limit-1].ID
		default:
			page = append(page, g)
		}
	}
	return page, ""
}

// revokeGrant is DELETE /nightlatch/grants/{id}: at the provider and here.
func revokeGrant(a *App, w http.ResponseWriter, r *http.Request) error {
	q, err := readAsked(a, r, "site", "provider")
	if err != nil {
		return err
	}
	p, err := q.one()
	if err != nil {
		return err
	}
	found, err := a.lease.vault.Find(r.Context(), vault.Query{Provider: p.name, Client: p.clientID, GrantID: r.PathValue("id")})
	if err == nil && len(found) == 0 {
		return apiError(http.StatusNotFound, fmt.Errorf("site %s has no such grant", q.site.URL))
	}
	if err == nil {
		err = a.lease.vault.Revoke(r.Context(), found[0].ID)
	}
	if err != nil {
		return notNow(a, w, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// notNow answers that the store or the provider did not; the log has the cause.
func notNow(a *App, w http.ResponseWriter, err error) error {
	a.log.Error("serving the admin endpoint", "error", err)
	w.Header().Set("Retry-After", "2")
	text := "the store does not answer at the moment: nothing has happened"
	if errors.As(err, new(*vault.Error)) {
		text = "the provider does not answer at the moment, or does not take it: the grant is as it was"
	}
	return apiError(http.StatusServiceUnavailable, errors.New(text))
}
