package caddymodule

import (
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// withClientAddress puts the client's address, as Caddy's trusted_proxies see
// it, where plain handlers look for it.
func withClientAddress(r *http.Request) *http.Request {
	ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	host, port, err := net.SplitHostPort(r.RemoteAddr)
	if !ok || ip == "" || err != nil || ip == host {
		return r
	}
	r2 := new(http.Request)
	*r2 = *r
	r2.RemoteAddr = net.JoinHostPort(ip, port)
	return r2
}

// hideFromAccessLog leaves a request out of the access log, whose lines hold
// the whole URI and the Location: codes, states and ID token hints. The events
// say what happened.
func hideFromAccessLog(r *http.Request) {
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
}

// notReady answers while the store is not open, or no longer.
func notReady(w http.ResponseWriter) error {
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "503 Service Unavailable: starting or stopping; try again in a moment.", http.StatusServiceUnavailable)
	return nil
}
