package client

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/nightlatch/nightlatch/storage"
)

// maxName bounds a client_id, so that no request can make a key too long.
const maxName = 255

// ByName returns the client with a client_id, or storage.ErrNotFound.
func ByName(tx storage.Tx, realm, clientID string) (*Client, error) {
	if clientID == "" || len(clientID) > maxName {
		return nil, storage.ErrNotFound
	}
	row, err := Clients.GetBy(tx, realm, "client_id", clientID)
	if err != nil {
		return nil, err
	}
	return row.Record, nil
}

// shared is ByName for readers; see storage.Table.Shared.
func shared(tx storage.Tx, realm, clientID string) (*Client, error) {
	if clientID == "" || len(clientID) > maxName {
		return nil, storage.ErrNotFound
	}
	return Clients.SharedBy(tx, realm, "client_id", clientID)
}

// HashSecret is what a record keeps of a client secret: its HMAC-SHA-256 under
// a key derived from the sealing keyset, so that a stolen store does not allow
// guesses. Secrets are random and long; a slow hash would only slow requests.
func HashSecret(key []byte, secret string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(secret))
	return m.Sum(nil)
}
