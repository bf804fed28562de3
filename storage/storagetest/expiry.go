package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func until(key string, at time.Time) storage.Item {
	return storage.Item{Key: []byte(key), Value: []byte("v"), Expires: at}
}

func testExpiry(t *testing.T, b storage.Backend) {
	now := noon
	s := storage.New(storage.Config{Backend: b, Now: func() time.Time { return now }})
	put(t, b, until("a", noon.Add(-time.Nanosecond)), until("b", noon), until("c", noon.Add(time.Nanosecond)), item("d", "v"), until("e", noon.Add(time.Hour)))
	for _, c := range []struct {
		now  time.Time
		want []string
	}{
		{noon, []string{"c", "d", "e"}},
		{noon.Add(time.Nanosecond), []string{"d", "e"}},
		{noon.Add(time.Hour), []string{"d"}},
		{noon.Add(-time.Hour), []string{"a", "b", "c", "d", "e"}}, // nothing but the clock decides
	} {
		now = c.now
		check := func(tx storage.Tx) error {
			for _, k := range []string{"a", "b", "c", "d", "e"} {
				_, err := tx.Get([]byte(k))
				if lives := slices.Contains(c.want, k); lives != (err == nil) || (!lives && !errors.Is(err, storage.ErrNotFound)) {
					t.Errorf("at %v: reading %s: %v", c.now, k, err)
				}
			}
			for size := 1; size < 7; size++ { // an expired item takes no place on a page
				items, err := tx.Scan(nil, nil, size)
				if want := c.want[:min(size, len(c.want))]; err != nil || !slices.Equal(keys(items), want) {
					t.Errorf("at %v: a page of %d: %q, %v; want %q", c.now, size, keys(items), err, want)
				}
			}
			return nil
		}
		if err := errors.Join(s.View(t.Context(), check), s.Update(t.Context(), check)); err != nil {
			t.Fatal(err)
		}
	}
}

func testSweep(t *testing.T, b storage.Backend) {
	put(t, b,
		until("past", noon.Add(-time.Minute)), until("now", noon), until("future", noon.Add(time.Minute)), item("never", "v"),
		until("old", time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)), until("far", time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)),
		until("renewed", noon.Add(-time.Minute)), until("freed", noon.Add(-time.Minute)), until("deleted", noon.Add(-time.Minute)), until("shortened", noon.Add(time.Hour)))
	put(t, b, until("renewed", noon.Add(time.Hour)), item("freed", "v"), until("shortened", noon.Add(-time.Second)))
	update(t, b, func(tx storage.Tx) error { return tx.Delete([]byte("deleted")) })

	left := func() (got []string) {
		view(t, b, func(tx storage.Tx) error {
			items, err := tx.Scan(nil, nil, 100)
			got = keys(items)
			return err
		})
		return got
	}
	if n, err := b.Sweep(t.Context(), noon, 100); err != nil || n != 3 {
		t.Errorf("swept %d items, %v; want past, old and shortened", n, err)
	}
	if got, want := left(), []string{"far", "freed", "future", "never", "now", "renewed"}; !slices.Equal(got, want) {
		t.Errorf("left %q; want %q", got, want)
	}
	if n, err := b.Sweep(t.Context(), noon.Add(2*time.Hour), 100); err != nil || n != 3 {
		t.Errorf("later swept %d items, %v; want future, now and renewed", n, err)
	}
	if got, want := left(), []string{"far", "freed", "never"}; !slices.Equal(got, want) {
		t.Errorf("later left %q; want %q", got, want)
	}
	if n, err := b.Sweep(t.Context(), noon.Add(2*time.Hour), 100); err != nil || n != 0 {
		t.Errorf("the sweep after it: %d items, %v", n, err)
	}
}

func testSweepInBatches(t *testing.T, b storage.Backend) {
	const n = 250
	for i := range n {
		k := fmt.Sprintf("k%03d", i)
		put(t, b, until(k, noon.Add(time.Duration(i)*time.Second)))
		if i%2 == 0 { // what has gone already must not hide what is left
			update(t, b, func(tx storage.Tx) error { return tx.Delete([]byte(k)) })
		}
	}
	swept := 0
	for _, want := range []int{50, 50, 25, 0} {
		got, err := b.Sweep(t.Context(), noon.Add(time.Hour), 50)
		if err != nil || got != want {
			t.Fatalf("swept %d items in a batch, %v; want %d", got, err, want)
		}
		swept += got
	}
	// No limit is too much for the engine, and the store does all batches in one
	// call.
	fill := func() {
		for i := range 25 {
			update(t, b, func(tx storage.Tx) error {
				for j := range 100 {
					it := until(fmt.Sprintf("s%d-%d-%s", i, j, strings.Repeat("x", 900)), noon)
					if err := tx.Put(it); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	fill()
	if n, err := b.Sweep(t.Context(), noon.Add(time.Hour), 1_000_000); err != nil || n != 2500 {
		t.Errorf("swept %d items without a limit, %v", n, err)
	}
	fill()
	s := storage.New(storage.Config{Backend: b, Now: func() time.Time { return noon.Add(time.Hour) }})
	if err := s.Sweep(t.Context()); err != nil || s.Stats().Swept.Load() != 2500 {
		t.Errorf("the store swept %d items, %v", s.Stats().Swept.Load(), err)
	}
	view(t, b, func(tx storage.Tx) error {
		items, err := tx.Scan(nil, nil, 10)
		if len(items) > 0 {
			t.Errorf("left %q", keys(items))
		}
		return err
	})
}

// watching collects what a Watch tells until the test ends.
func watching(t *testing.T, b storage.Backend, prefix string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	told, ready, done := make(chan string, 1000), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- b.Watch(ctx, []byte(prefix), func() { close(ready) }, func(keys [][]byte) {
			for _, k := range keys {
				told <- string(k)
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := within(t, done); err != nil {
			t.Errorf("watching %q ended with %v", prefix, err)
		}
	})
	within(t, ready)
	return told
}

// hears waits until all keys were told, in any order, more than once perhaps,
// and nothing else.
func hears(t *testing.T, told <-chan string, want ...string) {
	t.Helper()
	missing := slices.Clone(want)
	deadline := time.After(2 * time.Second)
	for len(missing) > 0 {
		select {
		case k := <-told:
			if !slices.Contains(want, k) {
				t.Errorf("told of %q", k)
			}
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == k })
		case <-deadline:
			t.Fatalf("not told of %q within 2 s", missing)
		}
	}
}

func testWatch(t *testing.T, b storage.Backend) {
	put(t, b, item("w/before", "v"), until("w/old", noon))
	told, all := watching(t, b, "w/"), watching(t, b, "")
	put(t, b, item("w/1", "v"), item("x/1", "v"), item("w/2", "v"))
	hears(t, told, "w/1", "w/2")
	hears(t, all, "w/1", "x/1", "w/2")

	_ = b.Update(t.Context(), func(tx storage.Tx) error {
		_ = tx.Put(item("w/rolled back", "v"))
		return errRollback
	})
	update(t, b, func(tx storage.Tx) error { return tx.Delete([]byte("w/1")) })
	hears(t, told, "w/1")
	hears(t, all, "w/1")
	if _, err := b.Sweep(t.Context(), noon.Add(time.Hour), 10); err != nil {
		t.Fatal(err)
	}
	hears(t, told, "w/old")

	// What is told can be read.
	for i := range 50 {
		k := fmt.Sprint("w/n", i)
		go put(t, b, item(k, "v"))
		hears(t, told, k)
		if got := get(t, b, k); got != "v" {
			t.Fatalf("told of %s, which reads %q", k, got)
		}
	}
}

func testWatchEnds(t *testing.T, b storage.Backend) {
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- b.Watch(ctx, nil, func() { close(ready) }, func([][]byte) {}) }()
	within(t, ready)
	cancel()
	if err := within(t, done); err != nil {
		t.Errorf("the end of its context ended a watch with %v", err)
	}

	ready = make(chan struct{})
	go func() { done <- b.Watch(context.Background(), nil, func() { close(ready) }, func([][]byte) {}) }()
	within(t, ready)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := within(t, done); err == nil {
		t.Error("the end of the store ended a watch without an error")
	}
}
