package caddymodule

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// misdirected answers a request for a host which no site of the server has with 421
// (RFC 9110 §15.5.20) and a text, where Caddy answers an empty 200. It is the first
// handler of the server's last route, where a request comes that no other route wanted:
// what the others serve costs nothing more.
type misdirected struct{ instead caddy.ModuleID }

// CaddyModule names the handler that was first, for Caddy's metrics call a route by it.
func (m misdirected) CaddyModule() caddy.ModuleInfo { return caddy.ModuleInfo{ID: m.instead} }

// refuseWrongHosts is called by our handlers while they are provisioned, once for each
// server at least. Matchers of all routes are provisioned by then, and handlers of the
// last one are not yet in place; Caddy compiles the list afterwards. The list cannot
// grow, for Caddy is on its way through it. A server with a route for every host is left
// alone.
func refuseWrongHosts(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || len(server.Routes) == 0 {
		return // not below the http app
	}
	for _, r := range server.Routes {
		if len(r.MatcherSets) == 0 || !slices.ContainsFunc(r.MatcherSets, byHost) {
			return
		}
	}
	last := &server.Routes[len(server.Routes)-1]
	if len(last.Handlers) > 0 {
		return // it has been done
	}
	var first struct {
		Handler string `json:"handler"`
	}
	if len(last.HandlersRaw) > 0 {
		_ = json.Unmarshal(last.HandlersRaw[0], &first) // Caddy itself refuses it
	}
	last.MatcherSets = append(last.MatcherSets, caddyhttp.MatcherSet{stranger{}})
	last.Handlers = []caddyhttp.MiddlewareHandler{misdirected{caddy.ModuleID("http.handlers." + first.Handler)}}
}

// strangerVar is Caddy's request variable of what no route wanted.
const strangerVar = "nightlatch.stranger"

// stranger matches what the other matchers of the last route have left.
type stranger struct{}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (stranger) MatchWithError(r *http.Request) (bool, error) {
	caddyhttp.SetVar(r.Context(), strangerVar, true)
	return true, nil
}

func byHost(set caddyhttp.MatcherSet) bool {
	return slices.ContainsFunc(set, func(m any) bool {
		_, ok := m.(*caddyhttp.MatchHost)
		return ok
	})
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (misdirected) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if caddyhttp.GetVar(r.Context(), strangerVar) == nil {
		return next.ServeHTTP(w, r)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusMisdirectedRequest)
	_, _ = io.WriteString(w, "421 Misdirected Request: no site of this server has the address that was asked for.\n")
	return nil
}

var (
	_ caddyhttp.RequestMatcherWithError = stranger{}
	_ caddyhttp.MiddlewareHandler       = misdirected{}
	_ caddy.Module                      = misdirected{}
)
