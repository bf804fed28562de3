package session

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

// Code is an authorization code and what was granted with it. The store has it
// under the code's hash; the code itself is in nobody's hands but the client's.
type Code struct {
	Client        string   `json:"client"` // client.Client.ID
	RedirectURI   string   `json:"redirect_uri"`
	RedirectGiven bool     `json:"redirect_given,omitempty"` // the request named it (RFC 6749 §4.1.3)
	Scopes        []string `json:"scopes"`
	Nonce         string   `json:"nonce,omitempty"`
	Challenge     string   `json:"challenge,omitempty"` // PKCE, S256
	ACR           string   `json:"acr,omitempty"`
	Resource      []string `json:"resource,omitempty"`

	AuthorizationDetails []json.RawMessage `json:"authorization_details,omitempty"`

	User        string    `json:"user"` // user.User.ID
	UserSession string    `json:"user_session"`
	AuthTime    time.Time `json:"auth_time"`
	IP          string    `json:"ip"`
	Browser     string    `json:"browser"`
	IssuedAt    time.Time `json:"issued_at"`

	// Used codes are kept for a while, so that a second use ends the session that
	// came of the first (RFC 6749 §4.1.2), unless it is the same request again, by
	// its key.
	Used          bool      `json:"used,omitempty"`
	ClientSession string    `json:"client_session,omitempty"`
	KeyHash       []byte    `json:"key_hash,omitempty"` // of the Idempotency-Key that used it
	Expires       time.Time `json:"expires"`
}

// UsedWith tells whether a request with this key used the code.
func (c *Code) UsedWith(keyHash []byte) bool {
	return c.Used && len(c.KeyHash) > 0 && bytes.Equal(c.KeyHash, keyHash)
}

// used is the code after its exchange for a client session.
func (c Code) used(clientSession string, keyHash []byte) Code {
	c.Used, c.ClientSession, c.KeyHash = true, clientSession, keyHash
	return c
}

// usedCode is how long a used code is remembered.
const usedCode = 10 * time.Minute

// Codes by hash.
var Codes = storage.Table[Code]{Name: "code", Expires: func(c *Code) time.Time { return c.Expires }}

// MakeCode returns a fresh authorization code of 256 random bits.
func MakeCode(random io.Reader) string { return oidc.NewID(random) + oidc.NewID(random) }

// NewCode writes a code that lives for the given time after IssuedAt.
func NewCode(tx storage.Tx, realm, raw string, c Code, life time.Duration) error {
	c.IssuedAt, c.Browser = instant(c.IssuedAt), clip(c.Browser)
	c.Expires = c.IssuedAt.Add(life)
	if err := Codes.Put(tx, realm, codeID(raw), &c); err != nil {
		return fmt.Errorf("writing code: %w", err)
	}
	return nil
}

// TakeCode reads a code, used or not; storage.ErrNotFound if it never was or has
// expired.
func TakeCode(tx storage.Tx, realm, raw string) (*Code, error) {
	return Codes.Get(tx, realm, codeID(raw))
}

// UseCode notes that a code was exchanged for a client session by a request with
// a key.
func UseCode(tx storage.Tx, realm, raw string, c *Code, clientSession string, keyHash []byte) error {
	used := c.used(clientSession, keyHash)
	used.Expires = c.IssuedAt.Add(usedCode)
	if err := Codes.Put(tx, realm, codeID(raw), &used); err != nil {
		return fmt.Errorf("writing used code: %w", err)
	}
	return nil
}

func codeID(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
