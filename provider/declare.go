package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/declared"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// Declaration is what a configuration says about the realm. Records that come
// of it are managed by configuration.
type Declaration struct {
	Settings realm.Settings
	Users    []DeclaredUser
	Clients  []DeclaredClient
	Roles    []user.Role
}

// DeclaredUser is a user with his password, plain or as an argon2id PHC string.
type DeclaredUser struct {
	Username     string
	Password     string
	PasswordHash string
	Email        string // counts as verified: the operator wrote it
	FirstName    string
	LastName     string
	Roles        []string // nil: the realm's default roles; empty: none
	Groups       []string
	Admin        bool // administrator of the realm
}

// DeclaredClient is a client with its secret in plain. ID, CreatedAt, NotBefore,
// Enabled and SecretHash are not taken from it.
type DeclaredClient struct {
	client.Client
	Secret string
	// Unset names fields, by their JSON, that the declaration does not set
	// although they have a value: a new client's.
	Unset []string
}

// Validate reports the first thing that cannot work, before anything is written.
func (d Declaration) Validate() error {
	if err := d.Settings.Validate(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, u := range d.Users {
		switch name := strings.ToLower(u.Username); {
		case name == "":
			return errors.New("a user needs a name")
		case seen["user "+name]:
			return fmt.Errorf("user %s is declared twice", u.Username)
		case u.Password != "" && u.PasswordHash != "":
			return fmt.Errorf("user %s: password and password_hash exclude each other", u.Username)
		case len(u.Password) > user.MaxPassword:
			return fmt.Errorf("user %s: password is longer than %d bytes", u.Username, user.MaxPassword)
		default:
			seen["user "+name] = true
		}
		if u.PasswordHash != "" {
			if err := user.ValidHash(u.PasswordHash); err != nil {
				return fmt.Errorf("user %s: password_hash: %w", u.Username, err)
			}
		}
	}
	for _, c := range d.Clients {
		switch {
		case c.ClientID == "":
			return errors.New("a client needs a client_id")
		case seen["client "+c.ClientID]:
			return fmt.Errorf("client %s is declared twice", c.ClientID)
		case c.Public && c.Secret != "":
			return fmt.Errorf("client %s: public and secret exclude each other", c.ClientID)
		case !c.Public && c.Secret == "" && c.JWKS == nil:
			return fmt.Errorf("client %s: secret is missing: want it, jwks or public", c.ClientID)
		}
		seen["client "+c.ClientID] = true
		if err := c.Client.Validate(); err != nil {
			return fmt.Errorf("client %s: %w", c.ClientID, err)
		}
	}
	return nil
}

// Declare writes the declaration in one transaction. What is run-time state
// stays as administrators left it: whether somebody is enabled, not-before,
// roles taken away, a password changed since. What has left the declaration
// stays until Retire.
func (p *Provider) Declare(ctx context.Context, d Declaration) error {
	d.Settings.Name, d.Settings.URL = p.config.Realm, p.config.URL
	if err := d.Validate(); err != nil {
		return fmt.Errorf("declaring realm %s: %w", p.config.Realm, err)
	}
	hashes, err := p.hash(ctx, d)
	if err != nil {
		return fmt.Errorf("declaring realm %s: %w", p.config.Realm, err)
	}
	ids := make([]string, len(d.Users)+len(d.Clients)+len(builtin))
	for i := range ids {
		ids[i] = oidc.NewID(p.config.Random)
	}
	now := p.config.Now().UTC()
	err = p.audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
		settings, err := p.declareRealm(tx, tell, d, now)
		if err != nil {
			return err
		}
		for i, u := range d.Users {
			if err := p.declareUser(tx, tell, u, hashes[i], ids[i], now); err != nil {
				return fmt.Errorf("user %s: %w", u.Username, err)
			}
		}
		for i, c := range d.Clients {
			if err := p.declareClient(tx, tell, settings, c, ids[len(d.Users)+i], now); err != nil {
				return fmt.Errorf("client %s: %w", c.ClientID, err)
			}
		}
		return p.ensureClients(tx, settings, ids[len(d.Users)+len(d.Clients):], now)
	})
	if err != nil {
		return fmt.Errorf("declaring realm %s: %w", p.config.Realm, err)
	}
	return nil
}

// fingerprint of a declared password, so that it is hashed and set only when the
// declaration changes.
func (p *Provider) fingerprint(u DeclaredUser) string {
	key := p.config.Sealer.Derive("declared passwords")
	return base64.RawURLEncoding.EncodeToString(client.HashSecret(key, u.Username+"\x00"+u.Password+"\x00"+u.PasswordHash))
}

// hash makes the hashes that the declaration needs and the store does not have
// yet; "" where nothing changes.
func (p *Provider) hash(ctx context.Context, d Declaration) ([]string, error) {
	changed := make([]bool, len(d.Users))
	err := p.config.Store.View(ctx, func(tx storage.Tx) error {
		for i, u := range d.Users {
			have, err := byName(tx, p.config.Realm, u.Username)
			if err != nil {
				return err
			}
			changed[i] = have == nil || have.DeclaredPassword != p.fingerprint(u)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	hashes := make([]string, len(d.Users))
	for i, u := range d.Users {
		switch {
		case !changed[i]:
		case u.PasswordHash != "":
			hashes[i] = u.PasswordHash
		case u.Password != "":
			if hashes[i], err = p.hasher.Hash(ctx, u.Password); err != nil {
				return nil, err
			}
		}
	}
	return hashes, nil
}

// reasonDeclared of the events of what a configuration changes.
const reasonDeclared = "declared"

func (p *Provider) declareRealm(tx storage.Tx, tell audit.Tell, d Declaration, now time.Time) (realm.Settings, error) {
	base := realm.Settings{Name: d.Settings.Name, Enabled: true}
	have, err := realm.Table.Get(tx, base.Name, base.Name)
	if errors.Is(err, storage.ErrNotFound) {
		have, err = &base, nil
	}
	if err != nil {
		return base, err
	}
	s, err := declared.Merge(*have, base, d.Settings, "enabled", "not_before")
	if err != nil {
		return base, err
	}
	s.Managed = true
	if err := realm.Table.Put(tx, s.Name, s.Name, &s); err != nil {
		return s, err
	}
	if err := client.EnsureScopes(tx, s.Name); err != nil {
		return s, err
	}
	changed := have.Managed && !reflect.DeepEqual(*have, s)
	var names []string
	for _, u := range d.Users {
		names = append(names, u.Roles...)
	}
	for _, r := range d.Roles {
		had, err := p.declareRole(tx, r)
		if err != nil {
			return s, fmt.Errorf("role %s: %w", r.Name, err)
		}
		changed = changed || had
		names = append(names, r.Composites...)
	}
	if changed {
		tell(event.Event{Time: now, Type: event.RealmChanged, Realm: s.Name, Reason: reasonDeclared})
	}
	return s.Resolve(), user.EnsureRoles(tx, s, names...)
}

// declareRole tells whether it changed a role that was there.
func (p *Provider) declareRole(tx storage.Tx, d user.Role) (changed bool, err error) {
	base := user.NewRole(p.config.Realm, d.Name)
	have, err := user.Roles.Get(tx, p.config.Realm, d.Name)
	fresh := errors.Is(err, storage.ErrNotFound)
	if fresh {
		have, err = base, nil
	}
	if err != nil {
		return false, err
	}
	r, err := declared.Merge(*have, *base, d, "id")
	if err != nil {
		return false, err
	}
	r.ID = base.ID
	return !fresh && !reflect.DeepEqual(*have, r), user.Roles.Put(tx, p.config.Realm, r.Name, &r)
}

// userState is what of a user no declaration sets by its fields: state, and what
// is declared in ways of its own.
var userState = []string{
	"id", "enabled", "password_hash", "roles", "default_roles", "not_before", "created_at",
}

func (p *Provider) declareUser(tx storage.Tx, tell audit.Tell, d DeclaredUser, hash, id string, now time.Time) error {
	base := user.User{ID: id, Username: d.Username, Enabled: true, CreatedAt: now}
	have, err := byName(tx, p.config.Realm, d.Username)
	if err != nil {
		return err
	}
	if have == nil {
		have = &base
	}
	u, err := declared.Merge(*have, base, user.User{
		Username: d.Username, Email: d.Email, EmailVerified: d.Email != "", FirstName: d.FirstName, LastName: d.LastName, Groups: d.Groups,
	}, userState...)
	if err != nil {
		return err
	}
	if u.Undeclared { // it left the declaration and comes back
		u.Undeclared, u.Enabled = false, true
	}
	roles := slices.Clone(d.Roles)
	if d.Admin {
		roles = append(roles, user.RoleRealmAdmin)
	}
	// Roles are given when the declaration changes; what an administrator takes
	// away afterwards stays away.
	if declared := fmt.Sprint(d.Roles == nil, roles); !u.Managed || u.DeclaredRoles != declared {
		u.Roles, u.DefaultRoles, u.DeclaredRoles = roles, d.Roles == nil, declared
	}
	if print := p.fingerprint(d); u.DeclaredPassword != print {
		u.PasswordHash, u.DeclaredPassword = hash, print
	}
	u.Managed, u.Retired = true, false
	if have != &base && (u.Enabled != have.Enabled || u.DefaultRoles != have.DefaultRoles || !slices.Equal(u.Roles, have.Roles)) {
		tell(standing.UserChanged(p.config.Realm, &u, reasonDeclared, now))
	}
	if have != &base && u.PasswordHash != have.PasswordHash {
		tell(standing.PasswordChanged(p.config.Realm, &u, now))
	}
	return user.Users.Put(tx, p.config.Realm, u.ID, &u)
}

// clientState is what of a client is never declared.
var clientState = []string{"id", "enabled", "not_before", "created_at"}

func (p *Provider) declareClient(tx storage.Tx, tell audit.Tell, s realm.Settings, d DeclaredClient, id string, now time.Time) error {
	d.SecretHash = nil
	if d.Secret != "" {
		d.SecretHash = client.HashSecret(p.secretKey(), d.Secret)
	}
	base := client.New(s, id, d.ClientID, now)
	have, err := client.ByName(tx, p.config.Realm, d.ClientID)
	if errors.Is(err, storage.ErrNotFound) {
		have, err = base, nil
	}
	if err != nil {
		return err
	}
	c, err := declared.Merge(*have, *base, d.Client, append(d.Unset, clientState...)...)
	if err != nil {
		return err
	}
	c.Enabled = c.Enabled || c.Undeclared
	c.Managed, c.Undeclared, c.Retired = true, false, false
	if have.Managed && !reflect.DeepEqual(*have, c) {
		tell(standing.ClientChanged(p.config.Realm, &c, reasonDeclared, now))
	}
	return client.Clients.Put(tx, p.config.Realm, c.ID, &c)
}

// builtin clients exist on every realm, as in Keycloak: the consoles, and
// the client by which administrators' tools log in.
var builtin = []func(*client.Client, realm.Settings){
	func(c *client.Client, s realm.Settings) {
		c.ClientID, c.Name = client.Account, "Account console"
		c.Public, c.StandardFlow = true, true
		c.BaseURL = s.Issuer() + "/account/"
		c.RedirectURIs = []string{c.BaseURL}
	},
	func(c *client.Client, _ realm.Settings) {
		c.ClientID, c.Name = client.AdminCLI, "Administration by command line"
		c.Public, c.DirectAccessGrants = true, true
	},
	func(c *client.Client, s realm.Settings) {
		c.ClientID, c.Name = client.Console, "Admin console"
		c.Public, c.StandardFlow = true, true
		c.BaseURL = s.URL + "/admin/" + s.Name + "/console/"
		c.RedirectURIs = []string{c.BaseURL}
	},
}

// ensureClients makes the built-in clients that do not exist.
func (p *Provider) ensureClients(tx storage.Tx, s realm.Settings, ids []string, now time.Time) error {
	for i, describe := range builtin {
		c := client.New(s, ids[i], "", now)
		describe(c, s)
		_, err := client.ByName(tx, s.Name, c.ClientID)
		if errors.Is(err, storage.ErrNotFound) {
			err = client.Clients.Put(tx, s.Name, c.ID, c)
		}
		if err != nil {
			return fmt.Errorf("client %s: %w", c.ClientID, err)
		}
	}
	return nil
}

// Retire disables the users and clients that a former declaration made and this
// one does not name, and leaves them and such roles to the administrators.
// Nothing is deleted: who comes back to the declaration has lost nothing. Call it
// once the new configuration runs.
func (p *Provider) Retire(ctx context.Context, d Declaration) error {
	keepUsers, keepClients, keepRoles := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, u := range d.Users {
		keepUsers[strings.ToLower(u.Username)] = true
	}
	for _, c := range d.Clients {
		keepClients[c.ClientID] = true
	}
	for _, r := range d.Roles {
		keepRoles[r.Name] = true
	}
	now := p.config.Now().UTC()
	err := each(ctx, p.audit, &user.Users, p.config.Realm, func(u *user.User, tell audit.Tell) bool {
		if !u.Managed || u.Retired || keepUsers[strings.ToLower(u.Username)] {
			return false
		}
		if u.Enabled {
			tell(standing.UserChanged(p.config.Realm, u, session.UserDisabled, now))
		}
		u.Retired, u.Undeclared, u.Enabled = true, u.Undeclared || u.Enabled, false
		return true
	})
	if err == nil {
		err = each(ctx, p.audit, &client.Clients, p.config.Realm, func(c *client.Client, tell audit.Tell) bool {
			if !c.Managed || c.Retired || keepClients[c.ClientID] {
				return false
			}
			if c.Enabled {
				tell(standing.ClientChanged(p.config.Realm, c, standing.ClientDisabled, now))
			}
			c.Retired, c.Undeclared, c.Enabled = true, c.Undeclared || c.Enabled, false
			return true
		})
	}
	if err == nil {
		err = each(ctx, p.audit, &user.Roles, p.config.Realm, func(r *user.Role, _ audit.Tell) bool {
			gone := len(r.Declared) > 0 && !keepRoles[r.Name]
			if gone {
				r.Declared = nil
			}
			return gone
		})
	}
	if err != nil {
		return fmt.Errorf("retiring what left the configuration of realm %s: %w", p.config.Realm, err)
	}
	return nil
}

// each changes the records of a realm that change tells to, page by page.
func each[T any](ctx context.Context, log *audit.Log, table *storage.Table[T], realm string, change func(*T, audit.Tell) bool) error {
	const page = 200
	for after, more := "", true; more; {
		var last string
		err := log.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
			rows, err := table.List(tx, realm, after, page)
			if err != nil {
				return err
			}
			more = len(rows) == page
			for _, row := range rows {
				last = row.ID
				if change(row.Record, tell) {
					if err := table.Put(tx, realm, row.ID, row.Record); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		after = last
	}
	return nil
}

func byName(tx storage.Tx, realm, name string) (*user.User, error) {
	row, err := user.Users.GetBy(tx, realm, "username", strings.ToLower(name))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return row.Record, err
}
