package caddymodule

import (
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// misdirected stands before all routes of a server that carries one of our
// handlers, so that a request for a host which no site of the server has gets
// 421 (RFC 9110 §15.5.20) with a text, where Caddy answers an empty 200.
type misdirected struct {
	routes caddyhttp.RouteList
	once   sync.Once
	chain  caddyhttp.Handler
}

// refuseWrongHosts is called by our handlers while they are provisioned, once
// for each server at least. Caddy compiles Server.Routes after it has
// provisioned the handlers of all routes, in place in the list that it began
// with; so the list may be put behind a single route here, and be compiled when
// the first request comes. A server with a route for every host is left alone.
func refuseWrongHosts(ctx caddy.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || len(server.Routes) == 0 {
		return nil // not below the http app
	}
	for _, r := range server.Routes {
		if len(r.Handlers) == 1 {
			if _, done := r.Handlers[0].(*misdirected); done {
				return nil
			}
		}
		if len(r.MatcherSets) == 0 || !slices.ContainsFunc(r.MatcherSets, byHost) {
			return nil
		}
	}
	front := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{&misdirected{routes: server.Routes}}}
	if err := front.ProvisionHandlers(ctx, nil); err != nil {
		return err
	}
	server.Routes = caddyhttp.RouteList{front}
	return nil
}

func byHost(set caddyhttp.MatcherSet) bool {
	return slices.ContainsFunc(set, func(m any) bool {
		_, ok := m.(*caddyhttp.MatchHost)
		return ok
	})
}

func (m *misdirected) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	m.once.Do(func() { m.chain = m.routes.Compile(caddyhttp.HandlerFunc(wrongHost)) })
	return m.chain.ServeHTTP(w, r)
}

func wrongHost(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusMisdirectedRequest)
	_, err := w.Write([]byte("421 Misdirected Request: no site of this server has the address that was asked for.\n"))
	if err != nil {
		return nil // the client has gone
	}
	return nil
}
