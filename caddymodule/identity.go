package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
)

// caller is who makes a request. Placeholders read it when they are used.
type caller struct {
	*session.Identity
	by      *Site            // whose handler found out; nil: none yet
	failure *adapter.Failure // why the request does not get what it asked for; nil: it does
}

var nobody session.Identity

// callerVar is Caddy's request variable that holds a *caller.
const callerVar = "nightlatch.caller"

// callerOf returns the caller of a request, nobody until somebody is known, and
// sets the placeholders. A client cannot set them: they come from nowhere else.
func callerOf(r *http.Request) *caller {
	vars, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if !ok {
		return &caller{Identity: &nobody}
	}
	if c, ok := vars[callerVar].(*caller); ok {
		return c
	}
	c := &caller{Identity: &nobody}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		vars[callerVar] = c
		repl.Map(c.placeholder)
	}
	return c
}

// placeholder implements caddy.ReplacerFunc.
func (c *caller) placeholder(key string) (any, bool) {
	if name, ok := strings.CutPrefix(key, "http.nightlatch.error."); ok {
		return said(c.failure, name), true
	}
	name, ok := strings.CutPrefix(key, "http.auth.user.")
	if !ok {
		return nil, false
	}
	return placeholder(c.Identity, name), true
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
