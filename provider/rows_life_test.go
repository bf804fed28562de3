package provider_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

func TestO30_NotSubjectToSSOLimits(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	online, offline := b.grant("alice", "reports", "openid"), b.grant("", "reports", "openid offline_access")
	w.advance(31 * time.Minute)
	w.refresh("reports", online.refreshed()).fails(400, "invalid_grant", "idle_expired")
	w.refresh("reports", offline.refreshed()).ok()
	w.advance(99999 * time.Second)
	again := w.refresh("reports", offline.refreshed()).ok()
	if again.claims()["sid"] != offline.claims()["sid"] || !w.active(again.access()) || w.userinfo(again.access()).status != 200 {
		t.Errorf("a day later: %v", again.claims())
	}

	// The online token is: also by SSO Session Max, however often it is used.
	busy := w.browser().grant("alice", "reports", "openid")
	for range 29 {
		w.advance(20 * time.Minute)
		w.refresh("reports", busy.refreshed()).ok()
	}
	w.advance(20 * time.Minute)
	w.refresh("reports", busy.refreshed()).fails(400, "invalid_grant", "max_expired")
}

func TestO31_SurvivesLogout(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	online, offline := b.grant("alice", "reports", "openid"), b.grant("", "reports", "openid offline_access")
	page, left := b.open("GET", issuer+"/protocol/openid-connect/logout?id_token_hint="+online.text("id_token"), nil)
	if left != nil || page.status != 200 {
		t.Fatalf("logout with a valid hint did not end in a page: %v", left)
	}
	w.refresh("reports", online.refreshed()).fails(400, "invalid_grant", "")
	if w.active(online.access()) {
		t.Error("online access token lives after logout")
	}
	again := w.refresh("reports", offline.refreshed()).ok()
	if !w.active(offline.access()) || w.userinfo(again.access()).status != 200 {
		t.Error("offline access ended with the logout")
	}

	// The session's end by an administrator or by a sweeper is the same.
	b = w.browser()
	offline = b.grant("alice", "reports", "openid offline_access")
	w.update(func(tx storage.Tx) error {
		_, err := session.EndUser(tx, "demo", offline.claims()["sid"].(string))
		return err
	})
	w.refresh("reports", offline.refreshed()).ok()
	w.advance(11 * time.Hour)
	if err := w.provider.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.refresh("reports", offline.refreshed()).ok()
}

// kill -9 of the whole program is tested in integration.
func TestO32_SurvivesRestart(t *testing.T) {
	w := newWorld(t)
	r := w.browser().grant("alice", "reports", "openid offline_access")
	single := w.password("other", "alice", "offline_access").ok()
	w.restart()
	if !w.active(r.access()) {
		t.Error("the access token died in the restart")
	}
	w.refresh("reports", r.refreshed()).ok()
	w.edit(func(s *realm.Settings) { s.RevokeRefreshToken = true })
	next := w.refresh("other", single.refreshed()).ok()
	w.settings.RevokeRefreshToken = true
	w.restart()
	w.refresh("other", next.refreshed()).ok()
	w.restart()
	w.refresh("other", single.refreshed()).fails(400, "invalid_grant", "reuse_detected")
}

func TestO33_OfflineSessionIdle(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "offline_access").ok()
	for range 4 { // a refresh moves it
		w.advance(30*day - time.Minute)
		w.refresh("reports", r.refreshed()).ok()
	}
	w.advance(30*day + time.Minute)
	if w.active(r.refreshed()) {
		t.Error("active after the idle limit")
	}
	w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "idle_expired")

	t.Run("swept", func(t *testing.T) {
		if err := w.provider.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := w.refresh("reports", r.refreshed()); r.status != 400 || r.text("error") != "invalid_grant" {
			t.Errorf("after the sweep: %d %v", r.status, r.json)
		}
	})
}

func TestO34_OfflineSessionMax(t *testing.T) {
	t.Run("off", func(t *testing.T) {
		w := newWorld(t, func(s *realm.Settings) { s.OfflineSessionMax = 60 * day })
		r := w.password("reports", "alice", "offline_access").ok()
		for range 100 {
			w.advance(29 * day)
			w.refresh("reports", r.refreshed()).ok()
		}
	})
	t.Run("on", func(t *testing.T) {
		w := newWorld(t, limited(0, 0)) // the default of 60 days
		r := w.password("reports", "alice", "offline_access").ok()
		for range 3 {
			w.advance(20*day - 20*time.Second)
			w.refresh("reports", r.refreshed()).ok()
		}
		w.advance(2 * time.Minute)
		w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "max_expired")
	})
}

func TestO41_WrongTokens(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "openid offline_access").ok()
	invalid := func(name, token string) {
		t.Helper()
		if got := w.refresh("reports", token); got.status != 400 || got.text("error") != "invalid_grant" {
			t.Errorf("%s: %d %v", name, got.status, got.json)
		}
	}
	w.refresh("other", r.refreshed()).fails(400, "invalid_grant", "")
	invalid("garbage", "garbage")
	invalid("access token", r.access())
	invalid("access token of an online session", w.password("reports", "alice", "openid").ok().access())
	invalid("ID token", r.text("id_token"))
	invalid("cut", r.refreshed()[:len(r.refreshed())-4])
	invalid("long", strings.Repeat("a.", 10000))
	w.post("token", "reports", "grant_type", "refresh_token").fails(400, "invalid_request", "")
	w.refresh("reports", r.refreshed(), "refresh_token", r.refreshed()).fails(400, "invalid_request", "")
	w.refresh("reports", r.refreshed(), "scope", "openid", "scope", "openid").fails(400, "invalid_request", "")
	w.refresh("reports", r.refreshed()).ok() // none of it did any harm
	if got := w.post("token", "", "grant_type", "refresh_token", "refresh_token", r.refreshed()); got.status != 401 || got.text("error") != "invalid_client" {
		t.Errorf("without a client: %d %v", got.status, got.json)
	}
}

func TestO64_Revoke(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "openid offline_access").ok()
	sibling := w.password("reports", "alice", "openid offline_access").ok()
	w.post("revoke", "other", "token", r.refreshed()).fails(400, "invalid_request", "")
	w.refresh("reports", r.refreshed()).ok()
	w.post("revoke", "reports", "token", "unknown").ok()
	w.post("revoke", "reports").fails(400, "invalid_request", "")
	w.post("revoke", "reports", "token", r.refreshed(), "token", "x").fails(400, "invalid_request", "")
	// A wrong hint does not matter.
	w.post("revoke", "reports", "token", r.refreshed(), "token_type_hint", "access_token").ok()
	w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "revoked")
	if w.active(r.access()) || w.userinfo(r.access()).status != 401 {
		t.Error("its access token lives")
	}
	w.post("revoke", "reports", "token", r.refreshed()).ok() // again
	w.refresh("reports", sibling.refreshed()).ok()
	if n := w.count(event.OfflineSessionEnd, "revoked"); n != 1 {
		t.Errorf("%d events, want 1", n)
	}

	t.Run("access token", func(t *testing.T) {
		w.post("revoke", "other", "token", sibling.access()).fails(400, "invalid_request", "")
		w.post("revoke", "reports", "token", sibling.access()).ok()
		if w.active(sibling.access()) || w.userinfo(sibling.access()).status != 401 {
			t.Error("a revoked access token lives")
		}
		if next := w.refresh("reports", sibling.refreshed()).ok(); !w.active(next.access()) {
			t.Error("revoking an access token ended its session")
		}
	})
	t.Run("public client", func(t *testing.T) {
		r := w.browser().grant("alice", "spa", "openid offline_access")
		w.post("revoke", "spa", "token", r.refreshed()).ok()
		w.refresh("spa", r.refreshed()).fails(400, "invalid_grant", "revoked")
	})
	t.Run("logout with the token", func(t *testing.T) {
		if got := w.post("logout", "reports", "refresh_token", sibling.refreshed()); got.status != 204 {
			t.Fatalf("logout: %d %v", got.status, got.json)
		}
		w.refresh("reports", sibling.refreshed()).fails(400, "invalid_grant", "revoked")
	})
}
