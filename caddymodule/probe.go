package caddymodule

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/nightlatch/nightlatch/adapter"
)

// probe asks whether a request reaches a site's handler; it goes no further.
type probe struct{ reached *Site }

type probeKey struct{}

// probeAddr is where a probe comes from. No connection has this port, so no other
// request pays for a search of its context.
const probeAddr = "127.0.0.1:0"

// callbackReached tells whether the address that the provider sends browsers
// back to leads to the site's handler. It does not if nightlatch stands inside
// handle or route with a matcher, or behind a redir of everything: then every
// login would end nowhere.
func (s *Site) callbackReached() bool {
	if s.server == nil {
		return true // not below the http app
	}
	p := new(probe)
	ctx := context.WithValue(context.Background(), probeKey{}, p)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, adapter.CallbackURL(s.url), nil)
	if err != nil {
		return false
	}
	r.RequestURI, r.RemoteAddr, r.Body = r.URL.RequestURI(), probeAddr, http.NoBody
	s.server.ServeHTTP(&recorder{header: http.Header{}}, r)
	return p.reached == s
}

// probed answers a probe.
func (s *Site) probed(r *http.Request) bool {
	if r.RemoteAddr != probeAddr {
		return false
	}
	p, ok := r.Context().Value(probeKey{}).(*probe)
	if ok {
		p.reached = s
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
	return ok
}

// warnOfLostCallbacks is part of a start.
func (a *App) warnOfLostCallbacks() {
	for _, s := range a.sites {
		if !s.callbackReached() {
			a.log.Warn("nightlatch does not get the requests for its own paths: put it at the site's level, not inside handle or route; logins will fail",
				"site", s.URL, "path", adapter.Prefix+"*")
		}
	}
}
