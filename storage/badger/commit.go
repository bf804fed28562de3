package badger

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"

	"github.com/nightlatch/nightlatch/storage"
)

// maxFold is how many Updates share one commit at most.
const maxFold = 256

// job is one Update on its way through the committer.
type job struct {
	ctx   context.Context
	fn    func(storage.Tx) error
	taken atomic.Bool // by the committer, or by a caller who gives up
	err   error
	done  chan struct{}
}

// Update queues the closure and waits until its commit is on disk. A caller
// whose context ends before the closure's turn is skipped.
func (b *Backend) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if b.runner.isCurrent() {
		return storage.ErrNested
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	j := &job{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case <-b.closed:
		return storage.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	case b.jobs <- j:
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return context.Cause(ctx)
		}
		<-j.done // it has begun: its outcome counts
		return j.err
	case <-b.done: // the committer ended before its turn
		if j.taken.CompareAndSwap(false, true) {
			return storage.ErrClosed
		}
		<-j.done
		return j.err
	}
}

// commitLoop takes what waits, folds it into one commit, and tells everybody.
func (b *Backend) commitLoop() {
	defer close(b.done)
	b.runner.set()
	var held *job // did not fit into the last commit
	for {
		first := held
		held = nil
		if first == nil {
			select {
			case first = <-b.jobs:
			case <-b.closed:
				select { // what was queued before Close is still served
				case first = <-b.jobs:
				default:
					return
				}
			}
			if !first.taken.CompareAndSwap(false, true) {
				continue
			}
		}
		held = b.commit(first)
	}
}

// commit runs first and what waits behind it in one Badger transaction. It
// returns a job that has to go into the next one for lack of room.
func (b *Backend) commit(first *job) (held *job) {
	txn := b.db.NewTransaction(true)
	defer txn.Discard()
	// Half of the engine's limits leaves room for what our accounting rounds.
	roomRows, roomBytes := b.db.MaxBatchCount()/2, b.db.MaxBatchSize()/2
	var merged []*job
	var changed [][]byte
	for j := first; j != nil; j = b.next(len(merged)) {
		o := &overlay{base: view{txn}, writes: map[string]*storage.Item{}}
		if err := run(j, o); err != nil {
			j.finish(err)
			continue
		}
		if len(o.writes) == 0 && len(o.expiry) == 0 {
			// Nothing to sync, but it may have read what its neighbours wrote.
			merged = append(merged, j)
			continue
		}
		if o.rows() > roomRows || o.size > roomBytes {
			if len(merged) == 0 {
				j.finish(fmt.Errorf("updating store: %d writes of %d bytes: %w", len(o.writes), o.size, storage.ErrTooLarge))
				continue
			}
			held = j // runs again, alone at the head of the next commit
			break
		}
		roomRows, roomBytes = roomRows-o.rows(), roomBytes-o.size
		if err := o.merge(); err != nil {
			// Half of it may be in the transaction: nobody's work is committed.
			b.finish(append(merged, j), fmt.Errorf("updating store: %w", err))
			return held
		}
		merged = append(merged, j)
		for k := range o.writes {
			changed = append(changed, []byte(k))
		}
	}
	if len(changed) > 0 || len(merged) > 0 {
		if err := txn.Commit(); err != nil {
			b.log.Error("committing transaction", "err", err, "updates", len(merged))
			b.finish(merged, fmt.Errorf("committing transaction: %w: %w", storage.ErrUnknown, err))
			return held
		}
	}
	b.watchers.tell(changed)
	b.finish(merged, nil)
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

func run(j *job, tx storage.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("updating store: panic in a closure: %v\n%s", p, debug.Stack())
		}
	}()
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	return j.fn(tx)
}

func (j *job) finish(err error) {
	j.err = err
	close(j.done)
}

func (b *Backend) finish(jobs []*job, err error) {
	for _, j := range jobs {
		j.finish(err)
	}
}

var _ storage.Backend = (*Backend)(nil)

// atomicID remembers a goroutine, so that an Update inside an Update is an
// error instead of a wait for itself.
type atomicID struct{ id atomic.Uint64 }

func (a *atomicID) set() { a.id.Store(goroutine()) }

func (a *atomicID) isCurrent() bool { return a.id.Load() == goroutine() }

// goroutine returns the number in the first line of the stack, "goroutine 7 [".
// It takes about a microsecond, a synced commit some hundreds.
func goroutine() uint64 {
	var buf [32]byte
	s := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	if i := bytes.IndexByte(s, ' '); i > 0 {
		s = s[:i]
	}
	n, _ := strconv.ParseUint(string(s), 10, 64)
	return n
}
