package storagetest

import (
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
)

// New returns a store in memory that judges expiry by now (nil: time.Now) and
// ends with the test.
func New(t testing.TB, now func() time.Time) *storage.Store {
	t.Helper()
	b, err := badger.Open(badger.Options{InMemory: true})
	if err != nil {
		t.Fatalf("opening a store in memory: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the store in memory: %v", err)
		}
	})
	return storage.New(storage.Config{Backend: b, Now: now})
}
