package session

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// Code is an authorization code (RFC 6749 §4.1.2): what a user agreed to, until
// the client redeems it. The record is found by the hash of the code.
type Code struct {
	Client        string   `json:"client"` // client.Client.ID
	RedirectURI   string   `json:"redirect_uri"`
	RedirectGiven bool     `json:"redirect_given"` // the request had the parameter, so the exchange must
	Scopes        []string `json:"scopes"`         // all that was granted
	Nonce         string   `json:"nonce,omitempty"`
	Challenge     string   `json:"challenge,omitempty"` // PKCE, S256

	User        string    `json:"user"`         // user.User.ID
	UserSession string    `json:"user_session"` // sid
	AuthTime    time.Time `json:"auth_time"`
	ACR         string    `json:"acr,omitempty"`

	Resource             []string          `json:"resource,omitempty"`
	AuthorizationDetails []json.RawMessage `json:"authorization_details,omitempty"`
	IP                   string            `json:"ip"`
	Browser              string            `json:"browser"`
	IssuedAt             time.Time         `json:"issued_at"`
	Expires              time.Time         `json:"expires"`

	// Used codes are kept until they expire, with the client session that was
	// made of them: a second use ends it (RFC 6749 §4.1.2).
	Used          bool   `json:"used,omitempty"`
	ClientSession string `json:"client_session,omitempty"`
}

// Codes by the hash of the code.
var Codes = storage.Table[Code]{
	Name:    "code",
	Expires: func(c *Code) time.Time { return c.Expires },
}

// NewCode writes a code under its raw, random value. Expires must be set.
func NewCode(tx storage.Tx, realm, raw string, c Code) error {
	if err := Codes.Put(tx, realm, codeID(raw), &c); err != nil {
		return fmt.Errorf("writing code: %w", err)
	}
	return nil
}

// TakeCode reads the code that a client redeems; storage.ErrNotFound if there is
// none or it has expired. A code that was Used before is returned too.
func TakeCode(tx storage.Tx, realm, raw string) (*Code, error) {
	return Codes.Get(tx, realm, codeID(raw))
}

// UseCode marks a code as used for a client session.
func UseCode(tx storage.Tx, realm, raw string, c *Code, clientSession string) error {
	used := *c
	used.Used, used.ClientSession = true, clientSession
	return NewCode(tx, realm, raw, used)
}

func codeID(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
