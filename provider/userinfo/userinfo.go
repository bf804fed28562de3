package userinfo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// Handler serves the UserInfo endpoint. Every field is needed.
type Handler struct {
	Store *storage.Store
	Realm string
	Ring  *keys.Ring
	Now   func() time.Time
	Log   *slog.Logger
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		endpoint.CORS(w, r, []string{"*"}) // a preflight names no client
		return
	}
	if !endpoint.Method(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	raw, err := bearer(w, r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	claims, c, err := h.claims(r.Context(), raw)
	if c != nil {
		endpoint.CORS(w, r, client.Readers(c, r.Header.Get("Origin")))
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	endpoint.JSON(w, http.StatusOK, claims)
}

// bearer reads the access token from the header or, of a POST, from the form;
// never from the query, where logs would keep it (RFC 6750 §2, RFC 9700 §4.3.2).
func bearer(w http.ResponseWriter, r *http.Request) (string, error) {
	if _, err := endpoint.Query(r); err != nil {
		return "", err
	}
	var found []string
	for _, header := range r.Header.Values("Authorization") {
		scheme, value, _ := strings.Cut(header, " ")
		if strings.EqualFold(scheme, "Bearer") {
			found = append(found, strings.TrimSpace(value))
		}
	}
	if r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		form, err := endpoint.Form(w, r)
		if err != nil {
			return "", err
		}
		if value := form.Get("access_token"); value != "" {
			found = append(found, value)
		}
	}
	switch len(found) {
	case 0:
		return "", errNoToken
	case 1:
		return found[0], nil
	}
	return "", oidc.Errorf(oidc.CodeInvalidRequest, "more than one access token: send it in the Authorization header alone")
}

func (h *Handler) claims(ctx context.Context, raw string) (claims map[string]any, c *client.Client, err error) {
	var issuer string
	err = h.Store.View(ctx, func(tx storage.Tx) error {
		settings, err := realm.Get(tx, h.Realm)
		issuer = settings.Issuer()
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	access, err := token.OpenAccess(h.Ring, issuer, raw)
	if err != nil {
		return nil, nil, oidc.Errorf(oidc.CodeInvalidToken, "access token is invalid").WithCause(err)
	}
	err = h.Store.View(ctx, func(tx storage.Tx) error {
		st, err := standing.Access(tx, h.Realm, access, h.Now().UTC())
		if refusal, ok := standing.Refusal(err); ok {
			return oidc.Errorf(oidc.CodeInvalidToken, "%s", refusal.Description)
		}
		if err != nil {
			return err
		}
		c = st.Client
		scopes, err := oidc.ParseScopes(access.Scope)
		if err != nil || !scopes.Has(oidc.ScopeOpenID) {
			return oidc.Errorf(oidc.CodeInsufficientScope, "access token lacks the scope openid: ask for it in the authorization request")
		}
		if st.User.ServiceAccountOf != "" {
			return oidc.Errorf(oidc.CodeInsufficientScope, "access token is a service account's: nobody has logged in")
		}
		granted, err := st.Narrow(scopes)
		if refusal, ok := standing.Refusal(err); ok {
			return oidc.Errorf(oidc.CodeInvalidToken, "%s", refusal.Description)
		}
		if err != nil {
			return err
		}
		claims = user.Claims(st.User, granted.Roles, granted.Scopes)
		claims["sub"] = st.User.ID
		return nil
	})
	return claims, c, err
}

var errNoToken = oidc.Errorf(oidc.CodeInvalidToken, "access token is missing")

// refuse answers a request without a token with a challenge that has no error
// code (RFC 6750 §3.1).
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errNoToken) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", h.Realm))
		endpoint.JSON(w, http.StatusUnauthorized, struct{}{})
		return
	}
	var e *oidc.Error
	if errors.As(err, &e) && e.Code == oidc.CodeInvalidRequest {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q, error=%q", h.Realm, e.Code))
	}
	endpoint.Error(w, r, h.Log, err)
}
