package jobs

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// reject is POST /reject: the upstream did not accept a token, so the next ask
// fetches another. A token that is nobody's, or not the rule's, gets the same
// answer as one that is.
func (h *Handler) reject(w http.ResponseWriter, r *http.Request, rule *rule, form url.Values) *failure {
	token := form.Get("access_token")
	if token == "" {
		return malformed("access_token is required")
	}
	g, err := h.vault.Owner(r.Context(), token)
	if err == nil && rule.covers(&g) {
		err = h.vault.Reject(r.Context(), g.ID, token)
	}
	if err != nil && !errors.Is(err, vault.ErrNoGrant) {
		return failed(err, rule.site)
	}
	noContent(w)
	return nil
}

// revoke is POST /revoke: the job ends a grant.
func (h *Handler) revoke(w http.ResponseWriter, r *http.Request, rule *rule, form url.Values) *failure {
	who, f := parseWho(form)
	if f != nil {
		return f
	}
	if !rule.MayRevoke {
		return rule.deny("may revoke")
	}
	if f := rule.permits(ask{who: who}); f != nil {
		return f
	}
	g, f := h.grant(r, rule, who)
	if f != nil {
		return f
	}
	if err := h.vault.Revoke(r.Context(), g.ID); err != nil {
		return failed(err, rule.site)
	}
	h.events("job_revoked", map[string]any{
		"job": rule.Name, "grant_id": g.ID, "provider": g.Provider, "client": g.Client, "sub": g.Sub, "user": g.Username,
	})
	noContent(w)
	return nil
}

func noContent(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}
