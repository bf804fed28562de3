package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

func login(t *testing.T, store *storage.Store, user string, at time.Time) (session.UserSession, string) {
	t.Helper()
	us, cookie, err := session.NewUser(nil, user, "192.0.2.1", "browser", at)
	if err != nil {
		t.Fatal(err)
	}
	update(t, store, func(tx storage.Tx) error { return session.StartUser(tx, demo, us) })
	return us, cookie
}

func find(t *testing.T, store *storage.Store, cookie string) *session.UserSession {
	t.Helper()
	var us *session.UserSession
	err := store.View(t.Context(), func(tx storage.Tx) (err error) {
		us, err = session.FindUser(tx, demo, cookie)
		return err
	})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	return us
}

func TestUserSessionCookie(t *testing.T) {
	store := newStore(t, nil)
	us, cookie := login(t, store, "alice", t0)
	sid, secret, _ := strings.Cut(cookie, ".")
	if sid != us.ID || len(sid) != 22 || len(secret) != 22 || bytes.Contains(us.SecretHash, []byte(secret)) {
		t.Errorf("cookie %d characters, session %q", len(cookie), us.ID)
	}
	if got := find(t, store, cookie); got == nil || got.User != "alice" {
		t.Errorf("got %+v", got)
	}
	other := strings.Repeat("A", 22)
	for name, bad := range map[string]string{
		"empty": "", "sid alone": sid, "no secret": sid + ".", "another secret": sid + "." + other,
		"another sid": other + "." + secret, "longer": cookie + "A", "dots": sid + "." + secret + ".x",
	} {
		if find(t, store, bad) != nil {
			t.Errorf("%s: logged in", name)
		}
	}
	if _, _, err := session.NewUser(strings.NewReader("short"), "alice", "", "", t0); err == nil {
		t.Error("made a session without randomness")
	}
}

func TestTouch(t *testing.T) {
	store := newStore(t, nil)
	us, cookie := login(t, store, "alice", t0)
	p := session.Policy{SSOIdle: 30 * time.Minute}
	touch := func(at time.Time) {
		update(t, store, func(tx storage.Tx) error {
			got, err := session.UserSessions.Get(tx, demo, us.ID)
			if err != nil {
				return err
			}
			return session.Touch(tx, demo, p, got, at)
		})
	}
	touch(t0.Add(1800 * time.Millisecond))
	if got := find(t, store, cookie).LastAccess; !got.Equal(t0) {
		t.Errorf("moved to %v by 1/1000 of the idle limit", got)
	}
	touch(t0.Add(time.Minute))
	if got := find(t, store, cookie).LastAccess; !got.Equal(t0.Add(time.Minute)) {
		t.Errorf("last access %v", got)
	}
}

// TestO31_EndUser: the end of a user session ends its online client sessions,
// never its offline ones.
func TestO31_EndUser(t *testing.T) {
	store := newStore(t, nil)
	us, cookie := login(t, store, "alice", t0)
	other, _ := login(t, store, "alice", t0)
	put := func(id, sid string, offline bool) {
		cs := offlineSession(id, "alice", t0)
		cs.UserSession, cs.Offline = sid, offline
		start(t, store, session.Policy{}, cs)
	}
	put("online", us.ID, false)
	put("offline", us.ID, true)
	put("elsewhere", other.ID, false)
	put("direct", "", false)
	end := func(sid string) (ids []string) {
		update(t, store, func(tx storage.Tx) error {
			ended, err := session.EndUser(tx, demo, sid)
			ids = nil
			for _, cs := range ended {
				ids = append(ids, cs.ID)
			}
			return err
		})
		return ids
	}
	if got := end(""); got != nil {
		t.Errorf("no session at all ended %v", got)
	}
	if got := end(us.ID); len(got) != 1 || got[0] != "online" {
		t.Errorf("ended %v", got)
	}
	if find(t, store, cookie) != nil {
		t.Error("the cookie still logs in")
	}
	if read(t, store, "online") != nil {
		t.Error("the online session is left")
	}
	for _, id := range []string{"offline", "elsewhere", "direct"} {
		if cs := read(t, store, id); cs == nil || cs.Status != session.Working {
			t.Errorf("%s: %+v", id, cs)
		}
	}
	if got := end(us.ID); got != nil {
		t.Errorf("ended again %v", got)
	}
}

func TestEndUsers(t *testing.T) {
	store := newStore(t, nil)
	keep, keepCookie := login(t, store, "alice", t0)
	_, gone := login(t, store, "alice", t0)
	_, bobs := login(t, store, "bob", t0)
	update(t, store, func(tx storage.Tx) error {
		_, more, err := session.EndUsers(tx, demo, "alice", keep.ID)
		if more {
			t.Error("one session was to be ended, and more are said to be left")
		}
		return err
	})
	if find(t, store, keepCookie) == nil || find(t, store, bobs) == nil || find(t, store, gone) != nil {
		t.Error("want all of the user's sessions ended but one")
	}
}

// TestEndUsersInPieces: logins with many clients in them do not fit into one
// transaction. Each call ends what does and tells that there is more.
func TestEndUsersInPieces(t *testing.T) {
	store := newStore(t, nil)
	const logins, clients = 60, 40
	for range logins {
		us, _ := login(t, store, "alice", t0)
		update(t, store, func(tx storage.Tx) error {
			for c := range clients {
				id := fmt.Sprint(us.ID, c)
				cs := offlineSession(id, "alice", t0)
				cs.Client, cs.UserSession, cs.Offline = fmt.Sprint("app", c), us.ID, false
				if err := session.ClientSessions.Put(tx, demo, id, &cs); err != nil {
					return err
				}
			}
			return nil
		})
	}
	ended, calls := 0, 0
	for more := true; more; calls++ {
		now := 0
		update(t, store, func(tx storage.Tx) error {
			some, m, err := session.EndUsers(tx, demo, "alice", "")
			now, more = len(some), m
			return err
		})
		ended += now
	}
	if ended != logins || calls < 2 {
		t.Errorf("%d of %d logins ended in %d calls", ended, logins, calls)
	}
}
