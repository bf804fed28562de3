package storage_test

import (
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

func TestHold(t *testing.T) {
	var mu sync.Mutex
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	s := storagetest.New(t, clock)
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	hold := func(node string) storage.Lease {
		t.Helper()
		l, err := s.Hold(t.Context(), "work", node, time.Minute)
		if err != nil {
			t.Fatalf("%s: %v", node, err)
		}
		return l
	}
	refused := func(node string) {
		t.Helper()
		if _, err := s.Hold(t.Context(), "work", node, time.Minute); !errors.Is(err, storage.ErrHeld) {
			t.Fatalf("%s: %v; want that another node holds it", node, err)
		}
	}
	first := hold("a")
	refused("b")
	if l, err := s.Hold(t.Context(), "other work", "b", time.Minute); err != nil || l.Holder != "b" {
		t.Errorf("another lease: %+v, %v", l, err)
	}
	pass(40 * time.Second)
	if again := hold("a"); again.Fence != first.Fence || !again.Until.Equal(clock().Add(time.Minute)) {
		t.Errorf("renewed to %+v after %+v", again, first)
	}
	pass(50 * time.Second)
	refused("b")
	pass(10 * time.Second)
	if over := hold("b"); over.Fence <= first.Fence {
		t.Errorf("fence %d after %d", over.Fence, first.Fence)
	}
	refused("a")
	for _, node := range []string{"a", "b"} { // the first has nothing to give back
		if err := s.LetGo(t.Context(), "work", node); err != nil {
			t.Fatal(err)
		}
		if node == "a" {
			refused("a")
		}
	}
	hold("a")
}

func TestOneOfManyHolds(t *testing.T) {
	s := storagetest.New(t, nil)
	var mu sync.Mutex
	var holders []string
	var wg sync.WaitGroup
	for _, node := range []string{"a", "b", "c", "d", "e", "f"} {
		wg.Go(func() {
			_, err := s.Hold(t.Context(), "work", node, time.Minute)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				holders = append(holders, node)
			} else if !errors.Is(err, storage.ErrHeld) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(holders) != 1 {
		t.Errorf("held by %v", holders)
	}
}

// TestPresence: who uses a store is seen until he leaves it, or is heard no more.
func TestPresence(t *testing.T) {
	ctx, now := t.Context(), noon
	s := storagetest.New(t, func() time.Time { return now })
	present := func(want ...storage.Presence) {
		t.Helper()
		if got, err := s.Present(ctx); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("present: %q, %v; want %q", got, err, want)
		}
	}
	present()
	says := func(what string) func(storage.Tx) ([]byte, error) {
		return func(storage.Tx) ([]byte, error) { return []byte(what), nil }
	}
	if err := errors.Join(s.Appear(ctx, "a", time.Minute, says("zero")), s.Appear(ctx, "b", time.Minute, says("one"))); err != nil {
		t.Fatal(err)
	}
	a, b := storage.Presence{Node: "a", Says: []byte("zero")}, storage.Presence{Node: "b", Says: []byte("one")}
	present(a, b)
	refused := errors.New("refused")
	for _, node := range []string{"b", "c"} {
		if err := s.Appear(ctx, node, time.Hour, func(storage.Tx) ([]byte, error) { return []byte("two"), refused }); !errors.Is(err, refused) {
			t.Errorf("what may not be said: %v", err)
		}
	}
	present(a, b)
	if err := s.Vanish(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	present(b)
	now = noon.Add(time.Minute)
	present() // b was killed
	if held, err := s.Held(ctx, "work"); err != nil || held {
		t.Errorf("held: %v, %v", held, err)
	}
	if _, err := s.Hold(ctx, "work", "a", time.Minute); err != nil {
		t.Fatal(err)
	}
	if held, err := s.Held(ctx, "work"); err != nil || !held {
		t.Errorf("held: %v, %v", held, err)
	}
	now = now.Add(time.Minute)
	if held, err := s.Held(ctx, "work"); err != nil || held {
		t.Errorf("held: %v, %v", held, err)
	}
	err := s.View(ctx, func(tx storage.Tx) error {
		vacant, err := storage.Vacant(tx)
		if err == nil && !vacant {
			t.Error("leases count as records")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
