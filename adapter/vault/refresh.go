package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// The refresh protocol (docs/decisions/0008), in steps that may each be the last one
// before a crash:
//
//  1. One flight per grant: a lock in the process, a lease with a fencing number
//     among nodes, as long as one attempt may last and some more. It is detached
//     from the request that asked.
//  2. Read the record again: somebody may have refreshed it.
//  3. An intent for this very token is taken over with its Idempotency-Key; else
//     one is written. No write, no refresh: a store that cannot write would lose
//     what the provider answers.
//  4. Send. What is transient is sent again: same token, same key; before that the
//     lease is renewed, so that no request is out without one.
//  5. Write the new token and the access token in one transaction, provided the
//     record still holds the token that was sent.
//  6. Only then hand out.
//
// Whatever is lost on the way, the next flight repeats the request with the same
// key and gets the same successor (O55). At a provider that does not know the
// key, nothing better can be done than to send the same token again.

const (
	attempts = 3
	// rounds bounds how often a flight starts over because the record changed
	// under it (a login, another node, a revocation).
	rounds = 4
)

// errMoved: the record is no longer the one that the flight began with.
var errMoved = errors.New("grant has changed meanwhile")

func (v *Vault) fly(ctx context.Context, g *Grant, a Ask) (Token, error) {
	unlock, err := v.locks.acquire(ctx, g.identity())
	if err != nil {
		return Token{}, transient(fmt.Errorf("waiting for another refresh: %w", err))
	}
	defer unlock()
	if err := v.at(StepLocked); err != nil {
		return Token{}, transient(err)
	}
	for n := 0; n < rounds; {
		t, err := v.round(ctx, g, a)
		switch {
		case errors.Is(err, errMoved):
			n++
		case errors.Is(err, storage.ErrHeld):
			if pause(ctx, leasePoll) != nil {
				return Token{}, transient(err)
			}
		default:
			return t, err
		}
	}
	return Token{}, transient(errMoved)
}

// round makes one run through steps 2 to 6.
func (v *Vault) round(ctx context.Context, g *Grant, a Ask) (Token, error) {
	p := v.provider(g.Provider, g.Client)
	if p == nil {
		return v.without(ctx, g.ID, a, &Error{Class: ClassOperator, Code: "unknown_provider", RetryAfter: time.Minute})
	}
	if refused := v.admit(p.key()); refused != nil {
		return v.without(ctx, g.ID, a, refused)
	}
	r, t, err := v.begin(ctx, g.ID, a)
	if err != nil || r == nil {
		return t, err
	}
	if err := v.at(StepIntent); err != nil {
		return Token{}, transient(err)
	}
	sent := v.c.Now()
	ans, failed := v.send(ctx, p, r, a)
	v.c.Refreshed(p.Name, p.ClientID, v.c.Now().Sub(sent), failed)
	v.report(p.key(), failed)
	if err := v.at(StepAnswered); err != nil {
		return Token{}, transient(err)
	}
	switch {
	case failed == nil:
		return v.commit(ctx, p, r, a, ans)
	case failed.Class == ClassSuspended:
		return Token{}, v.settle(ctx, r, failed)
	}
	v.release(ctx, r)
	if failed.Class == ClassRequest {
		return Token{}, failed
	}
	return v.without(ctx, g.ID, a, failed)
}

// without is the answer where the provider gives none: a cached token while it
// lives and was not dropped meanwhile.
func (v *Vault) without(ctx context.Context, id string, a Ask, failed *Error) (Token, error) {
	if a.background {
		return Token{}, failed
	}
	r, err := v.read(ctx, id)
	if err != nil {
		return Token{}, err
	}
	now := v.c.Now()
	if t, ok := r.living(a, now); ok {
		v.c.Logger.Debug("refreshing grant; the cached token serves on", "grant_id", id, "error", failed)
		v.noteUse(&r.Grant, a.Job)
		return t, nil
	}
	if refusal := r.refusal(now); refusal != nil {
		return Token{}, refusal
	}
	return Token{}, failed
}

// begin is steps 2 and 3. It returns the record to work on, or none, and the token
// that somebody else has fetched.
func (v *Vault) begin(ctx context.Context, id string, a Ask) (*record, Token, error) {
	key, err := v.random()
	if err != nil {
		return nil, Token{}, err
	}
	now := v.c.Now()
	var t Token
	r, err := v.change(ctx, id, func(r *record) error {
		if a.background && r.chore(v.policy(&r.Grant), now) != renew {
			return errServed
		}
		if c, ok := r.cached(a, now); ok && !a.background {
			t = c
			return errServed
		}
		if refusal := r.refusal(now); refusal != nil {
			return refusal
		}
		if !r.Covers(a.Scopes) {
			return &Error{Class: ClassRequest, Code: "invalid_scope"}
		}
		if !r.Lease.Free(v.c.Node, now) {
			return storage.ErrHeld
		}
		r.Lease = r.Lease.Take(v.c.Node, now, v.leaseFor())
		if sent := hash(r.RefreshToken); r.Intent == nil || r.Intent.TokenHash != sent {
			r.Intent = &intent{TokenHash: sent, Key: key, At: now}
		}
		return nil
	})
	if errors.Is(err, errServed) {
		v.noteUse(&r.Grant, a.Job)
		return nil, t, nil
	}
	return r, Token{}, err
}

// errServed leaves a transaction that found a cached token.
var errServed = errors.New("cached token serves")

// send is step 4. While a cached token lives nobody waits for a second attempt;
// nor does the background.
func (v *Vault) send(ctx context.Context, p *Provider, r *record, a Ask) (answer, *Error) {
	_, serves := r.living(a, v.c.Now())
	serves = serves || a.background
	for n := 1; ; n++ {
		one, cancel := context.WithTimeout(ctx, v.c.AttemptTimeout)
		ans, err := p.refresh(one, r, a, r.Intent.Key, v.c.Now)
		cancel()
		if err == nil || err.Class != ClassTransient || err.later || n == attempts || serves {
			return ans, err
		}
		wait := v.c.RetryPause << (n - 1)
		wait = wait/2 + rand.N(wait)
		if pause(ctx, wait) != nil || v.prolong(ctx, r) != nil {
			return ans, err
		}
	}
}

// leaseFor outlives one attempt: a node that dies blocks the others for no longer.
func (v *Vault) leaseFor() time.Duration { return v.c.AttemptTimeout + leaseGrace }

// prolong renews the lease for one more attempt. errMoved: it is not ours any
// more, or the record is another one.
func (v *Vault) prolong(ctx context.Context, began *record) error {
	if v.c.Node == "" {
		return nil // nobody else could take it
	}
	now := v.c.Now()
	_, err := v.change(ctx, began.ID, func(r *record) error {
		if r.Lease.Fence != began.Lease.Fence || r.RefreshToken != began.RefreshToken {
			return errMoved
		}
		r.Lease = r.Lease.Renew(now, v.leaseFor())
		return nil
	})
	if err != nil && !errors.Is(err, errMoved) && !errors.Is(err, ErrNoGrant) {
		v.c.Logger.Warn("renewing lease of grant", "grant_id", began.ID, "error", err)
	}
	return err
}

// commit is steps 5 and 6. An answer that cannot be written is not handed out:
// the intent is still there, and fetches it again.
func (v *Vault) commit(ctx context.Context, p *Provider, began *record, a Ask, ans answer) (Token, error) {
	now := v.c.Now()
	r, err := v.change(ctx, began.ID, func(r *record) error {
		if r.RefreshToken != began.RefreshToken {
			return errMoved
		}
		r.refreshed(a, ans, began.Epoch, now)
		r.used(a.Job, now)
		return nil
	})
	switch {
	case errors.Is(err, errMoved), errors.Is(err, ErrNoGrant):
		return Token{}, err
	case err != nil:
		return Token{}, transient(fmt.Errorf("keeping refreshed token: %w", err))
	}
	if err := v.at(StepCommitted); err != nil {
		return Token{}, transient(err)
	}
	v.emit(EventRefreshed, &r.Grant, "", time.Time{})
	v.revokeReplaced(ctx, p, r)
	if a.background {
		return Token{}, nil
	}
	if began.Epoch != r.Epoch { // tokens were dropped while the answer was on its way
		return Token{}, errMoved
	}
	i := r.find(a)
	return r.token(r.Access[i]), nil
}

// settle marks a refusal, if it was about the newest token and the lease is
// still ours: invalid_grant is evidence about the bytes that were sent, not
// about the grant.
func (v *Vault) settle(ctx context.Context, began *record, failed *Error) error {
	now := v.c.Now()
	var verdict *Error
	_, err := v.change(ctx, began.ID, func(r *record) error {
		if r.RefreshToken != began.RefreshToken || r.Lease.Fence != began.Lease.Fence {
			return errMoved
		}
		verdict = r.refused(failed.Code, failed.Status, now)
		r.resolve(began.Epoch)
		return nil
	})
	switch {
	case errors.Is(err, errMoved), errors.Is(err, ErrNoGrant):
		return err
	case err != nil:
		return transient(fmt.Errorf("marking refused grant: %w", err))
	}
	return verdict
}

// release gives the lease back after a failure; where no other node could wait
// for it, that is not worth a write.
func (v *Vault) release(ctx context.Context, began *record) {
	if v.c.Node == "" {
		return
	}
	_, err := v.change(ctx, began.ID, func(r *record) error {
		if r.Lease.Fence == began.Lease.Fence {
			r.Lease = r.Lease.Release()
		}
		return nil
	})
	if err != nil {
		v.c.Logger.Warn("releasing lease of grant", "grant_id", began.ID, "error", err)
	}
}
