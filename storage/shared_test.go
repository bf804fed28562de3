package storage_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

type setting struct{ Value int }

// A shared read saves decoding and nothing else: it sees each commit, and what
// its own transaction wrote.
func TestShared(t *testing.T) {
	ctx := context.Background()
	s := storagetest.New(t, nil)
	table := storage.Table[setting]{Name: "setting"}
	put := func(tx storage.Tx, n int) error { return table.Put(tx, "r", "x", &setting{n}) }
	read := func(tx storage.Tx) *setting {
		t.Helper()
		v, err := table.Shared(tx, "r", "x")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	err := s.Update(ctx, func(tx storage.Tx) error {
		if err := put(tx, 1); err != nil {
			return err
		}
		if got := read(tx); got.Value != 1 {
			return fmt.Errorf("own write: %d", got.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.View(ctx, func(tx storage.Tx) error {
		a, b := read(tx), read(tx)
		if a != b {
			t.Error("the record was decoded twice")
		}
		return nil
	})
	// A write that is rolled back leaves no trace in what others read.
	_ = s.Update(ctx, func(tx storage.Tx) error {
		_ = put(tx, 99)
		if got := read(tx); got.Value != 99 {
			t.Errorf("own write: %d", got.Value)
		}
		return fmt.Errorf("roll back")
	})
	_ = s.View(ctx, func(tx storage.Tx) error {
		if got := read(tx); got.Value != 1 {
			t.Errorf("after a rollback: %d", got.Value)
		}
		return nil
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := 0
			for last < 200 {
				_ = s.View(ctx, func(tx storage.Tx) error {
					got := read(tx).Value
					if got < last {
						t.Errorf("went back from %d to %d", last, got)
					}
					last = got
					return nil
				})
			}
		})
	}
	for n := 2; n <= 200; n++ {
		if err := s.Update(ctx, func(tx storage.Tx) error { return put(tx, n) }); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}
