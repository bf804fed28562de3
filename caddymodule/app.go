package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/nightlatch/nightlatch/adapter/jobs"
	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/provider"
)

func init() { caddy.RegisterModule(new(App)) }

// App holds what is declared once for all sites: the store, the realms of this
// process, foreign providers, and the rules of jobs. The handlers refer to it
// by name.
//
// Every text may hold placeholders such as {env.NAME} or {file./run/secrets/x};
// they are resolved when the configuration is loaded, and one that is unset or
// unreadable is an error. `adapt` and the admin API show the placeholder.
//
// Events are emitted under the names of provider/event (lower case, for example
// login, refresh_token_replay, offline_session_end) and job_token, job_refused,
// grant_saved, grant_refreshed, grant_restored; grant_lapsing, grant_suspended,
// grant_lapsed, grant_revoked, grant_replayed and grant_ended, each with the
// address where the person gives the grant anew (reconsent_uri);
// provider_failing and provider_recovered; and those of a site: site_login,
// site_login_failed, site_logout, site_refused.
type App struct {
	// Where records are kept. Default: badger in Caddy's data folder.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=nightlatch.stores inline_key=engine"`
	// The text of the key that seals secrets at rest, best {file.…}. Default: for
	// badger a key file in the store's folder, made once when the folder is empty.
	Key string `json:"key,omitempty"`

	Realms    map[string]*Realm   `json:"realms,omitempty"`
	Providers map[string]*Foreign `json:"providers,omitempty"`
	Jobs      map[string]*Job     `json:"jobs,omitempty"`

	// Grants that neither a job nor a login used for so long are not kept alive
	// any more, after a warning. Default 90d; "off": they are kept for ever.
	StopAfterUnused Duration `json:"stop_after_unused,omitempty"`
	// Who is told what happens to grants. Default: the log, events and metrics alone.
	Notify *Notify `json:"notify,omitempty"`

	ctx    caddy.Context
	log    *slog.Logger
	zap    *zap.Logger // the same, for what is written often
	events *caddyevents.App
	engine engine
	realms map[string]*runningRealm
	sites  []*Site
	asking []*Authenticator // who ask sites about requests

	stopAfterUnused time.Duration // below zero: never
	tellers         []vault.Teller

	provisioned bool

	lease    *lease
	listener *listener
	jobs     *jobs.Handler
	vaults   map[string]*vault.Provider
	ready    chan struct{}   // closed when requests may be served
	failed   context.Context // done when they never will be: the configuration did not start
	giveUp   context.CancelFunc
	activate sync.Once
	active   bool
	stop     context.CancelFunc
	loops    sync.WaitGroup
}

// runningRealm is a realm of this configuration.
type runningRealm struct {
	name     string
	url      string
	declared provider.Declaration
	look     Look
	provider *provider.Provider // from Start on
	client   *http.Client       // the in-process way to it, from Start on
}

func (r *runningRealm) issuer() string { return r.url + "/realms/" + r.name }

// CaddyModule names the module.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "nightlatch", New: func() caddy.Module { return new(App) }}
}

// Provision checks what can be checked without a store: `validate` runs beside
// a server that holds it.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.log, a.zap, a.ready = ctx, ctx.Slogger(), ctx.Logger(), make(chan struct{})
	a.failed, a.giveUp = context.WithCancel(context.Background())
	if err := resolve(a); err != nil {
		return err
	}
	if err := a.loadEngine(ctx); err != nil {
		return err
	}
	if a.StopAfterUnused == off {
		a.stopAfterUnused = -1
	} else if err := (spans{"stop_after_unused": {a.StopAfterUnused, &a.stopAfterUnused}}).parse(); err != nil {
		return err
	}
	tellers, err := a.Notify.tellers()
	if err != nil {
		return fmt.Errorf("option notify: %w", err)
	}
	a.tellers = tellers
	if err := counted.register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if err := ctx.GetMetricsRegistry().Register(newGauge(a)); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	a.realms = map[string]*runningRealm{}
	for _, name := range slices.Sorted(maps.Keys(a.Realms)) {
		r, err := a.Realms[name].provision(name, a.log)
		if err != nil {
			return fmt.Errorf("realm %s: %w", name, err)
		}
		a.realms[name] = r
	}
	for _, name := range slices.Sorted(maps.Keys(a.Providers)) {
		switch {
		case name == "":
			return errors.New("a provider needs a name")
		case a.Realms[name] != nil:
			return fmt.Errorf("provider %s: a realm has this name already: give the provider another", name)
		}
		if err := a.Providers[name].check(); err != nil {
			return fmt.Errorf("provider %s: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Jobs)) {
		if err := a.Jobs[name].check(name); err != nil {
			return fmt.Errorf("job %s: %w", name, err)
		}
	}
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.events = events.(*caddyevents.App)
	a.provisioned = true
	return a.events.On("started", started{a})
}

func (a *App) loadEngine(ctx caddy.Context) error {
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"engine":"badger"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("option store: %w", err)
	}
	e, ok := mod.(engine)
	if !ok {
		return fmt.Errorf("option store: %T is not an engine", mod)
	}
	a.engine = e
	return nil
}

// configured returns the app, which a handler needs.
func configured(ctx caddy.Context, directive string) (*App, error) {
	app, err := ctx.AppIfConfigured("nightlatch")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, fmt.Errorf("%s: the global option nightlatch is missing", directive)
	}
	if err != nil {
		return nil, err
	}
	return app.(*App), nil
}

// realmNamed finds a realm; "" stands for the only one.
func (a *App) realmNamed(name string) (*runningRealm, error) {
	if name == "" && len(a.realms) == 1 {
		for _, r := range a.realms {
			return r, nil
		}
	}
	r := a.realms[name]
	switch {
	case r != nil:
		return r, nil
	case len(a.realms) == 0:
		return nil, errors.New("no realm is declared in the global option nightlatch")
	case name == "":
		return nil, fmt.Errorf("want the name of a realm: one of %s", strings.Join(slices.Sorted(maps.Keys(a.realms)), ", "))
	}
	return nil, fmt.Errorf("realm %q is not declared: want one of %s", name, strings.Join(slices.Sorted(maps.Keys(a.realms)), ", "))
}

// readyWithin bounds how long a request waits for the app: Caddy starts apps in
// random order, so the first requests may come before the store is open.
const readyWithin = 10 * time.Second

// enter lets a request in; with ok it has to call leave when it needs the store
// no more.
func (a *App) enter(ctx context.Context) (ok bool) {
	select {
	case <-a.ready:
	default:
		t := time.NewTimer(readyWithin)
		defer t.Stop()
		select {
		case <-a.ready:
		case <-t.C:
			return false
		case <-a.failed.Done():
			return false
		case <-ctx.Done():
			return false
		}
	}
	return a.lease.hold()
}

func (a *App) leave() { a.lease.release() }

// emit counts an event, and writes it to the log and to Caddy's event listeners.
func (a *App) emit(name string, data map[string]any) {
	name = strings.ToLower(name)
	counted.count(name, data)
	if line := a.zap.Check(levelOf(name), "event"); line != nil {
		keys := make([]string, 0, len(data))
		for k := range data {
			if k != "time" {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		fields := make([]zap.Field, 1, 1+len(keys))
		fields[0] = zap.String("event", name)
		for _, k := range keys {
			fields = append(fields, zap.Any(k, data[k]))
		}
		line.Write(fields...)
	}
	a.events.Emit(a.ctx, name, data)
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
