package provider_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// kept are the events in the store, the newest first.
func (w *world) kept(q audit.Query) []audit.Record {
	w.t.Helper()
	if q.Max == 0 {
		q.Max = 1000
	}
	var out []audit.Record
	err := w.store.View(w.t.Context(), func(tx storage.Tx) (err error) {
		out, err = audit.Find(tx, "demo", q)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) userID(name string) string {
	w.t.Helper()
	var id string
	err := w.store.View(w.t.Context(), func(tx storage.Tx) error {
		u, err := user.ByLogin(tx, "demo", name)
		if err == nil {
			id = u.ID
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// Every issue, refresh, replay, revocation, login, consent and logout, and every
// refusal of one, is an event in the store with time, user, client, session,
// address and reason.
func TestO66_AuditEvents(t *testing.T) {
	w := newWorld(t, singleUse(0))
	alice := w.userID("alice")
	// newest checks the events of one step, the newest last, and what they say.
	seen := 0
	step := func(name string, want ...event.Type) []audit.Record {
		t.Helper()
		all := w.kept(audit.Query{})
		fresh := all[:len(all)-seen]
		seen = len(all)
		slices.Reverse(fresh)
		var got []event.Type
		for _, r := range fresh {
			got = append(got, r.Type)
			if !r.Time.Equal(w.clock()) || r.Realm != "demo" || r.IP != "192.0.2.1" {
				t.Errorf("%s: %s at %v from %q", name, r.Type, r.Time, r.IP)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
		w.advance(time.Second)
		return fresh
	}
	about := func(r audit.Record, sub, clientID, session, offline, reason string) {
		t.Helper()
		if r.Subject != sub || r.Client != clientID || r.Session != session || r.OfflineSession != offline || r.Reason != reason {
			t.Errorf("%s is about user %q, client %q, session %q, offline session %q, reason %q\nwant %q %q %q %q %q",
				r.Type, r.Subject, r.Client, r.Session, r.OfflineSession, r.Reason, sub, clientID, session, offline, reason)
		}
	}

	w.editClient("reports", func(c *client.Client) { c.ConsentRequired = true })
	b := w.browser()
	page, _ := b.open("GET", authURL("reports", "openid offline_access"), nil)
	step("a login page")
	again, _ := b.submit(page, "login", url.Values{"username": {"alice"}, "password": {"wrong"}})
	if r := step("a wrong password", event.LoginError); len(r) == 1 {
		about(r[0], "", "reports", "", "", "invalid_user_credentials")
		if r[0].Username != "alice" {
			t.Errorf("typed was %q", r[0].Username)
		}
	}
	page, _ = b.submit(again, "login", url.Values{"username": {"alice"}, "password": {"alice-pw"}})
	step("the right one, before consent")
	_, left := b.submit(page, "consent", url.Values{"accept": {"yes"}})
	sid := left.Query().Get("session_state")
	for _, r := range step("consent", event.GrantConsent, event.Login) {
		about(r, alice, "reports", sid, "", "")
	}
	first := w.exchange("reports", left.Query().Get("code")).ok()
	id := first.claims()["offline_session"].(string)
	issued := step("code", event.CodeToToken, event.OfflineSessionStart)
	for _, r := range issued {
		about(r, alice, "reports", sid, id, "")
	}
	if d := issued[0].Details; d["token_id"] != first.claims()["jti"] || d["refresh_token_id"] != first.offlineToken()["jti"] || d["refresh_token_type"] != "Offline" ||
		!slices.Contains(strings.Fields(d["scope"]), "offline_access") || d["grant_type"] != "authorization_code" {
		t.Errorf("details %v", d)
	}
	second := w.refresh("reports", first.refreshed()).ok()
	for _, r := range step("refresh", event.RefreshToken) {
		about(r, alice, "reports", sid, id, "")
		if d := r.Details; d["refresh_token_id"] != first.offlineToken()["jti"] || d["updated_refresh_token_id"] != second.offlineToken()["jti"] ||
			d["token_id"] != second.claims()["jti"] || d["age_of_refresh_token"] != "1" {
			t.Errorf("details %v", d)
		}
	}
	w.refresh("other", second.refreshed()).fails(400, "invalid_grant", "")
	for _, r := range step("another client's token", event.RefreshTokenError) {
		about(r, "", "other", "", "", "invalid_grant")
	}
	w.refresh("reports", first.refreshed()).fails(400, "invalid_grant", "reuse_detected")
	for _, r := range step("replay", event.RefreshTokenReplay, event.OfflineSessionEnd, event.RefreshTokenError) {
		about(r, alice, "reports", sid, id, "reuse_detected")
	}
	w.refresh("reports", second.refreshed()).fails(400, "invalid_grant", "reuse_detected")
	step("the newest, dead too", event.RefreshTokenError)

	w.password("reports", "alice", "offline_access").ok()
	step("password grant", event.Login, event.OfflineSessionStart)
	w.post("token", "reports", "grant_type", "password", "username", "alice", "password", "x").fails(400, "invalid_grant", "")
	step("password grant, wrong", event.LoginError)
	service := w.post("token", "other", "grant_type", "client_credentials", "scope", "offline_access").ok()
	step("service account, offline", event.ClientLogin, event.OfflineSessionStart)
	w.post("token", "other", "grant_type", "client_credentials").ok()
	step("service account", event.ClientLogin)
	w.post("revoke", "other", "token", service.refreshed()).ok()
	step("revocation", event.RevokeGrant, event.OfflineSessionEnd)
	w.post("revoke", "other", "token", w.post("token", "other", "grant_type", "client_credentials").ok().access()).ok()
	step("revocation of an access token", event.ClientLogin, event.RevokeGrant)
	w.introspect("garbage")
	step("introspection of garbage", event.IntrospectTokenError)
	w.post("token", "nobody", "grant_type", "client_credentials").fails(401, "invalid_client", "")
	step("an unknown client", event.ClientLoginError)

	b.open("GET", logoutURL("id_token_hint", first.text("id_token")), nil)
	for _, r := range step("logout", event.Logout) {
		about(r, alice, "", sid, "", "")
	}
	if got := w.kept(audit.Query{User: alice, Types: []event.Type{event.OfflineSessionEnd}}); len(got) != 1 || got[0].OfflineSession != id {
		t.Errorf("ended sessions of alice: %v", got)
	}
	w.restart()
	if got := len(w.kept(audit.Query{})); got != seen {
		t.Errorf("%d events after a restart, %d before", got, seen)
	}
}

// The sweeper's endings are events too.
func TestO66_ExpiredSessions(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "offline_access").ok()
	w.advance(31 * day)
	if err := w.provider.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := w.kept(audit.Query{Types: []event.Type{event.OfflineSessionEnd}})
	if len(got) != 1 || got[0].Reason != "idle_expired" || got[0].Client != "reports" || got[0].Username != "alice" || got[0].OfflineSession != r.claims()["offline_session"] {
		t.Errorf("events %+v", got)
	}
	if w.count(event.OfflineSessionEnd, "idle_expired") != 1 {
		t.Error("the sink did not hear of it")
	}
	w.advance(60 * day)
	if err := w.provider.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.kept(audit.Query{To: w.clock().Add(-90*day - time.Millisecond)}); len(got) != 0 {
		t.Errorf("%d events older than 90 days are left", len(got))
	}
}

// An event of a change costs no commit of its own.
func TestO66_NoCommitOfItsOwn(t *testing.T) {
	w := newWorld(t, singleUse(0))
	token := w.password("reports", "alice", "openid offline_access").ok().refreshed()
	before := w.store.Stats().Updates.Load()
	kept := len(w.kept(audit.Query{}))
	for range 10 {
		w.advance(time.Second)
		token = w.refresh("reports", token).ok().refreshed()
	}
	if n := w.store.Stats().Updates.Load() - before; n != 10 {
		t.Errorf("%d updates for 10 refreshes", n)
	}
	if n := len(w.kept(audit.Query{})) - kept; n != 10 {
		t.Errorf("%d events for 10 refreshes", n)
	}
}

// Nothing that was issued or typed can be found in any event.
func TestO66_NoSecrets(t *testing.T) {
	w := newWorld(t, singleUse(0))
	var secrets []string
	keep := func(r *reply) *reply {
		for _, name := range []string{"access_token", "refresh_token", "id_token"} {
			if s, _ := r.json[name].(string); s != "" {
				secrets = append(secrets, s, s[strings.LastIndexByte(s, '.')+1:])
			}
		}
		return r
	}
	b := w.browser()
	q := b.authorize("alice", "reports", "openid offline_access")
	secrets = append(secrets, q.Get("code"), "alice-pw", "reports-secret", "wrong-pw", "wrong-secret", verifier, b.cookie("sso").Value)
	r := keep(w.exchange("reports", q.Get("code")).ok())
	next := keep(w.refresh("reports", r.refreshed(), "header:Idempotency-Key", "a-key-that-nobody-may-know").ok())
	secrets = append(secrets, "a-key-that-nobody-may-know")
	w.refresh("other", next.refreshed())
	w.refresh("reports", r.refreshed())
	w.exchange("reports", q.Get("code"))
	keep(w.password("reports", "alice", "openid").ok())
	w.post("token", "reports", "grant_type", "password", "username", "alice", "password", "wrong-pw")
	w.post("token", "", "grant_type", "client_credentials", "client_id", "reports", "client_secret", "wrong-secret")
	online := keep(w.password("reports", "alice", "openid").ok())
	w.post("logout", "reports", "refresh_token", online.refreshed())
	w.post("revoke", "reports", "token", next.access())
	w.introspect(next.refreshed())

	var text strings.Builder
	err := w.store.View(t.Context(), func(tx storage.Tx) error {
		for _, table := range []string{"event", "event@", "event#", "event!"} {
			rows, err := tx.Scan(storage.Key(table), nil, 10000)
			if err != nil {
				return err
			}
			for _, row := range rows {
				text.Write(row.Key)
				text.Write(row.Value)
			}
		}
		return nil
	})
	if err != nil || text.Len() < 5000 {
		t.Fatalf("read %d bytes of events: %v", text.Len(), err)
	}
	for _, s := range secrets {
		if len(s) < 6 {
			t.Fatalf("%q is no secret to look for", s)
		}
		if strings.Contains(text.String(), s) {
			t.Errorf("an event holds %.12s…", s)
		}
	}
}
