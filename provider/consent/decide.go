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

// NeededJobs returns the jobs of a request (RFC 9396, offline_job) that the consent
// page must ask for: those that the user has not allowed by name, or not with all
// of their scopes. have as for Needed.
func NeededJobs(details []json.RawMessage, have *Consent) (ask []oidc.OfflineJob) {
	allowed := map[string]oidc.Scopes{}
	if have != nil {
		for _, j := range oidc.Jobs(have.AuthorizationDetails) {
			allowed[j.Job] = j.Scopes()
		}
	}
	for _, j := range oidc.Jobs(details) {
		scopes, ok := allowed[j.Job]
		if !ok || len(scopes.Missing(j.Scopes())) > 0 {
			ask = append(ask, j)
		}
	}
	return ask
}

// allow adds a detail to others; a job that is there already gains its scopes.
func allow(details []json.RawMessage, more json.RawMessage) []json.RawMessage {
	added := oidc.Jobs([]json.RawMessage{more})
	if len(added) == 0 {
		if !slices.ContainsFunc(details, func(have json.RawMessage) bool { return bytes.Equal(have, more) }) {
			details = append(details, more)
		}
		return details
	}
	job := added[0]
	for _, have := range oidc.Jobs(details) {
		if have.Job == job.Job {
			job.Scope += " " + have.Scope
		}
	}
	return append(WithoutJob(details, job.Job), job.Raw())
}

// WithoutJob is the details but those of one job; never nil.
func WithoutJob(details []json.RawMessage, job string) []json.RawMessage {
	out := make([]json.RawMessage, 0, len(details))
	for _, d := range details {
		if j := oidc.Jobs([]json.RawMessage{d}); len(j) == 0 || j[0].Job != job {
			out = append(out, d)
		}
	}
	return out
}

// WithdrawJob takes one job out of a consent and tells whether it was there. The
// caller takes it out of the user's offline sessions at the client too
// (session.WithdrawJob), in the same transaction.
func WithdrawJob(tx storage.Tx, realm, user, client, job string, now time.Time) (bool, error) {
	c, err := Get(tx, realm, user, client)
	if err != nil || c == nil {
		return false, err
	}
	left := WithoutJob(c.AuthorizationDetails, job)
	if len(left) == len(c.AuthorizationDetails) {
		return false, nil
	}
	c.AuthorizationDetails, c.UpdatedAt = left, now.UTC()
	return true, Table.Put(tx, realm, ID(user, client), c)
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
		c.AuthorizationDetails = allow(c.AuthorizationDetails, d)
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
