package provider_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// dead checks that nothing of a grant works any more: refresh, introspection of
// both tokens, UserInfo.
func (w *world) dead(clientID string, r *reply, grantStatus string) {
	w.t.Helper()
	w.refresh(clientID, r.refreshed()).fails(400, "invalid_grant", grantStatus)
	if w.active(r.refreshed()) || w.active(r.access()) {
		w.t.Errorf("introspection says active, a refresh says %s", grantStatus)
	}
	if got := w.userinfo(r.access()); got.status != 401 {
		w.t.Errorf("UserInfo answers %d, a refresh says %s", got.status, grantStatus)
	}
}

func TestO35_PerClientLimits(t *testing.T) {
	grant := func(w *world, clientID string) *reply {
		return w.password(clientID, "alice", "openid offline_access").ok()
	}
	idle := func(d time.Duration) func(*client.Client) {
		return func(c *client.Client) { c.OfflineSessionIdle = &d }
	}
	age := func(d time.Duration) func(*client.Client) {
		return func(c *client.Client) { c.OfflineSessionMax = &d }
	}

	t.Run("idle", func(t *testing.T) {
		w := newWorld(t)
		w.editClient("other", idle(2*day))
		own, realms := grant(w, "other"), grant(w, "reports")
		if n := own.number("refresh_idle_expires_in"); n != (2 * day).Seconds() {
			t.Errorf("refresh_idle_expires_in %v", n)
		}
		for range 3 { // a refresh moves it
			w.advance(2*day - time.Minute)
			own = w.refresh("other", own.refreshed()).ok()
		}
		w.advance(2*day + time.Minute)
		w.dead("other", own, "idle_expired")
		w.refresh("reports", realms.refreshed()).ok()
	})
	t.Run("a longer idle does not lengthen the realm's", func(t *testing.T) {
		w := newWorld(t)
		w.editClient("other", idle(90*day))
		own := grant(w, "other")
		w.advance(30*day - time.Minute)
		w.refresh("other", own.refreshed()).ok()
		w.advance(30*day + time.Minute)
		w.dead("other", own, "idle_expired")
	})
	t.Run("max", func(t *testing.T) {
		w := newWorld(t, limited(0, 0))
		w.editClient("other", age(5*day))
		own, realms := grant(w, "other"), grant(w, "reports")
		if n, exp := own.number("refresh_expires_in"), own.offlineToken(); n != (5*day).Seconds() || exp["exp"].(float64)-exp["iat"].(float64) != n {
			t.Errorf("refresh_expires_in %v, token %v", n, exp)
		}
		for range 3 { // no use moves it
			w.advance(40*time.Hour - time.Minute)
			own = w.refresh("other", own.refreshed()).ok()
		}
		w.advance(3 * time.Minute)
		w.dead("other", own, "max_expired")
		w.advance(20 * day)
		w.refresh("reports", realms.refreshed()).ok()
	})
	t.Run("a longer max does not lengthen the realm's", func(t *testing.T) {
		w := newWorld(t, limited(0, 3*day))
		w.editClient("other", age(90*day))
		own := grant(w, "other")
		w.advance(3*day - time.Minute)
		w.refresh("other", own.refreshed()).ok()
		w.advance(time.Minute)
		w.dead("other", own, "max_expired")
	})
	t.Run("max without the realm's switch", func(t *testing.T) {
		w := newWorld(t)
		w.editClient("other", age(5*day))
		own := grant(w, "other")
		if own.offlineToken().has("exp") {
			t.Error("exp although Offline Session Max Limited is off")
		}
		w.advance(20 * day)
		w.refresh("other", own.refreshed()).ok()
	})
}

func TestO36_SettingsOfNow(t *testing.T) {
	t.Run("idle lowered", func(t *testing.T) {
		w := newWorld(t)
		r := w.password("reports", "alice", "openid offline_access").ok()
		w.advance(2 * day)
		r = w.refresh("reports", r.refreshed()).ok()
		w.advance(time.Minute) // the access token is young
		w.edit(func(s *realm.Settings) { s.OfflineSessionIdle = time.Minute })
		w.dead("reports", r, "idle_expired")
		// Judged anew each time, until the sweeper has ended it.
		w.edit(func(s *realm.Settings) { s.OfflineSessionIdle = 0 })
		w.refresh("reports", r.refreshed()).ok()
		if !w.active(r.access()) {
			t.Error("the access token did not come back with its session")
		}
		w.advance(2 * day)
		w.edit(func(s *realm.Settings) { s.OfflineSessionIdle = day })
		if err := w.provider.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.edit(func(s *realm.Settings) { s.OfflineSessionIdle = 0 })
		w.dead("reports", r, "idle_expired")
	})
	t.Run("max switched on, lowered and raised", func(t *testing.T) {
		w := newWorld(t)
		r := w.password("reports", "alice", "openid offline_access").ok()
		for range 4 {
			w.advance(20 * day)
			r = w.refresh("reports", r.refreshed()).ok()
		}
		w.edit(limited(0, 0)) // 60 days; it is 80 days old
		w.dead("reports", r, "max_expired")
		w.edit(limited(0, 90*day))
		r = w.refresh("reports", r.refreshed()).ok()
		w.edit(limited(0, 79*day))
		w.dead("reports", r, "max_expired")
		w.edit(func(s *realm.Settings) { s.OfflineSessionMaxLimited = false })
		w.refresh("reports", r.refreshed()).ok()
	})
	t.Run("exp of a token is a hint", func(t *testing.T) {
		w := newWorld(t, limited(0, day))
		r := w.password("reports", "alice", "openid offline_access").ok()
		if !r.offlineToken().has("exp") {
			t.Fatal("no exp")
		}
		w.edit(limited(0, 60*day))
		w.advance(2 * day)
		w.refresh("reports", r.refreshed()).ok()
	})
	t.Run("a client's limit set and taken away", func(t *testing.T) {
		w := newWorld(t)
		r := w.password("reports", "alice", "openid offline_access").ok()
		w.advance(time.Minute)
		limit := time.Second
		w.editClient("reports", func(c *client.Client) { c.OfflineSessionIdle = &limit })
		w.dead("reports", r, "idle_expired")
		w.editClient("reports", func(c *client.Client) { c.OfflineSessionIdle = nil })
		w.refresh("reports", r.refreshed()).ok()
	})
	t.Run("the record survives the restart, the settings too", func(t *testing.T) {
		w := newWorld(t)
		r := w.password("reports", "alice", "openid offline_access").ok()
		w.settings.OfflineSessionIdle = time.Minute
		w.restart()
		w.advance(2 * time.Minute)
		w.dead("reports", r, "idle_expired")
	})
}

// Each way to lose offline access and to get it back. Single use is on: what is
// refused is not consumed.
func TestO37_TakenAwayAndGivenBack(t *testing.T) {
	without := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "offline_access" })
	}
	var kept client.Scope
	ways := map[string]struct {
		user       string
		take, give func(*world)
	}{
		"role of the user": {"alice",
			func(w *world) { w.editUser("alice", func(u *user.User) { u.DefaultRoles = false }) },
			func(w *world) { w.editUser("alice", func(u *user.User) { u.Roles = []string{"offline_access"} }) }},
		"role out of a composite": {"carol",
			func(w *world) {
				w.update(func(tx storage.Tx) error { return user.Roles.Put(tx, "demo", "keeper", &user.Role{Name: "keeper"}) })
			},
			func(w *world) {
				w.update(func(tx storage.Tx) error {
					return user.Roles.Put(tx, "demo", "keeper", &user.Role{Name: "keeper", Composites: []string{"offline_access"}})
				})
			}},
		"role out of the defaults": {"alice",
			func(w *world) { w.edit(func(s *realm.Settings) { s.DefaultRoles = []string{} }) },
			func(w *world) { w.edit(func(s *realm.Settings) { s.DefaultRoles = nil }) }},
		"scope of the client": {"alice",
			func(w *world) {
				w.editClient("reports", func(c *client.Client) { c.OptionalScopes = without(c.OptionalScopes) })
			},
			func(w *world) {
				w.editClient("reports", func(c *client.Client) { c.DefaultScopes = append(c.DefaultScopes, "offline_access") })
			}},
		"scope of the realm": {"alice",
			func(w *world) {
				w.editScope("offline_access", func(s *client.Scope) { kept = *s })
				w.update(func(tx storage.Tx) error { return client.Scopes.Delete(tx, "demo", "offline_access") })
			},
			func(w *world) {
				w.update(func(tx storage.Tx) error { return client.Scopes.Put(tx, "demo", "offline_access", &kept) })
			}},
		"role out of the client's scope": {"alice",
			func(w *world) {
				w.editClient("reports", func(c *client.Client) { c.FullScope = false })
				w.editScope("offline_access", func(s *client.Scope) { s.Roles = nil })
			},
			func(w *world) {
				w.editClient("reports", func(c *client.Client) { c.ScopeRoles = []string{"offline_access"} })
			}},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, singleUse(0))
			r := w.password("reports", way.user, "openid offline_access").ok()
			online := w.password("reports", way.user, "openid").ok()
			way.take(w)
			for range 3 {
				w.dead("reports", r, "role_missing")
				w.refresh("reports", r.refreshed(), "scope", "openid").fails(400, "invalid_grant", "role_missing") // asking for less does not help
			}
			online = w.refresh("reports", online.refreshed()).ok() // it never had it
			way.give(w)
			again := w.refresh("reports", r.refreshed()).ok()
			if !slices.Contains(again.scopes(), "offline_access") || !w.active(r.access()) || !w.active(again.access()) {
				t.Errorf("given back: scope %v", again.scopes())
			}
			w.refresh("reports", again.refreshed()).ok()
			w.refresh("reports", online.refreshed()).ok()
			if n := w.count(event.OfflineSessionEnd, ""); n != 0 {
				t.Errorf("%d sessions ended", n)
			}
		})
	}
}

func TestO38_UserDisabledAndDeleted(t *testing.T) {
	w := newWorld(t, singleUse(0))
	grant := func() *reply { return w.password("reports", "alice", "openid offline_access").ok() }

	t.Run("disabled and enabled", func(t *testing.T) {
		r, carol := grant(), w.password("reports", "carol", "openid offline_access").ok()
		w.editUser("alice", func(u *user.User) { u.Enabled = false })
		w.dead("reports", r, "user_disabled")
		w.restart()
		w.advance(20 * day)
		w.dead("reports", r, "user_disabled")
		carol = w.refresh("reports", carol.refreshed()).ok()
		w.editUser("alice", func(u *user.User) { u.Enabled = true })
		r = w.refresh("reports", r.refreshed()).ok()
		w.refresh("reports", r.refreshed()).ok()
		w.refresh("reports", carol.refreshed()).ok()
	})
	t.Run("disabled time counts as unused", func(t *testing.T) {
		r := grant()
		w.editUser("alice", func(u *user.User) { u.Enabled = false })
		w.advance(30*day + time.Minute)
		w.editUser("alice", func(u *user.User) { u.Enabled = true })
		w.dead("reports", r, "idle_expired")
	})
	t.Run("deleted", func(t *testing.T) {
		r := grant()
		w.update(func(tx storage.Tx) error {
			u, err := user.ByLogin(tx, "demo", "alice")
			if err != nil {
				return err
			}
			return user.Users.Delete(tx, "demo", u.ID)
		})
		w.dead("reports", r, "user_deleted")
		w.restart() // the declaration makes an alice again: somebody else
		if again := grant(); again.claims()["sub"] == r.claims()["sub"] {
			t.Fatal("the new user has the old sub")
		}
		w.dead("reports", r, "user_deleted")
	})
}

func TestO57_PerClientSingleUse(t *testing.T) {
	set := func(w *world, clientID string, on *bool, maxReuse *int) {
		w.editClient(clientID, func(c *client.Client) { c.RevokeRefreshToken, c.RefreshTokenMaxReuse = on, maxReuse })
	}
	on, off, zero, two := true, false, 0, 2
	grant := func(w *world, clientID string) string {
		return w.post("token", clientID, "grant_type", "client_credentials", "scope", "offline_access").ok().refreshed()
	}

	multiUse := func(maxReuse int) func(*realm.Settings) {
		return func(s *realm.Settings) { s.RevokeRefreshToken, s.RefreshTokenMaxReuse = false, maxReuse }
	}

	// How often a token can be used, whatever the realm says.
	w := newWorld(t)
	for _, tt := range []struct {
		name  string
		realm func(*realm.Settings)
		on    *bool
		max   *int
		uses  int // 0: without end
	}{
		{"on in a realm that is off", multiUse(0), &on, nil, 1},
		{"on, with the realm's max reuse", multiUse(1), &on, nil, 2},
		{"on, with a max reuse", multiUse(0), &on, &two, 3},
		{"off in a realm that is on", singleUse(0), &off, nil, 0},
		{"off with a max reuse", singleUse(0), &off, &two, 0},
		{"more reuse than the realm", singleUse(0), nil, &two, 3},
		{"less reuse than the realm", singleUse(2), nil, &zero, 1},
		{"neither", singleUse(1), nil, nil, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.edit(tt.realm)
			set(w, "other", tt.on, tt.max)
			token, neighbour := grant(w, "other"), grant(w, "reports")
			uses := tt.uses
			if uses == 0 {
				uses = 6
			}
			var next string
			for range uses {
				next = w.refresh("other", token).ok().refreshed()
			}
			if tt.uses > 0 {
				if next == token {
					t.Error("no successor")
				}
				w.refresh("other", token).fails(400, "invalid_grant", "reuse_detected")
				w.refresh("other", next).fails(400, "invalid_grant", "reuse_detected")
			} else if got := decode(t, next, 1)["gen"]; got != 1.0 {
				t.Errorf("generation %v: something advanced", got)
			}
			w.refresh("reports", neighbour).ok()
		})
	}

	for name, turn := range map[string]func(*world, *bool){
		"the client's": func(w *world, b *bool) { set(w, "other", b, nil) },
		"the realm's":  func(w *world, b *bool) { w.edit(func(s *realm.Settings) { s.RevokeRefreshToken = *b }) },
	} {
		t.Run("switching "+name, func(t *testing.T) {
			w := newWorld(t)
			first, second := grant(w, "other"), grant(w, "other")
			for range 3 {
				w.refresh("other", first).ok()
				w.refresh("other", second).ok()
			}
			// On: what exists is single use from now on.
			turn(w, &on)
			next := w.refresh("other", first).ok().refreshed()
			w.refresh("other", first).fails(400, "invalid_grant", "reuse_detected")
			newest := w.refresh("other", second).ok().refreshed()
			// Off: what was revoked stays dead, what was consumed stays consumed, but
			// is no reason to revoke.
			turn(w, &off)
			for range 2 {
				w.refresh("other", first).fails(400, "invalid_grant", "reuse_detected")
				w.refresh("other", next).fails(400, "invalid_grant", "reuse_detected")
				w.refresh("other", second).fails(400, "invalid_grant", "")
				w.refresh("other", newest).ok()
			}
			if w.active(first) || w.active(next) || w.active(second) || !w.active(newest) {
				t.Error("introspection disagrees")
			}
			// On again: the consumed one is a replay again.
			turn(w, &on)
			w.refresh("other", second).fails(400, "invalid_grant", "reuse_detected")
			w.refresh("other", newest).fails(400, "invalid_grant", "reuse_detected")
		})
	}
}
