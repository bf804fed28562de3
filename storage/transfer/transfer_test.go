package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
	"github.com/nightlatch/nightlatch/storage/transfer"
)

var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func at(b storage.Backend) *storage.Store {
	return storage.New(storage.Config{Backend: b, Now: func() time.Time { return noon }})
}

func put(t testing.TB, s *storage.Store, items ...storage.Item) {
	t.Helper()
	for len(items) > 0 {
		n := min(len(items), 500)
		err := s.Update(context.Background(), func(tx storage.Tx) error {
			for _, it := range items[:n] {
				if err := tx.Put(it); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		items = items[n:]
	}
}

const full = 2500 // items of filled that have not expired: three batches

// filled is a store with items of all kinds.
func filled(t testing.TB) (storage.Backend, *storage.Store) {
	t.Helper()
	b := storagetest.Steady(t)
	s := at(b)
	var items []storage.Item
	for i := range full {
		it := storage.Item{Key: storage.Key("table", "scope", fmt.Sprintf("%05d", i)), Value: []byte(fmt.Sprintf(`{"n":%d}`, i))}
		switch i % 5 {
		case 0:
			it.Key, it.Value = storage.Key("table@", "scope", "by", fmt.Sprint(i)), []byte{}
		case 1:
			it.Expires = noon.Add(time.Duration(i) * time.Nanosecond)
		case 2:
			it.Key = storage.Key("zz", "\x00\xff", fmt.Sprint(i))
		}
		items = append(items, it)
	}
	for i := range 20 {
		items = append(items, storage.Item{Key: storage.Key("gone", fmt.Sprint(i)), Value: []byte("x"), Expires: noon.Add(-time.Duration(i) * time.Second)})
	}
	rand.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	put(t, s, items...)
	return b, s
}

func sum(t testing.TB, from transfer.Source) transfer.Sum {
	t.Helper()
	got, err := transfer.SumOf(context.Background(), from, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func run(t testing.TB, from transfer.Source, to *storage.Store) (transfer.Sum, error) {
	t.Helper()
	return transfer.Copy(context.Background(), transfer.Config{From: from, To: to, What: "copy of a"})
}

func TestCopy(t *testing.T) {
	_, from := filled(t)
	to := at(storagetest.Steady(t))
	for _, s := range []*storage.Store{from, to} { // a lease is of its place
		if _, err := s.Hold(t.Context(), "walk", fmt.Sprintf("%p", s), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	steps := map[string]int{}
	got, err := transfer.Copy(t.Context(), transfer.Config{From: from, To: to, What: "copy of a", Progress: func(step string, items int) {
		if items <= steps[step] {
			t.Errorf("%s went from %d to %d", step, steps[step], items)
		}
		steps[step] = items
	}})
	if err != nil {
		t.Fatal(err)
	}
	if want := sum(t, from); got != want || sum(t, to) != want || want.Items != full {
		t.Errorf("the copy has %d items, checksum %s; want %d, %s", got.Items, got, want.Items, want)
	}
	if steps["copying"] != full || steps["verifying"] < 2*full-1000 {
		t.Errorf("progress: %v", steps)
	}
	if err := transfer.Whole(t.Context(), to); err != nil {
		t.Error(err)
	}
	if _, err := to.Hold(t.Context(), "walk", "another", time.Minute); !errors.Is(err, storage.ErrHeld) {
		t.Errorf("the target's lease: %v", err)
	}
	if _, err := to.Hold(t.Context(), "walk", fmt.Sprintf("%p", to), time.Minute); err != nil {
		t.Errorf("the target's lease: %v", err)
	}
	if _, err := run(t, from, to); !errors.Is(err, transfer.ErrNotEmpty) {
		t.Errorf("once more: %v", err)
	}
}

// TestSumTells: each difference gives another checksum.
func TestSumTells(t *testing.T) {
	seen := map[transfer.Sum]string{}
	for name, items := range map[string][]storage.Item{
		"nothing":      nil,
		"one":          {{Key: []byte("a"), Value: []byte("b")}},
		"longer key":   {{Key: []byte("ab"), Value: []byte("")}},
		"longer value": {{Key: []byte("a"), Value: []byte("bb")}},
		"expiry":       {{Key: []byte("a"), Value: []byte("b"), Expires: noon.Add(time.Hour)}},
		"later":        {{Key: []byte("a"), Value: []byte("b"), Expires: noon.Add(time.Hour + time.Nanosecond)}},
		"two":          {{Key: []byte("a"), Value: []byte("b")}, {Key: []byte("b"), Value: []byte("b")}},
	} {
		s := at(storagetest.Steady(t))
		put(t, s, items...)
		got := sum(t, s)
		got.Items = 0 // the checksum alone
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s have one checksum", name, other)
		}
		seen[got] = name
	}
}

// killed is a backend whose process dies before or after the commit of one
// Update.
type killed struct {
	storage.Backend
	at    int
	after bool
	n     int
}

var errKilled = errors.New("killed")

func (k *killed) Update(ctx context.Context, fn func(storage.Tx) error) error {
	k.n++
	if k.n == k.at && !k.after {
		panic(errKilled)
	}
	err := k.Backend.Update(ctx, fn)
	if k.n == k.at {
		panic(errKilled)
	}
	return err
}

// dies tells whether fn was killed.
func dies(fn func()) (died bool) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case errKilled:
			died = true
		default:
			panic(p)
		}
	}()
	fn()
	return false
}

// TestCopyKilled: wherever the process dies, the target is not taken for whole,
// the same command goes on where it was, and another one is refused.
func TestCopyKilled(t *testing.T) {
	_, from := filled(t)
	want := sum(t, from)
	for n, done := 1, false; !done; n++ {
		for _, after := range []bool{false, true} {
			b := storagetest.Steady(t)
			died := dies(func() {
				if got, err := run(t, from, at(&killed{Backend: b, at: n, after: after})); err != nil || got != want {
					t.Fatalf("%v, %v", got, err)
				}
			})
			if done = !died; done {
				if n < 5 {
					t.Errorf("a copy took only %d commits", n-1)
				}
				continue
			}
			whole := transfer.Whole(t.Context(), at(b))
			begun, ended := n > 1 || after, sum(t, at(b)) == want && whole == nil
			if begun && !ended && (!errors.Is(whole, transfer.ErrUnfinished) || !strings.Contains(whole.Error(), "copy of a")) {
				t.Errorf("killed at commit %d: %v", n, whole)
			}
			if ended {
				continue
			}
			if begun {
				_, err := transfer.Copy(t.Context(), transfer.Config{From: from, To: at(b), What: "copy of b"})
				if !errors.Is(err, transfer.ErrUnfinished) || !strings.Contains(err.Error(), "copy of a") {
					t.Errorf("killed at commit %d, another source: %v", n, err)
				}
				if _, err := transfer.Copy(t.Context(), transfer.Config{From: at(b), To: at(storagetest.Steady(t)), What: "copy of b"}); !errors.Is(err, transfer.ErrUnfinished) {
					t.Errorf("a half-done copy was a source: %v", err)
				}
			}
			again := &killed{Backend: b}
			if got, err := run(t, from, at(again)); err != nil || got != want || sum(t, at(b)) != want {
				t.Fatalf("killed at commit %d, then: %v, %v", n, got, err)
			}
			// One to begin, three batches, one for the rest, one to end.
			if left := 6 - n; n > 1 && again.n > left+3 {
				t.Errorf("killed at commit %d, then %d commits more: it began anew", n, again.n)
			}
		}
		if n > 50 {
			t.Fatal("it never ends")
		}
	}
}

// TestCopyOfAChangedSource: a source that was used between two halves of a copy
// is copied as it is at the end.
func TestCopyOfAChangedSource(t *testing.T) {
	b, from := filled(t)
	target := storagetest.Steady(t)
	if !dies(func() { _, _ = run(t, from, at(&killed{Backend: target, at: 3, after: true})) }) {
		t.Fatal("the copy took fewer commits")
	}
	err := from.Update(t.Context(), func(tx storage.Tx) error {
		for _, key := range [][]byte{storage.Key("table", "scope", "00003"), storage.Key("zz", "\x00\xff", "2497")} {
			if _, err := tx.Get(key); err != nil {
				return err
			}
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return errors.Join(
			tx.Put(storage.Item{Key: []byte("A first"), Value: []byte("new")}),
			tx.Put(storage.Item{Key: storage.Key("table", "scope", "00004"), Value: []byte("changed")}),
			tx.Put(storage.Item{Key: []byte("zzz last"), Value: []byte("new")}))
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := run(t, from, at(target))
	if want := sum(t, at(b)); err != nil || got != want || sum(t, at(target)) != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// restless is a source that is another one each time it is read.
type restless struct {
	*storage.Store
	n int
}

func (r *restless) Each(ctx context.Context, after []byte, fn func(storage.Item) error) error {
	r.n++
	if err := fn(storage.Item{Key: []byte("a"), Value: []byte(fmt.Sprint(r.n))}); err != nil {
		return err
	}
	return r.Store.Each(ctx, after, fn)
}

func TestCopyRefuses(t *testing.T) {
	_, from := filled(t)
	b := storagetest.Steady(t)
	if _, err := run(t, &restless{Store: from}, at(b)); !errors.Is(err, transfer.ErrChanged) {
		t.Errorf("a source in use: %v", err)
	}
	if err := transfer.Whole(t.Context(), at(b)); !errors.Is(err, transfer.ErrUnfinished) {
		t.Errorf("its target: %v", err)
	}
	if got, err := run(t, from, at(b)); err != nil || got != sum(t, from) {
		t.Errorf("once the source is at rest: %v", err)
	}
	if _, err := run(t, at(storagetest.Steady(t)), at(storagetest.Steady(t))); !errors.Is(err, transfer.ErrEmpty) {
		t.Errorf("nothing: %v", err)
	}
	used := at(storagetest.Steady(t))
	put(t, used, storage.Item{Key: []byte("a"), Value: []byte("mine")})
	before := sum(t, used)
	if _, err := run(t, from, used); !errors.Is(err, transfer.ErrNotEmpty) {
		t.Errorf("a target in use: %v", err)
	}
	if sum(t, used) != before {
		t.Error("the refused target changed")
	}
}

// TestCopyGoesOn: conflicts and commits of which nobody knows cost nothing.
func TestCopyGoesOn(t *testing.T) {
	_, from := filled(t)
	for name, fault := range map[string]storagetest.Fault{
		"conflict": storagetest.Conflict, "lost commit": storagetest.LostCommit, "lost answer": storagetest.LostAnswer,
	} {
		to := at(&storagetest.Faults{Backend: storagetest.Steady(t), At: func(n int) storagetest.Fault {
			if n%3 != 0 {
				return fault
			}
			return storagetest.None
		}})
		if got, err := run(t, from, to); err != nil || got != sum(t, from) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// small is an engine whose transactions take few rows.
type small struct{ storage.Backend }

type smallTx struct {
	storage.Tx
	n *int
}

func (s small) Update(ctx context.Context, fn func(storage.Tx) error) error {
	return s.Backend.Update(ctx, func(tx storage.Tx) error { return fn(smallTx{tx, new(int)}) })
}

func (s smallTx) Put(it storage.Item) error {
	if *s.n++; *s.n > 7 {
		return storage.ErrTooLarge
	}
	return s.Tx.Put(it)
}

// TestCopyOfLargeItems: no batch is too large, neither in bytes nor in rows.
func TestCopyOfLargeItems(t *testing.T) {
	from := at(storagetest.Steady(t))
	for i := range 20 {
		put(t, from, storage.Item{Key: []byte(fmt.Sprintf("%02d%s", i, strings.Repeat("k", storage.MaxKey-2))), Value: make([]byte, storage.MaxValue)})
	}
	to := at(storagetest.Steady(t))
	if got, err := run(t, from, to); err != nil || got != sum(t, from) || got != sum(t, to) {
		t.Errorf("%v, %v", got, err)
	}
	_, from = filled(t)
	to = at(small{storagetest.Steady(t)})
	if got, err := run(t, from, to); err != nil || got != sum(t, from) || got != sum(t, to) {
		t.Errorf("few rows: %v, %v", got, err)
	}
}
