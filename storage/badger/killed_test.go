package badger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
)

// childPuts writes one item and is killed with its memtable not yet flushed.
func childPuts(b *Backend) error {
	err := b.Update(context.Background(), func(tx storage.Tx) error {
		return tx.Put(storage.Item{Key: []byte("k"), Value: []byte("v")})
	})
	if err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// TestKilledWhileMakingAFile: the engine makes a log file empty and then gives
// it its size. A process killed in between must not cost the next one its start.
func TestKilledWhileMakingAFile(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		size  int64
	}{
		{"empty memtable", []string{"00090.mem"}, 0},
		{"empty value log", []string{"000090.vlog"}, 0},
		{"both empty", []string{"00090.mem", "000090.vlog"}, 0},
		{"both without a header", []string{"00090.mem", "000090.vlog"}, 32 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			if out, err := child("put", dir).CombinedOutput(); err == nil || len(out) > 0 {
				t.Fatalf("the child was not killed: %v %s", err, out)
			}
			for _, name := range c.files {
				name = filepath.Join(dir, name)
				if err := os.WriteFile(name, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(name, c.size); err != nil {
					t.Fatal(err)
				}
			}
			b, err := Open(Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			err = b.View(context.Background(), func(tx storage.Tx) error {
				it, err := tx.Get([]byte("k"))
				if err == nil && string(it.Value) != "v" {
					err = fmt.Errorf("value is %q", it.Value)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
