package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// drops are what a local realm has said of all grants of a client, or of all that
// it has: one small record, however many they are. A grant that is read catches
// up with it (get, listBy), so nobody sees a token of before, and what the drop
// made of the grant is written whenever the grant is.
type drops struct {
	Last    uint64              `json:"last"` // number of the last drop
	All     dropMark            `json:"all,omitzero"`
	Clients map[string]dropMark `json:"clients,omitempty"`
}

type dropMark struct {
	N      uint64    `json:"n"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// catchUp does to a grant what was said of all since it was last written.
func (r *record) catchUp(d *drops) {
	marks := []dropMark{d.All, d.Clients[r.Client]}
	slices.SortFunc(marks, func(a, b dropMark) int { return cmp.Compare(a.N, b.N) })
	for _, m := range marks {
		if m.N > r.Drops {
			r.Drops = m.N
			r.dropped(m.Reason, m.At)
		}
	}
}

// suspended is the last drop that suspended all grants of a client; 0: none.
func (d *drops) suspended(client string) (n uint64) {
	for _, m := range []dropMark{d.All, d.Clients[client]} {
		if m.Reason != "" {
			n = max(n, m.N)
		}
	}
	return n
}

// dropsOf a provider must not be changed.
func (v *Vault) dropsOf(tx storage.Tx, provider string) (*drops, error) {
	d, err := v.drops.Shared(tx, scope, provider)
	if errors.Is(err, storage.ErrNotFound) {
		return &drops{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading drops: %w", err)
	}
	return d, nil
}

// get reads a grant.
func (v *Vault) get(tx storage.Tx, id string) (*record, error) {
	r, err := v.grants.Get(tx, scope, id)
	if err != nil {
		return nil, err
	}
	return r, v.caughtUp(tx, r)
}

func (v *Vault) caughtUp(tx storage.Tx, r *record) error {
	d, err := v.dropsOf(tx, r.Provider)
	if err == nil {
		r.catchUp(d)
	}
	return err
}

// listBy reads grants of an index.
func (v *Vault) listBy(tx storage.Tx, index, value, after string, limit int) ([]storage.Row[record], error) {
	rows, err := v.grants.ListBy(tx, scope, index, value, after, limit)
	for i := 0; err == nil && i < len(rows); i++ {
		err = v.caughtUp(tx, rows[i].Record)
	}
	return rows, err
}

// DropClient is DropCached for all grants of a client of a local realm, or where
// client is empty for all grants of the realm. However many they are, it is one
// write, and in force when it returns; they are counted as suspended a little later. Breakers close: a client that the realm
// refused may be one that it takes now.
func (v *Vault) DropClient(ctx context.Context, provider, client, reason string) error {
	now := v.c.Now()
	// Whatever the outcome: the commit may have happened.
	defer v.heed()
	err := v.c.Store.Update(ctx, func(tx storage.Tx) error {
		before, err := v.dropsOf(tx, provider)
		if err != nil {
			return err
		}
		d := drops{Last: before.Last + 1, All: before.All, Clients: maps.Clone(before.Clients)}
		mark := dropMark{N: d.Last, Reason: reason, At: now}
		switch {
		case client == "":
			d.All = mark
		case d.Clients == nil:
			d.Clients = map[string]dropMark{client: mark}
		default:
			d.Clients[client] = mark
		}
		return v.drops.Put(tx, scope, provider, &d)
	})
	if err != nil {
		return fmt.Errorf("dropping cached tokens of a client: %w", err)
	}
	select {
	case v.wake <- struct{}{}: // the walk writes it into each of them
	default:
	}
	return nil
}

// heed takes notice of a drop, of this node or another.
func (v *Vault) heed() {
	v.cache.clear()
	v.breakers.reset()
}

// DropCached forgets access tokens at once, on the word of a local realm: of the
// grant with this offline session, or where that is empty of all grants of this
// sub. With a reason (a grant_status) the grants are suspended as well, and
// tried again at the very next ask: the realm's own answer then decides, so an
// event that was wrong or early costs nothing. Without one the grants of a sub are
// put to the realm at once, behind this call: what has changed may have taken
// something, or given it back. An answer that is on its way meanwhile is not
// handed out.
func (v *Vault) DropCached(ctx context.Context, provider, sub, offlineSession, reason string) error {
	index, value := bySession, offlineSession
	if value == "" {
		index, value = bySub, sub
	}
	if value == "" {
		return errors.New("dropping cached tokens: neither sub nor offline session")
	}
	now := v.c.Now()
	var doubted []doubt
	err := v.write(ctx, func(tx storage.Tx, put func(*record) error) error {
		doubted = nil
		rows, err := v.listBy(tx, index, hash(provider, value), "", 1000)
		if err != nil {
			return err
		}
		for _, row := range rows {
			row.Record.dropped(reason, now)
			if reason == "" && index == bySub {
				row.Record.doubt(now)
				doubted = append(doubted, doubt{providerKey{row.Record.Provider, row.Record.Client}, row.ID})
			}
			if err := put(row.Record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("dropping cached tokens: %w", err)
	}
	for _, d := range doubted {
		select {
		case v.doubts <- d:
		default: // the walk finds it
		}
	}
	return nil
}

// doubt is about a grant that the background looks at next, whichever node walks.
type doubt struct {
	client providerKey
	id     string
}

// Owner tells which grant a cached access token is of; ErrNoGrant if none.
func (v *Vault) Owner(ctx context.Context, accessToken string) (Grant, error) {
	var g Grant
	err := v.c.Store.View(ctx, func(tx storage.Tx) error {
		rows, err := v.listBy(tx, byAccess, hash(accessToken), "", 1)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return ErrNoGrant
		}
		g = rows[0].Record.Grant
		return nil
	})
	if err != nil && !errors.Is(err, ErrNoGrant) {
		return Grant{}, fmt.Errorf("finding access token: %w", err)
	}
	return g, err
}

// Reject forgets one cached access token because a job says that it does not
// work, at most one for a grant in a minute.
func (v *Vault) Reject(ctx context.Context, grantID, accessToken string) error {
	now := v.c.Now()
	_, err := v.change(ctx, grantID, func(r *record) error {
		if now.Sub(r.ForcedAt) < time.Minute {
			return errServed
		}
		n := len(r.Access)
		for i := 0; i < len(r.Access); i++ {
			if r.Access[i].Token == accessToken {
				r.Access = append(r.Access[:i], r.Access[i+1:]...)
				i--
			}
		}
		if len(r.Access) == n {
			return errServed
		}
		r.ForcedAt = now
		r.Epoch++
		return nil
	})
	if err != nil && !errors.Is(err, errServed) {
		return fmt.Errorf("rejecting access token: %w", err)
	}
	return nil
}

// Revoke ends a grant: at the provider first, where it has an endpoint for it
// (RFC 7009), then here. If the provider cannot be reached nothing has happened.
func (v *Vault) Revoke(ctx context.Context, grantID string) error {
	r, err := v.read(ctx, grantID)
	if err != nil {
		return err
	}
	unlock, err := v.locks.acquire(ctx, r.identity())
	if err != nil {
		return transient(fmt.Errorf("waiting for a refresh: %w", err))
	}
	defer unlock()
	if r, err = v.read(ctx, grantID); err != nil {
		return err
	}
	if r.State == Ended {
		return nil
	}
	if p := v.provider(r.Provider, r.Client); p != nil && p.RevocationEndpoint != nil {
		one, cancel := context.WithTimeout(ctx, v.c.AttemptTimeout)
		defer cancel()
		if failed := p.revoke(one, r.RefreshToken); failed != nil {
			return failed
		}
	}
	now := v.c.Now()
	if _, err = v.change(ctx, grantID, func(r *record) error { r.end("revoked", now); return nil }); err != nil {
		return fmt.Errorf("ending grant: %w", err)
	}
	return nil
}
