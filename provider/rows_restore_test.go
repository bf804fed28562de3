package provider_test

import (
	"fmt"
	"testing"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// copyStore copies the whole store, for restoreStore.
func (w *world) copyStore() storage.Backend {
	w.t.Helper()
	to := storagetest.Steady(w.t)
	var items []storage.Item
	err := w.backend.View(w.t.Context(), func(tx storage.Tx) error {
		for after, more := []byte(nil), true; more; {
			const page = 1000
			got, err := tx.Scan(nil, after, page)
			if err != nil {
				return err
			}
			items = append(items, got...)
			if more = len(got) == page; more {
				after = got[page-1].Key
			}
		}
		return to.Update(w.t.Context(), func(tx storage.Tx) error {
			for _, it := range items {
				if err := tx.Put(it); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return to
}

// restoreStore goes on with an old copy, as after a restore from a backup.
func (w *world) restoreStore(old storage.Backend) {
	w.t.Helper()
	w.backend = &unsure{Backend: old}
	w.store = storage.New(storage.Config{Backend: w.backend, Now: w.clock})
	w.restart()
}

// An old copy of the store knows less than the tokens out there: nobody who held
// the newest one loses the grant, and single use goes on.
func TestO55_RestoredStore(t *testing.T) {
	for _, single := range []bool{true, false} {
		t.Run(fmt.Sprintf("single use %v", single), func(t *testing.T) {
			w := newWorld(t, singleUse(0))
			begin := func() string { return w.password("reports", "alice", "offline_access").ok().refreshed() }
			forward := func(token string, n int) string {
				for range n {
					token = w.refresh("reports", token).ok().refreshed()
				}
				return token
			}
			quiet, busy, lost := begin(), forward(begin(), 2), begin()
			old := w.copyStore()
			w.advance(day)
			stolen := forward(busy, 2)
			newest := forward(stolen, 3)
			w.refresh("reports", lost, key, "k").ok() // the answer never arrived
			late := begin()                           // a grant that the copy does not know
			if !single {
				w.edit(func(s *realm.Settings) { s.RevokeRefreshToken = false })
				w.settings.RevokeRefreshToken = false
			}
			w.restoreStore(old)

			if !w.active(newest) {
				t.Error("introspection calls the newest token inactive")
			}
			next := w.refresh("reports", newest).ok().refreshed()
			want := decode(t, newest, 1)["gen"].(float64)
			if single { // a use as any other
				want++
			}
			if got := decode(t, next, 1)["gen"]; got != want {
				t.Errorf("generation %v, want %v", got, want)
			}
			if n := w.count(event.RefreshTokenForward, ""); n != 1 {
				t.Errorf("%d events of a token ahead of the record, want 1", n)
			}
			w.refresh("reports", quiet).ok()
			recovered := w.refresh("reports", lost, key, "k").ok().refreshed()
			w.refresh("reports", recovered).ok()
			// No grant status: a vault must not bury what is only missing here.
			w.refresh("reports", late).fails(400, "invalid_grant", "")
			if n := w.count(event.RefreshTokenReplay, "reuse_detected"); n != 0 {
				t.Fatalf("%d sessions revoked by a restore", n)
			}

			if !single {
				w.refresh("reports", next).ok()
				w.refresh("reports", stolen).fails(400, "invalid_grant", "")
				return
			}
			after := w.refresh("reports", next).ok().refreshed()
			if w.count(event.RefreshTokenForward, "") != 1 {
				t.Error("rolled forward again")
			}
			// An old token is a replay as ever.
			w.refresh("reports", stolen).fails(400, "invalid_grant", "reuse_detected")
			w.refresh("reports", after).fails(400, "invalid_grant", "reuse_detected")
		})
	}
	t.Run("a thief comes first", func(t *testing.T) {
		w := newWorld(t, singleUse(0))
		first := w.password("reports", "alice", "offline_access").ok().refreshed()
		old := w.copyStore()
		stolen := w.refresh("reports", first).ok().refreshed()
		newest := w.refresh("reports", w.refresh("reports", stolen).ok().refreshed()).ok().refreshed()
		w.restoreStore(old)
		theft := w.refresh("reports", stolen).ok().refreshed()
		mine := w.refresh("reports", newest).ok().refreshed()
		w.refresh("reports", theft).fails(400, "invalid_grant", "reuse_detected")
		w.refresh("reports", mine).fails(400, "invalid_grant", "reuse_detected")
	})
}
