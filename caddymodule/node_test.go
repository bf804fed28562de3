package caddymodule

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
	"github.com/nightlatch/nightlatch/storage/transfer"
)

func lend(t *testing.T, dir, key string) (*lease, bool) {
	t.Helper()
	l, fresh, err := takeLease(&BadgerStore{Dir: dir}, key)
	if err != nil {
		t.Fatal(err)
	}
	return l, fresh
}

// TestLease: two configurations share one node; it ends with the last user.
func TestLease(t *testing.T) {
	dir := t.TempDir()
	first, fresh := lend(t, dir, "")
	if !fresh {
		t.Error("the first lease did not open the store")
	}
	second, fresh := lend(t, dir, "")
	if fresh || second.node != first.node {
		t.Error("a reload opened the store again")
	}
	if !first.hold() { // a request of the first configuration
		t.Fatal("no lease for a request")
	}
	first.release() // its Cleanup
	second.release()
	if _, ok := nodes.References("badger:" + dir); !ok {
		t.Fatal("the store was closed under a request")
	}
	first.release() // the request ends
	if _, ok := nodes.References("badger:" + dir); ok {
		t.Error("the store stays open")
	}
	if first.hold() {
		t.Error("a closed node is lent")
	}
	third, fresh := lend(t, dir, "") // and it can be opened again
	defer third.release()
	if !fresh {
		t.Error("the store was not opened anew")
	}
}

// TestSealingKey: a missing, foreign or broken key is refused by name, and
// nothing is made or changed.
func TestSealingKey(t *testing.T) {
	dir := t.TempDir()
	l, _ := lend(t, dir, "")
	own, err := l.keyset.File().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "nightlatch.key")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info, err)
	}
	other, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := takeLease(&BadgerStore{Dir: dir}, string(foreign)); !errors.Is(err, seal.ErrForeignKey) {
		t.Errorf("another key by a reload: %v", err)
	}
	again, _ := lend(t, dir, string(own))
	again.release()

	// A reload with one key more opens what that seals, and seals with the one before;
	// the one before may not be taken out.
	inUse := l.keyset.File()
	grown, err := inUse.WithNewKey()
	if err != nil {
		t.Fatal(err)
	}
	changed, err := grown.NewestOnly()
	if err != nil {
		t.Fatal(err)
	}
	text := func(k *seal.Keyset) string {
		raw, err := k.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	again, _ = lend(t, dir, text(grown))
	again.release()
	value, err := changed.Seal([]byte("k"), []byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := l.keyset.Open([]byte("k"), value); err != nil || string(plain) != "v" {
		t.Errorf("what the new key sealed: %q, %v", plain, err)
	}
	if value, err = l.keyset.Seal([]byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	if plain, err := inUse.Open([]byte("k"), value); err != nil || string(plain) != "v" {
		t.Errorf("the new key seals before the store says so: %q, %v", plain, err)
	}
	if _, _, err := takeLease(&BadgerStore{Dir: dir}, text(changed)); !errors.Is(err, seal.ErrForeignKey) {
		t.Errorf("a reload without the key that seals: %v", err)
	}
	for name, content := range map[string][]byte{"missing": nil, "foreign": foreign, "damaged": []byte("sesame")} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if content != nil {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := takeLease(&BadgerStore{Dir: dir}, ""); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("a reload with the key file %s: %v", name, err)
		}
		if err := os.WriteFile(file, own, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again, _ = lend(t, dir, "")
	again.release()
	l.release()

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{"none": "", "foreign": string(foreign), "garbage": "sesame"} {
		_, _, err := takeLease(&BadgerStore{Dir: dir}, key)
		if err == nil {
			t.Fatalf("%s key: the store opens", name)
		}
		if name != "garbage" && !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "key") || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s key: %v", name, err)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s key: a new one was made", name)
		}
	}
	kept, fresh := lend(t, dir, string(own))
	defer kept.release()
	if !fresh {
		t.Error("a refused start left the store open")
	}
}

// TestOneFolderOneStore: spellings of a folder are the same store.
func TestOneFolderOneStore(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(realPath(dir), "data")
	for _, spelling := range []string{filepath.Join(link, "data"), dir + "/./x/../data"} {
		if got := realPath(filepath.Clean(spelling)); got != want {
			t.Errorf("%s is %s, want %s", spelling, got, want)
		}
	}
}

// TestStoreThatIsNotWhole: a copy that did not come to its end is not used.
func TestStoreThatIsNotWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	backend, err := (&BadgerStore{Dir: dir}).open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	from := storagetest.New(t, nil)
	if err := from.Update(t.Context(), func(tx storage.Tx) error {
		return tx.Put(storage.Item{Key: []byte("a"), Value: []byte("b")})
	}); err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	_, err = transfer.Copy(stopped, transfer.Config{
		From: from, To: storage.New(storage.Config{Backend: backend}), What: "copy of another place",
		Progress: func(string, int) { stop() },
	})
	if err := backend.Close(); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the copy was not stopped: %v", err)
	}
	_, _, err = takeLease(&BadgerStore{Dir: dir}, "")
	if !errors.Is(err, transfer.ErrUnfinished) || !strings.Contains(err.Error(), "copy of another place") || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}
