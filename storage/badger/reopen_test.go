package badger

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/nightlatch/nightlatch/storage"
)

// writes waits until the store takes writes.
func writes(t *testing.T, b *Backend) {
	t.Helper()
	waitFor(t, func() bool {
		err := b.Update(t.Context(), func(storage.Tx) error { return nil })
		if err != nil && !errors.Is(err, storage.ErrClosed) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// TestFailedCommitReachesAll: everybody who was in it is told that nobody knows,
// also one who returned an error because of what was in it. Nothing is written
// until the store has been opened again, which it does by itself.
func TestFailedCommitReachesAll(t *testing.T) {
	dir := t.TempDir()
	b := open(t, Options{Dir: dir})
	if err := b.Update(t.Context(), putKey("before", "v")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	var commits atomic.Int32
	b.sync = func(txn *badger.Txn) error {
		if commits.Add(1) == 1 {
			return broken
		}
		return txn.Commit()
	}
	noRoom := make(chan struct{}) // the disk goes on failing until it is closed
	b.free = func() (int64, error) {
		if commits.Load() > 0 {
			select {
			case <-noRoom:
			default:
				return 0, broken
			}
		}
		return roomToCommit, nil
	}
	taken := errors.New("taken")
	errs := fold(t, b, putKey("k0", "v"), putKey("k1", "v"), func(tx storage.Tx) error {
		if _, err := tx.Get([]byte("k0")); err == nil {
			return taken // an answer that rests on what is not on disk
		}
		return nil
	})
	for i, err := range errs {
		if !errors.Is(err, storage.ErrUnknown) || !errors.Is(err, broken) || errors.Is(err, taken) {
			t.Errorf("update %d: %v", i, err)
		}
	}
	if err := b.Update(t.Context(), putKey("after", "v")); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the next update: %v", err)
	}
	if commits.Load() != 1 {
		t.Errorf("%d commits", commits.Load())
	}
	if !has(t, b, "before") {
		t.Error("reads ended too")
	}
	close(noRoom)
	writes(t, b)
	if err := b.Update(t.Context(), putKey("after", "v")); err != nil || !has(t, b, "before") || has(t, b, "k0") || !has(t, b, "after") {
		t.Errorf("opened again: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, Options{Dir: dir})
	if !has(t, b, "before") || has(t, b, "k0") || !has(t, b, "after") {
		t.Error("started again, the store holds something else")
	}
}

// TestUnknownCommitThatHappened: what was written in spite of the error is there
// once the store is open again, and watchers are told, for they may have kept
// what was there before.
func TestUnknownCommitThatHappened(t *testing.T) {
	b := open(t, Options{Dir: t.TempDir()})
	if err := b.Update(t.Context(), putKey("k", "old")); err != nil {
		t.Fatal(err)
	}
	told, ready := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer stop()
	watcher.Go(func() {
		_ = b.Watch(ctx, []byte("k"), func() { close(ready) }, func([][]byte) {
			if b.broken.Load() {
				t.Error("told before it was settled")
			}
			close(told)
		})
	})
	<-ready
	first := true
	b.sync = func(txn *badger.Txn) error {
		err := txn.Commit()
		if first {
			first, err = false, syscall.EIO
		}
		return err
	}
	if err := b.Update(t.Context(), putKey("k", "new")); !errors.Is(err, storage.ErrUnknown) {
		t.Fatal(err)
	}
	select {
	case <-told:
	case <-time.After(20 * time.Second):
		t.Fatal("the watcher was not told")
	}
	err := b.View(t.Context(), func(tx storage.Tx) error {
		it, err := tx.Get([]byte("k"))
		if string(it.Value) != "new" {
			t.Errorf("k is %q", it.Value)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCloseWhileItCannotBeOpened: a store that waits for its disk can be closed.
func TestCloseWhileItCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Update(t.Context(), putKey("before", "v")); err != nil {
		t.Fatal(err)
	}
	b.sync = func(*badger.Txn) error { return syscall.EIO }
	var fails atomic.Bool
	b.free = func() (int64, error) {
		if fails.Load() {
			return 0, syscall.EIO
		}
		fails.Store(true)
		return roomToCommit, nil
	}
	if err := b.Update(t.Context(), putKey("k", "v")); !errors.Is(err, storage.ErrUnknown) {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Update(t.Context(), putKey("k", "v")); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if b = open(t, Options{Dir: dir}); !has(t, b, "before") {
		t.Error("what was answered is gone")
	}
}

// TestReadersWhileItIsOpenedAgain: a reader that has begun keeps its engine; the
// store waits for it.
func TestReadersWhileItIsOpenedAgain(t *testing.T) {
	b := open(t, Options{Dir: t.TempDir()})
	if err := b.Update(t.Context(), putKey("before", "v")); err != nil {
		t.Fatal(err)
	}
	reading, goOn, read := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		read <- b.View(context.Background(), func(tx storage.Tx) error {
			close(reading)
			<-goOn
			_, err := tx.Get([]byte("before"))
			return err
		})
	}()
	<-reading
	fail := true
	b.sync = func(txn *badger.Txn) error {
		if fail {
			fail = false
			return syscall.EIO
		}
		return txn.Commit()
	}
	if err := b.Update(t.Context(), putKey("k", "v")); !errors.Is(err, storage.ErrUnknown) {
		t.Fatal(err)
	}
	waitFor(t, func() bool { // it waits for the reader
		return errors.Is(b.View(t.Context(), func(storage.Tx) error { return nil }), storage.ErrClosed)
	})
	close(goOn)
	if err := <-read; err != nil {
		t.Errorf("a reader under way: %v", err)
	}
	writes(t, b)
	if !has(t, b, "before") {
		t.Error("what was answered is gone")
	}
}
