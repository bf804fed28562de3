package client

import (
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// Client is a Relying Party that may ask the realm for tokens.
type Client struct {
	ID          string `json:"id"`        // random, Keycloak's "uuid" of a client
	ClientID    string `json:"client_id"` // the name it authenticates with
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	BaseURL     string `json:"base_url,omitempty"`
	Enabled     bool   `json:"enabled"`

	Public     bool                `json:"public,omitempty"`
	SecretHash []byte              `json:"secret_hash,omitempty"` // HMAC-SHA-256 of the secret; see HashSecret
	JWKS       *jose.JSONWebKeySet `json:"jwks,omitempty"`        // for private_key_jwt
	// AuthMethod restricts authentication to one of RFC 7591's
	// token_endpoint_auth_method values; "" allows client_secret_basic and
	// client_secret_post.
	AuthMethod string `json:"auth_method,omitempty"`

	RedirectURIs           []string `json:"redirect_uris,omitempty"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	WebOrigins             []string `json:"web_origins,omitempty"` // "+": the origins of the redirect URIs
	BackchannelLogoutURI   string   `json:"backchannel_logout_uri,omitempty"`

	StandardFlow       bool `json:"standard_flow,omitempty"` // authorization code
	DirectAccessGrants bool `json:"direct_access_grants,omitempty"`
	ServiceAccount     bool `json:"service_account,omitempty"`
	DeviceGrant        bool `json:"device_grant,omitempty"` // RFC 8628
	// TokenExchange lets it exchange access tokens of this realm that are meant
	// for it (RFC 8693), TokenExchangeRefresh also for a refresh token in the same
	// login. TokenExchangeAudiences are the clients and resources that it may ask
	// for besides itself and what the exchanged token is for.
	TokenExchange          bool     `json:"token_exchange,omitempty"`
	TokenExchangeRefresh   bool     `json:"token_exchange_refresh,omitempty"`
	TokenExchangeAudiences []string `json:"token_exchange_audiences,omitempty"`
	// NoRefreshTokens: it gets access tokens alone, and no offline access.
	NoRefreshTokens bool `json:"no_refresh_tokens,omitempty"`
	ConsentRequired bool `json:"consent_required,omitempty"`
	// ConsentOffline asks consent for offline_access although ConsentRequired
	// is off. On for every client that the adapter made: no link and no SSO
	// makes a grant unseen.
	ConsentOffline bool `json:"consent_offline,omitempty"`
	RequirePKCE    bool `json:"require_pkce"`

	// FullScope puts every role of the user into the client's scope; off, only
	// ScopeRoles and the roles of the granted client scopes.
	FullScope  bool     `json:"full_scope"`
	ScopeRoles []string `json:"scope_roles,omitempty"`

	DefaultScopes  []string `json:"default_scopes"`
	OptionalScopes []string `json:"optional_scopes"`

	SigningAlgorithm string `json:"signing_algorithm,omitempty"` // "": the realm's

	// Overrides of the realm's settings; nil: inherit.
	AccessTokenLifespan  *time.Duration `json:"access_token_lifespan,omitempty"`
	ClientSessionIdle    *time.Duration `json:"client_session_idle,omitempty"`
	ClientSessionMax     *time.Duration `json:"client_session_max,omitempty"`
	OfflineSessionIdle   *time.Duration `json:"offline_session_idle,omitempty"`
	OfflineSessionMax    *time.Duration `json:"offline_session_max,omitempty"`
	RevokeRefreshToken   *bool          `json:"revoke_refresh_token,omitempty"`
	RefreshTokenMaxReuse *int           `json:"refresh_token_max_reuse,omitempty"`

	// OfflineEpoch counts how often all its offline sessions were revoked: those
	// that began in an earlier epoch are.
	OfflineEpoch uint64 `json:"offline_epoch,omitempty"`
	// NotBefore refuses what was issued to the client earlier, in Unix
	// milliseconds; 0: off.
	NotBefore int64     `json:"not_before,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	Managed   bool      `json:"managed,omitempty"`  // declared by configuration
	Declared  []string  `json:"declared,omitempty"` // fields that it declares, read-only elsewhere
	// Retired: it left the configuration, which disabled it; Undeclared if it had
	// been enabled until then.
	Retired    bool `json:"retired,omitempty"`
	Undeclared bool `json:"undeclared,omitempty"`
}

// ReadOnly names the fields, by their JSON, that the configuration declares now:
// the next start would undo any other change of them.
func (c *Client) ReadOnly() []string {
	if c.Retired {
		return nil
	}
	return c.Declared
}

// Built-in clients of every realm, by client_id.
const (
	Account  = "account"                // the account console
	AdminCLI = "admin-cli"              // administrators' tools
	Console  = "security-admin-console" // the admin console
)

// BuiltIn tells whether a client is one of every realm: nobody can delete or
// rename it.
func BuiltIn(clientID string) bool {
	return clientID == Account || clientID == AdminCLI || clientID == Console
}

// New makes the record of a client as every new one begins, not yet written:
// enabled, PKCE required, the full scope and the realm's client scopes.
func New(s realm.Settings, id, clientID string, now time.Time) *Client {
	s = s.Resolve()
	return &Client{
		ID: id, ClientID: clientID, Enabled: true, RequirePKCE: true, FullScope: true,
		DefaultScopes: s.DefaultClientScopes, OptionalScopes: s.OptionalClientScopes, CreatedAt: now.UTC(),
	}
}

// Scope is a client scope: a name that a client may be given and a request may
// ask for.
type Scope struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// ConsentText is shown on the consent page; "" keeps the scope off it.
	ConsentText string `json:"consent_text,omitempty"`
	// InToken puts the name into the scope claim and the token response.
	InToken bool `json:"in_token"`
	// Roles that the scope puts into the client's scope.
	Roles []string `json:"roles,omitempty"`
}

// Clients by ID; the unique index "client_id" finds one by its name, "name"
// orders them by it.
var Clients = storage.Table[Client]{
	Name: "client",
	Indexes: map[string]storage.Index[Client]{
		"client_id": {Unique: true, Values: func(c *Client) []string { return []string{c.ClientID} }},
		"name":      {Values: func(c *Client) []string { return []string{c.ClientID} }},
	},
}

// NewScope makes the record of a client scope of a realm, not yet written.
func NewScope(realm, name string) *Scope {
	return &Scope{ID: oidc.NamedID("client scope", realm, name), Name: name}
}

// Scopes of a realm by name; the unique index "id" finds one by its ID.
var Scopes = storage.Table[Scope]{
	Name: "client_scope",
	Indexes: map[string]storage.Index[Scope]{
		"id": {Unique: true, Values: func(s *Scope) []string {
			if s.ID == "" {
				return nil
			}
			return []string{s.ID}
		}},
	},
}
