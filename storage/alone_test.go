package storage_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// Of the nodes of a store one does the work, another one when the first has not
// been heard of for as long as its lease; a process that has its store to itself
// asks nobody.
func TestAlone(t *testing.T) {
	b := storagetest.Backend(t)
	var clock atomic.Int64
	now := func() time.Time { return noon.Add(time.Duration(clock.Load())) }
	node := func(name string) *storage.Store {
		return storage.New(storage.Config{Backend: b, Node: name, Now: now})
	}
	first, second, only := node("a"), node("b"), node("")
	turns := func(want ...bool) {
		t.Helper()
		for i, s := range []*storage.Store{first, second, only} {
			if got := s.Alone(t.Context(), "work", time.Minute); got != want[i] {
				t.Errorf("node %d, after %v: %v", i, time.Duration(clock.Load()), got)
			}
		}
	}
	turns(true, false, true)
	clock.Store(int64(40 * time.Second))
	turns(true, false, true) // it prolongs its lease
	clock.Store(int64(90 * time.Second))
	if second.Alone(t.Context(), "work", time.Minute) {
		t.Error("the lease was not prolonged")
	}
	if !second.Alone(t.Context(), "other work", time.Minute) {
		t.Error("each work has a lease of its own")
	}
	clock.Store(int64(101 * time.Second)) // a is silent
	if !second.Alone(t.Context(), "work", time.Minute) {
		t.Error("nobody takes over")
	}
	turns(false, true, true)
}
