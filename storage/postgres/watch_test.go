package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
)

func open(t *testing.T, o Options) *Backend {
	t.Helper()
	b, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// watching collects what a Watch tells, until it ends with an error or the test.
func watching(t *testing.T, b *Backend, prefix string) (told <-chan string, done <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	keys, end, ready := make(chan string, 10_000), make(chan error, 1), make(chan struct{})
	go func() {
		end <- b.Watch(ctx, []byte(prefix), func() { close(ready) }, func(changed [][]byte) {
			for _, k := range changed {
				keys <- string(k)
			}
		})
	}()
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("a watch is not ready after 10 s")
	}
	return keys, end
}

// What many connections of a node write at once, another node hears of, all of
// it and within a second.
func TestWatchOfAnotherNode(t *testing.T) {
	o := Options{URL: postgrestest.Shared(t).URL(), Schema: postgrestest.Name()}
	here, there := open(t, o), open(t, o)
	told, _ := watching(t, here, "w/")
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			s := storage.New(storage.Config{Backend: there})
			for i := range each {
				key := fmt.Sprintf("w/%d/%d", w, i)
				err := s.Update(t.Context(), func(tx storage.Tx) error { return errors.Join(put("x"+key, "v")(tx), put(key, "v")(tx)) })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	last := time.Now()
	heard := map[string]bool{}
	for len(heard) < writers*each {
		select {
		case k := <-told:
			if !strings.HasPrefix(k, "w/") {
				t.Errorf("told of %q", k)
			}
			heard[k] = true
		case <-time.After(5 * time.Second):
			t.Fatalf("heard of %d keys of %d", len(heard), writers*each)
		}
	}
	if late := time.Since(last); late > time.Second {
		t.Errorf("heard of the last key after %v", late)
	}
	// Also of what a sweep deletes.
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	err := there.Update(t.Context(), func(tx storage.Tx) error {
		return tx.Put(storage.Item{Key: []byte("w/old"), Value: []byte("v"), Expires: at})
	})
	if err != nil {
		t.Fatal(err)
	}
	<-told
	if n, err := there.Sweep(t.Context(), at.Add(1), 10); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	select {
	case <-told:
	case <-time.After(5 * time.Second):
		t.Error("a sweep was not told")
	}
}

// While the server is silent a node says within about a second that it hears
// nothing, so that nobody trusts what is in memory, and hears again afterwards.
func TestWatchOfASilentServer(t *testing.T) {
	server := postgrestest.Start(t, postgrestest.Config{})
	b := open(t, Options{URL: server.TCP()})
	_, done := watching(t, b, "")
	start := time.Now()
	server.Pause()
	select {
	case err := <-done:
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("it ended with %v", err)
		}
		if took := time.Since(start); took > 2*deafAfter {
			t.Errorf("it said so after %v", took)
		}
	case <-time.After(10 * time.Second):
		t.Error("it never said so")
	}
	ready := make(chan struct{})
	go func() { done2 := b.Watch(t.Context(), nil, func() { close(ready) }, func([][]byte) {}); _ = done2 }()
	select {
	case <-ready:
		t.Error("it claims to hear a silent server")
	case <-time.After(2 * pollEvery):
	}
	server.Resume()
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Error("it does not hear a server that answers again")
	}
}

// A node that has not asked for long does not pretend to have missed nothing.
func TestWatchMissed(t *testing.T) {
	o := Options{URL: postgrestest.Shared(t).URL(), Schema: postgrestest.Name()}
	b := open(t, o)
	b.stop()
	b.follow.Wait()
	f := follower{b: b}
	defer f.close()
	if err := errors.Join(f.ask(t.Context()), f.ask(t.Context())); err != nil {
		t.Fatal(err)
	}
	f.at = f.at.Add(-changesKept/2 - time.Second)
	if err := f.ask(t.Context()); !errors.Is(err, errMissed) {
		t.Errorf("after half a minute without an answer: %v", err)
	}
	if err := errors.Join(f.ask(t.Context()), f.ask(t.Context())); err != nil {
		t.Errorf("and then: %v", err)
	}
}

// Changes are forgotten when everybody has heard of them, lanes when their
// connection has ended for certain.
func TestChangesAreForgotten(t *testing.T) {
	server, schema := postgrestest.Shared(t), postgrestest.Name()
	b := open(t, Options{URL: server.URL(), Schema: schema, MaxConns: 1})
	for i := range 3 {
		if err := b.Update(t.Context(), put(fmt.Sprint("k", i), "v")); err != nil {
			t.Fatal(err)
		}
	}
	count := func(table string) (n int) {
		t.Helper()
		if err := b.pool.QueryRow(t.Context(), b.sql("SELECT count(*) FROM {schema}."+table)).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	sweep := func() {
		t.Helper()
		if _, err := b.Sweep(t.Context(), time.Now(), 10); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if changes, lanes := count("changes"), count("lanes"); changes != 3 || lanes != 1 {
		t.Errorf("kept %d changes of %d lanes", changes, lanes)
	}
	server.Exec(t, b.sql("UPDATE {schema}.changes SET at = at - interval '61 seconds' WHERE n < 3; UPDATE {schema}.lanes SET opened = opened - interval '3 hours'"))
	sweep()
	if changes, lanes := count("changes"), count("lanes"); changes != 1 || lanes != 1 {
		t.Errorf("kept %d changes of %d lanes, want 1 and 1", changes, lanes)
	}
	server.Exec(t, b.sql("UPDATE {schema}.lanes SET opened = opened - interval '2 hours'"))
	sweep()
	if lanes := count("lanes"); lanes != 0 {
		t.Errorf("kept %d lanes", lanes)
	}
}

func TestPackedKeys(t *testing.T) {
	keys := [][]byte{[]byte("a"), {}, []byte(strings.Repeat("k", 300)), {0, 0xff}}
	got, err := unpack(pack(keys))
	if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", keys) {
		t.Errorf("unpacked %q, %v", got, err)
	}
	for _, bad := range [][]byte{{5, 'a'}, {0x80}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'x'}} {
		if keys, err := unpack(bad); err == nil {
			t.Errorf("unpacked %q from %q", keys, bad)
		}
	}
}

// Two nodes that sweep at once delete each row once, and none that was written
// anew meanwhile.
func TestNodesSweepTogether(t *testing.T) {
	o := Options{URL: postgrestest.Shared(t).URL(), Schema: postgrestest.Name()}
	nodes := []*Backend{open(t, o), open(t, o)}
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	const n = 600
	write := func(b *Backend, i int, expires time.Time) {
		s := storage.New(storage.Config{Backend: b, RetryFor: time.Minute, Now: func() time.Time { return at.Add(-time.Hour) }})
		err := s.Update(t.Context(), func(tx storage.Tx) error {
			return tx.Put(storage.Item{Key: fmt.Appendf(nil, "k%03d", i), Value: []byte("v"), Expires: expires})
		})
		if err != nil {
			t.Error(err)
		}
	}
	for i := range n {
		write(nodes[0], i, at)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; i < n; i += 20 { // used again, for long
			write(nodes[0], i, at.Add(time.Hour))
		}
	})
	total := [2]int{}
	for i, b := range nodes {
		wg.Go(func() {
			for {
				swept, err := b.Sweep(t.Context(), at.Add(time.Second), 50)
				if err != nil {
					t.Error(err)
				}
				total[i] += swept
				if swept < 50 {
					return
				}
			}
		})
	}
	wg.Wait()
	left := 0
	err := nodes[0].View(t.Context(), func(tx storage.Tx) error {
		items, err := tx.Scan([]byte("k"), nil, 2*n)
		for _, it := range items {
			if it.Expires.After(at) {
				left++
			}
		}
		return err
	})
	if err != nil || left != n/20 {
		t.Errorf("%d of %d that were written anew are there, %v", left, n/20, err)
	}
	if sum := total[0] + total[1]; sum > n || sum < n-n/20 {
		t.Errorf("swept %d and %d of %d", total[0], total[1], n)
	}
}
