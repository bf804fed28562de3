package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// Login is what a login with offline access gave.
type Login struct {
	Provider, Client string
	Site             string // public URL of the site
	Sub              string
	Username, Email  string
	EmailVerified    bool
	Groups           []string
	Asked            []string // scopes that the login asked for
	Scopes           []string // granted
	// Jobs that the consent named, where the provider's consents name jobs; nil:
	// it said nothing, and what the person allowed before stands.
	Jobs          Jobs
	RefreshToken  string
	AccessToken   string    // may be empty
	AccessExpires time.Time // of AccessToken; zero: do not keep it
	// IdleExpiresIn is how long the provider lets the token rest, 0 if it has
	// not told; RefreshExpiresIn when it ends it at the latest, 0: never or not
	// told.
	IdleExpiresIn, RefreshExpiresIn time.Duration
}

// HeldFor is how long Save waits, by default, for a node that died while it refreshed the
// grant.
const HeldFor = attemptTimeout + leaseGrace

// leasePoll is the real time between two looks at another node's lease.
const leasePoll = 250 * time.Millisecond

// revokeTimeout bounds the revocation of a replaced token, which a browser
// waits for.
const revokeTimeout = 5 * time.Second

// Save keeps the token of a login. When it returns no error the grant is sealed
// and on disk; it waits for a refresh of the same grant that is under way. The
// token that it replaces is revoked only then, and only at a realm of this
// process.
//
// lost are scopes that the grant holds and the login has not asked for. A grant
// that works is not replaced by less: it stays as it is, the login's own token is
// let go, and another login should ask for all. What was asked for and denied is
// not lost, it was taken away by the person.
func (v *Vault) Save(ctx context.Context, l Login) (lost []string, err error) {
	if l.Provider == "" || l.Client == "" || l.Sub == "" || l.RefreshToken == "" {
		return nil, errors.New("saving grant: provider, client, sub and refresh token are required")
	}
	p := v.provider(l.Provider, l.Client)
	if p == nil {
		return nil, fmt.Errorf("saving grant: provider %s has no client %s", l.Provider, l.Client)
	}
	unlock, err := v.locks.acquire(ctx, identity(l.Provider, l.Client, l.Sub))
	if err != nil {
		return nil, fmt.Errorf("saving grant: %w", err)
	}
	defer unlock()
	id, err := v.random()
	if err != nil {
		return nil, fmt.Errorf("saving grant: %w", err)
	}
	saved, lost, err := v.saved(ctx, p, l, "g_"+id)
	if err != nil {
		return nil, fmt.Errorf("saving grant: %w", err)
	}
	v.revokeReplaced(ctx, p, saved)
	return lost, nil
}

func (v *Vault) saved(ctx context.Context, p *Provider, l Login, newID string) (saved *record, lost []string, err error) {
	for {
		now := v.c.Now()
		err = v.write(ctx, func(tx storage.Tx, put func(*record) error) error {
			row, err := v.grants.GetBy(tx, scope, byIdentity, identity(l.Provider, l.Client, l.Sub))
			r := row.Record
			if errors.Is(err, storage.ErrNotFound) {
				r, err = &record{handout: handout{Grant: Grant{ID: newID, Provider: l.Provider, Client: l.Client}}}, nil
			}
			if err == nil {
				err = v.caughtUp(tx, r)
			}
			switch {
			case err != nil:
				return err
			case !r.Lease.Free(v.c.Node, now):
				return storage.ErrHeld
			}
			lost = r.login(l, p.Local, now)
			saved = r
			return put(r)
		})
		switch {
		case errors.Is(err, storage.ErrHeld):
			if err := pause(ctx, leasePoll); err != nil {
				return nil, nil, err
			}
		case err != nil:
			return nil, nil, err
		default:
			return saved, lost, nil
		}
	}
}

// Has tells whether a grant works and covers all scopes.
func (v *Vault) Has(ctx context.Context, provider, client, sub string, scopes []string) (bool, error) {
	has := false
	err := v.c.Store.View(ctx, func(tx storage.Tx) error {
		row, err := v.grants.GetBy(tx, scope, byIdentity, identity(provider, client, sub))
		if err == nil {
			err = v.caughtUp(tx, row.Record)
			has = row.Record.State == Active && row.Record.Covers(scopes)
		}
		return ignoreNotFound(err)
	})
	if err != nil {
		return false, fmt.Errorf("looking for grant: %w", err)
	}
	return has, nil
}

// revokeReplaced revokes what a login has replaced. A token that could not be
// revoked stays in the record, for the next refresh to try again.
func (v *Vault) revokeReplaced(ctx context.Context, p *Provider, r *record) {
	if len(r.Replaced) == 0 || !p.Local || p.RevocationEndpoint == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	var done []string
	for _, token := range r.Replaced {
		// A token that the realm refuses will not get better by repetition.
		if err := p.revoke(ctx, token); err != nil && (err.Class == ClassTransient || err.Class == ClassOperator) {
			v.c.Logger.Warn("revoking replaced token", "grant_id", r.ID, "error", err)
			continue
		}
		done = append(done, token)
	}
	if len(done) == 0 {
		return
	}
	_, err := v.change(ctx, r.ID, func(r *record) error {
		r.Replaced = slices.DeleteFunc(r.Replaced, func(t string) bool { return slices.Contains(done, t) })
		return nil
	})
	if err != nil {
		v.c.Logger.Warn("forgetting replaced token", "grant_id", r.ID, "error", err)
	}
}

// change rewrites a grant in one transaction. fn may run several times, each
// time on what the store holds; its error leaves the record as it was.
func (v *Vault) change(ctx context.Context, id string, fn func(*record) error) (*record, error) {
	var out *record
	err := v.write(ctx, func(tx storage.Tx, put func(*record) error) error {
		r, err := v.get(tx, id)
		if errors.Is(err, storage.ErrNotFound) {
			return ErrNoGrant
		}
		if err != nil {
			return err
		}
		out = r
		if err := fn(r); err != nil {
			return err
		}
		return put(r)
	})
	return out, err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// pause waits in real time, whatever clock judges tokens.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
