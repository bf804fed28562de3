package caddymodule

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/storage/seal"
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
	own, err := l.keyset.Marshal()
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
