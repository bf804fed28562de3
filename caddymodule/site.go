package caddymodule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
)

func init() { caddy.RegisterModule(new(Site)) }

// Site demands a login on a site, keeps its sessions, and tells the app who is
// there.
//
// For every request it deletes identity headers that the client sent and serves
// its own paths below /.nightlatch/ (callback, logout, userinfo, auth, resume,
// backchannel-logout), so it belongs at the site's own level, not inside handle
// or route. It answers 401 to API clients that are nobody, redirects a browser
// to the provider, and accepts bearer tokens that are meant for the site.
//
// Placeholders, empty while nobody is logged in:
//
// Placeholder | Description
// ------------|---------------
// `{http.auth.user.id}` | sub
// `{http.auth.user.name}` | preferred_username
// `{http.auth.user.email}` | the mail address
// `{http.auth.user.groups}`, `{http.auth.user.roles}` | separated by commas
// `{http.auth.user.provider}` | name of the realm or provider
// `{http.auth.user.offline}` | whether background access is granted, as true or false
// `{http.auth.user.claims.*}` | a claim by its name
//
// A person who does not get what was asked for, because the account may not come in, a
// login failed or the provider is away, gets a page, and programs get JSON. handle_errors
// takes the place of that page; what it does not answer shows it. Texts are escaped for
// HTML. Pages on which a person decides something (choice of a provider, log out, background
// access and the jobs that may use it) are no errors.
//
// Placeholder | Description
// ------------|---------------
// `{http.error.status_code}`, `{http.error.message}` | the status, and what happened, in a sentence
// `{http.nightlatch.error.title}` | the same in a few words
// `{http.nightlatch.error.code}` | what a program is told: access_denied, login_failed, temporarily_unavailable and others
// `{http.nightlatch.error.again}` | address to try again, empty where that does not help
// `{http.nightlatch.error.logout}` | address to log out, for an account that may not come in
type Site struct {
	// The site's own public address: it is never taken from a header. Required.
	URL string `json:"site,omitempty"`
	// On its pages. Default: the host.
	Name string `json:"name,omitempty"`
	Look
	// A realm or a provider of the app; may be left out where there is only one.
	Provider string `json:"provider,omitempty"`
	// Instead of provider, several of them: a page asks people which, and the
	// browser remembers. Sessions and grants are of the one that was chosen. Names
	// and roles that rules go by count whichever of them says them.
	Providers []string `json:"providers,omitempty"`
	// The site's name at its realm. Default: the site's host. With a foreign
	// provider that provider's client_id is used.
	ClientID string `json:"client_id,omitempty"`
	// What needs a login. Default: every request.
	MatchRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`
	// What does not, of these.
	PublicRaw caddyhttp.RawMatcherSets `json:"public,omitempty" caddy:"namespace=http.matchers"`
	// Where a grant for background access is required, or asked for once.
	OfflineRaw         caddyhttp.RawMatcherSets `json:"offline,omitempty" caddy:"namespace=http.matchers"`
	OfflineOptionalRaw caddyhttp.RawMatcherSets `json:"offline_optional,omitempty" caddy:"namespace=http.matchers"`
	// Scopes besides offline_access that ?scope= may ask for.
	RequestScopes []string `json:"request_scopes,omitempty"`
	// Who may pass. Default: everybody of a realm; a foreign provider needs an
	// allow list.
	Access
	// Narrower rules for some of the requests.
	PathAccess []*PathAccess `json:"access,omitempty"`
	// Audiences of bearer tokens besides the site's url and client_id.
	BearerAudience []string `json:"bearer_audience,omitempty"`
	// Sends a signed JWT of who is there to the app, as Nightlatch-Assertion; its
	// public keys are at /.nightlatch/certs. Default: off.
	Assertion bool `json:"assertion,omitempty"`
	// Headers for the app; the client's own of these names are deleted, in every
	// spelling.
	HeaderUp map[string]string `json:"header_up,omitempty" nightlatch:"late"`

	SessionIdle Duration `json:"session_idle,omitempty"` // default 30m
	SessionMax  Duration `json:"session_max,omitempty"`  // default 10h
	// Age of claims that are asked for anew; ahead of an access token's expiry they
	// are in any case. Default 5m.
	SessionRecheck Duration `json:"session_recheck,omitempty"`
	// How old an access token may be, by its iat, whatever its exp says. What a logout or
	// a revocation ended is remembered as long. Default 24h.
	BearerMax Duration `json:"bearer_max,omitempty"`

	app                                     *App
	url                                     *url.URL
	providers                               []*siteProvider
	match, public, offline, offlineOptional caddyhttp.MatcherSets
	idle, max, recheck, bearerMax           time.Duration
	consent                                 string
	server                                  *caddyhttp.Server
	rp                                      *adapter.Parties // from Start on
}

// CaddyModule names the module.
func (*Site) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.nightlatch", New: func() caddy.Module { return new(Site) }}
}

// Provision checks the options and makes the site known to the app.
func (s *Site) Provision(ctx caddy.Context) error {
	app, err := configured(ctx, "nightlatch")
	if err != nil {
		return err // what the app declares is no fault of this site
	}
	s.app = app
	if err := s.provision(ctx); err != nil {
		return fmt.Errorf("nightlatch %s: %w", s.URL, err)
	}
	refuseWrongHosts(ctx)
	return nil
}

func (s *Site) provision(ctx caddy.Context) error {
	if err := resolve(s); err != nil {
		return err
	}
	var err error
	s.server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	s.URL = strings.TrimSuffix(s.URL, "/")
	if s.url, err = url.Parse(s.URL); err != nil || (s.url.Scheme != "http" && s.url.Scheme != "https") || s.url.Host == "" || s.url.Path != "" || s.url.RawQuery != "" || s.url.Fragment != "" || s.url.User != nil {
		return fmt.Errorf("%q: want the site's public address such as https://app.example.com, without a path", s.URL)
	}
	if s.providers, err = s.app.siteProviders(s); err != nil {
		return err
	}
	if err := s.Access.check(); err != nil {
		return err
	}
	for _, p := range s.providers {
		if p.realm == nil && s.Allow == nil {
			return fmt.Errorf("option allow is missing: anybody with an account at provider %s could come in; name who may, or say: allow any", p.name)
		}
	}
	if err := (spans{
		"session_idle":    {s.SessionIdle, &s.idle},
		"session_max":     {s.SessionMax, &s.max},
		"session_recheck": {s.SessionRecheck, &s.recheck},
		"bearer_max":      {s.BearerMax, &s.bearerMax},
	}).parse(); err != nil {
		return err
	}
	if err := s.load(adapter.CheckPages); err != nil {
		return err
	}
	s.consent = consentURI(s.URL, s.OfflineRaw)
	if err := s.loadMatchers(ctx); err != nil {
		return err
	}
	s.warnOfTwins()
	s.warnOfLongTokens()
	return s.app.addSite(s)
}

func (s *Site) loadMatchers(ctx caddy.Context) error {
	for field, of := range map[string]struct {
		option string
		into   *caddyhttp.MatcherSets
	}{
		"MatchRaw": {"the matcher", &s.match}, "PublicRaw": {"option public", &s.public},
		"OfflineRaw": {"option offline", &s.offline}, "OfflineOptionalRaw": {"option offline", &s.offlineOptional},
	} {
		if err := loadMatchers(ctx, s, field, of.option, of.into); err != nil {
			return err
		}
	}
	for _, p := range s.PathAccess {
		if err := p.provision(ctx); err != nil {
			return err
		}
	}
	return nil
}

// warnOfTwins tells of paths that look guarded and are not.
func (s *Site) warnOfTwins() {
	lists := map[string]caddyhttp.RawMatcherSets{"the matcher": s.MatchRaw, "offline": slices.Concat(s.OfflineRaw, s.OfflineOptionalRaw)}
	for _, p := range s.PathAccess {
		lists["access"] = append(lists["access"], p.MatchRaw...)
	}
	for option, sets := range lists {
		for _, pattern := range untwinned(sets) {
			bare := strings.TrimSuffix(pattern, "/*")
			s.app.log.Warn("the path "+bare+" itself is left out: write "+bare+" "+pattern, "site", s.URL, "option", option)
		}
	}
}

// warnOfLongTokens tells of access tokens that the site refuses before they expire.
func (s *Site) warnOfLongTokens() {
	most := cmp.Or(s.bearerMax, adapter.BearerMax)
	for _, p := range s.providers {
		if p.realm != nil && p.realm.declared.Settings.AccessTokenLifespan > most {
			s.app.log.Warn("access tokens live longer than the site takes them: set bearer_max", "site", s.URL, "realm", p.name, "bearer_max", most)
		}
	}
}

// consentURI is where a person allows background access: the first offline path
// that is an address, else the site with the parameter that asks for it.
func consentURI(site string, sets caddyhttp.RawMatcherSets) string {
	for _, set := range sets {
		var paths caddyhttp.MatchPath
		if len(set) == 1 && json.Unmarshal(set["path"], &paths) == nil {
			for _, p := range paths {
				if !strings.ContainsAny(p, "*{?") {
					return site + p
				}
			}
		}
	}
	return site + "/?scope=offline_access"
}

// isPublic tells that a request needs no login. A matcher that fails protects.
func (s *Site) isPublic(r *http.Request) bool {
	if len(s.match) > 0 {
		if guarded, err := s.match.AnyMatchWithError(r); err == nil && !guarded {
			return true
		}
	}
	return anyMatch(s.public, r)
}

func (s *Site) isOffline(r *http.Request) adapter.Offline {
	if anyMatch(s.offline, r) {
		return adapter.Offline{Required: true}
	}
	return adapter.Offline{Optional: anyMatch(s.offlineOptional, r)}
}

// anyMatch is false without matchers, where Caddy's own rule is true.
func anyMatch(sets caddyhttp.MatcherSets, r *http.Request) bool {
	if len(sets) == 0 {
		return false
	}
	ok, err := sets.AnyMatchWithError(r)
	return ok && err == nil
}

// headerUp sets the headers for the app; nobody has none.
func (s *Site) headerUp(r *http.Request, id *session.Identity) {
	if len(s.HeaderUp) == 0 || id.Anonymous() {
		return
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	for name, value := range s.HeaderUp {
		r.Header.Set(name, repl.ReplaceAll(value, ""))
	}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if s.probed(r) {
		return nil
	}
	if !s.app.enter(r.Context()) {
		return notReady(w)
	}
	if !s.guard(w, r) {
		return nil
	}
	return next.ServeHTTP(w, r) // may stream for hours, and needs no store of ours
}

// guard tells whether the app gets the request, and the app who is there.
func (s *Site) guard(w http.ResponseWriter, r *http.Request) bool {
	defer s.app.leave()
	caller, original := callerOf(r), originalURL(r)
	if s.rp.Own(w, r, original) {
		hideFromAccessLog(r)
		return false
	}
	id, ok := s.rp.Guard(w, r, original)
	caller.Identity, caller.by = id, s
	s.headerUp(r, id)
	return ok
}

// originalURL is what the browser asked for, whatever rewrote it.
func originalURL(r *http.Request) *url.URL {
	if o, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && o.URL != nil {
		return o.URL
	}
	return r.URL
}

// forwarded is what one of Caddy's trusted_proxies asks about.
func forwarded(r *http.Request) (method string, uri *url.URL) {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return "", nil
	}
	uri, err := url.ParseRequestURI(r.Header.Get("X-Forwarded-Uri"))
	if err != nil || !strings.HasPrefix(uri.Path, "/") {
		return "", nil
	}
	if method = r.Header.Get("X-Forwarded-Method"); method == "" {
		method = http.MethodGet
	}
	return method, uri
}

var (
	_ caddy.Provisioner           = (*Site)(nil)
	_ caddyhttp.MiddlewareHandler = (*Site)(nil)
)
