package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/jobs"
	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
)

// provision turns the options of a realm into its declaration. It warns about
// passwords in plain, and refuses them where others could log in.
func (r *Realm) provision(name string, log *slog.Logger) (*runningRealm, error) {
	if r.URL == "" {
		return nil, errors.New("option url is missing: want the public address of the server such as https://id.example.com")
	}
	r.URL = strings.TrimSuffix(r.URL, "/")
	out := &runningRealm{name: name, url: r.URL}
	d := &out.declared
	var err error
	if d.Settings, err = r.settings(name); err != nil {
		return nil, err
	}
	for _, role := range slices.Sorted(maps.Keys(r.Roles)) {
		d.Roles = append(d.Roles, user.Role{Name: role, Description: r.Roles[role].Description, Composites: r.Roles[role].Composites})
	}
	for _, id := range slices.Sorted(maps.Keys(r.Clients)) {
		c, err := r.Clients[id].declare(id)
		if err != nil {
			return nil, fmt.Errorf("client %s: %w", id, err)
		}
		d.Clients = append(d.Clients, c)
	}
	var plain []string
	for _, name := range slices.Sorted(maps.Keys(r.Users)) {
		u := r.Users[name]
		if u.Password == "" && u.PasswordHash == "" {
			return nil, fmt.Errorf("user %s: option password_hash is missing: want an argon2id hash such as $argon2id$v=19$m=19456,t=2,p=1$…", name)
		}
		if u.Password != "" {
			plain = append(plain, name)
		}
		d.Users = append(d.Users, provider.DeclaredUser{
			Username: name, Password: u.Password, PasswordHash: u.PasswordHash, Email: u.Email,
			FirstName: u.FirstName, LastName: u.LastName, Roles: u.Roles, Groups: u.Groups, Admin: u.Admin,
		})
	}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if err := r.load(provider.CheckPages); err != nil {
		return nil, err
	}
	out.look = r.Look
	if len(plain) > 0 {
		if !loopback(r.URL) {
			return nil, fmt.Errorf("user %s: option password is for demos on loopback; with the url %s want password_hash", plain[0], r.URL)
		}
		log.Warn("passwords are declared in plain: for a demo only, else use password_hash", "realm", name, "users", plain)
	}
	return out, nil
}

func (r *Realm) settings(name string) (realm.Settings, error) {
	s := realm.Settings{
		Name: name, DisplayName: r.DisplayName, URL: r.URL, Enabled: true,
		RememberMe: isOn(r.RememberMe), OfflineSessionMaxLimited: r.OfflineSessionMax != "", RevokeRefreshToken: isOn(r.RevokeRefreshToken),
		BruteForceProtected: r.BruteForceProtected, FailureFactor: r.FailureFactor,
		OfflineSessionLimit: r.OfflineSessionLimit, EventsEnabled: r.EventsEnabled, EnabledEventTypes: r.EnabledEventTypes,
		AdminEventsEnabled: r.AdminEventsEnabled, SigningAlgorithm: r.SigningAlgorithm, DefaultRoles: r.DefaultRoles,
		Declared: switchedOff(map[string]*bool{"remember_me": r.RememberMe, "revoke_refresh_token": r.RevokeRefreshToken}),
	}
	if r.RefreshTokenMaxReuse != nil {
		s.RefreshTokenMaxReuse = *r.RefreshTokenMaxReuse
		s.Declared = append(s.Declared, "refresh_token_max_reuse")
	}
	if r.EventsExpiration != "" {
		s.EventsExpiration = new(time.Duration)
	}
	var none time.Duration // where the value of an option that is left out goes
	if err := errors.Join(checkAlgorithm(r.SigningAlgorithm), checkEventTypes(r.EnabledEventTypes)); err != nil {
		return s, err
	}
	return s, spans{
		"access_token_lifespan":        {r.AccessTokenLifespan, &s.AccessTokenLifespan},
		"code_lifespan":                {r.CodeLifespan, &s.CodeLifespan},
		"login_timeout":                {r.LoginTimeout, &s.LoginTimeout},
		"login_action_timeout":         {r.LoginActionTimeout, &s.LoginActionTimeout},
		"sso_session_idle":             {r.SSOSessionIdle, &s.SSOSessionIdle},
		"sso_session_max":              {r.SSOSessionMax, &s.SSOSessionMax},
		"offline_session_idle":         {r.OfflineSessionIdle, &s.OfflineSessionIdle},
		"offline_session_max":          {r.OfflineSessionMax, &s.OfflineSessionMax},
		"sso_session_idle_remember_me": {r.SSOSessionIdleRememberMe, &s.SSOSessionIdleRememberMe},
		"sso_session_max_remember_me":  {r.SSOSessionMaxRememberMe, &s.SSOSessionMaxRememberMe},
		"client_session_idle":          {r.ClientSessionIdle, &s.ClientSessionIdle},
		"client_session_max":           {r.ClientSessionMax, &s.ClientSessionMax},
		"client_offline_session_idle":  {r.ClientOfflineSessionIdle, &s.ClientOfflineSessionIdle},
		"client_offline_session_max":   {r.ClientOfflineSessionMax, &s.ClientOfflineSessionMax},
		"wait_increment":               {r.WaitIncrement, &s.WaitIncrement},
		"max_failure_wait":             {r.MaxFailureWait, &s.MaxFailureWait},
		"max_delta_time":               {r.MaxDeltaTime, &s.MaxDeltaTime},
		"events_expiration":            {r.EventsExpiration, cmp.Or(s.EventsExpiration, &none)},
	}.parse()
}

func isOn(option *bool) bool { return option != nil && *option }

// switchedOff names the switches that are declared to be off.
func switchedOff(switches map[string]*bool) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(switches)) {
		if on := switches[name]; on != nil && !*on {
			names = append(names, name)
		}
	}
	return names
}

// spans are options by name: as written, and where the parsed value goes.
type spans map[string]struct {
	from Duration
	to   *time.Duration
}

func (s spans) parse() error {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		v, err := s[name].from.parse()
		if err != nil {
			return fmt.Errorf("option %s: %w", name, err)
		}
		*s[name].to = v
	}
	return nil
}

func (c *Client) declare(id string) (provider.DeclaredClient, error) {
	d := provider.DeclaredClient{Secret: c.Secret, Client: client.Client{
		ClientID: id, Name: c.Name, BaseURL: c.BaseURL, Public: c.Public,
		RedirectURIs: c.RedirectURIs, PostLogoutRedirectURIs: c.PostLogoutRedirectURIs, WebOrigins: c.WebOrigins,
		StandardFlow: len(c.RedirectURIs) > 0, DirectAccessGrants: isOn(c.DirectAccessGrants), ServiceAccount: isOn(c.ServiceAccount),
		DeviceGrant: isOn(c.DeviceGrant), ConsentRequired: isOn(c.ConsentRequired), RequirePKCE: c.Public || c.RequirePKCE == nil || *c.RequirePKCE,
		FullScope: c.FullScope == nil || *c.FullScope, ScopeRoles: c.ScopeRoles,
		DefaultScopes: c.DefaultScopes, OptionalScopes: c.OptionalScopes, SigningAlgorithm: c.SigningAlgorithm,
		RevokeRefreshToken: c.RevokeRefreshToken, RefreshTokenMaxReuse: c.RefreshTokenMaxReuse,
		Declared: switchedOff(map[string]*bool{
			"service_account": c.ServiceAccount, "direct_access_grants": c.DirectAccessGrants,
			"device_grant": c.DeviceGrant, "consent_required": c.ConsentRequired,
			"token_exchange": c.TokenExchange, "token_exchange_refresh": c.TokenExchangeRefresh,
		}),
		TokenExchange: isOn(c.TokenExchange), TokenExchangeRefresh: isOn(c.TokenExchangeRefresh), TokenExchangeAudiences: c.TokenExchangeAudiences,
		NoRefreshTokens: c.UseRefreshTokens != nil && !*c.UseRefreshTokens,
	}}
	if isOn(c.UseRefreshTokens) {
		d.Declared = append(d.Declared, "no_refresh_tokens")
	}
	if c.RequirePKCE == nil && !c.Public {
		d.Unset = append(d.Unset, "require_pkce")
	}
	if c.FullScope == nil {
		d.Unset = append(d.Unset, "full_scope")
	}
	if c.JWKS != "" {
		d.JWKS = new(jose.JSONWebKeySet)
		if err := json.Unmarshal([]byte(c.JWKS), d.JWKS); err != nil || len(d.JWKS.Keys) == 0 {
			return d, errors.New("option jwks: want a JSON Web Key Set with at least one key, as text")
		}
		if c.Secret == "" {
			d.AuthMethod = "private_key_jwt"
		}
	}
	for _, o := range []struct {
		name string
		from Duration
		to   **time.Duration
	}{
		{"access_token_lifespan", c.AccessTokenLifespan, &d.AccessTokenLifespan},
		{"client_session_idle", c.ClientSessionIdle, &d.ClientSessionIdle},
		{"client_session_max", c.ClientSessionMax, &d.ClientSessionMax},
		{"offline_session_idle", c.OfflineSessionIdle, &d.OfflineSessionIdle},
		{"offline_session_max", c.OfflineSessionMax, &d.OfflineSessionMax},
	} {
		if o.from == "" {
			continue
		}
		v, err := o.from.parse()
		if err != nil {
			return d, fmt.Errorf("option %s: %w", o.name, err)
		}
		*o.to = &v
	}
	return d, checkAlgorithm(c.SigningAlgorithm)
}

// algorithms that a realm has keys for.
var algorithms = []string{"RS256", "ES256", "EdDSA"}

func checkAlgorithm(alg string) error {
	if alg != "" && !slices.Contains(algorithms, alg) {
		return fmt.Errorf("option signing_algorithm: %q: want one of %s", alg, strings.Join(algorithms, ", "))
	}
	return nil
}

func checkEventTypes(names []string) error {
	for _, name := range names {
		if !slices.Contains(event.Types(), event.Type(name)) {
			var want []string
			for _, t := range event.Types() {
				want = append(want, string(t))
			}
			return fmt.Errorf("option enabled_event_types: %q: want some of %s", name, strings.Join(want, ", "))
		}
	}
	return nil
}

// loopback tells that only this machine reaches an address.
func loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

func (p *Foreign) check() error {
	u, err := url.Parse(p.Issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return fmt.Errorf("issuer %q: want an address such as https://accounts.google.com", p.Issuer)
	case u.Scheme == "http" && !loopback(p.Issuer):
		return fmt.Errorf("issuer %q: want https, since tokens travel to it", p.Issuer)
	case p.ClientID == "":
		return errors.New("option client_id is missing: want the name under which the provider knows this gateway")
	case p.RefreshRate < 0:
		return fmt.Errorf("option refresh_rate: %d: want a number from 1 on", p.RefreshRate)
	}
	for _, alg := range p.Algorithms {
		if !slices.Contains(adapter.Algorithms, alg) {
			return fmt.Errorf("option algorithms: %q: want some of %s", alg, strings.Join(adapter.Algorithms, ", "))
		}
	}
	if err := adapter.CheckAuthParams(p.AuthParams); err != nil {
		return fmt.Errorf("option auth_param: %w", err)
	}
	return spans{"offline_idle": {p.OfflineIdle, &p.idle}, "offline_max": {p.OfflineMax, &p.max}}.parse()
}

func (j *Job) check(name string) error {
	if err := (jobs.Job{Name: name, Secret: j.Secret, Users: j.Users}).Validate(); err != nil {
		return err
	}
	switch {
	case len(j.Users) == 0:
		return errors.New("option users is missing: want names, sub=…, email=…, group=… or *")
	case len(j.Scopes) == 0:
		return errors.New("option scopes is missing: want the scopes that the job may ask for, such as openid profile")
	}
	for _, m := range j.May {
		if m != "revoke" {
			return fmt.Errorf("option may: %q: want revoke", m)
		}
	}
	return nil
}
