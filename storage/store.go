package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Config of a Store.
type Config struct {
	Backend Backend
	// Node names this process among those that share the backend; empty where it
	// has it alone. Then it does all the work, else what Alone says.
	Node string
	// Now is the clock that judges expiry. Defaults to time.Now.
	Now func() time.Time
	// Logger defaults to one that discards.
	Logger *slog.Logger
	// RetryFor bounds the pauses between retries of a conflicting Update.
	// Defaults to 5 s; an earlier deadline of the caller's context wins.
	RetryFor time.Duration
	// Updated is told how long an Update took, its retries included, unless its
	// closure gave up. Default: nobody.
	Updated func(took time.Duration, err error)
}

// Store is what everything above storage uses: a Backend with retry until a
// deadline, expiry by the injected clock, limits and counters.
type Store struct {
	backend  Backend
	node     string
	now      func() time.Time
	log      *slog.Logger
	retryFor time.Duration
	updated  func(took time.Duration, err error)
	stats    Stats
	settling eras
}

// Stats counts what a Store did since it was made.
type Stats struct {
	Views, Updates, Conflicts, Unknown, Swept atomic.Int64
}

// New wraps a backend.
func New(c Config) *Store {
	s := &Store{backend: c.Backend, node: c.Node, now: c.Now, log: c.Logger, retryFor: c.RetryFor, updated: c.Updated}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.retryFor == 0 {
		s.retryFor = 5 * time.Second
	}
	return s
}

// Stats returns the live counters.
func (s *Store) Stats() *Stats { return &s.stats }

// View runs fn on a snapshot; writes in it are an error.
func (s *Store) View(ctx context.Context, fn func(Tx) error) error {
	s.stats.Views.Add(1)
	now := s.now()
	return s.backend.View(ctx, func(tx Tx) error { return (&checked{tx: tx, now: now, readOnly: true}).run(fn) })
}

// Update runs fn until it commits, fails, or the time for retries is over.
// ErrUnknown is returned as it is: see the errors of the contract.
func (s *Store) Update(ctx context.Context, fn func(Tx) error) error {
	if s.updated == nil {
		return s.update(ctx, fn)
	}
	var gaveUp error
	began := time.Now() // real time, like the pauses
	err := s.update(ctx, func(tx Tx) error {
		gaveUp = fn(tx)
		return gaveUp
	})
	if err == nil || gaveUp == nil || Temporary(err) {
		s.updated(time.Since(began), err)
	}
	return err
}

func (s *Store) update(ctx context.Context, fn func(Tx) error) error {
	s.stats.Updates.Add(1)
	defer s.settling.enter()()
	// Pauses are real time, whatever clock judges expiry: they let the
	// transaction that won finish.
	waited, pause := time.Duration(0), time.Millisecond
	for {
		now := s.now()
		err := s.backend.Update(ctx, func(tx Tx) error { return (&checked{tx: tx, now: now}).run(fn) })
		switch {
		case errors.Is(err, ErrUnknown):
			s.stats.Unknown.Add(1)
			return err
		case !errors.Is(err, ErrConflict):
			return err
		}
		s.stats.Conflicts.Add(1)
		if waited >= s.retryFor {
			return fmt.Errorf("updating store: gave up after %v: %w", s.retryFor, err)
		}
		wait := pause/2 + rand.N(pause)
		select {
		case <-ctx.Done():
			return fmt.Errorf("updating store: %w", context.Cause(ctx))
		case <-time.After(wait):
		}
		waited += wait
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// Settle returns when every Update has ended that runs now. Those that begin
// meanwhile are not waited for.
func (s *Store) Settle(ctx context.Context) error {
	select {
	case <-s.settling.turn():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for transactions: %w", context.Cause(ctx))
	}
}

// eras count who came in before and after a turn.
type eras struct {
	mu      sync.Mutex
	now     int
	inside  map[int]int // by era
	waiting map[chan struct{}]int
}

// enter returns how to leave.
func (s *eras) enter() (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inside == nil {
		s.inside, s.waiting = map[int]int{}, map[chan struct{}]int{}
	}
	n := s.now
	s.inside[n]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.inside[n]--; s.inside[n] > 0 {
			return
		}
		delete(s.inside, n)
		for waits, era := range s.waiting {
			if s.empty(era) {
				close(waits)
				delete(s.waiting, waits)
			}
		}
	}
}

// turn begins a new era, and tells when all before it are empty.
func (s *eras) turn() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	waits := make(chan struct{})
	if s.empty(s.now) {
		close(waits)
	} else {
		s.waiting[waits] = s.now
	}
	s.now++
	return waits
}

func (s *eras) empty(upTo int) bool {
	for era := range s.inside {
		if era <= upTo {
			return false
		}
	}
	return true
}

// unknownAttempts is how often Converge runs a closure at most.
const unknownAttempts = 5

// Converge is Update for a closure that leads to the same rows however often it
// is committed: it runs again when nobody knows whether it was.
func (s *Store) Converge(ctx context.Context, fn func(Tx) error) error {
	for n := 1; ; n++ {
		err := s.Update(ctx, fn)
		if !errors.Is(err, ErrUnknown) || n == unknownAttempts {
			return err
		}
	}
}

// eachPage is how many items a View of Each reads.
const eachPage = 256

// Each calls fn with the items behind after (nil: all) in the order of their
// keys, once each. Every page is read in a View of its own: what changes
// meanwhile is seen or not.
func (s *Store) Each(ctx context.Context, after []byte, fn func(Item) error) error {
	for {
		var page []Item
		err := s.View(ctx, func(tx Tx) error {
			items, err := tx.Scan(nil, after, eachPage)
			page = page[:0]
			for _, it := range items {
				page = append(page, it.clone())
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, it := range page {
			if err := fn(it); err != nil {
				return err
			}
		}
		if len(page) < eachPage {
			return nil
		}
		after = page[len(page)-1].Key
	}
}

// Watch passes the backend's changes on until ctx ends; see Backend.
func (s *Store) Watch(ctx context.Context, prefix []byte, ready func(), fn func(keys [][]byte)) error {
	return s.backend.Watch(ctx, prefix, ready, fn)
}

// Sweep deletes expired items in batches until none is left or ctx ends.
func (s *Store) Sweep(ctx context.Context) error {
	const batch = 1000
	for ctx.Err() == nil {
		n, err := s.backend.Sweep(ctx, s.now(), batch)
		s.stats.Swept.Add(int64(n))
		if err != nil {
			return fmt.Errorf("sweeping expired items: %w", err)
		}
		if n < batch {
			return nil
		}
	}
	return nil
}

// Run sweeps at once and then at each interval (the usual one is a minute)
// until ctx ends; of several nodes one does. A failed sweep is logged and tried
// again at the next.
func (s *Store) Run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if s.Alone(ctx, "sweep", 2*every) {
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("sweeping store", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close closes the backend.
func (s *Store) Close() error { return s.backend.Close() }

// checked is the Tx that closures see: it hides expired items, enforces the
// limits and remembers the first error of a write, so that a closure which
// swallows it cannot commit half of its work.
type checked struct {
	tx       Tx
	now      time.Time
	readOnly bool
	failed   error
}

// run calls fn and returns its error, else the first one that it swallowed.
func (c *checked) run(fn func(Tx) error) error {
	if err := fn(c); err != nil {
		return err
	}
	return c.failed
}

func (c *checked) expired(it Item) bool { return !it.Expires.IsZero() && !it.Expires.After(c.now) }

func (c *checked) fail(err error) error {
	if err != nil && c.failed == nil {
		c.failed = err
	}
	return err
}

func (c *checked) Get(key []byte) (Item, error) {
	it, err := c.tx.Get(key)
	if err != nil {
		if !errors.Is(err, ErrNotFound) {
			_ = c.fail(err)
		}
		return Item{}, err
	}
	if c.expired(it) {
		return Item{}, ErrNotFound
	}
	return it, nil
}

func (c *checked) GetMany(keys [][]byte) ([]Item, error) {
	items, err := c.tx.GetMany(keys)
	if err != nil {
		return nil, c.fail(err)
	}
	for i, it := range items {
		if c.expired(it) {
			items[i] = Item{}
		}
	}
	return items, nil
}

func (c *checked) Put(it Item) error {
	switch {
	case c.readOnly:
		return c.fail(errors.New("writing in a view"))
	case len(it.Key) == 0:
		return c.fail(errors.New("writing item: empty key"))
	case len(it.Key) > MaxKey:
		return c.fail(fmt.Errorf("writing item: key of %d bytes: %w", len(it.Key), ErrTooLarge))
	case len(it.Value) > MaxValue:
		return c.fail(fmt.Errorf("writing item: value of %d bytes: %w", len(it.Value), ErrTooLarge))
	}
	return c.fail(c.tx.Put(it))
}

func (c *checked) Delete(key []byte) error {
	if c.readOnly {
		return c.fail(errors.New("deleting in a view"))
	}
	return c.fail(c.tx.Delete(key))
}

func (c *checked) Scan(prefix, after []byte, limit int) ([]Item, error) {
	var out []Item
	for len(out) < limit {
		want := limit - len(out)
		items, err := c.tx.Scan(prefix, after, want)
		if err != nil {
			return nil, c.fail(err)
		}
		for _, it := range items {
			if !c.expired(it) {
				out = append(out, it)
			}
		}
		if len(items) < want {
			break
		}
		after = items[len(items)-1].Key
	}
	return out, nil
}
