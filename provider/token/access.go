package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/keys"
)

// Kinds of token, in the claim typ.
const (
	typeAccess  = "Bearer"
	typeID      = "ID"
	typeRefresh = "Refresh"
	typeOffline = "Offline"
)

// ErrWrongKind: a token of ours, but of another issuer or kind.
var ErrWrongKind = errors.New("token is of another issuer or kind")

// Access is an access token.
type Access struct {
	Issuer         string
	Subject        string
	ClientID       string
	Audience       []string
	Session        string // sid
	OfflineSession string // of a grant with offline access
	ClientSession  string // of any other grant that has a session
	Scope          string
	JTI            string
	IssuedAt       time.Time
	ExpiresAt      time.Time
	AuthTime       time.Time // zero: nobody logged in
	// Claims about the user. They never replace one of the above.
	Claims map[string]any
}

// Sign returns the token with the header typ at+jwt, signed with alg.
func (a Access) Sign(ring *keys.Ring, alg string) (string, error) {
	c := userClaims(a.Claims)
	c["typ"], c["iss"], c["sub"], c["azp"], c["client_id"] = typeAccess, a.Issuer, a.Subject, a.ClientID, a.ClientID
	c["aud"], c["jti"], c["scope"] = audience(a.Audience), a.JTI, a.Scope
	c["iat"], c["exp"] = a.IssuedAt.Unix(), a.ExpiresAt.Unix()
	set(c, "sid", a.Session)
	set(c, "offline_session", a.OfflineSession)
	set(c, "client_session", a.ClientSession)
	if !a.AuthTime.IsZero() {
		c["auth_time"] = a.AuthTime.Unix()
	}
	// Not whole seconds: order among tokens of one second, for not-before.
	c["iat_ms"] = a.IssuedAt.UnixMilli()
	return sign(ring, alg, keys.TypAccess, c)
}

// OpenAccess opens an access token of the issuer. Expiry is the caller's to
// judge. The error wraps keys.ErrInvalid or ErrWrongKind.
func OpenAccess(ring *keys.Ring, issuer, raw string) (Access, error) {
	h, payload, err := ring.Verify(raw)
	if err != nil {
		return Access{}, err
	}
	var c wire
	if err := json.Unmarshal(payload, &c); err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrWrongKind, err)
	}
	if h.Typ != keys.TypAccess || c.Type != typeAccess || c.Issuer != issuer {
		return Access{}, ErrWrongKind
	}
	a := Access{
		Issuer: c.Issuer, Subject: c.Subject, ClientID: c.ClientID, Audience: c.Audience, Session: c.Session,
		OfflineSession: c.OfflineSession, ClientSession: c.ClientSession, Scope: c.Scope, JTI: c.JTI,
		IssuedAt: c.issued(), ExpiresAt: unix(c.Expires), AuthTime: unix(c.AuthTime),
	}
	var all map[string]any
	if err := json.Unmarshal(payload, &all); err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrWrongKind, err)
	}
	a.Claims = userClaims(all)
	return a, nil
}

// userClaims copies what is no protocol claim, with room for those. An attribute
// of a user thus never stands for a claim that the token itself leaves out; nor
// does another spelling of its name, which encoding/json would read as the same.
func userClaims(all map[string]any) map[string]any {
	c := make(map[string]any, len(all)+16)
	for name, value := range all {
		if !slices.Contains(protocolClaims, strings.ToLower(name)) {
			c[name] = value
		}
	}
	return c
}

// protocolClaims are those that the structs hold; the rest is about the user.
var protocolClaims = []string{
	"typ", "iss", "sub", "azp", "client_id", "aud", "jti", "scope", "iat", "iat_ms", "exp", "nbf", "sid",
	"offline_session", "client_session", "auth_time", "nonce", "at_hash", "acr", "gen",
}

// wire is the union of what tokens carry.
type wire struct {
	Type           string `json:"typ"`
	Issuer         string `json:"iss"`
	Subject        string `json:"sub"`
	Audience       list   `json:"aud"`
	Party          string `json:"azp"`
	ClientID       string `json:"client_id"`
	Session        string `json:"sid"`
	OfflineSession string `json:"offline_session"`
	ClientSession  string `json:"client_session"`
	Generation     uint64 `json:"gen"`
	Scope          string `json:"scope"`
	JTI            string `json:"jti"`
	Nonce          string `json:"nonce"`
	Issued         int64  `json:"iat"`
	IssuedMilli    int64  `json:"iat_ms"`
	Expires        int64  `json:"exp"`
	AuthTime       int64  `json:"auth_time"`
}

func (w wire) issued() time.Time {
	if w.IssuedMilli != 0 {
		return time.UnixMilli(w.IssuedMilli).UTC()
	}
	return unix(w.Issued)
}

// list is a claim that may be one string or several (RFC 7519 §4.1.3).
type list []string

func (l *list) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		var one string
		if err := json.Unmarshal(raw, &one); err != nil {
			return err
		}
		*l = list{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil {
		return err
	}
	*l = many
	return nil
}

// audience writes one value as a string, as most clients expect.
func audience(a []string) any {
	if len(a) == 1 {
		return a[0]
	}
	return a
}

func set(c map[string]any, name, value string) {
	if value != "" {
		c[name] = value
	}
}

func unix(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

func sign(ring *keys.Ring, alg, typ string, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding token: %w", err)
	}
	return ring.Sign(alg, typ, payload)
}
