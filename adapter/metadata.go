package adapter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// discovered is what the provider's discovery document says.
type discovered struct {
	provider   *oidc.Provider
	oauth      oauth2.Config
	verifier   *oidc.IDTokenVerifier // ID tokens for our client
	access     *oidc.IDTokenVerifier // access tokens for whoever
	issInReply bool                  // RFC 9207
	endSession string
	userinfo   bool
	offline    bool // knows the scope offline_access
}

// metadata caches the discovery document. A provider that is down is asked again
// after a moment, not by every request.
type metadata struct {
	mu    sync.Mutex
	found *discovered
	err   error
	retry time.Time
}

// retryDiscovery is how long a failure stands.
const retryDiscovery = 2 * time.Second

// discover returns the provider's metadata; an error means 503 for now.
func (rp *RelyingParty) discover(ctx context.Context) (*discovered, error) {
	m := &rp.metadata
	m.mu.Lock()
	defer m.mu.Unlock()
	now := rp.config.Now()
	if m.found != nil {
		return m.found, nil
	}
	if m.err != nil && now.Before(m.retry) {
		return nil, m.err
	}
	// Detached: the keys are fetched with this context later on.
	m.found, m.err = rp.fetchMetadata(rp.clientContext(context.WithoutCancel(ctx)))
	m.retry = now.Add(retryDiscovery)
	return m.found, m.err
}

// clientContext makes go-oidc and x/oauth2 use the provider's client.
func (rp *RelyingParty) clientContext(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, rp.config.Provider.HTTPClient)
}

func (rp *RelyingParty) fetchMetadata(ctx context.Context) (*discovered, error) {
	p := rp.config.Provider
	provider, err := oidc.NewProvider(ctx, p.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discovering provider %s: %w", p.Issuer, err)
	}
	var doc struct {
		Iss         bool     `json:"authorization_response_iss_parameter_supported"`
		EndSession  string   `json:"end_session_endpoint"`
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		Algorithms  []string `json:"id_token_signing_alg_values_supported"`
		Scopes      []string `json:"scopes_supported"`
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
	return &discovered{
		provider: provider,
		oauth: oauth2.Config{
			ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: endpoint, RedirectURL: CallbackURL(rp.config.Site),
		},
		verifier: provider.VerifierContext(ctx, &oidc.Config{ClientID: p.ClientID, SupportedSigningAlgs: algorithms, Now: rp.config.Now}),
		access:   provider.VerifierContext(ctx, &oidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: algorithms, Now: rp.config.Now}),

		issInReply: doc.Iss, endSession: doc.EndSession, userinfo: provider.UserInfoEndpoint() != "",
		offline: slices.Contains(doc.Scopes, oidc.ScopeOfflineAccess),
	}, nil
}

// asymmetric leaves out what anybody who knows the public key, or nobody, could
// have signed with.
func asymmetric(algorithms []string) []string {
	var out []string
	for _, alg := range algorithms {
		switch alg {
		case oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA:
			out = append(out, alg)
		}
	}
	if len(out) == 0 {
		out = []string{oidc.RS256}
	}
	return out
}
