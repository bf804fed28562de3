package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// DropCached forgets access tokens at once, on the word of a local realm: of the
// grant with this offline session, or where that is empty of all grants of this
// sub. With a reason (a grant_status) the grants are suspended as well, and
// tried again at the very next ask: the realm's own answer then decides, so an
// event that was wrong or early costs nothing. An answer that is on its way
// meanwhile is not handed out.
func (v *Vault) DropCached(ctx context.Context, provider, sub, offlineSession, reason string) error {
	index, value := bySession, offlineSession
	if value == "" {
		index, value = bySub, sub
	}
	if value == "" {
		return errors.New("dropping cached tokens: neither sub nor offline session")
	}
	now := v.c.Now()
	err := v.write(ctx, func(tx storage.Tx, put func(*record) error) error {
		rows, err := v.grants.ListBy(tx, scope, index, hash(provider, value), "", 1000)
		if err != nil {
			return err
		}
		for _, row := range rows {
			row.Record.dropped(reason, now)
			if err := put(row.Record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("dropping cached tokens: %w", err)
	}
	return nil
}

// Owner tells which grant a cached access token is of; ErrNoGrant if none.
func (v *Vault) Owner(ctx context.Context, accessToken string) (Grant, error) {
	var g Grant
	err := v.c.Store.View(ctx, func(tx storage.Tx) error {
		rows, err := v.grants.ListBy(tx, scope, byAccess, hash(accessToken), "", 1)
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
