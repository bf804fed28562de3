package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/nightlatch/nightlatch/storage"
)

// small makes an engine that compacts after a few MiB.
func small(o *badger.Options) {
	o.MemTableSize, o.BaseTableSize, o.BaseLevelSize = 1<<20, 256<<10, 1<<20
	o.ValueThreshold = 100 << 10
	o.NumLevelZeroTables = 2
}

// churn writes n values of 16 KiB, and tells what was answered.
func churn(b *Backend, prefix string, n int) (answered []string, err error) {
	for i := range n {
		key := fmt.Sprint(prefix, i)
		err := b.Update(context.Background(), func(tx storage.Tx) error {
			it := big(key)
			it.Value = it.Value[:16<<10]
			return tx.Put(it)
		})
		if err != nil {
			return answered, err
		}
		answered = append(answered, key)
	}
	return answered, nil
}

// missing lists the keys that are not there.
func missing(b *Backend, keys []string) (out []string, err error) {
	return out, b.View(context.Background(), func(tx storage.Tx) error {
		for _, key := range keys {
			switch _, err := tx.Get([]byte(key)); {
			case errors.Is(err, storage.ErrNotFound):
				out = append(out, key)
			case err != nil:
				return err
			}
		}
		return nil
	})
}

// inTheWay puts files where the next tables of a compaction are to be made, once.
type inTheWay struct {
	dir   string
	armed atomic.Bool
	done  atomic.Int32 // compactions that succeeded in spite of it
	mu    sync.Mutex
	files []string
}

func (w *inTheWay) heard(f string, a ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f {
	case sayMaking:
		if w.armed.Swap(false) {
			w.put(3)
		}
	case sayDone:
		if w.clear() {
			w.done.Add(1)
		}
	}
}

func (w *inTheWay) put(n int) {
	last := uint64(0)
	files, _ := os.ReadDir(w.dir)
	for _, f := range files {
		if n, ok := table.ParseFileID(f.Name()); ok {
			last = max(last, n)
		}
	}
	for i := range n {
		name := table.NewFilename(last+1+uint64(i), w.dir)
		if os.WriteFile(name, nil, 0o600) == nil {
			w.files = append(w.files, name)
		}
	}
}

// clear tells whether there was anything.
func (w *inTheWay) clear() bool {
	n := len(w.files)
	for _, name := range w.files {
		_ = os.Remove(name)
	}
	w.files = nil
	return n > 0
}

// TestCompactionThatCannotMakeATable: the engine loses rows then. Checked, the
// compaction comes to nothing, and to an end when tables can be made.
func TestCompactionThatCannotMakeATable(t *testing.T) {
	for _, c := range []struct {
		name      string
		unchecked bool
	}{{"checked", false}, {"unchecked", true}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			fault := &inTheWay{dir: dir}
			var log strings.Builder
			b, err := Open(Options{
				Dir: dir, unchecked: c.unchecked, tune: small, heard: fault.heard, tableWait: 100 * time.Millisecond,
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			fault.armed.Store(true)
			answered, err := churn(b, "k", 600)
			if err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return !fault.armed.Load() && fault.done.Load() > 0 })
			lost, err := missing(b, answered)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = open(t, Options{Dir: dir, tune: small})
			again, err := missing(b, answered)
			if err != nil || !slices.Equal(lost, again) {
				t.Errorf("missing: %d, opened again %d: %v", len(lost), len(again), err)
			}
			switch {
			case !c.unchecked && len(lost) > 0:
				t.Errorf("%d of %d records are lost\n%s", len(lost), len(answered), &log)
			case c.unchecked && len(lost) == 0:
				t.Error("the engine has lost nothing: this test sees nothing, or compactions.go is not needed any more")
			}
		})
	}
}

// TestMemoryThatCannotBeWrittenOut: writes are refused, instead of waiting in the
// engine for as long as it lasts, and go on afterwards.
func TestMemoryThatCannotBeWrittenOut(t *testing.T) {
	dir := t.TempDir()
	b := open(t, Options{Dir: dir, tune: small})
	fault := &inTheWay{dir: dir}
	fault.put(20) // the engine takes the next number each second
	answered, err := churn(b, "a", 1000)
	if !errors.Is(err, storage.ErrFull) {
		t.Fatalf("after %d writes: %v", len(answered), err)
	}
	if lost, err := missing(b, answered); err != nil || len(lost) > 0 {
		t.Errorf("%d of %d cannot be read meanwhile: %v", len(lost), len(answered), err)
	}
	fault.clear()
	waitFor(t, func() bool {
		more, err := churn(b, "b", 1)
		answered = append(answered, more...)
		return err == nil
	})
	if lost, err := missing(b, answered); err != nil || len(lost) > 0 {
		t.Errorf("%d of %d are lost: %v", len(lost), len(answered), err)
	}
}

// TestTableThatTheDiskRefused: a file that was whole and is not in the tree after
// all. It is too late then, but nobody must take it for nothing.
func TestTableThatTheDiskRefused(t *testing.T) {
	var log strings.Builder
	b := open(t, Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := b.tree.compactions
	c.making(0, 7)
	c.mu.Lock()
	c.whole[1000] = whole{rows: 7}
	c.mu.Unlock()
	c.over(0, nil)
	if err := b.Update(t.Context(), putKey("k", "v")); !errors.Is(err, storage.ErrFull) || !strings.Contains(err.Error(), "001000.sst") {
		t.Errorf("a write after it: %v", err)
	}
	if !strings.Contains(log.String(), "keep a copy of the folder") {
		t.Errorf("the log says %s", &log)
	}
}
