package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

type secret struct{ Text string }

var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

// safe is a store with sealed records of two tables, some of which expire, open
// ones among them, and its key file.
type safe struct {
	backend storage.Backend
	store   *storage.Store
	file    string
}

const records = 200 // with their rows more than a page

func grants(k storage.Sealer) *storage.Table[secret] {
	return &storage.Table[secret]{Name: "grant", Sealer: k, Indexes: map[string]storage.Index[secret]{
		"text": {Values: func(s *secret) []string { return []string{s.Text} }, Counted: true},
		"one":  {Values: func(s *secret) []string { return []string{s.Text} }, Unique: true},
	}}
}

func browsers(k storage.Sealer) *storage.Table[secret] {
	return &storage.Table[secret]{Name: "browser", Sealer: k, Expires: func(*secret) time.Time { return noon.Add(time.Hour) }}
}

var open = storage.Table[secret]{Name: "client"}

func newSafe(t *testing.T) *safe {
	t.Helper()
	s := &safe{backend: storagetest.Steady(t), file: filepath.Join(t.TempDir(), "nightlatch.key")}
	s.store = storage.New(storage.Config{Backend: s.backend, Now: func() time.Time { return noon }})
	k, err := seal.Create(s.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := seal.Check(t.Context(), s.store, k); err != nil {
		t.Fatal(err)
	}
	err = s.store.Update(t.Context(), func(tx storage.Tx) error {
		for i := range records {
			id := fmt.Sprintf("%03d", i)
			err := errors.Join(open.Put(tx, "s", id, &secret{id}), grants(k).Put(tx, "s", id, &secret{id}), browsers(k).Put(tx, "s", id, &secret{id}))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// whole opens the store with the key file of now and reads every record.
func (s *safe) whole(t *testing.T) *seal.Keyset {
	t.Helper()
	file, k := s.opened(t)
	err := s.store.View(t.Context(), func(tx storage.Tx) error {
		for i := range records {
			id := fmt.Sprintf("%03d", i)
			for _, table := range []*storage.Table[secret]{&open, grants(k), browsers(k)} {
				if got, err := table.Get(tx, "s", id); err != nil || got.Text != id {
					return fmt.Errorf("%s %s is %v: %w", table.Name, id, got, err)
				}
			}
			if got, err := grants(k).GetBy(tx, "s", "one", id); err != nil || got.ID != id {
				return fmt.Errorf("index of %s: %v, %w", id, got, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("with the key file of now: %v", err)
	}
	return file
}

// opened is the key file of now, and as a process uses it.
func (s *safe) opened(t *testing.T) (*seal.Keyset, *seal.Live) {
	t.Helper()
	k, err := seal.Load(s.file)
	if err != nil {
		t.Fatal(err)
	}
	live, err := seal.Open(t.Context(), s.store, k, 0)
	if err != nil {
		t.Fatal(err)
	}
	return k, live
}

// sealedBy counts the sealed values of the store by their keys.
func (s *safe) sealedBy(t *testing.T) map[seal.KeyID]int {
	t.Helper()
	by := map[seal.KeyID]int{}
	err := s.store.Each(t.Context(), nil, func(it storage.Item) error {
		if id, sealed := seal.SealedWith(it); sealed {
			by[id]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return by
}

func (s *safe) rekey(ctx context.Context, b storage.Backend) (seal.Rekeyed, error) {
	return seal.Rekey(ctx, seal.RekeyConfig{
		Store: storage.New(storage.Config{Backend: b, Now: func() time.Time { return noon }}), File: s.file,
	})
}

func TestRekey(t *testing.T) {
	s := newSafe(t)
	before := s.whole(t)
	r, err := s.rekey(t.Context(), s.backend)
	if err != nil || r.Resealed != 2*records || r.Verified != 2*records {
		t.Fatalf("%+v, %v", r, err)
	}
	after := s.whole(t)
	if keys := after.Keys(); len(keys) != 1 || keys[0] != r.Newest || keys[0] == before.Keys()[0] {
		t.Errorf("the file holds keys %v, was %v", keys, before.Keys())
	}
	if !bytes.Equal(before.Derive("client secrets"), after.Derive("client secrets")) || before.Fingerprint() != after.Fingerprint() {
		t.Error("derived keys changed")
	}
	// The old key is of no use any more, and the store says so before it is tried.
	err = seal.Check(t.Context(), s.store, before)
	if !errors.Is(err, seal.ErrForeignKey) || !strings.Contains(err.Error(), r.Newest.String()) || !strings.Contains(err.Error(), "rekeyed") {
		t.Errorf("the old key file: %v", err)
	}
	err = s.store.Each(t.Context(), nil, func(it storage.Item) error {
		if by, sealed := seal.SealedWith(it); sealed && by != r.Newest {
			t.Errorf("an item is sealed with %s", by)
		}
		if table, record := storage.TableOf(it.Key); record && table == "browser" && !it.Expires.Equal(noon.Add(time.Hour)) {
			t.Errorf("a session expires %v", it.Expires)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(s.file)); len(left) != 1 {
		t.Errorf("files left: %v", left)
	}
	if r, err := s.rekey(t.Context(), s.backend); err != nil || r.Resealed != 2*records {
		t.Errorf("once more: %+v, %v", r, err)
	}
	s.whole(t)
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

// TestRekeyKilled: wherever the process dies, the key file opens the store, new
// records included, and the same command again comes to its end.
func TestRekeyKilled(t *testing.T) {
	for at, done := 1, false; !done; at++ {
		for _, after := range []bool{false, true} {
			s := newSafe(t)
			first := s.whole(t)
			died := func() (died bool) {
				defer func() {
					if p := recover(); p != nil {
						died = true
						if p != errKilled { //nolint:errorlint // the very value
							panic(p)
						}
					}
				}()
				if _, err := s.rekey(t.Context(), &killed{Backend: s.backend, at: at, after: after}); err != nil {
					t.Fatal(err)
				}
				return false
			}()
			done = !died
			// As soon as the old key cannot open everything, the store says so.
			renewed := errors.Is(s.store.Each(t.Context(), nil, func(it storage.Item) error {
				if by, sealed := seal.SealedWith(it); sealed && by != first.Keys()[0] {
					return errKilled
				}
				return nil
			}), errKilled)
			if err := seal.Check(t.Context(), s.store, first); renewed && !errors.Is(err, seal.ErrForeignKey) {
				t.Errorf("killed at update %d: the old key file: %v", at, err)
			}
			s.whole(t)
			_, k := s.opened(t)
			// The gateway may run in between; it seals with what the store names.
			err := s.store.Update(t.Context(), func(tx storage.Tx) error {
				return grants(k).Put(tx, "s", "000", &secret{"000"})
			})
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.rekey(t.Context(), s.backend)
			if err != nil || r.Verified != 2*records {
				t.Fatalf("killed at update %d: the next time: %+v, %v", at, r, err)
			}
			if last := s.whole(t); len(last.Keys()) != 1 || last.Keys()[0] == first.Keys()[0] {
				t.Errorf("killed at update %d: in the end the file holds %v", at, last.Keys())
			}
			if left, _ := os.ReadDir(filepath.Dir(s.file)); len(left) != 1 {
				t.Errorf("killed at update %d: files left: %v", at, left)
			}
		}
		if at > 100 {
			t.Fatal("it never ends")
		}
	}
}

// TestRekeyGoesOn: conflicts and commits of which nobody knows cost nothing.
func TestRekeyGoesOn(t *testing.T) {
	for name, fault := range map[string]storagetest.Fault{
		"conflict": storagetest.Conflict, "lost commit": storagetest.LostCommit, "lost answer": storagetest.LostAnswer,
	} {
		s := newSafe(t)
		r, err := s.rekey(t.Context(), &storagetest.Faults{Backend: s.backend, At: func(n int) storagetest.Fault {
			if n%3 == 1 {
				return fault
			}
			return storagetest.None
		}})
		if err != nil || r.Verified != 2*records {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		s.whole(t)
	}
}

// TestRekeyRefuses: what cannot be opened, or written, changes nothing that is
// needed.
func TestRekeyRefuses(t *testing.T) {
	t.Run("another key", func(t *testing.T) {
		s := newSafe(t)
		s.file = filepath.Join(t.TempDir(), "other.key")
		if _, err := seal.Create(s.file); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(s.file)
		if _, err := s.rekey(t.Context(), s.backend); !errors.Is(err, seal.ErrForeignKey) {
			t.Errorf("%v", err)
		}
		if after, _ := os.ReadFile(s.file); !bytes.Equal(before, after) {
			t.Error("the file changed")
		}
	})
	t.Run("no file", func(t *testing.T) {
		s := newSafe(t)
		if err := os.Remove(s.file); err != nil {
			t.Fatal(err)
		}
		if _, err := s.rekey(t.Context(), s.backend); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a damaged record", func(t *testing.T) {
		s := newSafe(t)
		k := s.whole(t)
		kept, _ := k.Seal([]byte("elsewhere"), []byte("{}"))
		put := func(value []byte) {
			if err := s.store.Update(t.Context(), func(tx storage.Tx) error {
				return tx.Put(storage.Item{Key: storage.Key("zzz", "s", "x"), Value: value})
			}); err != nil {
				t.Fatal(err)
			}
		}
		put(kept)
		_, err := s.rekey(t.Context(), s.backend)
		if err == nil || !strings.Contains(err.Error(), "zzz") {
			t.Errorf("%v", err)
		}
		if both := s.whole(t); len(both.Keys()) != 2 {
			t.Errorf("keys %v after a rekey that failed", both.Keys())
		}
		put([]byte("{}"))
		if _, err := s.rekey(t.Context(), s.backend); err != nil {
			t.Errorf("once it is mended: %v", err)
		}
		s.whole(t)
	})
	t.Run("a file in the way", func(t *testing.T) {
		s := newSafe(t)
		if _, err := seal.Create(s.file + ".old"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.rekey(t.Context(), s.backend); err == nil || !strings.Contains(err.Error(), ".old") {
			t.Errorf("%v", err)
		}
		if k := s.whole(t); len(k.Keys()) != 1 {
			t.Errorf("keys %v", k.Keys())
		}
	})
}

// TestRekeyLargeRecords: values of the greatest size do not fit a page of a
// transaction.
func TestRekeyLargeRecords(t *testing.T) {
	s := newSafe(t)
	k := s.whole(t)
	large := storage.Table[secret]{Name: "large", Sealer: k}
	for i := range 12 {
		if err := s.store.Update(t.Context(), func(tx storage.Tx) error {
			return large.Put(tx, "s", fmt.Sprint(i), &secret{strings.Repeat("x", storage.MaxValue-100)})
		}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.rekey(t.Context(), s.backend); err != nil || r.Resealed != 2*records+12 {
		t.Errorf("%+v, %v", r, err)
	}
	s.whole(t)
}

// TestNoteOfTheFirstStores: their note is the bare fingerprint.
func TestNoteOfTheFirstStores(t *testing.T) {
	s := newSafe(t)
	k := s.whole(t)
	if err := s.store.Update(t.Context(), func(tx storage.Tx) error {
		return tx.Put(storage.Item{Key: seal.NoteKey, Value: []byte(k.Fingerprint())})
	}); err != nil {
		t.Fatal(err)
	}
	other, _ := seal.New()
	if err := seal.Check(t.Context(), s.store, other); !errors.Is(err, seal.ErrForeignKey) {
		t.Errorf("another key: %v", err)
	}
	s.whole(t)
	if _, err := s.rekey(t.Context(), s.backend); err != nil {
		t.Fatal(err)
	}
	if err := seal.Check(t.Context(), s.store, k); !errors.Is(err, seal.ErrForeignKey) {
		t.Errorf("the old key afterwards: %v", err)
	}
	s.whole(t)
}
