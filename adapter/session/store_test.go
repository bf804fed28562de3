package session_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

type env struct {
	store    *storage.Store
	sessions *session.Store
	config   session.Config
	mu       sync.Mutex
	now      time.Time
}

func newEnv(t *testing.T) *env {
	e := &env{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	e.store = storagetest.New(t, e.clock)
	keyset, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	e.config = session.Config{Store: e.store, Sealer: keyset, Site: "https://app.example.com", Idle: 30 * time.Minute, Max: 2 * time.Hour, Bearers: 24 * time.Hour, Now: e.clock}
	e.sessions = session.NewStore(e.config)
	return e
}

func (e *env) clock() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

func (e *env) advance(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = e.now.Add(d)
}

func (e *env) create(t *testing.T, sub, sid, former string) string {
	t.Helper()
	cookie, err := e.sessions.Create(t.Context(), session.Record{Identity: session.Identity{Subject: sub, Provider: "p"}, ProviderSession: sid, RefreshToken: "secret-refresh"}, former)
	if err != nil {
		t.Fatal(err)
	}
	return cookie
}

func (e *env) lives(t *testing.T, s *session.Store, cookie string) bool {
	t.Helper()
	r, err := s.Get(t.Context(), cookie)
	if err != nil {
		t.Fatal(err)
	}
	return r != nil
}

// TestLimits: idle and max, judged with the settings of now, by any node.
func TestLimits(t *testing.T) {
	e := newEnv(t)
	other := session.NewStore(e.config)
	cookie := e.create(t, "a", "", "")
	for range 5 {
		e.advance(23 * time.Minute)
		if !e.lives(t, e.sessions, cookie) || !e.lives(t, other, cookie) {
			t.Fatal("ended while it was used")
		}
	}
	e.advance(5 * time.Minute)
	if e.lives(t, e.sessions, cookie) || e.lives(t, other, cookie) {
		t.Error("lives longer than max")
	}
	idle := e.create(t, "a", "", "")
	e.advance(30*time.Minute - time.Second)
	if !e.lives(t, other, idle) {
		t.Error("ended before its idle limit")
	}
	e.advance(30 * time.Minute)
	if e.lives(t, e.sessions, idle) || e.lives(t, other, idle) {
		t.Error("lives longer than idle")
	}
	// A new id does not make it younger.
	first, err := e.sessions.Get(t.Context(), e.create(t, "a", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	e.advance(time.Hour)
	second, err := e.sessions.Create(t.Context(), session.Record{Identity: first.Identity, Created: first.Created}, "")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		e.advance(20 * time.Minute)
		_ = e.lives(t, e.sessions, second)
	}
	if e.lives(t, e.sessions, second) {
		t.Error("the new id lives longer than max")
	}
}

// TestEnds: by cookie, by subject, by provider session, by a new login.
func TestEnds(t *testing.T) {
	e := newEnv(t)
	a1, a2, b := e.create(t, "a", "s1", ""), e.create(t, "a", "s2", ""), e.create(t, "b", "s3", "")
	if err := e.sessions.EndProviderSession(t.Context(), "p", "s1", e.clock()); err != nil {
		t.Fatal(err)
	}
	if e.lives(t, e.sessions, a1) || !e.lives(t, e.sessions, a2) || !e.lives(t, e.sessions, b) {
		t.Error("by provider session")
	}
	if err := e.sessions.EndSubject(t.Context(), "other provider", "a", e.clock()); err != nil || !e.lives(t, e.sessions, a2) {
		t.Error("another provider's subject ended ours")
	}
	if err := e.sessions.EndSubject(t.Context(), "p", "a", e.clock()); err != nil || e.lives(t, e.sessions, a2) || !e.lives(t, e.sessions, b) {
		t.Error("by subject")
	}
	next := e.create(t, "b", "", b)
	if next == b || e.lives(t, e.sessions, b) || !e.lives(t, e.sessions, next) {
		t.Error("by a new login")
	}
	if err := e.sessions.End(t.Context(), next); err != nil || e.lives(t, e.sessions, next) {
		t.Error("by cookie")
	}
	if r, err := e.sessions.Change(t.Context(), next, func(*session.Record) {}); r != nil || err != nil {
		t.Error("a change brought it back")
	}
	for _, cookie := range []string{"", "x", "%s%n", string(make([]byte, 43)), string(make([]byte, 10<<10))} {
		if e.lives(t, e.sessions, cookie) {
			t.Errorf("%q is a session", cookie)
		}
	}
}

// slow is a backend whose reads can be held after they have seen the store.
type slow struct {
	storage.Backend
	seen, release chan struct{}
}

func (s *slow) View(ctx context.Context, fn func(storage.Tx) error) error {
	err := s.Backend.View(ctx, fn)
	if s.seen != nil {
		close(s.seen)
		<-s.release
	}
	return err
}

// TestAnEndIsFinal: a request that read the session just before it was ended
// does not bring it back into the memory.
func TestAnEndIsFinal(t *testing.T) {
	backend := &slow{Backend: storagetest.Steady(t)}
	e := newEnv(t)
	e.config.Store = storage.New(storage.Config{Backend: backend, Now: e.clock})
	e.sessions = session.NewStore(e.config)
	cookie := e.create(t, "a", "", "")
	node := session.NewStore(e.config)
	backend.seen, backend.release = make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	go func() { defer close(done); _, _ = node.Get(context.Background(), cookie) }()
	<-backend.seen
	if err := node.End(t.Context(), cookie); err != nil {
		t.Fatal(err)
	}
	close(backend.release)
	<-done
	backend.seen = nil
	if e.lives(t, node, cookie) {
		t.Error("an ended session lives on")
	}
}

// TestSealed: the store holds neither cookie nor token nor name in the clear.
func TestSealed(t *testing.T) {
	e := newEnv(t)
	cookie := e.create(t, "a", "", "")
	err := e.store.View(t.Context(), func(tx storage.Tx) error {
		items, err := tx.Scan(nil, nil, 100)
		if len(items) == 0 {
			return fmt.Errorf("nothing is stored")
		}
		for _, it := range items {
			for _, secret := range []string{cookie, "secret-refresh"} {
				if bytes.Contains(it.Key, []byte(secret)) || bytes.Contains(it.Value, []byte(secret)) {
					t.Errorf("%q holds %s", it.Key, secret)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSweep: what is over leaves the store, what is used stays.
func TestSweep(t *testing.T) {
	e := newEnv(t)
	var old []string
	for range 450 { // more than a batch
		old = append(old, e.create(t, "a", "", ""))
	}
	e.advance(20 * time.Minute)
	if !e.lives(t, e.sessions, old[0]) {
		t.Fatal("ended early")
	}
	e.advance(20 * time.Minute)
	young := e.create(t, "a", "", "")
	if err := e.sessions.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	count := 0
	err := e.store.View(t.Context(), func(tx storage.Tx) error {
		items, err := tx.Scan(storage.Key("browser_session"), nil, 1000)
		count = len(items)
		return err
	})
	if err != nil || count != 2 {
		t.Errorf("%d sessions are left, want 2 (%v)", count, err)
	}
	if !e.lives(t, e.sessions, old[0]) || !e.lives(t, e.sessions, young) {
		t.Error("a session that is used was swept")
	}
}
