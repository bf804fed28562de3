package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// Ask is what a job wants of a grant.
type Ask struct {
	// Scopes of the access token; none: all that were granted.
	Scopes []string
	// Resource (RFC 8707) that the token is for; empty: the provider's default.
	Resource string
	// MinTTL is how long the token must live on, capped at half of the lifetime
	// that it was issued with. Default 60 s.
	MinTTL time.Duration
	// Job that asks, for the grant's record of uses; empty: not recorded.
	Job string
}

// Token is a short-lived access token.
type Token struct {
	AccessToken string
	ExpiresAt   time.Time
	Scope       string // as the provider granted it
	GrantID     string
}

// Token returns an access token of a grant: a cached one, or a fresh one by the
// refresh protocol (see refresh.go). All asks for the same share one flight,
// which goes on when its asker leaves. Errors are ErrNoGrant, an *Error, or one
// of storage.
//
// A cached token costs one read; a fresh one that and two synced writes.
func (v *Vault) Token(ctx context.Context, grantID string, a Ask) (Token, error) {
	r, err := v.read(ctx, grantID)
	if err != nil {
		return Token{}, err
	}
	a = a.normal(r.Scopes)
	if !r.Covers(a.Scopes) {
		return Token{}, &Error{Class: ClassRequest, Code: "invalid_scope"}
	}
	if t, ok := r.cached(a, v.c.Now()); ok {
		v.noteUse(ctx, r, a.Job)
		return t, nil
	}
	key := hash(r.ID, strings.Join(a.Scopes, " "), a.Resource, a.MinTTL.String(), a.Job)
	landed := v.flights.DoChan(key, func() (any, error) {
		v.running.enter()
		defer v.running.leave()
		select {
		case <-v.closing:
			return nil, transient(errors.New("vault is closing"))
		default:
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.c.FlightTimeout)
		defer cancel()
		return v.fly(ctx, r, a)
	})
	select {
	case res := <-landed:
		t, _ := res.Val.(Token)
		return t, res.Err
	case <-ctx.Done():
		return Token{}, fmt.Errorf("waiting for refresh: %w", context.Cause(ctx))
	}
}

func (v *Vault) read(ctx context.Context, id string) (*record, error) {
	var r *record
	err := v.c.Store.View(ctx, func(tx storage.Tx) (err error) {
		r, err = v.grants.Get(tx, scope, id)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, ErrNoGrant
	}
	if err != nil {
		return nil, fmt.Errorf("reading grant: %w", err)
	}
	return r, nil
}

// noteUse writes the use of a cached token down, at most once a minute for each
// job. A use that cannot be written is no reason to withhold the token.
func (v *Vault) noteUse(ctx context.Context, r *record, job string) {
	now := v.c.Now()
	if !r.used(job, now) {
		return
	}
	if _, err := v.change(ctx, r.ID, func(r *record) error { r.used(job, now); return nil }); err != nil {
		v.c.Logger.Warn("noting use of grant", "grant_id", r.ID, "error", err)
	}
}
