package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/nightlatch/nightlatch/storage"
)

func init() {
	caddy.RegisterModule(HealthHandler{})
	httpcaddyfile.RegisterHandlerDirective("nightlatch_health", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		t := new(HealthHandler)
		return t, t.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("nightlatch_health", httpcaddyfile.Before, "respond")
}

// health of this node. It is ready if requests can be answered with what it has
// itself: the store and the keys. A provider that is away makes no node unready,
// since no other node could do better; it is only told.
type health struct {
	Status    string            `json:"status"`              // ready, or unready
	Store     string            `json:"store"`               // ok, away, sealed with a key that is not here, or starting
	Realms    map[string]string `json:"realms,omitempty"`    // ok, or starting
	Providers map[string]string `json:"providers,omitempty"` // foreign ones: ok, failing, or unknown until somebody has asked
}

// storeWithin is how long the store may take to answer.
const storeWithin = 2 * time.Second

func (a *App) health(ctx context.Context) health {
	h := health{Status: "unready", Store: "starting"}
	select {
	case <-a.ready:
	default:
		return h
	}
	if !a.lease.hold() {
		return h
	}
	defer a.lease.release()
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	h.Status, h.Store, h.Realms, h.Providers = "ready", "ok", map[string]string{}, map[string]string{}
	if err := a.lease.store.View(ctx, func(tx storage.Tx) error {
		_, err := tx.Scan(nil, nil, 1)
		return err
	}); err != nil {
		a.log.Warn("checking the store", "error", err)
		h.Status, h.Store = "unready", "away"
	} else if _, err := a.lease.keyset.Seal([]byte("health"), nil); err != nil {
		a.log.Warn("checking the sealing key", "error", err)
		h.Status, h.Store = "unready", "sealed"
	}
	for name, r := range a.realms {
		h.Realms[name] = "ok"
		if !r.provider.Ready() {
			h.Status, h.Realms[name] = "unready", "starting"
		}
	}
	for _, s := range a.sites {
		for _, p := range s.providers {
			if p.realm != nil {
				continue
			}
			state := s.rp.Of(p.name).ProviderState()
			if a.lease.vault.Failing(p.name, p.clientID) {
				state = "failing"
			}
			if before := h.Providers[p.name]; before == "" || before == "unknown" || state != "ok" && state != "unknown" {
				h.Providers[p.name] = state
			}
		}
	}
	return h
}

// serveHealth answers 200 or 503 with what is known.
func serveHealth(w http.ResponseWriter, r *http.Request, h health) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if h.Status != "ready" {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	return json.NewEncoder(w).Encode(h)
}

func adminHealth(w http.ResponseWriter, r *http.Request) error {
	found, err := caddy.ActiveContext().AppIfConfigured("nightlatch")
	if err != nil {
		return serveHealth(w, r, health{Status: "unready", Store: "starting"})
	}
	return serveHealth(w, r, found.(*App).health(r.Context()))
}

// HealthHandler tells a balancer whether this node is ready: 200, else 503, with
// JSON that says what is missing. It names the realms and providers, so it belongs
// on an address that the public does not reach.
type HealthHandler struct{ app *App }

// CaddyModule names the module.
func (HealthHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.nightlatch_health", New: func() caddy.Module { return new(HealthHandler) }}
}

// UnmarshalCaddyfile reads the directive:
//
//	nightlatch_health [<matcher>]
func (h *HealthHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("nightlatch_health: unexpected %q: it has no options", d.Val())
	}
	return nil
}

// Provision finds the app.
func (h *HealthHandler) Provision(ctx caddy.Context) error {
	app, err := configured(ctx, "nightlatch_health")
	h.app = app
	return err
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *HealthHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	return serveHealth(w, r, h.app.health(r.Context()))
}

var (
	_ caddy.Provisioner           = (*HealthHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*HealthHandler)(nil)
	_ caddyfile.Unmarshaler       = (*HealthHandler)(nil)
)
