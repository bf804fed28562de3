package caddymodule

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/provider/event"
)

func TestAllow(t *testing.T) {
	alice := session.Identity{
		Subject: "1", Name: "alice", Email: "Alice@Example.com", EmailVerified: true, Roles: []string{"editor"}, Groups: []string{"staff"},
		Claims: map[string]any{"department": []any{"it", "hr"}, "level": float64(3), "vip": true},
	}
	unverified := alice
	unverified.EmailVerified = false
	for name, c := range map[string]struct {
		who  Who
		id   session.Identity
		want bool
	}{
		"any":                     {Who{Any: true}, alice, true},
		"anonymous":               {Who{Any: true}, session.Identity{}, false},
		"empty rule":              {Who{}, alice, false},
		"user":                    {Who{Users: []string{"bob", "alice"}}, alice, true},
		"other user":              {Who{Users: []string{"bob"}}, alice, false},
		"sub":                     {Who{Users: []string{"sub=1"}}, alice, true},
		"role":                    {Who{Roles: []string{"editor"}}, alice, true},
		"group":                   {Who{Groups: []string{"staff"}}, alice, true},
		"group is not a role":     {Who{Roles: []string{"staff"}}, alice, false},
		"email":                   {Who{Emails: []string{"alice@example.com"}}, alice, true},
		"email, not verified":     {Who{Emails: []string{"alice@example.com"}}, unverified, false},
		"domain":                  {Who{EmailDomains: []string{"example.com"}}, alice, true},
		"domain, not verified":    {Who{EmailDomains: []string{"example.com"}}, unverified, false},
		"domain, longer":          {Who{EmailDomains: []string{"le.com"}}, alice, false},
		"claim":                   {Who{Claims: map[string][]string{"department": {"hr"}}}, alice, true},
		"claim, number":           {Who{Claims: map[string][]string{"level": {"3"}}}, alice, true},
		"claim, boolean":          {Who{Claims: map[string][]string{"vip": {"true"}}}, alice, true},
		"claim, other":            {Who{Claims: map[string][]string{"department": {"ops"}}}, alice, false},
		"one of several suffices": {Who{Roles: []string{"boss"}, Groups: []string{"staff"}}, alice, true},
	} {
		if got := (Access{Allow: &c.who}).permits(c.id); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if c.id.Anonymous() {
			continue
		}
		// Whoever is let in by a list is kept out by it, and an address need not be
		// verified for that.
		if got := (Access{Deny: &c.who}).permits(c.id); got != !(c.want || c.id.Email != "" && !c.id.EmailVerified) {
			t.Errorf("deny %s: %v", name, got)
		}
	}
}

// TestPlaceholders: empty for nobody, known when somebody is there, and not to
// be forged.
func TestPlaceholders(t *testing.T) {
	repl := caddy.NewReplacer()
	r := httptest.NewRequest(http.MethodGet, "http://app.test/", nil)
	r = caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), nil)
	caller := callerOf(r)
	const all = "{http.auth.user.id}|{http.auth.user.name}|{http.auth.user.groups}|{http.auth.user.offline}|{http.auth.user.claims.department}|{http.auth.user.nonsense}"
	if got, err := repl.ReplaceOrErr(all, false, true); err != nil || got != "|||||" {
		t.Errorf("nobody: %q, %v", got, err)
	}
	caller.Identity = &session.Identity{Subject: "1", Name: "alice", Groups: []string{"a", "b"}, Claims: map[string]any{"department": []any{"it"}}}
	if callerOf(r) != caller {
		t.Error("a second handler knows another caller")
	}
	if got := repl.ReplaceAll(all, ""); got != "1|alice|a,b|false|it|" {
		t.Errorf("alice: %q", got)
	}
}

func TestDropOf(t *testing.T) {
	for name, c := range map[string]struct {
		e    event.Event
		want drop
		ok   bool
	}{
		"revoked":              {event.Event{Type: event.OfflineSessionEnd, OfflineSession: "o", Subject: "s"}, drop{offlineSession: "o", reason: "revoked"}, true},
		"idle":                 {event.Event{Type: event.OfflineSessionEnd, OfflineSession: "o", Reason: "idle_expired"}, drop{offlineSession: "o", reason: "idle_expired"}, true},
		"replay":               {event.Event{Type: event.RefreshTokenReplay, OfflineSession: "o", Reason: "reuse_detected"}, drop{offlineSession: "o", reason: "reuse_detected"}, true},
		"user changed":         {event.Event{Type: event.UserChanged, Subject: "s", Reason: "user_disabled"}, drop{sub: "s", reason: "user_disabled"}, true},
		"user given something": {event.Event{Type: event.UserChanged, Subject: "s", Reason: "declared"}, drop{sub: "s"}, true},
		"roles given":          {event.Event{Type: event.UserChanged, Subject: "s", Reason: "roles_given"}, drop{sub: "s"}, true},
		"user enabled":         {event.Event{Type: event.UserChanged, Subject: "s", Reason: "user_enabled"}, drop{sub: "s"}, true},
		"client revoked":       {event.Event{Type: event.ClientChanged, Client: "c", Reason: "revoked"}, drop{client: "c", reason: "revoked"}, true},
		"client disabled":      {event.Event{Type: event.ClientChanged, Client: "c", Reason: "client_disabled"}, drop{client: "c"}, true},
		"no client":            {event.Event{Type: event.ClientChanged}, drop{}, false},
		"realm's not-before":   {event.Event{Type: event.RealmChanged, Reason: "not_before"}, drop{reason: "not_before"}, true},
		"realm's roles":        {event.Event{Type: event.RealmChanged, Reason: "roles"}, drop{}, true},
		"logout":               {event.Event{Type: event.Logout, Subject: "s", Session: "x"}, drop{}, false},
		"refresh":              {event.Event{Type: event.RefreshToken, OfflineSession: "o"}, drop{}, false},
		"no session":           {event.Event{Type: event.OfflineSessionEnd}, drop{}, false},
	} {
		if got, ok := dropOf(c.e); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v %v", name, got, ok)
		}
	}
}

func TestOverOf(t *testing.T) {
	for name, c := range map[string]struct {
		e    event.Event
		want over
		ok   bool
	}{
		"logout":          {event.Event{Type: event.Logout, Subject: "s", Session: "x"}, over{sub: "s", sid: "x"}, true},
		"offline logout":  {event.Event{Type: event.Logout, Subject: "s", Session: "x", OfflineSession: "o"}, over{sid: "o"}, true},
		"one client's":    {event.Event{Type: event.RevokeGrant, Subject: "s", Session: "x", Details: map[string]string{"client_session": "c"}}, over{sid: "c"}, true},
		"its replay":      {event.Event{Type: event.RefreshTokenReplay, Session: "x", Details: map[string]string{"client_session": "c"}}, over{sid: "c"}, true},
		"one token":       {event.Event{Type: event.RevokeGrant, Subject: "s", Details: map[string]string{"token_type": "Bearer", "token_id": "j"}}, over{token: "j"}, true},
		"consent":         {event.Event{Type: event.RevokeGrant, Subject: "s", Details: map[string]string{"revoked_client": "c"}}, over{}, false},
		"user":            {event.Event{Type: event.UserChanged, Subject: "s"}, over{sub: "s"}, true},
		"roles":           {event.Event{Type: event.UserChanged, Subject: "s", Reason: "roles"}, over{sub: "s"}, true},
		"roles given":     {event.Event{Type: event.UserChanged, Subject: "s", Reason: "roles_given"}, over{}, false},
		"user enabled":    {event.Event{Type: event.UserChanged, Subject: "s", Reason: "user_enabled"}, over{}, false},
		"offline session": {event.Event{Type: event.OfflineSessionEnd, OfflineSession: "o", Subject: "s"}, over{sid: "o"}, true},
		"replay":          {event.Event{Type: event.RefreshTokenReplay, OfflineSession: "o"}, over{sid: "o"}, true},
		"revoked":         {event.Event{Type: event.ClientChanged, Client: "c", Reason: "revoked"}, over{client: "c", offline: true}, true},
		"disabled":        {event.Event{Type: event.ClientChanged, Client: "c", Reason: "client_disabled"}, over{client: "c"}, true},
		"deleted":         {event.Event{Type: event.ClientChanged, Client: "c", Reason: "client_deleted"}, over{client: "c"}, true},
		"client's":        {event.Event{Type: event.ClientChanged, Client: "c", Reason: "not_before"}, over{client: "c"}, true},
		"realm's":         {event.Event{Type: event.RealmChanged, Reason: "not_before"}, over{}, true},
		"enabled":         {event.Event{Type: event.ClientChanged, Client: "c", Reason: "client_enabled"}, over{}, false},
		"changed":         {event.Event{Type: event.ClientChanged, Client: "c", Reason: "changed"}, over{}, false},
		"no client":       {event.Event{Type: event.ClientChanged, Reason: "revoked"}, over{offline: true}, false},
		"declared":        {event.Event{Type: event.RealmChanged, Reason: "declared"}, over{}, false},
		"nobody":          {event.Event{Type: event.UserChanged}, over{}, false},
	} {
		if got, ok := overOf(c.e); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v %v", name, got, ok)
		}
	}
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   int
	}{
		{200, "", 0},
		{400, "invalid_grant", exitReconsent},
		{400, "invalid_request", exitUsage}, {400, "invalid_scope", exitUsage}, {400, "ambiguous_grant", exitUsage},
		{401, "invalid_client", exitCredentials},
		{403, "access_denied", exitDenied},
		{404, "no_grant", exitNoGrant},
		{404, "not_found", exitTemporary}, {429, "", exitTemporary}, {502, "", exitTemporary}, {503, "temporarily_unavailable", exitTemporary},
	} {
		if got := exitCode(c.status, jobError{Code: c.code}); got != c.want {
			t.Errorf("%d %s: %d, want %d", c.status, c.code, got, c.want)
		}
	}
}

// TestJobClient: credentials go by Basic authentication, over TCP as over a
// unix socket, and no message of an error holds them.
func TestJobClient(t *testing.T) {
	t.Setenv("NIGHTLATCH_JOB", "backup")
	t.Setenv("NIGHTLATCH_SECRET", "s3cr:t+/%")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, _, ok := r.BasicAuth(); !ok || name != "backup" || r.FormValue("user") != "alice" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant","grant_status":"revoked","reconsent_uri":"http://app/backup\u001b[2J"}`)
	}))
	defer server.Close()
	var stderr strings.Builder
	_, code := (&jobClient{url: server.URL}).do(&stderr, http.MethodPost, "/token", map[string][]string{"user": {"alice"}})
	if code != exitReconsent || !strings.Contains(stderr.String(), "http://app/backup") || !strings.Contains(stderr.String(), "revoked") {
		t.Errorf("code %d, %q", code, stderr.String())
	}
	if strings.ContainsAny(stderr.String(), "\x1b") || strings.Contains(stderr.String(), "s3cr") {
		t.Errorf("message: %q", stderr.String())
	}
	server.Close()
	if _, code := (&jobClient{url: server.URL}).do(&stderr, http.MethodPost, "/token", nil); code != exitTemporary {
		t.Errorf("nobody listens: %d", code)
	}
	if _, code := (&jobClient{url: "ftp://x"}).do(&stderr, http.MethodPost, "/token", nil); code != exitUsage {
		t.Errorf("address: %d", code)
	}
}

// TestInProcess: the way to a realm of this process is HTTP without a network.
func TestInProcess(t *testing.T) {
	release := make(chan struct{})
	realm := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/realms/demo/panic":
			panic("a bug")
		case "/realms/demo/slow":
			<-release
		}
		w.Header().Set("X-Host", r.Host)
		w.WriteHeader(http.StatusTeapot)
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	client := &http.Client{Transport: &inProcess{realm: realm, host: "id.test", serves: func(p string) bool { return strings.HasPrefix(p, "/realms/demo/") }}}
	resp, err := client.Post("http://id.test/realms/demo/x?y=1", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusTeapot || string(body) != "hello" || resp.Header.Get("X-Host") != "id.test" {
		t.Errorf("%d %q %v", resp.StatusCode, body, resp.Header)
	}
	for _, address := range []string{"http://elsewhere.test/realms/demo/x", "http://id.test/realms/other/x", "http://id.test/realms/demo/panic"} {
		if resp, err := client.Get(address); err == nil {
			t.Errorf("%s answers %d", address, resp.StatusCode)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://id.test/realms/demo/slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a slow realm: %v", err)
	}
	close(release)
}

// TestConsentURI: the link that jobs hand to people.
func TestConsentURI(t *testing.T) {
	set := func(paths string) caddyhttp.RawMatcherSets {
		return caddyhttp.RawMatcherSets{caddy.ModuleMap{"path": []byte(paths)}}
	}
	for want, sets := range map[string]caddyhttp.RawMatcherSets{
		"http://app/backup":                set(`["/backup","/backup/*"]`),
		"http://app/sync":                  set(`["/backup/*","/sync"]`),
		"http://app/?scope=offline_access": set(`["/backup/*"]`),
		"http://app/x":                     append(caddyhttp.RawMatcherSets{caddy.ModuleMap{"method": []byte(`["GET"]`)}}, set(`["/x"]`)...),
	} {
		if got := consentURI("http://app", sets); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
