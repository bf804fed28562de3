package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/transfer"
)

func init() { caddy.RegisterModule(adminAPI{}) }

// adminAPI is what an operator asks of a running gateway, below /nightlatch/ of
// Caddy's admin endpoint, which checks Host and Origin and knows no users.
//
// Sessions and grants can be listed and revoked (adminapi_access.go); no answer
// holds anything that could be used as one. What carries secrets is for the
// operator's commands, and only where the endpoint is a unix socket: whoever may
// open it is the operator, while a TCP port of this machine is open to all of its
// users.
type adminAPI struct{}

// CaddyModule names the module.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.nightlatch", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes of the admin endpoint.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/nightlatch/store/backup", Handler: overUnixSocket(served{http.MethodGet: serveBackup})},
		{Pattern: "/nightlatch/store/rekey", Handler: overUnixSocket(served{http.MethodPost: serveRekey})},
		{Pattern: "/nightlatch/realms/{realm}/rotate-keys", Handler: overUnixSocket(served{http.MethodPost: serveRotateKeys})},
		{Pattern: "/nightlatch/health", Handler: caddy.AdminHandlerFunc(adminHealth)},
		{Pattern: "/nightlatch/sessions", Handler: served{http.MethodGet: listSessions, http.MethodDelete: endSessions}},
		{Pattern: "/nightlatch/sessions/{id}", Handler: served{http.MethodDelete: endSession}},
		{Pattern: "/nightlatch/grants", Handler: served{http.MethodGet: listGrants}},
		{Pattern: "/nightlatch/grants/{id}", Handler: served{http.MethodDelete: revokeGrant}},
	}
}

func apiError(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }

// served is what an address of the admin endpoint does, by method. It runs for the
// app that is running.
type served map[string]func(*App, http.ResponseWriter, *http.Request) error

// ServeHTTP implements caddy.AdminHandler.
func (s served) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	serve := s[r.Method]
	if serve == nil {
		allowed := strings.Join(slices.Sorted(maps.Keys(s)), ", ")
		w.Header().Set("Allow", allowed)
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("want %s", allowed))
	}
	found, err := caddy.ActiveContext().AppIfConfigured("nightlatch")
	if err != nil {
		return apiError(http.StatusServiceUnavailable, fmt.Errorf("the gateway does not run: %w", err))
	}
	app := found.(*App)
	if !app.enter(r.Context()) {
		return apiError(http.StatusServiceUnavailable, errors.New("the gateway is starting or ending"))
	}
	defer app.leave()
	return serve(app, w, r)
}

// overUnixSocket lets a request through that came over one.
func overUnixSocket(next caddy.AdminHandler) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); at == nil || at.Network() != "unix" {
			return apiError(http.StatusForbidden, errors.New("only over a unix socket: set the global option admin to unix//path"))
		}
		return next.ServeHTTP(w, r)
	})
}

// storeHeader of an answer names the store that it is about.
const storeHeader = "Nightlatch-Store"

// serveBackup streams a backup. Its own end tells whether it is whole.
func serveBackup(a *App, w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set(storeHeader, a.engine.name())
	if _, err := transfer.Backup(r.Context(), w, a.lease.store, time.Now(), nil); err != nil {
		a.log.Error("serving a backup", "error", err)
		panic(http.ErrAbortHandler) // the header has gone: break the stream
	}
	return nil
}

// serveRekey exchanges the sealing key in the file that the query names, which is the
// one in use, and answers when everything is sealed with the new one, or, lazily,
// when whatever is written is. If the asker leaves, the same request again goes on.
func serveRekey(a *App, w http.ResponseWriter, r *http.Request) error {
	if a.engine.shared() {
		return apiError(http.StatusConflict, errors.New("this store is rekeyed from outside: nightlatch store rekey works on it itself"))
	}
	if !a.lease.rekeying.TryLock() {
		return apiError(http.StatusServiceUnavailable, errors.New("the store is being rekeyed already: ask again when that is done"))
	}
	defer a.lease.rekeying.Unlock()
	q := r.URL.Query()
	done, err := seal.Rekey(r.Context(), seal.RekeyConfig{Store: a.lease.store, File: q.Get("file"), Live: a.lease.keyset, Lazily: q.Has("lazily")})
	if err != nil {
		a.log.Error("exchanging the sealing key", "error", err)
		return apiError(http.StatusInternalServerError, err)
	}
	a.log.Info("the sealing key was exchanged", "key", done.Newest.String(), "sealed_anew", done.Resealed)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(storeHeader, a.engine.name())
	return json.NewEncoder(w).Encode(done)
}

// serveRotateKeys answers with the keys that were made.
func serveRotateKeys(a *App, w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("realm")
	realm := a.realms[name]
	if realm == nil {
		return apiError(http.StatusNotFound, fmt.Errorf("realm %q is not declared", name))
	}
	made, err := realm.provider.RotateKeys(r.Context(), r.URL.Query()["algorithm"]...)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(storeHeader, a.engine.name())
	return json.NewEncoder(w).Encode(made)
}

var _ caddy.AdminRouter = adminAPI{}
