package jobs_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/jobs"
	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

const (
	site   = "http://localhost:8081"
	secret = "backup-demo"
)

// env is the endpoint for jobs over HTTP, with a provider over HTTP and a store
// on disk behind it.
type env struct {
	job      string // that asks; "": nightly-backup
	t        testing.TB
	provider *vaulttest.Provider
	place    storagetest.Place
	backend  storage.Backend
	sealer   *seal.Keyset
	jobs     []jobs.Job
	vault    *vault.Vault
	server   *httptest.Server
	said     *buffer // everything logged, told and answered

	mu     sync.Mutex
	now    time.Time
	events []map[string]any
}

type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func newEnv(t testing.TB, rules ...jobs.Job) *env {
	t.Helper()
	sealer, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	e := &env{
		t: t, provider: vaulttest.New(t), place: storagetest.NewPlace(t), sealer: sealer, said: &buffer{},
		jobs: rules, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
	if len(rules) == 0 {
		e.jobs = []jobs.Job{nightly()}
	}
	e.start()
	t.Cleanup(func() { e.stop() })
	return e
}

// nightly is the job of the demo.
func nightly() jobs.Job {
	return jobs.Job{Name: "nightly-backup", Secret: secret, Site: site, Users: []string{"alice"}, Scopes: []string{"openid", "profile"}}
}

func (e *env) start() {
	e.t.Helper()
	e.backend = e.place.Open(e.t)
	fixed := func(path string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return e.provider.URL + path, nil }
	}
	client := func(name string, local bool) *vault.Provider {
		return &vault.Provider{
			Name: name, Issuer: e.provider.URL, ClientID: vaulttest.ClientID, ClientSecret: vaulttest.ClientSecret,
			Local: local, TokenEndpoint: fixed("/token"), RevocationEndpoint: fixed("/revoke"),
			HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		}
	}
	logger := slog.New(slog.NewTextHandler(e.said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	told := func(name string, data map[string]any) {
		fmt.Fprintln(e.said, name, data)
		e.mu.Lock()
		defer e.mu.Unlock()
		data["event"] = name
		e.events = append(e.events, data)
	}
	var err error
	e.vault, err = vault.New(vault.Config{
		Store:  storage.New(storage.Config{Backend: e.backend, Now: e.clock}),
		Sealer: e.sealer, Now: e.clock, RetryPause: time.Millisecond, Logger: logger, Events: told,
		Providers: map[string]*vault.Provider{"demo": client("demo", true), "google": client("google", false)},
	})
	if err != nil {
		e.t.Fatal(err)
	}
	h, err := jobs.New(jobs.Config{
		Vault: e.vault, Jobs: e.jobs, Now: e.clock, Logger: logger, Events: told,
		Sites: []jobs.Site{
			{URL: site, Provider: "demo", Client: vaulttest.ClientID, Local: true, ConsentURI: site + "/backup"},
			{URL: "http://localhost:8083", Provider: "google", Client: vaulttest.ClientID},
		},
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.server = httptest.NewServer(h)
}

func (e *env) stop() {
	e.server.Close()
	_ = e.vault.Close(context.Background())
	if err := e.backend.Close(); err != nil {
		e.t.Error(err)
	}
}

func (e *env) clock() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

func (e *env) advance(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = e.now.Add(d)
}

// login saves a grant of a user of the demo realm.
func (e *env) login(user string, groups ...string) {
	e.t.Helper()
	e.save(vault.Login{Provider: "demo", Sub: "sub-" + user, Username: user, Email: user + "@example.com", EmailVerified: true, Groups: groups})
}

func (e *env) save(l vault.Login) {
	e.t.Helper()
	const scope = "openid profile offline_access"
	l.Client, l.Site = vaulttest.ClientID, site
	l.Scopes, l.IdleExpiresIn = strings.Fields(scope), 30*24*time.Hour
	if l.Jobs == nil { // the person allowed each of them
		l.Jobs = vault.Jobs{}
		for _, j := range e.jobs {
			l.Jobs[j.Name] = j.Scopes
		}
	}
	l.RefreshToken = e.provider.Login(l.Sub, l.Username, scope, l.Groups...)
	if _, err := e.vault.Save(context.Background(), l); err != nil {
		e.t.Fatal(err)
	}
}

// answer of the endpoint for jobs.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) get(name string) string { s, _ := a.body[name].(string); return s }

func (e *env) do(req *http.Request) answer {
	e.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			e.t.Fatalf("answer %q: %v", raw, err)
		}
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		e.t.Errorf("Cache-Control %q in answer %s", got, raw)
	}
	return a
}

func (e *env) request(method, path, form string) *http.Request {
	e.t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form)
	} else if form != "" {
		path += "?" + form
	}
	req, err := http.NewRequest(method, e.server.URL+path, body)
	if err != nil {
		e.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.SetBasicAuth(cmp.Or(e.job, "nightly-backup"), secret)
	return req
}

// as lets another job ask from now on.
func (e *env) as(job string) { e.job = job }

func (e *env) post(path, form string) answer {
	e.t.Helper()
	return e.do(e.request(http.MethodPost, path, form))
}

func (e *env) get(path, query string) answer {
	e.t.Helper()
	return e.do(e.request(http.MethodGet, path, query))
}

// want fails the test unless the answer is this error, with these members.
func (e *env) want(a answer, status int, code string, members ...string) {
	e.t.Helper()
	if a.status != status || a.get("error") != code {
		e.t.Errorf("answer %d %s; want %d %s", a.status, a.raw, status, code)
	}
	for i := 0; i < len(members); i += 2 {
		if a.get(members[i]) != members[i+1] {
			e.t.Errorf("%s is %q in %s; want %q", members[i], a.get(members[i]), a.raw, members[i+1])
		}
	}
}

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}
