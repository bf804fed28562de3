package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

// Algorithms of RFC 7518 (and RFC 8037) that a realm has keys for.
const (
	RS256 = "RS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
	HS512 = "HS512" // refresh and offline tokens, for ourselves alone
)

// Config of a Ring.
type Config struct {
	Store  *storage.Store
	Sealer storage.Sealer // seals private keys at rest; needed
	Realm  string
	Now    func() time.Time
	Random io.Reader // defaults to crypto/rand
}

// record is a key at rest.
type record struct {
	ID      string    `json:"id"` // the kid
	Alg     string    `json:"alg"`
	Private []byte    `json:"private"` // PKCS #8; the secret itself for HS512
	Created time.Time `json:"created"`
}

// Ring is a realm's keys in memory. It is safe for concurrent use: it does not
// change after Open.
type Ring struct {
	current map[string]*key // by algorithm, the newest
	byID    map[string]*key
	public  jose.JSONWebKeySet
}

type key struct {
	record
	signer  crypto.Signer // nil for HS512
	headers map[string]string
}

// Open reads the realm's keys and makes those that are missing in one
// transaction. Making an RSA key takes some tenths of a second, once.
func Open(ctx context.Context, c Config) (*Ring, error) {
	table := storage.Table[record]{Name: "key", Sealer: c.Sealer}
	var have []record
	read := func(tx storage.Tx) error {
		rows, err := table.List(tx, c.Realm, "", 1000)
		have = have[:0]
		for _, row := range rows {
			have = append(have, *row.Record)
		}
		return err
	}
	if err := c.Store.View(ctx, read); err != nil {
		return nil, fmt.Errorf("reading keys of realm %s: %w", c.Realm, err)
	}
	var made []record
	for _, alg := range []string{RS256, ES256, EdDSA, HS512} {
		if !slices.ContainsFunc(have, func(r record) bool { return r.Alg == alg }) {
			r, err := generate(alg, c.Random, c.Now().UTC())
			if err != nil {
				return nil, fmt.Errorf("making %s key of realm %s: %w", alg, c.Realm, err)
			}
			made = append(made, r)
		}
	}
	if len(made) > 0 {
		err := c.Store.Update(ctx, func(tx storage.Tx) error {
			if err := read(tx); err != nil {
				return err
			}
			for _, r := range made {
				// Another node may have been first.
				if slices.ContainsFunc(have, func(h record) bool { return h.Alg == r.Alg }) {
					continue
				}
				if err := table.Put(tx, c.Realm, r.ID, &r); err != nil {
					return err
				}
				have = append(have, r)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("storing keys of realm %s: %w", c.Realm, err)
		}
	}
	return newRing(have)
}

func newRing(records []record) (*Ring, error) {
	// The newest key of an algorithm signs; the order of kids breaks a tie, so
	// that all nodes agree.
	slices.SortFunc(records, func(a, b record) int {
		if d := a.Created.Compare(b.Created); d != 0 {
			return d
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	r := &Ring{current: map[string]*key{}, byID: map[string]*key{}}
	for _, rec := range records {
		k := &key{record: rec, headers: map[string]string{}}
		if rec.Alg != HS512 {
			parsed, err := x509.ParsePKCS8PrivateKey(rec.Private)
			if err != nil {
				return nil, fmt.Errorf("parsing key %s: %w", rec.ID, err)
			}
			signer, ok := parsed.(crypto.Signer)
			if !ok {
				return nil, fmt.Errorf("parsing key %s: %T cannot sign", rec.ID, parsed)
			}
			k.signer = signer
			r.public.Keys = append(r.public.Keys, jose.JSONWebKey{Key: signer.Public(), KeyID: rec.ID, Algorithm: rec.Alg, Use: "sig"})
		}
		for _, typ := range []string{"", typJWT, TypAccess} {
			k.headers[typ] = header(rec.Alg, typ, rec.ID)
		}
		r.current[rec.Alg], r.byID[rec.ID] = k, k
	}
	slices.Reverse(r.public.Keys) // the newest first, for clients that take the first
	return r, nil
}

func generate(alg string, random io.Reader, now time.Time) (record, error) {
	r := record{ID: oidc.NewID(random), Alg: alg, Created: now}
	// Keys of crypto/… come from the system's generator whatever is injected.
	var private any
	var err error
	switch alg {
	case RS256:
		private, err = rsa.GenerateKey(nil, 2048)
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), nil)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(nil)
	case HS512:
		r.Private = make([]byte, 64)
		_, err = io.ReadFull(systemRandom, r.Private)
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

// JWKS returns the public keys (RFC 7517 §5).
func (r *Ring) JWKS() jose.JSONWebKeySet { return r.public }

// Algorithms that ID and access tokens can be signed with, RS256 first.
func (r *Ring) Algorithms() []string {
	var out []string
	for _, alg := range []string{RS256, ES256, EdDSA} {
		if r.current[alg] != nil {
			out = append(out, alg)
		}
	}
	return out
}
