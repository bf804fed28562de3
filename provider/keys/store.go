package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

// Config of a Ring. Random defaults to crypto/rand; the rest is needed.
type Config struct {
	Store  *storage.Store
	Sealer storage.Sealer // of the keys at rest
	Realm  string
	Now    func() time.Time
	Random io.Reader // of key ids and symmetric keys; the others come from the system's generator
}

// record is a key at rest.
type record struct {
	ID      string    `json:"id"` // the kid
	Alg     string    `json:"alg"`
	Private []byte    `json:"private"` // PKCS #8; the secret itself for HS512
	Created time.Time `json:"created"`
}

// ringRecord is all keys of a realm in one record, so that nodes which start at
// the same time agree on which of them makes the first ones.
type ringRecord struct {
	Keys []record `json:"keys"`
}

func (r *ringRecord) has(alg string) bool {
	return slices.ContainsFunc(r.Keys, func(k record) bool { return k.Alg == alg })
}

// ringID is the id of the one row in a realm's scope.
const ringID = "ring"

// Open reads the realm's keys and makes those that are missing in one
// transaction. Making an RSA key takes some tenths of a second, once.
func Open(ctx context.Context, c Config) (*Ring, error) {
	if c.Sealer == nil {
		return nil, fmt.Errorf("opening keys of realm %s: no sealer", c.Realm)
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	table := storage.Table[ringRecord]{Name: "key", Sealer: c.Sealer}
	var ring *ringRecord
	read := func(tx storage.Tx) (err error) {
		ring, err = table.Get(tx, c.Realm, ringID)
		if errors.Is(err, storage.ErrNotFound) {
			ring, err = &ringRecord{}, nil
		}
		return err
	}
	if err := c.Store.View(ctx, read); err != nil {
		return nil, fmt.Errorf("reading keys of realm %s: %w", c.Realm, err)
	}
	var made []record
	for _, alg := range algorithms {
		if ring.has(alg) {
			continue
		}
		k, err := generate(alg, c.Random, c.Now().UTC())
		if err != nil {
			return nil, fmt.Errorf("making %s key of realm %s: %w", alg, c.Realm, err)
		}
		made = append(made, k)
	}
	if len(made) > 0 {
		err := c.Store.Update(ctx, func(tx storage.Tx) error {
			if err := read(tx); err != nil {
				return err
			}
			for _, k := range made {
				if !ring.has(k.Alg) { // else another node was first
					ring.Keys = append(ring.Keys, k)
				}
			}
			return table.Put(tx, c.Realm, ringID, ring)
		})
		if err != nil {
			return nil, fmt.Errorf("storing keys of realm %s: %w", c.Realm, err)
		}
	}
	r, err := newRing(ring.Keys)
	if err != nil {
		return nil, fmt.Errorf("reading keys of realm %s: %w", c.Realm, err)
	}
	return r, nil
}

func generate(alg string, random io.Reader, now time.Time) (record, error) {
	r := record{ID: oidc.NewID(random), Alg: alg, Created: now}
	var private any
	var err error
	switch alg {
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case HS512:
		r.Private = make([]byte, 64) // as long as the hash (RFC 7518 §3.2)
		_, err = io.ReadFull(random, r.Private)
		return r, err
	default:
		return record{}, errors.New("unknown algorithm")
	}
	if err != nil {
		return record{}, err
	}
	r.Private, err = x509.MarshalPKCS8PrivateKey(private)
	return r, err
}
