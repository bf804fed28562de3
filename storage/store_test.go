package storage_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func at(now time.Time) func() time.Time { return func() time.Time { return now } }

func put(key, value string) func(storage.Tx) error {
	return func(tx storage.Tx) error { return tx.Put(storage.Item{Key: []byte(key), Value: []byte(value)}) }
}

// value returns "-" for an absent key.
func value(t *testing.T, s *storage.Store, key string) (got string) {
	t.Helper()
	err := s.View(context.Background(), func(tx storage.Tx) error {
		it, err := tx.Get([]byte(key))
		got = string(it.Value)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestUpdateIsTriedAgainAfterAConflict(t *testing.T) {
	b := &storagetest.Faults{Backend: storagetest.Steady(t), At: func(n int) storagetest.Fault {
		if n <= 3 {
			return storagetest.Conflict
		}
		return storagetest.None
	}}
	s := storage.New(storage.Config{Backend: b, Now: at(noon)})
	runs := 0
	err := s.Update(t.Context(), func(tx storage.Tx) error {
		runs++
		if _, err := tx.Get([]byte("k")); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("run %d sees what an earlier one wrote: %v", runs, err)
		}
		return put("k", "v")(tx)
	})
	if err != nil || runs != 4 || s.Stats().Conflicts.Load() != 3 || s.Stats().Updates.Load() != 1 {
		t.Errorf("%d runs, %d conflicts: %v", runs, s.Stats().Conflicts.Load(), err)
	}
	if got := value(t, s, "k"); got != "v" {
		t.Errorf("the key has %q", got)
	}
}

// always is a backend of which each Update fails in one way. (Badger's
// goroutines cannot live in a synctest bubble.)
type always struct {
	storage.Backend
	err     error
	updates int
}

func (a *always) Update(context.Context, func(storage.Tx) error) error {
	a.updates++
	return a.err
}

func TestRetriesEndAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &always{err: storage.ErrConflict}
		start := time.Now()
		// The clock that judges expiry stands still: it is not the one for pauses.
		err := storage.New(storage.Config{Backend: b, Now: at(noon)}).Update(t.Context(), put("k", "v"))
		if took := time.Since(start); !errors.Is(err, storage.ErrConflict) || took < 5*time.Second || took > 6*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		if b.updates < 30 || b.updates > 120 {
			t.Errorf("%d tries in 5 s", b.updates)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		err = storage.New(storage.Config{Backend: b}).Update(ctx, put("k", "v"))
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("with a deadline of 1 s, after %v: %v", took, err)
		}
	})
}

func TestUnknownOutcomeIsNotRepeated(t *testing.T) {
	for fault, want := range map[storagetest.Fault]string{storagetest.LostCommit: "-", storagetest.LostAnswer: "v"} {
		b := &storagetest.Faults{Backend: storagetest.Steady(t), At: func(int) storagetest.Fault { return fault }}
		s := storage.New(storage.Config{Backend: b})
		runs := 0
		err := s.Update(t.Context(), func(tx storage.Tx) error { runs++; return put("k", "v")(tx) })
		if !errors.Is(err, storage.ErrUnknown) || runs != 1 || s.Stats().Unknown.Load() != 1 {
			t.Errorf("fault %d: %d runs: %v", fault, runs, err)
		}
		if got := value(t, s, "k"); got != want {
			t.Errorf("fault %d: the key has %q", fault, got)
		}
	}
}

func TestFlaky(t *testing.T) {
	b := storagetest.Flaky(storagetest.Steady(t), 3)
	var got []bool
	for range 6 {
		err := b.Update(t.Context(), put("k", "v"))
		if err != nil && !errors.Is(err, storage.ErrConflict) {
			t.Fatal(err)
		}
		got = append(got, err != nil)
	}
	if want := [6]bool{2: true, 5: true}; [6]bool(got) != want {
		t.Errorf("conflicts: %v", got)
	}
	cause := errors.New("no")
	for range 3 { // the closure's own error comes first
		if err := b.Update(t.Context(), func(storage.Tx) error { return cause }); !errors.Is(err, cause) {
			t.Errorf("became %v", err)
		}
	}
}

// sweeps is a backend that records when it was swept.
type sweeps struct {
	storage.Backend
	at  []time.Time
	err error
}

func (s *sweeps) Sweep(_ context.Context, before time.Time, _ int) (int, error) {
	s.at = append(s.at, before)
	return 0, s.err
}

func TestRunSweepsAtEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		b := &sweeps{err: errors.New("once more")} // an error does not end it
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			storage.New(storage.Config{Backend: b, Now: time.Now}).Run(ctx, time.Minute)
			close(done)
		}()
		time.Sleep(150 * time.Second)
		cancel()
		<-done
		if len(b.at) != 3 || b.at[0].Sub(start) != 0 || b.at[2].Sub(start) != 2*time.Minute {
			t.Errorf("swept at %v", b.at)
		}
	})
}

// secret is a record of a sealed table.
type secret struct{ Token string }

func TestSealedTable(t *testing.T) {
	s := storagetest.New(t, nil)
	table := storage.Table[secret]{Name: "secret", Sealer: storagetest.Keyset(t)}
	err := s.Update(t.Context(), func(tx storage.Tx) error { return table.Put(tx, "demo", "1", &secret{"the token"}) })
	if err != nil {
		t.Fatal(err)
	}
	err = s.View(t.Context(), func(tx storage.Tx) error {
		if v, err := table.Get(tx, "demo", "1"); err != nil || v.Token != "the token" {
			t.Errorf("got %v, %v", v, err)
		}
		if rows, err := table.List(tx, "demo", "", 10); err != nil || len(rows) != 1 || rows[0].Record.Token != "the token" {
			t.Errorf("listed %v, %v", rows, err)
		}
		it, err := tx.Get(storage.Key("secret", "demo", "1"))
		for i := range it.Value {
			if i+9 <= len(it.Value) && string(it.Value[i:i+9]) == "the token" {
				t.Error("the token lies open in the store")
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// A record that was moved to another id does not open there.
	err = s.Update(t.Context(), func(tx storage.Tx) error {
		it, err := tx.Get(storage.Key("secret", "demo", "1"))
		if err != nil {
			return err
		}
		return tx.Put(storage.Item{Key: storage.Key("secret", "demo", "2"), Value: it.Value})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(tx storage.Tx) error { _, err := table.Get(tx, "demo", "2"); return err }); err == nil {
		t.Error("a record opens under another id")
	}
}

func TestExpiringTable(t *testing.T) {
	now := noon
	s := storagetest.New(t, func() time.Time { return now })
	type code struct{ Until time.Time }
	table := storage.Table[code]{Name: "code", Expires: func(c *code) time.Time { return c.Until }}
	err := s.Update(t.Context(), func(tx storage.Tx) error {
		return table.Put(tx, "demo", "1", &code{Until: noon.Add(time.Minute)})
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(tx storage.Tx) error { _, err := table.Get(tx, "demo", "1"); return err }
	if err := s.View(t.Context(), get); err != nil {
		t.Error(err)
	}
	now = noon.Add(time.Minute)
	if err := s.View(t.Context(), get); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("after its time: %v", err)
	}
	// An index row would outlive its record.
	table.Indexes = map[string]storage.Index[code]{"x": {Values: func(*code) []string { return nil }}}
	if err := s.Update(t.Context(), func(tx storage.Tx) error { return table.Put(tx, "demo", "2", &code{}) }); err == nil {
		t.Error("a record with indexes may expire")
	}
}

func TestCountAndListNeedTheirIndex(t *testing.T) {
	s := storagetest.New(t, nil)
	table := storage.Table[secret]{Name: "x", Indexes: map[string]storage.Index[secret]{
		"plain":  {Values: func(s *secret) []string { return []string{s.Token} }},
		"unique": {Unique: true, Values: func(s *secret) []string { return []string{s.Token} }},
	}}
	_ = s.View(t.Context(), func(tx storage.Tx) error {
		for _, index := range []string{"plain", "unique", "none"} {
			if _, err := table.Count(tx, "demo", index, "a"); err == nil {
				t.Errorf("counted by %s", index)
			}
			if _, err := table.PageBy(tx, "demo", index, "a", 0, 1); err == nil {
				t.Errorf("paged by offset by %s", index)
			}
		}
		for _, index := range []string{"unique", "none"} {
			if _, err := table.IDsBy(tx, "demo", index, "a", "", 10); err == nil {
				t.Errorf("listed by %s", index)
			}
			if _, err := table.Between(tx, "demo", index, storage.Entry{}, "z", 10); err == nil {
				t.Errorf("paged by %s", index)
			}
		}
		if _, err := table.GetBy(tx, "demo", "plain", "a"); err == nil || errors.Is(err, storage.ErrNotFound) {
			t.Errorf("got by an index that is not unique: %v", err)
		}
		return nil
	})
}

// reading fails a test that reads.
type reading struct {
	storage.Tx
	t *testing.T
}

func (r reading) Get(key []byte) (storage.Item, error) {
	r.t.Errorf("read %q", key)
	return r.Tx.Get(key)
}

// A record that is added is found by its indexes, and costs no read.
func TestAdd(t *testing.T) {
	s := storagetest.New(t, nil)
	table := storage.Table[secret]{Name: "log", Indexes: map[string]storage.Index[secret]{
		"token": {Values: func(s *secret) []string { return []string{s.Token, "all"} }},
	}}
	err := s.Update(t.Context(), func(tx storage.Tx) error {
		return errors.Join(table.Add(reading{tx, t}, "demo", "1", &secret{"a"}), table.Add(reading{tx, t}, "demo", "2", &secret{"b"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	list := func(value string) (n int) {
		t.Helper()
		if err := s.View(t.Context(), func(tx storage.Tx) error {
			rows, err := table.ListBy(tx, "demo", "token", value, "", 10)
			n = len(rows)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if a, all := list("a"), list("all"); a != 1 || all != 2 {
		t.Errorf("listed %d and %d", a, all)
	}
	err = s.Update(t.Context(), func(tx storage.Tx) error { return table.Delete(tx, "demo", "1") })
	if a, all := list("a"), list("all"); err != nil || a != 0 || all != 1 {
		t.Errorf("after a delete: listed %d and %d, %v", a, all, err)
	}
	for _, ix := range []storage.Index[secret]{
		{Unique: true, Values: func(s *secret) []string { return []string{s.Token} }},
		{Counted: true, Values: func(s *secret) []string { return []string{s.Token} }},
	} {
		table := storage.Table[secret]{Name: "other", Indexes: map[string]storage.Index[secret]{"x": ix}}
		if err := s.Update(t.Context(), func(tx storage.Tx) error { return table.Add(tx, "demo", "1", &secret{"a"}) }); err == nil {
			t.Errorf("added without reading: unique %v, counted %v", ix.Unique, ix.Counted)
		}
	}
}

// A store of an older version counts in one row for each byte that ids begin with.
// It goes on being right, whoever of both versions writes.
func TestCounterOfAnOlderStore(t *testing.T) {
	s := storagetest.New(t, nil)
	table := storage.Table[secret]{Name: "old", Indexes: map[string]storage.Index[secret]{
		"token": {Counted: true, Values: func(s *secret) []string { return []string{s.Token} }},
	}}
	var ids []string
	for _, first := range []string{"a", "g_", "m"} {
		for i := range 10 {
			ids = append(ids, fmt.Sprint(first, i))
		}
	}
	rows := func(tx storage.Tx) []storage.Item {
		items, err := tx.Scan(storage.Key("old#", "demo", "token", "x"), nil, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return items
	}
	err := s.Update(t.Context(), func(tx storage.Tx) error {
		for _, id := range ids {
			if err := table.Put(tx, "demo", id, &secret{"x"}); err != nil {
				return err
			}
		}
		// As the older version has counted.
		for _, it := range rows(tx) {
			if err := tx.Delete(it.Key); err != nil {
				return err
			}
		}
		for _, first := range []string{"a", "g", "m"} {
			if err := tx.Put(storage.Item{Key: storage.Key("old#", "demo", "token", "x", first), Value: binary.BigEndian.AppendUint64(nil, 10)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		err := s.View(t.Context(), func(tx storage.Tx) error {
			if n, err := table.Count(tx, "demo", "token", "x"); err != nil || n != len(ids) {
				t.Errorf("counted %d, %v; want %d", n, err, len(ids))
			}
			for first := range len(ids) + 1 {
				page, err := table.PageBy(tx, "demo", "token", "x", first, 2)
				if err != nil {
					return err
				}
				var got []string
				for _, row := range page {
					got = append(got, row.ID)
				}
				if want := ids[first:min(first+2, len(ids))]; !slices.Equal(got, want) {
					t.Errorf("from the %dth on %q; want %q", first, got, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check()
	for _, first := range []string{"a", "g_", "z"} {
		for i := range 10 {
			id := fmt.Sprint(first, "new", i)
			if err := s.Update(t.Context(), func(tx storage.Tx) error { return table.Put(tx, "demo", id, &secret{"x"}) }); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	check()
	for len(ids) > 0 { // more leave a row than this version has counted in it
		id := ids[len(ids)/2]
		if err := s.Update(t.Context(), func(tx storage.Tx) error { return table.Delete(tx, "demo", id) }); err != nil {
			t.Fatal(err)
		}
		ids = slices.DeleteFunc(ids, func(other string) bool { return other == id })
		check()
	}
}

// Ids that begin alike are not all counted in one row: it would be the one that
// every writer wants.
func TestCounterOfIDsThatBeginAlike(t *testing.T) {
	s := storagetest.New(t, nil)
	table := storage.Table[secret]{Name: "alike", Indexes: map[string]storage.Index[secret]{
		"token": {Counted: true, Values: func(s *secret) []string { return []string{s.Token} }},
	}}
	err := s.Update(t.Context(), func(tx storage.Tx) error {
		for i := range 200 {
			if err := table.Put(tx, "demo", fmt.Sprint("g_", i), &secret{"x"}); err != nil {
				return err
			}
		}
		items, err := tx.Scan(storage.Key("alike#", "demo", "token", "x"), nil, 1000)
		if len(items) < 12 {
			t.Errorf("200 ids are counted in %d rows", len(items))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSettle waits for the updates that run, whatever they wait for.
func TestSettle(t *testing.T) {
	s := storagetest.New(t, time.Now)
	settled := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return s.Settle(ctx)
	}
	if err := settled(10 * time.Second); err != nil {
		t.Errorf("nothing runs: %v", err)
	}
	inside, release, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		over <- s.Update(t.Context(), func(storage.Tx) error {
			close(inside)
			<-release
			return errors.New("it changed its mind")
		})
	}()
	<-inside
	for range 2 { // the second finds one that runs since before the first
		if err := settled(20 * time.Millisecond); err == nil {
			t.Error("it did not wait for one that runs")
		}
	}
	close(release)
	if err := <-over; err == nil {
		t.Error("the update's own error is lost")
	}
	if err := settled(10 * time.Second); err != nil {
		t.Errorf("after it has ended: %v", err)
	}
}
