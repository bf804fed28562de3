package badger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/nightlatch/nightlatch/storage"
)

// TestSlowDisk: while a commit hangs on the disk, readers go on, whoever waits
// can leave at once, and all who stay are served by the one commit that follows.
func TestSlowDisk(t *testing.T) {
	b := open(t, Options{Dir: t.TempDir(), patience: 100 * time.Millisecond})
	commits, hangs, goOn := 0, make(chan struct{}), make(chan struct{})
	b.sync = func(txn *badger.Txn) error {
		if commits++; commits == 1 {
			close(hangs)
			<-goOn
		}
		return txn.Commit()
	}
	first := make(chan error, 1)
	go func() { first <- b.Update(context.Background(), putKey("first", "v")) }()
	<-hangs

	const stay, leave = 64, 64
	var stayed, left sync.WaitGroup
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("gone")
	errs := make([]error, stay)
	for i := range stay {
		stayed.Go(func() { errs[i] = b.Update(context.Background(), putKey(fmt.Sprint("stay", i), "v")) })
		left.Go(func() {
			if err := b.Update(ctx, putKey(fmt.Sprint("leave", i), "v")); !errors.Is(err, gone) {
				t.Errorf("a caller who leaves: %v", err)
			}
		})
	}
	waitFor(t, func() bool { return len(b.jobs) == stay+leave })
	cancel(gone)
	left.Wait() // hangs if they wait for the disk
	if err := b.Update(ctx, putKey("late", "v")); !errors.Is(err, gone) {
		t.Errorf("a caller who comes when it is over: %v", err)
	}
	if err := b.View(t.Context(), func(tx storage.Tx) error { _, err := tx.Get([]byte("first")); return err }); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a reader beside the hanging commit: %v", err)
	}
	time.Sleep(300 * time.Millisecond) // no closure runs: nobody is sent away, however long it takes
	close(goOn)
	if err := <-first; err != nil {
		t.Error(err)
	}
	stayed.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if commits != 2 {
		t.Errorf("%d commits", commits)
	}
	for i := range stay {
		if !has(t, b, fmt.Sprint("stay", i)) || has(t, b, fmt.Sprint("leave", i)) {
			t.Fatalf("caller %d: stayed %v, left %v", i, has(t, b, fmt.Sprint("stay", i)), has(t, b, fmt.Sprint("leave", i)))
		}
	}
}
