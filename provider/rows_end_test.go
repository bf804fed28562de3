package provider_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// end runs one of standing's endings until there is no more, as its callers do,
// and returns the events.
func (w *world) end(fn func(tx storage.Tx) (events []event.Event, more bool, err error)) []event.Event {
	w.t.Helper()
	var all []event.Event
	for again := true; again; {
		var events []event.Event
		w.update(func(tx storage.Tx) (err error) {
			events, again, err = fn(tx)
			return err
		})
		all = append(all, events...)
	}
	return all
}

func person(tx storage.Tx, name string) *user.User {
	u, err := user.ByLogin(tx, "demo", name)
	if err != nil {
		panic(err)
	}
	return u
}

func relyingParty(tx storage.Tx, name string) *client.Client {
	c, err := client.ByName(tx, "demo", name)
	if err != nil {
		panic(err)
	}
	return c
}

// A grant is an offline session of its own, also within one login: each goes alone.
func TestO19_EachGrantGoesAlone(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first := b.grant("alice", "reports", "openid offline_access")
	second := b.grant("", "reports", "openid offline_access") // the same login
	third := b.grant("", "other", "openid offline_access")
	if first.claims()["sid"] != second.claims()["sid"] || first.claims()["offline_session"] == second.claims()["offline_session"] {
		t.Errorf("sessions %v and %v of logins %v and %v", first.claims()["offline_session"], second.claims()["offline_session"], first.claims()["sid"], second.claims()["sid"])
	}
	w.end(func(tx storage.Tx) ([]event.Event, bool, error) {
		events, err := standing.EndOffline(tx, "demo", first.claims()["offline_session"].(string), w.clock())
		return events, false, err
	})
	w.dead("reports", first, "revoked")
	second, third = w.refresh("reports", second.refreshed()).ok(), w.refresh("other", third.refreshed()).ok()
	w.refresh("reports", second.refreshed()).ok()
	w.refresh("other", third.refreshed()).ok()
	if q := b.silently("reports", "openid"); q.Get("code") == "" {
		t.Error("the login ended with a grant")
	}
}

// Every way in which a login ends leaves offline access alone, but an
// administrator's log out of all sessions, which sets the user's not-before.
func TestO31_EveryWayOfLogout(t *testing.T) {
	for name, end := range map[string]func(w *world, b *browser, online *reply){
		"with a hint": func(_ *world, b *browser, online *reply) {
			b.open("GET", logoutURL("id_token_hint", online.text("id_token")), nil)
		},
		"confirmed": func(_ *world, b *browser, _ *reply) {
			page, _ := b.open("GET", logoutURL(), nil)
			b.submit(page, "logout", nil)
		},
		"by a client with the online token": func(w *world, _ *browser, online *reply) {
			w.post("logout", "reports", "refresh_token", online.refreshed())
		},
		"another person logs in": func(_ *world, b *browser, _ *reply) {
			page, _ := b.open("GET", authURL("reports", "openid", "prompt", "login"), nil)
			b.submit(page, "login", map[string][]string{"username": {"carol"}, "password": {"carol-pw"}})
		},
		"an administrator ends that session": func(w *world, _ *browser, online *reply) {
			w.update(func(tx storage.Tx) error {
				_, err := session.EndUser(tx, "demo", online.claims()["sid"].(string))
				return err
			})
		},
		"the session expires": func(w *world, _ *browser, _ *reply) {
			w.advance(11 * time.Hour)
			if err := w.provider.Sweep(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			online, offline := b.grant("alice", "reports", "openid"), b.grant("", "reports", "openid offline_access")
			end(w, b, online)
			if got := w.refresh("reports", online.refreshed()); got.status != http.StatusBadRequest {
				t.Errorf("the online token: %d", got.status)
			}
			again := w.refresh("reports", offline.refreshed()).ok()
			if !w.active(again.access()) || w.userinfo(again.access()).status != 200 {
				t.Error("offline access ended with the login")
			}
		})
	}
	t.Run("an administrator logs out all sessions of the user", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		online, offline := b.grant("alice", "reports", "openid"), b.grant("", "reports", "openid offline_access")
		carol := w.browser().grant("carol", "reports", "openid offline_access")
		events := w.end(func(tx storage.Tx) ([]event.Event, bool, error) {
			return standing.LogOut(tx, "demo", person(tx, "alice"), w.clock())
		})
		w.refresh("reports", online.refreshed()).fails(400, "invalid_grant", "")
		w.dead("reports", offline, "not_before")
		refused(t, b.silently("reports", "openid"), "login_required", "")
		if len(events) != 2 || events[0].Type != event.Logout || events[1].Type != event.UserChanged || events[1].Reason != "not_before" {
			t.Errorf("events %+v", events)
		}
		w.refresh("reports", carol.refreshed()).ok()
		w.advance(time.Millisecond)
		w.refresh("reports", w.browser().grant("alice", "reports", "openid offline_access").refreshed()).ok() // a new login
	})
}

func TestO39_ClientDisabledAndDeleted(t *testing.T) {
	w := newWorld(t, singleUse(0))
	w.editClient("reports", func(c *client.Client) { c.ConsentOffline = true })
	b := w.browser()
	page, _ := b.open("GET", authURL("reports", "openid offline_access"), nil)
	page, _ = b.submit(page, "login", map[string][]string{"username": {"alice"}, "password": {"alice-pw"}})
	_, left := b.submit(page, "consent", map[string][]string{"accept": {"yes"}})
	r := w.exchange("reports", left.Query().Get("code")).ok()
	neighbour := w.password("other", "alice", "openid offline_access").ok()

	w.editClient("reports", disable)
	for range 3 {
		w.refresh("reports", r.refreshed()).fails(401, "invalid_client", "")
	}
	if w.userinfo(r.access()).status != 401 {
		t.Error("its access token lives")
	}
	w.restart()
	w.advance(20 * day)
	w.refresh("reports", r.refreshed()).fails(401, "invalid_client", "")
	neighbour = w.refresh("other", neighbour.refreshed()).ok()
	w.editClient("reports", enable)
	r = w.refresh("reports", r.refreshed()).ok()
	r = w.refresh("reports", r.refreshed()).ok()

	b.grant("alice", "other", "openid") // the login of 20 days ago is over by itself
	var id, alice string
	events := w.end(func(tx storage.Tx) ([]event.Event, bool, error) {
		c := relyingParty(tx, "reports")
		id, alice = c.ID, person(tx, "alice").ID
		return standing.DeleteClient(tx, "demo", c, w.clock())
	})
	if len(events) != 1 || events[0].Type != event.ClientChanged || events[0].Reason != standing.ClientDeleted {
		t.Errorf("events %+v", events)
	}
	w.refresh("reports", r.refreshed()).fails(401, "invalid_client", "")
	if w.userinfo(r.access()).status != 401 {
		t.Error("its access token lives after it was deleted")
	}
	have := func() (given *consent.Consent, sessions int) {
		w.update(func(tx storage.Tx) (err error) {
			if given, err = consent.Get(tx, "demo", alice, id); err == nil {
				sessions, err = session.CountOfflineOf(tx, "demo", alice, &client.Client{ID: id})
			}
			return err
		})
		return given, sessions
	}
	if given, _ := have(); given != nil {
		t.Errorf("its consent is left: %+v", given)
	}
	if q := b.silently("other", "openid"); q.Get("code") == "" {
		t.Errorf("the login ended with the client: %v", q)
	}
	if err := w.provider.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, sessions := have(); sessions != 0 {
		t.Errorf("%d sessions are left", sessions)
	}
	w.restart() // the declaration makes it again: another client of the same name
	w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "")
	w.refresh("other", neighbour.refreshed()).ok()
}

func TestO40_PasswordChanged(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	online, offline := b.grant("alice", "reports", "openid"), b.grant("", "reports", "openid offline_access")
	elsewhere := w.browser().grant("alice", "other", "openid")
	carol := w.browser().grant("carol", "reports", "openid offline_access")
	hasher := &user.Hasher{}
	set := func(password string, everywhere bool, except string) []event.Event {
		t.Helper()
		hash, err := hasher.Hash(t.Context(), password)
		if err != nil {
			t.Fatal(err)
		}
		return w.end(func(tx storage.Tx) ([]event.Event, bool, error) {
			return standing.SetPassword(tx, "demo", person(tx, "alice"), hash, everywhere, except, w.clock())
		})
	}
	if events := set("another", false, ""); len(events) != 1 || events[0].Type != event.UpdateCredential {
		t.Errorf("events %+v", events)
	}
	w.password("reports", "alice", "openid").fails(400, "invalid_grant", "")
	online = w.refresh("reports", online.refreshed()).ok()
	offline = w.refresh("reports", offline.refreshed()).ok()
	w.refresh("other", elsewhere.refreshed()).ok()

	// Sign out everywhere, but for the browser in which it was ticked.
	events := set("third", true, online.claims()["sid"].(string))
	kinds := map[event.Type]int{}
	for _, e := range events {
		kinds[e.Type]++
	}
	if kinds[event.Logout] != 1 || kinds[event.OfflineSessionEnd] != 1 || kinds[event.UpdateCredential] != 1 {
		t.Errorf("events %v", kinds)
	}
	w.dead("reports", offline, "revoked")
	w.refresh("other", elsewhere.refreshed()).fails(400, "invalid_grant", "")
	w.refresh("reports", online.refreshed()).ok()
	w.refresh("reports", carol.refreshed()).ok()
}

// The latest of realm's, client's and user's not-before decides, in milliseconds
// and by the record, and each can be cleared.
func TestO63_NotBefore(t *testing.T) {
	set := map[string]func(w *world, ms int64){
		"realm":  func(w *world, ms int64) { w.edit(func(s *realm.Settings) { s.NotBefore = ms }) },
		"client": func(w *world, ms int64) { w.editClient("reports", func(c *client.Client) { c.NotBefore = ms }) },
		"user":   func(w *world, ms int64) { w.editUser("alice", func(u *user.User) { u.NotBefore = ms }) },
	}
	for name, not := range set {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := w.password("reports", "alice", "openid offline_access").ok()
			carol := w.password("reports", "carol", "openid offline_access").ok()
			other := w.password("other", "alice", "openid offline_access").ok()
			now := w.clock().UnixMilli() // what was issued in its millisecond is refused
			w.advance(time.Millisecond)
			after := w.password("reports", "alice", "openid offline_access").ok()
			not(w, now) // within the same second
			w.dead("reports", before, "not_before")
			w.refresh("reports", after.refreshed()).ok()
			if got := w.refresh("reports", carol.refreshed()).status; (got == 200) != (name == "user") {
				t.Errorf("another user: %d", got)
			}
			if got := w.refresh("other", other.refreshed()).status; (got == 200) != (name == "client") {
				t.Errorf("another client: %d", got)
			}
			w.restart()
			w.dead("reports", before, "not_before")
			not(w, 0)
			w.refresh("reports", before.refreshed()).ok()
			if !w.active(before.access()) {
				t.Error("the access token did not come back")
			}
		})
	}
	t.Run("the latest decides", func(t *testing.T) {
		for latest, not := range set {
			w := newWorld(t)
			r := w.password("reports", "alice", "openid offline_access").ok()
			issued := w.clock().UnixMilli()
			w.advance(time.Minute)
			for _, other := range set {
				other(w, issued-1000)
			}
			r = w.refresh("reports", r.refreshed()).ok() // earlier than all three
			not(w, issued)
			w.dead("reports", r, "not_before")
			for name, other := range set {
				if name != latest {
					other(w, 0)
				}
			}
			w.dead("reports", r, "not_before")
			not(w, issued-1)
			w.refresh("reports", r.refreshed()).ok()
		}
	})
	t.Run("a rotated token is as old as its rotation", func(t *testing.T) {
		w := newWorld(t, singleUse(0))
		first := w.password("reports", "alice", "openid offline_access").ok()
		w.advance(time.Second)
		second := w.refresh("reports", first.refreshed()).ok()
		set["realm"](w, w.clock().UnixMilli()-1)
		w.refresh("reports", second.refreshed()).ok()
	})
	t.Run("single sign-on and an access token without a session", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		b.grant("alice", "reports", "openid")
		service := w.post("token", "reports", "grant_type", "client_credentials").ok()
		set["client"](w, w.clock().UnixMilli())
		if q := b.silently("reports", "openid"); q.Get("code") == "" {
			t.Errorf("a client's not-before ended the login: %v", q)
		}
		if w.active(service.access()) {
			t.Error("a service account's token lives")
		}
		set["client"](w, 0)
		set["realm"](w, w.clock().UnixMilli())
		refused(t, b.silently("reports", "openid"), "login_required", "")
	})
}

func TestO65_ConsentWithdrawn(t *testing.T) {
	w := newWorld(t)
	w.editClient("reports", func(c *client.Client) { c.ConsentOffline = true })
	b := w.browser()
	page, _ := b.open("GET", authURL("reports", "openid offline_access"), nil)
	page, _ = b.submit(page, "login", map[string][]string{"username": {"alice"}, "password": {"alice-pw"}})
	_, left := b.submit(page, "consent", map[string][]string{"accept": {"yes"}})
	first := w.exchange("reports", left.Query().Get("code")).ok()
	second := b.grant("", "reports", "openid offline_access")
	online := b.grant("", "reports", "openid")
	other := b.grant("", "other", "openid offline_access")
	w.editClient("reports", func(c *client.Client) { c.ConsentOffline = false })
	carol := w.browser().grant("carol", "reports", "openid offline_access")
	w.editClient("reports", func(c *client.Client) { c.ConsentOffline = true })

	withdraw := func() []event.Event {
		return w.end(func(tx storage.Tx) ([]event.Event, bool, error) {
			return standing.Withdraw(tx, "demo", person(tx, "alice"), relyingParty(tx, "reports").ID, w.clock())
		})
	}
	events := withdraw()
	if len(events) != 3 || events[2].Type != event.RevokeGrant || events[2].Client != "reports" || events[2].Details["revoked_client"] != "reports" {
		t.Errorf("events %+v", events)
	}
	w.dead("reports", first, "revoked")
	w.dead("reports", second, "revoked")
	w.refresh("other", other.refreshed()).ok()
	w.refresh("reports", carol.refreshed()).ok()
	w.refresh("reports", online.refreshed()).ok()
	if page, left := b.open("GET", authURL("reports", "openid offline_access"), nil); left != nil || page.status != 200 {
		t.Error("the next grant asks no consent")
	}
	if events := withdraw(); len(events) != 0 {
		t.Errorf("again: %+v", events)
	}
}

// All offline sessions of a client at once: in force when it answers, while the
// sweeper ends each.
func TestO62_RevokeAllOfAClient(t *testing.T) {
	w := newWorld(t)
	var grants []*reply
	for _, name := range []string{"alice", "carol", "alice"} {
		grants = append(grants, w.password("reports", name, "openid offline_access").ok())
	}
	online := w.password("reports", "alice", "openid").ok()
	other := w.password("other", "alice", "openid offline_access").ok()
	before := w.store.Stats().Updates.Load()
	w.end(func(tx storage.Tx) ([]event.Event, bool, error) {
		events, err := standing.RevokeClient(tx, "demo", relyingParty(tx, "reports"), w.clock())
		if len(events) != 1 || events[0].Details["offline_sessions"] != "3" {
			t.Errorf("events %+v", events)
		}
		return events, false, err
	})
	if n := w.store.Stats().Updates.Load() - before; n != 1 {
		t.Errorf("%d updates", n)
	}
	for _, r := range grants {
		w.dead("reports", r, "revoked")
	}
	w.refresh("reports", online.refreshed()).ok()
	w.refresh("other", other.refreshed()).ok()
	w.refresh("reports", w.password("reports", "alice", "openid offline_access").ok().refreshed()).ok()
	if err := w.provider.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.count(event.OfflineSessionEnd, "revoked"); n != 3 {
		t.Errorf("%d events of sessions that ended", n)
	}
	w.dead("reports", grants[0], "revoked")
}

// TestEndsNameTheirTokens: what ends a grant without offline access tells, by the name
// that its access tokens carry, what ended: others of the same login live on.
func TestEndsNameTheirTokens(t *testing.T) {
	w := newWorld(t, singleUse(0))
	b := w.browser()
	for name, end := range map[string]func(r *reply){
		"revocation": func(r *reply) { w.post("revoke", "reports", "token", r.refreshed()).ok() },
		"a replay": func(r *reply) {
			w.refresh("reports", r.refreshed()).ok()
			w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "reuse_detected")
		},
		"its code twice": nil,
	} {
		t.Run(name, func(t *testing.T) {
			b.grant("alice", "reports", "openid")
			code := b.authorize("", "reports", "openid").Get("code")
			r := w.exchange("reports", code).ok()
			if end == nil {
				w.exchange("reports", code).fails(400, "invalid_grant", "")
			} else {
				end(r)
			}
			id, _ := r.claims()["client_session"].(string)
			var told int
			w.mu.Lock()
			for _, e := range w.events {
				if e.Details[event.ClientSession] == id {
					told++
				}
			}
			w.mu.Unlock()
			if id == "" || told != 1 || w.active(r.access()) {
				t.Errorf("client session %q, told %d times, access token lives: %v", id, told, w.active(r.access()))
			}
		})
	}
}
