package standing

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// Standing is what one transaction read about a grant.
type Standing struct {
	Settings realm.Settings
	Client   *client.Client // nil: deleted
	User     *user.User     // nil: deleted
	// Session is nil for an access token behind which no session stands (client
	// credentials without offline access).
	Session *session.ClientSession
	// UserSession of an online session; nil if it has ended.
	UserSession *session.UserSession

	// Exchanged: the token that is judged came of an exchange (RFC 8693). Client is
	// who has it, Session that of the token which was exchanged.
	Exchanged bool

	Scopes map[string]*client.Scope // the realm's, by name
	Roles  []string                 // effective roles of the user
}

// Read reads the grant with the id of its client session. The error is
// storage.ErrNotFound if there is no such session.
func Read(tx storage.Tx, realmName, id string) (*Standing, error) {
	cs, us, err := session.Find(tx, realmName, id)
	if err != nil {
		return nil, fmt.Errorf("reading client session: %w", err)
	}
	if cs.ExchangedFrom != "" && cs.Status == session.Working {
		from, err := optional(session.ClientSessions.Get(tx, realmName, cs.ExchangedFrom))
		if err != nil {
			return nil, fmt.Errorf("reading exchanged session: %w", err)
		}
		if from == nil || from.Status != session.Working {
			cs.Status = session.Revoked // it ends with the one that it came of
		}
	}
	c, err := optional(client.Clients.Shared(tx, realmName, cs.Client))
	if err != nil {
		return nil, fmt.Errorf("reading client: %w", err)
	}
	u, err := optional(user.Users.Shared(tx, realmName, cs.User))
	if err != nil {
		return nil, fmt.Errorf("reading user: %w", err)
	}
	st, err := Of(tx, realmName, c, u)
	if err != nil {
		return nil, err
	}
	st.Session, st.UserSession = cs, us
	return st, nil
}

// Of reads what a client and a user have apart from a session. Either may be
// nil.
func Of(tx storage.Tx, realmName string, c *client.Client, u *user.User) (*Standing, error) {
	st := &Standing{Client: c, User: u}
	var err error
	if st.Settings, err = realm.Get(tx, realmName); err != nil {
		return nil, err
	}
	if st.Scopes, err = client.ScopeSet(tx, realmName); err != nil {
		return nil, fmt.Errorf("reading client scopes: %w", err)
	}
	if u != nil {
		if st.Roles, err = user.EffectiveRoles(tx, st.Settings, u); err != nil {
			return nil, fmt.Errorf("reading roles: %w", err)
		}
	}
	return st, nil
}

func optional[T any](v *T, err error) (*T, error) {
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return v, err
}

// Policy that governs the grant now, the user's not-before included. The client
// must not be nil.
func (st *Standing) Policy() session.Policy {
	p := session.PolicyOf(st.Settings, st.Client)
	if st.User != nil {
		p = p.ForUser(st.User.NotBefore)
	}
	return p
}

// Judge tells whether the grant works at an instant: nil, or invalid_grant with
// the grant status that says why not. issued matters only where no session
// stands behind the token: it is held against the not-before that is otherwise
// held against the session.
func (st *Standing) Judge(issued, now time.Time) error {
	switch {
	case st.Session != nil && st.Session.Status != session.Working:
		return refuse(session.GrantStatus(st.Session.Status), "session has ended")
	case st.Client == nil || !st.Client.Enabled:
		return refuse("", "client is disabled or no longer exists")
	case st.User == nil:
		return refuse(session.UserDeleted, "user no longer exists")
	case !st.User.Enabled:
		return refuse(session.UserDisabled, "user is disabled")
	case st.Session == nil && session.Barred(issued, st.Policy().NotBefore):
		return refuse(session.IssuedBefore, "issued before the not-before of realm, client or user")
	case st.Session == nil:
		return nil
	}
	if status := session.Check(st.Policy(), st.Session, st.UserSession, now); status != session.Working {
		return refuse(session.GrantStatus(status), "session is not active: %s", status)
	}
	if st.Session.Offline {
		if _, err := client.Narrow(st.Client, st.Scopes, st.Roles, st.Session.Scopes, nil); err != nil {
			return refuse(session.RoleMissing, "offline access is not granted any more")
		}
	}
	return nil
}

// Narrow decides what an access token of the session gets: all that was granted
// and that the client still has, or exactly what is requested (O06). Granted
// scopes that no scope claim shows (basic, roles, …) are no vocabulary of
// clients and stay in any case. Errors are those of client.Narrow. Without a
// session the request stands for what was granted.
func (st *Standing) Narrow(requested oidc.Scopes) (client.Granted, error) {
	switch {
	case st.Session == nil:
		return client.Evaluate(st.Client, st.Scopes, st.Roles, requested)
	case st.Exchanged:
		return client.Narrow(st.Client, st.Scopes, st.Roles, requested.With(Hidden(st.Client, st.Scopes)...), nil)
	}
	if len(requested) > 0 {
		requested = requested.With(st.hidden()...)
	}
	return client.Narrow(st.Client, st.Scopes, st.Roles, st.Session.Scopes, requested)
}

// Hidden are the default scopes of a client that no scope claim shows.
func Hidden(c *client.Client, scopes map[string]*client.Scope) oidc.Scopes {
	var out oidc.Scopes
	for _, name := range c.DefaultScopes {
		if s := scopes[name]; s != nil && !s.InToken {
			out = append(out, name)
		}
	}
	return out
}

// hidden are the granted default scopes that no scope claim shows.
func (st *Standing) hidden() oidc.Scopes {
	var out oidc.Scopes
	for _, name := range st.Session.Scopes {
		if s := st.Scopes[name]; s != nil && !s.InToken && slices.Contains(st.Client.DefaultScopes, name) {
			out = append(out, name)
		}
	}
	return out
}

func refuse(status session.Status, format string, args ...any) *oidc.Error {
	return oidc.Errorf(oidc.CodeInvalidGrant, format, args...).WithGrantStatus(status)
}
