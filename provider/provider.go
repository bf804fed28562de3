package provider

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/account"
	"github.com/nightlatch/nightlatch/provider/admin"
	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/authorize"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/console"
	"github.com/nightlatch/nightlatch/provider/device"
	"github.com/nightlatch/nightlatch/provider/discovery"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/grant"
	"github.com/nightlatch/nightlatch/provider/guess"
	"github.com/nightlatch/nightlatch/provider/introspect"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/login"
	"github.com/nightlatch/nightlatch/provider/logout"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/revoke"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/provider/userinfo"
	"github.com/nightlatch/nightlatch/provider/visitor"
	"github.com/nightlatch/nightlatch/provider/web"
	"github.com/nightlatch/nightlatch/storage"
)

// Keyset seals values at rest and derives subkeys; *seal.Keyset is one.
type Keyset interface {
	storage.Sealer
	Derive(purpose string) []byte
}

// Config of a Provider.
type Config struct {
	Store  *storage.Store
	Sealer Keyset
	Realm  string
	// URL is the realm's public address without a trailing slash; the issuer is
	// URL + "/realms/" + Realm.
	URL string

	Now    func() time.Time // default time.Now
	Random io.Reader        // default crypto/rand
	Logger *slog.Logger     // default: discards
	Events event.Sink       // default: discards
	// Folder and Logo change the pages, as in page.Config.
	Folder fs.FS
	Logo   *page.Logo
	// RefreshAt is called at the steps of a refresh (grant.StepCommitting and
	// grant.StepAnswering), for fault injection; nil: nobody.
	RefreshAt func(step string)
	// Uses tells which jobs got a token of an offline session, each with the last
	// time, for people to see; nil: nobody knows.
	Uses func(ctx context.Context, offlineSession string) (map[string]time.Time, error)
}

// Provider is one realm. New makes it, Declare writes what a configuration says,
// Start lets it answer; Run keeps it tidy.
type Provider struct {
	config   Config
	settings realm.Settings // name and URL alone; the store has the rest
	hasher   *user.Hasher
	audit    *audit.Log
	pages    *web.Pages
	account  *account.Pages
	console  *console.Pages
	mux      atomic.Pointer[http.ServeMux] // nil until Start
	lastName atomic.Pointer[string]        // of the realm, as last read
}

// New checks the config. It reads nothing but the folder of pages.
func New(c Config) (*Provider, error) {
	p := &Provider{config: c, settings: realm.Settings{Name: c.Realm, URL: c.URL}}
	if err := p.settings.Validate(); err != nil {
		return nil, err
	}
	if p.config.Now == nil {
		p.config.Now = time.Now
	}
	if p.config.Random == nil {
		p.config.Random = rand.Reader
	}
	if p.config.Logger == nil {
		p.config.Logger = slog.New(slog.DiscardHandler)
	}
	if p.config.Events == nil {
		p.config.Events = event.Discard
	}
	p.hasher = &user.Hasher{Random: p.config.Random}
	p.audit = audit.New(audit.Config{
		Store: p.config.Store, Realm: c.Realm, Random: p.config.Random, Logger: p.config.Logger, Sink: p.config.Events,
	})
	if err := p.makePages(); err != nil {
		return nil, fmt.Errorf("making pages of realm %s: %w", c.Realm, err)
	}
	return p, nil
}

// CheckPages tells what is wrong with a folder of pages, without a store.
func CheckPages(folder fs.FS) error {
	return (&Provider{config: Config{Folder: folder}}).makePages()
}

func (p *Provider) makePages() error {
	look, err := page.NewLook(page.Config{
		Resources: p.settings.Path() + "/resources",
		Name:      p.name,
		Folder:    p.config.Folder,
		Logo:      p.config.Logo,
	})
	if err != nil {
		return err
	}
	if p.pages, err = web.New(look); err != nil {
		return err
	}
	if p.account, err = account.NewPages(look); err != nil {
		return err
	}
	if p.console, err = console.NewPages(look); err != nil {
		return err
	}
	return look.Strangers()
}

// nameTime is how long a page waits for the realm's name: one that tells of a store
// that does not answer must not wait for it again.
const nameTime = 250 * time.Millisecond

// name of the realm on its pages, as its settings are now.
func (p *Provider) name(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	var s realm.Settings
	err := p.config.Store.View(ctx, func(tx storage.Tx) (err error) {
		s, err = realm.Get(tx, p.config.Realm)
		return err
	})
	if err == nil {
		name := cmp.Or(s.DisplayName, p.config.Realm)
		p.lastName.Store(&name)
	}
	if last := p.lastName.Load(); last != nil {
		return *last
	}
	return p.config.Realm
}

// Issuer identifier of the realm.
func (p *Provider) Issuer() string { return p.settings.Issuer() }

// metadata is where RFC 8414 §3.1 puts the document of an issuer, before its path.
const metadata = "/.well-known/oauth-authorization-server"

// Serves tells whether the path of a request belongs to this realm.
func (p *Provider) Serves(path string) bool {
	base := p.settings.Path()
	return path == base || strings.HasPrefix(path, base+"/") || path == metadata+base
}

// Start opens the realm's keys, making those that are missing, and lets the
// Provider answer.
func (p *Provider) Start(ctx context.Context) error {
	ring, err := keys.Open(ctx, p.keys())
	if err != nil {
		return err
	}
	p.mux.Store(p.wire(ring))
	return nil
}

// Ready tells whether the keys are there and requests are answered.
func (p *Provider) Ready() bool { return p.mux.Load() != nil }

// wire is the one list of endpoints and what each needs.
func (p *Provider) wire(ring *keys.Ring) *http.ServeMux {
	c := p.config
	auth := client.Authenticator{
		SecretKey: p.secretKey(), TokenEndpoint: p.settings.Endpoint("token"), Issuer: p.settings.Issuer(), Now: c.Now,
		Guesses: guess.NewMemory(),
	}
	browser := session.Browser{Issuer: p.settings.Issuer(), Key: c.Sealer.Derive("forms of realm " + c.Realm)}

	documents := &discovery.Handler{Store: c.Store, Realm: c.Realm, Ring: ring, GrantTypes: grant.Types(), Log: c.Logger}
	authorization := &authorize.Handler{
		Store: c.Store, Realm: c.Realm, Ring: ring, Browser: browser, Pages: p.pages,
		Now: c.Now, Random: c.Random, Log: c.Logger, Audit: p.audit,
	}
	authentication := &login.Handler{
		Store: c.Store, Realm: c.Realm, Browser: browser, Hasher: p.hasher, Pages: p.pages,
		Now: c.Now, Random: c.Random, Log: c.Logger, Audit: p.audit,
	}
	devices := &device.Handler{
		Store: c.Store, Realm: c.Realm, Auth: auth, Browser: browser, Pages: p.pages,
		Now: c.Now, Random: c.Random, Log: c.Logger, Audit: p.audit,
	}
	tokens := &grant.Handler{
		Store: c.Store, Realm: c.Realm, Ring: ring, Auth: auth, Hasher: p.hasher,
		Now: c.Now, Random: c.Random, Log: c.Logger, Audit: p.audit, At: c.RefreshAt,
	}
	introspection := &introspect.Handler{
		Store: c.Store, Realm: c.Realm, Ring: ring, Auth: auth, Now: c.Now, Log: c.Logger, Audit: p.audit,
	}
	revocation := &revoke.Handler{
		Store: c.Store, Realm: c.Realm, Ring: ring, Auth: auth, Now: c.Now, Log: c.Logger, Audit: p.audit,
	}
	claims := &userinfo.Handler{Store: c.Store, Realm: c.Realm, Ring: ring, Now: c.Now, Log: c.Logger}
	endSession := &logout.Handler{
		Store: c.Store, Realm: c.Realm, Ring: ring, Auth: auth, Browser: browser, Pages: p.pages,
		Now: c.Now, Random: c.Random, Log: c.Logger, Audit: p.audit,
	}

	accounts := &account.Handler{
		Store: c.Store, Realm: c.Realm, Ring: ring, Browser: browser, Hasher: p.hasher, Pages: p.account, Errors: p.pages,
		Now: c.Now, Random: c.Random, Log: c.Logger, Audit: p.audit, Uses: c.Uses,
	}
	administration := &admin.Handler{
		Store: c.Store, Realm: c.Realm, Ring: ring, Sealer: c.Sealer, SecretKey: p.secretKey(), Hasher: p.hasher,
		Now: c.Now, Random: c.Random, Log: c.Logger, Audit: p.audit,
	}

	mux := http.NewServeMux()
	administrators := &console.Handler{
		Reception: visitor.Reception{
			Store: c.Store, Realm: c.Realm, Browser: browser, Now: c.Now, Random: c.Random, Client: client.Console, Step: "console",
		},
		REST:  func(u *user.User, via *client.Client) http.Handler { return admin.InNameOf(u, via, mux) },
		Pages: p.console, Errors: p.pages, Log: c.Logger,
	}

	base := p.settings.Path()
	protocol := base + "/protocol/openid-connect/"
	mux.HandleFunc(base, documents.Summary)
	mux.HandleFunc(base+"/.well-known/openid-configuration", documents.Configuration)
	mux.HandleFunc(metadata+base, documents.Configuration)
	mux.HandleFunc(protocol+"certs", documents.Keys)
	mux.HandleFunc(protocol+"auth", authorization.Authorize)
	mux.HandleFunc(protocol+"auth/device", devices.Authorize)
	mux.HandleFunc(base+"/device", devices.Page)
	mux.HandleFunc(base+"/login-actions/continue", authorization.Continue)
	mux.HandleFunc(base+"/login-actions/consent", authorization.Consent)
	mux.Handle(base+"/login-actions/authenticate", authentication)
	mux.Handle(protocol+"token", tokens)
	mux.Handle(protocol+"token/introspect", introspection)
	mux.Handle(protocol+"revoke", revocation)
	mux.Handle(protocol+"userinfo", claims)
	mux.Handle(protocol+"logout", endSession)
	mux.HandleFunc(base+"/login-actions/logout", endSession.Confirm)
	accounts.Mount(mux, base)
	administration.Mount(mux, strings.TrimSuffix(base, "/realms/"+c.Realm))
	administrators.Mount(mux, p.settings.Console())
	mux.HandleFunc(base+"/resources/", p.pages.Static)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.pages.NotFound(w, r)
	})
	return mux
}

func (p *Provider) secretKey() []byte { return p.config.Sealer.Derive("client secrets") }

// ServeHTTP answers for the realm; 503 until Start.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := p.mux.Load()
	if mux == nil {
		w.Header().Set("Retry-After", "1")
		p.pages.Error(w, r, http.StatusServiceUnavailable, "temporarily_unavailable", "the realm is starting", "")
		return
	}
	mux.ServeHTTP(w, r)
}

// sweepEvery is how far a count of sessions may be behind.
const sweepEvery = time.Minute

// Run keeps the store tidy until ctx ends: it deletes what has ended, once a
// minute, writes the events that wait, and follows the rotation of keys.
func (p *Provider) Run(ctx context.Context) {
	var beside sync.WaitGroup
	beside.Go(func() { p.audit.Run(ctx) })
	beside.Go(func() { p.followKeys(ctx) })
	defer beside.Wait()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !p.config.Store.Alone(ctx, "sweep of realm "+p.config.Realm, 2*sweepEvery) {
			continue // another node does
		}
		if err := p.Sweep(ctx); err != nil && ctx.Err() == nil {
			p.config.Logger.Error("sweeping", "realm", p.config.Realm, "err", err)
		}
	}
}

// Sweep is one round of Run: sessions that have ended by the settings of now,
// and events that are older than the realm keeps them.
func (p *Provider) Sweep(ctx context.Context) error {
	now := p.config.Now().UTC()
	return errors.Join(
		session.Sweep(ctx, p.config.Store, p.ending(now), p.config.Realm, now),
		audit.Sweep(ctx, p.config.Store, p.config.Realm, now),
	)
}

// ending tells of the offline sessions that a sweep ends.
func (p *Provider) ending(now time.Time) session.Updater {
	return func(ctx context.Context, fn func(storage.Tx, func(*session.ClientSession)) error) error {
		return p.audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
			return fn(tx, func(cs *session.ClientSession) { tell(standing.Ended(tx, p.config.Realm, cs, now)) })
		})
	}
}
