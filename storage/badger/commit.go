package badger

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/engine"
)

// maxFold is how many Updates share one commit at most.
const maxFold = 256

// job is one Update on its way through the committer.
type job struct {
	ctx   context.Context
	fn    func(tx) error
	taken atomic.Bool // by the committer, or by a caller who gives up
	err   error
	done  chan struct{}
}

// Update queues the closure and waits until its commit is on disk. A caller
// whose context ends before the closure's turn is skipped.
func (b *Backend) Update(ctx context.Context, fn func(storage.Tx) error) error {
	return b.update(ctx, func(t tx) error { return fn(t) })
}

func (b *Backend) update(ctx context.Context, fn func(tx) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	j := &job{ctx: ctx, fn: fn, done: make(chan struct{})}
	// To know its own goroutine costs a request more than all else here. Only who
	// waits for long asks whether it waits for itself.
	long := time.NewTimer(longWait)
	defer long.Stop()
	for queued := false; !queued; {
		select {
		case <-b.gate.Closed():
			return storage.ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-long.C:
			if b.runner.isCurrent() {
				return storage.ErrNested
			}
		case b.jobs <- j:
			queued = true
		}
	}
	for {
		select {
		case <-j.done:
			return j.err
		case <-ctx.Done():
			if j.taken.CompareAndSwap(false, true) {
				return context.Cause(ctx)
			}
		case <-b.done:
			if j.taken.CompareAndSwap(false, true) {
				return storage.ErrClosed // the committer ended before its turn
			}
		case <-long.C:
			if b.runner.isCurrent() && j.taken.CompareAndSwap(false, true) {
				return storage.ErrNested
			}
			continue
		}
		<-j.done // it has begun: its outcome counts
		return j.err
	}
}

// longWait is longer than a commit should take.
const longWait = 50 * time.Millisecond

// commitLoop takes what waits, folds it into one commit, and tells everybody.
func (b *Backend) commitLoop() {
	ended := false
	defer func() {
		if ended {
			close(b.done)
		} else {
			go b.commitLoop() // a closure ended the goroutine: see commit
		}
	}()
	b.runner.set()
	var held *job // did not fit into the last commit
	for {
		first := held
		if first == nil {
			select {
			case first = <-b.jobs:
			case <-b.gate.Closed():
				select { // what was queued before Close is still served
				case first = <-b.jobs:
				default:
					ended = true
					return
				}
			}
			if !first.taken.CompareAndSwap(false, true) {
				continue
			}
		}
		if b.broken.Load() {
			first.finish(errBroken)
			held = nil
			continue
		}
		held = b.commit(first)
	}
}

var errBroken = fmt.Errorf("a commit has failed, the store is being opened again: %w", storage.ErrClosed)

// commit runs first and what waits behind it on one snapshot, each on what the
// ones before it left, and writes it all in one synced Badger transaction. It
// returns a job that has to go into the next one for lack of room.
//
// An outcome is told when all that it may have seen is on disk: also an error,
// if a closure returned it after another one had written.
func (b *Backend) commit(first *job) (held *job) {
	txn := b.tree.NewTransaction(true)
	defer txn.Discard()
	batch := newOverlay(snapshot{txn})
	var waiting []*job // for the disk

	current := first
	defer func() {
		if current == nil {
			return
		}
		// The closure ended this goroutine by runtime.Goexit, as t.FailNow does.
		// Nothing was committed; the others come again.
		current.finish(errors.New("updating store: the closure ended its goroutine"))
		finish(waiting, storage.ErrConflict)
	}()
	for ; current != nil; current = b.next(len(waiting)) {
		own := newOverlay(batch)
		current.err = b.run(current, own)
		if current.err == nil && !b.tree.room.holds(batch, own) {
			held = current // runs again, at the head of the next commit
			break
		}
		if current.err == nil {
			batch.merge(own)
		}
		if len(batch.writes) == 0 {
			current.finish(current.err) // it saw only what is on disk
			continue
		}
		waiting = append(waiting, current)
	}
	current = nil
	if len(waiting) == 0 {
		return held
	}

	if full := b.hasRoom(); full != nil {
		// Each is judged by itself, on what is on disk: one that changes nothing
		// needs no room, as what a server declares anew at its start.
		for len(waiting) > 0 {
			current, waiting = waiting[0], waiting[1:]
			own := newOverlay(snapshot{txn})
			err := b.run(current, own)
			if err == nil && !own.same() {
				err = fmt.Errorf("committing transaction: %w", full)
			}
			current.finish(err)
		}
		current = nil
		return held
	}
	err := batch.flush(txn)
	if err == nil {
		err = b.sync(txn)
	}
	switch {
	case err == nil:
		b.watchers.Tell(batch.changed())
	case errors.Is(err, badger.ErrTxnTooBig): // refused before it was written
		finish(waiting, fmt.Errorf("committing transaction: %w", storage.ErrTooLarge))
		return held
	default:
		// The rows are in the log or not, and may be readable though they are
		// not on disk; what would be written behind them could be lost with
		// them. So nothing is written any more until the log is read again.
		b.log.Error("committing transaction: the store takes no writes until it has been opened again", "err", err, "updates", len(waiting))
		b.reopen(batch.changed())
		finish(waiting, fmt.Errorf("committing transaction: %w: %w", storage.ErrUnknown, err))
		return held
	}
	for _, j := range waiting {
		j.finish(j.err)
	}
	return held
}

// next takes a job that waits already; it never waits for one.
func (b *Backend) next(have int) *job {
	for have < maxFold {
		select {
		case j := <-b.jobs:
			if j.taken.CompareAndSwap(false, true) {
				return j
			}
		default:
			return nil
		}
	}
	return nil
}

// run calls the closure.
func (b *Backend) run(j *job, own *overlay) error {
	b.turn.Add(1)
	defer b.turn.Add(1)
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	t := tx{rows: own, own: own, room: b.tree.room}
	if err := engine.Run(func() error { return j.fn(t) }); err != nil {
		return err
	}
	return t.fits() // also if the closure swallowed it
}

// attend sends away who waits behind a closure that does not end. Some of them
// may be what it waits for: an Update that it began on another goroutine, where
// nobody can tell that it is nested.
func (b *Backend) attend(patience time.Duration) {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for last := uint64(0); ; {
		select {
		case <-tick.C:
		case <-b.done:
			return
		}
		turn := b.turn.Load()
		if turn == last && turn%2 == 1 {
			b.log.Error("a closure does not end; those behind it are sent away")
			for j := b.next(0); j != nil; j = b.next(0) {
				j.finish(fmt.Errorf("updating store: %w", storage.ErrStuck))
			}
		}
		last = turn
	}
}

func (j *job) finish(err error) {
	j.err = err
	close(j.done)
}

func finish(jobs []*job, err error) {
	for _, j := range jobs {
		j.finish(err)
	}
}

var _ storage.Backend = (*Backend)(nil)

// atomicID remembers a goroutine, so that an Update inside an Update is an
// error instead of a wait for itself.
type atomicID struct{ id atomic.Uint64 }

func (a *atomicID) set() { a.id.Store(engine.Goroutine()) }

func (a *atomicID) isCurrent() bool { return a.id.Load() == engine.Goroutine() }
