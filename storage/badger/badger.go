package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/nightlatch/nightlatch/storage"
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
	// UnsafeNoSync answers before writes are on disk. Only a test that shows
	// what syncing is worth sets it.
	UnsafeNoSync bool
}

// Backend implements storage.Backend.
type Backend struct {
	db       *badger.DB
	log      *slog.Logger
	watchers watchers

	jobs   chan *job
	closed chan struct{} // no further job is taken
	done   chan struct{} // the committer has ended
	close  sync.Once
	runner atomicID // goroutine that runs closures
}

// Open opens or creates the folder. An error names the folder; errors.Is
// ErrInUse tells that another process has it.
func Open(o Options) (*Backend, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	opts := badger.DefaultOptions(o.Dir)
	if o.InMemory {
		opts = badger.DefaultOptions("").WithInMemory(true)
	} else {
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return nil, fmt.Errorf("opening store %s: %w", o.Dir, err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("opening store %s: %w", o.Dir, err)
		}
	}
	// Small memory: 16–64 MiB of cache costs no speed while the files are in
	// the page cache; the defaults cost hundreds of MiB. Values stay in the
	// tree (MaxValue is below the threshold), so there is no value log to
	// collect. The committer is the only writer: no conflict detection.
	opts = opts.
		WithSyncWrites(!o.UnsafeNoSync && !o.InMemory).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithMemTableSize(16 << 20).
		WithNumMemtables(3).
		WithBlockCacheSize(32 << 20).
		WithIndexCacheSize(16 << 20).
		WithValueThreshold(2 * storage.MaxValue).
		WithValueLogFileSize(64 << 20).
		WithNumCompactors(2).
		WithMetricsEnabled(false).
		WithLogger(logger{o.Logger})
	db, err := badger.Open(opts)
	if err != nil {
		// The engine has no sentinel for its lock.
		if strings.Contains(err.Error(), "Cannot acquire directory lock") {
			return nil, fmt.Errorf("opening store %s: another process uses this folder: %w", o.Dir, ErrInUse)
		}
		return nil, fmt.Errorf("opening store %s: %w", o.Dir, err)
	}
	b := &Backend{
		db: db, log: o.Logger,
		jobs: make(chan *job, maxFold), closed: make(chan struct{}), done: make(chan struct{}),
	}
	go b.commitLoop()
	return b, nil
}

// Close waits for the Updates that have begun, then closes the folder. Later
// calls get storage.ErrClosed.
func (b *Backend) Close() error {
	var err error
	b.close.Do(func() {
		close(b.closed)
		<-b.done
		b.watchers.closeAll()
		if err = b.db.Close(); err != nil {
			err = fmt.Errorf("closing store: %w", err)
		}
	})
	return err
}

// View runs fn on a snapshot.
func (b *Backend) View(ctx context.Context, fn func(storage.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if b.isClosed() {
		return storage.ErrClosed
	}
	txn := b.db.NewTransaction(false)
	defer txn.Discard()
	return fn(&view{txn})
}

func (b *Backend) isClosed() bool {
	select {
	case <-b.closed:
		return true
	default:
		return false
	}
}

// Sweep deletes expired items in the order of their expiry.
func (b *Backend) Sweep(ctx context.Context, before time.Time, limit int) (int, error) {
	swept := 0
	err := b.Update(ctx, func(tx storage.Tx) error {
		var err error
		swept, err = tx.(*overlay).sweep(before, limit)
		return err
	})
	if err != nil {
		return 0, err
	}
	return swept, nil
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
