package provider_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
)

// reload is a new configuration in a running process.
func (w *world) reload(d provider.Declaration) {
	w.t.Helper()
	if d.Settings.Name == "" {
		d.Settings = w.settings
	}
	for _, step := range []func(context.Context, provider.Declaration) error{w.provider.Declare, w.provider.Retire} {
		if err := step(w.t.Context(), d); err != nil {
			w.t.Fatal(err)
		}
	}
}

func declaredClient(edit ...func(*provider.DeclaredClient)) provider.DeclaredClient {
	d := provider.DeclaredClient{Secret: "reports-secret", Client: client.Client{
		ClientID: "reports", StandardFlow: true, DirectAccessGrants: true, FullScope: true, RequirePKCE: true, RedirectURIs: []string{callback},
	}}
	for _, e := range edit {
		e(&d)
	}
	return d
}

func TestDeclaredUser(t *testing.T) {
	w := newWorld(t)
	declare := func(u provider.DeclaredUser) {
		t.Helper()
		u.Username = "alice"
		w.reload(provider.Declaration{Users: []provider.DeclaredUser{u}, Clients: []provider.DeclaredClient{declaredClient()}})
	}
	login := func(password string) *reply {
		t.Helper()
		return w.post("token", "reports", "grant_type", "password", "username", "alice", "password", password, "scope", "openid offline_access")
	}
	first := login("alice-pw").ok()

	t.Run("a changed password stays until the declaration changes", func(t *testing.T) {
		hasher := &user.Hasher{}
		own, err := hasher.Hash(t.Context(), "her own")
		if err != nil {
			t.Fatal(err)
		}
		w.editUser("alice", func(u *user.User) { u.PasswordHash = own })
		declare(provider.DeclaredUser{Password: "alice-pw"})
		login("alice-pw").fails(400, "invalid_grant", "")
		login("her own").ok()
		declare(provider.DeclaredUser{Password: "new-pw"})
		login("her own").fails(400, "invalid_grant", "")
		login("new-pw").ok()
		declare(provider.DeclaredUser{PasswordHash: own})
		login("her own").ok()
		declare(provider.DeclaredUser{Password: "alice-pw"})
		if login("alice-pw").ok().claims()["sub"] != first.claims()["sub"] {
			t.Error("another sub")
		}
	})
	t.Run("roles", func(t *testing.T) {
		declare(provider.DeclaredUser{Password: "alice-pw", Roles: []string{}})
		w.refresh("reports", first.refreshed()).fails(400, "invalid_grant", "role_missing")
		declare(provider.DeclaredUser{Password: "alice-pw"})
		w.refresh("reports", first.refreshed()).ok()
		// What an administrator took away stays away.
		w.editUser("alice", func(u *user.User) { u.DefaultRoles = false })
		declare(provider.DeclaredUser{Password: "alice-pw"})
		w.refresh("reports", first.refreshed()).fails(400, "invalid_grant", "role_missing")
		declare(provider.DeclaredUser{Password: "alice-pw", Roles: []string{"offline_access", "editor"}, Admin: true})
		roles, _ := w.refresh("reports", first.refreshed()).ok().claims()["realm_access"].(map[string]any)["roles"].([]any)
		if len(roles) != 3 {
			t.Errorf("roles %v", roles)
		}
	})
	t.Run("a disabled user stays disabled", func(t *testing.T) {
		w.editUser("alice", func(u *user.User) { u.Enabled = false })
		declare(provider.DeclaredUser{Password: "alice-pw"})
		login("alice-pw").fails(400, "invalid_grant", "user_disabled")
		w.editUser("alice", func(u *user.User) { u.Enabled = true })
	})
	t.Run("who leaves the declaration is disabled, and comes back whole", func(t *testing.T) {
		token := login("alice-pw").ok()
		w.reload(provider.Declaration{Clients: []provider.DeclaredClient{declaredClient()}})
		w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "user_disabled")
		login("alice-pw").fails(400, "invalid_grant", "user_disabled")
		declare(provider.DeclaredUser{Password: "alice-pw"})
		w.refresh("reports", token.refreshed()).ok()
	})
	t.Run("who was disabled before it left comes back disabled", func(t *testing.T) {
		w.editUser("alice", func(u *user.User) { u.Enabled = false })
		w.reload(provider.Declaration{Clients: []provider.DeclaredClient{declaredClient()}})
		declare(provider.DeclaredUser{Password: "alice-pw"})
		login("alice-pw").fails(400, "invalid_grant", "user_disabled")
	})
}

func TestDeclaredClientLeavesAndComesBack(t *testing.T) {
	w := newWorld(t)
	alice := []provider.DeclaredUser{{Username: "alice", Password: "alice-pw"}}
	token := w.password("reports", "alice", "offline_access").ok()
	w.reload(provider.Declaration{Users: alice})
	w.refresh("reports", token.refreshed()).fails(401, "invalid_client", "")
	w.reload(provider.Declaration{Users: alice, Clients: []provider.DeclaredClient{declaredClient()}})
	w.refresh("reports", token.refreshed()).ok()

	// A failed reload leaves the old one whole: only Retire disables.
	if err := w.provider.Declare(t.Context(), provider.Declaration{Settings: w.settings}); err != nil {
		t.Fatal(err)
	}
	w.refresh("reports", token.refreshed()).ok()

	w.reload(provider.Declaration{Users: alice, Clients: []provider.DeclaredClient{declaredClient(func(d *provider.DeclaredClient) { d.Secret = "another" })}})
	w.refresh("reports", token.refreshed()).fails(401, "invalid_client", "")
}

// What the declaration does not say is the administrators' and stays; what it
// says wins at each start; what leaves it goes back to the default.
func TestDeclaredFieldsAndTheRest(t *testing.T) {
	w := newWorld(t)
	w.settings.SSOSessionIdle = time.Minute
	d := provider.Declaration{Settings: w.settings, Clients: []provider.DeclaredClient{declaredClient(func(d *provider.DeclaredClient) {
		d.WebOrigins, d.FullScope, d.Unset = []string{"https://declared.test"}, true, []string{"full_scope"}
	})}}
	w.reload(d)
	w.edit(func(s *realm.Settings) { s.SSOSessionIdle, s.SSOSessionMax, s.NotBefore = time.Hour, time.Hour, 5 })
	w.editClient("reports", func(c *client.Client) {
		c.WebOrigins, c.Description, c.FullScope = []string{"https://changed.test"}, "theirs", false
	})
	w.reload(d)
	read := func() (s realm.Settings, c client.Client) {
		w.edit(func(have *realm.Settings) { s = *have })
		w.editClient("reports", func(have *client.Client) { c = *have })
		return s, c
	}
	s, c := read()
	if s.SSOSessionIdle != time.Minute || s.SSOSessionMax != time.Hour || s.NotBefore != 5 {
		t.Errorf("settings %+v", s)
	}
	if len(c.WebOrigins) != 1 || c.WebOrigins[0] != "https://declared.test" || c.Description != "theirs" || c.FullScope {
		t.Errorf("client %+v", c)
	}
	if !slices.Contains(c.ReadOnly(), "web_origins") || slices.Contains(c.ReadOnly(), "full_scope") || slices.Contains(c.ReadOnly(), "description") {
		t.Errorf("read-only %v", c.ReadOnly())
	}

	d.Settings.SSOSessionIdle, d.Clients[0].WebOrigins = 0, nil
	w.reload(d)
	if s, c := read(); s.SSOSessionIdle != 0 || s.SSOSessionMax != time.Hour || c.WebOrigins != nil {
		t.Errorf("after it left the declaration: %v, %v", s.SSOSessionIdle, c.WebOrigins)
	}
	w.reload(provider.Declaration{Settings: d.Settings})
	if _, c := read(); len(c.ReadOnly()) != 0 || c.Enabled {
		t.Errorf("a client that left: read-only %v", c.ReadOnly())
	}
}

func TestDeclarationIsJudgedBeforeItIsWritten(t *testing.T) {
	w := newWorld(t)
	for words, d := range map[string]provider.Declaration{
		"declared twice":          {Users: []provider.DeclaredUser{{Username: "x"}, {Username: "X"}}},
		"exclude each other":      {Users: []provider.DeclaredUser{{Username: "x", Password: "p", PasswordHash: "$argon2id$"}}},
		"password_hash":           {Users: []provider.DeclaredUser{{Username: "x", PasswordHash: "md5"}}},
		"longer than":             {Users: []provider.DeclaredUser{{Username: "x", Password: strings.Repeat("x", 5000)}}},
		"needs a name":            {Users: []provider.DeclaredUser{{}}},
		"needs a client_id":       {Clients: []provider.DeclaredClient{{}}},
		"secret is missing":       {Clients: []provider.DeclaredClient{declaredClient(func(d *provider.DeclaredClient) { d.Secret = "" })}},
		"public and secret":       {Clients: []provider.DeclaredClient{declaredClient(func(d *provider.DeclaredClient) { d.Public = true })}},
		"client reports is decla": {Clients: []provider.DeclaredClient{declaredClient(), declaredClient()}},
		" redirect_uris":          {Clients: []provider.DeclaredClient{declaredClient(func(d *provider.DeclaredClient) { d.RedirectURIs = []string{"javascript:x"} })}},
	} {
		d.Settings.RevokeRefreshToken = true // would be seen
		err := w.provider.Declare(t.Context(), d)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %q", err, words)
		}
		if err != nil && strings.Contains(err.Error(), "reports-secret") {
			t.Error("the error holds a secret")
		}
	}
	r := w.password("reports", "alice", "offline_access").ok()
	w.refresh("reports", r.refreshed()).ok()
	w.refresh("reports", r.refreshed()).ok()
}

// A realm may live below a path, and answers for itself alone.
func TestRealmBelowAPath(t *testing.T) {
	w := newWorld(t)
	const base = "https://id.test/auth"
	p, err := provider.New(provider.Config{Store: w.store, Sealer: w.keyset, Realm: "demo", URL: base, Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec
	}
	if rec := get("/auth/realms/demo"); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("before the start: %d", rec.Code)
	}
	if err := p.Declare(t.Context(), provider.Declaration{Settings: realm.Settings{SSOSessionIdle: time.Minute}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/auth/realms/demo": true, "/auth/realms/demo/protocol/openid-connect/certs": true,
		"/.well-known/oauth-authorization-server/auth/realms/demo": true,
		"/realms/demo": false, "/auth/realms/demo2": false, "/auth/realms/": false, "/auth": false, "/": false,
	} {
		if p.Serves(path) != want {
			t.Errorf("Serves(%s) = %v", path, !want)
		}
		if rec := get(path); (rec.Code == http.StatusOK) != want {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	rec := get(strings.Replace(authURL("reports", "openid"), issuer, "/auth/realms/demo", 1))
	if to := rec.Header().Get("Location"); !strings.HasPrefix(to, "/auth/realms/demo/login-actions/authenticate?") {
		t.Errorf("the login is at %q (%d)", to, rec.Code)
	}
}

// A restart with the same declaration changes nothing, and tells of nothing.
func TestDeclaredAgain(t *testing.T) {
	w := newWorld(t, singleUse(0), func(s *realm.Settings) { s.DefaultRoles = []string{"offline_access"} })
	told := len(w.events)
	w.restart()
	if more := w.events[told:]; len(more) > 0 {
		t.Errorf("told of %+v", more)
	}
}

// What a reload takes away is told, so that nobody goes on with it.
func TestDeclarationTells(t *testing.T) {
	w := newWorld(t)
	declare := func(edit func(*provider.Declaration)) []event.Event {
		t.Helper()
		d := provider.Declaration{
			Settings: w.settings, Clients: []provider.DeclaredClient{declaredClient()},
			Users: []provider.DeclaredUser{{Username: "alice", Password: "alice-pw"}, {Username: "carol", Password: "carol-pw", Roles: []string{"keeper"}}},
			Roles: []user.Role{{Name: "keeper", Composites: []string{"offline_access"}}},
		}
		edit(&d)
		told := len(w.events)
		w.reload(d)
		return w.events[told:]
	}
	declare(func(*provider.Declaration) {})
	for _, tt := range []struct {
		name        string
		edit        func(*provider.Declaration)
		kind        event.Type
		who, reason string
	}{
		{"a role taken", func(d *provider.Declaration) { d.Users[1].Roles = []string{} }, event.UserChanged, "carol", "declared"},
		{"and given back", func(*provider.Declaration) {}, event.UserChanged, "carol", "declared"},
		{"the default roles taken", func(d *provider.Declaration) { d.Users[0].Roles = []string{"editor"} }, event.UserChanged, "alice", "declared"},
		{"and given back", func(*provider.Declaration) {}, event.UserChanged, "alice", "declared"},
		{"a composite taken", func(d *provider.Declaration) { d.Roles[0].Composites = []string{} }, event.RealmChanged, "", "declared"},
		{"and given back", func(*provider.Declaration) {}, event.RealmChanged, "", "declared"},
		{"a user gone", func(d *provider.Declaration) { d.Users = d.Users[:1] }, event.UserChanged, "carol", "user_disabled"},
		{"and back", func(*provider.Declaration) {}, event.UserChanged, "carol", "declared"},
		{"a client gone", func(d *provider.Declaration) { d.Clients = nil }, event.ClientChanged, "reports", "client_disabled"},
		{"and back", func(*provider.Declaration) {}, event.ClientChanged, "reports", "declared"},
		{"a client's scope taken", func(d *provider.Declaration) { d.Clients[0].OptionalScopes = []string{"address"} }, event.ClientChanged, "reports", "declared"},
		{"and given back", func(*provider.Declaration) {}, event.ClientChanged, "reports", "declared"},
		{"a password", func(d *provider.Declaration) { d.Users[0].Password = "another" }, event.UpdateCredential, "alice", ""},
		{"and back", func(*provider.Declaration) {}, event.UpdateCredential, "alice", ""},
		{"a setting", func(d *provider.Declaration) { d.Settings.OfflineSessionIdle = day }, event.RealmChanged, "", "declared"},
		{"and back", func(*provider.Declaration) {}, event.RealmChanged, "", "declared"},
	} {
		told := declare(tt.edit)
		if len(told) != 1 || told[0].Type != tt.kind || told[0].Reason != tt.reason || told[0].Username+told[0].Client != tt.who {
			t.Errorf("%s: told of %+v", tt.name, told)
			continue
		}
		if kept := w.kept(audit.Query{Max: 1}); kept[0].Type != tt.kind {
			t.Errorf("%s: kept %+v", tt.name, kept)
		}
		w.advance(time.Second)
	}
}
