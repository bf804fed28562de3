package client

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/nightlatch/nightlatch/storage"
)

// assertionAlgorithms of private_key_jwt: the asymmetric ones of RFC 7518 and
// RFC 8037. A MAC keyed with a public key can thus never pass.
var assertionAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

const (
	assertionLeeway = 30 * time.Second // for clocks that differ
	assertionMaxAge = 10 * time.Minute // how far ahead exp may lie
	maxJTI          = 512
)

// verifyAssertion proves a client assertion (RFC 7523 §3) by the client's
// registered keys alone: key material in its header is never looked at.
func (a Authenticator) verifyAssertion(c *Client, assertion string) error {
	tok, err := jwt.ParseSigned(assertion, assertionAlgorithms)
	if err != nil || len(tok.Headers) != 1 {
		return invalidClient
	}
	key, ok := assertionKey(c.JWKS, tok.Headers[0])
	if !ok {
		return invalidClient
	}
	var claims jwt.Claims
	if err := tok.Claims(key, &claims); err != nil {
		return invalidClient
	}
	if claims.Issuer != c.ClientID || claims.Subject != c.ClientID ||
		claims.ID == "" || len(claims.ID) > maxJTI || claims.Expiry == nil {
		return invalidClient
	}
	// Every audience must be ours: an assertion that another server may also
	// accept could have been taken from there.
	if len(claims.Audience) == 0 {
		return invalidClient
	}
	for _, aud := range claims.Audience {
		if aud != a.Issuer && aud != a.TokenEndpoint {
			return invalidClient
		}
	}
	now := a.Now()
	exp := claims.Expiry.Time()
	if !exp.After(now.Add(-assertionLeeway)) || exp.After(now.Add(assertionMaxAge)) {
		return invalidClient
	}
	if claims.NotBefore != nil && claims.NotBefore.Time().After(now.Add(assertionLeeway)) {
		return invalidClient
	}
	if claims.IssuedAt != nil && claims.IssuedAt.Time().After(now.Add(assertionLeeway)) {
		return invalidClient
	}
	return nil
}

// assertionKey picks the registered key that a header names; a header without
// kid is fine if there is only one key.
func assertionKey(set *jose.JSONWebKeySet, h jose.Header) (any, bool) {
	if set == nil {
		return nil, false
	}
	keys := set.Keys
	if h.KeyID != "" {
		keys = set.Key(h.KeyID)
	}
	if len(keys) != 1 {
		return nil, false
	}
	k := keys[0]
	if (k.Algorithm != "" && k.Algorithm != h.Algorithm) || (k.Use != "" && k.Use != "sig") {
		return nil, false
	}
	return k.Public().Key, k.Public().Key != nil
}

// usedAssertion remembers an assertion until it would be refused by its exp.
type usedAssertion struct {
	Expires time.Time `json:"expires"`
}

var usedAssertions = storage.Table[usedAssertion]{
	Name:    "client_assertion",
	Expires: func(u *usedAssertion) time.Time { return u.Expires },
}

// RememberAssertion refuses the second use of a client assertion (RFC 7523 §3,
// jti) with the same invalid_client as Verify, which must have accepted it
// before. Credentials of other methods pass without a read.
func RememberAssertion(tx storage.Tx, realm string, cred Credentials) error {
	if cred.Method != MethodPrivateKey {
		return nil
	}
	tok, err := jwt.ParseSigned(cred.Assertion, assertionAlgorithms)
	if err != nil {
		return invalidClient
	}
	var claims jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&claims); err != nil || claims.Expiry == nil {
		return invalidClient
	}
	sum := sha256.Sum256(storage.Key(claims.Issuer, claims.ID))
	id := base64.RawURLEncoding.EncodeToString(sum[:])
	switch _, err := usedAssertions.Get(tx, realm, id); {
	case err == nil:
		return invalidClient
	case !errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("reading client assertion: %w", err)
	}
	return usedAssertions.Put(tx, realm, id, &usedAssertion{Expires: claims.Expiry.Time().Add(assertionLeeway + time.Second)})
}
