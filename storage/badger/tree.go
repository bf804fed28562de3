package badger

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	engineoptions "github.com/dgraph-io/badger/v4/options"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/engine"
)

// tree is Badger on the folder, opened as we want it and watched.
type tree struct {
	*badger.DB
	room        room
	readers     *engine.Gate // lets them in while it is open
	compactions *compactions // nil in memory, and for the test that sees rows lost
	log         *slog.Logger
	heard       func(format string, a ...any)
	flushFailed atomic.Int64 // Unix nanoseconds
}

// openTree opens a tree on o.Dir, which is there and absolute. errors.Is
// ErrInUse tells that another process has it.
func openTree(o Options) (*tree, error) {
	t := &tree{readers: engine.NewGate(), log: o.Logger, heard: o.heard}
	opts := options(o)
	opts.Logger = t
	if !o.InMemory && !o.unchecked {
		c, err := newCompactions(o.Dir, cmp.Or(o.tableWait, tablePatience), o.Logger)
		if err != nil {
			return nil, err
		}
		t.compactions, opts.Dir = c, c.path()
	}
	db, err := openBadger(opts)
	if err != nil {
		if t.compactions != nil {
			t.compactions.closed()
		}
		switch {
		// The engine has no sentinel for its lock.
		case strings.Contains(err.Error(), "Cannot acquire directory lock"):
			return nil, fmt.Errorf("another process has this folder open; stop it, or name another folder: %w", ErrInUse)
		case errors.Is(err, syscall.EMFILE), strings.Contains(err.Error(), syscall.EMFILE.Error()):
			return nil, fmt.Errorf("%w; %s", err, moreDescriptors)
		}
		return nil, err
	}
	t.DB, t.room = db, roomOf(db)
	if t.compactions != nil {
		t.compactions.opened(db)
	}
	return t, nil
}

// options of the engine. Small memory: caches cost no speed when they are small,
// for the files are in the page cache. What costs is to build tables, in three
// times their size and twice that with compression, which doubles its buffers;
// the engine keeps up to eight of those buffers, each as big as it has ever been.
// Hence no compression, small tables, and a memtable no larger than a large
// transaction needs (15 % of it, about 1.6 MiB and 9 000 rows). The first level below level 0
// takes more than that holds, else most of the work is to move rows from one small
// level to the next (docs/performance.md has the figures).
// Values stay in the tree (MaxValue is below the threshold), so there is no value
// log to collect. The committer is the only writer: no conflict detection.
func options(o Options) badger.Options {
	opts := badger.DefaultOptions(o.Dir)
	if o.InMemory {
		opts = badger.DefaultOptions("").WithInMemory(true)
	}
	opts = opts.
		WithSyncWrites(!o.unsynced && !o.InMemory).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithMemTableSize(11 << 20).
		WithNumMemtables(1).
		WithBaseTableSize(2 << 20).
		WithBaseLevelSize(64 << 20).
		WithBlockCacheSize(16 << 20).
		WithIndexCacheSize(16 << 20).
		WithCompression(engineoptions.None).
		WithValueThreshold(2 * storage.MaxValue).
		WithValueLogFileSize(valueLogSize).
		WithNumCompactors(2).
		WithMetricsEnabled(false)
	opts.TableSizeMultiplier = 1
	if o.tune != nil {
		o.tune(&opts)
	}
	return opts
}

const valueLogSize = 64 << 20

// openBadger opens Badger, again if need be. It makes a log file in two steps; a
// process killed between them leaves an empty file, which the next start lays out
// and then refuses as unexpectedly new. It is in order after that. To remove it
// beforehand would not do: the folder is not locked yet, and another process may
// be just making the file.
func openBadger(opts badger.Options) (*badger.DB, error) {
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

// Close writes out what is in memory and closes the folder. While that cannot be
// written it waits.
func (t *tree) Close() error {
	err := t.DB.Close()
	if t.compactions != nil {
		t.compactions.closed()
	}
	return err
}

// trouble tells why nothing should be written for now: the engine would let the
// writer wait, for as long as it cannot write out what it has.
func (t *tree) trouble() error {
	if time.Since(time.Unix(0, t.flushFailed.Load())) < flushRetry {
		return fmt.Errorf("what is in memory cannot be written to tables: %w", storage.ErrFull)
	}
	if t.compactions != nil {
		return t.compactions.trouble()
	}
	return nil
}

// flushRetry is more than the pause between two attempts of the engine to write
// out a memtable.
const flushRetry = 2 * time.Second

// Errorf, Warningf, Infof and Debugf are what the engine says. Warnings and errors
// are passed on, its other lines are noise, but for those that we act on.
func (t *tree) Errorf(f string, a ...any) {
	if f == sayFlushFailed {
		t.flushFailed.Store(time.Now().UnixNano())
	}
	t.log.Error("badger: " + strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (t *tree) Warningf(f string, a ...any) {
	if t.compactions != nil {
		switch f {
		case sayFailed:
			t.compactions.over(a[0].(int), a[1].(error))
			return
		case sayFailedAgain:
			return
		}
	}
	t.log.Warn("badger: " + strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (t *tree) Infof(string, ...any) {}

func (t *tree) Debugf(f string, a ...any) {
	if t.heard != nil {
		t.heard(f, a...)
	}
	if t.compactions == nil {
		return
	}
	switch f {
	case sayMaking:
		t.compactions.making(a[0].(int), int(a[1].(uint64)))
	case sayMade:
		t.compactions.made()
	case sayDone:
		t.compactions.over(a[0].(int), nil)
	}
}

// What the engine says, at the moments when we act. If a release says it
// differently, TestCompactionThatCannotMakeATable and
// TestMemoryThatCannotBeWrittenOut fail.
const (
	sayFlushFailed = "error flushing memtable to disk: %v, retrying"
	sayMaking      = "[%d] LOG Compact. Added %d keys. Skipped %d keys. Iteration took: %v"
	sayMade        = "Discard stats: %v"
	sayDone        = "[Compactor: %d] Compaction for level: %d DONE"
	sayFailed      = "[Compactor: %d] LOG Compact FAILED with error: %+v: %+v"
	sayFailedAgain = "While running doCompact: %v\n"
)
