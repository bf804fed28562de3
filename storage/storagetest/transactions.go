package storagetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

func testRollbackOnError(t *testing.T, b storage.Backend) {
	put(t, b, item("k", "old"))
	cause := errors.New("no")
	err := b.Update(t.Context(), func(tx storage.Tx) error {
		return errors.Join(tx.Put(item("k", "new")), tx.Put(item("other", "new")), cause)
	})
	if !errors.Is(err, cause) {
		t.Errorf("the closure's error became %v", err)
	}
	if k, other := get(t, b, "k"), get(t, b, "other"); k != "old" || other != "-" {
		t.Errorf("after an error: %q, %q", k, other)
	}
}

func testRollbackOnPanic(t *testing.T, b storage.Backend) {
	put(t, b, item("k", "old"))
	err := b.Update(t.Context(), func(tx storage.Tx) error {
		_ = tx.Put(item("k", "new"))
		panic("a bug")
	})
	if err == nil {
		t.Error("a panic was answered with success")
	}
	if k := get(t, b, "k"); k != "old" {
		t.Errorf("after a panic: %q", k)
	}
	put(t, b, item("k", "next")) // the engine still works
}

func testRollbackOnExit(t *testing.T, b storage.Backend) {
	done := make(chan error, 1)
	go func() {
		err := errors.New("the closure ended its caller's goroutine")
		defer func() { done <- err }()
		err = b.Update(context.Background(), func(tx storage.Tx) error {
			_ = tx.Put(item("k", "new"))
			runtime.Goexit() // what t.FailNow does
			return nil
		})
	}()
	if err := within(t, done); err == nil {
		t.Error("a closure that ended its goroutine was answered with success")
	}
	if k := get(t, b, "k"); k != "-" {
		t.Errorf("after the end of its goroutine: %q", k)
	}
	put(t, b, item("k", "next"))
}

// within waits for a result that must come at once; only a deadlock takes long.
func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("still waiting after 20 s")
		panic("unreachable")
	}
}

func testView(t *testing.T, b storage.Backend) {
	put(t, b, item("k", "old"))
	view(t, b, func(tx storage.Tx) error {
		// An engine far away takes its snapshot with the first read.
		if k, err := read(tx, "k"); k != "old" || err != nil {
			t.Errorf("before: %q, %v", k, err)
		}
		if err := b.Update(t.Context(), func(tx storage.Tx) error {
			return errors.Join(tx.Put(item("k", "new")), tx.Put(item("l", "new")))
		}); err != nil {
			return err
		}
		k, err1 := read(tx, "k")
		l, err2 := read(tx, "l")
		items, err3 := tx.Scan(nil, nil, 10)
		if k != "old" || l != "-" || len(items) != 1 {
			t.Errorf("the snapshot moved: %q, %q, %d items", k, l, len(items))
		}
		return errors.Join(err1, err2, err3)
	})
	if k := get(t, b, "k"); k != "new" {
		t.Errorf("a later view reads %q", k)
	}
	cause := errors.New("no")
	if err := b.View(t.Context(), func(storage.Tx) error { return cause }); !errors.Is(err, cause) {
		t.Errorf("the closure's error became %v", err)
	}
	s := storage.New(storage.Config{Backend: b})
	for name, write := range map[string]func(storage.Tx) error{
		"put":    func(tx storage.Tx) error { return tx.Put(item("k", "view")) },
		"delete": func(tx storage.Tx) error { return tx.Delete([]byte("k")) },
	} {
		if err := b.View(t.Context(), write); err == nil {
			t.Errorf("%s in a view of the backend", name)
		}
		if err := s.View(t.Context(), func(tx storage.Tx) error { _ = write(tx); return nil }); err == nil {
			t.Errorf("%s in a view of the store, its error swallowed", name)
		}
	}
	if k := get(t, b, "k"); k != "new" {
		t.Errorf("a view wrote %q", k)
	}
}

func testNested(t *testing.T, b storage.Backend) {
	done := make(chan error, 1)
	var inner error
	go func() {
		done <- b.Update(context.Background(), func(tx storage.Tx) error {
			inner = b.Update(context.Background(), func(tx storage.Tx) error { return tx.Put(item("inner", "x")) })
			return tx.Put(item("outer", "x"))
		})
	}()
	if err := within(t, done); err != nil {
		t.Errorf("the outer update: %v", err)
	}
	if !errors.Is(inner, storage.ErrNested) {
		t.Errorf("the inner update: %v", inner)
	}
	if outer, inner := get(t, b, "outer"), get(t, b, "inner"); outer != "x" || inner != "-" {
		t.Errorf("outer %q, inner %q", outer, inner)
	}
}

// The goroutine that asks is another one, so that no engine can see at once that
// it is waited for. It may be served or sent away, but not wait for ever.
func testNestedElsewhere(t *testing.T, b storage.Backend) {
	done := make(chan error, 1)
	go func() {
		done <- b.Update(context.Background(), func(tx storage.Tx) error {
			inner := make(chan error, 1)
			go func() {
				inner <- b.Update(context.Background(), func(tx storage.Tx) error { return tx.Put(item("inner", "x")) })
			}()
			return errors.Join(<-inner, tx.Put(item("outer", "x")))
		})
	}()
	want := "x"
	if err := within(t, done); err != nil {
		t.Log(err)
		want = "-"
	}
	if outer, inner := get(t, b, "outer"), get(t, b, "inner"); outer != want || inner != want {
		t.Errorf("outer %q, inner %q; want %q", outer, inner, want)
	}
	put(t, b, item("after", "x")) // nobody is in the way
}

func testCancelled(t *testing.T, b storage.Backend) {
	cause := errors.New("the caller went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	ran := false
	fn := func(storage.Tx) error { ran = true; return nil }
	if err := b.Update(ctx, fn); !errors.Is(err, cause) || ran {
		t.Errorf("update: %v, ran: %v", err, ran)
	}
	if err := b.View(ctx, fn); !errors.Is(err, cause) || ran {
		t.Errorf("view: %v, ran: %v", err, ran)
	}
	// One that ends while it runs is either done or not, and the answer is true.
	ctx, cancelNow := context.WithCancel(t.Context())
	err := b.Update(ctx, func(tx storage.Tx) error {
		cancelNow()
		return tx.Put(item("k", "v"))
	})
	switch got := get(t, b, "k"); {
	case err == nil && got == "v":
	case err != nil && !errors.Is(err, storage.ErrUnknown) && got == "-":
	case errors.Is(err, storage.ErrUnknown):
	default:
		t.Errorf("cancelled in the middle: %v, but the key has %q", err, got)
	}
}

func testCloseWaits(t *testing.T, b storage.Backend) {
	put(t, b, item("k", "v"))
	closed := make(chan error, 1)
	view(t, b, func(tx storage.Tx) error {
		go func() { closed <- b.Close() }()
		for err := error(nil); err == nil; { // until Close has begun
			err = b.View(t.Context(), func(storage.Tx) error { return nil })
		}
		select {
		case err := <-closed:
			t.Errorf("closed under a view: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		got, err := read(tx, "k")
		if got != "v" {
			t.Errorf("a view that has begun reads %q", got)
		}
		return err
	})
	if err := within(t, closed); err != nil {
		t.Error(err)
	}
}

func testClosed(t *testing.T, b storage.Backend) {
	put(t, b, item("k", "v"))
	// Views and Updates that race with Close are served or refused.
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for {
				err := b.View(context.Background(), func(tx storage.Tx) error { _, err := read(tx, "k"); return err })
				if err == nil {
					err = b.Update(context.Background(), func(tx storage.Tx) error { return tx.Put(item("k", "v")) })
				}
				if err != nil {
					if !errors.Is(err, storage.ErrClosed) {
						t.Errorf("while closing: %v", err)
					}
					return
				}
			}
		})
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	if err := b.Update(t.Context(), func(storage.Tx) error { return nil }); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if err := b.View(t.Context(), func(storage.Tx) error { return nil }); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("view: %v", err)
	}
	if err := b.Watch(t.Context(), nil, nil, func([][]byte) {}); err == nil {
		t.Error("a watch of a closed store ended without an error")
	}
	if err := b.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// rival starts another Update in the middle of the first run of a closure and
// gives it time to commit, if the engine lets it.
func rival(b storage.Backend, fn func(storage.Tx) error) (meanwhile func(), wait func() error) {
	var once sync.Once
	s := storage.New(storage.Config{Backend: b})
	done := make(chan error, 1)
	meanwhile = func() {
		once.Do(func() {
			committed := make(chan struct{})
			go func() {
				err := s.Update(context.Background(), fn)
				close(committed)
				done <- err
			}()
			select {
			case <-committed:
			case <-time.After(100 * time.Millisecond): // it waits for us
			}
		})
	}
	return meanwhile, func() error { return <-done }
}

func increment(tx storage.Tx, key string, meanwhile func()) error {
	n := 0
	switch value, err := read(tx, key); {
	case err != nil:
		return err
	case value != "-":
		n, _ = strconv.Atoi(value)
	}
	meanwhile()
	return tx.Put(item(key, strconv.Itoa(n+1)))
}

func testConflictOnPresentKey(t *testing.T, b storage.Backend) {
	put(t, b, item("n", "0"))
	meanwhile, wait := rival(b, func(tx storage.Tx) error { return increment(tx, "n", func() {}) })
	update(t, b, func(tx storage.Tx) error { return increment(tx, "n", meanwhile) })
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, b, "n"); got != "2" {
		t.Errorf("two increments gave %s", got)
	}
}

var errExists = errors.New("exists")

func create(tx storage.Tx, key, value string, meanwhile func()) error {
	switch had, err := read(tx, key); {
	case err != nil:
		return err
	case had != "-":
		return errExists
	}
	meanwhile()
	return tx.Put(item(key, value))
}

func testConflictOnAbsentKey(t *testing.T, b storage.Backend) {
	s := storage.New(storage.Config{Backend: b})
	meanwhile, wait := rival(b, func(tx storage.Tx) error { return create(tx, "k", "rival", func() {}) })
	mine := s.Update(t.Context(), func(tx storage.Tx) error { return create(tx, "k", "mine", meanwhile) })
	theirs := wait()
	switch got := get(t, b, "k"); {
	case mine == nil && errors.Is(theirs, errExists) && got == "mine":
	case theirs == nil && errors.Is(mine, errExists) && got == "rival":
	default:
		t.Errorf("mine: %v, the rival's: %v, the key has %q", mine, theirs, got)
	}
}

// testConflictOnScannedKeys: two who each judge all rows and then write one.
// Whichever order the engine puts them in, the second has seen the first, also
// if that one's row is new or gone.
func testConflictOnScannedKeys(t *testing.T, b storage.Backend) {
	conflictOnMany(t, b, func(tx storage.Tx, name string) ([]storage.Item, error) {
		return tx.Scan([]byte(name+"/"), nil, 10)
	})
}

// testConflictOnManyKeys: the same where they are read by their keys.
func testConflictOnManyKeys(t *testing.T, b storage.Backend) {
	conflictOnMany(t, b, func(tx storage.Tx, name string) ([]storage.Item, error) {
		items, err := tx.GetMany([][]byte{[]byte(name + "/a"), []byte(name + "/b"), []byte(name + "/c")})
		return slices.DeleteFunc(items, func(it storage.Item) bool { return it.Key == nil }), err
	})
}

func conflictOnMany(t *testing.T, b storage.Backend, readAll func(tx storage.Tx, name string) ([]storage.Item, error)) {
	refused := errors.New("refused")
	on := func(rows []storage.Item) int {
		return len(slices.DeleteFunc(slices.Clone(rows), func(it storage.Item) bool { return string(it.Value) != "on" }))
	}
	for _, c := range []struct {
		name  string
		rows  []storage.Item
		may   func(rows []storage.Item) bool
		write func(tx storage.Tx, key string) error
	}{
		{
			"changed", []storage.Item{item("changed/a", "on"), item("changed/b", "on"), item("changed/c", "off")},
			func(rows []storage.Item) bool { return on(rows) > 1 }, // somebody stays
			func(tx storage.Tx, key string) error { return tx.Put(item(key, "off")) },
		},
		{
			"gone", []storage.Item{item("gone/a", "on"), item("gone/b", "on")},
			func(rows []storage.Item) bool { return len(rows) > 1 },
			func(tx storage.Tx, key string) error { return tx.Delete([]byte(key)) },
		},
		{
			"new", nil,
			func(rows []storage.Item) bool { return len(rows) == 0 }, // one seat
			func(tx storage.Tx, key string) error { return tx.Put(item(key, "on")) },
		},
	} {
		put(t, b, c.rows...)
		take := func(key string, meanwhile func()) func(storage.Tx) error {
			return func(tx storage.Tx) error {
				rows, err := readAll(tx, c.name)
				switch {
				case err != nil:
					return err
				case !c.may(rows):
					return refused
				}
				meanwhile()
				return c.write(tx, c.name+"/"+key)
			}
		}
		s := storage.New(storage.Config{Backend: b})
		meanwhile, wait := rival(b, take("b", func() {}))
		mine := s.Update(t.Context(), take("a", meanwhile))
		theirs := wait()
		if (mine == nil) == (theirs == nil) || !errors.Is(errors.Join(mine, theirs), refused) {
			t.Errorf("%s: mine: %v, the rival's: %v", c.name, mine, theirs)
		}
	}
}

func testParallelIncrements(t *testing.T, b storage.Backend) {
	const workers, each = 16, 100
	s := storage.New(storage.Config{Backend: b, RetryFor: time.Minute})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				// One key for all and one of its own, in one commit.
				err := s.Update(t.Context(), func(tx storage.Tx) error {
					return errors.Join(increment(tx, "all", func() {}), increment(tx, fmt.Sprint("own ", w), func() {}))
				})
				if err != nil {
					t.Error(err)
					return
				}
				// What was answered is there to read.
				if got := get(t, b, fmt.Sprint("own ", w)); got != strconv.Itoa(i+1) {
					t.Errorf("worker %d reads %s after %d increments", w, got, i+1)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := get(t, b, "all"); got != strconv.Itoa(workers*each) {
		t.Errorf("%d increments gave %s", workers*each, got)
	}
}

func testParallelCreators(t *testing.T, b storage.Backend) {
	s := storage.New(storage.Config{Backend: b, RetryFor: time.Minute})
	for round := range 20 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var winners []string
		key := fmt.Sprint("k", round)
		for w := range 16 {
			wg.Go(func() {
				me := strconv.Itoa(w)
				switch err := s.Update(t.Context(), func(tx storage.Tx) error { return create(tx, key, me, func() {}) }); {
				case err == nil:
					mu.Lock()
					winners = append(winners, me)
					mu.Unlock()
				case !errors.Is(err, errExists):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := get(t, b, key); len(winners) != 1 || got != winners[0] {
			t.Fatalf("winners %q, the key has %q", winners, got)
		}
	}
}
