package jobs

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

const (
	pageDefault, pageMost = 100, 1000
	// scanStep grants are read at once, at most scanMost for one page: a rule
	// that few of many grants fit answers a short page and a cursor.
	scanStep, scanMost = 500, 5000
)

// View is a grant as jobs and operators see it; times are Unix seconds, absent if
// unknown.
type View struct {
	GrantID    string `json:"grant_id"`
	Sub        string `json:"sub"`
	User       string `json:"user,omitempty"`
	Provider   string `json:"provider"`
	Site       string `json:"site"`
	Scope      string `json:"scope"`
	Status     string `json:"status"`
	CreatedAt  int64  `json:"created_at"`
	LastUsedAt int64  `json:"last_used_at,omitempty"`
	IdleAt     int64  `json:"idle_at,omitempty"`
	MaxAt      int64  `json:"max_at,omitempty"`
}

// grants is GET /grants: what this job's rule allows, in the order of ids.
func (h *Handler) grants(w http.ResponseWriter, r *http.Request, rule *rule, form url.Values) *failure {
	limit := pageDefault
	if s := form.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > pageMost {
			return malformed("limit must be a number from 1 to 1000")
		}
		limit = n
	}
	page := h.scan
	if rule.listed() {
		page = h.lookUp
	}
	found, next, err := page(r.Context(), rule, form.Get("cursor"), limit)
	if err != nil {
		return failed(err, rule.site)
	}
	answer := struct {
		Grants []View `json:"grants"`
		Next   string `json:"next,omitempty"`
	}{Grants: make([]View, 0, len(found)), Next: next}
	for i := range found {
		answer.Grants = append(answer.Grants, ViewOf(&found[i], rule.site.URL))
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// ViewOf a grant at a site.
func ViewOf(g *vault.Grant, site string) View {
	return View{
		GrantID: g.ID, Sub: g.Sub, User: g.Username, Provider: g.Provider, Site: site,
		Scope: strings.Join(g.Scopes, " "), Status: g.Status(), CreatedAt: unix(g.CreatedAt),
		LastUsedAt: unix(g.LastUsedAt), IdleAt: unix(g.IdleAt()), MaxAt: unix(g.MaxAt),
	}
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// lookUp is a page for a rule that names its people.
func (h *Handler) lookUp(ctx context.Context, rule *rule, cursor string, limit int) (found []vault.Grant, next string, err error) {
	for _, p := range rule.users {
		some, err := h.vault.Find(ctx, p.query(rule.site))
		if err != nil {
			return nil, "", err
		}
		for _, g := range some {
			if g.ID > cursor && rule.covers(&g) && rule.consented(&g) {
				found = append(found, g)
			}
		}
	}
	slices.SortFunc(found, func(a, b vault.Grant) int { return cmp.Compare(a.ID, b.ID) })
	found = slices.CompactFunc(found, func(a, b vault.Grant) bool { return a.ID == b.ID })
	if len(found) > limit {
		return found[:limit], found[limit-1].ID, nil
	}
	return found, "", nil
}

// scan is a page for a rule that fits people it does not name.
func (h *Handler) scan(ctx context.Context, rule *rule, cursor string, limit int) (found []vault.Grant, next string, err error) {
	for range scanMost / scanStep {
		some, err := h.vault.List(ctx, rule.site.Provider, rule.site.Client, cursor, scanStep)
		if err != nil {
			return nil, "", err
		}
		for _, g := range some {
			if rule.covers(&g) && rule.consented(&g) {
				if len(found) == limit {
					return found, found[limit-1].ID, nil
				}
				found = append(found, g)
			}
		}
		if len(some) < scanStep {
			return found, "", nil
		}
		cursor = some[len(some)-1].ID
	}
	return found, cursor, nil
}
