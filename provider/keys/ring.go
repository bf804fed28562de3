package keys

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Algorithms of RFC 7518 and RFC 8037 that a realm has keys for.
const (
	RS256 = "RS256"
	ES256 = "ES256"
	EdDSA = "EdDSA" // with Ed25519
	HS512 = "HS512" // refresh and offline tokens, for ourselves alone
)

// algorithms, RS256 first: foreign clients expect it.
var algorithms = []string{RS256, ES256, EdDSA, HS512}

// Algorithms that a realm has keys for.
func Algorithms() []string { return slices.Clone(algorithms) }

// Ring is a realm's keys in memory. It is safe for concurrent use: nothing in
// it changes after Open.
type Ring struct {
	now       func() time.Time
	signing   map[string][]*key // by algorithm, the newest last
	byID      map[string]*key
	symmetric map[string]*key // by the header that they write
	public    []jose.JSONWebKey
}

type key struct {
	record
	signer  crypto.Signer     // nil for HS512
	headers map[string]string // encoded, by typ
}

func newRing(records []record, now func() time.Time) (*Ring, error) {
	// The newest key of an algorithm whose time has come signs; kids break a tie,
	// so that all nodes agree.
	records = slices.SortedFunc(slices.Values(records), func(a, b record) int {
		if d := a.Created.Compare(b.Created); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	r := &Ring{now: now, signing: map[string][]*key{}, byID: map[string]*key{}, symmetric: map[string]*key{}}
	for _, rec := range records {
		k := &key{record: rec, headers: map[string]string{}}
		for _, typ := range []string{TypJWT, TypAccess} {
			k.headers[typ] = header(rec.Alg, typ, rec.ID)
		}
		r.signing[rec.Alg], r.byID[rec.ID] = append(r.signing[rec.Alg], k), k
		if rec.Alg == HS512 {
			r.symmetric[k.headers[TypJWT]] = k
			continue
		}
		private, err := x509.ParsePKCS8PrivateKey(rec.Private)
		if err != nil {
			return nil, fmt.Errorf("parsing key %s: %w", rec.ID, err)
		}
		signer, ok := private.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("parsing key %s: %T cannot sign", rec.ID, private)
		}
		k.signer = signer
		r.public = append(r.public, jose.JSONWebKey{Key: signer.Public(), KeyID: rec.ID, Algorithm: rec.Alg, Use: "sig"})
	}
	// Of each algorithm the newest first, for clients that take the first one.
	slices.SortStableFunc(r.public, func(a, b jose.JSONWebKey) int {
		if d := slices.Index(algorithms, a.Algorithm) - slices.Index(algorithms, b.Algorithm); d != 0 {
			return d
		}
		return r.byID[b.KeyID].Created.Compare(r.byID[a.KeyID].Created)
	})
	return r, nil
}

// current is the key of an algorithm that signs, nil if there is none. Where the
// time of none has come, a clock is behind: the oldest, which every node has.
func (r *Ring) current(alg string) *key {
	all := r.signing[alg]
	for i := len(all) - 1; i > 0; i-- {
		if !all[i].Created.After(r.now()) {
			return all[i]
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// JWKS returns the public keys (RFC 7517 §5), RS256 first.
func (r *Ring) JWKS() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: slices.Clone(r.public)}
}

// Algorithms that ID and access tokens can be signed with, RS256 first.
func (r *Ring) Algorithms() []string {
	var out []string
	for _, alg := range algorithms {
		if k := r.current(alg); k != nil && k.signer != nil {
			out = append(out, alg)
		}
	}
	return out
}
