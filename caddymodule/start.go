package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/nightlatch/nightlatch/adapter/jobs"
	"github.com/nightlatch/nightlatch/provider"
)

// declareWithin bounds the writes of a start.
const declareWithin = time.Minute

// Start opens the store, or joins the configuration that has it open, and wires
// realms, sites and jobs. An error keeps the old configuration running.
//
// All sites are known by now: Caddy provisions all apps before it starts one.
func (a *App) Start() error {
	if err := a.check(); err != nil {
		return err
	}
	l, fresh, err := takeLease(a.engine, a.Key)
	if err != nil {
		return err
	}
	a.lease = l
	ctx, cancel := context.WithTimeout(a.ctx, declareWithin)
	defer cancel()
	if err := a.wire(ctx); err != nil {
		return err
	}
	if !fresh {
		return nil // what is declared is written once the configuration runs
	}
	if err := a.declare(ctx); err != nil {
		return err
	}
	a.activate.Do(a.serve)
	return nil
}

// check finds what is wrong between the parts of a configuration, which are known
// when all is provisioned.
func (a *App) check() error {
	for _, v := range a.asking {
		if err := v.find(); err != nil {
			return err
		}
	}
	return jobs.Check(a.jobsConfig())
}

// checked is what check says of a configuration that was provisioned and not started.
var checked atomic.Pointer[error]

// Unstartable is why the configuration that was validated last would not start, as
// far as that can be told without starting it. Caddy has no such question of its own:
// it validates part by part, before the last one is there.
func Unstartable() error {
	if err := checked.Load(); err != nil {
		return *err
	}
	return nil
}

// started is told when the configuration runs as a whole.
type started struct{ app *App }

func (s started) Handle(context.Context, caddy.Event) error {
	s.app.started()
	return nil
}

func (a *App) started() {
	if a.lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(a.ctx, declareWithin)
	defer cancel()
	a.activate.Do(func() {
		if err := a.declare(ctx); err != nil {
			a.log.Error("writing what the configuration declares", "error", err)
		}
		a.serve()
	})
	for _, name := range slices.Sorted(maps.Keys(a.realms)) {
		r := a.realms[name]
		if err := r.provider.Retire(ctx, r.declared); err != nil {
			a.log.Error("disabling what left the configuration", "realm", name, "error", err)
		}
	}
	a.warnOfLostCallbacks()
	a.tellWhereToGo()
}

// tellWhereToGo is the last line of a start.
func (a *App) tellWhereToGo() {
	var at []string
	for _, s := range a.sites {
		at = append(at, s.URL)
	}
	for _, name := range slices.Sorted(maps.Keys(a.realms)) {
		at = append(at, a.realms[name].issuer()+" (realm)")
	}
	if len(at) > 0 {
		a.log.Info("Nightlatch is ready. Point the browser to " + strings.Join(at, ", "))
	}
}

// wire makes the realms, sites and jobs of this configuration. It writes
// nothing but what a configuration that fails leaves unused.
func (a *App) wire(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(a.realms)) {
		r := a.realms[name]
		p, err := provider.New(provider.Config{
			Store: a.lease.store, Sealer: a.lease.keyset, Realm: name, URL: r.url,
			Logger: a.log.With("realm", name), Events: &sink{app: a, lease: a.lease, realm: name},
			Folder: r.look.folder, Logo: r.look.logo, RefreshAt: faults.realm, Now: faults.now,
			Uses: func(ctx context.Context, offlineSession string) (map[string]time.Time, error) {
				return a.lease.vault.Uses(ctx, name, offlineSession)
			},
		})
		if err != nil {
			return fmt.Errorf("realm %s: %w", name, err)
		}
		u, err := url.Parse(r.url)
		if err != nil {
			return fmt.Errorf("realm %s: %w", name, err)
		}
		r.provider = p
		r.client = &http.Client{Transport: &inProcess{serves: p.Serves, realm: p, host: u.Host}}
	}
	if err := a.wireSites(ctx); err != nil {
		return err
	}
	return a.wireJobs()
}

func (a *App) wireJobs() (err error) {
	c := a.jobsConfig()
	c.Vault, c.SecretKey = a.lease.vault, a.lease.keyset.Derive("job secrets")
	a.jobs, err = jobs.New(c)
	return err
}

// jobsConfig is what does not need the store.
func (a *App) jobsConfig() jobs.Config {
	c := jobs.Config{Logger: a.log, Events: a.emit, Now: faults.now}
	for _, s := range a.sites {
		for _, p := range s.providers {
			c.Sites = append(c.Sites, jobs.Site{URL: s.URL, Provider: p.name, Client: p.clientID, Local: p.realm != nil, ConsentURI: s.consent})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Jobs)) {
		j := a.Jobs[name]
		c.Jobs = append(c.Jobs, jobs.Job{
			Name: name, Secret: j.Secret, Site: a.siteOf(name), Provider: j.Provider,
			Users: j.Users, Scopes: j.Scopes, MayRevoke: slices.Contains(j.May, "revoke"),
		})
	}
	return c
}

// declare writes what the realms declare and opens their keys.
func (a *App) declare(ctx context.Context) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(a.realms)) {
		r := a.realms[name]
		err := r.provider.Declare(ctx, r.declared)
		if err == nil {
			err = r.provider.Start(ctx)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// serve lets requests in and begins the work in the background.
func (a *App) serve() {
	a.lease.vault.Use(a.vaults)
	a.lease.vault.NotifyBy(a.tellers...)
	a.listener = &listener{ended: a.ended, emit: a.emit}
	a.lease.hub.join(a.listener)
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	// What it took to load a configuration and to hash its passwords goes back to
	// the system now, not minutes later.
	a.loops.Go(debug.FreeOSMemory)
	for _, r := range a.realms {
		a.loops.Go(func() { r.provider.Run(ctx) })
	}
	for _, s := range a.sites {
		a.loops.Go(func() { s.rp.Run(ctx) })
	}
	a.active = true
	close(a.ready)
}

// Stop ends the work in the background. Requests that are under way go on.
func (a *App) Stop() error {
	if a.stop != nil {
		a.stop()
		a.loops.Wait()
	}
	return nil
}

// stragglers is how long a replaced configuration keeps its lease: requests
// that its servers had accepted may only now reach their handler.
const stragglers = 5 * time.Second

// Cleanup gives the store back. Caddy calls it also when Provision or Start has
// failed, and then there may be nothing to give.
func (a *App) Cleanup() error {
	if a.giveUp != nil && !a.active {
		a.giveUp()
	}
	if a.lease == nil {
		if a.provisioned {
			err := a.check()
			checked.Store(&err)
		}
		return nil
	}
	l, heard := a.lease, a.listener
	leave := func() {
		if heard != nil {
			l.hub.leave(heard)
		}
		l.release()
	}
	if !a.active || caddy.Exiting() {
		leave()
		lingering.flush()
		return nil
	}
	lingering.add(stragglers, leave)
	return nil
}

// lingering holds what replaced configurations still owe.
var lingering linger

type linger struct {
	mu   sync.Mutex
	owed map[*time.Timer]func()
}

// add runs fn after a while, or at flush.
func (g *linger) add(after time.Duration, fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.owed == nil {
		g.owed = map[*time.Timer]func(){}
	}
	var t *time.Timer
	t = time.AfterFunc(after, func() {
		if g.take(t) != nil {
			fn()
		}
	})
	g.owed[t] = fn
}

func (g *linger) take(t *time.Timer) func() {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn := g.owed[t]
	delete(g.owed, t)
	return fn
}

// flush runs at once what is left, when the process ends.
func (g *linger) flush() {
	if !caddy.Exiting() {
		return
	}
	g.mu.Lock()
	owed := g.owed
	g.owed = nil
	g.mu.Unlock()
	for t, fn := range owed {
		t.Stop()
		fn()
	}
}
