package adapter

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/storage"
)

// AssertionHeader carries a signed JWT of the caller's identity to the app, which
// verifies it with the keys at certsPath: proof for apps that others could reach
// without passing here.
const AssertionHeader = "Nightlatch-Assertion"

// assertionLife is how long an assertion is valid. One is used for many requests,
// until half of it is over: a signature costs more than the rest of a request.
const assertionLife = 2 * time.Minute

// assertionKey is a site's key, made once, sealed.
type assertionKey struct {
	PKCS8 []byte `json:"pkcs8"`
}

// assertions signs for one site.
type assertions struct {
	mu     sync.Mutex
	signer jose.Signer // nil until the first is asked for
	set    []byte      // public keys (RFC 7517 §5)
	made   map[*session.Identity]assertion
}

type assertion struct {
	token string
	fresh time.Time // another is made from then on
}

// maxAssertions bounds what is kept; beyond it any other goes.
const maxAssertions = 50_000

// assertionClaims of the JWT (RFC 7519 §4.1). The audience is the site.
type assertionClaims struct {
	Issuer        string   `json:"iss"`
	Audience      string   `json:"aud"`
	IssuedAt      int64    `json:"iat"`
	Expires       int64    `json:"exp"`
	Subject       string   `json:"sub"`
	Name          string   `json:"preferred_username,omitempty"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"email_verified,omitempty"`
	Groups        []string `json:"groups,omitempty"`
	Roles         []string `json:"roles,omitempty"`
	Provider      string   `json:"provider"`
	Offline       bool     `json:"offline,omitempty"`
}

// assert returns an assertion of an identity. It signs at most once a minute for
// each that is in use.
func (rp *RelyingParty) assert(ctx context.Context, id *session.Identity) (string, error) {
	a, now := &rp.assertions, rp.config.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if made, ok := a.made[id]; ok && now.Before(made.fresh) {
		return made.token, nil
	}
	if a.signer == nil {
		if err := rp.openAssertions(ctx); err != nil {
			return "", err
		}
	}
	site := rp.config.Site.String()
	payload, err := json.Marshal(assertionClaims{
		Issuer: site, Audience: site, IssuedAt: now.Unix(), Expires: now.Add(assertionLife).Unix(),
		Subject: id.Subject, Name: id.Name, Email: id.Email, EmailVerified: id.EmailVerified,
		Groups: id.Groups, Roles: id.Roles, Provider: id.Provider, Offline: id.Offline,
	})
	if err != nil {
		return "", fmt.Errorf("encoding assertion: %w", err)
	}
	signed, err := a.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing assertion: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("signing assertion: %w", err)
	}
	if len(a.made) >= maxAssertions {
		for other := range a.made {
			delete(a.made, other)
			break
		}
	}
	a.made[id] = assertion{token, now.Add(assertionLife / 2)}
	return token, nil
}

// openAssertions reads or makes the site's key; a.mu is held.
func (rp *RelyingParty) openAssertions(ctx context.Context) error {
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rp.config.Random)
	if err != nil {
		return fmt.Errorf("making assertion key: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(fresh)
	if err != nil {
		return fmt.Errorf("making assertion key: %w", err)
	}
	table := storage.Table[assertionKey]{Name: "assertion_key", Sealer: rp.config.Sealer}
	var kept *assertionKey
	err = rp.config.Store.Update(ctx, func(tx storage.Tx) error {
		var err error
		kept, err = table.Get(tx, rp.config.Site.String(), "es256")
		if errors.Is(err, storage.ErrNotFound) {
			kept = &assertionKey{raw}
			return table.Put(tx, rp.config.Site.String(), "es256", kept)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading assertion key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(kept.PKCS8)
	if err != nil {
		return fmt.Errorf("reading assertion key: %w", err)
	}
	jwk := jose.JSONWebKey{Key: key, Algorithm: string(jose.ES256), Use: "sig"}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return fmt.Errorf("naming assertion key: %w", err)
	}
	jwk.KeyID = fmt.Sprintf("%x", thumbprint[:8])
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk.Public()}})
	if err != nil {
		return fmt.Errorf("encoding assertion key: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return fmt.Errorf("making assertion signer: %w", err)
	}
	a := &rp.assertions
	a.signer, a.set, a.made = signer, set, map[*session.Identity]assertion{}
	return nil
}

// certs serves the public keys of assertions.
func (rp *RelyingParty) certs(w http.ResponseWriter, r *http.Request) {
	if !rp.method(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	if !rp.config.Assertion {
		rp.fail(w, r, http.StatusNotFound, "not_found", "This site signs no assertions.")
		return
	}
	a := &rp.assertions
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.signer == nil {
		if err := rp.openAssertions(r.Context()); err != nil {
			rp.unavailable(w, r, err)
			return
		}
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(a.set)
}

func (a *assertions) sweep(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, made := range a.made {
		if !now.Before(made.fresh) {
			delete(a.made, id)
		}
	}
}
