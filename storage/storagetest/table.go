package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

func testTableIndexes(t *testing.T, b storage.Backend) {
	model := map[string]person{}
	set := func(id string, p person) {
		t.Helper()
		update(t, b, func(tx storage.Tx) error { return people.Put(tx, "demo", id, &p) })
		model[id] = p
		view(t, b, func(tx storage.Tx) error { return checkPeople(tx, "demo", model) })
	}
	set("1", person{Name: "a", Teams: []string{"a", "b"}, Colour: "b"})
	set("2", person{Name: "b", Teams: []string{"a", "a"}, Colour: "b"}) // twice counts once
	set("3", person{Name: "aa", Colour: "b"})
	set("2", person{Name: "b", Teams: []string{"a"}, Colour: "aa"})
	set("1", person{Name: "", Teams: []string{"b"}, Colour: ""})
	set("4", person{Name: "a"}) // the name is free again
	update(t, b, func(tx storage.Tx) error { return people.Delete(tx, "demo", "2") })
	delete(model, "2")
	view(t, b, func(tx storage.Tx) error { return checkPeople(tx, "demo", model) })
	for id := range model {
		update(t, b, func(tx storage.Tx) error { return people.Delete(tx, "demo", id) })
	}
	view(t, b, func(tx storage.Tx) error {
		items, err := tx.Scan(nil, nil, 10)
		if len(items) > 0 {
			t.Errorf("the deleted records left %q", keys(items))
		}
		return err
	})
}

func testTableTaken(t *testing.T, b storage.Backend) {
	s := storage.New(storage.Config{Backend: b, RetryFor: time.Minute})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []string
	for w := range 16 {
		wg.Go(func() {
			id := fmt.Sprintf("%02d", w)
			err := s.Update(t.Context(), func(tx storage.Tx) error {
				return people.Put(tx, "demo", id, &person{Name: "a", Teams: []string{"b"}})
			})
			switch {
			case err == nil:
				mu.Lock()
				won = append(won, id)
				mu.Unlock()
			case !errors.Is(err, storage.ErrTaken):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%q all have the name", won)
	}
	view(t, b, func(tx storage.Tx) error {
		return checkPeople(tx, "demo", map[string]person{won[0]: {Name: "a", Teams: []string{"b"}}})
	})
	// Two that change places do it in one transaction by way of a third name.
	update(t, b, func(tx storage.Tx) error {
		return errors.Join(
			people.Put(tx, "demo", "x", &person{Name: "b"}),
			people.Put(tx, "demo", "x", &person{Name: "aa"}),
			people.Put(tx, "demo", won[0], &person{Name: "b"}),
			people.Put(tx, "demo", "x", &person{Name: "a"}))
	})
	view(t, b, func(tx storage.Tx) error {
		return checkPeople(tx, "demo", map[string]person{won[0]: {Name: "b"}, "x": {Name: "a"}})
	})
}

func testTableCountInParallel(t *testing.T, b storage.Backend) {
	s := storage.New(storage.Config{Backend: b, RetryFor: time.Minute})
	const workers, each = 8, 30
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
				err := s.Update(t.Context(), func(tx storage.Tx) error {
					return people.Put(tx, "demo", id, &person{Name: id, Teams: []string{"a"}})
				})
				if err == nil && i%3 == 0 {
					err = s.Update(t.Context(), func(tx storage.Tx) error { return people.Delete(tx, "demo", id) })
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	view(t, b, func(tx storage.Tx) error {
		n, err1 := people.Count(tx, "demo", "team", "a")
		ids, err2 := people.IDsBy(tx, "demo", "team", "a", "", 1000)
		if want := workers * each * 2 / 3; n != want || len(ids) != want || !slices.IsSorted(ids) {
			t.Errorf("counted %d, listed %d; want %d", n, len(ids), want)
		}
		return errors.Join(err1, err2)
	})
}
