package storagetest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// New returns a store in memory that judges expiry by now (nil: time.Now) and
// ends with the test; see Backend.
func New(t testing.TB, now func() time.Time) *storage.Store {
	t.Helper()
	return storage.New(storage.Config{Backend: Backend(t), Now: now})
}

// Backend returns a backend in memory that ends with the test, for tests of what
// uses a store. STORAGETEST_FLAKY=3 in the environment makes every third commit
// of it conflict: `make flaky` runs all packages that way.
func Backend(t testing.TB) storage.Backend {
	t.Helper()
	b := Memory(t)
	if every, err := strconv.Atoi(os.Getenv("STORAGETEST_FLAKY")); err == nil && every > 1 {
		return Flaky(b, every)
	}
	return b
}

// Memory returns a backend in memory that ends with the test.
func Memory(t testing.TB) storage.Backend {
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
	return b
}

// Keyset returns fresh sealing keys.
func Keyset(t testing.TB) *seal.Keyset {
	t.Helper()
	k, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	return k
}
