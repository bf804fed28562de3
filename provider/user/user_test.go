package user_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func within(t *testing.T, fn func(tx storage.Tx) error) {
	t.Helper()
	if err := storagetest.New(t, nil).Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestByLogin(t *testing.T) {
	within(t, func(tx storage.Tx) error {
		for _, u := range []user.User{
			{ID: "1", Username: "Alice", Email: "alice@Example.com"},
			{ID: "2", Username: "bob"},
			{ID: "3", Username: "service-account-reports", ServiceAccountOf: "reports"},
			{ID: "4", Username: "mallory", Email: "bob"}, // an address like another's name
		} {
			if err := user.Users.Put(tx, "demo", u.ID, &u); err != nil {
				return err
			}
		}
		for login, want := range map[string]string{
			"alice": "1", "ALICE": "1", " alice ": "1", "alice@example.com": "1", "bob": "2", "mallory": "4",
			"": "", "carol": "", "1": "", "service-account-reports": "", strings.Repeat("x", 3000): "", "al\x00ice": "",
		} {
			u, err := user.ByLogin(tx, "demo", login)
			switch {
			case want == "" && !errors.Is(err, storage.ErrNotFound):
				t.Errorf("%.20q: %v, %v", login, u, err)
			case want != "" && (err != nil || u.ID != want):
				t.Errorf("%.20q: %v, %v, want %s", login, u, err, want)
			}
		}
		return nil
	})
}

func TestServiceAccount(t *testing.T) {
	within(t, func(tx storage.Tx) error {
		if _, err := user.ServiceAccount(tx, "demo", "uuid"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		first, err := user.EnsureServiceAccount(tx, "demo", "id1", "uuid", "Reports", t0)
		if err != nil {
			return err
		}
		again, err := user.EnsureServiceAccount(tx, "demo", "id2", "uuid", "Reports", t0)
		if err != nil {
			return err
		}
		if first.ID != "id1" || again.ID != "id1" || first.Username != "service-account-reports" || !first.Enabled || !first.DefaultRoles {
			t.Errorf("got %+v and %+v", first, again)
		}
		return nil
	})
}

func TestEffectiveRoles(t *testing.T) {
	def := realm.Settings{Name: "demo"}
	tests := []struct {
		name     string
		settings realm.Settings
		user     user.User
		want     []string
	}{
		{"none", def, user.User{}, []string{}},
		{"O13 new users get offline_access by the default roles", def, user.User{DefaultRoles: true}, []string{"offline_access"}},
		{"direct and default", def, user.User{DefaultRoles: true, Roles: []string{"editor"}}, []string{"editor", "offline_access"}},
		{"exactly these", def, user.User{Roles: []string{"editor"}}, []string{"editor"}},
		{"O13 by a composite", def, user.User{Roles: []string{"staff"}}, []string{"editor", "offline_access", "power", "staff"}},
		{"composites may turn in circles", def, user.User{Roles: []string{"ping"}}, []string{"ping", "pong"}},
		{"a role that does not exist", def, user.User{Roles: []string{"gone", "editor"}}, []string{"editor"}},
		{"a composite of what does not exist", def, user.User{Roles: []string{"dangling"}}, []string{"dangling"}},
		{"the realm's own defaults", realm.Settings{Name: "demo", DefaultRoles: []string{"editor"}}, user.User{DefaultRoles: true}, []string{"editor"}},
		{"no defaults at all", realm.Settings{Name: "demo", DefaultRoles: []string{}}, user.User{DefaultRoles: true}, []string{}},
	}
	within(t, func(tx storage.Tx) error {
		for _, r := range []user.Role{
			{Name: "staff", Composites: []string{"power"}}, {Name: "power", Composites: []string{"editor", "offline_access"}},
			{Name: "ping", Composites: []string{"pong", "ping"}}, {Name: "pong", Composites: []string{"ping"}},
			{Name: "dangling", Composites: []string{"gone"}},
		} {
			if err := user.Roles.Put(tx, "demo", r.Name, &r); err != nil {
				return err
			}
		}
		if err := user.EnsureRoles(tx, def, "editor", "staff"); err != nil {
			return err
		}
		for _, tt := range tests {
			got, err := user.EffectiveRoles(tx, tt.settings, &tt.user)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
			}
		}
		if staff, err := user.Roles.Get(tx, "demo", "staff"); err != nil || len(staff.Composites) != 1 {
			t.Errorf("EnsureRoles changed a role that was there: %+v, %v", staff, err)
		}
		return nil
	})
}

func TestClaims(t *testing.T) {
	alice := user.User{ID: "1", Username: "alice", Email: "alice@example.com", FirstName: "Alice", LastName: "Liddell", Groups: []string{"staff"}, PasswordHash: "$"}
	roles := []string{"editor"}
	tests := []struct {
		scopes string
		user   user.User
		want   map[string]any
	}{
		{"openid", alice, map[string]any{}},
		{"openid profile", alice, map[string]any{"preferred_username": "alice", "name": "Alice Liddell", "given_name": "Alice", "family_name": "Liddell"}},
		{"profile", user.User{Username: "bob", LastName: "B"}, map[string]any{"preferred_username": "bob", "name": "B", "family_name": "B"}},
		{"profile email", user.User{Username: "bob"}, map[string]any{"preferred_username": "bob"}},
		{"email", alice, map[string]any{"email": "alice@example.com", "email_verified": false}},
		{"roles", alice, map[string]any{"realm_access": map[string]any{"roles": roles}, "groups": []string{"staff"}}},
	}
	for _, tt := range tests {
		scopes, err := oidc.ParseScopes(tt.scopes)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, user.Claims(&tt.user, roles, scopes)); diff != "" {
			t.Errorf("%s:\n%s", tt.scopes, diff)
		}
	}
}
