// Package realm holds the settings of a realm: its address, its lifetimes, its
// token policy, its default roles and scopes.
//
// It does not own users, clients or keys, nor how a lifetime is judged
// (provider/session). The provider's declaration writes the record at start,
// administrators change the rest; every endpoint reads it in its transaction,
// so that the settings of now decide.
package realm

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// Settings of a realm. The zero value of a duration means Keycloak's default;
// Resolve fills it in.
type Settings struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	// URL is the public address of the realm's server without a trailing slash,
	// e.g. https://id.example.com. The issuer is URL + "/realms/" + Name.
	URL     string `json:"url"`
	Enabled bool   `json:"enabled"`

	AccessTokenLifespan         time.Duration `json:"access_token_lifespan,omitempty"`          // default 5 m
	AccessTokenLifespanImplicit time.Duration `json:"access_token_lifespan_implicit,omitempty"` // default 15 m; kept for Keycloak's clients: there is no implicit flow
	CodeLifespan                time.Duration `json:"code_lifespan,omitempty"`                  // default 1 m
	LoginTimeout                time.Duration `json:"login_timeout,omitempty"`                  // default 30 m, the whole login
	LoginActionTimeout          time.Duration `json:"login_action_timeout,omitempty"`           // default 5 m, one page of it

	SSOSessionIdle time.Duration `json:"sso_session_idle,omitempty"` // default 30 m
	SSOSessionMax  time.Duration `json:"sso_session_max,omitempty"`  // default 10 h
	// RememberMe offers the checkbox on the login page. A remembered login lives
	// for the longer of each pair of limits, in a cookie that survives the
	// browser's end.
	RememberMe               bool          `json:"remember_me,omitempty"`
	SSOSessionIdleRememberMe time.Duration `json:"sso_session_idle_remember_me,omitempty"` // default: the plain one
	SSOSessionMaxRememberMe  time.Duration `json:"sso_session_max_remember_me,omitempty"`  // default: the plain one
	// Of one client within a login; what is not set inherits. Neither ends the
	// login.
	ClientSessionIdle time.Duration `json:"client_session_idle,omitempty"`
	ClientSessionMax  time.Duration `json:"client_session_max,omitempty"`

	OfflineSessionIdle       time.Duration `json:"offline_session_idle,omitempty"`        // default 30 d
	OfflineSessionMaxLimited bool          `json:"offline_session_max_limited,omitempty"` // default off
	OfflineSessionMax        time.Duration `json:"offline_session_max,omitempty"`         // default 60 d, judged only when limited
	// What a client without limits of its own has instead of the two above, if
	// it is shorter.
	ClientOfflineSessionIdle time.Duration `json:"client_offline_session_idle,omitempty"`
	ClientOfflineSessionMax  time.Duration `json:"client_offline_session_max,omitempty"`
	RevokeRefreshToken       bool          `json:"revoke_refresh_token,omitempty"` // single use; default off
	RefreshTokenMaxReuse     int           `json:"refresh_token_max_reuse,omitempty"`
	// OfflineSessionLimit is the number of offline sessions of one user at one
	// client; the longest unused beyond it goes. Default 100.
	OfflineSessionLimit int `json:"offline_session_limit,omitempty"`

	// How those who guess passwords and secrets are slowed (provider/guess). Unlike
	// Keycloak's the default is on.
	BruteForceProtected *bool         `json:"brute_force_protected,omitempty"`
	FailureFactor       int           `json:"failure_factor,omitempty"`   // wrong ones that cost nothing; default 30
	WaitIncrement       time.Duration `json:"wait_increment,omitempty"`   // the wait after these grows by so much with each further one; default 1 m
	MaxFailureWait      time.Duration `json:"max_failure_wait,omitempty"` // and is no longer than this; default 15 m
	MaxDeltaTime        time.Duration `json:"max_delta_time,omitempty"`   // so long after the last wrong one all are forgotten; default 12 h

	// What the store keeps of events (provider/audit). Unlike Keycloak's the
	// defaults keep them: nil is on, 90 days, and every type.
	EventsEnabled      *bool          `json:"events_enabled,omitempty"`
	EventsExpiration   *time.Duration `json:"events_expiration,omitempty"` // 0: kept for ever
	EnabledEventTypes  []string       `json:"enabled_event_types,omitzero"`
	AdminEventsEnabled *bool          `json:"admin_events_enabled,omitempty"`

	// SigningAlgorithm of ID and access tokens: RS256 by default.
	SigningAlgorithm string `json:"signing_algorithm,omitempty"`
	// NotBefore refuses what was issued earlier, in Unix milliseconds; 0: off.
	NotBefore int64 `json:"not_before,omitempty"`

	// Lists of what newcomers get. nil: the default; empty: none, which the
	// record keeps apart.
	DefaultRoles         []string `json:"default_roles,omitzero"`          // of users without declared roles; default: offline_access
	DefaultClientScopes  []string `json:"default_client_scopes,omitzero"`  // of new clients; default: profile email roles web-origins acr basic
	OptionalClientScopes []string `json:"optional_client_scopes,omitzero"` // of new clients; default: offline_access address phone
	// Managed by configuration, which wrote the members that Declared names (by
	// their JSON names): read-only elsewhere.
	Managed  bool     `json:"managed,omitempty"`
	Declared []string `json:"declared,omitempty"`
}

// Defaults: Keycloak's 26, but for the events', and that guessing is slowed.
const (
	DefaultAccessTokenLifespan         = 5 * time.Minute
	DefaultAccessTokenLifespanImplicit = 15 * time.Minute
	DefaultCodeLifespan                = time.Minute
	DefaultLoginTimeout                = 30 * time.Minute
	DefaultLoginActionTimeout          = 5 * time.Minute
	DefaultSSOSessionIdle              = 30 * time.Minute
	DefaultSSOSessionMax               = 10 * time.Hour
	DefaultOfflineSessionIdle          = 30 * 24 * time.Hour
	DefaultOfflineSessionMax           = 60 * 24 * time.Hour
	DefaultOfflineSessionLimit         = 100
	DefaultFailureFactor               = 30
	DefaultWaitIncrement               = time.Minute
	DefaultMaxFailureWait              = 15 * time.Minute
	DefaultMaxDeltaTime                = 12 * time.Hour
	DefaultEventsExpiration            = 90 * 24 * time.Hour
	DefaultSigningAlgorithm            = "RS256"
)

// Resolve returns the settings with every default filled in; what inherits from
// another setting stays 0.
func (s Settings) Resolve() Settings {
	fill := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	fill(&s.AccessTokenLifespan, DefaultAccessTokenLifespan)
	fill(&s.AccessTokenLifespanImplicit, DefaultAccessTokenLifespanImplicit)
	fill(&s.CodeLifespan, DefaultCodeLifespan)
	fill(&s.LoginTimeout, DefaultLoginTimeout)
	fill(&s.LoginActionTimeout, DefaultLoginActionTimeout)
	fill(&s.SSOSessionIdle, DefaultSSOSessionIdle)
	fill(&s.SSOSessionMax, DefaultSSOSessionMax)
	fill(&s.OfflineSessionIdle, DefaultOfflineSessionIdle)
	fill(&s.OfflineSessionMax, DefaultOfflineSessionMax)
	fill(&s.WaitIncrement, DefaultWaitIncrement)
	fill(&s.MaxFailureWait, DefaultMaxFailureWait)
	fill(&s.MaxDeltaTime, DefaultMaxDeltaTime)
	if s.FailureFactor <= 0 {
		s.FailureFactor = DefaultFailureFactor
	}
	if s.OfflineSessionLimit <= 0 {
		s.OfflineSessionLimit = DefaultOfflineSessionLimit
	}
	on, expiration := true, DefaultEventsExpiration
	if s.BruteForceProtected == nil {
		s.BruteForceProtected = &on
	}
	if s.EventsEnabled == nil {
		s.EventsEnabled = &on
	}
	if s.EventsExpiration == nil {
		s.EventsExpiration = &expiration
	}
	if s.AdminEventsEnabled == nil {
		s.AdminEventsEnabled = &on
	}
	if s.SigningAlgorithm == "" {
		s.SigningAlgorithm = DefaultSigningAlgorithm
	}
	if s.DefaultRoles == nil {
		s.DefaultRoles = []string{"offline_access"}
	}
	if s.DefaultClientScopes == nil {
		s.DefaultClientScopes = []string{"basic", "profile", "email", "roles", "web-origins", "acr"}
	}
	if s.OptionalClientScopes == nil {
		s.OptionalClientScopes = []string{"offline_access", "address", "phone"}
	}
	return s
}

// Issuer identifier of the realm.
func (s Settings) Issuer() string { return s.URL + "/realms/" + s.Name }

// Path of the issuer, as it stands in a browser's address: /realms/demo, below
// the path of URL if that has one.
func (s Settings) Path() string {
	u, err := url.Parse(s.Issuer())
	if err != nil {
		return "/realms/" + url.PathEscape(s.Name) // Validate refuses such a URL
	}
	return u.EscapedPath()
}

// Action returns the path of a step of the browser's login, by its name and the
// id of the request that waits; "" for none.
func (s Settings) Action(step, request string) string {
	path := s.Path() + "/login-actions/" + step
	if request != "" {
		path += "?request=" + url.QueryEscape(request)
	}
	return path
}

// Account returns the path of the account console.
func (s Settings) Account() string { return s.Path() + "/account" }

// Console returns the path of the admin console, without a trailing slash.
func (s Settings) Console() string {
	return strings.TrimSuffix(s.Path(), "/realms/"+s.Name) + "/admin/" + s.Name + "/console"
}

// Endpoint returns the address of one of the realm's protocol endpoints, e.g.
// "token" or "auth".
func (s Settings) Endpoint(name string) string {
	return s.Issuer() + "/protocol/openid-connect/" + name
}

// nameChars of a realm: its name is part of paths, keys and routing patterns.
const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// Validate reports the first setting that cannot work.
func (s Settings) Validate() error {
	if s.Name == "" || strings.ContainsFunc(s.Name, func(c rune) bool { return !strings.ContainsRune(nameChars, c) }) {
		return fmt.Errorf("realm name %q: want letters, digits, - and _", s.Name)
	}
	u, err := url.Parse(s.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.HasSuffix(s.URL, "/") {
		return fmt.Errorf("url %q: want the public address of the server such as https://id.example.com, without a query", s.URL)
	}
	if s.RefreshTokenMaxReuse < 0 {
		return fmt.Errorf("refresh_token_max_reuse: %d: want a number from 0 on", s.RefreshTokenMaxReuse)
	}
	if s.OfflineSessionLimit < 0 {
		return fmt.Errorf("offline_session_limit: %d: want a number from 1 on", s.OfflineSessionLimit)
	}
	if s.FailureFactor < 0 {
		return fmt.Errorf("failure_factor: %d: want a number from 1 on", s.FailureFactor)
	}
	if s.EventsExpiration != nil && *s.EventsExpiration < 0 {
		return fmt.Errorf("events_expiration: %v: want a time span above zero, or 0 for ever", *s.EventsExpiration)
	}
	return nil
}

// Table of realms; scope and id are the realm's name.
var Table = storage.Table[Settings]{Name: "realm"}

// Get reads the settings of now, defaults filled in.
func Get(tx storage.Tx, name string) (Settings, error) {
	s, err := Table.Shared(tx, name, name)
	if err != nil {
		return Settings{}, fmt.Errorf("reading realm %s: %w", name, err)
	}
	return s.Resolve(), nil
}
