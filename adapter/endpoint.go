package adapter

import "context"

// TokenEndpoint is the provider's token endpoint, after a discovery if need be:
// the vault refreshes there. An error is a transient one.
func (rp *RelyingParty) TokenEndpoint(ctx context.Context) (string, error) {
	d, err := rp.discover(ctx)
	if err != nil {
		return "", err
	}
	return d.oauth.Endpoint.TokenURL, nil
}
