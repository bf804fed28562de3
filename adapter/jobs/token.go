package jobs

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// token is POST /token: an access token for one person.
func (h *Handler) token(w http.ResponseWriter, r *http.Request, rule *rule, form url.Values) *failure {
	a, f := parseAsk(form)
	if f != nil {
		return f
	}
	if f := rule.permits(a); f != nil {
		return f
	}
	g, f := h.grant(r, rule, a.who)
	if f != nil {
		return f
	}
	if !rule.consented(g) {
		return notAllowed(rule)
	}
	scopes, f := rule.scopes(a, g)
	if f != nil {
		return f
	}
	t, err := h.vault.Token(r.Context(), g.ID, vault.Ask{Scopes: scopes, Resource: a.resource, MinTTL: a.minTTL, Job: rule.Name})
	if err != nil {
		return failed(err, rule.site)
	}
	h.events("job_token", map[string]any{
		"job": rule.Name, "grant_id": g.ID, "provider": g.Provider, "client": g.Client, "site": rule.site.URL,
		"sub": g.Sub, "user": g.Username, "scope": t.Scope, "resource": a.resource, "purpose": a.purpose,
	})
	writeJSON(w, http.StatusOK, struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
		ExpiresAt   int64  `json:"expires_at"`
		Scope       string `json:"scope"`
		GrantID     string `json:"grant_id"`
	}{t.AccessToken, "Bearer", max(int64(t.ExpiresAt.Sub(h.now()).Seconds()), 0), t.ExpiresAt.Unix(), t.Scope, t.GrantID})
	return nil
}

// permits judges an ask by the rule alone, before anything is looked up, so
// that a job learns nothing about people outside its rule.
func (r *rule) permits(a ask) *failure {
	switch {
	case a.provider != "" && a.provider != r.site.Provider:
		return r.deny("provider")
	case a.site != "" && a.site != r.site.URL:
		return r.deny("site")
	case r.judge(a.who) == denied:
		return r.deny("users")
	case slices.ContainsFunc(a.scopes, func(s string) bool { return !slices.Contains(r.Scopes, s) }):
		return r.deny("scopes")
	case a.who.kind == byUser && !r.site.Local:
		return malformed("people of provider " + r.site.Provider + " are named by sub or email")
	}
	return nil
}

// scopes of an ask; by default what the rule, the grant and the person's consent
// for this job have in common.
func (r *rule) scopes(a ask, g *vault.Grant) ([]string, *failure) {
	if g.State == vault.Ended {
		return nil, nil // the vault says how it is over
	}
	consent := g.Jobs[r.Name]
	if a.scopesWereGiven {
		for _, s := range a.scopes {
			if !slices.Contains(consent, s) && g.Covers([]string{s}) {
				return nil, &failure{
					status: http.StatusBadRequest, Code: "invalid_scope", Reconsent: r.site.ConsentURI,
					Description: "the person has not allowed this job the scope " + printable(s),
				}
			}
		}
		return a.scopes, nil // the vault refuses what was not granted
	}
	var common []string
	for _, s := range g.Scopes {
		if slices.Contains(r.Scopes, s) && slices.Contains(consent, s) {
			common = append(common, s)
		}
	}
	if len(common) == 0 {
		return nil, &failure{status: http.StatusBadRequest, Code: "invalid_scope", Description: "the rule, the grant and the person's consent have no scope in common"}
	}
	return common, nil
}

// grant finds the one grant that a name stands for. A grant that works is meant
// rather than one that does not.
func (h *Handler) grant(r *http.Request, rule *rule, who person) (*vault.Grant, *failure) {
	found, err := h.vault.Find(r.Context(), who.query(rule.site))
	if err != nil {
		return nil, failed(err, rule.site)
	}
	found = slices.DeleteFunc(found, func(g vault.Grant) bool { return !rule.covers(&g) })
	if len(found) == 0 {
		if rule.judge(who) == depends {
			return nil, rule.deny("users")
		}
		return nil, noGrant(rule.site)
	}
	slices.SortFunc(found, func(a, b vault.Grant) int {
		if a.State != b.State {
			return slices.Index(preference, a.State) - slices.Index(preference, b.State)
		}
		return b.GrantedAt.Compare(a.GrantedAt)
	})
	if len(found) > 1 && found[1].State == found[0].State && found[0].State != vault.Ended {
		return nil, &failure{
			status: http.StatusBadRequest, Code: "ambiguous_grant",
			Description: "more than one grant fits; name one by grant_id: " + ids(found),
		}
	}
	return &found[0], nil
}

var preference = []vault.State{vault.Active, vault.Suspended, vault.Ended}

func ids(gs []vault.Grant) string {
	var out []string
	for _, g := range gs {
		out = append(out, g.ID)
	}
	return strings.Join(out, " ")
}
