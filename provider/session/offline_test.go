package session_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

// One write revokes all offline sessions of a client: they do not work, count
// and list any more, and the sweeper ends each.
func TestOfflineEpoch(t *testing.T) {
	store := newStore(t, nil)
	app := &client.Client{ID: "app", ClientID: "app", Enabled: true}
	policy := func() session.Policy { return session.PolicyOf(realm.Settings{}, app) }
	view := func(fn func(storage.Tx) error) {
		t.Helper()
		if err := store.View(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	state := func() (n int, ids, clients []string) {
		view(func(tx storage.Tx) error {
			var err error
			if n, err = session.CountOffline(tx, demo, app); err != nil {
				return err
			}
			rows, err := session.PageOffline(tx, demo, app, 0, 100)
			if err != nil {
				return err
			}
			same, err := session.ListOffline(tx, demo, app, "", 100)
			ids = nil
			for _, r := range rows {
				ids = append(ids, r.ID)
			}
			if len(same) != len(rows) {
				t.Errorf("a page has %d, a list %d", len(rows), len(same))
			}
			if err != nil {
				return err
			}
			at, err := session.OfflineClients(tx, demo, "alice")
			clients = nil
			for _, c := range at {
				clients = append(clients, c.ID)
			}
			return err
		})
		return n, ids, clients
	}

	for _, id := range []string{"a", "b", "c"} {
		start(t, store, policy(), offlineSession(id, "alice", t0))
	}
	other := offlineSession("o", "alice", t0)
	other.Client = "other"
	update(t, store, func(tx storage.Tx) error {
		return client.Clients.Put(tx, demo, "other", &client.Client{ID: "other", ClientID: "other"})
	})
	start(t, store, session.Policy{}, other)
	if n, ids, clients := state(); n != 3 || len(ids) != 3 || !slices.Equal(clients, []string{"app", "other"}) {
		t.Fatalf("before: %d, %v, clients %v", n, ids, clients)
	}

	app.OfflineEpoch++
	update(t, store, func(tx storage.Tx) error { return client.Clients.Put(tx, demo, "app", app) })
	if n, ids, clients := state(); n != 0 || len(ids) != 0 || !slices.Equal(clients, []string{"other"}) {
		t.Errorf("at once: %d, %v, clients %v", n, ids, clients)
	}
	if got := session.Check(policy(), read(t, store, "a"), nil, t0); got != session.Revoked {
		t.Errorf("a is %q", got)
	}
	start(t, store, policy(), offlineSession("new", "alice", t0))
	if n, ids, _ := state(); n != 1 || !slices.Equal(ids, []string{"new"}) || session.Check(policy(), read(t, store, "new"), nil, t0) != session.Working {
		t.Errorf("one of the new epoch: %d, %v", n, ids)
	}

	ended := sweepFor(t, store, t0.Add(time.Minute))
	slices.Sort(ended)
	if !slices.Equal(ended, []string{"a", "b", "c"}) {
		t.Errorf("the sweeper ended %v", ended)
	}
	if a, o := read(t, store, "a"), read(t, store, "o"); a.Status != session.Revoked || o.Status != session.Working {
		t.Errorf("a is %q, another client's %q", a.Status, o.Status)
	}
	if more := sweepFor(t, store, t0.Add(2*time.Minute)); len(more) != 0 {
		t.Errorf("and again %v", more)
	}

	// Ending a user's sessions at a client finds those of every epoch.
	app.OfflineEpoch++
	update(t, store, func(tx storage.Tx) error { return client.Clients.Put(tx, demo, "app", app) })
	start(t, store, policy(), offlineSession("newest", "alice", t0))
	update(t, store, func(tx storage.Tx) error {
		ended, err := session.EndAll(tx, demo, "alice", "app", session.Revoked, t0)
		if len(ended) != 2 {
			t.Errorf("ended %d, want 2", len(ended))
		}
		return err
	})
}

// Dead sessions of an earlier epoch neither count for the limit of a user and
// client (O19), nor are they what it ends.
func TestOfflineEpochAndTheLimit(t *testing.T) {
	store := newStore(t, nil)
	p := session.Policy{Limit: 2}
	for i := range 2 {
		start(t, store, p, offlineSession(fmt.Sprint("old", i), "alice", t0))
	}
	p.Epoch = 1
	for i := range 2 {
		if evicted := start(t, store, p, offlineSession(fmt.Sprint("new", i), "alice", t0.Add(time.Duration(10+i)*day))); len(evicted) != 0 {
			t.Errorf("evicted %v", evicted)
		}
	}
	if evicted := start(t, store, p, offlineSession("third", "alice", t0.Add(30*day))); !slices.Equal(evicted, []string{"new0"}) {
		t.Errorf("evicted %v, want the longest unused of the epoch", evicted)
	}
}

// The sessions of a client that was deleted are deleted too, and told of.
func TestSweepOrphans(t *testing.T) {
	store := newStore(t, nil)
	for i := range 3 {
		cs := offlineSession(fmt.Sprint("lost", i), "alice", t0)
		cs.Client = "gone"
		start(t, store, session.Policy{Epoch: uint64(i)}, cs)
	}
	start(t, store, session.Policy{}, offlineSession("kept", "alice", t0))
	ended := sweepFor(t, store, t0.Add(time.Minute))
	slices.Sort(ended)
	if !slices.Equal(ended, []string{"lost0", "lost1", "lost2"}) {
		t.Errorf("told of %v", ended)
	}
	if read(t, store, "lost0") != nil || read(t, store, "kept") == nil {
		t.Error("the wrong ones are left")
	}
	if n := count(t, store, "alice", "gone"); n != 0 {
		t.Errorf("%d are counted", n)
	}
}
