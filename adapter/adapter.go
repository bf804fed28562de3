package adapter

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/storage"
)

// Own paths of a site.
const (
	Prefix        = "/.nightlatch/"
	callbackPath  = Prefix + "callback"
	loggedOutPath = Prefix + "logged-out"
	resumePath    = Prefix + "resume"
	userinfoPath  = Prefix + "userinfo"
	jobsPath      = Prefix + "jobs"
	certsPath     = Prefix + "certs"

	backchannelPath = Prefix + "backchannel-logout"
)

// BearerMax is how old an access token may be where nothing else is configured.
const BearerMax = 24 * time.Hour

// AuthPath is where another proxy asks about a request. Where that request is
// not known, it is what Config.Allow gets.
const AuthPath = Prefix + "auth"

// LogoutPath is where a person logs out.
const LogoutPath = Prefix + "logout"

// CallbackURL is the redirect URI of a site, LoggedOutURL its post logout
// redirect URI: what has to be registered at the provider.
func CallbackURL(site *url.URL) string  { return site.String() + callbackPath }
func LoggedOutURL(site *url.URL) string { return site.String() + loggedOutPath }

// Grants keeps what a login brings for background jobs; *vault.Vault does.
type Grants interface {
	// Save has the offline token sealed and on disk before it returns. lost are
	// scopes of the person's grant that the login did not ask for.
	Save(ctx context.Context, l vault.Login) (lost []string, err error)
	// Has tells whether a working grant holds all the scopes.
	Has(ctx context.Context, provider, client, sub string, scopes []string) (bool, error)
	// AllowJobs notes that a person allowed jobs by name, RemoveJob takes one back.
	AllowJobs(ctx context.Context, provider, client, sub string, jobs vault.Jobs) error
	RemoveJob(ctx context.Context, grantID, job string) error
	// Find returns the grants that a query names; none is no error.
	Find(ctx context.Context, q vault.Query) ([]vault.Grant, error)
}

// Provider is the OpenID Provider of a site.
type Provider struct {
	Name         string
	Issuer       string
	ClientID     string
	ClientSecret string // "": a public client
	// HTTPClient reaches the provider; for a realm of the same process without
	// a network. Redirects are not followed. Without a timeout of its own it gets
	// one of 10 s.
	HTTPClient *http.Client
	Local      bool // a realm of the same process
	// AuthParams are added to the authorization request of an offline path, for
	// a provider without offline_access.
	AuthParams map[string]string
	// Algorithms of its tokens; default: those of its discovery document.
	Algorithms []string
}

// Offline is what a path asks of background access.
type Offline struct {
	Required bool // a grant is required here
	Optional bool // or asked for once, and done without
}

// Config of a RelyingParty.
type Config struct {
	Site *url.URL // the site's public URL without a path; no header can change it
	// Name of the site on its pages. Default: the host.
	Name string
	// Folder and Logo change the pages, as in page.Config.
	Folder   fs.FS
	Logo     *page.Logo
	Provider Provider
	// RequestScopes is what ?scope= may ask for besides offline_access.
	RequestScopes []string
	// JobScopes returns the scopes of all jobs of this provider and site.
	JobScopes func() []string
	// Jobs returns the jobs that may use the grants of this site, each with the
	// scopes of its rule; nil: none.
	Jobs           func() vault.Jobs
	BearerAudience []string
	// Assertion sends a signed JWT of the identity to the app (AssertionHeader).
	Assertion bool
	// IdentityHeaders are names that the app trusts: a client's own are deleted,
	// in every spelling, besides those that apps are known to trust.
	IdentityHeaders []string

	// Public requests need no login. ?scope= and offline paths do not count there.
	Public  func(*http.Request) bool
	Offline func(*http.Request) Offline
	// Allow judges who may make a request; nil: everybody who logs in. It may go
	// by the path and the method of the request, not by its body.
	Allow func(*http.Request, session.Identity) bool
	// Forwarded returns what a trusted proxy asks about at AuthPath, nil if the
	// asker is not trusted or does not say. Default: nobody is trusted.
	Forwarded func(*http.Request) (method string, uri *url.URL)

	SessionIdle    time.Duration // default 30 m
	SessionMax     time.Duration // default 10 h
	SessionRecheck time.Duration // age of claims; default 5 m
	// BearerMax is the age at which an access token does not count any more,
	// whatever its exp says: what has ended is remembered as long. Default BearerMax.
	BearerMax time.Duration

	Store  *storage.Store
	Sealer storage.Sealer
	Grants Grants
	// Shared: other processes write to the same store. Then sessions are kept in
	// memory only while Run hears of them.
	Shared bool

	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger
	// Events is told login, login_failed, logout, refused. Never a secret.
	Events func(name string, data map[string]any)
	// Failed answers a person who did not get what was asked for. Headers that belong
	// to the answer (WWW-Authenticate, Retry-After, cookies) are set. Default: the
	// site's own page. Programs get JSON without it.
	Failed func(http.ResponseWriter, *http.Request, Failure)
	// Refused is told why a request did not get what it asked for, in one of a few
	// words: unauthorized, invalid_token, forbidden, insufficient_scope,
	// invalid_scope, no_background_access, unknown_login, unavailable.
	Refused func(reason string)
}

// RelyingParty guards one site. It is safe for concurrent use.
type RelyingParty struct {
	config   Config
	sessions *session.Store
	headers  *identityHeaders
	client   *http.Client
	suffix   string // of cookie names: ports do not separate cookies
	secure   bool
	parties  *Parties // of the site, where people choose; nil: this one alone

	sessionCookie string // its name
	pages         *page.Set

	metadata    metadata
	longReturns budget
	bearers     bearers
	assertions  assertions
	rechecks    singleflight.Group
	recheckAt   atomic.Int64 // Unix nanoseconds: the provider was away, ask again then
}

// New checks the config. It reads nothing but the folder of pages.
func New(c Config) (*RelyingParty, error) {
	switch {
	case c.Site == nil || (c.Site.Scheme != "http" && c.Site.Scheme != "https") || c.Site.Host == "":
		return nil, errors.New("site must be an http or https URL with a host")
	case c.Site.Path != "" || c.Site.RawQuery != "" || c.Site.Fragment != "" || c.Site.User != nil:
		return nil, fmt.Errorf("site %s must have no path, query or user", c.Site)
	case c.Provider.Issuer == "" || c.Provider.ClientID == "":
		return nil, fmt.Errorf("provider of site %s needs an issuer and a client id", c.Site)
	case c.Store == nil || c.Sealer == nil || c.Grants == nil:
		return nil, fmt.Errorf("site %s needs a store, a sealer and grants", c.Site)
	}
	if err := CheckAuthParams(c.Provider.AuthParams); err != nil {
		return nil, fmt.Errorf("provider of site %s: %w", c.Site, err)
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler)).With("site", c.Site.String())
	defaultTo(&c.SessionIdle, 30*time.Minute)
	defaultTo(&c.SessionMax, 10*time.Hour)
	defaultTo(&c.SessionRecheck, 5*time.Minute)
	defaultTo(&c.BearerMax, BearerMax)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Events == nil {
		c.Events = func(string, map[string]any) {}
	}
	if c.Failed == nil {
		c.Failed = func(w http.ResponseWriter, r *http.Request, f Failure) { f.Page(w, r) }
	}
	if c.Refused == nil {
		c.Refused = func(string) {}
	}
	if c.Public == nil {
		c.Public = func(*http.Request) bool { return false }
	}
	if c.Offline == nil {
		c.Offline = func(*http.Request) Offline { return Offline{} }
	}
	if c.JobScopes == nil {
		c.JobScopes = func() []string { return nil }
	}
	if c.Forwarded == nil {
		c.Forwarded = func(*http.Request) (string, *url.URL) { return "", nil }
	}
	if c.Jobs == nil {
		c.Jobs = func() vault.Jobs { return nil }
	}
	sum := sha256.Sum256([]byte(c.Site.String()))
	rp := &RelyingParty{
		config: c, headers: newIdentityHeaders(c.IdentityHeaders), client: newClient(c.Provider), suffix: hex.EncodeToString(sum[:4]), secure: c.Site.Scheme == "https",
	}
	behind := rp.behind()
	rp.sessions = rp.newSessions(func(string) []string { return behind })
	rp.sessionCookie = rp.cookieName("session")
	var err error
	rp.pages, err = newPages(c)
	return rp, err
}

func (rp *RelyingParty) newSessions(behind func(provider string) []string) *session.Store {
	c := rp.config
	return session.NewStore(session.Config{
		Store: c.Store, Sealer: c.Sealer, Site: c.Site.String(), Behind: behind, Idle: c.SessionIdle, Max: c.SessionMax, Bearers: c.BearerMax,
		Now: c.Now, Random: c.Random, Log: c.Log, Shared: c.Shared,
	})
}

func defaultTo(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

// EndSubject ends the sessions and cached tokens of a subject at once, EndSession
// those of one session at the provider. The gateway calls them when the realm
// of the same process says so.
func (rp *RelyingParty) EndSubject(ctx context.Context, sub string) error {
	return rp.sessions.EndSubject(ctx, rp.config.Provider.Name, sub, rp.config.Now())
}

// EndSession is about a sid: a user session, or the offline session of tokens.
func (rp *RelyingParty) EndSession(ctx context.Context, sid string) error {
	return rp.sessions.EndProviderSession(ctx, rp.config.Provider.Name, sid, rp.config.Now())
}

// EndToken ends one access token, by its jti.
func (rp *RelyingParty) EndToken(ctx context.Context, jti string) error {
	return rp.sessions.EndAll(ctx, session.OfToken(rp.config.Provider.Name, jti))
}

// EndAll ends, at once, all sessions of the site and all tokens of its provider
// that are of before.
func (rp *RelyingParty) EndAll(ctx context.Context) error {
	return rp.sessions.EndAll(ctx, session.OfProvider(rp.config.Provider.Name))
}

// EndClient ends the tokens that a client has, and if it is the site's own the
// sessions too; EndOffline tokens of its offline sessions alone.
func (rp *RelyingParty) EndClient(ctx context.Context, client string) error {
	return rp.sessions.EndAll(ctx, session.OfClient(rp.config.Provider.Name, client))
}

// EndOffline is about background access; browser sessions do not hang on it.
func (rp *RelyingParty) EndOffline(ctx context.Context, client string) error {
	return rp.sessions.EndAll(ctx, session.OfOffline(rp.config.Provider.Name, client))
}

const failing = "failing"

// ProviderState is what is known of the site's provider, without asking it: ok,
// failing, or unknown before the first request.
func (rp *RelyingParty) ProviderState() string {
	m := &rp.metadata
	if !m.mu.TryLock() {
		return "unknown" // it is being asked right now
	}
	defer m.mu.Unlock()
	switch {
	case m.err != nil:
		return failing
	case m.found == nil:
		return "unknown"
	}
	return "ok"
}

// sweepEvery is how long an ended session stays in the store at the most.
const sweepEvery = time.Minute

// Run keeps the sessions tidy and hears of other nodes, until ctx ends.
func (rp *RelyingParty) Run(ctx context.Context) { rp.run(ctx, true) }

// run is Run; of several parties of a site one looks after the sessions.
func (rp *RelyingParty) run(ctx context.Context, sessions bool) {
	var wg sync.WaitGroup
	defer wg.Wait()
	if sessions {
		wg.Go(func() { rp.sessions.Watch(ctx) })
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if sessions {
				if err := rp.sessions.Sweep(ctx); err != nil && ctx.Err() == nil {
					rp.config.Log.Error("sweeping sessions", "err", err)
				}
			}
			rp.bearers.sweep(rp.config.Now())
			rp.assertions.sweep(rp.config.Now())
		}
	}
}
