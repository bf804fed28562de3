package session_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

func sweep(t *testing.T, store *storage.Store, at time.Time) {
	t.Helper()
	sweepFor(t, store, at)
}

// sweepFor returns the offline sessions that the sweep says it has ended.
func sweepFor(t *testing.T, store *storage.Store, at time.Time) (ended []string) {
	t.Helper()
	update := func(ctx context.Context, fn func(storage.Tx, func(*session.ClientSession)) error) error {
		var in []string
		err := store.Update(ctx, func(tx storage.Tx) error {
			in = nil
			return fn(tx, func(cs *session.ClientSession) { in = append(in, cs.ID) })
		})
		ended = append(ended, in...)
		return err
	}
	if err := session.Sweep(t.Context(), store, update, demo, at); err != nil {
		t.Fatal(err)
	}
	return ended
}

func TestSweepOfflineIdle(t *testing.T) {
	store := newStore(t, nil)
	start(t, store, session.Policy{}, offlineSession("old", "alice", t0))
	start(t, store, session.Policy{}, offlineSession("same-hour", "alice", t0.Add(10*time.Minute)))
	start(t, store, session.Policy{}, offlineSession("new", "alice", t0.Add(day)))

	sweep(t, store, t0.Add(30*day-time.Second))
	if got := count(t, store, "alice", "app"); got != 3 {
		t.Fatalf("%d left before anything expired", got)
	}
	if ended := sweepFor(t, store, t0.Add(30*day)); !slices.Equal(ended, []string{"old"}) {
		t.Errorf("told of %v", ended)
	}
	if got := count(t, store, "alice", "app"); got != 2 {
		t.Errorf("%d left, want 2", got)
	}
	if cs := read(t, store, "old"); cs == nil || cs.Status != session.IdleExpired {
		t.Errorf("the expired one: %+v", cs)
	}
	if cs := read(t, store, "same-hour"); cs.Status != session.Working {
		t.Errorf("one that lives for ten minutes more: %q", cs.Status)
	}
	sweep(t, store, t0.Add(60*day-time.Second))
	if read(t, store, "old") == nil {
		t.Error("the reason is gone before 30 days")
	}
	sweep(t, store, t0.Add(60*day))
	if read(t, store, "old") != nil {
		t.Error("the record of the ended session is left")
	}
}

// TestO36_SweepBySettingsOfNow: lowered limits, and a client's own, apply to
// what exists.
func TestO36_SweepBySettingsOfNow(t *testing.T) {
	store := newStore(t, nil)
	start(t, store, session.Policy{}, offlineSession("a", "alice", t0))
	other := offlineSession("b", "alice", t0)
	other.Client = "strict"
	start(t, store, session.Policy{}, other)
	update(t, store, func(tx storage.Tx) error {
		return client.Clients.Put(tx, demo, "strict", &client.Client{ID: "strict", ClientID: "strict", OfflineSessionIdle: ptr(time.Hour)})
	})
	sweep(t, store, t0.Add(2*time.Hour))
	if a, b := read(t, store, "a"), read(t, store, "b"); a.Status != session.Working || b.Status != session.IdleExpired {
		t.Errorf("realm's %q, strict client's %q", a.Status, b.Status)
	}
	update(t, store, func(tx storage.Tx) error {
		s, err := realm.Get(tx, demo)
		if err != nil {
			return err
		}
		s.OfflineSessionMaxLimited, s.OfflineSessionMax = true, 3*time.Hour
		return realm.Table.Put(tx, demo, demo, &s)
	})
	sweep(t, store, t0.Add(3*time.Hour))
	if a := read(t, store, "a"); a.Status != session.MaxExpired {
		t.Errorf("beyond the max: %q", a.Status)
	}
}

func TestSweepOnline(t *testing.T) {
	store := newStore(t, nil)
	us, cookie := login(t, store, "alice", t0)
	cs := offlineSession("online", "alice", t0)
	cs.Offline, cs.UserSession = false, us.ID
	start(t, store, session.Policy{}, cs)
	cs.ID, cs.UserSession = "direct", ""
	start(t, store, session.Policy{}, cs)
	cs.ID, cs.UserSession = "left", "gone"
	start(t, store, session.Policy{}, cs)

	sweep(t, store, t0.Add(29*time.Minute))
	if find(t, store, cookie) == nil || read(t, store, "online") == nil {
		t.Fatal("swept while it lives")
	}
	sweep(t, store, t0.Add(30*time.Minute))
	if find(t, store, cookie) != nil || read(t, store, "online") != nil {
		t.Error("the idle user session is left")
	}
	sweep(t, store, t0.Add(10*time.Hour))
	if read(t, store, "direct") != nil || read(t, store, "left") != nil {
		t.Error("online sessions without user session are left after SSO max")
	}

	// Used all the time, a user session ends at its max.
	us, cookie = login(t, store, "alice", t0)
	us.LastAccess = t0.Add(10*time.Hour - time.Minute)
	update(t, store, func(tx storage.Tx) error { return session.StartUser(tx, demo, us) })
	sweep(t, store, t0.Add(10*time.Hour-time.Minute))
	if find(t, store, cookie) == nil {
		t.Fatal("swept before its max")
	}
	sweep(t, store, t0.Add(10*time.Hour))
	if find(t, store, cookie) != nil {
		t.Error("left after its max")
	}
}

// A remembered login is swept by the limits of its own, as long as the realm has
// Remember Me switched on.
func TestSweepRemembered(t *testing.T) {
	store := newStore(t, nil)
	set := func(on bool) {
		update(t, store, func(tx storage.Tx) error {
			s, err := realm.Get(tx, demo)
			s.RememberMe, s.SSOSessionIdleRememberMe, s.SSOSessionMaxRememberMe = on, day, 3*day
			if err != nil {
				return err
			}
			return realm.Table.Put(tx, demo, demo, &s)
		})
	}
	set(true)
	us, cookie := login(t, store, "alice", t0)
	us.RememberMe = true
	cs := offlineSession("online", "alice", t0)
	cs.Offline, cs.UserSession = false, us.ID
	start(t, store, session.Policy{}, cs)
	update(t, store, func(tx storage.Tx) error { return session.StartUser(tx, demo, us) })
	sweep(t, store, t0.Add(day-time.Second))
	if find(t, store, cookie) == nil || read(t, store, "online") == nil {
		t.Fatal("swept while it lives")
	}
	sweep(t, store, t0.Add(day))
	if find(t, store, cookie) != nil || read(t, store, "online") != nil {
		t.Error("left after its idle limit")
	}

	update(t, store, func(tx storage.Tx) error { return session.StartUser(tx, demo, us) })
	set(false)
	sweep(t, store, t0.Add(30*time.Minute))
	if find(t, store, cookie) != nil {
		t.Error("left although Remember Me is switched off")
	}
}

// More than a batch at once, among ones that live in the same hour.
func TestSweepInBatches(t *testing.T) {
	store := newStore(t, nil)
	const n = 1200
	for from := 0; from < n; from += 300 {
		update(t, store, func(tx storage.Tx) error {
			for i := from; i < from+300; i++ {
				created := t0
				if i%3 == 0 {
					created = t0.Add(30 * time.Minute)
				}
				if _, err := session.Start(tx, demo, session.Policy{}, offlineSession(fmt.Sprintf("s%04d", i), "alice", created)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	before := store.Stats().Updates.Load()
	sweep(t, store, t0.Add(30*day+time.Minute))
	if got := count(t, store, "alice", "app"); got != n/3 {
		t.Errorf("%d left, want %d", got, n/3)
	}
	if got := store.Stats().Updates.Load() - before; got != 3 {
		t.Errorf("%d updates, want 3", got)
	}
	before = store.Stats().Updates.Load()
	sweep(t, store, t0.Add(30*day+time.Minute))
	if got := store.Stats().Updates.Load() - before; got != 0 {
		t.Errorf("a sweep that finds nothing made %d updates", got)
	}
}
