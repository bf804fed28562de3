package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// userView is a user with what a request says beside the record.
type userView struct {
	user.User
	client   string  // client_id of a service account
	password *string // in plain
	isNew    bool
}

// userMembers is Keycloak's UserRepresentation.
var userMembers = table[userView]{
	"id": shown(func(v *userView) any { return v.ID }),
	"username": {
		show: func(v *userView) any { return v.Username },
		set: func(into, _ *userView, v any) error {
			name, err := asText(v, 255)
			switch {
			case err != nil:
				return err
			case !into.isNew && !strings.EqualFold(name, into.Username):
				// Rules for jobs name users: a name must not come to mean somebody else.
				return errors.New("cannot be changed")
			case into.isNew:
				into.Username = strings.ToLower(strings.TrimSpace(name))
			}
			return nil
		},
	},
	"enabled":       flag(func(v *userView) *bool { return &v.Enabled }),
	"firstName":     line(func(v *userView) *string { return &v.FirstName }),
	"lastName":      line(func(v *userView) *string { return &v.LastName }),
	"emailVerified": flag(func(v *userView) *bool { return &v.EmailVerified }),
	"email": {
		show: line(func(v *userView) *string { return &v.Email }).show,
		set: func(into, _ *userView, v any) error {
			s, err := asText(v, 255)
			if err != nil {
				return err
			}
			if a, err := mail.ParseAddress(s); s != "" && (err != nil || a.Address != s) {
				return errors.New("want a mail address")
			}
			into.Email = strings.ToLower(s)
			return nil
		},
	},
	"notBefore":        notBefore(func(v *userView) *int64 { return &v.NotBefore }),
	"createdTimestamp": shown(func(v *userView) any { return v.CreatedAt.UnixMilli() }),
	"groups": {
		set: func(into, _ *userView, v any) error {
			names, err := asTexts(v, 255)
			for i := range names {
				names[i] = strings.TrimPrefix(names[i], "/") // Keycloak names a group by its path
			}
			into.Groups = names
			return err
		},
		show: func(v *userView) any {
			if len(v.Groups) == 0 {
				return nil
			}
			return v.Groups
		},
	},
	"serviceAccountClientId": shown(func(v *userView) any {
		if v.client == "" {
			return nil
		}
		return v.client
	}),
	"credentials": {set: func(into, _ *userView, v any) error {
		list, ok := v.([]any)
		if !ok || len(list) > 1 {
			return errors.New("want a list with one password")
		}
		for _, v := range list {
			given, err := asObject(v)
			if err != nil {
				return bad("[0]", "%s", err)
			}
			var cred password
			if err := passwordMembers.apply(&cred, &password{}, given); err != nil {
				var refused *refusal
				errors.As(err, &refused)
				return bad("[0]."+refused.body["field"], "%s", strings.TrimPrefix(refused.body["errorMessage"], refused.body["field"]+": "))
			}
			if cred.value == nil {
				return bad("[0].value", "is missing")
			}
			into.password = cred.value
		}
		return nil
	}},
	"access": shown(func(*userView) any {
		return object{"manageGroupMembership": true, "view": true, "mapRoles": true, "impersonate": false, "manage": true}
	}),
	"declared": declaredNames(func(v *userView) []string { return v.ReadOnly() }),
	// Whether the configuration declares it: those fields are read-only.
	"origin": shown(func(v *userView) any {
		if len(v.ReadOnly()) > 0 {
			return "Caddyfile"
		}
		return nil
	}),

	"totp":                       fixed[userView](false),
	"requiredActions":            fixed[userView]([]any{}),
	"disableableCredentialTypes": fixed[userView]([]any{}),
	"attributes":                 inert[userView](object{}),
	"realmRoles":                 inert[userView]([]any{}), // by users/{id}/role-mappings
	"clientRoles":                inert[userView](object{}),
	"clientConsents":             inert[userView]([]any{}),
	"federatedIdentities":        inert[userView]([]any{}),
	"federationLink":             inert[userView](""),
	"self":                       shown(func(*userView) any { return nil }),
}

// password is Keycloak's CredentialRepresentation.
type password struct{ value *string }

var passwordMembers = table[password]{
	"type": inert[password]("password"),
	"value": {set: func(into, _ *password, v any) error {
		s, ok := v.(string)
		switch {
		case !ok || s == "":
			return errors.New("want a text that is not empty")
		case len(s) > user.MaxPassword:
			return fmt.Errorf("must have at most %d bytes", user.MaxPassword)
		}
		into.value = &s
		return nil
	}},
	// There is no page yet that makes somebody choose a new one.
	"temporary":      inert[password](false),
	"id":             shown(func(*password) any { return nil }),
	"userLabel":      inert[password](""),
	"createdDate":    shown(func(*password) any { return nil }),
	"credentialData": inert[password](""),
	"secretData":     inert[password](""),
	"priority":       inert[password](json.Number("0")),
}

// user reads the user that the path names, to be changed.
func (c *call) user(tx storage.Tx) (*user.User, error) {
	u, err := user.Users.Get(tx, c.Realm, c.id("user"))
	return found(u, err, "User not found")
}

func (c *call) showUser(tx storage.Tx, u *user.User) (object, error) {
	v := &userView{User: *u}
	if u.ServiceAccountOf != "" {
		cl, err := client.Clients.Shared(tx, c.Realm, u.ServiceAccountOf)
		if err == nil {
			v.client = cl.ClientID
		} else if !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
	}
	return userMembers.show(v), nil
}

func (c *call) getUser() (any, error) {
	var out object
	err := c.view(func(tx storage.Tx) error {
		u, err := c.user(tx)
		if err == nil {
			out, err = c.showUser(tx, u)
		}
		return err
	})
	return out, err
}

func (c *call) createUser() (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	// Keycloak makes a user disabled unless the request says otherwise.
	now := userView{isNew: true, User: user.User{ID: oidc.NewID(c.Random), DefaultRoles: true, CreatedAt: c.now}}
	v := now
	if err := userMembers.apply(&v, &now, given); err != nil {
		return nil, err
	}
	if v.Username == "" {
		return nil, bad("username", "User name is missing")
	}
	if strings.HasPrefix(v.Username, "service-account-") {
		return nil, bad("username", "names of this form are those of service accounts")
	}
	if err := c.hash(&v); err != nil {
		return nil, err
	}
	c.made = "users/" + v.ID
	err = c.change(func(tx storage.Tx, tell audit.Tell) error { return c.putUser(tx, tell, &user.User{}, &v.User) })
	if err != nil {
		return nil, err
	}
	return created{c.made}, nil
}

// hash turns the password of a request into its hash, outside of any
// transaction.
func (c *call) hash(v *userView) (err error) {
	if v.password != nil {
		v.PasswordHash, err = c.Hasher.Hash(c.r.Context(), *v.password)
	}
	return err
}

func (c *call) putUser(tx storage.Tx, tell audit.Tell, before, after *user.User) error {
	if err := c.undeclared("user "+before.Username, before, after, before.ReadOnly()); err != nil {
		return err
	}
	// As in Keycloak, nobody takes a name that logs somebody else in.
	for _, name := range []string{after.Username, after.Email} {
		if name == before.Username || name == before.Email {
			continue
		}
		if other, err := user.ByLogin(tx, c.Realm, name); err == nil && other.ID != after.ID {
			if strings.EqualFold(other.Username, name) {
				return taken("User exists with same username")
			}
			return taken("User exists with same email")
		} else if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	err := user.Users.Put(tx, c.Realm, after.ID, after)
	if errors.Is(err, storage.ErrTaken) {
		return taken("User exists with same username or email")
	}
	switch {
	case err != nil || before.ID == "":
	case before.Enabled && !after.Enabled:
		tell(standing.UserChanged(c.Realm, after, session.UserDisabled, c.now))
	case !before.Enabled && after.Enabled:
		tell(standing.UserChanged(c.Realm, after, standing.UserEnabled, c.now))
	case after.NotBefore > before.NotBefore:
		tell(standing.UserChanged(c.Realm, after, session.IssuedBefore, c.now))
	case !slices.Equal(before.Groups, after.Groups):
		tell(standing.UserChanged(c.Realm, after, standing.Groups, c.now))
	}
	return err
}

func (c *call) putUserBody() (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	// A password is hashed before the transaction, so the request is read twice.
	var secret userView
	if given["credentials"] != nil {
		only := object{"credentials": given["credentials"]}
		if err := userMembers.apply(&secret, &userView{}, only); err != nil {
			return nil, err
		}
		if err := c.hash(&secret); err != nil {
			return nil, err
		}
	}
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		before, err := c.user(tx)
		if err != nil {
			return err
		}
		after, now := userView{User: *before}, userView{User: *before}
		if err := userMembers.apply(&after, &now, given); err != nil {
			return err
		}
		if before.Email != after.Email && given["emailVerified"] == nil {
			after.EmailVerified = false
		}
		if err := c.putUser(tx, tell, before, &after.User); err != nil || secret.password == nil {
			return err
		}
		events, _, err := standing.SetPassword(tx, c.Realm, &after.User, secret.PasswordHash, false, "", c.now)
		tell(events...)
		return err
	})
}

func (c *call) deleteUser() (any, error) {
	return nil, c.all(func(tx storage.Tx, tell audit.Tell, _ bool) (bool, error) {
		u, err := c.user(tx)
		if err != nil {
			return false, err
		}
		if err := c.notDeclared("user "+u.Username, u.ReadOnly()); err != nil {
			return false, err
		}
		if u.ServiceAccountOf != "" {
			return false, bad("", "a service account goes with its client")
		}
		events, more, err := standing.DeleteUser(tx, c.Realm, u, c.now)
		tell(events...)
		return more, err
	})
}

// listCredentials answers with the password, if there is one; of its hash nothing.
// Whether the configuration declared it is ours.
func (c *call) listCredentials() (any, error) {
	var out []object
	err := c.view(func(tx storage.Tx) error {
		out = []object{}
		u, err := c.user(tx)
		if err != nil || u.PasswordHash == "" {
			return err
		}
		one := object{"id": oidc.NamedID("password", c.Realm, u.ID), "type": "password"}
		if u.Managed && !u.Retired && u.DeclaredPassword != "" {
			one["origin"] = "Caddyfile"
		}
		out = append(out, one)
		return nil
	})
	return out, err
}

func (c *call) resetPassword() (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	var cred password
	if err := passwordMembers.apply(&cred, &password{}, given); err != nil {
		return nil, err
	}
	if cred.value == nil {
		return nil, bad("value", "is missing")
	}
	v := userView{password: cred.value}
	if err := c.hash(&v); err != nil {
		return nil, err
	}
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		u, err := c.user(tx)
		if err != nil {
			return err
		}
		if u.ServiceAccountOf != "" {
			return bad("", "a service account has no password")
		}
		events, _, err := standing.SetPassword(tx, c.Realm, u, v.PasswordHash, false, "", c.now)
		tell(events...)
		return err
	})
}

func (c *call) logoutUser() (any, error) {
	return nil, c.all(func(tx storage.Tx, tell audit.Tell, _ bool) (bool, error) {
		u, err := c.user(tx)
		if err != nil {
			return false, err
		}
		events, more, err := standing.LogOut(tx, c.Realm, u, c.now)
		tell(events...)
		return more, err
	})
}

// offlineToken is Keycloak's key of an additional grant.
const offlineToken = "Offline Token"

func (c *call) listConsents() (any, error) {
	var out []object
	err := c.view(func(tx storage.Tx) error {
		out = []object{}
		u, err := c.user(tx)
		if err != nil {
			return err
		}
		offline, err := session.OfflineClients(tx, c.Realm, u.ID)
		if err != nil {
			return err
		}
		rows, err := consent.Table.ListBy(tx, c.Realm, "user", u.ID, "", mostMax)
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		show := func(id string, k *consent.Consent) error {
			if seen[id] {
				return nil
			}
			seen[id] = true
			cl, err := client.Clients.Shared(tx, c.Realm, id)
			if errors.Is(err, storage.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			entry := object{
				"clientId": cl.ClientID, "grantedClientScopes": []string{}, "createdDate": nil, "lastUpdatedDate": nil,
				"additionalGrants": []object{},
			}
			if k != nil {
				entry["grantedClientScopes"] = list(k.Scopes)
				entry["createdDate"], entry["lastUpdatedDate"] = k.CreatedAt.UnixMilli(), k.UpdatedAt.UnixMilli()
			}
			if slices.ContainsFunc(offline, func(c *client.Client) bool { return c.ID == id }) {
				entry["additionalGrants"] = []object{{"client": cl.ID, "key": offlineToken}}
			}
			out = append(out, entry)
			return nil
		}
		for _, row := range rows {
			if err := show(row.Record.Client, row.Record); err != nil {
				return err
			}
		}
		for _, cl := range offline {
			if err := show(cl.ID, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func (c *call) withdrawConsent() (any, error) {
	return nil, c.all(func(tx storage.Tx, tell audit.Tell, again bool) (bool, error) {
		u, err := c.user(tx)
		if err != nil {
			return false, err
		}
		cl, err := client.ByName(tx, c.Realm, c.id("client"))
		if cl, err = found(cl, err, "Client not found"); err != nil {
			return false, err
		}
		events, more, err := standing.Withdraw(tx, c.Realm, u, cl.ID, c.now)
		if err == nil && len(events) == 0 && !again {
			return false, missing("Consent nor offline token not found")
		}
		tell(events...)
		return more, err
	})
}
