package realm_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    realm.Settings
		ok   bool
	}{
		{"plain", realm.Settings{Name: "demo", URL: "http://localhost:8080"}, true},
		{"below a path", realm.Settings{Name: "demo", URL: "https://example.com/auth"}, true},
		{"no name", realm.Settings{URL: "http://localhost:8080"}, false},
		{"a name that is a path", realm.Settings{Name: "a/b", URL: "http://localhost:8080"}, false},
		{"a name that is a pattern", realm.Settings{Name: "a{b}", URL: "http://localhost:8080"}, false},
		{"no url", realm.Settings{Name: "demo"}, false},
		{"trailing slash", realm.Settings{Name: "demo", URL: "http://localhost:8080/"}, false},
		{"another scheme", realm.Settings{Name: "demo", URL: "ftp://localhost"}, false},
		{"query", realm.Settings{Name: "demo", URL: "http://localhost?x=1"}, false},
		{"user name", realm.Settings{Name: "demo", URL: "http://u@localhost"}, false},
		{"events for less than no time", realm.Settings{Name: "demo", URL: "http://localhost", EventsExpiration: ptr(-time.Second)}, false},
		{"events for ever", realm.Settings{Name: "demo", URL: "http://localhost", EventsExpiration: ptr(time.Duration(0))}, true},
		{"a negative factor", realm.Settings{Name: "demo", URL: "http://localhost", FailureFactor: -1}, false},
		{"negative reuse", realm.Settings{Name: "demo", URL: "http://localhost", RefreshTokenMaxReuse: -1}, false},
	} {
		if err := tt.s.Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Settings are read with Keycloak's defaults filled in, and what was set stays.
func TestGet(t *testing.T) {
	store := storagetest.New(t, nil)
	err := store.Update(t.Context(), func(tx storage.Tx) error {
		if _, err := realm.Get(tx, "demo"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		return realm.Table.Put(tx, "demo", "demo", &realm.Settings{Name: "demo", URL: "http://localhost:8080", SSOSessionIdle: time.Minute, DefaultRoles: []string{}})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = store.View(t.Context(), func(tx storage.Tx) error {
		s, err := realm.Get(tx, "demo")
		if err != nil {
			return err
		}
		if s.SSOSessionIdle != time.Minute || s.OfflineSessionIdle != 30*24*time.Hour || s.OfflineSessionMaxLimited || s.RevokeRefreshToken ||
			s.SigningAlgorithm != "RS256" || s.OfflineSessionLimit != 100 {
			t.Errorf("got %+v", s)
		}
		if len(s.DefaultRoles) != 0 || len(s.OptionalClientScopes) != 3 {
			t.Errorf("default roles %v (want none), optional scopes %v", s.DefaultRoles, s.OptionalClientScopes)
		}
		if got := s.Endpoint("token"); got != "http://localhost:8080/realms/demo/protocol/openid-connect/token" {
			t.Errorf("token endpoint %s", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every setting has Keycloak's default; those that inherit stay empty.
func TestResolve(t *testing.T) {
	got := realm.Settings{}.Resolve()
	want := realm.Settings{
		AccessTokenLifespan: 5 * time.Minute, AccessTokenLifespanImplicit: 15 * time.Minute, CodeLifespan: time.Minute,
		LoginTimeout: 30 * time.Minute, LoginActionTimeout: 5 * time.Minute, SSOSessionIdle: 30 * time.Minute, SSOSessionMax: 10 * time.Hour,
		OfflineSessionIdle: 30 * 24 * time.Hour, OfflineSessionMax: 60 * 24 * time.Hour, OfflineSessionLimit: 100,
		BruteForceProtected: ptr(true), FailureFactor: 30, WaitIncrement: time.Minute, MaxFailureWait: 15 * time.Minute, MaxDeltaTime: 12 * time.Hour,
		EventsEnabled: ptr(true), EventsExpiration: ptr(90 * 24 * time.Hour), AdminEventsEnabled: ptr(true), SigningAlgorithm: "RS256",
		DefaultRoles:         []string{"offline_access"},
		DefaultClientScopes:  []string{"basic", "profile", "email", "roles", "web-origins", "acr"},
		OptionalClientScopes: []string{"offline_access", "address", "phone"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	set := realm.Settings{
		LoginActionTimeout: time.Minute, EventsEnabled: ptr(false), EventsExpiration: ptr(time.Duration(0)), AdminEventsEnabled: ptr(false),
		EnabledEventTypes: []string{"LOGIN"}, RememberMe: true, SSOSessionIdleRememberMe: time.Hour, ClientSessionIdle: time.Second,
	}
	got = set.Resolve()
	if got.LoginActionTimeout != time.Minute || *got.EventsEnabled || *got.EventsExpiration != 0 || *got.AdminEventsEnabled ||
		len(got.EnabledEventTypes) != 1 || !got.RememberMe || got.SSOSessionIdleRememberMe != time.Hour || got.ClientSessionIdle != time.Second {
		t.Errorf("what was set became %+v", got)
	}
}

func ptr[T any](v T) *T { return &v }
