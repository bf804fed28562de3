package seal_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

func TestSealBindsToTheKey(t *testing.T) {
	k, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	one, err := k.Seal([]byte("grant/alice"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	two, _ := k.Seal([]byte("grant/alice"), []byte("secret"))
	if bytes.Equal(one, two) {
		t.Error("sealing twice gives the same bytes")
	}
	if got, err := k.Open([]byte("grant/alice"), one); err != nil || string(got) != "secret" {
		t.Errorf("opening: %q, %v", got, err)
	}
	if _, err := k.Open([]byte("grant/bob"), one); err == nil {
		t.Error("a record of alice opens as one of bob")
	}
	other, _ := seal.New()
	if _, err := other.Open([]byte("grant/alice"), one); err == nil {
		t.Error("another key opens it")
	}
	one[len(one)-1] ^= 1
	if _, err := k.Open([]byte("grant/alice"), one); err == nil {
		t.Error("a changed byte goes unnoticed")
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nightlatch.key")
	k, err := seal.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	again, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := k.Seal([]byte("k"), []byte("v"))
	if got, err := again.Open([]byte("k"), sealed); err != nil || string(got) != "v" {
		t.Errorf("after reading the file: %q, %v", got, err)
	}
	if !k.Same(again) || !bytes.Equal(k.Derive("jobs"), again.Derive("jobs")) {
		t.Error("the file gives another keyset")
	}
	if bytes.Equal(k.Derive("jobs"), k.Derive("clients")) {
		t.Error("two purposes share a subkey")
	}
	if _, err := seal.Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a key file was overwritten: %v", err)
	}
	if kept, err := seal.Load(path); err != nil || !kept.Same(k) {
		t.Errorf("the refused file changed: %v", err)
	}
	if _, err := seal.Load(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Load(path); !errors.Is(err, seal.ErrBadKey) {
		t.Errorf("a damaged file: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("files left: %v", left)
	}
}

// A keyset opens what each of its keys sealed, and seals with the newest.
func TestKeysetGrows(t *testing.T) {
	first, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	both, err := first.WithNewKey()
	if err != nil {
		t.Fatal(err)
	}
	second, err := both.NewestOnly()
	if err != nil {
		t.Fatal(err)
	}
	key := storage.Key("grant", "site", "alice")
	opens := func(k *seal.Keyset, sealed []byte) bool {
		got, err := k.Open(key, sealed)
		return err == nil && string(got) == "{}"
	}
	old, _ := first.Seal(key, []byte("{}"))
	fresh, _ := both.Seal(key, []byte("{}"))
	if !opens(both, old) || !opens(both, fresh) || opens(first, fresh) || opens(second, old) || !opens(second, fresh) {
		t.Error("the keys open other values than their own")
	}
	for name, k := range map[string]*seal.Keyset{"both": both, "second": second} {
		if k.Fingerprint() != first.Fingerprint() || !bytes.Equal(k.Derive("client secrets"), first.Derive("client secrets")) {
			t.Errorf("%s: derived keys changed", name)
		}
		if k.Same(first) || k.Same(map[string]*seal.Keyset{"both": second, "second": both}[name]) {
			t.Errorf("%s: counts as another keyset", name)
		}
		raw, err := k.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := seal.Parse(raw); err != nil || !again.Same(k) {
			t.Errorf("%s: after writing and reading: %v", name, err)
		}
	}
	if by, ok := seal.SealedWith(storage.Item{Key: key, Value: old}); !ok || by != first.Keys()[0] {
		t.Errorf("the old value is sealed with %v, %v", by, ok)
	}
	for name, it := range map[string]storage.Item{
		"record":  {Key: key, Value: []byte(`{"sub":"alice"}`)},
		"empty":   {Key: key, Value: []byte{}},
		"counter": {Key: storage.Key("grant#", "site", "user", "alice", "a"), Value: []byte{1, 0, 0, 0, 0, 0, 0, 7}},
		"unique":  {Key: storage.Key("grant!", "site", "user", "alice"), Value: old},
	} {
		if by, ok := seal.SealedWith(it); ok {
			t.Errorf("%s counts as sealed, with %v", name, by)
		}
	}
}

func TestCheck(t *testing.T) {
	ctx := context.Background()
	s := storagetest.New(t, nil)
	k, _ := seal.New()
	if empty, err := seal.Empty(ctx, s); err != nil || !empty {
		t.Errorf("a new store: %v, %v", empty, err)
	}
	for range 2 {
		if err := seal.Check(ctx, s, k); err != nil {
			t.Fatal(err)
		}
	}
	if empty, _ := seal.Empty(ctx, s); empty {
		t.Error("the store counts as empty after its key was noted")
	}
	other, _ := seal.New()
	if err := seal.Check(ctx, s, other); !errors.Is(err, seal.ErrForeignKey) {
		t.Errorf("another key: %v", err)
	}
	if err := seal.Check(ctx, s, k); err != nil {
		t.Errorf("the right key afterwards: %v", err)
	}

	unmarked := storagetest.New(t, nil)
	if err := unmarked.Update(ctx, func(tx storage.Tx) error {
		return tx.Put(storage.Item{Key: []byte("x"), Value: []byte("y")})
	}); err != nil {
		t.Fatal(err)
	}
	if err := seal.Check(ctx, unmarked, k); !errors.Is(err, seal.ErrForeignKey) {
		t.Errorf("a store with records but no fingerprint: %v", err)
	}
}
