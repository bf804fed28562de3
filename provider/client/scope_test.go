package client_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// builtin returns the scopes of a new realm.
func builtin(t *testing.T) map[string]*client.Scope {
	t.Helper()
	store := storagetest.New(t, nil)
	var set map[string]*client.Scope
	if err := store.Update(t.Context(), func(tx storage.Tx) (err error) {
		if err = client.EnsureScopes(tx, "demo"); err == nil {
			set, err = client.ScopeSet(tx, "demo")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return set
}

// newClient as Keycloak makes one: the realm's default and optional scopes.
func newClient(change func(*client.Client)) *client.Client {
	s := realm.Settings{}.Resolve()
	c := &client.Client{ClientID: "web", FullScope: true, DefaultScopes: s.DefaultClientScopes, OptionalScopes: s.OptionalClientScopes}
	if change != nil {
		change(c)
	}
	return c
}

func TestEnsureScopes(t *testing.T) {
	set := builtin(t)
	s := realm.Settings{}.Resolve()
	for _, name := range slices.Concat(s.DefaultClientScopes, s.OptionalClientScopes) {
		if set[name] == nil {
			t.Errorf("scope %s of new clients does not exist", name)
		}
	}
	offline := set[oidc.ScopeOfflineAccess]
	if offline.ConsentText != "Offline Access" || !offline.InToken || !slices.Equal(offline.Roles, []string{"offline_access"}) {
		t.Errorf("got %+v", offline)
	}

	t.Run("an administrator's changes stay", func(t *testing.T) {
		store := storagetest.New(t, nil)
		err := store.Update(t.Context(), func(tx storage.Tx) error {
			if err := client.EnsureScopes(tx, "demo"); err != nil {
				return err
			}
			if err := client.Scopes.Delete(tx, "demo", "phone"); err != nil {
				return err
			}
			if err := client.EnsureScopes(tx, "demo"); err != nil {
				return err
			}
			set, err := client.ScopeSet(tx, "demo")
			if set["phone"] != nil {
				t.Error("a deleted scope came back")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestEvaluate(t *testing.T) {
	set := builtin(t)
	without := func(scope string) map[string]*client.Scope {
		out := map[string]*client.Scope{}
		for name, s := range set {
			if name != scope {
				out[name] = s
			}
		}
		return out
	}
	roleless := without("")
	roleless["offline_access"] = &client.Scope{Name: "offline_access", InToken: true}
	both := []string{"editor", "offline_access"}

	tests := []struct {
		name      string
		c         *client.Client
		scopes    map[string]*client.Scope
		userRoles []string
		requested string
		want      string   // granted, "" for an error
		roles     []string // granted
		code      string   // of the error
		missing   string   // role
		inClient  bool
	}{
		{"defaults are added", newClient(nil), set, both, "openid", "openid basic profile email roles web-origins acr", both, "", "", false},
		{"nothing asked for", newClient(nil), set, both, "", "basic profile email roles web-origins acr", both, "", "", false},
		{"an optional one", newClient(nil), set, both, "openid phone profile", "openid phone profile basic email roles web-origins acr", both, "", "", false},
		{"O10 offline_access is optional for new clients", newClient(nil), set, both, "openid offline_access", "openid offline_access basic profile email roles web-origins acr", both, "", "", false},
		{"O10 taken from the client", newClient(func(c *client.Client) { c.OptionalScopes = nil }), set, both, "openid offline_access", "", nil, "invalid_scope", "", false},
		{"O10 gone from the realm", newClient(nil), without("offline_access"), both, "offline_access", "", nil, "invalid_scope", "", false},
		{"an unknown one", newClient(nil), set, both, "openid admin", "", nil, "invalid_scope", "", false},
		{"a default one gone from the realm", newClient(nil), without("email"), both, "openid", "openid basic profile roles web-origins acr", both, "", "", false},
		{"a default offline_access is for who asks", newClient(func(c *client.Client) { c.DefaultScopes = []string{"basic", "offline_access"} }), set, both, "openid", "openid basic", both, "", "", false},
		{"O11 the user lacks the role", newClient(nil), set, []string{"editor"}, "openid offline_access", "", nil, "", "offline_access", false},
		{"O11 without offline_access nobody asks", newClient(nil), set, []string{"editor"}, "openid", "openid basic profile email roles web-origins acr", []string{"editor"}, "", "", false},
		{"O12 the scope brings the role", newClient(func(c *client.Client) { c.FullScope = false }), set, both, "offline_access", "offline_access basic profile email roles web-origins acr", []string{"offline_access"}, "", "", false},
		{"O12 the role was taken out of the scope", newClient(func(c *client.Client) { c.FullScope = false }), roleless, both, "offline_access", "", nil, "", "offline_access", true},
		{"O12 the client has the role itself", newClient(func(c *client.Client) { c.FullScope, c.ScopeRoles = false, []string{"offline_access"} }), roleless, both, "offline_access", "offline_access basic profile email roles web-origins acr", []string{"offline_access"}, "", "", false},
		{"O12 the user lacks it too", newClient(func(c *client.Client) { c.FullScope = false }), roleless, nil, "offline_access", "", nil, "", "offline_access", false},
		{"roles outside the client's scope", newClient(func(c *client.Client) { c.FullScope, c.ScopeRoles = false, []string{"editor"} }), set, both, "openid", "openid basic profile email roles web-origins acr", []string{"editor"}, "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requested, err := oidc.ParseScopes(tt.requested)
			if err != nil {
				t.Fatal(err)
			}
			got, err := client.Evaluate(tt.c, tt.scopes, tt.userRoles, requested)
			if tt.missing != "" {
				var missing *client.RoleMissing
				if !errors.As(err, &missing) || missing.Role != tt.missing || missing.InClient != tt.inClient || !strings.Contains(err.Error(), tt.missing) {
					t.Errorf("got %v", err)
				}
				return
			}
			wantCode(t, err, tt.code)
			if tt.code == "" && (got.Scopes.String() != tt.want || !slices.Equal(got.Roles, tt.roles)) {
				t.Errorf("got %v with roles %v, want %v with %v", got.Scopes, got.Roles, tt.want, tt.roles)
			}
		})
	}
	_, err := client.Evaluate(newClient(nil), set, both, oidc.Scopes{"openid", "reports.read"})
	if err == nil || !strings.Contains(err.Error(), "reports.read") {
		t.Errorf("the error does not name the scope: %v", err)
	}
}

func TestNarrow(t *testing.T) {
	set := builtin(t)
	granted := oidc.Scopes{"openid", "offline_access", "basic", "profile", "email", "phone"}
	both := []string{"editor", "offline_access"}
	tests := []struct {
		name      string
		c         *client.Client
		userRoles []string
		requested oidc.Scopes
		want      string
		code      string
		missing   bool
	}{
		{"all of it", newClient(nil), both, nil, "openid offline_access basic profile email phone", "", false},
		{"O06 exactly what was asked for", newClient(nil), both, oidc.Scopes{"openid", "phone"}, "openid phone", "", false},
		{"O06 never granted", newClient(nil), both, oidc.Scopes{"openid", "address"}, "", "invalid_scope", false},
		{"O06 unknown", newClient(nil), both, oidc.Scopes{"admin"}, "", "invalid_scope", false},
		{"another scope was taken from the client", newClient(func(c *client.Client) { c.OptionalScopes = []string{"offline_access"} }), both, nil, "openid offline_access basic profile email", "", false},
		{"O37 offline_access was taken from the client", newClient(func(c *client.Client) { c.OptionalScopes = nil }), both, nil, "", "invalid_grant", false},
		{"O37 asking for less does not help", newClient(func(c *client.Client) { c.OptionalScopes = nil }), both, oidc.Scopes{"openid"}, "", "invalid_grant", false},
		{"O37 the role was taken from the user", newClient(nil), []string{"editor"}, nil, "", "", true},
		{"O37 the role, asking for less", newClient(nil), []string{"editor"}, oidc.Scopes{"openid"}, "", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := client.Narrow(tt.c, set, tt.userRoles, granted, tt.requested)
			if tt.missing {
				if missing := (*client.RoleMissing)(nil); !errors.As(err, &missing) {
					t.Errorf("got %v", err)
				}
				return
			}
			wantCode(t, err, tt.code)
			if tt.code == "" && got.Scopes.String() != tt.want {
				t.Errorf("got %v, want %v", got.Scopes, tt.want)
			}
		})
	}
	t.Run("O37 tells the vault why", func(t *testing.T) {
		_, err := client.Narrow(newClient(func(c *client.Client) { c.OptionalScopes = nil }), set, both, granted, nil)
		var e *oidc.Error
		if !errors.As(err, &e) || e.GrantStatus != "role_missing" {
			t.Errorf("got %+v", err)
		}
	})
	t.Run("an online grant needs no role", func(t *testing.T) {
		if _, err := client.Narrow(newClient(nil), set, nil, oidc.Scopes{"openid", "profile"}, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestVisible(t *testing.T) {
	set := builtin(t)
	got := client.Visible(set, oidc.Scopes{"openid", "basic", "profile", "roles", "offline_access", "gone"})
	if got.String() != "openid profile offline_access" {
		t.Errorf("got %v", got)
	}
}
