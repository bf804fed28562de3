package adapter

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// discovered is what the provider's discovery document says.
type discovered struct {
	provider   *oidc.Provider
	oauth      oauth2.Config
	keys       *keyFetcher
	verifier   *oidc.IDTokenVerifier // ID and logout tokens for our client
	access     *oidc.IDTokenVerifier // access tokens for whoever
	issInReply bool                  // RFC 9207
	endSession string
	userinfo   bool
	scopes     []string // supported ones; none if it does not tell
	// codeAgain: the same exchange of a code, by its Idempotency-Key, is answered
	// again (docs/idempotent-refresh.md).
	codeAgain bool
	namesJobs bool // its consent page names jobs (RFC 9396, offline_job)
}

// supports tells whether a scope may be asked for. A provider need not list
// its scopes (OpenID Connect Discovery §3).
func (d *discovered) supports(scope string) bool {
	return len(d.scopes) == 0 || slices.Contains(d.scopes, scope)
}

// metadata caches the discovery document. A provider that is down is asked again
// after a moment, not by every request.
type metadata struct {
	mu    sync.Mutex
	found *discovered
	err   error
	next  time.Time // when to ask again
}

// How long an answer and a failure of the discovery stand, and how long it may
// take.
const (
	rediscover    = time.Hour
	retryAfter    = 2 * time.Second
	discoveryTime = 10 * time.Second
)

// undiscovered: the provider's metadata is not there yet.
type undiscovered struct{ error }

func (e *undiscovered) Unwrap() error { return e.error }

// discover returns the provider's metadata; an error means 503 for now.
func (rp *RelyingParty) discover(ctx context.Context) (*discovered, error) {
	m := &rp.metadata
	m.mu.Lock()
	defer m.mu.Unlock()
	now := rp.config.Now()
	if now.Before(m.next) && (m.found != nil || m.err != nil) {
		if m.found != nil {
			return m.found, nil
		}
		return nil, m.err
	}
	// Detached: others wait for it too.
	ctx, cancel := context.WithTimeout(rp.clientContext(context.WithoutCancel(ctx)), discoveryTime)
	defer cancel()
	found, err := rp.fetchMetadata(ctx)
	if err != nil {
		// Told here, once an attempt, not by every request that meets it.
		rp.config.Log.WarnContext(ctx, "provider does not answer", "err", err)
		m.next, m.err = rp.config.Now().Add(retryAfter), &undiscovered{err}
		if m.found == nil {
			return nil, m.err
		}
		return m.found, nil // what it said before stands
	}
	m.found, m.err, m.next = found, nil, now.Add(rediscover)
	return found, nil
}

// clientContext makes go-oidc and x/oauth2 use the provider's client.
func (rp *RelyingParty) clientContext(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, rp.client)
}

// newClient is the provider's client with a time limit. It follows no redirect:
// a form with a secret must not go where an answer says.
func newClient(p Provider) *http.Client {
	client := http.Client{}
	if p.HTTPClient != nil {
		client = *p.HTTPClient
	}
	if client.Timeout == 0 {
		client.Timeout = discoveryTime
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

func (rp *RelyingParty) fetchMetadata(ctx context.Context) (*discovered, error) {
	p := rp.config.Provider
	provider, err := oidc.NewProvider(ctx, p.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discovering provider %s: %w", p.Issuer, err)
	}
	var doc struct {
		JWKSURI     string   `json:"jwks_uri"`
		Iss         bool     `json:"authorization_response_iss_parameter_supported"`
		EndSession  string   `json:"end_session_endpoint"`
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		Algorithms  []string `json:"id_token_signing_alg_values_supported"`
		Scopes      []string `json:"scopes_supported"`
		CodeAgain   bool     `json:"nightlatch_code_idempotency"`
		Details     []string `json:"authorization_details_types_supported"`
	}
	if err := provider.Claims(&doc); err != nil {
		return nil, fmt.Errorf("discovering provider %s: %w", p.Issuer, err)
	}
	endpoint := provider.Endpoint()
	// Never guessed: a guess sends a single-use code twice.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if p.ClientSecret == "" || len(doc.AuthMethods) > 0 && !slices.Contains(doc.AuthMethods, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	algorithms := p.Algorithms
	if len(algorithms) == 0 {
		algorithms = asymmetric(doc.Algorithms)
	}
	fetcher := &keyFetcher{client: rp.client, now: rp.config.Now}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), &http.Client{Transport: fetcher}), doc.JWKSURI)
	verifier := func(c oidc.Config) *oidc.IDTokenVerifier {
		c.SupportedSigningAlgs, c.Now = algorithms, rp.config.Now
		return oidc.NewVerifier(p.Issuer, keys, &c)
	}
	return &discovered{
		provider: provider,
		oauth: oauth2.Config{
			ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: endpoint, RedirectURL: CallbackURL(rp.config.Site),
		},
		keys:     fetcher,
		verifier: verifier(oidc.Config{ClientID: p.ClientID}),
		access:   verifier(oidc.Config{SkipClientIDCheck: true}),

		issInReply: doc.Iss, endSession: doc.EndSession, userinfo: provider.UserInfoEndpoint() != "", scopes: doc.Scopes,
		codeAgain: doc.CodeAgain,
		namesJobs: slices.Contains(doc.Details, vault.JobDetail),
	}, nil
}

// Algorithms that tokens of a provider may be signed with.
var Algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// asymmetric leaves out what anybody who knows the public key, or nobody, could
// have signed with.
func asymmetric(algorithms []string) []string {
	var out []string
	for _, alg := range algorithms {
		if slices.Contains(Algorithms, alg) {
			out = append(out, alg)
		}
	}
	if len(out) == 0 {
		out = []string{oidc.RS256}
	}
	return out
}
