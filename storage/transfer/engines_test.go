package transfer_test

import (
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
	"github.com/nightlatch/nightlatch/storage/postgres"
	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
	"github.com/nightlatch/nightlatch/storage/transfer"
)

// TestBetweenEngines: from Badger to PostgreSQL and back, by copy and by backup,
// nothing changes on the way, not even a nanosecond of an expiry.
func TestBetweenEngines(t *testing.T) {
	closing := func(b storage.Backend, err error) *storage.Store {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		return at(b)
	}
	onBadger := func() *storage.Store {
		b, err := badger.Open(badger.Options{Dir: t.TempDir()})
		return closing(b, err)
	}
	onPostgres := func() *storage.Store {
		b, err := postgres.Open(t.Context(), postgres.Options{URL: postgrestest.Shared(t).URL(), Schema: postgrestest.Name()})
		return closing(b, err)
	}
	_, from := filled(t)
	here, there, back, restored := onBadger(), onPostgres(), onBadger(), onPostgres()
	want := sum(t, from)
	for _, way := range []struct {
		name     string
		from, to *storage.Store
	}{{"into a folder", from, here}, {"into PostgreSQL", here, there}, {"back", there, back}} {
		if got, err := run(t, way.from, way.to); err != nil || got != want || sum(t, way.to) != want {
			t.Fatalf("%s: %v, %v; want %v", way.name, got, err, want)
		}
	}
	path, _ := backup(t, there)
	if got, err := run(t, &transfer.File{Path: path, At: noon}, restored); err != nil || got != want {
		t.Errorf("restored: %v, %v; want %v", got, err, want)
	}
}
