package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// maxFound bounds what Find returns: more than one is ambiguous already.
const maxFound = 16

// Query names grants. Provider is required; exactly one of User, Sub, Email,
// GrantID is.
type Query struct {
	Provider string
	// Client, if not empty, must be the grant's.
	Client string
	// User is a username of a local realm; Email must have been verified.
	User, Sub, Email, GrantID string
}

// Find returns the grants that a query names, ended ones too; none is no error.
// What a Grant points to is shared: read only.
func (v *Vault) Find(ctx context.Context, q Query) ([]Grant, error) {
	q = q.normal()
	if found := v.cache.find(q); found != nil {
		return found, nil
	}
	mark := v.cache.mark()
	var found []*record
	err := v.c.Store.View(ctx, func(tx storage.Tx) error {
		found = nil
		rows, err := v.find(tx, q)
		for _, row := range rows {
			found = append(found, row.Record)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("finding grants: %w", err)
	}
	v.cache.keep(mark, q, found...)
	out := make([]Grant, 0, len(found))
	for _, r := range found {
		out = append(out, r.Grant)
	}
	return out, nil
}

// find reads the index for a query in normal form. A person may have grants at more
// clients than maxFound.
func (v *Vault) find(tx storage.Tx, q Query) ([]storage.Row[record], error) {
	by := func(index, value string) (found []storage.Row[record], err error) {
		for after := ""; ; {
			rows, err := v.listBy(tx, index, hash(q.Provider, value), after, maxFound)
			if err != nil {
				return nil, err
			}
			for _, row := range rows {
				if q.names(&row.Record.Grant) {
					found = append(found, row)
				}
			}
			if len(rows) < maxFound || len(found) >= maxFound {
				return found, nil
			}
			after = rows[len(rows)-1].ID
		}
	}
	switch {
	case q.GrantID != "":
		r, err := v.get(tx, q.GrantID)
		if err != nil {
			return nil, ignoreNotFound(err)
		}
		if !q.names(&r.Grant) {
			return nil, nil
		}
		return []storage.Row[record]{{ID: r.ID, Record: r}}, nil
	case q.Sub != "":
		return by(bySub, q.Sub)
	case q.User != "":
		return by(byUser, q.User)
	case q.Email != "":
		return by(byEmail, q.Email)
	}
	return nil, errors.New("a query needs a name")
}

// List pages through the grants of one client of a provider in the order of
// their ids, beginning behind after ("": from the first).
func (v *Vault) List(ctx context.Context, provider, client, after string, limit int) ([]Grant, error) {
	var out []Grant
	err := v.c.Store.View(ctx, func(tx storage.Tx) error {
		out = nil
		rows, err := v.listBy(tx, byClient, hash(provider, client), after, limit)
		for _, row := range rows {
			out = append(out, row.Record.Grant)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing grants: %w", err)
	}
	return out, nil
}

// Count tells how many grants of one client of a provider are in a state. It
// scans nothing.
func (v *Vault) Count(ctx context.Context, provider, client string, state State) (n int, err error) {
	err = v.c.Store.View(ctx, func(tx storage.Tx) error {
		n, err = v.grants.Count(tx, scope, byState, hash(provider, client, string(state)))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("counting grants: %w", err)
	}
	return n, nil
}

// Uses tells which jobs were handed a token of the grant that an offline session
// of a local realm stands behind, each with the last time, to a minute. There
// may be no such grant here: the client is somebody else's.
func (v *Vault) Uses(ctx context.Context, provider, offlineSession string) (map[string]time.Time, error) {
	uses := map[string]time.Time{}
	err := v.c.Store.View(ctx, func(tx storage.Tx) error {
		clear(uses)
		rows, err := v.grants.ListBy(tx, scope, bySession, hash(provider, offlineSession), "", 1)
		for _, row := range rows {
			maps.Copy(uses, row.Record.Uses)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("finding uses of a grant: %w", err)
	}
	return uses, nil
}
