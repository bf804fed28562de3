package keys_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

const realm = "demo"

var asymmetric = []string{keys.RS256, keys.ES256, keys.EdDSA}

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func sealer(t testing.TB) *seal.Keyset {
	t.Helper()
	k, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t testing.TB, store *storage.Store, sealer storage.Sealer) *keys.Ring {
	t.Helper()
	ring, err := keys.Open(context.Background(), keys.Config{Store: store, Sealer: sealer, Realm: realm, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func newRing(t testing.TB) *keys.Ring { return open(t, storagetest.New(t, now), sealer(t)) }

func sign(t testing.TB, ring *keys.Ring, alg, payload string) string {
	t.Helper()
	token, err := ring.Sign(alg, keys.TypAccess, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func mac(t testing.TB, ring *keys.Ring, payload string) string {
	t.Helper()
	token, err := ring.SignHMAC([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Every algorithm is opened by ourselves and by a foreign library that has
// nothing but the published key set.
func TestSign(t *testing.T) {
	ring := newRing(t)
	if got := ring.Algorithms(); strings.Join(got, " ") != strings.Join(asymmetric, " ") {
		t.Errorf("algorithms are %q", got)
	}
	raw, err := json.Marshal(ring.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	var published jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &published); err != nil {
		t.Fatal(err)
	}
	if len(published.Keys) != len(asymmetric) {
		t.Fatalf("%d keys are published, want %d", len(published.Keys), len(asymmetric))
	}
	for i, k := range published.Keys {
		if !k.IsPublic() || !k.Valid() || k.Use != "sig" || k.Algorithm != asymmetric[i] {
			t.Errorf("published key %d: %+v", i, k)
		}
	}
	const payload = `{"sub":"alice"}`
	for _, alg := range asymmetric {
		t.Run(alg, func(t *testing.T) {
			// Often enough that an integer with a leading zero byte occurs.
			times := map[string]int{keys.RS256: 1, keys.ES256: 600, keys.EdDSA: 1}[alg]
			for range times {
				if _, _, err := ring.Verify(sign(t, ring, alg, payload)); err != nil {
					t.Fatal(err)
				}
			}
			token := sign(t, ring, alg, payload)
			h, got, err := ring.Verify(token)
			if err != nil || string(got) != payload || h.Alg != alg || h.Typ != "at+jwt" {
				t.Errorf("Verify = %+v, %s, %v", h, got, err)
			}
			parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := parsed.Verify(published); err != nil || string(got) != payload {
				t.Errorf("a foreign library reads %s, %v", got, err)
			}
		})
	}
	if _, err := ring.Sign("PS256", "JWT", nil); err == nil {
		t.Error("signed with an algorithm that the realm has no key for")
	}
	if _, err := ring.Sign(keys.HS512, "JWT", nil); err == nil {
		t.Error("Sign used the symmetric key")
	}
}

func TestVerifyRefuses(t *testing.T) {
	ring, other := newRing(t), newRing(t)
	const payload = `{"sub":"alice"}`
	token := sign(t, ring, keys.ES256, payload)
	var rsa, ec jose.JSONWebKey
	for _, k := range ring.JWKS().Keys {
		switch k.Algorithm {
		case keys.RS256:
			rsa = k
		case keys.ES256:
			ec = k
		}
	}
	rsaPublic, err := x509.MarshalPKIXPublicKey(rsa.Key)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(alg jose.SignatureAlgorithm, key any, kid string, embed bool) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{EmbedJWK: embed}).WithType("at+jwt"))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := s.Sign([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	b64 := base64.RawURLEncoding.EncodeToString
	parts := strings.Split(token, ".")
	for name, raw := range map[string]string{
		"nothing":                           "",
		"garbage":                           "garbage",
		"dots":                              "..",
		"a key of another realm":            sign(t, other, keys.ES256, payload),
		"our kid, another's key":            forge(jose.ES256, mine, ec.KeyID, false),
		"another's key in the header":       forge(jose.ES256, mine, "", true),
		"the public key as a shared secret": forge(jose.HS256, rsaPublic, rsa.KeyID, false),
		"our kid, another algorithm":        forge(jose.ES256, mine, rsa.KeyID, false),
		"no signature":                      b64([]byte(`{"alg":"none","kid":"`+ec.KeyID+`"}`)) + "." + parts[1] + ".",
		"signature cut off":                 parts[0] + "." + parts[1] + ".",
		"another payload":                   parts[0] + "." + b64([]byte(`{"sub":"admin"}`)) + "." + parts[2],
		"a part too many":                   token + ".x",
		"JSON serialization":                `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"one under the symmetric key":       mac(t, ring, payload),
	} {
		if _, got, err := ring.Verify(raw); !errors.Is(err, keys.ErrInvalid) || got != nil {
			t.Errorf("%s: Verify = %q, %v", name, got, err)
		}
	}
}

func TestHMAC(t *testing.T) {
	ring := newRing(t)
	const payload = `{"gen":1}`
	token := mac(t, ring, payload)
	if again := mac(t, ring, payload); again != token {
		t.Error("the same payload gave other bytes")
	}
	if got, err := ring.VerifyHMAC(token); err != nil || string(got) != payload {
		t.Errorf("VerifyHMAC = %s, %v", got, err)
	}
	// O02: a compact JWS under a symmetric algorithm.
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.HS512})
	if err != nil {
		t.Fatal(err)
	}
	if typ := parsed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType]; typ != "JWT" {
		t.Errorf("typ is %v", typ)
	}

	parts := strings.Split(token, ".")
	last := parts[2][len(parts[2])-1]
	for name, raw := range map[string]string{
		"nothing":                "",
		"garbage":                "garbage",
		"dots":                   "..",
		"another realm's":        mac(t, newRing(t), payload),
		"another payload":        parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"gen":2}`)) + "." + parts[2],
		"no signature":           parts[0] + "." + parts[1] + ".",
		"a line break":           token + "\n",
		"another last character": token[:len(token)-1] + string(last+1),
		"a part too many":        token + ".x",
		"a part too few":         parts[0] + "." + parts[2],
		"an asymmetric one":      sign(t, ring, keys.ES256, payload),
	} {
		if got, err := ring.VerifyHMAC(raw); !errors.Is(err, keys.ErrInvalid) || got != nil {
			t.Errorf("%s: VerifyHMAC = %q, %v", name, got, err)
		}
	}
}

// O32: the keys survive a restart; they are sealed at rest and open only under
// the realm's own sealing key.
func TestOpen(t *testing.T) {
	store, keyset := storagetest.New(t, now), sealer(t)
	first := open(t, store, keyset)
	access, refresh := sign(t, first, keys.ES256, "{}"), mac(t, first, "{}")

	again := open(t, store, keyset)
	if _, _, err := again.Verify(access); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := again.VerifyHMAC(refresh); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if mac(t, again, "{}") != refresh {
		t.Error("after a restart the symmetric key is another")
	}

	err := store.View(context.Background(), func(tx storage.Tx) error {
		rows, err := tx.Scan(storage.Key("key"), nil, 100)
		if len(rows) == 0 {
			t.Error("no keys in the store")
		}
		for _, row := range rows {
			if bytes.Contains(row.Value, []byte("private")) || bytes.Contains(row.Value, []byte("ES256")) {
				t.Error("a key is not sealed")
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	config := keys.Config{Store: store, Sealer: sealer(t), Realm: realm, Now: now}
	if _, err := keys.Open(context.Background(), config); err == nil {
		t.Error("opened with another sealing key")
	}
	config.Sealer = nil
	if _, err := keys.Open(context.Background(), config); err == nil {
		t.Error("opened without a sealing key")
	}
	config.Sealer, config.Realm = keyset, "other"
	other, err := keys.Open(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.VerifyHMAC(refresh); err == nil {
		t.Error("two realms have the same keys")
	}
}

// Nodes that start at the same time agree on one set of keys.
func TestOpenConcurrently(t *testing.T) {
	store, keyset := storagetest.New(t, now), sealer(t)
	var rings [4]*keys.Ring
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			var err error
			if rings[i], err = keys.Open(context.Background(), keys.Config{Store: store, Sealer: keyset, Realm: realm, Now: now}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, ring := range rings[1:] {
		if len(ring.JWKS().Keys) != len(asymmetric) || mac(t, ring, "{}") != mac(t, rings[0], "{}") {
			t.Error("two nodes made keys of their own")
		}
		for _, alg := range asymmetric {
			if _, _, err := rings[0].Verify(sign(t, ring, alg, "{}")); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
		}
	}
}

func BenchmarkSign(b *testing.B) {
	ring, payload := newRing(b), bytes.Repeat([]byte("x"), 600)
	for _, alg := range asymmetric {
		b.Run(alg, func(b *testing.B) {
			for b.Loop() {
				_, _ = ring.Sign(alg, keys.TypAccess, payload)
			}
		})
	}
	b.Run(keys.HS512, func(b *testing.B) {
		for b.Loop() {
			_, _ = ring.SignHMAC(payload)
		}
	})
}
