package grant

import (
	"context"
	"errors"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// clientCredentials is the service account's grant (RFC 6749 §4.4). Without
// offline_access it writes nothing: the access token stands for itself. With it
// the service account gets an offline session like any user (O16).
func (h *Handler) clientCredentials(ctx context.Context, req *request) (*issue, error) {
	if !req.client.ServiceAccount {
		return nil, oidc.Errorf(oidc.CodeUnauthorizedClient, "client has no service account")
	}
	id, account := oidc.NewID(h.Random), oidc.NewID(h.Random)

	var out *issue
	run := func(tx storage.Tx, tell audit.Tell) error {
		out = nil
		u, err := user.ServiceAccount(tx, h.Realm, req.client.ID)
		if err != nil {
			return err
		}
		if !u.Enabled {
			return oidc.Errorf(oidc.CodeInvalidGrant, "service account is disabled").WithGrantStatus(session.UserDisabled)
		}
		st, granted, err := h.evaluate(tx, req, u)
		if err != nil {
			return err
		}
		if !granted.Scopes.Has(oidc.ScopeOfflineAccess) {
			out = &issue{standing: st, granted: granted, audience: req.resource}
			return nil
		}
		st.Session = &session.ClientSession{ID: id, Resource: req.resource, IP: req.ip, Browser: req.browser}
		if out, err = h.begin(tx, req, st, granted); err == nil {
			tell(req.told(out)...)
		}
		return err
	}
	var err error
	if req.scopes.Has(oidc.ScopeOfflineAccess) {
		err = h.Audit.Update(ctx, run)
	} else {
		err = h.Store.View(ctx, func(tx storage.Tx) error { return run(tx, nil) })
	}
	if errors.Is(err, storage.ErrNotFound) {
		// The first time that this client asks.
		err = h.Audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
			if _, err := user.EnsureServiceAccount(tx, h.Realm, account, req.client.ID, req.client.ClientID, req.now); err != nil {
				return err
			}
			return run(tx, tell)
		})
	}
	return out, err
}
