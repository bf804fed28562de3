package session_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

const demo = "demo"

// newStore has a realm with a client "app".
func newStore(t *testing.T, change func(*realm.Settings)) *storage.Store {
	t.Helper()
	store := storagetest.New(t, func() time.Time { return t0 })
	s := realm.Settings{Name: demo, URL: "http://localhost:8080", Enabled: true}
	if change != nil {
		change(&s)
	}
	update(t, store, func(tx storage.Tx) error {
		return errors.Join(realm.Table.Put(tx, demo, demo, &s),
			client.Clients.Put(tx, demo, "app", &client.Client{ID: "app", ClientID: "app", Enabled: true}))
	})
	return store
}

func update(t *testing.T, store *storage.Store, fn func(storage.Tx) error) {
	t.Helper()
	if err := store.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// read returns a client session, nil if there is none.
func read(t *testing.T, store *storage.Store, id string) *session.ClientSession {
	t.Helper()
	var cs *session.ClientSession
	err := store.View(t.Context(), func(tx storage.Tx) (err error) {
		cs, _, err = session.Find(tx, demo, id)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

func count(t *testing.T, store *storage.Store, user, clientID string) (n int) {
	t.Helper()
	if err := store.View(t.Context(), func(tx storage.Tx) (err error) {
		n, err = session.CountOfflineOf(tx, demo, user, &client.Client{ID: clientID})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func offlineSession(id, user string, created time.Time) session.ClientSession {
	return session.ClientSession{ID: id, Offline: true, User: user, Client: "app", UserSession: "sid", Scopes: []string{"openid", "offline_access"}, Created: created}
}

func start(t *testing.T, store *storage.Store, p session.Policy, cs session.ClientSession) (evicted []string) {
	t.Helper()
	update(t, store, func(tx storage.Tx) error {
		out, err := session.Start(tx, demo, p, cs)
		evicted = nil
		for _, e := range out {
			evicted = append(evicted, e.ID)
		}
		return err
	})
	return evicted
}

func TestStartFillsInTheRecord(t *testing.T) {
	store := newStore(t, nil)
	cs := offlineSession("a", "alice", t0.Add(1500*time.Microsecond))
	cs.Browser = strings.Repeat("é", 200)
	start(t, store, session.Policy{Limit: 100}, cs)
	got := read(t, store, "a")
	at := t0.Add(time.Millisecond)
	if got.Generation != 1 || !got.RotatedAt.Equal(at) || !got.LastUsed.Equal(at) || !got.Created.Equal(at) {
		t.Errorf("got %+v", got)
	}
	if got.Browser != strings.Repeat("é", 128) {
		t.Errorf("browser of %d bytes", len(got.Browser))
	}
}

// TestO19_Limit: the longest unused goes, never one used within 7 days.
func TestO19_Limit(t *testing.T) {
	p := session.Policy{Limit: 3, OfflineIdle: 365 * day}
	store := newStore(t, nil)
	for i, id := range []string{"d", "b", "c"} { // ids do not tell the age
		if got := start(t, store, p, offlineSession(id, "alice", t0.Add(time.Duration(30+i)*time.Minute))); got != nil {
			t.Fatalf("%s evicted %v", id, got)
		}
	}
	start(t, store, p, offlineSession("bobs", "bob", t0))

	if got := start(t, store, p, offlineSession("young", "alice", t0.Add(7*day+29*time.Minute))); got != nil {
		t.Errorf("evicted %v, which was used within 7 days", got)
	}
	if got := count(t, store, "alice", "app"); got != 4 {
		t.Errorf("%d sessions, want 4 beyond the limit of 3", got)
	}
	// "d" is in use: now "b" and then "c" are the longest unused.
	update(t, store, func(tx storage.Tx) error {
		cs, _, err := session.Find(tx, demo, "d")
		if err != nil {
			return err
		}
		cs.LastUsed = t0.Add(8 * day)
		return session.ClientSessions.Put(tx, demo, "d", cs)
	})
	if got := start(t, store, p, offlineSession("next", "alice", t0.Add(9*day))); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("evicted %v, want b and c", got)
	}
	if got := count(t, store, "alice", "app"); got != 3 {
		t.Errorf("%d sessions, want 3", got)
	}
	if got := read(t, store, "b"); got == nil || got.Status != session.Revoked {
		t.Errorf("evicted session: %+v", got)
	}
	if got := read(t, store, "bobs"); got.Status != session.Working {
		t.Error("another user's session was evicted")
	}
}

func TestEnd(t *testing.T) {
	store := newStore(t, nil)
	start(t, store, session.Policy{}, offlineSession("a", "alice", t0))
	end := func(id string) (cs *session.ClientSession) {
		update(t, store, func(tx storage.Tx) (err error) {
			cs, err = session.End(tx, demo, id, session.LoggedOut, t0.Add(time.Hour))
			return err
		})
		return cs
	}
	if got := end("a"); got == nil || got.Status != session.LoggedOut {
		t.Errorf("got %+v", got)
	}
	if got := read(t, store, "a"); got.Status != session.LoggedOut || !got.EndedAt.Equal(t0.Add(time.Hour)) {
		t.Errorf("stored %+v", got)
	}
	if got := count(t, store, "alice", "app"); got != 0 {
		t.Errorf("an ended session counts: %d", got)
	}
	if end("a") != nil || end("none") != nil {
		t.Error("ending again returns a session")
	}
}

func TestEndAll(t *testing.T) {
	store := newStore(t, nil)
	update(t, store, func(tx storage.Tx) error {
		for _, user := range []string{"alice", "bob"} {
			for _, c := range []string{"app", "other"} {
				cs := offlineSession(user+"-"+c, user, t0)
				cs.Client = c
				if _, err := session.Start(tx, demo, session.Policy{}, cs); err != nil {
					return err
				}
			}
		}
		return nil
	})
	endAll := func(user, client string) (ids []string) {
		update(t, store, func(tx storage.Tx) error {
			ended, err := session.EndAll(tx, demo, user, client, session.Revoked, t0)
			ids = nil
			for _, cs := range ended {
				ids = append(ids, cs.ID)
			}
			return err
		})
		return ids
	}
	if got := endAll("alice", "app"); !slices.Equal(got, []string{"alice-app"}) {
		t.Errorf("of a user at a client: %v", got)
	}
	if got := endAll("alice", ""); !slices.Equal(got, []string{"alice-other"}) {
		t.Errorf("of a user: %v", got)
	}
	for _, id := range []string{"bob-app", "bob-other"} {
		if got := read(t, store, id); got.Status != session.Working {
			t.Errorf("a stranger's session ended: %+v", got)
		}
	}
	if err := store.Update(t.Context(), func(tx storage.Tx) error {
		_, err := session.EndAll(tx, demo, "", "app", session.Revoked, t0)
		return err
	}); err == nil {
		t.Error("ended everybody's sessions")
	}
}

// Rotation as endpoints do it: 50 at once with different keys and one token.
// Exactly 1+N succeed and the session is revoked (O54).
func TestO54_ParallelRefreshes(t *testing.T) {
	for _, maxReuse := range []int{0, 2} {
		t.Run(fmt.Sprint("max reuse ", maxReuse), func(t *testing.T) {
			store := newStore(t, nil)
			p := reuse(maxReuse)
			start(t, store, p, offlineSession("a", "alice", t0))
			results := make(chan session.Outcome)
			for i := range 50 {
				go func() {
					var d session.Decision
					err := store.Update(t.Context(), func(tx storage.Tx) error {
						cs, _, err := session.Find(tx, demo, "a")
						if err != nil {
							return err
						}
						d = session.Rotate(p, *cs, session.Presented{Generation: 1, KeyHash: keyHash(fmt.Sprint(i))}, t0.Add(time.Minute))
						if !d.Write {
							return nil
						}
						return session.ClientSessions.Put(tx, demo, "a", &d.Next)
					})
					if err != nil {
						t.Error(err)
					}
					results <- d.Outcome
				}()
			}
			got := map[session.Outcome]int{}
			for range 50 {
				got[<-results]++
			}
			if got[session.Accepted] != 1+maxReuse || got[session.Replayed] != 1 {
				t.Errorf("accepted %d, replayed %d, want %d and 1", got[session.Accepted], got[session.Replayed], 1+maxReuse)
			}
			if cs := read(t, store, "a"); cs.Status != session.ReuseDetected {
				t.Errorf("status %q afterwards", cs.Status)
			}
		})
	}
}
