package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

// siteProvider is a site's provider and the name that the site has there.
type siteProvider struct {
	name     string
	issuer   string
	clientID string
	realm    *runningRealm // nil: a foreign one
	foreign  *Foreign      // nil: a realm of this process
}

// siteProviders finds the providers of a site, in the order in which it names them.
func (a *App) siteProviders(s *Site) ([]*siteProvider, error) {
	if len(s.Providers) == 0 {
		p, err := a.siteProvider(s, s.Provider)
		return []*siteProvider{p}, err
	}
	if s.Provider != "" {
		return nil, errors.New("options provider and providers: want one of them")
	}
	var out []*siteProvider
	for i, name := range s.Providers {
		if name == "" || slices.Contains(s.Providers[:i], name) {
			return nil, fmt.Errorf("option provider: %q is named twice, or no name", name)
		}
		p, err := a.siteProvider(s, name)
		if err != nil {
			return nil, err
		}
		for _, other := range out {
			if strings.TrimSuffix(other.issuer, "/") == strings.TrimSuffix(p.issuer, "/") {
				return nil, fmt.Errorf("option provider: %s and %s are the same issuer", other.name, name)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// siteProvider finds a provider of a site; "" stands for the only one.
func (a *App) siteProvider(s *Site, name string) (*siteProvider, error) {
	names := slices.Sorted(maps.Keys(a.realms))
	names = append(names, slices.Sorted(maps.Keys(a.Providers))...)
	if name == "" && len(names) == 1 {
		name = names[0]
	}
	if r := a.realms[name]; r != nil {
		id := s.ClientID
		if id == "" {
			id = s.url.Hostname()
		}
		return &siteProvider{name: name, issuer: r.issuer(), clientID: id, realm: r}, nil
	}
	if f := a.Providers[name]; f != nil {
		if s.ClientID != "" && s.ClientID != f.ClientID && len(s.Providers) == 0 {
			return nil, fmt.Errorf("option client_id: with provider %s its own client_id is used", name)
		}
		return &siteProvider{name: name, issuer: f.Issuer, clientID: f.ClientID, foreign: f}, nil
	}
	switch {
	case len(names) == 0:
		return nil, errors.New("the global option nightlatch declares neither a realm nor a provider")
	case name == "":
		return nil, fmt.Errorf("option provider is missing: want one of %s", strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("option provider: %q is not declared: want one of %s", name, strings.Join(names, ", "))
}

// addSite is called while sites are provisioned. A site of a realm becomes one
// of its clients.
func (a *App) addSite(s *Site) error {
	for _, other := range a.sites {
		if other.URL == s.URL {
			return errors.New("the site has nightlatch twice: one block per site, with a matcher or public for the open paths")
		}
		for _, p := range s.providers {
			if o := other.at(p.name); o != nil && o.realm != nil && o.clientID == p.clientID {
				return fmt.Errorf("option client_id: %q is the name of site %s already: give this one another", p.clientID, other.URL)
			}
		}
	}
	for _, p := range s.providers {
		if p.realm != nil && a.Realms[p.name].Clients[p.clientID] != nil {
			return fmt.Errorf("option client_id: %q is a client of realm %s already: give the site another", p.clientID, p.name)
		}
	}
	a.sites = append(a.sites, s)
	return nil
}

// at is the site's provider of a name, nil without one.
func (s *Site) at(provider string) *siteProvider {
	for _, p := range s.providers {
		if p.name == provider {
			return p
		}
	}
	return nil
}

// siteSecret is the secret of a site's client at a realm of this process. Made
// once, sealed; nobody ever types it.
type siteSecret struct {
	Secret string `json:"secret"`
}

func siteSecrets(sealer storage.Sealer) *storage.Table[siteSecret] {
	return &storage.Table[siteSecret]{Name: "site_client", Sealer: sealer}
}

// secretOf reads or makes the secret of a site's client.
func (a *App) secretOf(ctx context.Context, p *siteProvider) (string, error) {
	table, fresh := siteSecrets(a.lease.keyset), siteSecret{Secret: rand.Text()}
	secret := ""
	err := a.lease.store.Update(ctx, func(tx storage.Tx) error {
		s, err := table.Get(tx, p.realm.name, p.clientID)
		if errors.Is(err, storage.ErrNotFound) {
			s, err = &fresh, table.Put(tx, p.realm.name, p.clientID, &fresh)
		}
		if err != nil {
			return err
		}
		secret = s.Secret
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("reading the secret of client %s: %w", p.clientID, err)
	}
	return secret, nil
}

// wireSites makes the relying party of each site, what the vault knows of its
// provider, and its client at a realm.
func (a *App) wireSites(ctx context.Context) error {
	a.vaults = map[string]*vault.Provider{}
	for _, s := range a.sites {
		if err := a.wireSite(ctx, s); err != nil {
			return fmt.Errorf("nightlatch %s: %w", s.URL, err)
		}
	}
	return nil
}

func (a *App) wireSite(ctx context.Context, s *Site) error {
	var configs []adapter.Config
	for _, p := range s.providers {
		ap, err := a.providerOf(ctx, s, p)
		if err != nil {
			return err
		}
		configs = append(configs, adapter.Config{
			Site: s.url, Name: s.Name, Folder: s.folder, Logo: s.logo, Provider: ap, RequestScopes: s.RequestScopes, JobScopes: func() []string { return a.jobScopes(s, p.name) },
			Jobs:           func() vault.Jobs { return a.jobsOf(s, p.name) },
			BearerAudience: s.BearerAudience, Assertion: s.Assertion, IdentityHeaders: slices.Collect(maps.Keys(s.HeaderUp)), Public: s.isPublic, Allow: s.permits, Offline: s.isOffline, Forwarded: forwarded,
			SessionIdle: s.idle, SessionMax: s.max, SessionRecheck: s.recheck, BearerMax: s.bearerMax,
			Store: a.lease.store, Sealer: a.lease.keyset, Grants: a.lease.vault,
			Shared: a.engine.shared(),
			Now:    faults.now, Log: a.log.With("site", s.URL), Events: func(name string, data map[string]any) { a.emit("site_"+name, data) },
			Failed:  s.failed,
			Refused: func(reason string) { counted.refusals.WithLabelValues(s.URL, reason).Inc() },
		})
	}
	var err error
	if s.rp, err = adapter.NewParties(configs...); err != nil {
		return err
	}
	for i, p := range s.providers {
		a.vaults[p.name+" "+p.clientID] = a.vaultProvider(configs[i].Provider, p, s.rp.Of(p.name))
	}
	return nil
}

// providerOf is a provider as the adapter knows it; a site becomes a client of a
// realm.
func (a *App) providerOf(ctx context.Context, s *Site, p *siteProvider) (adapter.Provider, error) {
	ap := adapter.Provider{Name: p.name, Issuer: p.issuer, ClientID: p.clientID}
	if p.realm == nil {
		ap.ClientSecret, ap.AuthParams, ap.Algorithms = p.foreign.ClientSecret, p.foreign.AuthParams, p.foreign.Algorithms
		ap.HTTPClient = &http.Client{Timeout: 10 * time.Second}
		return ap, nil
	}
	secret, err := a.secretOf(ctx, p)
	if err != nil {
		return ap, err
	}
	ap.ClientSecret, ap.HTTPClient, ap.Local = secret, p.realm.client, true
	p.realm.declared.Clients = append(p.realm.declared.Clients, siteClient(s, p, secret))
	return ap, p.realm.declared.Validate()
}

// siteClient is a site as a client of its realm. It always asks consent for
// offline_access: no link and no single sign-on makes a grant unseen.
func siteClient(s *Site, p *siteProvider, secret string) provider.DeclaredClient {
	return provider.DeclaredClient{Secret: secret, Client: client.Client{
		ClientID: p.clientID, Name: p.clientID, BaseURL: s.URL,
		RedirectURIs: []string{adapter.CallbackURL(s.url)}, PostLogoutRedirectURIs: []string{adapter.LoggedOutURL(s.url)},
		StandardFlow: true, RequirePKCE: true, ConsentOffline: true, FullScope: true, SigningAlgorithm: "ES256",
	}}
}

func (a *App) vaultProvider(ap adapter.Provider, p *siteProvider, rp *adapter.RelyingParty) *vault.Provider {
	v := &vault.Provider{
		Name: ap.Name, Issuer: ap.Issuer, ClientID: ap.ClientID, ClientSecret: ap.ClientSecret,
		HTTPClient: ap.HTTPClient, Local: ap.Local, TokenEndpoint: rp.TokenEndpoint,
		StopAfterUnused: a.stopAfterUnused, ConsentURI: a.consentURI,
	}
	if p.foreign != nil {
		v.OfflineIdle, v.OfflineMax, v.RefreshRate = p.foreign.idle, p.foreign.max, float64(p.foreign.RefreshRate)
	}
	if p.realm != nil {
		known := func(name string) func(context.Context) (string, error) {
			address := realm.Settings{Name: p.realm.name, URL: p.realm.url}.Endpoint(name)
			return func(context.Context) (string, error) { return address, nil }
		}
		v.TokenEndpoint, v.RevocationEndpoint = known("token"), known("revoke")
		v.Limits = func(ctx context.Context) (idle, most time.Duration, err error) {
			return a.limitsOf(ctx, p.realm.name, p.clientID)
		}
		v.WithdrawJob = func(ctx context.Context, sub, job string) error {
			return p.realm.provider.WithdrawJob(ctx, sub, p.clientID, job)
		}
	}
	return v
}

// limitsOf background access at a client of a realm, by its settings of now.
func (a *App) limitsOf(ctx context.Context, realmName, clientID string) (idle, most time.Duration, err error) {
	err = a.lease.store.View(ctx, func(tx storage.Tx) error {
		s, err := realm.Get(tx, realmName)
		if err != nil {
			return err
		}
		c, err := client.ByName(tx, realmName, clientID)
		if err != nil {
			return err
		}
		p := session.PolicyOf(s, c)
		idle, most = p.OfflineIdle, p.OfflineMax
		return nil
	})
	return idle, most, err
}

// consentURI is where a person allows background access on a site.
func (a *App) consentURI(site string) string {
	for _, s := range a.sites {
		if s.URL == site {
			return s.consent
		}
	}
	return ""
}

// jobScopes are the scopes of all jobs that use the grants of a site at a provider.
func (a *App) jobScopes(s *Site, provider string) []string {
	var out []string
	for _, scopes := range a.jobsOf(s, provider) {
		out = append(out, scopes...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// jobsOf are the jobs that use the grants of a site at a provider, each with its
// scopes.
func (a *App) jobsOf(s *Site, provider string) vault.Jobs {
	out := vault.Jobs{}
	for name, j := range a.Jobs {
		if a.siteOf(name) == s.URL && (j.Provider == "" || j.Provider == provider) {
			out[name] = j.Scopes
		}
	}
	return out
}

// siteOf is the site whose grants a job uses: the one that it names, else the
// only one with offline paths, else the only one; "" if that leaves a choice.
func (a *App) siteOf(job string) string {
	j := a.Jobs[job]
	if j.Site != "" {
		return strings.TrimSuffix(j.Site, "/")
	}
	var all, offline []string
	for _, s := range a.sites {
		if j.Provider != "" && s.at(j.Provider) == nil {
			continue
		}
		all = append(all, s.URL)
		if s.hasOffline() {
			offline = append(offline, s.URL)
		}
	}
	switch {
	case len(offline) == 1:
		return offline[0]
	case len(all) == 1:
		return all[0]
	}
	return ""
}

func (s *Site) hasOffline() bool { return len(s.offline)+len(s.offlineOptional) > 0 }

// ended drops what this configuration keeps of sessions that are over.
func (a *App) ended(ctx context.Context, providerName string, o over) {
	for _, s := range a.sites {
		rp := s.rp.Of(providerName)
		if rp == nil {
			continue
		}
		var err error
		switch {
		case o.token != "":
			err = rp.EndToken(ctx, o.token)
		case o.sid != "":
			err = rp.EndSession(ctx, o.sid)
		case o.sub != "":
			err = rp.EndSubject(ctx, o.sub)
		case o.offline:
			err = rp.EndOffline(ctx, o.client)
		case o.client != "":
			err = rp.EndClient(ctx, o.client)
		default:
			err = rp.EndAll(ctx)
		}
		if err != nil {
			a.log.Error("ending sessions", "site", s.URL, "error", err)
		}
	}
}
