package vault

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
	// background asks are nobody's: they keep a grant alive.
	background bool
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
// A cached token costs what cache.go says; a fresh one two synced writes.
func (v *Vault) Token(ctx context.Context, grantID string, a Ask) (Token, error) {
	h, err := v.look(ctx, grantID)
	if err != nil {
		return Token{}, err
	}
	a = a.normal(h.Scopes)
	if !h.Covers(a.Scopes) {
		return Token{}, &Error{Class: ClassRequest, Code: "invalid_scope"}
	}
	if t, ok := h.cached(a, v.c.Now()); ok {
		v.noteUse(&h.Grant, a.Job)
		return t, nil
	}
	// With the epoch, nobody joins a flight whose token has been dropped since.
	key := hash(h.ID, strconv.FormatUint(h.Epoch, 10), strings.Join(a.Scopes, " "), a.Resource, a.MinTTL.String(), a.Job)
	landed := v.flights.DoChan(key, func() (any, error) {
		v.running.enter()
		defer v.running.leave()
		defer v.flights.Forget(key) // nobody joins a flight that has landed
		select {
		case <-v.closing:
			return nil, transient(errors.New("vault is closing"))
		default:
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.c.FlightTimeout)
		defer cancel()
		return v.fly(ctx, &h.Grant, a)
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
		r, err = v.get(tx, id)
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
