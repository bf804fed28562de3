package storage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

type tool struct{ Name, Colour string }

// The table as an older version has it, and as this one does.
func oldTools() *storage.Table[tool] {
	return &storage.Table[tool]{Name: "tool", Indexes: map[string]storage.Index[tool]{
		"colour": {Values: func(v *tool) []string { return []string{v.Colour} }},
		"gone":   {Values: func(v *tool) []string { return []string{v.Name} }},
		"no":     {Unique: true, Values: func(v *tool) []string { return []string{v.Name} }},
	}}
}

func newTools() *storage.Table[tool] {
	return &storage.Table[tool]{Name: "tool", Indexes: map[string]storage.Index[tool]{
		"colour": {Version: 1, Values: func(v *tool) []string { return []string{strings.ToUpper(v.Colour)} }},
		"name":   {Unique: true, Values: func(v *tool) []string { return []string{v.Name} }},
		"all":    {Counted: true, Values: func(*tool) []string { return []string{"all"} }},
	}}
}

// everything that a store holds, but for leases.
func everything(t *testing.T, s *storage.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := s.Each(context.Background(), nil, func(it storage.Item) error {
		if !storage.IsLease(it.Key) {
			all[string(it.Key)] = string(it.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func fillTools(t *testing.T, s *storage.Store, table *storage.Table[tool], n int) {
	t.Helper()
	for _, scope := range []string{"demo", "other"} {
		for from := 0; from < n; from += 50 {
			err := s.Update(context.Background(), func(tx storage.Tx) error {
				for i := from; i < min(from+50, n); i++ {
					if err := table.Put(tx, scope, fmt.Sprintf("%03d", i), &tool{fmt.Sprint("tool ", i), []string{"red", "blue"}[i%2]}); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A store of an older version holds the same rows, in the end, as one that was
// written by this one; also if it was interrupted anywhere, and if three nodes do
// it at once.
func TestIndex(t *testing.T) {
	const many = 250
	place := storagetest.Backend
	fresh := storage.New(storage.Config{Backend: place(t)})
	if err := fresh.Index(t.Context(), newTools()); err != nil {
		t.Fatal(err)
	}
	fillTools(t, fresh, newTools(), many)
	want := everything(t, fresh)
	same := func(t *testing.T, s *storage.Store) {
		t.Helper()
		got := everything(t, s)
		for k, v := range want {
			if got[k] != v {
				t.Errorf("row %q is %q, want %q", k, got[k], v)
			}
		}
		for k := range got {
			if _, ok := want[k]; !ok {
				t.Errorf("row %q is left", k)
			}
		}
	}
	t.Run("alone", func(t *testing.T) {
		s := storage.New(storage.Config{Backend: place(t)})
		fillTools(t, s, oldTools(), many)
		if err := s.Index(t.Context(), newTools()); err != nil {
			t.Fatal(err)
		}
		same(t, s)
		before := s.Stats().Updates.Load()
		if err := s.Index(t.Context(), newTools()); err != nil || s.Stats().Updates.Load() != before {
			t.Errorf("a second time it wrote, %v", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		b := &failing{Backend: place(t), after: -1}
		s := storage.New(storage.Config{Backend: b})
		fillTools(t, s, oldTools(), many)
		for n := 1; ; n++ {
			b.after = n
			err := s.Index(t.Context(), newTools())
			if err == nil {
				break
			}
			if !errors.Is(err, errPower) {
				t.Fatal(err)
			}
		}
		b.after = -1
		same(t, s)
	})
	t.Run("three nodes", func(t *testing.T) {
		b := place(t)
		fillTools(t, storage.New(storage.Config{Backend: b}), oldTools(), many)
		var all sync.WaitGroup
		for node := range 3 {
			all.Go(func() {
				s := storage.New(storage.Config{Backend: b, Node: fmt.Sprint("node ", node)})
				if err := s.Index(context.Background(), newTools()); err != nil {
					t.Error(err)
				}
				err := s.View(context.Background(), func(tx storage.Tx) error {
					n, err := newTools().Count(tx, "demo", "all", "all")
					if n != many {
						t.Errorf("node %d goes on with %d of %d", node, n, many)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		same(t, storage.New(storage.Config{Backend: b}))
	})
}

var errPower = errors.New("power cut")

// failing is an engine that fails after so many updates; -1: never.
type failing struct {
	storage.Backend
	after int
}

func (f *failing) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if f.after == 0 {
		return errPower
	}
	f.after--
	return f.Backend.Update(ctx, fn)
}
