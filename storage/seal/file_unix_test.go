//go:build unix

package seal_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/nightlatch/nightlatch/storage/seal"
)

// A file that is replaced keeps its place behind a link, its mode and its owner;
// what a killed process left of a draft is no hindrance.
func TestSaveReplaces(t *testing.T) {
	dir, links := t.TempDir(), t.TempDir()
	path, link := filepath.Join(dir, "key"), filepath.Join(links, "key")
	if _, err := seal.Create(path); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Symlink(path, link), os.Chmod(path, 0o640), os.WriteFile(path+".tmp", []byte("half"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 4711, 4712); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.Stat(path)
	reader, err := os.Open(path) // somebody reads the old file
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	k, _ := seal.New()
	if err := k.Save(link, true); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || after.Mode() != before.Mode() || after.Sys().(*syscall.Stat_t).Uid != before.Sys().(*syscall.Stat_t).Uid || after.Sys().(*syscall.Stat_t).Gid != before.Sys().(*syscall.Stat_t).Gid {
		t.Errorf("the file was %v, is %v: %v", before, after, err)
	}
	if now, err := seal.Load(path); err != nil || !now.Same(k) {
		t.Errorf("the file behind the link: %v", err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v %v", info, err)
	}
	if raw, err := io.ReadAll(reader); err != nil {
		t.Error(err)
	} else if old, err := seal.Parse(raw); err != nil || old.Same(k) {
		t.Errorf("the old file was written over: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("files left: %v", left)
	}
	if err := k.Save(filepath.Join(dir, "none", "key"), true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}
