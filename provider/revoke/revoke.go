package revoke

import (
	"log/slog"
	"net/http"
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

// Handler serves the revocation endpoint. Every field is needed.
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
	if r.Method == http.MethodOptions {
		endpoint.CORS(w, r, []string{"*"}) // a preflight names no client
		return
	}
	if !endpoint.Method(w, r, http.MethodPost) {
		return
	}
	if err := h.revoke(w, r); err != nil {
		endpoint.Error(w, r, h.Log, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

func (h *Handler) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := endpoint.Form(w, r)
	if err != nil {
		return err
	}
	cred, err := client.ParseCredentials(r, form)
	if err != nil {
		return err
	}
	c, settings, err := h.Auth.Authenticate(r.Context(), h.Store, h.Realm, cred, endpoint.ClientIP(r))
	if err != nil {
		return err
	}
	endpoint.CORS(w, r, client.Readers(c, r.Header.Get("Origin")))
	raw := form.Get("token")
	if raw == "" {
		return oidc.Errorf(oidc.CodeInvalidRequest, "token is missing")
	}
	// token_type_hint is not needed: each kind says what it is (RFC 7009 §2.1).
	if t, err := token.OpenRefresh(h.Ring, settings.Issuer(), raw); err == nil {
		return h.session(r, c, t)
	}
	if t, err := token.OpenAccess(h.Ring, settings.Issuer(), raw); err == nil {
		return h.access(r, c, t)
	}
	return nil // unknown: what was asked for is the case (RFC 7009 §2.2)
}

var anothers = oidc.Errorf(oidc.CodeInvalidRequest, "token was issued to another client")

func (h *Handler) session(r *http.Request, c *client.Client, t token.Refresh) error {
	if t.ClientID != c.ClientID {
		return anothers
	}
	now := h.Now().UTC()
	return h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		ended, err := session.End(tx, h.Realm, t.ID, session.Revoked, now)
		if err != nil || ended == nil {
			return err
		}
		e := event.Event{
			Time: now, Type: event.RevokeGrant, Realm: h.Realm, Client: c.ClientID, Subject: ended.User,
			Session: ended.SID(), IP: endpoint.ClientIP(r), Details: map[string]string{"token_id": t.JTI},
		}
		if ended.Offline {
			e.OfflineSession = ended.ID
		} else {
			e.Details[event.ClientSession] = ended.ID
		}
		tell(e)
		if ended.Offline {
			e.Type, e.Reason = event.OfflineSessionEnd, session.Revoked
			tell(e)
		}
		return nil
	})
}

func (h *Handler) access(r *http.Request, c *client.Client, t token.Access) error {
	if t.ClientID != c.ClientID {
		return anothers
	}
	now := h.Now().UTC()
	if !now.Before(t.ExpiresAt) {
		return nil
	}
	return h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		tell(event.Event{
			Time: now, Type: event.RevokeGrant, Realm: h.Realm, Client: c.ClientID, Subject: t.Subject, Session: t.Session,
			OfflineSession: t.OfflineSession, IP: endpoint.ClientIP(r), Details: map[string]string{"token_id": t.JTI, "token_type": "Bearer"},
		})
		return standing.RevokeAccess(tx, h.Realm, t)
	})
}
