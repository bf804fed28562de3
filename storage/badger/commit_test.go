package badger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/nightlatch/nightlatch/storage"
)

func open(t *testing.T, o Options) *Backend {
	t.Helper()
	if o.Dir == "" && !o.InMemory {
		o.Dir = t.TempDir()
	}
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// counting counts the commits of a backend and lets a test decide about each.
func counting(b *Backend) (commits *int, fail *error) {
	commits, fail = new(int), new(error)
	b.sync = func(txn *badger.Txn) error {
		*commits++
		if *fail != nil {
			return *fail
		}
		return txn.Commit()
	}
	return commits, fail
}

// fold sends Updates such that all wait while the first one runs: they share
// one commit as far as it has room. It returns their errors in order.
func fold(t *testing.T, b *Backend, fns ...func(storage.Tx) error) []error {
	t.Helper()
	errs := make([]error, len(fns))
	running, goOn := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		first := true
		errs[0] = b.Update(context.Background(), func(tx storage.Tx) error {
			if first {
				first = false
				close(running)
				<-goOn
			}
			return fns[0](tx)
		})
	})
	<-running
	for i, fn := range fns[1:] {
		wg.Go(func() { errs[i+1] = b.Update(context.Background(), fn) })
		waitFor(t, func() bool { return len(b.jobs) == i+1 }) // one behind the other
	}
	close(goOn)
	wg.Wait()
	return errs
}

func waitFor(t *testing.T, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ready(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatal("still waiting after 20 s")
		}
	}
}

func putKey(key, value string) func(storage.Tx) error {
	return func(tx storage.Tx) error { return tx.Put(storage.Item{Key: []byte(key), Value: []byte(value)}) }
}

func has(t *testing.T, b *Backend, key string) bool {
	t.Helper()
	err := b.View(t.Context(), func(tx storage.Tx) error { _, err := tx.Get([]byte(key)); return err })
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func TestConcurrentUpdatesShareOneCommit(t *testing.T) {
	b := open(t, Options{})
	commits, _ := counting(b)
	cause := errors.New("no")
	var fns []func(storage.Tx) error
	for i := range 64 {
		switch i {
		case 10:
			fns = append(fns, func(tx storage.Tx) error { _ = putKey("k10", "v")(tx); return cause })
		case 20:
			fns = append(fns, func(tx storage.Tx) error { _ = putKey("k20", "v")(tx); panic("a bug") })
		case 30: // sees its neighbours, but not the one that failed
			fns = append(fns, func(tx storage.Tx) error {
				_, err9 := tx.Get([]byte("k9"))
				_, err10 := tx.Get([]byte("k10"))
				if err9 != nil || !errors.Is(err10, storage.ErrNotFound) {
					t.Errorf("k9: %v, k10: %v", err9, err10)
				}
				items, err := tx.Scan([]byte("k"), nil, 100)
				if len(items) != 28 {
					t.Errorf("scanned %d keys", len(items))
				}
				return errors.Join(err, putKey("k30", "v")(tx))
			})
		default:
			fns = append(fns, putKey(fmt.Sprint("k", i), "v"))
		}
	}
	for i, err := range fold(t, b, fns...) {
		switch i {
		case 10:
			if !errors.Is(err, cause) {
				t.Errorf("its own error became %v", err)
			}
		case 20:
			if err == nil || !strings.Contains(err.Error(), "a bug") {
				t.Errorf("its panic became %v", err)
			}
		default:
			if err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		}
		if want := i != 10 && i != 20; has(t, b, fmt.Sprint("k", i)) != want {
			t.Errorf("k%d is there: %v", i, !want)
		}
	}
	if *commits != 1 {
		t.Errorf("64 updates took %d commits", *commits)
	}
}

func TestUpdateThatEndsItsGoroutineSparesItsNeighbours(t *testing.T) {
	b := open(t, Options{InMemory: true})
	errs := fold(t, b, putKey("k0", "v"), func(storage.Tx) error {
		runtime.Goexit()
		return nil
	}, putKey("k2", "v"))
	// The first comes again as after any conflict; the last had not begun.
	if !errors.Is(errs[0], storage.ErrConflict) || errs[1] == nil || errors.Is(errs[1], storage.ErrConflict) || errs[2] != nil {
		t.Errorf("outcomes: %v", errs)
	}
	if has(t, b, "k0") || !has(t, b, "k2") {
		t.Error("the store does not hold what was answered")
	}
}

func TestBatchIsSplitForLackOfRoom(t *testing.T) {
	b := open(t, Options{InMemory: true})
	commits, _ := counting(b)
	big := strings.Repeat("x", storage.MaxValue)
	runs := make([]int, 10)
	var fns []func(storage.Tx) error
	for i := range runs {
		fns = append(fns, func(tx storage.Tx) error {
			runs[i]++
			return putKey(fmt.Sprint("k", i), big)(tx)
		})
	}
	for i, err := range fold(t, b, fns...) {
		if err != nil || !has(t, b, fmt.Sprint("k", i)) {
			t.Errorf("update %d: %v", i, err)
		}
		if runs[i] > 2 {
			t.Errorf("update %d ran %d times", i, runs[i])
		}
	}
	if *commits < 2 || *commits > 5 {
		t.Errorf("10 updates of 512 KiB took %d commits", *commits)
	}

	// One that fits into no commit fails alone, whoever is before and behind it.
	errs := fold(t, b, putKey("small1", "v"), func(tx storage.Tx) error {
		for i := range 100_000 {
			_ = putKey(fmt.Sprint("many", i), "v")(tx) // swallowed
		}
		return nil
	}, putKey("small2", "v"))
	if errs[0] != nil || !errors.Is(errs[1], storage.ErrTooLarge) || errs[2] != nil {
		t.Errorf("outcomes: %v", errs)
	}
	if !has(t, b, "small1") || has(t, b, "many0") || !has(t, b, "small2") {
		t.Error("the store does not hold what was answered")
	}
}

// A transaction just below the limits is one that Badger takes: our accounting
// never promises more room than there is.
func TestLimitsAreBadgersOwn(t *testing.T) {
	b := open(t, Options{InMemory: true})
	least := int(options(Options{InMemory: true}).MemTableSize * 15 / 100 * 3 / 10) // it must not promise much less either
	for _, size := range []int{0, 100, 1000, 10_000, storage.MaxValue} {
		value := strings.Repeat("x", size)
		most := sort.Search(8<<20/(size+100), func(n int) bool {
			err := b.Update(t.Context(), func(tx storage.Tx) error {
				for i := range n + 1 {
					if err := tx.Put(storage.Item{Key: fmt.Appendf(nil, "%d/%d", size, i), Value: []byte(value), Expires: time.Unix(1, 0)}); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil && (!errors.Is(err, storage.ErrTooLarge) || strings.Contains(err.Error(), "committing")) {
				t.Errorf("%d values of %d bytes: %v", n+1, size, err)
			}
			return err != nil
		})
		if most*max(size, 90) < least {
			t.Errorf("only %d values of %d bytes fit", most, size)
		}
	}
}

func TestCallerWhoLeftIsSkipped(t *testing.T) {
	b := open(t, Options{InMemory: true})
	running, goOn := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- b.Update(context.Background(), func(tx storage.Tx) error {
			close(running)
			<-goOn
			return putKey("first", "v")(tx)
		})
	}()
	<-running
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { left <- b.Update(ctx, putKey("left", "v")) }()
	waitFor(t, func() bool { return len(b.jobs) == 1 })
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) { // at once, not after its turn
		t.Errorf("the caller who left: %v", err)
	}
	close(goOn)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := b.Update(t.Context(), putKey("last", "v")); err != nil || has(t, b, "left") {
		t.Errorf("a closure ran whose caller had left: %v", err)
	}
}

// unheard is a context that has ended without its caller having noticed.
type unheard struct {
	context.Context
	ended atomic.Bool
}

func (u *unheard) Done() <-chan struct{} { return nil }

func (u *unheard) Err() error {
	if u.ended.Load() {
		return context.DeadlineExceeded
	}
	return nil
}

func TestEndOfTheContextCountsAtTheTurn(t *testing.T) {
	b := open(t, Options{InMemory: true})
	ctx := &unheard{Context: context.Background()}
	second := make(chan error, 1)
	err := b.Update(t.Context(), func(tx storage.Tx) error {
		go func() { second <- b.Update(ctx, putKey("second", "v")) }()
		for len(b.jobs) == 0 {
			runtime.Gosched()
		}
		ctx.ended.Store(true)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-second; err == nil || has(t, b, "second") {
		t.Errorf("a closure ran after the end of its context: %v", err)
	}
}

func TestFailingUpdatesDoNotHoldUpACommit(t *testing.T) {
	b := open(t, Options{InMemory: true})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = b.Update(context.Background(), func(storage.Tx) error { return storage.ErrNotFound })
				}
			}
		})
	}
	for i := range 50 {
		done := make(chan error, 1)
		go func() { done <- b.Update(context.Background(), putKey(fmt.Sprint(i), "v")) }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("an update waits for ever behind ones that fail")
		}
	}
	close(stop)
	wg.Wait()
}
