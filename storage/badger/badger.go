package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/engine"
)

// ErrInUse: another process holds the folder.
var ErrInUse = errors.New("store is in use")

// Options of Open.
type Options struct {
	// Dir is the folder, made with mode 0700 if it is missing.
	Dir string
	// InMemory keeps everything in memory, for tests; Dir is ignored.
	InMemory bool
	// Logger takes the engine's warnings. Defaults to one that discards.
	Logger *slog.Logger
	// Free tells how many bytes the disk has left. For fault injection; by
	// default the system is asked.
	Free func() (int64, error)

	// What follows is for tests, most of it to see them fail: unsynced answers
	// before writes are on disk; unchecked lets compactions take effect as the
	// engine likes; tune changes the engine's options; heard is called with what
	// the engine says; tableWait is how long a compaction waits for a table.
	unsynced, unchecked bool
	tune                func(*badger.Options)
	heard               func(format string, a ...any)
	tableWait           time.Duration
	// patience is how long a closure may run before those who wait behind it are
	// sent away, and at most twice that. Default 5 s: they must not wait for
	// anything, so that is a closure which waits for one of them.
	patience time.Duration
}

// Backend implements storage.Backend.
type Backend struct {
	options  Options
	log      *slog.Logger
	watchers engine.Watchers

	jobs   chan *job
	gate   *engine.Gate  // lets calls in; no further job is taken when it is closed
	done   chan struct{} // the committer has ended
	runner atomicID      // goroutine that runs closures
	turn   atomic.Uint64 // odd while a closure runs; each has its own
	full   bool          // no room, at the last commit; the committer's own

	// tree is replaced while broken is set: a commit has failed, and it is opened
	// again (reopen.go). The committer and the mender take turns with it; those
	// who read take it from readers.
	tree    *tree
	readers atomic.Pointer[tree]
	broken  atomic.Bool
	mender  sync.WaitGroup

	// sync commits a transaction and puts it on disk; tests put faults here.
	sync func(*badger.Txn) error
	// free returns the bytes left on the disk; tests put faults here.
	free func() (int64, error)
	// spare tells whether descriptors are scarce; tests put faults here.
	spare func() error
}

// Open opens or creates the folder. An error names the folder; errors.Is
// ErrInUse tells that another process has it.
func Open(o Options) (*Backend, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.patience == 0 {
		o.patience = 5 * time.Second
	}
	b := &Backend{
		options: o, log: o.Logger, sync: (*badger.Txn).Commit, spare: spareDescriptors,
		jobs: make(chan *job, maxFold), gate: engine.NewGate(), done: make(chan struct{}),
	}
	if o.InMemory {
		b.free = func() (int64, error) { return math.MaxInt64, nil }
		b.spare = func() error { return nil }
	} else if err := b.prepare(); err != nil {
		return nil, fmt.Errorf("opening store %s: %w", o.Dir, err)
	}
	var err error
	if b.tree, err = openTree(b.options); err != nil {
		return nil, fmt.Errorf("opening store %s: %w", o.Dir, err)
	}
	b.readers.Store(b.tree)
	go b.commitLoop()
	go b.attend(o.patience)
	return b, nil
}

// Exists tells whether a folder holds a store.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, badger.ManifestFilename))
	return err == nil
}

// prepare makes the folder, and sees that there is room to work in it.
func (b *Backend) prepare() error {
	dir, err := filepath.Abs(b.options.Dir)
	if err != nil {
		return err
	}
	b.options.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b.free = b.options.Free
	if b.free == nil {
		b.free = func() (int64, error) { return freeOn(dir) }
	}
	if left, err := b.free(); err != nil || left < roomToOpen {
		return fmt.Errorf("%d MiB are free on its disk, %d MiB are needed: %w", left>>20, roomToOpen>>20, errors.Join(storage.ErrFull, err))
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if limit, need := descriptorLimit(), len(files)+descriptorsToSpare; limit < need {
		return fmt.Errorf("this process may have %d files open, the store needs %d: %w; %s", limit, need, storage.ErrFull, moreDescriptors)
	}
	return nil
}

// Close waits for the Updates and Views that have begun, then closes the
// folder. Later calls get storage.ErrClosed; a second Close does nothing.
func (b *Backend) Close() error {
	if !b.gate.Close() {
		return nil
	}
	<-b.done
	b.mender.Wait()
	b.gate.Wait()
	b.watchers.Close()
	if b.tree == nil {
		return nil // it was to be opened again, and had not been yet
	}
	if err := b.tree.Close(); err != nil {
		return fmt.Errorf("closing store: %w", err)
	}
	return nil
}

// View runs fn on a snapshot of what is on disk.
func (b *Backend) View(ctx context.Context, fn func(storage.Tx) error) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !b.gate.Enter() {
		return storage.ErrClosed
	}
	defer b.gate.Leave()
	t := b.readers.Load()
	if !t.readers.Enter() {
		return errBroken
	}
	defer t.readers.Leave()
	defer b.readable(&err)
	txn := t.NewTransaction(false)
	defer txn.Discard()
	return fn(tx{rows: snapshot{txn}})
}

// Watch calls fn with changed keys below prefix until ctx ends. One process holds
// the folder, so what it commits is all that changes.
func (b *Backend) Watch(ctx context.Context, prefix []byte, ready func(), fn func(keys [][]byte)) error {
	return b.watchers.Watch(ctx, prefix, ready, fn)
}

// Sweep deletes expired items in the order of their expiry, in commits that are
// small, so that Updates behind them do not wait long.
func (b *Backend) Sweep(ctx context.Context, before time.Time, limit int) (int, error) {
	total := 0
	for total < limit {
		var swept int
		var more bool
		err := b.update(ctx, func(t tx) (err error) {
			swept, more, err = t.sweep(before, min(limit-total, 256))
			return err
		})
		if err != nil {
			return total, err
		}
		total += swept
		if !more {
			break
		}
	}
	return total, nil
}
