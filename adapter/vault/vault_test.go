package vault_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// env is a vault over a store that outlives it, and a provider over HTTP.
type env struct {
	t        *testing.T
	provider *vaulttest.Provider
	backend  *faulty
	store    *storage.Store
	sealer   *seal.Keyset
	config   vault.Config
	vault    *vault.Vault
	log      *lockedBuffer

	mu     sync.Mutex
	now    time.Time
	events []string
}

// faulty fails writes while told to, or lets them wait.
type faulty struct {
	storage.Backend
	fail atomic.Pointer[error]
	gate atomic.Pointer[chan struct{}]
}

func (f *faulty) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if err := f.fail.Load(); err != nil {
		return *err
	}
	if gate := f.gate.Load(); gate != nil {
		<-*gate
	}
	return f.Backend.Update(ctx, fn)
}

func (f *faulty) broken(err error) (mend func()) {
	f.fail.Store(&err)
	return func() { f.fail.Store(nil) }
}

func (f *faulty) slow() (release func()) {
	gate := make(chan struct{})
	f.gate.Store(&gate)
	return func() { f.gate.Store(nil); close(gate) }
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{t: t, provider: vaulttest.New(t), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), log: &lockedBuffer{}}
	e.backend = &faulty{Backend: storagetest.Backend(t)}
	e.store = storage.New(storage.Config{Backend: e.backend, Now: e.clock})
	var err error
	if e.sealer, err = seal.New(); err != nil {
		t.Fatal(err)
	}
	e.config = vault.Config{
		Store: e.store, Sealer: e.sealer, Now: e.clock, RetryPause: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Events: func(name string, data map[string]any) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.events = append(e.events, name)
		},
		Providers: map[string]*vault.Provider{"demo": e.client()},
	}
	e.restart()
	return e
}

func (e *env) client() *vault.Provider {
	fixed := func(path string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return e.provider.URL + path, nil }
	}
	// net/http repeats a request that has an Idempotency-Key by itself if an idle
	// connection breaks; the tests count requests.
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return &vault.Provider{
		HTTPClient: once,
		Name:       "demo", Issuer: e.provider.URL, ClientID: vaulttest.ClientID, ClientSecret: vaulttest.ClientSecret,
		Local: true, TokenEndpoint: fixed("/token"), RevocationEndpoint: fixed("/revoke"),
	}
}

// foreign makes the provider one that is not of this process.
func (e *env) foreign() {
	p := e.client()
	p.Local = false
	e.config.Providers = map[string]*vault.Provider{"demo": p}
	e.provider.TellsStatus = false
	e.restart()
}

// with changes the provider that is configured.
func (e *env) with(change func(*vault.Provider)) {
	change(e.config.Providers["demo"])
	e.restart()
}

// restart makes a new vault over the same store, as a new process would.
func (e *env) restart() {
	e.t.Helper()
	v, err := vault.New(e.config)
	if err != nil {
		e.t.Fatal(err)
	}
	e.vault = v
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

func (e *env) saw(event string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, name := range e.events {
		if name == event {
			n++
		}
	}
	return n
}

const granted = "openid profile offline_access"

// login saves a grant for alice and returns its id.
func (e *env) login() string {
	e.t.Helper()
	return e.save(e.provider.Login("sub-alice", "alice", granted))
}

func (e *env) save(token string) string {
	e.t.Helper()
	_, err := e.vault.Save(context.Background(), vault.Login{
		Provider: "demo", Client: vaulttest.ClientID, Site: "http://localhost:8081", Sub: "sub-alice", Username: "alice",
		Scopes: strings.Fields(granted), RefreshToken: token, IdleExpiresIn: 30 * 24 * time.Hour,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return e.grant().ID
}

func (e *env) grant() vault.Grant {
	e.t.Helper()
	gs, err := e.vault.Find(context.Background(), vault.Query{Provider: "demo", Sub: "sub-alice"})
	if err != nil || len(gs) != 1 {
		e.t.Fatalf("grants of alice: %v, %v; want one", gs, err)
	}
	return gs[0]
}

var ask = vault.Ask{Scopes: []string{"openid"}, Job: "nightly-backup"}

func (e *env) token(id string) vault.Token {
	e.t.Helper()
	t, err := e.vault.Token(context.Background(), id, ask)
	if err != nil {
		e.t.Fatalf("asking for a token: %v", err)
	}
	if t.AccessToken == "" || t.GrantID != id || t.Scope != "openid" {
		e.t.Fatalf("token %+v", t)
	}
	return t
}

func (e *env) refused(id string, class vault.Class, status string) *vault.Error {
	e.t.Helper()
	_, err := e.vault.Token(context.Background(), id, ask)
	var failed *vault.Error
	if !errors.As(err, &failed) || failed.Class != class || failed.Status != status {
		e.t.Fatalf("asking for a token: %v; want class %s, status %q", err, class, status)
	}
	return failed
}

func (e *env) counts(requests, refreshes, replays int) {
	e.t.Helper()
	a, b, c := e.provider.Counts()
	if a != requests || b != refreshes || c != replays {
		e.t.Fatalf("provider saw %d requests, %d refreshes, %d replays; want %d, %d, %d", a, b, c, requests, refreshes, replays)
	}
}

// dump is everything that the store holds, keys and values.
func (e *env) dump() string {
	e.t.Helper()
	var b strings.Builder
	err := e.store.View(context.Background(), func(tx storage.Tx) error {
		items, err := tx.Scan(nil, nil, 10000)
		for _, it := range items {
			b.Write(it.Key)
			b.Write(it.Value)
		}
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return b.String()
}
