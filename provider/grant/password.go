package grant

import (
	"context"
	"errors"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/guess"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// password is the direct access grant (RFC 6749 §4.3), for clients that have it
// switched on. With offline_access every call makes an offline session of its
// own and leaves no user session behind (O15).
func (h *Handler) password(ctx context.Context, req *request) (*issue, error) {
	if !req.client.DirectAccessGrants {
		return nil, oidc.Errorf(oidc.CodeUnauthorizedClient, "client may not use direct access grants")
	}
	login, secret := req.form.Get("username"), req.form.Get("password")
	if login == "" || secret == "" {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "username or password is missing")
	}
	req.event.Username = login
	try := guess.Attempt{Realm: h.Realm, Policy: guess.PolicyOf(req.settings), Name: login, Address: req.ip, Now: req.now}
	known, err := h.login(ctx, &try, secret)
	if err != nil {
		return nil, err
	}
	id := oidc.NewID(h.Random)
	// For an online token: a user session that no browser has the cookie of. It
	// gives the refresh token the lifetimes of SSO, and can be seen and ended.
	us, _, err := session.NewUser(h.Random, known.ID, req.ip, req.browser, req.now)
	if err != nil {
		return nil, err
	}

	var out *issue
	err = h.Audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
		out = nil
		u, err := user.Users.Get(tx, h.Realm, known.ID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if err != nil || u.PasswordHash != known.PasswordHash {
			return badCredentials // it was right a moment ago
		}
		if err := guess.Slowed(try.Right(tx)); err != nil {
			return err
		}
		if !u.Enabled {
			return oidc.Errorf(oidc.CodeInvalidGrant, "user is disabled").WithGrantStatus(session.UserDisabled)
		}
		st, granted, err := h.evaluate(tx, req, u)
		if err != nil {
			return err
		}
		have, err := consent.Get(tx, h.Realm, u.ID, req.client.ID)
		if err != nil {
			return err
		}
		if ask := consent.Needed(req.client, st.Scopes, granted.Scopes, have); len(ask) > 0 {
			return oidc.Errorf(oidc.CodeInvalidScope, "user has not consented to: %s", ask)
		}
		st.Session = &session.ClientSession{ID: id, Resource: req.resource, AuthTime: req.now, IP: req.ip, Browser: req.browser}
		if !granted.Scopes.Has(oidc.ScopeOfflineAccess) {
			if err := session.StartUser(tx, h.Realm, us); err != nil {
				return err
			}
			st.UserSession = &us
		}
		if out, err = h.begin(tx, req, st, granted); err == nil {
			tell(req.told(out)...)
		}
		return err
	})
	return out, err
}

var badCredentials = oidc.Errorf(oidc.CodeInvalidGrant, "username or password is wrong")

// login finds the user and verifies the password, outside of any transaction. An
// unknown name takes as long as a wrong password. Who guesses has to wait: nothing
// is verified for him.
func (h *Handler) login(ctx context.Context, try *guess.Attempt, secret string) (u *user.User, err error) {
	err = h.Store.View(ctx, func(tx storage.Tx) error {
		u, err = user.ByLogin(tx, h.Realm, try.Name)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if err == nil {
			try.User = u.ID
		}
		return guess.Slowed(try.Wait(tx))
	})
	if err != nil {
		return nil, err
	}
	right := false
	if u == nil || u.PasswordHash == "" {
		err = h.Hasher.VerifyNobody(ctx, secret)
	} else {
		right, err = h.Hasher.Verify(ctx, u.PasswordHash, secret)
	}
	if err == nil && !right {
		err = h.Store.Update(ctx, func(tx storage.Tx) error { return guess.Slowed(try.Wrong(tx)) })
		if err == nil {
			err = badCredentials
		}
	}
	return u, err
}

// evaluate decides what a grant without a browser holds (O10–O12 at the token
// endpoint).
func (h *Handler) evaluate(tx storage.Tx, req *request, u *user.User) (*standing.Standing, client.Granted, error) {
	st, err := standing.Of(tx, h.Realm, req.client, u)
	if err != nil {
		return nil, client.Granted{}, err
	}
	granted, err := client.Evaluate(st.Client, st.Scopes, st.Roles, req.scopes)
	var missing *client.RoleMissing
	if errors.As(err, &missing) {
		err = oidc.Errorf(oidc.CodeInvalidScope, "%s", missing.Error()).WithGrantStatus(session.RoleMissing)
	}
	return st, granted, err
}
