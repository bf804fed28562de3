package storagetest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
	"github.com/nightlatch/nightlatch/storage/postgres"
	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// New returns an empty store that judges expiry by now (nil: time.Now) and ends
// with the test; see Backend.
func New(t testing.TB, now func() time.Time) *storage.Store {
	t.Helper()
	return storage.New(storage.Config{Backend: Backend(t), Now: now})
}

// Backend returns an empty backend that ends with the test, for tests of what
// uses a store. The environment says which: STORAGETEST_ENGINE=postgres one on
// PostgreSQL, else one in memory; STORAGETEST_FLAKY=3 makes every third commit of
// it conflict. `make test` runs all packages in each of these ways.
func Backend(t testing.TB) storage.Backend {
	t.Helper()
	b := Steady(t)
	if every, err := strconv.Atoi(os.Getenv("STORAGETEST_FLAKY")); err == nil && every > 1 {
		return Flaky(b, every)
	}
	return b
}

// Steady is Backend for tests that bring their own faults.
func Steady(t testing.TB) storage.Backend {
	t.Helper()
	if onPostgres() {
		return NewPlace(t).Open(t)
	}
	return closed(t)(badger.Open(badger.Options{InMemory: true}))
}

func onPostgres() bool { return os.Getenv("STORAGETEST_ENGINE") == "postgres" }

// Place is where a store outlives those who open it: a folder, or a schema.
type Place struct {
	folder string
	server postgres.Options
}

// NewPlace returns an empty place that ends with the test, for the engine that
// the environment says; see Backend.
func NewPlace(t testing.TB) Place {
	t.Helper()
	if onPostgres() {
		return Place{server: postgres.Options{URL: postgrestest.Shared(t).URL(), Schema: postgrestest.Name()}}
	}
	return Place{folder: t.TempDir()}
}

// Open opens the store that is there. Whoever stops using it before the test ends
// closes it.
func (p Place) Open(t testing.TB) storage.Backend {
	t.Helper()
	if p.folder != "" {
		return closed(t)(badger.Open(badger.Options{Dir: p.folder}))
	}
	return closed(t)(postgres.Open(t.Context(), p.server))
}

// closed ends a backend with the test.
func closed(t testing.TB) func(storage.Backend, error) storage.Backend {
	return func(b storage.Backend, err error) storage.Backend {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Errorf("closing the store: %v", err)
			}
		})
		return b
	}
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
