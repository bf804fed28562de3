package consent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

// Needed returns the granted scopes that the consent page must ask for, none to
// go on without a page. have is what the user allowed before, nil for nothing;
// prompt=consent passes nil to ask again. A client with ConsentRequired asks
// for every scope that has a consent text; one with ConsentOffline for
// offline_access, whatever else is set.
func Needed(c *client.Client, scopes map[string]*client.Scope, granted oidc.Scopes, have *Consent) oidc.Scopes {
	var ask oidc.Scopes
	for _, name := range granted {
		if have != nil && slices.Contains(have.Scopes, name) {
			continue
		}
		s := scopes[name]
		shown := c.ConsentRequired && s != nil && s.ConsentText != ""
		if shown || (c.ConsentOffline && name == oidc.ScopeOfflineAccess) {
			ask = append(ask, name)
		}
	}
	return ask
}

// Get returns what a user allowed a client, nil if nothing.
func Get(tx storage.Tx, realm, user, client string) (*Consent, error) {
	c, err := Table.Get(tx, realm, ID(user, client))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading consent: %w", err)
	}
	return c, nil
}

// Give adds scopes and authorization details (RFC 9396) to what a user allowed
// a client before.
func Give(tx storage.Tx, realm, user, client string, scopes oidc.Scopes, details []json.RawMessage, now time.Time) error {
	now = now.UTC()
	c, err := Get(tx, realm, user, client)
	if err != nil {
		return err
	}
	if c == nil {
		c = &Consent{User: user, Client: client, CreatedAt: now}
	}
	c.Scopes = oidc.Scopes(c.Scopes).With(scopes...)
	for _, d := range details {
		if !slices.ContainsFunc(c.AuthorizationDetails, func(have json.RawMessage) bool { return bytes.Equal(have, d) }) {
			c.AuthorizationDetails = append(c.AuthorizationDetails, d)
		}
	}
	c.UpdatedAt = now
	return Table.Put(tx, realm, ID(user, client), c)
}

// Withdraw deletes a consent and tells whether there was one. The caller ends
// the client's offline sessions of the user in the same transaction
// (session.EndAll).
func Withdraw(tx storage.Tx, realm, user, client string) (bool, error) {
	c, err := Get(tx, realm, user, client)
	if err != nil || c == nil {
		return false, err
	}
	return true, Table.Delete(tx, realm, ID(user, client))
}
