package storagetest

import (
	"context"
	"errors"
	"sync/atomic"

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

	updates atomic.Int64
}

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
		switch {
		case !errors.Is(err, errRollback):
			return err
		case fault == Conflict:
			return storage.ErrConflict
		}
		return storage.ErrUnknown
	case LostAnswer:
		if err := f.Backend.Update(ctx, fn); err != nil {
			return err
		}
		return storage.ErrUnknown
	default:
		return f.Backend.Update(ctx, fn)
	}
}
