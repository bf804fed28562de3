package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(RealmHandler{})
	httpcaddyfile.RegisterHandlerDirective("nightlatch_provider", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		r := new(RealmHandler)
		return r, r.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("nightlatch_provider", httpcaddyfile.Before, "respond")
}

// RealmHandler serves the pages and endpoints of a realm, on the site that is
// the realm's url. It answers every request that reaches it: 404 beyond
// /realms/{realm} and the administrators' /admin/.
type RealmHandler struct {
	// Name of the realm; may be left out where there is only one.
	Realm string `json:"realm,omitempty"`

	app   *App
	realm *runningRealm
}

// CaddyModule names the module.
func (RealmHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.nightlatch_provider", New: func() caddy.Module { return new(RealmHandler) }}
}

// UnmarshalCaddyfile reads the directive:
//
//	nightlatch_provider [<matcher>] [<realm>]
func (h *RealmHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		h.Realm = d.Val()
	}
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("nightlatch_provider: unexpected %q: want at most the name of a realm", d.Val())
	}
	return nil
}

// Provision finds the realm.
func (h *RealmHandler) Provision(ctx caddy.Context) error {
	if err := resolve(h); err != nil {
		return fmt.Errorf("nightlatch_provider: %w", err)
	}
	app, err := configured(ctx, "nightlatch_provider")
	if err != nil {
		return err
	}
	if h.realm, err = app.realmNamed(h.Realm); err != nil {
		return fmt.Errorf("nightlatch_provider: %w", err)
	}
	h.app = app
	refuseWrongHosts(ctx)
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *RealmHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if !h.app.enter(r.Context()) {
		return notReady(w)
	}
	defer h.app.leave()
	r = withClientAddress(r)
	h.realm.provider.ServeHTTP(w, r)
	if w.Header().Get("Location") != "" || r.URL.Query().Has("id_token_hint") {
		hideFromAccessLog(r)
	}
	return nil
}

// TokensHandler is what jobs talk to: POST /token, GET /grants and the rest of
// docs/jobs.md. It belongs on an address that only jobs reach: loopback or a
// unix socket.
type TokensHandler struct{ app *App }

func init() {
	caddy.RegisterModule(TokensHandler{})
	httpcaddyfile.RegisterHandlerDirective("nightlatch_tokens", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		t := new(TokensHandler)
		return t, t.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("nightlatch_tokens", httpcaddyfile.Before, "respond")
}

// CaddyModule names the module.
func (TokensHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.nightlatch_tokens", New: func() caddy.Module { return new(TokensHandler) }}
}

// UnmarshalCaddyfile reads the directive:
//
//	nightlatch_tokens [<matcher>]
func (h *TokensHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("nightlatch_tokens: unexpected %q: it has no options; jobs are declared in the global option nightlatch", d.Val())
	}
	return nil
}

// Provision finds the app.
func (h *TokensHandler) Provision(ctx caddy.Context) error {
	app, err := configured(ctx, "nightlatch_tokens")
	if err != nil {
		return err
	}
	h.app = app
	refuseWrongHosts(ctx)
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *TokensHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if !h.app.enter(r.Context()) {
		return notReady(w)
	}
	defer h.app.leave()
	h.app.jobs.ServeHTTP(w, r)
	return nil
}

var (
	_ caddy.Provisioner           = (*RealmHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*RealmHandler)(nil)
	_ caddyfile.Unmarshaler       = (*RealmHandler)(nil)
	_ caddy.Provisioner           = (*TokensHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*TokensHandler)(nil)
	_ caddyfile.Unmarshaler       = (*TokensHandler)(nil)
)
