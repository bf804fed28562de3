package token

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/provider/keys"
)

// Refresh is a refresh token, or an offline token: a signed pointer to a client
// session, in a certain generation.
type Refresh struct {
	ID         string // of the client session
	Generation uint64
	Offline    bool
	Issuer     string
	ClientID   string
	Subject    string
	Session    string // sid
	Scope      string
	JTI        string
	IssuedAt   time.Time
	// ExpiresAt is a hint for the client; zero leaves exp out, as an offline
	// token without a limit must (O02).
	ExpiresAt time.Time
}

// refreshClaims in the order in which they are written: the same fields give
// the same bytes.
type refreshClaims struct {
	Type           string `json:"typ"`
	Issuer         string `json:"iss"`
	Audience       string `json:"aud"`
	Party          string `json:"azp"`
	Subject        string `json:"sub"`
	Session        string `json:"sid,omitempty"`
	OfflineSession string `json:"offline_session,omitempty"`
	ClientSession  string `json:"client_session,omitempty"`
	Generation     uint64 `json:"gen"`
	Scope          string `json:"scope"`
	JTI            string `json:"jti"`
	Issued         int64  `json:"iat"`
	IssuedMilli    int64  `json:"iat_ms"`
	Expires        int64  `json:"exp,omitempty"`
}

// Sign returns the token under the realm's symmetric key, whatever the realm's
// signature algorithm is (O02).
func (r Refresh) Sign(ring *keys.Ring) (string, error) {
	c := refreshClaims{
		Type: typeRefresh, Issuer: r.Issuer, Audience: r.Issuer, Party: r.ClientID, Subject: r.Subject, Session: r.Session,
		Generation: r.Generation, Scope: r.Scope, JTI: r.JTI, Issued: r.IssuedAt.Unix(), IssuedMilli: r.IssuedAt.UnixMilli(),
	}
	if r.Offline {
		c.Type, c.OfflineSession = typeOffline, r.ID
	} else {
		c.ClientSession = r.ID
	}
	if !r.ExpiresAt.IsZero() {
		c.Expires = r.ExpiresAt.Unix()
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encoding token: %w", err)
	}
	return ring.SignHMAC(payload)
}

// OpenRefresh opens a refresh or offline token of the issuer; it costs one HMAC
// and no storage access. Expiry is the caller's to judge, by the record. The
// error wraps keys.ErrInvalid or ErrWrongKind.
func OpenRefresh(ring *keys.Ring, issuer, raw string) (Refresh, error) {
	payload, err := ring.VerifyHMAC(raw)
	if err != nil {
		return Refresh{}, err
	}
	var c wire
	if err := json.Unmarshal(payload, &c); err != nil {
		return Refresh{}, fmt.Errorf("%w: %w", ErrWrongKind, err)
	}
	r := Refresh{
		ID: c.ClientSession, Generation: c.Generation, Issuer: c.Issuer, ClientID: c.Party, Subject: c.Subject, Session: c.Session,
		Scope: c.Scope, JTI: c.JTI, IssuedAt: c.issued(), ExpiresAt: unix(c.Expires),
	}
	switch c.Type {
	case typeRefresh:
	case typeOffline:
		r.Offline, r.ID = true, c.OfflineSession
	default:
		return Refresh{}, ErrWrongKind
	}
	if c.Issuer != issuer || r.ID == "" {
		return Refresh{}, ErrWrongKind
	}
	return r, nil
}
