package vault

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/nightlatch/nightlatch/storage"
)

// Config of a Vault.
type Config struct {
	Store *storage.Store
	// Sealer seals the records. Required.
	Sealer storage.Sealer
	// Providers that grants may come from, by any key: a provider's Name and
	// ClientID identify it, since each site may be a client of its own. Use
	// replaces them later.
	Providers map[string]*Provider
	// Node names this process among those that share the store. Empty where the
	// store belongs to one process alone: then a lease left behind by an earlier
	// life of the process is its own. A vault with a name serves
	// from memory only while Follow runs.
	Node string
	// Now defaults to time.Now, Random to crypto/rand.Reader, Logger to one that
	// discards, Events to nobody.
	Now    func() time.Time
	Random io.Reader
	Logger *slog.Logger
	Events func(name string, data map[string]any)
	// Refreshed is told what became of each refresh at a provider, and how long the
	// provider took with all attempts; nil is a success. Default: nobody.
	Refreshed func(provider, client string, took time.Duration, failed *Error)
	// FlightTimeout bounds one refresh with all its attempts. Default 30 s.
	FlightTimeout time.Duration
	// AttemptTimeout bounds one request to a provider. Default 10 s.
	AttemptTimeout time.Duration
	// RetryPause is the pause before the second attempt; it doubles. Default
	// 250 ms.
	RetryPause time.Duration
	// Hooks are for fault injection.
	Hooks Hooks
}

// Hooks let a test stop the refresh protocol at one of its steps.
type Hooks struct {
	// At is called at each step (see the Step constants). An error abandons the
	// flight on the spot, as a crash would.
	At func(step string) error
}

// Steps of a refresh, in order.
const (
	StepLocked    = "locked"    // (1) flight and lock are ours, nothing read
	StepIntent    = "intent"    // (3) lease and intent are on disk, nothing sent
	StepAnswered  = "answered"  // (4) the provider has answered, nothing written
	StepCommitted = "committed" // (5) the new token is on disk, nothing handed out
)

// Provider is one client of one provider.
type Provider struct {
	// Name as configured, for grants and rules; not the issuer.
	Name   string
	Issuer string
	// ClientID and ClientSecret; without a secret the client is public.
	ClientID     string
	ClientSecret string
	// AuthMethod is client_secret_basic (default) or client_secret_post
	// (RFC 6749 §2.3.1). Never guessed.
	AuthMethod string
	// HTTPClient defaults to http.DefaultClient. Redirects are not followed.
	HTTPClient *http.Client
	// Local tells that the provider is a realm of this process: its grant_status
	// is believed, and replaced tokens are revoked.
	Local bool
	// TokenEndpoint tells the address, possibly after a discovery; an error is a
	// transient one.
	TokenEndpoint func(context.Context) (string, error)
	// RevocationEndpoint (RFC 7009); nil where there is none.
	RevocationEndpoint func(context.Context) (string, error)
	// WithdrawJob takes one job out of a person's consent at the provider, where
	// that names jobs (RFC 9396); nil where it does not.
	WithdrawJob func(ctx context.Context, sub, job string) error
	// OfflineIdle is how long the provider lets a token rest that does not tell
	// (refresh_idle_expires_in). Default 7 d.
	OfflineIdle time.Duration
	// OfflineMax is how long after the login the provider ends a grant that does not
	// tell (refresh_expires_in); people are warned before. Default: not known.
	OfflineMax time.Duration
	// Limits, of a realm of this process, are how long it lets a token rest, and when
	// after the login it ends a grant (0: never), by its settings of now; what it
	// told before may be longer. nil: not asked.
	Limits func(context.Context) (idle, most time.Duration, err error)
	// StopAfterUnused ends keep-alive of a grant that neither a job nor a login
	// used for so long, after a warning. Default 90 d; below zero: never.
	StopAfterUnused time.Duration
	// RefreshRate bounds, per second, the refreshes that nobody asked for, of all
	// clients of this Name together. Default 20.
	RefreshRate float64
	// ConsentURI tells where a person allows background access anew, for the
	// public URL of a site; nil or "": the site itself.
	ConsentURI func(site string) string
}

func (p *Provider) key() providerKey { return providerKey{p.Name, p.ClientID} }

// policy is how the provider's grants are kept; nil is a provider that is not
// configured now.
func (p *Provider) policy() policy {
	out := policy{idle: 7 * 24 * time.Hour, stopAfter: 90 * 24 * time.Hour}
	if p == nil {
		return out
	}
	if p.OfflineIdle > 0 {
		out.idle = p.OfflineIdle
	}
	out.max = p.OfflineMax
	if p.StopAfterUnused != 0 {
		out.stopAfter = max(p.StopAfterUnused, 0)
	}
	return out
}

// Vault keeps grants. It is safe for concurrent use, and lives as long as its
// store: a reload replaces its providers, not the Vault.
type Vault struct {
	c         Config
	grants    *storage.Table[record]
	drops     *storage.Table[drops] // by provider
	providers atomic.Pointer[map[providerKey]*Provider]
	cache     cache
	uses      uses
	flights   singleflight.Group
	breakers  breakers
	pace      pace
	limits    sync.Map             // providerKey → limits, of realms of this process
	plans     *storage.Table[plan] // by client of a provider
	tellers   atomic.Pointer[[]Teller]
	wake      chan struct{} // there is news to tell, or much to write
	doubts    chan doubt
	locks     locks
	closing   chan struct{}
	closeOnce sync.Once
	running   running
}

type providerKey struct{ name, client string }

// New makes a Vault; it does no I/O.
func New(c Config) (*Vault, error) {
	if c.Store == nil || c.Sealer == nil {
		return nil, errors.New("making vault: store and sealer are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = func(string, map[string]any) {}
	}
	if c.Refreshed == nil {
		c.Refreshed = func(string, string, time.Duration, *Error) {}
	}
	if c.FlightTimeout == 0 {
		c.FlightTimeout = 30 * time.Second
	}
	if c.AttemptTimeout == 0 {
		c.AttemptTimeout = attemptTimeout
	}
	if c.RetryPause == 0 {
		c.RetryPause = 250 * time.Millisecond
	}
	v := &Vault{c: c, grants: table(c.Sealer), drops: &storage.Table[drops]{Name: "grant_drops"}, plans: &storage.Table[plan]{Name: "grant_plan"}, closing: make(chan struct{}), wake: make(chan struct{}, 1), doubts: make(chan doubt, manyDoubts)}
	v.cache.deaf = c.Node != "" // until Follow hears the other nodes
	v.Use(c.Providers)
	return v, nil
}

// Use replaces the providers; refreshes under way go on with the old ones. All
// breakers close: what an operator has mended works at once.
func (v *Vault) Use(providers map[string]*Provider) {
	m := make(map[providerKey]*Provider, len(providers))
	for _, p := range providers {
		m[p.key()] = p
	}
	v.providers.Store(&m)
	v.breakers.reset()
}

// Close refuses new refreshes and waits for those under way until ctx ends.
// Call it before the store is closed. One that did not finish is taken up by
// its intent at the next ask.
func (v *Vault) Close(ctx context.Context) error {
	v.closeOnce.Do(func() { close(v.closing) })
	select {
	case <-v.running.idle():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing vault: %w", context.Cause(ctx))
	}
}

func (v *Vault) provider(name, client string) *Provider {
	return (*v.providers.Load())[providerKey{name, client}]
}

func (v *Vault) policy(g *Grant) policy { return v.policyOf(providerKey{g.Provider, g.Client}) }

func (v *Vault) policyOf(k providerKey) policy {
	p := v.provider(k.name, k.client).policy()
	if l, ok := v.limits.Load(k); ok {
		l := l.(limits)
		p.limit, p.max = l.idle, l.most
	}
	return p
}

func (v *Vault) at(step string) error {
	if v.c.Hooks.At == nil {
		return nil
	}
	return v.c.Hooks.At(step)
}

// random returns 128 bits as 22 characters of base64url.
func (v *Vault) random() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(v.c.Random, b[:]); err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}
