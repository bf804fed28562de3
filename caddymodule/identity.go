package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// identityVar is Caddy's request variable that holds who is there, as a
// *session.Identity: placeholders read it when they are used.
const identityVar = "nightlatch.identity"

// beginIdentity sets the placeholders of a request, empty until somebody is
// known. A client cannot set them: they come from nowhere else.
func beginIdentity(r *http.Request) {
	if _, ok := caddyhttp.GetVar(r.Context(), identityVar).(*session.Identity); ok {
		return
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	id := new(session.Identity)
	caddyhttp.SetVar(r.Context(), identityVar, id)
	repl.Map(func(key string) (any, bool) {
		name, ok := strings.CutPrefix(key, "http.auth.user.")
		if !ok {
			return nil, false
		}
		return placeholder(id, name), true
	})
}

// setIdentity tells the placeholders who is there.
func setIdentity(r *http.Request, id session.Identity) {
	if p, ok := caddyhttp.GetVar(r.Context(), identityVar).(*session.Identity); ok {
		*p = id
	}
}

func placeholder(id *session.Identity, name string) any {
	switch name {
	case "id":
		return id.Subject
	case "name":
		return id.Name
	case "email":
		return id.Email
	case "groups":
		return strings.Join(id.Groups, ",")
	case "roles":
		return strings.Join(id.Roles, ",")
	case "provider":
		return id.Provider
	case "offline":
		if id.Anonymous() {
			return ""
		}
		return strconv.FormatBool(id.Offline)
	}
	if claim, ok := strings.CutPrefix(name, "claims."); ok {
		return claimText(id.Claims[claim])
	}
	return ""
}

// claimText is a claim as one text: JSON for an object, values of a list
// separated by commas.
func claimText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case map[string]any:
		raw, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(raw)
	}
	return strings.Join(claimValues(v), ",")
}

// claimValues is a claim as a list of texts.
func claimValues(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case bool:
		return []string{strconv.FormatBool(v)}
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}
	case []string:
		return v
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, claimValues(e)...)
		}
		return out
	case nil, map[string]any:
		return nil
	}
	return []string{fmt.Sprint(v)}
}

// headerNames are the identity headers of a site, canonical.
type headerNames map[string]struct{}

// strip deletes what a client sent under one of the names, in any spelling that
// an app's server may take for it: X_User and X.User become X-User in CGI and
// WSGI.
func (n headerNames) strip(h http.Header) {
	if len(n) == 0 {
		return
	}
	for name := range h {
		canonical := name
		if strings.ContainsAny(name, "_.") {
			canonical = http.CanonicalHeaderKey(strings.NewReplacer("_", "-", ".", "-").Replace(name))
		}
		if _, ours := n[canonical]; ours {
			delete(h, name)
		}
	}
}
