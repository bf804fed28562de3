package token

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/provider/keys"
)

// ID is an ID token.
type ID struct {
	Issuer    string
	Subject   string
	ClientID  string
	Session   string // sid
	Nonce     string // of the authorization request; none at a refresh
	ACR       string
	AtHash    string
	AuthTime  time.Time
	JTI       string
	IssuedAt  time.Time
	ExpiresAt time.Time
	// Claims about the user. They never replace one of the above.
	Claims map[string]any
}

// Sign returns the token, signed with alg.
func (i ID) Sign(ring *keys.Ring, alg string) (string, error) {
	c := userClaims(i.Claims)
	c["typ"], c["iss"], c["sub"], c["aud"], c["azp"] = typeID, i.Issuer, i.Subject, i.ClientID, i.ClientID
	c["jti"], c["iat"], c["exp"] = i.JTI, i.IssuedAt.Unix(), i.ExpiresAt.Unix()
	set(c, "sid", i.Session)
	set(c, "nonce", i.Nonce)
	set(c, "acr", i.ACR)
	set(c, "at_hash", i.AtHash)
	if !i.AuthTime.IsZero() {
		c["auth_time"] = i.AuthTime.Unix()
	}
	return sign(ring, alg, keys.TypJWT, c)
}

// OpenIDHint opens an id_token_hint: an ID token that we issued, expired or not
// (OpenID Connect RP-Initiated Logout §2). The error wraps keys.ErrInvalid or
// ErrWrongKind.
func OpenIDHint(ring *keys.Ring, issuer, raw string) (ID, error) {
	_, payload, err := ring.Verify(raw)
	if err != nil {
		return ID{}, err
	}
	var c wire
	if err := json.Unmarshal(payload, &c); err != nil {
		return ID{}, fmt.Errorf("%w: %w", ErrWrongKind, err)
	}
	if c.Type != typeID || c.Issuer != issuer {
		return ID{}, ErrWrongKind
	}
	return ID{
		Issuer: c.Issuer, Subject: c.Subject, ClientID: c.Party, Session: c.Session, Nonce: c.Nonce, JTI: c.JTI,
		AuthTime: unix(c.AuthTime), IssuedAt: unix(c.Issued), ExpiresAt: unix(c.Expires),
	}, nil
}

// AtHash is the at_hash of an access token: the left half of its hash under the
// ID token's algorithm (OpenID Connect Core §3.1.3.6). EdDSA with Ed25519 hashes
// with SHA-512.
func AtHash(alg, access string) (string, error) {
	switch alg {
	case keys.RS256, keys.ES256:
		sum := sha256.Sum256([]byte(access))
		return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]), nil
	case keys.EdDSA:
		sum := sha512.Sum512([]byte(access))
		return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]), nil
	}
	return "", fmt.Errorf("hashing access token: no hash for %s", alg)
}
