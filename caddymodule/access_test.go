package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
)

func requestFor(target string, vars map[string]any) *http.Request {
	r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, target, nil), caddy.NewReplacer(), httptest.NewRecorder(), nil)
	for name, value := range vars {
		caddyhttp.SetVar(r.Context(), name, value)
	}
	return r
}

// TestPathAccess: a rule for some paths narrows what holds for the site.
func TestPathAccess(t *testing.T) {
	admin := caddyhttp.MatchPath{"/admin", "/admin/*"}
	if err := admin.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	s := &Site{
		Access:     Access{Allow: &Who{Roles: []string{"staff"}}, Deny: &Who{Users: []string{"mallory"}}},
		PathAccess: []*PathAccess{{Access: Access{Allow: &Who{Roles: []string{"admin"}}}, match: caddyhttp.MatcherSets{{admin}}}},
	}
	who := func(name string, roles ...string) session.Identity {
		return session.Identity{Subject: "s-" + name, Name: name, Roles: roles}
	}
	for _, c := range []struct {
		path string
		id   session.Identity
		want bool
	}{
		{"/", who("alice", "staff"), true},
		{"/", who("bob"), false},
		{"/", who("mallory", "staff"), false},
		{"/", session.Identity{}, false},
		{"/admin", who("alice", "staff"), false},
		{"/ADMIN/x", who("alice", "staff"), false},
		{"/admin/x", who("root", "staff", "admin"), true},
		{"/admin/x", who("root", "admin"), false}, // narrowed, never widened
		{"/admin/x", who("mallory", "staff", "admin"), false},
		// Another proxy asks, and nobody knows about what.
		{adapter.AuthPath, who("alice", "staff"), false},
		{adapter.AuthPath, who("root", "staff", "admin"), true},
	} {
		if got := s.permits(requestFor("http://app.test"+c.path, nil), c.id); got != c.want {
			t.Errorf("%s, %s %v: %v", c.path, c.id.Name, c.id.Roles, got)
		}
	}
}

func TestUntwinned(t *testing.T) {
	raw := func(paths string) caddyhttp.RawMatcherSets {
		return caddyhttp.RawMatcherSets{{"path": []byte(paths)}}
	}
	for paths, want := range map[string][]string{
		`["/x/*"]`:           {"/x/*"},
		`["/x", "/x/*"]`:     nil,
		`["/x*", "/x/*"]`:    nil,
		`["/*"]`:             nil,
		`["/x/*", "/y/z/*"]`: {"/x/*", "/y/z/*"},
		`["/x"]`:             nil,
	} {
		if got := untwinned(raw(paths)); !slices.Equal(got, want) {
			t.Errorf("%s: %v", paths, got)
		}
	}
	if got := untwinned(caddyhttp.RawMatcherSets{{"path": []byte(`["/x/*"]`), "method": []byte(`["GET"]`)}}); got != nil {
		t.Errorf("a set of two matchers: %v", got)
	}
	if got := untwinned(append(raw(`["/x/*"]`), raw(`["/x"]`)...)); got != nil {
		t.Errorf("a twin in another set: %v", got)
	}
}

// TestForwarded: only one of Caddy's trusted_proxies is believed.
func TestForwarded(t *testing.T) {
	trusted := map[string]any{caddyhttp.TrustedProxyVarKey: true}
	for name, c := range map[string]struct {
		vars          map[string]any
		method, uri   string
		wantM, wantTo string
	}{
		"trusted":     {trusted, "POST", "/a?b=c", "POST", "/a?b=c"},
		"no method":   {trusted, "", "/a", "GET", "/a"},
		"no uri":      {trusted, "GET", "", "", ""},
		"no path":     {trusted, "GET", "mailto:x", "", ""},
		"not trusted": {map[string]any{caddyhttp.TrustedProxyVarKey: false}, "GET", "/a", "", ""},
		"not known":   {nil, "GET", "/a", "", ""},
	} {
		r := requestFor("http://app.test"+adapter.AuthPath, c.vars)
		r.Header.Set("X-Forwarded-Method", c.method)
		r.Header.Set("X-Forwarded-Uri", c.uri)
		method, to := forwarded(r)
		if method != c.wantM || (to == nil) != (c.wantTo == "") || to != nil && to.RequestURI() != c.wantTo {
			t.Errorf("%s: %s %v", name, method, to)
		}
	}
}
