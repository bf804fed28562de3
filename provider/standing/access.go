package standing

import (
	"errors"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// revoked remembers an access token until it would have expired anyway.
type revoked struct {
	Expires time.Time `json:"expires"`
}

var revokedTokens = storage.Table[revoked]{
	Name:    "revoked_token",
	Expires: func(r *revoked) time.Time { return r.Expires },
}

// RevokeAccess ends one access token and leaves the session behind it alone
// (RFC 7009 §2.1).
func RevokeAccess(tx storage.Tx, realmName string, a token.Access) error {
	return revokedTokens.Put(tx, realmName, a.JTI, &revoked{Expires: a.ExpiresAt})
}

// Access reads and judges what stands behind an access token whose signature was
// verified. Every refusal is an *oidc.Error, anything else a failure to read.
func Access(tx storage.Tx, realmName string, a token.Access, now time.Time) (*Standing, error) {
	if !now.Before(a.ExpiresAt) {
		return nil, refuse("", "token has expired")
	}
	switch _, err := revokedTokens.Get(tx, realmName, a.JTI); {
	case err == nil:
		return nil, refuse(session.Revoked, "token was revoked")
	case !errors.Is(err, storage.ErrNotFound):
		return nil, fmt.Errorf("reading revoked tokens: %w", err)
	}
	st, err := behind(tx, realmName, a)
	if err != nil {
		return nil, err
	}
	if err := st.Judge(a.IssuedAt, now); err != nil {
		return st, err
	}
	return st, st.pass(tx, realmName, a)
}

// pass hands what stands behind a token that came of an exchange on to the
// client that has it.
func (st *Standing) pass(tx storage.Tx, realmName string, a token.Access) error {
	if a.ClientID == st.Client.ClientID {
		return nil
	}
	c, err := optional(client.ByName(tx, realmName, a.ClientID))
	if err != nil {
		return fmt.Errorf("reading client: %w", err)
	}
	switch {
	case c == nil || !c.Enabled:
		return refuse("", "client is disabled or no longer exists")
	case session.Barred(a.IssuedAt, c.NotBefore):
		return refuse(session.IssuedBefore, "issued before the not-before of its client")
	}
	st.Client, st.Exchanged = c, true
	return nil
}

func behind(tx storage.Tx, realmName string, a token.Access) (*Standing, error) {
	id := a.OfflineSession
	if id == "" {
		id = a.ClientSession
	}
	if id != "" {
		st, err := Read(tx, realmName, id)
		if errors.Is(err, storage.ErrNotFound) || err == nil && st.Session.User != a.Subject {
			return nil, refuse("", "session not found")
		}
		return st, err
	}
	c, err := optional(client.ByName(tx, realmName, a.ClientID))
	if err != nil {
		return nil, fmt.Errorf("reading client: %w", err)
	}
	u, err := optional(user.Users.Shared(tx, realmName, a.Subject))
	if err != nil {
		return nil, fmt.Errorf("reading user: %w", err)
	}
	return Of(tx, realmName, c, u)
}

// Refresh reads and judges the session that a refresh or offline token points to,
// apart from the token's generation (session.Rotate). Errors are those of
// Access.
func Refresh(tx storage.Tx, realmName string, r token.Refresh, now time.Time) (*Standing, error) {
	st, err := Read(tx, realmName, r.ID)
	if errors.Is(err, storage.ErrNotFound) {
		// No grant status: an old copy of the store must not make a vault bury
		// its grants.
		return nil, refuse("", "session not found")
	}
	if err != nil {
		return nil, err
	}
	if st.Session.User != r.Subject || st.Session.Offline != r.Offline || st.Client != nil && st.Client.ClientID != r.ClientID {
		return nil, refuse("", "session is not the token's")
	}
	return st, st.Judge(r.IssuedAt, now)
}

// Refusal tells a judgement from a failure to read.
func Refusal(err error) (*oidc.Error, bool) {
	var e *oidc.Error
	ok := errors.As(err, &e)
	return e, ok
}
