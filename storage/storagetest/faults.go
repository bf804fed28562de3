package storagetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// Fault is what happens to one Update of Faults.
type Fault int

// The ways in which a commit goes wrong.
const (
	None Fault = iota
	// Conflict: the closure ran, nothing was written, ErrConflict.
	Conflict
	// LostCommit: the closure ran, nothing was written, ErrUnknown.
	LostCommit
	// LostAnswer: the closure ran and was committed, ErrUnknown.
	LostAnswer
)

// Faults is a backend whose commits fail as At says.
type Faults struct {
	storage.Backend
	// At names the fault of an Update; they are numbered from 1. Sweep is never
	// asked.
	At func(update int) Fault

	updates  atomic.Int64
	happened [LostAnswer + 1]atomic.Int64
}

// Happened tells how often a fault was what came of an Update. It was not if the
// closure or the backend had an error first, such as a conflict of its own.
func (f *Faults) Happened(fault Fault) int64 { return f.happened[fault].Load() }

// Flaky returns a backend on b of which every n-th Update conflicts.
func Flaky(b storage.Backend, every int) *Faults {
	return &Faults{Backend: b, At: func(n int) Fault {
		if n%every == 0 {
			return Conflict
		}
		return None
	}}
}

var errRollback = errors.New("rolled back by a fault")

// Update runs fn and then fails as At says. A closure's own error comes first.
func (f *Faults) Update(ctx context.Context, fn func(storage.Tx) error) error {
	switch fault := f.At(int(f.updates.Add(1))); fault {
	case Conflict, LostCommit:
		err := f.Backend.Update(ctx, func(tx storage.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			return errRollback
		})
		if !errors.Is(err, errRollback) {
			return err
		}
		f.happened[fault].Add(1)
		if fault == Conflict {
			return storage.ErrConflict
		}
		return storage.ErrUnknown
	case LostAnswer:
		if err := f.Backend.Update(ctx, fn); err != nil {
			return err
		}
		f.happened[fault].Add(1)
		return storage.ErrUnknown
	default:
		return f.Backend.Update(ctx, fn)
	}
}

// testFaults: commits conflict, are lost, and happen without an answer. Workers
// add to a sum and repeat what they do not know the outcome of; each addition
// carries a name, so that it counts once.
func testFaults(t *testing.T, b storage.Backend) {
	faults := &Faults{Backend: b, At: func(n int) Fault {
		switch {
		case n%3 == 0:
			return Conflict
		case n%5 == 0:
			return LostCommit
		case n%7 == 0:
			return LostAnswer
		}
		return None
	}}
	s := storage.New(storage.Config{Backend: faults, RetryFor: time.Minute})
	const workers, each = 8, 25
	var wg sync.WaitGroup
	var told, repeated atomic.Int64 // ErrUnknown; additions that were there already
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("added/%d-%d", w, i)
				for {
					again := false
					err := s.Update(t.Context(), func(tx storage.Tx) error {
						had, err := read(tx, name)
						if again = had != "-"; err != nil || again {
							return err
						}
						return errors.Join(increment(tx, "sum", func() {}), tx.Put(item(name, "")))
					})
					if errors.Is(err, storage.ErrUnknown) {
						told.Add(1)
						continue
					}
					if err != nil {
						t.Error(err)
					}
					if again {
						repeated.Add(1)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	if got := get(t, b, "sum"); got != strconv.Itoa(workers*each) {
		t.Errorf("%d additions gave %s", workers*each, got)
	}
	view(t, b, func(tx storage.Tx) error {
		items, err := tx.Scan([]byte("added/"), nil, 2*workers*each)
		if len(items) != workers*each {
			t.Errorf("%d of %d additions left their name: %s", len(items), workers*each, strings.Join(keys(items), " "))
		}
		return err
	})
	lost, unanswered := faults.Happened(LostCommit), faults.Happened(LostAnswer)
	if told.Load() != lost+unanswered || lost == 0 || repeated.Load() == 0 {
		t.Errorf("told of %d unknown outcomes, of which %d were lost, %d without an answer; %d additions were repeated", told.Load(), lost, unanswered, repeated.Load())
	}
}
