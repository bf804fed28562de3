package client

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// ShowSecretFor is how long a secret that was set by an administrator can be
// read again: tools create a client and then ask for the secret that was made.
// Afterwards only its hash is left.
const ShowSecretFor = time.Hour

// Secrets keeps client secrets, sealed, as long as they can be shown.
type Secrets struct{ table *storage.Table[freshSecret] }

type freshSecret struct {
	Secret  string    `json:"secret"`
	Hash    []byte    `json:"hash"` // of the client that it belonged to when it was set
	Expires time.Time `json:"expires"`
}

// NewSecrets makes the keeper of a realm's fresh secrets.
func NewSecrets(sealer storage.Sealer) *Secrets {
	return &Secrets{&storage.Table[freshSecret]{
		Name: "client_secret", Sealer: sealer, Expires: func(f *freshSecret) time.Time { return f.Expires },
	}}
}

// NewSecret returns 256 random bits in 43 characters of base64url.
func NewSecret(random io.Reader) (string, error) {
	if random == nil {
		random = rand.Reader
	}
	var raw [32]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fmt.Errorf("making client secret: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw[:]), nil
}

// Set gives a client a secret, hashed under key, and keeps it to be shown. The
// caller writes the client.
func (s *Secrets) Set(tx storage.Tx, realm string, c *Client, key []byte, secret string, now time.Time) error {
	c.SecretHash = HashSecret(key, secret)
	return s.table.Put(tx, realm, c.ID, &freshSecret{Secret: secret, Hash: c.SecretHash, Expires: now.Add(ShowSecretFor)})
}

// Show returns the secret of a client while it can be shown, else "".
func (s *Secrets) Show(tx storage.Tx, realm string, c *Client) (string, error) {
	f, err := s.table.Get(tx, realm, c.ID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && string(f.Hash) != string(c.SecretHash) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading client secret: %w", err)
	}
	return f.Secret, nil
}
