package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Realm is an OpenID Provider of this process. Names of options are those of
// the Caddyfile. An option that is given is read-only elsewhere; one that is left
// out begins with Keycloak's default and is an administrator's to change.
type Realm struct {
	// The public address of the server that carries `nightlatch_provider`,
	// without a path. The issuer is this plus "/realms/" plus the name. Required.
	URL         string `json:"url,omitempty"`
	DisplayName string `json:"display_name,omitempty"` // on the pages; default: the name
	Look

	AccessTokenLifespan Duration `json:"access_token_lifespan,omitempty"` // default 5m
	CodeLifespan        Duration `json:"code_lifespan,omitempty"`         // default 1m
	LoginTimeout        Duration `json:"login_timeout,omitempty"`         // of one login from its first page on; default 30m
	LoginActionTimeout  Duration `json:"login_action_timeout,omitempty"`  // for one page of it; default 5m
	SSOSessionIdle      Duration `json:"sso_session_idle,omitempty"`      // default 30m
	SSOSessionMax       Duration `json:"sso_session_max,omitempty"`       // default 10h
	// Offers "Remember me" on the login page. Default off.
	RememberMe *bool `json:"remember_me,omitempty"`
	// Of remembered logins, where they are longer than the two above.
	SSOSessionIdleRememberMe Duration `json:"sso_session_idle_remember_me,omitempty"`
	SSOSessionMaxRememberMe  Duration `json:"sso_session_max_remember_me,omitempty"`
	// Of one client within a login. Default: those of the login.
	ClientSessionIdle Duration `json:"client_session_idle,omitempty"`
	ClientSessionMax  Duration `json:"client_session_max,omitempty"`
	// How long an offline session may rest unused. Default 30d.
	OfflineSessionIdle Duration `json:"offline_session_idle,omitempty"`
	// Ends offline sessions this long after the login, however often they are
	// used. Naming it switches Offline Session Max Limited on; default: off.
	OfflineSessionMax Duration `json:"offline_session_max,omitempty"`
	// Instead of the two above for clients without limits of their own, where they
	// are shorter.
	ClientOfflineSessionIdle Duration `json:"client_offline_session_idle,omitempty"`
	ClientOfflineSessionMax  Duration `json:"client_offline_session_max,omitempty"`
	// Offline sessions of one user at one client; the longest unused goes. Default 100.
	OfflineSessionLimit int `json:"offline_session_limit,omitempty"`
	// Single use: each refresh token works once. Default off.
	RevokeRefreshToken *bool `json:"revoke_refresh_token,omitempty"`
	// How often beyond once a refresh token may be used under single use. Default 0.
	RefreshTokenMaxReuse *int `json:"refresh_token_max_reuse,omitempty"`
	// Slows those who guess passwords and client secrets. Default on.
	BruteForceProtected *bool `json:"brute_force_protected,omitempty"`
	// So many wrong guesses cost nothing. Default 30.
	FailureFactor int `json:"failure_factor,omitempty"`
	// The wait after these; it grows by so much with each further one. Default 1m.
	WaitIncrement Duration `json:"wait_increment,omitempty"`
	// The longest wait. Default 15m.
	MaxFailureWait Duration `json:"max_failure_wait,omitempty"`
	// So long after the last wrong guess all are forgotten. Default 12h.
	MaxDeltaTime Duration `json:"max_delta_time,omitempty"`
	// Whether the store keeps events of people and clients. Default on.
	EventsEnabled *bool `json:"events_enabled,omitempty"`
	// How long it keeps them. Default 90d.
	EventsExpiration Duration `json:"events_expiration,omitempty"`
	// Which types of them, in Keycloak's names. Default: all.
	EnabledEventTypes []string `json:"enabled_event_types,omitempty"`
	// Whether it keeps what administrators do. Default on.
	AdminEventsEnabled *bool `json:"admin_events_enabled,omitempty"`
	// Of ID and access tokens: RS256 (default), ES256 or EdDSA.
	SigningAlgorithm string `json:"signing_algorithm,omitempty"`
	// Realm roles of users that declare none. Default: offline_access.
	DefaultRoles []string `json:"default_roles,omitzero"`

	Roles   map[string]*Role   `json:"roles,omitempty"`
	Users   map[string]*User   `json:"users,omitempty"`
	Clients map[string]*Client `json:"clients,omitempty"`
}

// Role is a realm role.
type Role struct {
	Description string   `json:"description,omitempty"`
	Composites  []string `json:"composites,omitempty"` // having the role is having these too
}

// User is a person of a realm.
type User struct {
	// The password in plain, for demos: warned about at load, and an error when
	// the realm's url is not a loopback address.
	Password string `json:"password,omitempty"`
	// argon2id as a PHC string, $argon2id$v=19$m=…; the way outside demos.
	PasswordHash string `json:"password_hash,omitempty"`
	Email        string `json:"email,omitempty"`
	FirstName    string `json:"first_name,omitempty"`
	LastName     string `json:"last_name,omitempty"`
	// Exactly these realm roles; an empty list: none; left out: the realm's
	// default roles.
	Roles  []string `json:"roles,omitzero"`
	Groups []string `json:"groups,omitempty"`
	Admin  bool     `json:"admin,omitempty"` // administrator of the realm
}

// Client is a Relying Party of a realm that is not one of our own sites: those
// register themselves.
type Client struct {
	Name   string `json:"name,omitempty"` // on the consent page; default: the client_id
	Public bool   `json:"public,omitempty"`
	// The client secret; of a confidential client it or jwks is required.
	Secret string `json:"secret,omitempty"`
	// A JSON Web Key Set for private_key_jwt, as text.
	JWKS                   string   `json:"jwks,omitempty"`
	BaseURL                string   `json:"base_url,omitempty"`
	RedirectURIs           []string `json:"redirect_uris,omitempty"` // exact; http://localhost:*/path means any port
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	WebOrigins             []string `json:"web_origins,omitempty"` // for CORS; "+": those of the redirect URIs
	ServiceAccount         *bool    `json:"service_account,omitempty"`
	DirectAccessGrants     *bool    `json:"direct_access_grants,omitempty"`
	DeviceGrant            *bool    `json:"device_grant,omitempty"` // for devices without a browser
	ConsentRequired        *bool    `json:"consent_required,omitempty"`
	UseRefreshTokens       *bool    `json:"use_refresh_tokens,omitempty"` // default on; off: access tokens alone, and no offline access
	// Whether it may exchange access tokens that are meant for it (RFC 8693). Default off.
	TokenExchange *bool `json:"token_exchange,omitempty"`
	// Also for a refresh token within the same login. Default off.
	TokenExchangeRefresh *bool `json:"token_exchange_refresh,omitempty"`
	// Clients and resources that it may ask for besides itself and what the
	// exchanged token is for.
	TokenExchangeAudiences []string `json:"token_exchange_audiences,omitempty"`
	RequirePKCE            *bool    `json:"require_pkce,omitempty"` // default on; a public client cannot switch it off
	// Whether every role of the user is in the client's scope. Default on.
	FullScope        *bool    `json:"full_scope,omitempty"`
	ScopeRoles       []string `json:"scope_roles,omitempty"`       // with full_scope off
	DefaultScopes    []string `json:"default_scopes,omitzero"`     // default: the realm's
	OptionalScopes   []string `json:"optional_scopes,omitzero"`    // default: the realm's, which hold offline_access
	SigningAlgorithm string   `json:"signing_algorithm,omitempty"` // default: the realm's

	// Instead of the realm's settings.
	AccessTokenLifespan  Duration `json:"access_token_lifespan,omitempty"`
	ClientSessionIdle    Duration `json:"client_session_idle,omitempty"`
	ClientSessionMax     Duration `json:"client_session_max,omitempty"`
	OfflineSessionIdle   Duration `json:"offline_session_idle,omitempty"`
	OfflineSessionMax    Duration `json:"offline_session_max,omitempty"`
	RevokeRefreshToken   *bool    `json:"revoke_refresh_token,omitempty"`
	RefreshTokenMaxReuse *int     `json:"refresh_token_max_reuse,omitempty"`
}

// Foreign is an OpenID Provider of somebody else, found by discovery.
type Foreign struct {
	Issuer       string `json:"issuer,omitempty"`        // https://…, as in its discovery document. Required.
	ClientID     string `json:"client_id,omitempty"`     // required
	ClientSecret string `json:"client_secret,omitempty"` // left out: a public client
	// Parameters that are added to the authorization request of an offline path,
	// for a provider without offline_access: access_type offline, prompt consent.
	AuthParams map[string]string `json:"auth_params,omitempty"`
	// Signature algorithms of its tokens. Default: what its discovery document says.
	Algorithms []string `json:"algorithms,omitempty"`
	// How long it lets an offline token rest unused. Grants are refreshed at about
	// 40 % of that. Default 7d.
	OfflineIdle Duration `json:"offline_idle,omitempty"`
	// When after the login it ends a grant however often that is used, if it does
	// not tell by refresh_expires_in. People are warned before. Default: not known.
	OfflineMax Duration `json:"offline_max,omitempty"`
	// Refreshes per second, at most, that no job asked for. Default 20.
	RefreshRate int `json:"refresh_rate,omitempty"`

	idle, max time.Duration
}

// Notify says who is told when a grant is about to lapse, is suspended, has
// lapsed, was revoked or replayed. Each of them gets the address where the person
// gives the grant anew.
type Notify struct {
	Webhooks []*Webhook `json:"webhooks,omitempty"`
	Mail     *Mail      `json:"mail,omitempty"`
}

// Webhook is an address that gets a POST for each piece of news, in the form of
// Standard Webhooks.
type Webhook struct {
	URL string `json:"url,omitempty"` // required
	// Signs each POST (webhook-signature). Default: no signature.
	Secret string `json:"secret,omitempty"`
	// The events that are told: grant_lapsing, grant_suspended, grant_lapsed,
	// grant_revoked, grant_replayed, grant_ended. Default: all.
	Events []string `json:"events,omitempty"`
}

// Mail tells the person, at the address that the login provider has verified.
type Mail struct {
	Server   string   `json:"server,omitempty"`   // smtps://host or smtp://host (STARTTLS). Required.
	From     string   `json:"from,omitempty"`     // the sender. Required.
	Username string   `json:"username,omitempty"` // where the server wants one
	Password string   `json:"password,omitempty"`
	Copy     []string `json:"copy,omitempty"`   // addresses that get each mail too, unseen by the person
	Events   []string `json:"events,omitempty"` // as of a webhook
}

// Job is a rule: which program may get tokens for whom. What it does not name
// is denied.
type Job struct {
	Secret   string `json:"secret,omitempty"`   // required
	Site     string `json:"site,omitempty"`     // whose grants; may be left out where only one site has offline paths
	Provider string `json:"provider,omitempty"` // must be the site's
	// Names of our own realm, sub=…, email=…, group=…, or *.
	Users  []string `json:"users,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
	// What else it may do: revoke.
	May []string `json:"may,omitempty"`
}

// Duration is a time span as it was written: 300ms, 90s, 1.5h, 30d, or a
// placeholder for one. In JSON a number of nanoseconds does too.
type Duration string

// UnmarshalJSON takes a string or a number.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*d = Duration(s)
		return nil
	}
	var n int64
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("duration %s: want a text such as 30m or 30d", b)
	}
	*d = Duration(time.Duration(n).String())
	return nil
}

// parse returns 0 for a duration that was left out.
func (d Duration) parse() (time.Duration, error) {
	if d == "" {
		return 0, nil
	}
	v, err := caddy.ParseDuration(string(d))
	if err != nil || v <= 0 {
		return 0, fmt.Errorf("%q: want a time span above zero such as 90s, 30m, 10h or 30d", string(d))
	}
	return v, nil
}

// off is what a Duration says that may be switched off.
const off Duration = "off"

// hasPlaceholder tells that a value is known only at provisioning.
func hasPlaceholder(s string) bool { return strings.Contains(s, "{") }
