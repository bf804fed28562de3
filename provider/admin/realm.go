package admin

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// realmMembers is Keycloak's RealmRepresentation.
var realmMembers = table[realm.Settings]{
	"id":          shown(func(s *realm.Settings) any { return s.Name }),
	"realm":       shown(func(s *realm.Settings) any { return s.Name }),
	"displayName": line(func(s *realm.Settings) *string { return &s.DisplayName }),
	"declared":    declaredNames(func(s *realm.Settings) []string { return s.Declared }),
	"enabled":     fixed[realm.Settings](true), // a realm that takes no tokens has no administrators either
	"notBefore":   notBefore(func(s *realm.Settings) *int64 { return &s.NotBefore }),

	"accessTokenLifespan":                seconds(func(s *realm.Settings) *time.Duration { return &s.AccessTokenLifespan }),
	"accessTokenLifespanForImplicitFlow": seconds(func(s *realm.Settings) *time.Duration { return &s.AccessTokenLifespanImplicit }),
	"accessCodeLifespan":                 seconds(func(s *realm.Settings) *time.Duration { return &s.CodeLifespan }),
	"accessCodeLifespanLogin":            seconds(func(s *realm.Settings) *time.Duration { return &s.LoginTimeout }),
	"accessCodeLifespanUserAction":       seconds(func(s *realm.Settings) *time.Duration { return &s.LoginActionTimeout }),

	"ssoSessionIdleTimeout":           seconds(func(s *realm.Settings) *time.Duration { return &s.SSOSessionIdle }),
	"ssoSessionMaxLifespan":           seconds(func(s *realm.Settings) *time.Duration { return &s.SSOSessionMax }),
	"rememberMe":                      flag(func(s *realm.Settings) *bool { return &s.RememberMe }),
	"ssoSessionIdleTimeoutRememberMe": seconds(func(s *realm.Settings) *time.Duration { return &s.SSOSessionIdleRememberMe }),
	"ssoSessionMaxLifespanRememberMe": seconds(func(s *realm.Settings) *time.Duration { return &s.SSOSessionMaxRememberMe }),
	"clientSessionIdleTimeout":        seconds(func(s *realm.Settings) *time.Duration { return &s.ClientSessionIdle }),
	"clientSessionMaxLifespan":        seconds(func(s *realm.Settings) *time.Duration { return &s.ClientSessionMax }),

	"offlineSessionIdleTimeout":        seconds(func(s *realm.Settings) *time.Duration { return &s.OfflineSessionIdle }),
	"offlineSessionMaxLifespanEnabled": flag(func(s *realm.Settings) *bool { return &s.OfflineSessionMaxLimited }),
	"offlineSessionMaxLifespan":        seconds(func(s *realm.Settings) *time.Duration { return &s.OfflineSessionMax }),
	"clientOfflineSessionIdleTimeout":  seconds(func(s *realm.Settings) *time.Duration { return &s.ClientOfflineSessionIdle }),
	"clientOfflineSessionMaxLifespan":  seconds(func(s *realm.Settings) *time.Duration { return &s.ClientOfflineSessionMax }),

	"revokeRefreshToken":   flag(func(s *realm.Settings) *bool { return &s.RevokeRefreshToken }),
	"refreshTokenMaxReuse": count(func(s *realm.Settings) *int { return &s.RefreshTokenMaxReuse }),
	"defaultSignatureAlgorithm": member[realm.Settings]{
		show: func(s *realm.Settings) any { return s.SigningAlgorithm },
		set: func(into, _ *realm.Settings, v any) (err error) {
			into.SigningAlgorithm, err = algorithm(v)
			return err
		},
	},

	"defaultDefaultClientScopes":  lines(func(s *realm.Settings) *[]string { return &s.DefaultClientScopes }),
	"defaultOptionalClientScopes": lines(func(s *realm.Settings) *[]string { return &s.OptionalClientScopes }),
	// To change the default roles, change the composites of this role.
	"defaultRole": shown(func(s *realm.Settings) any {
		r := user.NewRole(s.Name, user.DefaultRole(*s))
		return object{"id": r.ID, "name": r.Name, "composite": true, "clientRole": false, "containerId": s.Name}
	}),

	"bruteForceProtected":          flag(func(s *realm.Settings) *bool { return s.BruteForceProtected }).own(func(s *realm.Settings) { s.BruteForceProtected = new(bool) }),
	"failureFactor":                count(func(s *realm.Settings) *int { return &s.FailureFactor }),
	"waitIncrementSeconds":         seconds(func(s *realm.Settings) *time.Duration { return &s.WaitIncrement }),
	"maxFailureWaitSeconds":        seconds(func(s *realm.Settings) *time.Duration { return &s.MaxFailureWait }),
	"maxDeltaTimeSeconds":          seconds(func(s *realm.Settings) *time.Duration { return &s.MaxDeltaTime }),
	"bruteForceStrategy":           inert[realm.Settings]("LINEAR", "MULTIPLE"),
	"permanentLockout":             fixed[realm.Settings](false), // a stranger could hold it
	"maxTemporaryLockouts":         inert[realm.Settings](0),
	"minimumQuickLoginWaitSeconds": inert[realm.Settings](60),
	"quickLoginCheckMilliSeconds":  inert[realm.Settings](1000),

	"eventsEnabled":             flag(func(s *realm.Settings) *bool { return s.EventsEnabled }).own(func(s *realm.Settings) { s.EventsEnabled = new(bool) }),
	"eventsExpiration":          seconds(func(s *realm.Settings) *time.Duration { return s.EventsExpiration }).own(func(s *realm.Settings) { s.EventsExpiration = new(time.Duration) }),
	"enabledEventTypes":         eventTypes,
	"adminEventsEnabled":        flag(func(s *realm.Settings) *bool { return s.AdminEventsEnabled }).own(func(s *realm.Settings) { s.AdminEventsEnabled = new(bool) }),
	"adminEventsDetailsEnabled": fixed[realm.Settings](false),
	"eventsListeners":           inert[realm.Settings]([]any{}, []any{"jboss-logging"}),

	"attributes": attributes(table[realm.Settings]{
		// Offline sessions of one user at one client; the longest unused beyond it goes.
		"offlineSessionLimit": {
			show: func(s *realm.Settings) any { return strconv.Itoa(s.OfflineSessionLimit) },
			set: func(into, _ *realm.Settings, v any) error {
				n, err := numberText(v, 1)
				into.OfflineSessionLimit = int(n)
				return err
			},
		},
	}),

	// What this realm does one way only.
	"sslRequired":                 fixed[realm.Settings]("none"), // the server in front decides
	"loginWithEmailAllowed":       fixed[realm.Settings](true),
	"duplicateEmailsAllowed":      fixed[realm.Settings](false),
	"registrationAllowed":         fixed[realm.Settings](false),
	"registrationEmailAsUsername": fixed[realm.Settings](false),
	"verifyEmail":                 fixed[realm.Settings](false),
	"resetPasswordAllowed":        fixed[realm.Settings](false),
	"editUsernameAllowed":         fixed[realm.Settings](false),
	"identityFederationEnabled":   inert[realm.Settings](false),
	"internationalizationEnabled": inert[realm.Settings](false),
	"userManagedAccessAllowed":    inert[realm.Settings](false),
	"organizationsEnabled":        inert[realm.Settings](false),
	"passwordPolicy":              inert[realm.Settings](""),
	"displayNameHtml":             inert[realm.Settings](""),
	"identityProviders":           inert[realm.Settings]([]any{}),
	"identityProviderMappers":     inert[realm.Settings]([]any{}),
	"smtpServer":                  inert[realm.Settings](object{}),
	"requiredCredentials":         inert[realm.Settings]([]any{"password"}, []any{}),
	"supportedLocales":            inert[realm.Settings]([]any{}),
	"loginTheme":                  inert[realm.Settings](""),
	"accountTheme":                inert[realm.Settings](""),
	"adminTheme":                  inert[realm.Settings](""),
	"emailTheme":                  inert[realm.Settings](""),
}

// count is a number from 0 on.
func count[T any](at func(*T) *int) member[T] {
	return member[T]{
		show: func(v *T) any { return *at(v) },
		set: func(into, _ *T, v any) error {
			n, err := asInt(v, 0)
			*at(into) = int(n)
			return err
		},
	}
}

// own makes a pointer of the record before it is written through, since the one
// there may be shared.
func (m member[T]) own(fresh func(*T)) member[T] {
	set := m.set
	m.set = func(into, now *T, v any) error {
		fresh(into)
		return set(into, now, v)
	}
	return m
}

// signing algorithms that a realm has keys for.
var signing = []string{keys.RS256, keys.ES256, keys.EdDSA}

func algorithm(v any) (string, error) {
	if s, ok := v.(string); ok && slices.Contains(signing, s) {
		return s, nil
	}
	return "", fmt.Errorf("want one of %s", strings.Join(signing, ", "))
}

var eventTypes = member[realm.Settings]{
	show: func(s *realm.Settings) any { return list(s.EnabledEventTypes) },
	set: func(into, _ *realm.Settings, v any) error {
		names, err := asTexts(v, 100)
		if err != nil {
			return err
		}
		for i, name := range names {
			if !slices.Contains(event.Types(), event.Type(name)) {
				return bad(fmt.Sprintf("[%d]", i), "there is no type of events %s", name)
			}
		}
		into.EnabledEventTypes = names
		return nil
	},
}

func (c *call) listRealms() (any, error) {
	answer, err := c.getRealm()
	return []any{answer}, err
}

func (c *call) getRealm() (any, error) { return realmMembers.show(&c.settings), nil }

func (c *call) putRealm() (any, error) { return c.changeRealm(realmMembers) }

// changeRealm changes settings by a table of members, all of the realm's or some.
func (c *call) changeRealm(members table[realm.Settings]) (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		before, err := realm.Table.Get(tx, c.Realm, c.Realm)
		if err != nil {
			return err
		}
		after, now := *before, before.Resolve()
		if err := members.apply(&after, &now, given); err != nil {
			return err
		}
		if err := c.undeclared("this realm", before, &after, before.Declared); err != nil {
			return err
		}
		if err := after.Validate(); err != nil {
			return bad("", "%s", err)
		}
		if err := c.scopesExist(tx, "defaultDefaultClientScopes", after.DefaultClientScopes, before.DefaultClientScopes); err != nil {
			return err
		}
		if err := c.scopesExist(tx, "defaultOptionalClientScopes", after.OptionalClientScopes, before.OptionalClientScopes); err != nil {
			return err
		}
		if after.NotBefore > before.NotBefore {
			tell(event.Event{Time: c.now, Type: event.RealmChanged, Realm: c.Realm, Reason: "not_before"})
		}
		return realm.Table.Put(tx, c.Realm, c.Realm, &after)
	})
}

// scopesExist refuses the names of client scopes that do not exist, but for
// those that were there before.
func (c *call) scopesExist(tx storage.Tx, path string, names, before []string) error {
	for i, name := range names {
		if slices.Contains(before, name) {
			continue
		}
		if _, err := client.Scopes.Shared(tx, c.Realm, name); errors.Is(err, storage.ErrNotFound) {
			return bad(fmt.Sprintf("%s[%d]", path, i), "there is no client scope %s", name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// logoutAll ends every session of the realm, offline ones too: by its
// not-before, which is in force at once however many there are.
func (c *call) logoutAll() (any, error) {
	err := c.change(func(tx storage.Tx, tell audit.Tell) error {
		s, err := realm.Table.Get(tx, c.Realm, c.Realm)
		if err != nil {
			return err
		}
		s.NotBefore = max(s.NotBefore, c.now.UnixMilli())
		tell(event.Event{Time: c.now, Type: event.RealmChanged, Realm: c.Realm, Reason: "not_before"})
		return realm.Table.Put(tx, c.Realm, c.Realm, s)
	})
	return pushed(), err
}

// pushed is Keycloak's answer about which applications it told. Tokens are
// judged here, at each use: there is nobody to tell.
func pushed() object { return object{"successRequests": []string{}, "failedRequests": []string{}} }

func (c *call) pushRevocation() (any, error) {
	return pushed(), c.change(func(storage.Tx, audit.Tell) error { return nil })
}

// builtinRoles nobody can delete.
var builtinRoles = []string{oidc.RoleOfflineAccess, user.RoleRealmAdmin}
