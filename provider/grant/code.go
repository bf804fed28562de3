package grant

import (
	"context"
	"errors"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// authorizationCode exchanges a code (RFC 6749 §4.1.3). A code that comes twice
// ends what it was exchanged for (§4.1.2); the same request again, by its key, is
// no second use.
func (h *Handler) authorizationCode(ctx context.Context, req *request) (*issue, error) {
	if !req.client.StandardFlow {
		return nil, oidc.Errorf(oidc.CodeUnauthorizedClient, "client may not use the authorization code flow")
	}
	raw := req.form.Get("code")
	if raw == "" {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "code is missing")
	}
	id := oidc.NewID(h.Random)

	var out *issue
	err := h.Audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
		out = nil
		code, err := session.TakeCode(tx, h.Realm, raw)
		if errors.Is(err, storage.ErrNotFound) {
			return oidc.Errorf(oidc.CodeInvalidGrant, "code is unknown or has expired")
		}
		if err != nil {
			return err
		}
		if code.Client != req.client.ID {
			return oidc.Errorf(oidc.CodeInvalidGrant, "code was issued to another client")
		}
		if code.UsedWith(req.key) {
			if err := proven(req, code); err != nil {
				return err
			}
			out, err = h.again(tx, req, code)
			return err
		}
		if code.Used {
			ended, err := session.End(tx, h.Realm, code.ClientSession, session.Revoked, req.now)
			if ended != nil {
				req.event.Subject, req.event.Session = ended.User, ended.SID()
			}
			switch {
			case ended == nil:
			case ended.Offline:
				req.event.OfflineSession = ended.ID
				tell(req.tell(event.OfflineSessionEnd, "code_replayed"))
			default:
				tell(req.tell(event.RevokeGrant, "code_replayed", event.ClientSession, ended.ID))
			}
			return err
		}
		if err := proven(req, code); err != nil {
			return err
		}
		if out, err = h.exchange(tx, req, code, id); err != nil {
			return err
		}
		tell(req.told(out)...)
		return session.UseCode(tx, h.Realm, raw, code, id, req.key)
	})
	switch {
	case err != nil:
		return nil, err
	case out == nil:
		return nil, oidc.Errorf(oidc.CodeInvalidGrant, "code was used before; what was issued for it is revoked")
	}
	return out, nil
}

// proven checks that the one who redeems the code is the one who asked for it.
func proven(req *request, code *session.Code) error {
	given, uri := req.form["redirect_uri"], req.form.Get("redirect_uri")
	if (code.RedirectGiven || len(given) > 0) && uri != code.RedirectURI {
		return oidc.Errorf(oidc.CodeInvalidGrant, "redirect_uri differs from the authorization request's")
	}
	return verified(req, code.Challenge)
}

// verified checks PKCE (RFC 7636 §4.6).
func verified(req *request, challenge string) error {
	verifier := req.form.Get("code_verifier")
	switch {
	case challenge == "" && verifier != "":
		// RFC 9700 §4.8.2: a verifier for a request without a challenge is a
		// downgrade.
		return oidc.Errorf(oidc.CodeInvalidGrant, "code_verifier without a code_challenge in the authorization request")
	case challenge != "" && verifier == "":
		return oidc.Errorf(oidc.CodeInvalidGrant, "code_verifier is missing")
	case challenge != "" && !oidc.VerifyPKCE(challenge, verifier):
		return oidc.Errorf(oidc.CodeInvalidGrant, "code_verifier does not match")
	}
	return nil
}

// again answers the request that used a code once more: the tokens of the session
// that it began, while that is at its first refresh token. It writes nothing. Once
// the answer was used there is nothing to repeat, and nobody to blame.
func (h *Handler) again(tx storage.Tx, req *request, code *session.Code) (*issue, error) {
	st, err := standing.Read(tx, h.Realm, code.ClientSession)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, oidc.Errorf(oidc.CodeInvalidGrant, "session has ended")
	}
	if err != nil {
		return nil, err
	}
	if err := st.Judge(code.IssuedAt, req.now); err != nil {
		return nil, err
	}
	if st.Session.Generation > 1 {
		return nil, oidc.Errorf(oidc.CodeInvalidGrant, "code was used before, and so was the refresh token that it brought")
	}
	granted, audience, err := entitled(req, st, code)
	if err != nil {
		return nil, err
	}
	return &issue{standing: st, granted: granted, audience: audience, nonce: code.Nonce, acr: code.ACR, refresh: !st.Client.NoRefreshTokens}, nil
}

// entitled decides what an access token gets for a code, and its audience.
func entitled(req *request, st *standing.Standing, code *session.Code) (client.Granted, []string, error) {
	audience, err := target(req.resource, code.Resource)
	if err != nil {
		return client.Granted{}, nil, err
	}
	granted, err := client.Narrow(st.Client, st.Scopes, st.Roles, code.Scopes, nil)
	return granted, audience, roleMissing(err)
}

// exchange begins the session that the code stands for; the caller notes that it
// was used.
func (h *Handler) exchange(tx storage.Tx, req *request, code *session.Code, id string) (*issue, error) {
	u, err := user.Users.Get(tx, h.Realm, code.User)
	if errors.Is(err, storage.ErrNotFound) {
		u, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := standing.Of(tx, h.Realm, req.client, u)
	if err != nil {
		return nil, err
	}
	if err := st.Judge(code.IssuedAt, req.now); err != nil {
		return nil, err
	}
	us, err := session.UserSessions.Get(tx, h.Realm, code.UserSession)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	if err != nil || session.CheckUser(st.Policy(), us, req.now) != session.Working {
		// Who lets a device in and logs out at once, in somebody else's browser,
		// has not taken back what the device was given.
		if req.grant != DeviceCode || !oidc.Scopes(code.Scopes).Has(oidc.ScopeOfflineAccess) {
			return nil, oidc.Errorf(oidc.CodeInvalidGrant, "user session has ended")
		}
		us = nil
	}
	granted, audience, err := entitled(req, st, code)
	if err != nil {
		return nil, err
	}
	st.UserSession = us
	st.Session = &session.ClientSession{
		ID: id, Resource: code.Resource, AuthorizationDetails: code.AuthorizationDetails,
		AuthTime: code.AuthTime, IP: code.IP, Browser: code.Browser,
	}
	out, err := h.begin(tx, req, st, granted)
	if err != nil {
		return nil, err
	}
	out.audience, out.nonce, out.acr = audience, code.Nonce, code.ACR
	return out, nil
}
