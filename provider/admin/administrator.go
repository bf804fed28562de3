package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// administrator is who calls: a user, or a service account, by way of a client.
type administrator struct {
	user   *user.User
	client *client.Client
}

// bearer reads the access token of a request; "" for none. It is taken from the
// header alone (RFC 6750 §2.1).
func bearer(r *http.Request) string {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return ""
	}
	scheme, value, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(value)
}

// inName is the key of who calls in the same process, in a request's context.
type inName struct{}

// InNameOf makes of the realm's endpoints a REST for callers in this process: a
// request that reaches them by it is the user's, by way of a client, and brings no
// token. What he may is judged as ever, by the records of now. Nothing that comes
// from outside is ever handed to it as it is.
func InNameOf(u *user.User, via *client.Client, endpoints http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := administrator{user: u, client: via}
		endpoints.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), inName{}, who)))
	})
}

// named judges somebody in whose name this process calls.
func (h *Handler) named(ctx context.Context, who administrator, settings realm.Settings) error {
	return h.Store.View(ctx, func(tx storage.Tx) error {
		u, err := user.Users.Shared(tx, h.Realm, who.user.ID)
		if errors.Is(err, storage.ErrNotFound) || err == nil && !u.Enabled {
			return plain(http.StatusUnauthorized)
		}
		if err != nil {
			return err
		}
		roles, err := user.EffectiveRoles(tx, settings, u)
		if err == nil && !slices.Contains(roles, user.RoleRealmAdmin) {
			err = plain(http.StatusForbidden)
		}
		return err
	})
}

// administrator judges who asks: 401 without an access token of this realm that
// works, 403 unless its user has the role realm-admin now and the role is in the
// scope of its client. The claims of the token alone say nothing. The client is
// returned even if the answer is 403, for CORS.
func (h *Handler) administrator(ctx context.Context, raw string, now time.Time) (administrator, realm.Settings, error) {
	var who administrator
	var settings realm.Settings
	err := h.Store.View(ctx, func(tx storage.Tx) (err error) {
		settings, err = realm.Get(tx, h.Realm)
		return err
	})
	if err != nil {
		return who, settings, err
	}
	if named, ok := ctx.Value(inName{}).(administrator); ok {
		return named, settings, h.named(ctx, named, settings)
	}
	if raw == "" {
		return who, settings, plain(http.StatusUnauthorized)
	}
	access, err := token.OpenAccess(h.Ring, settings.Issuer(), raw)
	if err != nil {
		if h.foreign(ctx, raw, now) {
			return who, settings, plain(http.StatusForbidden)
		}
		return who, settings, plain(http.StatusUnauthorized)
	}
	err = h.Store.View(ctx, func(tx storage.Tx) error {
		st, err := standing.Access(tx, h.Realm, access, now)
		if _, refused := standing.Refusal(err); refused {
			return plain(http.StatusUnauthorized)
		}
		if err != nil {
			return err
		}
		who = administrator{user: st.User, client: st.Client}
		scopes, err := oidc.ParseScopes(access.Scope)
		if err != nil {
			return plain(http.StatusUnauthorized)
		}
		granted, err := st.Narrow(scopes)
		if _, refused := standing.Refusal(err); refused || err == nil && !slices.Contains(granted.Roles, user.RoleRealmAdmin) {
			return plain(http.StatusForbidden)
		}
		return err
	})
	return who, settings, err
}

// foreign tells whether a token that is none of this realm works at another
// realm of the same store: who brings it is known, and may nothing here.
func (h *Handler) foreign(ctx context.Context, raw string, now time.Time) bool {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return false
	}
	name := claims.Issuer[strings.LastIndexByte(claims.Issuer, '/')+1:]
	if name == h.Realm || name == "" || len(name) > 255 {
		return false
	}
	err = h.Store.View(ctx, func(tx storage.Tx) error {
		s, err := realm.Get(tx, name)
		if err == nil && s.Issuer() != claims.Issuer {
			err = storage.ErrNotFound
		}
		return err
	})
	if err != nil {
		return false
	}
	ring, err := keys.Open(ctx, keys.Config{Store: h.Store, Sealer: h.Sealer, Realm: name, Now: h.Now, Random: h.Random})
	if err != nil {
		return false
	}
	access, err := token.OpenAccess(ring, claims.Issuer, raw)
	if err != nil {
		return false
	}
	return h.Store.View(ctx, func(tx storage.Tx) error {
		_, err := standing.Access(tx, name, access, now)
		return err
	}) == nil
}
