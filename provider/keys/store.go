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
	"strings"
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
	ID      string `json:"id"` // the kid
	Alg     string `json:"alg"`
	Private []byte `json:"private"` // PKCS #8; the secret itself for HS512
	// Created: it signs from then on. A key of a rotation is published a moment
	// before.
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

func (c *Config) prepare() error {
	if c.Sealer == nil {
		return fmt.Errorf("opening keys of realm %s: no sealer", c.Realm)
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return nil
}

func (c *Config) table() *storage.Table[ringRecord] {
	return &storage.Table[ringRecord]{Name: "key", Sealer: c.Sealer}
}

func (c *Config) read(tx storage.Tx) (*ringRecord, error) {
	ring, err := c.table().Get(tx, c.Realm, ringID)
	if errors.Is(err, storage.ErrNotFound) {
		return &ringRecord{}, nil
	}
	return ring, err
}

// change reads the realm's keys, adds some of those that were made beforehand,
// and writes them.
func (c *Config) change(ctx context.Context, fn func(ring *ringRecord)) (*ringRecord, error) {
	var ring *ringRecord
	err := c.Store.Update(ctx, func(tx storage.Tx) (err error) {
		if ring, err = c.read(tx); err != nil {
			return err
		}
		fn(ring)
		return c.table().Put(tx, c.Realm, ringID, ring)
	})
	if err != nil {
		return nil, fmt.Errorf("storing keys of realm %s: %w", c.Realm, err)
	}
	return ring, nil
}

// generate makes keys that sign from a time on.
func (c *Config) generate(algs []string, from time.Time) ([]record, error) {
	var made []record
	for _, alg := range algs {
		k, err := generate(alg, c.Random, from)
		if err != nil {
			return nil, fmt.Errorf("making %s key of realm %s: %w", alg, c.Realm, err)
		}
		made = append(made, k)
	}
	return made, nil
}

// Open reads the realm's keys and makes those that are missing in one
// transaction. Making an RSA key takes some tenths of a second, once.
func Open(ctx context.Context, c Config) (*Ring, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	var ring *ringRecord
	err := c.Store.View(ctx, func(tx storage.Tx) (err error) {
		ring, err = c.read(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading keys of realm %s: %w", c.Realm, err)
	}
	missing := slices.DeleteFunc(slices.Clone(algorithms), ring.has)
	if len(missing) > 0 {
		made, err := c.generate(missing, c.Now().UTC())
		if err != nil {
			return nil, err
		}
		ring, err = c.change(ctx, func(ring *ringRecord) {
			for _, k := range made {
				if !ring.has(k.Alg) { // else another node was first
					ring.Keys = append(ring.Keys, k)
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	r, err := newRing(ring.Keys, c.Now)
	if err != nil {
		return nil, fmt.Errorf("reading keys of realm %s: %w", c.Realm, err)
	}
	return r, nil
}

// Rotated is a key that Rotate made.
type Rotated struct {
	Alg string `json:"alg"`
	ID  string `json:"kid"`
}

// settle is how long a key is known before it signs: until every node, and
// whoever looks at the public keys, has heard of it.
const settle = 5 * time.Second

// Rotate makes a new key for each of the algorithms (none: for all) and returns
// them; every node hears of it by Watch, opens its ring again, and signs with
// them a moment later. The keys before them go on verifying: a symmetric one for
// ever, since offline tokens may live as long as their session; an asymmetric one
// until a later Rotate finds that another one has signed in its place for longer
// than keep, the life of the longest token.
func Rotate(ctx context.Context, c Config, keep time.Duration, algs ...string) ([]Rotated, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	for _, alg := range algs {
		if !slices.Contains(algorithms, alg) {
			return nil, fmt.Errorf("rotating keys of realm %s: no algorithm %q: want some of %s", c.Realm, alg, strings.Join(algorithms, ", "))
		}
	}
	if len(algs) == 0 {
		algs = algorithms
	}
	now := c.Now().UTC()
	made, err := c.generate(algs, now.Add(settle))
	if err != nil {
		return nil, err
	}
	_, err = c.change(ctx, func(ring *ringRecord) {
		ring.retire(now.Add(-keep))
		for _, k := range made {
			ring.add(k)
		}
	})
	if err != nil {
		return nil, err
	}
	var out []Rotated
	for _, k := range made {
		out = append(out, Rotated{Alg: k.Alg, ID: k.ID})
	}
	return out, nil
}

// Watch calls changed when a node may have changed the realm's keys, until ctx
// ends or the store cannot go on.
func Watch(ctx context.Context, c Config, changed func()) error {
	return c.Store.Watch(ctx, c.table().Prefix(c.Realm), changed, func([][]byte) { changed() })
}

// add makes a key the newest of its algorithm, also where the clock of the node
// that made the one before was ahead. A commit that is repeated adds it once.
func (r *ringRecord) add(k record) {
	for _, old := range r.Keys {
		if old.ID == k.ID {
			return
		}
		if old.Alg == k.Alg && !k.Created.After(old.Created) {
			k.Created = old.Created.Add(time.Millisecond)
		}
	}
	r.Keys = append(r.Keys, k)
}

// retire drops asymmetric keys that have signed nothing since a time: whose
// successor is older.
func (r *ringRecord) retire(since time.Time) {
	r.Keys = slices.DeleteFunc(slices.Clone(r.Keys), func(old record) bool {
		return old.Alg != HS512 && slices.ContainsFunc(r.Keys, func(k record) bool {
			return k.Alg == old.Alg && k.Created.After(old.Created) && k.Created.Before(since)
		})
	})
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
