package user

import (
	"errors"
	"fmt"
	"slices"

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

// EffectiveRoles returns the realm roles of a user, sorted: given directly or
// by the realm's default roles, and all that are in them as composites. A role
// that does not exist (any more) is none.
func EffectiveRoles(tx storage.Tx, s realm.Settings, u *User) ([]string, error) {
	todo := slices.Clone(u.Roles)
	if u.DefaultRoles {
		todo = append(todo, s.Resolve().DefaultRoles...)
	}
	seen := map[string]bool{}
	out := []string{}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[name] {
			continue
		}
		seen[name] = true
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
