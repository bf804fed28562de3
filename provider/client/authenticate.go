package client

import (
	"crypto/hmac"
	"time"

	"github.com/nightlatch/nightlatch/provider/guess"
	"github.com/nightlatch/nightlatch/provider/oidc"
)

// invalidClient is the one answer to every failure: which part was wrong, and
// whether the client exists, is nobody's business (RFC 6749 §5.2).
var invalidClient = oidc.Errorf(oidc.CodeInvalidClient, "client authentication failed: the client is unknown or switched off, its secret is wrong, or it has to authenticate by another method")

// Authenticator proves that a request comes from the client it names.
type Authenticator struct {
	// SecretKey is the key of HashSecret.
	SecretKey []byte
	// TokenEndpoint and Issuer are the audiences that an assertion may have.
	TokenEndpoint string
	Issuer        string
	Now           func() time.Time
	// Guesses counts wrong secrets; nil: nobody is slowed.
	Guesses *guess.Memory
}

// Verify judges credentials against the client they name; c is nil for an
// unknown one. A disabled client fails too. Every error is the same
// invalid_client.
func (a Authenticator) Verify(c *Client, cred Credentials) error {
	// The MAC is made in any case, so that an unknown client takes as long.
	mac := HashSecret(a.SecretKey, cred.Secret)
	if c == nil || !c.Enabled || c.ClientID != cred.ClientID || !allows(c, cred.Method) {
		return invalidClient
	}
	switch cred.Method {
	case MethodNone:
		return nil
	case MethodBasic, MethodPost:
		if len(c.SecretHash) == 0 || cred.Secret == "" || !hmac.Equal(mac, c.SecretHash) {
			return invalidClient
		}
		return nil
	case MethodPrivateKey:
		return a.verifyAssertion(c, cred.Assertion)
	}
	return invalidClient
}

// allows tells whether a client may authenticate by a method.
func allows(c *Client, method string) bool {
	switch {
	case c.Public:
		return method == MethodNone
	case c.AuthMethod == "":
		return method == MethodBasic || method == MethodPost
	}
	return method == c.AuthMethod && method != MethodNone
}
