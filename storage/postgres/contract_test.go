package postgres_test

import (
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/postgres"
	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

func TestContract(t *testing.T) {
	url := postgrestest.Shared(t).URL()
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		b, err := postgres.Open(t.Context(), postgres.Options{URL: url, Schema: postgrestest.Name()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	})
}
