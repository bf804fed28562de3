package seal_test

import (
	"bytes"
	"context"
	"errors"
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
	path := filepath.Join(t.TempDir(), "nightlatch.key")
	k, err := seal.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	again, err := seal.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := k.Seal([]byte("k"), []byte("v"))
	if got, err := again.Open([]byte("k"), sealed); err != nil || string(got) != "v" {
		t.Errorf("after reading the file: %q, %v", got, err)
	}
	if k.Fingerprint() != again.Fingerprint() || !bytes.Equal(k.Derive("jobs"), again.Derive("jobs")) {
		t.Error("the file gives another keyset")
	}
	if bytes.Equal(k.Derive("jobs"), k.Derive("clients")) {
		t.Error("two purposes share a subkey")
	}
	if _, err := seal.Create(path); err == nil {
		t.Error("a key file was overwritten")
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.LoadOrCreate(path); !errors.Is(err, seal.ErrBadKey) {
		t.Errorf("a damaged file: %v", err)
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
