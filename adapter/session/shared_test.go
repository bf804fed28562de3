package session_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// line is a backend that counts reads, and whose watches can be broken: until
// mend they end, and none begins.
type line struct {
	storage.Backend
	reads  atomic.Int64
	broken atomic.Pointer[chan struct{}]
	breaks chan struct{}
}

func (l *line) View(ctx context.Context, fn func(storage.Tx) error) error {
	l.reads.Add(1)
	return l.Backend.View(ctx, fn)
}

func (l *line) Watch(ctx context.Context, prefix []byte, ready func(), fn func([][]byte)) error {
	if mended := l.broken.Load(); mended != nil {
		select {
		case <-*mended:
		case <-ctx.Done():
			return nil
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-l.breaks:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := l.Backend.Watch(ctx, prefix, ready, fn); err != nil {
		return err
	}
	return errors.New("the line is broken")
}

// node is one of several processes on the same store.
type node struct {
	*session.Store
	line *line
}

func (e *env) node(t *testing.T, b storage.Backend) node {
	t.Helper()
	l := &line{Backend: b, breaks: make(chan struct{})}
	c := e.config
	c.Store, c.Shared = storage.New(storage.Config{Backend: l, Now: e.clock}), true
	return node{session.NewStore(c), l}
}

// run lets a node hear until the test ends.
func (n node) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.Watch(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// warm tells whether a session costs no storage read.
func (e *env) warm(t *testing.T, n node, cookie string) bool {
	t.Helper()
	e.lives(t, n.Store, cookie)
	before := n.line.reads.Load()
	e.lives(t, n.Store, cookie)
	return n.line.reads.Load() == before
}

// A node keeps sessions in memory only while it hears of the others, and then no
// request costs a read; what another node ends is over here too.
func TestNodesHearOfEachOther(t *testing.T) {
	e := newEnv(t)
	b := storagetest.Backend(t)
	here, there := e.node(t, b), e.node(t, b)
	e.sessions = there.Store
	cookie := e.create(t, "alice", "sid-1", "")
	if !e.lives(t, here.Store, cookie) {
		t.Fatal("a session of another node is unknown")
	}
	if e.warm(t, here, cookie) {
		t.Error("a node that hears nothing trusts its memory")
	}
	here.run(t)
	soon(t, "a warm node", func() bool { return e.warm(t, here, cookie) })
	if err := there.EndProviderSession(t.Context(), "p", "sid-1", e.clock()); err != nil {
		t.Fatal(err)
	}
	soon(t, "the end of a session", func() bool { return !e.lives(t, here.Store, cookie) })

	// A broken line: memory is not trusted until it is mended.
	cookie = e.create(t, "bob", "sid-2", "")
	soon(t, "a warm node", func() bool { return e.warm(t, here, cookie) })
	mended := make(chan struct{})
	here.line.broken.Store(&mended)
	close(here.line.breaks)
	soon(t, "a cold node", func() bool { return !e.warm(t, here, cookie) })
	if err := there.EndSubject(t.Context(), "p", "bob", e.clock()); err != nil {
		t.Fatal(err)
	}
	if e.lives(t, here.Store, cookie) {
		t.Error("a node that hears nothing serves a session that has ended")
	}
}

// TestEndOfAll: what ends for everybody ends without a write for each, on all
// nodes, and only what is of before.
func TestEndOfAll(t *testing.T) {
	e := newEnv(t)
	behind := []string{session.OfProvider("p"), session.OfClient("p", "c")}
	e.config.Behind = func(string) []string { return behind }
	b := storagetest.Backend(t)
	here, there := e.node(t, b), e.node(t, b)
	e.sessions = here.Store
	here.run(t)
	for _, name := range behind {
		cookie := e.create(t, "alice", "", "")
		soon(t, "it is served from memory", func() bool { return e.warm(t, here, cookie) })
		e.advance(time.Second)
		for _, other := range []string{session.OfOffline("p", "c"), session.OfClient("p", "d"), session.OfProvider("q")} {
			if err := there.EndAll(t.Context(), other); err != nil {
				t.Fatal(err)
			}
		}
		if !e.lives(t, there.Store, cookie) {
			t.Error("ended with something else")
		}
		if err := there.EndAll(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if e.lives(t, there.Store, cookie) {
			t.Error("it lives on where it was ended")
		}
		soon(t, "the end on another node", func() bool { return !e.lives(t, here.Store, cookie) })
		e.advance(time.Second)
		if cookie := e.create(t, "alice", "", ""); !e.lives(t, here.Store, cookie) || !e.lives(t, there.Store, cookie) {
			t.Error("a later session ended too")
		}
	}
}

// What ended is remembered for tokens that were issued before: on all nodes, after
// a restart, and without a storage read where the node hears.
func TestEndsOfTokens(t *testing.T) {
	e := newEnv(t)
	b := storagetest.Backend(t)
	here, there := e.node(t, b), e.node(t, b)
	alice, sid := session.OfSubject("p", "alice"), session.OfProviderSession("p", "sid-1")
	ended := func(n node, issued time.Time, names ...string) bool {
		t.Helper()
		yes, err := n.Ended(t.Context(), issued, names...)
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}
	issued := e.clock()
	if ended(here, issued, alice, sid) {
		t.Error("nothing has ended yet")
	}
	e.advance(time.Second)
	if err := there.EndSubject(t.Context(), "p", "alice", e.clock()); err != nil {
		t.Fatal(err)
	}
	if !ended(there, issued, alice, sid) || !ended(here, issued, alice, sid) || ended(here, issued, sid) {
		t.Error("a node that hears nothing does not ask the store")
	}
	if ended(here, e.clock().Add(time.Second), alice) {
		t.Error("what is issued later has ended too")
	}
	here.run(t)
	warm := func() bool {
		before := here.line.reads.Load()
		return ended(here, issued, alice) && !ended(here, issued, sid) && here.line.reads.Load() == before
	}
	soon(t, "a node that knows of what ended before", warm)
	if err := there.EndProviderSession(t.Context(), "p", "sid-1", e.clock()); err != nil {
		t.Fatal(err)
	}
	soon(t, "the end of a provider's session", func() bool { return ended(here, issued, sid) })

	e.advance(e.config.Bearers + time.Second)
	if err := here.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ended(here, issued, alice, sid) {
		t.Error("an end is remembered for longer than any token lives")
	}
}
