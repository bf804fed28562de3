package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/nightlatch/nightlatch/storage"
)

// Keep-alive (A09). Every write of a grant plans when the background looks at it
// next (plan.go), and an index orders the grants of each client of a provider by
// that time. The walk below reads what is due in pages of ids, so that its memory
// does not grow with the number of grants; at most so many refreshes a second go
// to one provider, and each client is walked by itself, so that a provider that
// hangs keeps nobody waiting. Of many nodes one walks, under a lease.

const (
	attendEvery = 10 * time.Second // real time between two looks for what is due
	attendPage  = 256              // ids read at once
	planPage    = 64               // grants planned anew by one write
	attendMany  = 8                // grants of one client at once
	refreshRate = 20               // requests a second to one provider
	// walkFor is the lease of the node that walks.
	walkFor   = time.Minute
	walkLease = "keep-alive"
)

// Run keeps grants alive, probes suspended ones and tells people what they should
// know, until ctx ends.
func (v *Vault) Run(ctx context.Context) {
	defer v.letGo()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { v.resolve(ctx) })
	var walking sync.Map // of providerKey
	for {
		v.readLimits(ctx)
		if v.mine(ctx) {
			for k := range *v.providers.Load() {
				if _, busy := walking.LoadOrStore(k, true); busy {
					continue
				}
				all.Go(func() {
					defer walking.Delete(k)
					v.walkOrWarn(ctx, k)
				})
			}
			if _, busy := walking.LoadOrStore(providerKey{}, true); !busy {
				all.Go(func() {
					defer walking.Delete(providerKey{})
					v.deliverOrWarn(ctx)
				})
			}
		}
		select {
		case <-v.closing:
			return
		case <-ctx.Done():
			return
		case <-v.wake:
		case <-time.After(attendEvery):
		}
	}
}

// manyDoubts wait at most; what is beyond waits for the walk.
const manyDoubts = 256

// resolve attends to grants whose standing is in doubt as soon as it is.
func (v *Vault) resolve(ctx context.Context) {
	for {
		select {
		case <-v.closing:
			return
		case <-ctx.Done():
			return
		case d := <-v.doubts:
			if err := v.attend(ctx, d.client, d.id); err != nil && ctx.Err() == nil {
				v.c.Logger.Warn("asking what has become of a grant", "grant_id", d.id, "error", err)
			}
		}
	}
}

// Attend does once what Run does again and again: whatever is due now.
func (v *Vault) Attend(ctx context.Context) {
	v.readLimits(ctx)
	if !v.mine(ctx) {
		return
	}
	var all sync.WaitGroup
	for k := range *v.providers.Load() {
		all.Go(func() { v.walkOrWarn(ctx, k) })
	}
	all.Wait()
	v.deliverOrWarn(ctx)
}

// mine tells whether this node does the work: the only one, or the one with the
// lease.
func (v *Vault) mine(ctx context.Context) bool {
	if v.c.Node == "" {
		return true
	}
	_, err := v.c.Store.Hold(ctx, walkLease, v.c.Node, walkFor)
	if err != nil && !errors.Is(err, storage.ErrHeld) && ctx.Err() == nil {
		v.c.Logger.Warn("keeping grants alive", "error", err)
	}
	return err == nil
}

// letGo gives the lease back, so that another node goes on at once.
func (v *Vault) letGo() {
	if v.c.Node == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := v.c.Store.LetGo(ctx, walkLease, v.c.Node); err != nil {
		v.c.Logger.Warn("keeping grants alive", "error", err)
	}
}

func (v *Vault) walkOrWarn(ctx context.Context, k providerKey) {
	if err := v.walk(ctx, k); err != nil && ctx.Err() == nil {
		v.c.Logger.Warn("keeping grants alive", "provider", k.name, "client", k.client, "error", err)
	}
}

func (v *Vault) deliverOrWarn(ctx context.Context) {
	if err := v.deliver(ctx); err != nil && ctx.Err() == nil {
		v.c.Logger.Warn("telling people of their grants", "error", err)
	}
}

// walk attends to each grant of a client that is due, in order of time. What
// comes due meanwhile is the next walk's.
func (v *Vault) walk(ctx context.Context, k providerKey) error {
	if err := v.planAnew(ctx, k); err != nil {
		return err
	}
	now := v.c.Now()
	after := storage.Entry{Value: dueKeys(k)}
	for {
		var due []storage.Entry
		err := v.c.Store.View(ctx, func(tx storage.Tx) (err error) {
			due, err = v.grants.Between(tx, scope, byDue, after, dueKey(k, now), attendPage)
			return err
		})
		if err != nil {
			return fmt.Errorf("reading what is due: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		after = due[len(due)-1]
		var page errgroup.Group
		page.SetLimit(attendMany)
		for _, e := range due {
			page.Go(func() error { return v.attend(ctx, k, e.ID) })
		}
		if err := page.Wait(); err != nil {
			return err
		}
		if !v.mine(ctx) {
			return nil
		}
	}
}

// limits of a realm by its settings of now.
type limits struct{ idle, most time.Duration }

// readLimits asks the realms of this process how long they let tokens rest now.
func (v *Vault) readLimits(ctx context.Context) {
	for k, p := range *v.providers.Load() {
		if p.Limits == nil {
			continue
		}
		idle, most, err := p.Limits(ctx)
		if err != nil {
			if ctx.Err() == nil {
				v.c.Logger.Warn("reading the limits of a realm", "provider", k.name, "client", k.client, "error", err)
			}
			continue // what was read last holds on
		}
		v.limits.Store(k, limits{idle, most})
	}
}

// plan is by which policy the grants of a client were planned, and up to which drop
// that suspended all of them they were written.
type plan struct {
	Idle, Limit, Max, StopAfter time.Duration
	Dropped                     uint64
}

// planAnew plans all grants of a client anew once its policy is another than the
// one they were planned by: what was in time by a longer limit may be late by a
// shorter one. It also writes what a drop has made of them, so that they are counted
// as what they are. If it is interrupted, the next walk begins it again.
func (v *Vault) planAnew(ctx context.Context, k providerKey) error {
	p := v.policyOf(k)
	want, id := plan{Idle: p.idle, Limit: p.limit, Max: p.max, StopAfter: p.stopAfter}, hash(k.name, k.client)
	done := false
	err := v.c.Store.View(ctx, func(tx storage.Tx) error {
		d, err := v.dropsOf(tx, k.name)
		if err != nil {
			return err
		}
		want.Dropped = d.suspended(k.client)
		have, err := v.plans.Get(tx, scope, id)
		done = err == nil && *have == want
		return ignoreNotFound(err)
	})
	now, next := v.c.Now(), ""
	for after, more := "", true; more && !done && err == nil; after = next {
		err = v.write(ctx, func(tx storage.Tx, put func(*record) error) error {
			rows, err := v.grants.ListBy(tx, scope, byClient, hash(k.name, k.client), after, planPage)
			if err != nil {
				return err
			}
			if more = len(rows) == planPage; !more {
				if err := v.plans.Put(tx, scope, id, &want); err != nil {
					return err
				}
			} else {
				next = rows[len(rows)-1].ID
			}
			for _, row := range rows {
				before := row.Record.Drops
				if err := v.caughtUp(tx, row.Record); err != nil {
					return err
				}
				if due := row.Record.due(p, now); due.Equal(row.Record.DueAt) && row.Record.Drops == before {
					continue
				}
				if err := put(row.Record); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("planning grants anew: %w", err)
	}
	return nil
}

// attend does what is due with one grant. An error is of the store, or says that
// the work has to end; what the provider says is the grant's own matter.
func (v *Vault) attend(ctx context.Context, k providerKey, id string) error {
	r, err := v.read(ctx, id)
	if errors.Is(err, ErrNoGrant) {
		return nil // since the page was read
	}
	if err != nil {
		return err
	}
	missed := false
	if p := v.policy(&r.Grant); r.chore(p, v.c.Now()) == renew {
		missed, err = v.renew(ctx, k, r)
		if err != nil || !missed {
			return err
		}
	}
	now := v.c.Now()
	_, err = v.change(ctx, id, func(r *record) error {
		p := v.policy(&r.Grant)
		if missed && r.chore(p, now) == renew {
			r.missed(p, now)
		}
		r.tend(p, now)
		return nil
	})
	if errors.Is(err, ErrNoGrant) {
		return nil
	}
	return err
}

// renew refreshes a grant on nobody's behalf. missed: it could not be sent, or
// was not answered.
func (v *Vault) renew(ctx context.Context, k providerKey, r *record) (missed bool, err error) {
	if v.refusing(k) {
		return true, nil
	}
	if err := v.pace.wait(ctx, v.provider(k.name, k.client)); err != nil {
		return false, fmt.Errorf("waiting for the provider's turn: %w", err)
	}
	v.running.enter()
	defer v.running.leave()
	select {
	case <-v.closing:
		return false, errors.New("vault is closing")
	default:
	}
	// Detached: a rotated token that is on its way is not lost by a shutdown.
	one, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.c.FlightTimeout)
	defer cancel()
	_, err = v.fly(one, &r.Grant, Ask{background: true}.normal(r.Scopes))
	var failed *Error
	switch {
	case err == nil, errors.Is(err, ErrNoGrant):
		return false, nil
	case errors.As(err, &failed):
		// Refusals are in the record already.
		return failed.Class == ClassTransient || failed.Class == ClassOperator || failed.Class == ClassRequest, nil
	}
	return false, err
}

// Failing tells whether the breaker of a client is open: its provider is away, or
// does not take it.
func (v *Vault) Failing(provider, client string) (is bool) {
	v.breakers.with(providerKey{provider, client}, func(b *breaker) { is = !b.until.IsZero() })
	return is
}

// Lag is how long what is due for the grants of a client has waited; 0 if nothing
// is due. It reads one entry.
func (v *Vault) Lag(ctx context.Context, provider, client string) (time.Duration, error) {
	k, now := providerKey{provider, client}, v.c.Now()
	var due []storage.Entry
	err := v.c.Store.View(ctx, func(tx storage.Tx) (err error) {
		due, err = v.grants.Between(tx, scope, byDue, storage.Entry{Value: dueKeys(k)}, dueKey(k, now), 1)
		return err
	})
	if err != nil || len(due) == 0 {
		return 0, err
	}
	at, err := time.Parse(instants, strings.TrimPrefix(due[0].Value, dueKeys(k)))
	if err != nil {
		return 0, fmt.Errorf("reading what is due: %w", err)
	}
	return max(0, now.Sub(at)), nil
}

// refusing tells whether a client's breaker would let nothing through now. It
// takes nobody's turn.
func (v *Vault) refusing(k providerKey) (is bool) {
	v.breakers.with(k, func(b *breaker) { is = !b.until.IsZero() && v.c.Now().Before(b.until) })
	return is
}

// pace is how fast each provider is asked by the background, in real time.
type pace struct {
	mu sync.Mutex
	of map[string]*rate.Limiter // by the provider's name
}

func (p *pace) wait(ctx context.Context, of *Provider) error {
	if of == nil {
		return nil
	}
	limit := rate.Limit(refreshRate)
	if of.RefreshRate > 0 {
		limit = rate.Limit(of.RefreshRate)
	}
	p.mu.Lock()
	if p.of == nil {
		p.of = map[string]*rate.Limiter{}
	}
	l := p.of[of.Name]
	if l == nil {
		l = rate.NewLimiter(limit, 1)
		p.of[of.Name] = l
	}
	if l.Limit() != limit {
		l.SetLimit(limit)
	}
	p.mu.Unlock()
	return l.Wait(ctx)
}
