package grant

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/storage"
)

// Token types of an exchange (RFC 8693 §3).
const (
	typeAccessToken  = "urn:ietf:params:oauth:token-type:access_token"
	typeRefreshToken = "urn:ietf:params:oauth:token-type:refresh_token"
)

// tokenExchange exchanges an access token of this realm that is meant for the
// client (RFC 8693, as Keycloak's standard exchange): for an access token that
// holds no more, for another audience if need be. The new token lives in the
// session of the old one and ends with it. A refresh token is given only in a
// login that goes on, to clients that have it switched on, and never an offline
// one (O20).
func (h *Handler) tokenExchange(ctx context.Context, req *request) (*issue, error) {
	if req.client.Public || !req.client.TokenExchange {
		return nil, oidc.Errorf(oidc.CodeUnauthorizedClient, "client may not exchange tokens")
	}
	requested, err := exchangeParameters(req)
	if err != nil {
		return nil, err
	}
	subject, err := token.OpenAccess(h.Ring, req.settings.Issuer(), req.form.Get("subject_token"))
	if err != nil {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "subject_token is not an access token of this realm").WithCause(err)
	}
	req.event.Subject, req.event.Session, req.event.OfflineSession = subject.Subject, subject.Session, subject.OfflineSession
	req.event.Details["subject_token_client_id"], req.event.Details["requested_token_type"] = subject.ClientID, requested
	if subject.ClientID != req.client.ClientID && !slices.Contains(subject.Audience, req.client.ClientID) {
		return nil, oidc.Errorf(oidc.CodeAccessDenied, "client is not in the audience of subject_token").WithStatus(http.StatusForbidden)
	}
	id := oidc.NewID(h.Random)

	var out *issue
	if requested == typeAccessToken {
		err = h.Store.View(ctx, func(tx storage.Tx) error {
			out = nil
			st, end, granted, err := h.exchanged(tx, req, subject)
			if err != nil {
				return err
			}
			out = &issue{standing: st, granted: granted, end: end}
			out.audience, err = h.audience(tx, req, subject)
			return err
		})
	} else {
		err = h.Audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
			out = nil
			st, _, granted, err := h.exchanged(tx, req, subject)
			if err != nil {
				return err
			}
			if st.Session == nil || st.Session.Offline || st.UserSession == nil {
				return oidc.Errorf(oidc.CodeInvalidRequest, "a refresh token needs a login that goes on, and subject_token has none")
			}
			audience, err := h.audience(tx, req, subject)
			if err != nil {
				return err
			}
			st.Session = &session.ClientSession{
				ID: id, Resource: audience, AuthTime: st.Session.AuthTime, IP: req.ip, Browser: req.browser, ExchangedFrom: st.Session.ID,
			}
			if out, err = h.begin(tx, req, st, granted); err == nil {
				tell(req.told(out)...)
			}
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	out.exchanged = requested
	return out, nil
}

// exchangeParameters judges the form and returns the requested token type.
func exchangeParameters(req *request) (requested string, err error) {
	for _, name := range []string{"actor_token", "actor_token_type", "requested_subject", "requested_issuer", "subject_issuer"} {
		if req.form.Has(name) {
			return "", oidc.Errorf(oidc.CodeInvalidRequest, "%s is not supported", name)
		}
	}
	if requested = req.form.Get("requested_token_type"); requested == "" {
		requested = typeAccessToken
	}
	refresh := req.client.TokenExchangeRefresh && !req.client.NoRefreshTokens
	switch {
	case req.form.Get("subject_token") == "":
		return "", oidc.Errorf(oidc.CodeInvalidRequest, "subject_token is missing")
	case req.form.Get("subject_token_type") != typeAccessToken:
		return "", oidc.Errorf(oidc.CodeInvalidRequest, "subject_token_type must be %s", typeAccessToken)
	case requested != typeAccessToken && (requested != typeRefreshToken || !refresh):
		return "", oidc.Errorf(oidc.CodeInvalidRequest, "requested_token_type is not available to this client")
	case req.scopes.Has(oidc.ScopeOfflineAccess):
		return "", oidc.Errorf(oidc.CodeInvalidRequest, "scope offline_access is not available by token exchange")
	}
	return requested, nil
}

// exchanged reads what stands behind the subject token, judges it, and decides
// what of its scopes the client gets: those that it asks for, or all that it may
// have. What is not in the token is not to be had by it. end is that of the
// session.
func (h *Handler) exchanged(tx storage.Tx, req *request, subject token.Access) (st *standing.Standing, end time.Time, granted client.Granted, err error) {
	st, err = standing.Access(tx, h.Realm, subject, req.now)
	if refusal, ok := standing.Refusal(err); ok {
		return nil, end, granted, oidc.Errorf(oidc.CodeInvalidRequest, "subject_token is not active: %s", refusal.Description)
	}
	if err != nil {
		return nil, end, granted, err
	}
	if st.Session != nil {
		owner := st.Client
		if st.Exchanged {
			if owner, err = client.Clients.Shared(tx, h.Realm, st.Session.Client); err != nil {
				return nil, end, granted, err
			}
		}
		end = session.PolicyOf(st.Settings, owner).MaxEnd(st.Session, st.UserSession)
	}
	st.Client = req.client
	held := oidc.Scopes(strings.Fields(subject.Scope)).Without(oidc.ScopeOfflineAccess)
	ask := held
	if len(req.scopes) > 0 {
		if lost := held.Missing(req.scopes); len(lost) > 0 {
			return nil, end, granted, oidc.Errorf(oidc.CodeInvalidScope, "scope %s is not in subject_token", lost[0])
		}
		if _, err := client.Evaluate(req.client, st.Scopes, st.Roles, req.scopes); err != nil {
			return nil, end, granted, err
		}
		ask = req.scopes
	}
	granted, err = client.Narrow(req.client, st.Scopes, st.Roles, ask.With(standing.Hidden(req.client, st.Scopes)...), nil)
	if err != nil {
		return nil, end, granted, err
	}
	have, err := consent.Get(tx, h.Realm, st.User.ID, req.client.ID)
	if err == nil {
		if ask := consent.Needed(req.client, st.Scopes, granted.Scopes, have); len(ask) > 0 {
			err = oidc.Errorf(oidc.CodeInvalidScope, "user has not consented to: %s", ask)
		}
	}
	return st, end, granted, err
}

// audience decides for whom the new token is: clients and resources that the
// client may ask for (RFC 8693 §2.1); none: the client itself.
func (h *Handler) audience(tx storage.Tx, req *request, subject token.Access) ([]string, error) {
	var out []string
	for _, name := range append(slices.Clone(req.form["audience"]), req.resource...) {
		if name != req.client.ClientID && !slices.Contains(subject.Audience, name) && !slices.Contains(req.client.TokenExchangeAudiences, name) {
			return nil, oidc.Errorf(oidc.CodeInvalidTarget, "audience is not available to this client: %s", name)
		}
		switch c, err := client.ByName(tx, h.Realm, name); {
		case err != nil && !errors.Is(err, storage.ErrNotFound):
			return nil, err
		case err == nil && !c.Enabled:
			return nil, oidc.Errorf(oidc.CodeInvalidTarget, "audience is disabled: %s", name)
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out, nil
}
