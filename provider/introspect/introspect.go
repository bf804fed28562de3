package introspect

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/storage"
)

// Handler serves the introspection endpoint. Every field is needed.
type Handler struct {
	Store *storage.Store
	Realm string
	Ring  *keys.Ring
	Auth  client.Authenticator
	Now   func() time.Time
	Log   *slog.Logger
	Audit *audit.Log
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !endpoint.Method(w, r, http.MethodPost) {
		return
	}
	body, err := h.introspect(w, r)
	if err != nil {
		endpoint.Error(w, r, h.Log, err)
		return
	}
	endpoint.JSON(w, http.StatusOK, body)
}

func (h *Handler) introspect(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	form, err := endpoint.Form(w, r)
	// Whatever a resource server was sent for a token it may ask about. What is
	// too large to be read is no token of ours; who asks must be in the header then.
	large := tooLarge(err)
	if err != nil && !large {
		return nil, err
	}
	cred, unnamed := client.ParseCredentials(r, form)
	switch {
	case unnamed != nil && large:
		return nil, err
	case unnamed != nil:
		return nil, unnamed
	}
	asker, issuer, err := h.authenticate(r.Context(), cred, endpoint.ClientIP(r))
	if err != nil {
		return nil, err
	}
	raw := form.Get("token")
	if raw == "" && !large {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "token is missing")
	}
	claims, err := h.judge(r.Context(), asker, issuer, raw)
	if err == nil {
		claims["active"] = true
		return claims, nil
	}
	refusal, ok := standing.Refusal(err)
	if !ok {
		return nil, err
	}
	// The asker learns nothing but that it is inactive (RFC 7662 §2.2).
	reason := refusal.GrantStatus
	if reason == "" {
		reason = refusal.Code
	}
	h.Audit.Tell(r.Context(), event.Event{
		Time: h.Now().UTC(), Type: event.IntrospectTokenError, Realm: h.Realm, Client: asker.ClientID,
		IP: endpoint.ClientIP(r), Reason: reason,
	})
	return map[string]any{"active": false}, nil
}

func tooLarge(err error) bool {
	var e *oidc.Error
	return errors.As(err, &e) && e.Status == http.StatusRequestEntityTooLarge
}

// authenticate proves the asking client. A public one proves nothing, and
// anybody could scan for tokens in its name (RFC 7662 §2.1).
func (h *Handler) authenticate(ctx context.Context, cred client.Credentials, address string) (*client.Client, string, error) {
	asker, settings, err := h.Auth.Authenticate(ctx, h.Store, h.Realm, cred, address)
	if err == nil && asker.Public {
		err = oidc.Errorf(oidc.CodeInvalidClient, "a public client cannot introspect: it proves nothing")
	}
	return asker, settings.Issuer(), err
}

// judge returns what is in a token that works and concerns the asker, else the
// refusal that a use of it would meet (O04).
func (h *Handler) judge(ctx context.Context, asker *client.Client, issuer, raw string) (map[string]any, error) {
	now := h.Now().UTC()
	if a, err := token.OpenAccess(h.Ring, issuer, raw); err == nil {
		if a.ClientID != asker.ClientID && !meant(asker, a.Audience) {
			return nil, anothers
		}
		return h.access(ctx, a, now)
	}
	r, err := token.OpenRefresh(h.Ring, issuer, raw)
	if err != nil {
		return nil, oidc.Errorf(oidc.CodeInvalidToken, "not a token of this realm").WithCause(err)
	}
	if r.ClientID != asker.ClientID {
		return nil, anothers
	}
	return h.refresh(ctx, r, now)
}

var anothers = oidc.Errorf(oidc.CodeInvalidToken, "token is neither the asker's nor meant for it")

// meant tells whether a token is meant for a client: by its client_id, or as a
// resource by the address that is registered for it (RFC 8707 §2).
func meant(c *client.Client, audience []string) bool {
	return slices.ContainsFunc(audience, func(a string) bool {
		return a == c.ClientID || c.BaseURL != "" && strings.TrimSuffix(a, "/") == strings.TrimSuffix(c.BaseURL, "/")
	})
}

func (h *Handler) access(ctx context.Context, a token.Access, now time.Time) (map[string]any, error) {
	var claims map[string]any
	err := h.Store.View(ctx, func(tx storage.Tx) error {
		st, err := standing.Access(tx, h.Realm, a, now)
		if err != nil {
			return err
		}
		claims = maps.Clone(a.Claims)
		if claims == nil {
			claims = map[string]any{}
		}
		common(claims, issuer(st), a.Subject, a.ClientID, st, a.Scope, a.JTI, a.Session, a.IssuedAt, a.ExpiresAt)
		claims["aud"] = a.Audience
		claims["token_type"], claims["typ"] = "Bearer", "Bearer"
		if a.OfflineSession != "" {
			claims["offline_session"] = a.OfflineSession
		}
		if !a.AuthTime.IsZero() {
			claims["auth_time"] = a.AuthTime.Unix()
		}
		return nil
	})
	return claims, err
}

func (h *Handler) refresh(ctx context.Context, r token.Refresh, now time.Time) (map[string]any, error) {
	var claims map[string]any
	err := h.Store.View(ctx, func(tx storage.Tx) error {
		st, err := standing.Refresh(tx, h.Realm, r, now)
		if err != nil {
			return err
		}
		// A dry run with a key that nobody has: what was rotated out is inactive.
		d := session.Rotate(st.Policy(), *st.Session, session.Presented{Generation: r.Generation}, now)
		if d.Outcome != session.Accepted {
			return oidc.Errorf(oidc.CodeInvalidGrant, "not the newest refresh token")
		}
		claims = map[string]any{}
		common(claims, issuer(st), r.Subject, r.ClientID, st, r.Scope, r.JTI, r.Session, r.IssuedAt, r.ExpiresAt)
		claims["aud"] = issuer(st)
		kind := "Refresh"
		if r.Offline {
			kind = "Offline"
			claims["offline_session"] = r.ID
		}
		claims["token_type"], claims["typ"] = kind, kind
		return nil
	})
	return claims, err
}

func issuer(st *standing.Standing) string { return st.Settings.Issuer() }

func common(claims map[string]any, iss, sub, clientID string, st *standing.Standing, scope, jti, sid string, iat, exp time.Time) {
	claims["iss"], claims["sub"], claims["client_id"], claims["azp"] = iss, sub, clientID, clientID
	claims["username"], claims["scope"], claims["jti"], claims["iat"] = st.User.Username, scope, jti, iat.Unix()
	if sid != "" {
		claims["sid"] = sid
	}
	if !exp.IsZero() {
		claims["exp"] = exp.Unix()
	}
}
