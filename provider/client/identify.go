package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/nightlatch/nightlatch/provider/guess"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// Identify finds the client that credentials name and verifies them. An unknown
// client takes as long as a wrong secret, and who has guessed at secrets from this
// address has to wait: his are not looked at. An assertion is not yet remembered:
// see RememberAssertion, which needs a transaction that writes.
func (a Authenticator) Identify(tx storage.Tx, s realm.Settings, cred Credentials, address string) (*Client, error) {
	secret, policy := a.Guesses != nil && cred.Secret != "", guess.PolicyOf(s)
	if secret {
		if wait := a.Guesses.Wait(policy, cred.ClientID, address, a.Now()); wait > 0 {
			return nil, guess.Slow(wait)
		}
	}
	c, err := shared(tx, s.Name, cred.ClientID)
	if errors.Is(err, storage.ErrNotFound) {
		c, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading client: %w", err)
	}
	if err := a.Verify(c, cred); err != nil {
		if secret {
			a.Guesses.Wrong(policy, cred.ClientID, address, cred.Secret, a.Now())
		}
		return nil, err
	}
	if secret {
		a.Guesses.Right(cred.ClientID, address)
	}
	return c, nil
}

// Authenticate proves the client of a request and reads the settings of now:
// one View, so that wrong credentials never reach the queue of writers, and an
// Update that remembers a signed assertion. Every refusal is invalid_client, or
// slow_down for who guesses.
func (a Authenticator) Authenticate(ctx context.Context, store *storage.Store, realmName string, cred Credentials, address string) (c *Client, s realm.Settings, err error) {
	err = store.View(ctx, func(tx storage.Tx) error {
		var err error
		if s, err = realm.Get(tx, realmName); err != nil {
			return err
		}
		c, err = a.Identify(tx, s, cred, address)
		return err
	})
	if err == nil && cred.Method == MethodPrivateKey {
		err = store.Update(ctx, func(tx storage.Tx) error { return RememberAssertion(tx, realmName, cred) })
	}
	return c, s, err
}

// AssertionAlgorithms names what a client assertion may be signed with.
func AssertionAlgorithms() []string {
	out := make([]string, len(assertionAlgorithms))
	for i, alg := range assertionAlgorithms {
		out[i] = string(alg)
	}
	return out
}

// Readers returns the origin if it may read answers for the client (CORS), else
// none.
func Readers(c *Client, origin string) []string {
	if MatchOrigin(AllowedOrigins(c), origin) {
		return []string{origin}
	}
	return nil
}
