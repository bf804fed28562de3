package badger_test

import (
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

func TestContract(t *testing.T) {
	for name, o := range map[string]badger.Options{"Disk": {}, "SlowDisk": {}, "Memory": {InMemory: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Run(t, func(t *testing.T) storage.Backend {
				if !o.InMemory {
					o.Dir = t.TempDir()
				}
				b, err := badger.Open(o.Impatient())
				if err != nil {
					t.Fatal(err)
				}
				if name == "SlowDisk" {
					b.SlowDown(2 * time.Millisecond)
				}
				t.Cleanup(func() { _ = b.Close() })
				return b
			})
		})
	}
}
