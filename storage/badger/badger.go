package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
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

	// unsynced answers before writes are on disk. Only the test that counts
	// syncs sets it, to see itself fail.
	unsynced bool
	// patience is how long a closure may run before those who wait behind it are
	// sent away, and at most twice that. Default 5 s: they must not wait for
	// anything, so that is a closure which waits for one of them.
	patience time.Duration
}

// Backend implements storage.Backend.
type Backend struct {
	db       *badger.DB
	room     room
	log      *slog.Logger
	watchers engine.Watchers

	jobs   chan *job
	gate   *engine.Gate  // lets views in; no further job is taken when it is closed
	done   chan struct{} // the committer has ended
	runner atomicID      // goroutine that runs closures
	turn   atomic.Uint64 // odd while a closure runs; each has its own
	broken atomic.Bool   // a commit has failed
	full   bool          // the disk, at the last commit; the committer's own

	// sync commits a transaction and puts it on disk; tests put faults here.
	sync func(*badger.Txn) error
	// free returns the bytes left on the disk; tests put faults here.
	free func() (int64, error)
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
	free := func() (int64, error) { return freeOn(o.Dir) }
	opts := badger.DefaultOptions(o.Dir)
	if o.InMemory {
		opts = badger.DefaultOptions("").WithInMemory(true)
		free = func() (int64, error) { return math.MaxInt64, nil }
	} else {
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return nil, fmt.Errorf("opening store %s: %w", o.Dir, err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("opening store %s: %w", o.Dir, err)
		}
		if left, err := free(); err != nil || left < roomToOpen {
			return nil, fmt.Errorf("opening store %s: %d MiB are free on its disk, %d MiB are needed: %w", o.Dir, left>>20, roomToOpen>>20, errors.Join(storage.ErrFull, err))
		}
	}
	// Small memory: caches cost no speed when they are small, for the files are
	// in the page cache. What costs is a compaction, which builds a dozen tables
	// at once in four to six times their size: hence small ones, on every level
	// (docs/performance.md has the figures). Values stay in the
	// tree (MaxValue is below the threshold), so there is no value log to
	// collect. The committer is the only writer: no conflict detection.
	opts = opts.
		WithSyncWrites(!o.unsynced && !o.InMemory).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithMemTableSize(16 << 20).
		WithNumMemtables(2).
		WithBaseTableSize(1 << 20).
		WithBlockCacheSize(16 << 20).
		WithIndexCacheSize(16 << 20).
		WithValueThreshold(2 * storage.MaxValue).
		WithValueLogFileSize(64 << 20).
		WithNumCompactors(2).
		WithMetricsEnabled(false).
		WithLogger(logger{o.Logger})
	opts.TableSizeMultiplier = 1
	db, err := openEngine(opts)
	if err != nil {
		// The engine has no sentinel for its lock.
		if strings.Contains(err.Error(), "Cannot acquire directory lock") {
			return nil, fmt.Errorf("opening store %s: another process has this folder open; stop it, or name another folder: %w", o.Dir, ErrInUse)
		}
		return nil, fmt.Errorf("opening store %s: %w", o.Dir, err)
	}
	b := &Backend{
		db: db, room: roomOf(db), log: o.Logger, sync: (*badger.Txn).Commit, free: free,
		jobs: make(chan *job, maxFold), gate: engine.NewGate(), done: make(chan struct{}),
	}
	go b.commitLoop()
	go b.attend(o.patience)
	return b, nil
}

// openEngine opens the engine, again if need be. The engine makes a log file in
// two steps; a process killed between them leaves an empty file, which the next
// start lays out and then refuses as unexpectedly new. It is in order after
// that. To remove it beforehand would not do: the folder is not locked yet, and
// another process may be just making the file.
func openEngine(opts badger.Options) (*badger.DB, error) {
	for n := 1; ; n++ {
		db, err := badger.Open(opts)
		// The engine wraps away its sentinel for a new file.
		if err == nil || n == maxOpens || !strings.Contains(err.Error(), "Create a new file") {
			return db, err
		}
	}
}

// maxOpens: one attempt for an empty file of each kind, and one without.
const maxOpens = 3

// Close waits for the Updates and Views that have begun, then closes the
// folder. Later calls get storage.ErrClosed; a second Close does nothing.
func (b *Backend) Close() error {
	if !b.gate.Close() {
		return nil
	}
	<-b.done
	b.gate.Wait()
	b.watchers.Close()
	if err := b.db.Close(); err != nil {
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
	defer b.readable(&err)
	txn := b.db.NewTransaction(false)
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

// logger passes the engine's warnings on; its informational lines are noise.
type logger struct{ *slog.Logger }

func (l logger) Errorf(f string, a ...any) {
	l.Logger.Error("badger: " + strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (l logger) Warningf(f string, a ...any) {
	l.Logger.Warn("badger: " + strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (l logger) Infof(f string, a ...any)  {}
func (l logger) Debugf(f string, a ...any) {}
