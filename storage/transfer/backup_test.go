package transfer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
	"github.com/nightlatch/nightlatch/storage/transfer"
)

func backup(t testing.TB, from *storage.Store) (string, transfer.Sum) {
	t.Helper()
	var out bytes.Buffer
	got, err := transfer.Backup(context.Background(), &out, from, noon, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, out.Bytes()), got
}

func file(t testing.TB, raw []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBackup(t *testing.T) {
	_, from := filled(t)
	want := sum(t, from)
	path, got := backup(t, from)
	if got != want || sum(t, &transfer.File{Path: path}) != want {
		t.Errorf("the backup has %d items, checksum %s; want %d, %s", got.Items, got, want.Items, want)
	}
	if made, err := (&transfer.File{Path: path}).Created(); err != nil || !made.Equal(noon) {
		t.Errorf("made %v, %v", made, err)
	}
	to := at(storagetest.Steady(t))
	if got, err := run(t, &transfer.File{Path: path, At: noon}, to); err != nil || got != want || sum(t, to) != want {
		t.Errorf("restored: %v, %v", got, err)
	}
	// Later some have expired.
	now := noon.Add(1000 * time.Nanosecond)
	later := storage.New(storage.Config{Backend: storagetest.Steady(t), Now: func() time.Time { return now }})
	got, err := run(t, &transfer.File{Path: path, At: now}, later)
	if err != nil || got.Items >= want.Items || got != sum(t, later) {
		t.Errorf("restored later: %v, %v", got, err)
	}
}

// TestBackupOfAStoreInUse: it is of one instant.
func TestBackupOfAStoreInUse(t *testing.T) {
	_, s := filled(t)
	// A transfer between two accounts at both ends of the store, again and again.
	move := func(n int) error {
		return s.Update(context.Background(), func(tx storage.Tx) error {
			return errors.Join(
				tx.Put(storage.Item{Key: []byte("A"), Value: []byte(fmt.Sprint(n))}),
				tx.Put(storage.Item{Key: []byte("zzz"), Value: []byte(fmt.Sprint(-n))}))
		})
	}
	if err := move(1); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var mover sync.WaitGroup
	mover.Go(func() {
		for n := 2; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := move(n); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 5 {
		path, _ := backup(t, s)
		var a, z string
		err := (&transfer.File{Path: path}).Each(t.Context(), nil, func(it storage.Item) error {
			switch string(it.Key) {
			case "A":
				a = string(it.Value)
			case "zzz":
				z = string(it.Value)
			}
			return nil
		})
		if err != nil || z != "-"+a {
			t.Errorf("one account has %s, the other %s: %v", a, z, err)
		}
	}
	close(stop)
	mover.Wait()
}

// TestBackupThatIsNone: whatever is cut or changed is noticed before anything is
// restored, or changes nothing.
func TestBackupThatIsNone(t *testing.T) {
	s := at(storagetest.Steady(t))
	put(t, s, storage.Item{Key: []byte("a"), Value: []byte("one")}, storage.Item{Key: []byte("b"), Value: []byte("two"), Expires: noon.Add(time.Hour)})
	want := sum(t, s)
	path, _ := backup(t, s)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read := func(raw []byte) (transfer.Sum, error) {
		return transfer.SumOf(t.Context(), &transfer.File{Path: file(t, raw)}, nil)
	}
	for n := range raw {
		if _, err := read(raw[:n]); !errors.Is(err, transfer.ErrBadBackup) {
			t.Errorf("cut after %d of %d bytes: %v", n, len(raw), err)
		}
		changed := bytes.Clone(raw)
		changed[n] ^= 0x10
		if got, err := read(changed); err == nil && got != want {
			t.Errorf("byte %d changed: %v", n, got)
		} else if err != nil && !errors.Is(err, transfer.ErrBadBackup) {
			t.Errorf("byte %d changed: %v", n, err)
		}
	}
	// Behind gzip's own checksum stands ours.
	line, packed, _ := bytes.Cut(raw, []byte("\n"))
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	var forged bytes.Buffer
	forged.Write(append(line, '\n'))
	again := gzip.NewWriter(&forged)
	_, err = again.Write(bytes.Replace(body, []byte("two"), []byte("too"), 1))
	if err := errors.Join(err, again.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := read(forged.Bytes()); !errors.Is(err, transfer.ErrBadBackup) {
		t.Errorf("another value: %v", err)
	}
	for name, more := range map[string][]byte{"another one": raw, "a byte": {0}} {
		if _, err := read(append(bytes.Clone(raw), more...)); !errors.Is(err, transfer.ErrBadBackup) {
			t.Errorf("%s behind it: %v", name, err)
		}
	}
	if _, err := transfer.SumOf(t.Context(), &transfer.File{Path: path + "none"}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := run(t, &transfer.File{Path: file(t, raw[:len(raw)-1])}, at(storagetest.Steady(t))); !errors.Is(err, transfer.ErrBadBackup) {
		t.Errorf("restoring half of one: %v", err)
	}
}

func FuzzFile(f *testing.F) {
	s := at(storagetest.Steady(f))
	put(f, s, storage.Item{Key: []byte("a"), Value: []byte("one")})
	path, _ := backup(f, s)
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := transfer.SumOf(t.Context(), &transfer.File{Path: file(t, raw)}, nil)
		if err != nil && !errors.Is(err, transfer.ErrBadBackup) {
			t.Error(err)
		}
	})
}
