package client_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

func TestByName(t *testing.T) {
	store := storagetest.New(t, nil)
	if err := store.Update(t.Context(), func(tx storage.Tx) error {
		return client.Clients.Put(tx, "demo", "uuid", &client.Client{ID: "uuid", ClientID: "reports"})
	}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"reports": true, "Reports": false, "uuid": false, "": false, strings.Repeat("x", 2000): false, "re\x00ports": false} {
		err := store.View(t.Context(), func(tx storage.Tx) error {
			c, err := client.ByName(tx, "demo", name)
			if err == nil && c.ID != "uuid" {
				t.Errorf("%q: %+v", name, c)
			}
			return err
		})
		if want != (err == nil) || (!want && !errors.Is(err, storage.ErrNotFound)) {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}

func TestMatchRedirect(t *testing.T) {
	const web, any = "https://rp.test/cb", "http://localhost:*/callback"
	tests := []struct {
		registered string
		public     bool
		uri        string
		want       bool
	}{
		{web, false, "https://rp.test/cb", true},
		{web, false, "https://rp.test/cb/", false},
		{web, false, "https://rp.test/CB", false},
		{web, false, "https://RP.test/cb", false},
		{web, false, "https://rp.test:8443/cb", false},
		{web, false, "https://rp.test:443/cb", false},
		{web, false, "https://rp.test/cb?x=1", false},
		{web, false, "https://rp.test/cb%2f..", false},
		{web, false, "https://rp.test/cb#f", false},
		{web, false, "https://rp.test@evil/cb", false},
		{web, false, "https://rp.test.evil/cb", false},
		{web, false, "http://rp.test/cb", false},
		{web, false, "", false},
		{"https://rp.test/*", false, "https://rp.test/*", false},
		{"https://rp.test/*", false, "https://rp.test/x", false},

		{any, false, "http://localhost:8080/callback", true},
		{any, true, "http://localhost:1/callback", true},
		{any, true, "http://localhost/callback", true},
		{any, true, "http://localhost:*/callback", false},
		{any, true, "http://localhost:0/callback", false},
		{any, true, "http://localhost:08080/callback", false},
		{any, true, "http://localhost:65536/callback", false},
		{any, true, "http://localhost:/callback", false},
		{any, true, "http://localhost:80x/callback", false},
		{any, true, "http://localhost:80@evil/callback", false},
		{any, true, "http://localhost:80/callback/x", false},
		{any, true, "http://localhost:80/callback?x", false},
		{any, true, "http://localhost.evil:80/callback", false},
		{any, true, "http://localhost.evil/callback", false},
		{any, true, "https://localhost:80/callback", false},
		{any, true, "http://127.0.0.1:80/callback", false},
		{"http://127.0.0.1:*/callback", false, "http://127.0.0.1:80/callback", true},
		{"https://rp.test:*/callback", false, "https://rp.test:80/callback", false},

		{"http://127.0.0.1/cb", true, "http://127.0.0.1:53123/cb", true},
		{"http://127.0.0.1:9/cb", true, "http://127.0.0.1:53123/cb", true},
		{"http://[::1]/cb", true, "http://[::1]:53123/cb", true},
		{"http://127.0.0.1/cb", true, "http://[::1]:53123/cb", false},
		{"http://127.0.0.1/cb", true, "http://127.0.0.1:53123/other", false},
		{"http://127.0.0.1/cb", true, "https://127.0.0.1:53123/cb", false},
		{"http://127.0.0.1/cb", false, "http://127.0.0.1:53123/cb", false},
		{"http://localhost/cb", true, "http://localhost:53123/cb", false},
		{"com.example.app:/cb", true, "com.example.app:/cb", true},
	}
	for _, tt := range tests {
		c := &client.Client{Public: tt.public, RedirectURIs: []string{"https://first.test/", tt.registered}}
		if got := client.MatchRedirect(c, tt.uri); got != tt.want {
			t.Errorf("%s (public %v), registered %s: %v", tt.uri, tt.public, tt.registered, got)
		}
	}
}

func TestMatchPostLogout(t *testing.T) {
	c := &client.Client{RedirectURIs: []string{"https://rp.test/cb"}, PostLogoutRedirectURIs: []string{"https://rp.test/out"}}
	if !client.MatchPostLogout(c, "https://rp.test/out") || client.MatchPostLogout(c, "https://rp.test/out?x") || client.MatchPostLogout(c, "https://rp.test/cb") {
		t.Error("want the registered one alone")
	}
	c.PostLogoutRedirectURIs = []string{"+"}
	if !client.MatchPostLogout(c, "https://rp.test/cb") || client.MatchPostLogout(c, "+") || client.MatchPostLogout(c, "") {
		t.Error("+ stands for the redirect URIs")
	}
}

func TestValidRedirect(t *testing.T) {
	for _, ok := range []string{"https://rp.test/cb", "https://rp.test/cb?x=1", "http://rp.test", "http://localhost:*/callback", "http://127.0.0.1:*/", "http://[::1]:*/cb",
		"http://localhost:8081/.nightlatch/callback", "com.example.app:/cb", "com.example.app://host/cb"} {
		if err := client.ValidRedirect(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "/cb", "rp.test/cb", "javascript:alert(1)", "data:text/html,x", "myapp:/cb", "https://rp.test/*", "https://*.rp.test/cb", "https://rp.test:*/cb",
		"https://rp.test/cb#f", "https://rp.test/cb#", "https://u:p@rp.test/cb", "https:///cb", "https:cb", "https://rp.test:/cb", "https://rp.test:0/cb", "https://rp.test:99999/cb",
		"https://rp.test/c b", "https://rp.test\\@evil/", "https://rp.test/\n", "https://rp.tést/", "http://localhost:*evil/cb"} {
		if err := client.ValidRedirect(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestAllowedOrigins(t *testing.T) {
	c := &client.Client{
		RedirectURIs: []string{"https://rp.test:8443/cb", "https://rp.test:8443/other", "http://localhost:*/callback", "com.example.app:/cb"},
		WebOrigins:   []string{"https://spa.test/", "+"},
	}
	want := []string{"https://spa.test", "https://rp.test:8443", "http://localhost:*"}
	got := client.AllowedOrigins(c)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for origin, want := range map[string]bool{"https://spa.test": true, "https://rp.test:8443": true, "http://localhost:5173": true, "http://localhost": true,
		"https://rp.test": false, "http://localhost.evil": false, "null": false, "": false, "http://localhost:*": false} {
		if client.MatchOrigin(got, origin) != want {
			t.Errorf("origin %q: want %v", origin, want)
		}
	}
	if got := client.AllowedOrigins(&client.Client{RedirectURIs: c.RedirectURIs}); got != nil {
		t.Errorf("without web origins: %v", got)
	}
	if !client.MatchOrigin([]string{"*"}, "https://any.test") {
		t.Error("* allows any origin")
	}
}
