package integration

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
)

// A store of an older version, whose users and clients are in no list by name,
// lists them after the first start.
func TestAnOlderStoreListsItsUsers(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	g.Stop()
	backend, err := badger.Open(badger.Options{Dir: filepath.Join(g.Dir, "nightlatch-data")})
	if err != nil {
		t.Fatal(err)
	}
	s := storage.New(storage.Config{Backend: backend})
	gone := 0
	err = s.Update(context.Background(), func(tx storage.Tx) error {
		items, err := tx.Scan(nil, nil, 10000)
		if err != nil {
			return err
		}
		for _, it := range items {
			table, record := storage.TableOf(it.Key)
			unique := bytes.Contains(it.Key[:bytes.IndexByte(it.Key, 0)], []byte("!"))
			if table == "layout" || !record && !unique && (table == "user" || table == "client") {
				gone++
				if err := tx.Delete(it.Key); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil || gone < 10 {
		t.Fatalf("took %d rows away: %v", gone, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	g.Start()
	if users := g.administer(http.MethodGet, "/users", ""); !strings.Contains(users, `"alice"`) || !strings.Contains(users, `"bob"`) {
		t.Errorf("users: %s", users)
	}
	if n := g.administer(http.MethodGet, "/users/count", ""); strings.TrimSpace(n) != "3" {
		t.Errorf("%s users are counted", n)
	}
	if clients := g.administer(http.MethodGet, "/clients", ""); !strings.Contains(clients, `"reports"`) {
		t.Errorf("clients: %s", clients)
	}
}
