package user

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// RoleRealmAdmin is the realm role of the realm's administrators.
const RoleRealmAdmin = "realm-admin"

// EnsureRoles writes the built-in roles, the realm's default roles and more
// that somebody is about to be given, as far as they do not exist.
func EnsureRoles(tx storage.Tx, s realm.Settings, more ...string) error {
	names := append([]string{oidc.RoleOfflineAccess, RoleRealmAdmin}, s.Resolve().DefaultRoles...)
	for _, name := range append(names, more...) {
		r, err := Roles.Get(tx, s.Name, name)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			err = Roles.Put(tx, s.Name, name, NewRole(s.Name, name))
		case err == nil && r.ID == "": // of a version without ids
			r.ID = NewRole(s.Name, name).ID
			err = Roles.Put(tx, s.Name, name, r)
		}
		if err != nil {
			return fmt.Errorf("writing role %s: %w", name, err)
		}
	}
	return nil
}

// DefaultRole is the name under which administrators see the realm's default
// roles: a composite of them, as in Keycloak. It is no record of its own: the
// settings hold its composites, and a user's DefaultRoles says who has it.
func DefaultRole(s realm.Settings) string { return "default-roles-" + strings.ToLower(s.Name) }

// FindRole returns a role by name, the default role included, or
// storage.ErrNotFound.
func FindRole(tx storage.Tx, s realm.Settings, name string) (*Role, error) {
	if name == "" || len(name) > maxLogin {
		return nil, storage.ErrNotFound
	}
	if name != DefaultRole(s) {
		return Roles.Get(tx, s.Name, name)
	}
	r := NewRole(s.Name, name)
	r.Description = "What every new user has"
	r.Composites = s.Resolve().DefaultRoles
	if slices.Contains(s.Declared, "default_roles") {
		r.Declared = []string{"composites"}
	}
	return r, nil
}

// RoleByID returns a role by its ID, the default role included, or
// storage.ErrNotFound.
func RoleByID(tx storage.Tx, s realm.Settings, id string) (*Role, error) {
	if id == NewRole(s.Name, DefaultRole(s)).ID {
		return FindRole(tx, s, DefaultRole(s))
	}
	if id == "" || len(id) > maxLogin {
		return nil, storage.ErrNotFound
	}
	row, err := Roles.GetBy(tx, s.Name, "id", id)
	return row.Record, err
}

// PutRole writes a role; the default role's composites go to the settings.
func PutRole(tx storage.Tx, s realm.Settings, r *Role) error {
	if r.Name != DefaultRole(s) {
		return Roles.Put(tx, s.Name, r.Name, r)
	}
	settings, err := realm.Table.Get(tx, s.Name, s.Name)
	if err != nil {
		return fmt.Errorf("reading realm %s: %w", s.Name, err)
	}
	settings.DefaultRoles = r.Composites
	if settings.DefaultRoles == nil {
		settings.DefaultRoles = []string{}
	}
	return realm.Table.Put(tx, s.Name, s.Name, settings)
}

// Direct returns the names of the roles that a user was given, the default role
// included.
func (u *User) Direct(s realm.Settings) []string {
	out := slices.Clone(u.Roles)
	if u.DefaultRoles {
		out = append(out, DefaultRole(s))
	}
	return out
}

// SetDirect is the inverse of Direct.
func (u *User) SetDirect(s realm.Settings, names []string) {
	u.DefaultRoles = slices.Contains(names, DefaultRole(s))
	u.Roles = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == DefaultRole(s) })
}

// EffectiveRoles returns the realm roles of a user, sorted: given directly or
// by the realm's default roles, and all that are in them as composites. A role
// that does not exist (any more) is none; nor is the default role itself.
func EffectiveRoles(tx storage.Tx, s realm.Settings, u *User) ([]string, error) {
	return Expand(tx, s, u.Direct(s))
}

// Expand returns roles with all that are in them as composites, sorted.
func Expand(tx storage.Tx, s realm.Settings, names []string) ([]string, error) {
	todo := slices.Clone(names)
	seen := map[string]bool{}
	out := []string{}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[name] {
			continue
		}
		seen[name] = true
		if name == DefaultRole(s) {
			todo = append(todo, s.Resolve().DefaultRoles...)
			continue
		}
		role, err := Roles.Shared(tx, s.Name, name)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading role %s: %w", name, err)
		}
		out = append(out, name)
		todo = append(todo, role.Composites...)
	}
	slices.Sort(out)
	return out, nil
}
