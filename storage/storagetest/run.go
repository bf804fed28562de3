package storagetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// Run holds an engine to the contract of package storage. open returns an empty
// backend that is closed when its test ends; a second Close must do no harm.
func Run(t *testing.T, open func(t *testing.T) storage.Backend) {
	type test struct {
		name string
		run  func(*testing.T, storage.Backend)
	}
	alone := []test{
		{"Items", testItems},
		{"ByteOrder", testByteOrder},
		{"Pages", testPages},
		{"OwnWrites", testOwnWrites},
		{"TooLarge", testTooLarge},
		{"RollbackOnError", testRollbackOnError},
		{"RollbackOnPanic", testRollbackOnPanic},
		{"RollbackOnExit", testRollbackOnExit},
		{"View", testView},
		{"Nested", testNested},
		{"NestedElsewhere", testNestedElsewhere},
		{"Cancelled", testCancelled},
		{"CloseWaits", testCloseWaits},
		{"Closed", testClosed},
		{"Expiry", testExpiry},
		{"Sweep", testSweep},
		{"SweepInBatches", testSweepInBatches},
		{"Watch", testWatch},
		{"WatchEnds", testWatchEnds},
		{"Faults", testFaults},
	}
	// These come a second time with every third commit a conflict, which who goes
	// through a Store must not notice.
	both := []test{
		{"Model", testModel},
		{"ConflictOnPresentKey", testConflictOnPresentKey},
		{"ConflictOnAbsentKey", testConflictOnAbsentKey},
		{"ConflictOnScannedKeys", testConflictOnScannedKeys},
		{"ConflictOnManyKeys", testConflictOnManyKeys},
		{"ParallelIncrements", testParallelIncrements},
		{"ParallelCreators", testParallelCreators},
		{"TableIndexes", testTableIndexes},
		{"TableTaken", testTableTaken},
		{"TableModel", testTableModel},
		{"TableCountInParallel", testTableCountInParallel},
	}
	for _, c := range append(alone, both...) {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
	for _, c := range both {
		t.Run(c.name+"/EveryThirdConflicts", func(t *testing.T) { c.run(t, Flaky(open(t), 3)) })
	}
}

func item(key, value string) storage.Item {
	return storage.Item{Key: []byte(key), Value: []byte(value)}
}

// update and view fail the test on an error.
func update(t *testing.T, b storage.Backend, fn func(storage.Tx) error) {
	t.Helper()
	if err := storage.New(storage.Config{Backend: b}).Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, b storage.Backend, fn func(storage.Tx) error) {
	t.Helper()
	if err := b.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, b storage.Backend, items ...storage.Item) {
	t.Helper()
	update(t, b, func(tx storage.Tx) error {
		for _, it := range items {
			if err := tx.Put(it); err != nil {
				return err
			}
		}
		return nil
	})
}

// get returns a value, or "-" for an absent key.
func get(t *testing.T, b storage.Backend, key string) string {
	t.Helper()
	value := ""
	view(t, b, func(tx storage.Tx) (err error) {
		value, err = read(tx, key)
		return err
	})
	return value
}

func read(tx storage.Tx, key string) (string, error) {
	it, err := tx.Get([]byte(key))
	if errors.Is(err, storage.ErrNotFound) {
		return "-", nil
	}
	return string(it.Value), err
}

func keys(items []storage.Item) []string {
	out := []string{}
	for _, it := range items {
		out = append(out, string(it.Key))
	}
	return out
}

func testItems(t *testing.T, b storage.Backend) {
	if got := get(t, b, "k"); got != "-" {
		t.Errorf("an absent key has %q", got)
	}
	at := time.Date(2030, 1, 2, 3, 4, 5, 678_000, time.UTC)
	put(t, b, storage.Item{Key: []byte("k"), Value: []byte("v"), Expires: at}, item("empty", ""))
	view(t, b, func(tx storage.Tx) error {
		it, err := tx.Get([]byte("k"))
		if err != nil || string(it.Key) != "k" || string(it.Value) != "v" || !it.Expires.Equal(at) {
			t.Errorf("read %q=%q until %v, %v", it.Key, it.Value, it.Expires, err)
		}
		it, err = tx.Get([]byte("empty"))
		if err != nil || len(it.Value) != 0 || !it.Expires.IsZero() {
			t.Errorf("read an empty value as %q until %v, %v", it.Value, it.Expires, err)
		}
		return nil
	})
	put(t, b, item("k", "w"))
	if got := get(t, b, "k"); got != "w" {
		t.Errorf("overwritten: %q", got)
	}
	update(t, b, func(tx storage.Tx) error {
		return errors.Join(tx.Delete([]byte("k")), tx.Delete([]byte("never was")))
	})
	if got := get(t, b, "k"); got != "-" {
		t.Errorf("deleted: %q", got)
	}
}

// awkward keys in ascending byte order.
var awkward = []string{
	"\x00", "\x00\x00", "\x00\xff", "A", "a", "a\x00", "a\x00\x01", "a\x00b", "a\x01", "aa", "a\xff", "a\xff\xff", "b", "é", "日", "\xff", "\xff\x00", "\xff\xff",
}

func testByteOrder(t *testing.T, b storage.Backend) {
	shuffled := slices.Clone(awkward)
	for i := range shuffled {
		j := (i * 7) % len(shuffled)
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	}
	for _, k := range shuffled {
		put(t, b, item(k, k))
	}
	view(t, b, func(tx storage.Tx) error {
		for _, prefix := range append([]string{"", "c", "a\x00\x01\x00"}, awkward...) {
			var want []string
			for _, k := range awkward {
				if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
					want = append(want, k)
				}
			}
			items, err := tx.Scan([]byte(prefix), nil, 100)
			if err != nil || !slices.Equal(keys(items), want) {
				t.Errorf("scanning %q: %q, %v; want %q", prefix, keys(items), err, want)
			}
			for _, it := range items {
				if string(it.Value) != string(it.Key) {
					t.Errorf("%q came with the value %q", it.Key, it.Value)
				}
			}
		}
		return nil
	})
}

func testPages(t *testing.T, b storage.Backend) {
	var all []string
	for _, k := range awkward {
		all = append(all, "p/"+k)
	}
	for i, k := range all {
		if i%2 == 0 {
			put(t, b, item(k, ""))
		}
	}
	put(t, b, item("p", ""), item("p0", ""), item("o/z", "")) // neighbours of the prefix
	pages := func(tx storage.Tx, want []string) {
		for size := 1; size <= len(all)+1; size++ {
			got := []string{}
			var after []byte
			for {
				items, err := tx.Scan([]byte("p/"), after, size)
				if err != nil {
					t.Fatal(err)
				}
				if len(items) > size || len(got) > len(want) {
					t.Fatalf("a page of %d has %d items; %d before it", size, len(items), len(got))
				}
				got = append(got, keys(items)...)
				if len(items) < size {
					break
				}
				after = items[len(items)-1].Key
			}
			if !slices.Equal(got, want) {
				t.Fatalf("pages of %d: %q; want %q", size, got, want)
			}
		}
		for _, c := range []struct {
			after string
			want  int
		}{{"", len(want)}, {"a", len(want)}, {"p/", len(want)}, {"p/\xff\xff\xff", 0}, {"q", 0}} {
			items, err := tx.Scan([]byte("p/"), []byte(c.after), 100)
			if err != nil || len(items) != c.want {
				t.Errorf("after %q: %d items, %v; want %d", c.after, len(items), err, c.want)
			}
		}
		if items, err := tx.Scan([]byte("p/"), nil, 0); err != nil || len(items) != 0 {
			t.Errorf("a page of none has %d items, %v", len(items), err)
		}
	}
	view(t, b, func(tx storage.Tx) error {
		var half []string
		for i := 0; i < len(all); i += 2 {
			half = append(half, all[i])
		}
		pages(tx, half)
		return nil
	})
	// The other half only in the transaction, and none of it stored.
	err := b.Update(t.Context(), func(tx storage.Tx) error {
		for i := 1; i < len(all); i += 2 {
			if err := tx.Put(item(all[i], "")); err != nil {
				return err
			}
		}
		pages(tx, all)
		return errRollback
	})
	if !errors.Is(err, errRollback) {
		t.Fatal(err)
	}
}

func testOwnWrites(t *testing.T, b storage.Backend) {
	put(t, b, item("k1", "1"), item("k3", "3"), item("k5", "5"))
	update(t, b, func(tx storage.Tx) error {
		err := errors.Join(tx.Put(item("k0", "0")), tx.Put(item("k3", "three")), tx.Delete([]byte("k1")),
			tx.Put(item("k4", "4")), tx.Delete([]byte("k4")), tx.Delete([]byte("k5")), tx.Put(item("k5", "five")), tx.Put(item("k6", "6")))
		if err != nil {
			return err
		}
		for key, want := range map[string]string{"k0": "0", "k1": "-", "k3": "three", "k4": "-", "k5": "five"} {
			if got, err := read(tx, key); err != nil || got != want {
				t.Errorf("own %s: %q, %v; want %q", key, got, err, want)
			}
		}
		for limit, want := range [][]string{{}, {"k0"}, {"k0", "k3"}, {"k0", "k3", "k5"}, {"k0", "k3", "k5", "k6"}, {"k0", "k3", "k5", "k6"}} {
			items, err := tx.Scan([]byte("k"), nil, limit)
			if err != nil || !slices.Equal(keys(items), want) {
				t.Errorf("own scan of %d: %q, %v; want %q", limit, keys(items), err, want)
			}
		}
		items, err := tx.Scan([]byte("k"), []byte("k1"), 2)
		if err != nil || len(items) != 2 || string(items[0].Value) != "three" || string(items[1].Value) != "five" {
			t.Errorf("own scan behind a deleted key: %q, %v", keys(items), err)
		}
		return nil
	})
}

func testTooLarge(t *testing.T, b storage.Backend) {
	s := storage.New(storage.Config{Backend: b})
	most := storage.Item{Key: make([]byte, storage.MaxKey), Value: make([]byte, storage.MaxValue)}
	put(t, b, most)
	for name, it := range map[string]storage.Item{
		"key":   {Key: make([]byte, storage.MaxKey+1)},
		"value": {Key: []byte("v"), Value: make([]byte, storage.MaxValue+1)},
	} {
		err := s.Update(t.Context(), func(tx storage.Tx) error {
			_ = tx.Put(item("before "+name, ""))
			_ = tx.Put(it) // swallowed, yet nothing may be committed
			return nil
		})
		if !errors.Is(err, storage.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if got := get(t, b, "before "+name); got != "-" {
			t.Errorf("%s: half of the transaction was committed", name)
		}
	}
	if err := s.Update(t.Context(), func(tx storage.Tx) error { return tx.Put(item("", "v")) }); err == nil {
		t.Error("an empty key was written")
	}
	// Only the last of many writes of a key takes room.
	update(t, b, func(tx storage.Tx) error {
		for range 50 {
			if err := tx.Put(storage.Item{Key: []byte("again"), Value: make([]byte, storage.MaxValue)}); err != nil {
				return err
			}
		}
		return nil
	})
	// An engine may refuse a huge transaction, never take half of it.
	const n = 64
	err := s.Update(t.Context(), func(tx storage.Tx) error {
		for i := range n {
			if err := tx.Put(storage.Item{Key: storage.Key("huge", string(rune('A'+i))), Value: make([]byte, storage.MaxValue)}); err != nil {
				return err
			}
		}
		return nil
	})
	var items []storage.Item
	view(t, b, func(tx storage.Tx) (err error) {
		items, err = tx.Scan(storage.Key("huge"), nil, 2*n)
		return err
	})
	switch {
	case err == nil && len(items) == n:
	case errors.Is(err, storage.ErrTooLarge) && len(items) == 0:
	default:
		t.Errorf("a huge transaction: %v, %d of %d items written", err, len(items), n)
	}
	put(t, b, item("after", "all"))
}
