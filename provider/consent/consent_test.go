package consent_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestO14_Needed(t *testing.T) {
	scopes := map[string]*client.Scope{
		"basic":          {Name: "basic"},
		"profile":        {Name: "profile", ConsentText: "User profile"},
		"offline_access": {Name: "offline_access", ConsentText: "Offline Access"},
	}
	mute := map[string]*client.Scope{"offline_access": {Name: "offline_access"}}
	plain, asks, adapter := &client.Client{}, &client.Client{ConsentRequired: true}, &client.Client{ConsentOffline: true}
	have := func(s ...string) *consent.Consent { return &consent.Consent{Scopes: s} }
	online := oidc.Scopes{"openid", "basic", "profile"}
	offline := online.With("offline_access")
	for _, tt := range []struct {
		name    string
		c       *client.Client
		scopes  map[string]*client.Scope
		granted oidc.Scopes
		have    *consent.Consent
		want    string
	}{
		{"no consent required", plain, scopes, offline, nil, ""},
		{"only what has a text", asks, scopes, online, nil, "profile"},
		{"offline access only when asked for", asks, scopes, offline, nil, "profile offline_access"},
		{"remembered", asks, scopes, offline, have("profile", "offline_access"), ""},
		{"only what is new", asks, scopes, offline, have("profile"), "offline_access"},
		{"prompt=consent asks again", asks, scopes, offline, nil, "profile offline_access"},
		{"the adapter's client, online", adapter, scopes, online, nil, ""},
		{"the adapter's client, offline", adapter, scopes, offline, nil, "offline_access"},
		{"the adapter's client, remembered", adapter, scopes, offline, have("offline_access"), ""},
		{"the adapter's client, consent to something else", adapter, scopes, offline, have("profile"), "offline_access"},
		{"the adapter's client, a scope without text", adapter, mute, oidc.Scopes{"offline_access"}, nil, "offline_access"},
	} {
		if got := consent.Needed(tt.c, tt.scopes, tt.granted, tt.have).String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestGiveAndWithdraw(t *testing.T) {
	store := storagetest.New(t, nil)
	update := func(fn func(tx storage.Tx) error) {
		t.Helper()
		if err := store.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	a, b := json.RawMessage(`{"type":"a"}`), json.RawMessage(`{"type":"b"}`)
	update(func(tx storage.Tx) error {
		if c, err := consent.Get(tx, "demo", "alice", "app"); c != nil || err != nil {
			t.Errorf("before: %+v, %v", c, err)
		}
		if gone, err := consent.Withdraw(tx, "demo", "alice", "app"); gone || err != nil {
			t.Errorf("withdrew what was not given: %v", err)
		}
		return consent.Give(tx, "demo", "alice", "app", oidc.Scopes{"profile"}, []json.RawMessage{a}, t0)
	})
	update(func(tx storage.Tx) error {
		return consent.Give(tx, "demo", "alice", "app", oidc.Scopes{"offline_access", "profile"}, []json.RawMessage{a, b}, t0.Add(time.Hour))
	})
	update(func(tx storage.Tx) error {
		c, err := consent.Get(tx, "demo", "alice", "app")
		if err != nil {
			return err
		}
		if oidc.Scopes(c.Scopes).String() != "profile offline_access" || len(c.AuthorizationDetails) != 2 ||
			!c.CreatedAt.Equal(t0) || !c.UpdatedAt.Equal(t0.Add(time.Hour)) || c.User != "alice" || c.Client != "app" {
			t.Errorf("got %+v", c)
		}
		if other, err := consent.Get(tx, "demo", "bob", "app"); other != nil || err != nil {
			t.Errorf("bob's: %+v, %v", other, err)
		}
		gone, err := consent.Withdraw(tx, "demo", "alice", "app")
		if !gone {
			t.Error("nothing withdrawn")
		}
		return err
	})
	update(func(tx storage.Tx) error {
		if c, err := consent.Get(tx, "demo", "alice", "app"); c != nil || err != nil {
			t.Errorf("after: %+v, %v", c, err)
		}
		return nil
	})
}
