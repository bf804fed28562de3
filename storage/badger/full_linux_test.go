package badger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// big is a value of 64 KiB that follows from its key and does not compress.
func big(key string) storage.Item {
	var seed [32]byte
	copy(seed[:], key)
	value := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8(seed).Read(value)
	return storage.Item{Key: []byte(key), Value: value}
}

// fillUp writes until the store refuses, and tells what it answered.
func fillUp(b *Backend, prefix string) (answered []string, err error) {
	for i := range 1 << 14 {
		key := fmt.Sprint(prefix, i)
		if err := b.Update(context.Background(), func(tx storage.Tx) error { return tx.Put(big(key)) }); err != nil {
			return answered, err
		}
		answered = append(answered, key)
	}
	return answered, errors.New("it never was full")
}

// holds tells which of the keys is missing or wrong.
func holds(b *Backend, keys []string) error {
	return b.View(context.Background(), func(tx storage.Tx) error {
		for _, key := range keys {
			it, err := tx.Get([]byte(key))
			if err == nil && !bytes.Equal(it.Value, big(key).Value) {
				err = errors.New("another value")
			}
			if err != nil {
				return fmt.Errorf("%s was answered: %w", key, err)
			}
		}
		return nil
	})
}

// TestRefusesWritesBeforeTheDiskIsFull: the last of the room is the engine's.
// Nothing is written, reads go on, and it ends without a restart.
func TestRefusesWritesBeforeTheDiskIsFull(t *testing.T) {
	b := open(t, Options{Dir: t.TempDir()})
	if err := b.Update(t.Context(), putKey("before", "v")); err != nil {
		t.Fatal(err)
	}
	if err := b.Update(t.Context(), func(tx storage.Tx) error {
		return tx.Put(storage.Item{Key: []byte("old"), Expires: time.Unix(1<<33, 0)})
	}); err != nil {
		t.Fatal(err)
	}
	commits, _ := counting(b)
	free := int64(roomToCommit - 1)
	b.free = func() (int64, error) { return free, nil }
	taken := errors.New("taken")
	for i, err := range fold(t, b, putKey("k0", "v"), putKey("before", "v"), putKey("k1", "v"), func(tx storage.Tx) error {
		if _, err := tx.Get([]byte("k0")); err == nil {
			return taken // an answer that rests on what will not be there
		}
		return nil
	}) {
		// Two of them change nothing, whoever they share a commit with.
		if i%2 == 1 && err != nil || i%2 == 0 && (!errors.Is(err, storage.ErrFull) || errors.Is(err, storage.ErrUnknown)) {
			t.Errorf("update %d: %v", i, err)
		}
	}
	// What changes nothing needs no room: a server declares its realm at its start.
	expires := time.Unix(1<<33, 0)
	if err := b.Update(t.Context(), func(tx storage.Tx) error {
		return errors.Join(putKey("before", "v")(tx), tx.Delete([]byte("absent")), tx.Put(storage.Item{Key: []byte("old"), Expires: expires}))
	}); err != nil {
		t.Errorf("an update that changes nothing: %v", err)
	}
	for name, fn := range map[string]func(storage.Tx) error{
		"another value":  putKey("before", "w"),
		"another expiry": func(tx storage.Tx) error { return tx.Put(storage.Item{Key: []byte("old"), Expires: expires.Add(1)}) },
		"one less":       func(tx storage.Tx) error { return tx.Delete([]byte("old")) },
	} {
		if err := b.Update(t.Context(), fn); !errors.Is(err, storage.ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if *commits != 0 || !has(t, b, "before") || has(t, b, "k0") || !has(t, b, "old") {
		t.Errorf("%d commits; reads: %v, %v, %v", *commits, has(t, b, "before"), has(t, b, "k0"), has(t, b, "old"))
	}
	free = roomToCommit
	if err := b.Update(t.Context(), putKey("after", "v")); err != nil || !has(t, b, "after") {
		t.Errorf("with room again: %v", err)
	}
	b.free = func() (int64, error) { return 0, syscall.EIO }
	if err := b.Update(t.Context(), putKey("blind", "v")); !errors.Is(err, syscall.EIO) {
		t.Errorf("a disk that does not say: %v", err)
	}
}

// TestFullDisk fills a real one, a tmpfs, with the store and with somebody
// else's file. Mounting takes a privilege that a container may lack; the tests
// beside it need none.
func TestFullDisk(t *testing.T) {
	const size = 448 << 20
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Logf("no tmpfs can be mounted here: %v", err)
		return
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(disk, "ballast")
	grow := func(name string, size int64) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			err = errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, size), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	grow(ballast, 64<<20)
	dir := filepath.Join(disk, "store")
	b := open(t, Options{Dir: dir})
	answered, err := fillUp(b, "a")
	if !errors.Is(err, storage.ErrFull) || errors.Is(err, storage.ErrUnknown) || len(answered) < 100 {
		t.Fatalf("after %d writes: %v", len(answered), err)
	}
	// Somebody else takes what is left but a little less than name says.
	crowd := func(name string, leave int64) {
		t.Helper()
		left, err := freeOn(dir)
		if err != nil {
			t.Fatal(err)
		}
		grow(filepath.Join(disk, name), left-leave+(1<<20))
	}
	crowd("other", roomToOpen)
	if err := b.Update(t.Context(), putKey("k", "v")); !errors.Is(err, storage.ErrFull) {
		t.Errorf("a disk that somebody else fills: %v", err)
	}
	if err := holds(b, answered); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	crowd("more", roomToOpen)
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, storage.ErrFull) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opening on a full disk: %v", err)
	}
	for _, name := range []string{"other", "more"} {
		if err := os.Remove(filepath.Join(disk, name)); err != nil {
			t.Fatal(err)
		}
	}
	b = open(t, Options{Dir: dir})
	if err := holds(b, answered); err != nil {
		t.Errorf("opened again: %v", err)
	}

	// Files can be as scarce as bytes.
	few := fmt.Sprintf("size=%d,mode=0700,nr_inodes=%d", size, filesToSpare/2)
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, few); err != nil {
		t.Fatal(err)
	}
	if err := b.Update(t.Context(), putKey("k", "v")); !errors.Is(err, storage.ErrFull) {
		t.Errorf("no more files: %v", err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d,mode=0700,nr_inodes=0", size)); err != nil {
		t.Log(err)
	}

	// Room comes back while it is open.
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	more, err := fillUp(b, "b")
	if !errors.Is(err, storage.ErrFull) || len(more) < 100 {
		t.Errorf("with room again: %d writes, %v", len(more), err)
	}
	if err := holds(b, append(answered, more...)); err != nil {
		t.Error(err)
	}
}

// childFills writes until a file cannot be made as large as the engine needs
// it: the limit lets it write out its memtables, not begin another one.
func childFills(b *Backend) error {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	limit := before
	limit.Cur = 20 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	answered, err := fillUp(b, "k")
	if !errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "file too large") {
		return fmt.Errorf("after %d writes: %w", len(answered), err)
	}
	for _, key := range answered {
		fmt.Println(key)
	}
	if err := b.Update(context.Background(), putKey("after", "v")); !errors.Is(err, storage.ErrClosed) {
		return fmt.Errorf("an update after it: %w", err)
	}
	// Reads may go on or say that they cannot; they must not end the process.
	if err := holds(b, answered); err != nil && !errors.Is(err, storage.ErrClosed) {
		return fmt.Errorf("a read after it: %w", err)
	}
	// It goes on by itself when files can grow again.
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		err := b.Update(context.Background(), putKey("mended", "v"))
		if err == nil {
			break
		}
		if !errors.Is(err, storage.ErrClosed) || time.Now().After(until) {
			return fmt.Errorf("an update with room again: %w", err)
		}
	}
	if err := holds(b, answered); err != nil {
		return fmt.Errorf("a read with room again: %w", err)
	}
	if err := b.Close(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	return nil
}

// TestLogThatCannotGrow: what a quota or a disk does that statfs does not tell
// of. The commit's outcome is unknown, nothing answered is lost, and the store
// goes on when it can.
func TestLogThatCannotGrow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	out, err := child("fill", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %.2000s", err, out[max(0, len(out)-2000):])
	}
	var answered []string
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		answered = append(answered, lines.Text())
	}
	if len(answered) < 100 {
		t.Fatalf("only %d answers: %s", len(answered), out)
	}
	b := open(t, Options{Dir: dir})
	if err := holds(b, answered); err != nil {
		t.Error(err)
	}
	if err := b.Update(t.Context(), putKey("after", "v")); err != nil || !has(t, b, "after") {
		t.Errorf("opened again: %v", err)
	}
}
