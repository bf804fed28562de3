package grant

import (
	"context"
	"errors"
	"strconv"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/storage"
)

// refreshToken redeems a refresh or an offline token (RFC 6749 §6). One record
// decides, in one transaction: a replay ends the session in the same commit that
// finds it out.
func (h *Handler) refreshToken(ctx context.Context, req *request) (*issue, error) {
	raw := req.form.Get("refresh_token")
	if raw == "" {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "refresh_token is missing")
	}
	presented, err := token.OpenRefresh(h.Ring, req.settings.Issuer(), raw)
	if err != nil {
		// A bad signature costs no storage access.
		return nil, oidc.Errorf(oidc.CodeInvalidGrant, "refresh token is invalid").WithCause(err)
	}
	if presented.ClientID != req.client.ClientID {
		return nil, oidc.Errorf(oidc.CodeInvalidGrant, "refresh token was issued to another client")
	}
	req.event.Subject, req.event.Session = presented.Subject, presented.Session
	req.event.Details["refresh_token_id"], req.event.Details["refresh_token_type"] = presented.JTI, "Refresh"
	if presented.Offline {
		req.event.OfflineSession, req.event.Details["refresh_token_type"] = presented.ID, "Offline"
	}

	var out *issue
	var refused error // committed together with what it ends
	err = h.Audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
		out, refused = nil, nil
		st, err := standing.Refresh(tx, h.Realm, presented, req.now)
		if err != nil {
			return err
		}
		d := session.Rotate(st.Policy(), *st.Session, session.Presented{Generation: presented.Generation, KeyHash: req.key}, req.now)
		switch {
		case d.Replay:
			req.about(st)
			// Without one it may be a client whose answer was lost.
			details := []string{"idempotency_key", strconv.FormatBool(!req.random)}
			if !st.Session.Offline {
				details = append(details, event.ClientSession, st.Session.ID)
			}
			tell(req.tell(event.RefreshTokenReplay, session.ReuseDetected, details...))
			if st.Session.Offline {
				tell(req.tell(event.OfflineSessionEnd, session.ReuseDetected))
			}
			refused = oidc.Errorf(oidc.CodeInvalidGrant, "refresh token was used before; its session is revoked").WithGrantStatus(session.ReuseDetected)
			return session.Keep(tx, h.Realm, &d.Next)
		case d.Outcome != session.Accepted:
			return oidc.Errorf(oidc.CodeInvalidGrant, "refresh token is not the newest one")
		}
		granted, err := st.Narrow(req.scopes)
		if err != nil {
			return roleMissing(err)
		}
		audience, err := target(req.resource, st.Session.Resource)
		if err != nil {
			return err
		}
		st.Session = &d.Next
		if d.Write {
			if err := session.Keep(tx, h.Realm, &d.Next); err != nil {
				return err
			}
		}
		if st.UserSession != nil {
			if err := session.Touch(tx, h.Realm, st.Policy(), st.UserSession, req.now); err != nil {
				return err
			}
		}
		out = &issue{
			standing: st, granted: granted, audience: audience, refresh: !st.Client.NoRefreshTokens, forward: d.Forward, presented: &presented, told: d.Write,
		}
		if d.Write {
			tell(req.told(out)...)
		} // else the event alone would cost a sync
		h.at(StepCommitting)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case refused != nil:
		return nil, refused
	}
	h.at(StepAnswering)
	return out, nil
}

// roleMissing turns a missing role into a refusal of the grant: it was there
// when the grant was made.
func roleMissing(err error) error {
	var missing *client.RoleMissing
	if errors.As(err, &missing) {
		return oidc.Errorf(oidc.CodeInvalidGrant, "%s", missing.Error()).WithGrantStatus(session.RoleMissing)
	}
	return err
}

// target decides the audience of a refreshed access token: a part of what was
// granted (RFC 8707 §2.2), or anything if the grant named none.
func target(asked, granted []string) ([]string, error) {
	if len(asked) == 0 {
		return granted, nil
	}
	if missing := oidc.Scopes(granted).Missing(asked); len(granted) > 0 && len(missing) > 0 {
		return nil, oidc.Errorf(oidc.CodeInvalidTarget, "resource was never granted: %s", missing)
	}
	return asked, nil
}
