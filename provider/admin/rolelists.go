package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// roleList is a list of roles in the record that the path names: the composites
// of a role, what a user was given, the scope of a client or of a client scope.
type roleList struct {
	read  func(*call, storage.Tx) ([]string, error)
	write func(*call, storage.Tx, audit.Tell, []string) error
}

var (
	compositesOf = roleList{
		func(c *call, tx storage.Tx) ([]string, error) {
			r, err := c.role(tx)
			if err != nil {
				return nil, err
			}
			return r.Composites, nil
		},
		func(c *call, tx storage.Tx, tell audit.Tell, names []string) error {
			r, err := c.role(tx)
			if err != nil {
				return err
			}
			if slices.Contains(names, r.Name) {
				return bad("", "role %s cannot be part of itself", r.Name)
			}
			after := *r
			after.Composites = names
			return c.putRole(tx, tell, r, &after)
		},
	}
	rolesOfUser = roleList{
		func(c *call, tx storage.Tx) ([]string, error) {
			u, err := c.user(tx)
			if err != nil {
				return nil, err
			}
			return u.Direct(c.settings), nil
		},
		func(c *call, tx storage.Tx, tell audit.Tell, names []string) error {
			u, err := c.user(tx)
			if err != nil {
				return err
			}
			has := u.Direct(c.settings)
			switch {
			case len(oidc.Scopes(names).Missing(has)) > 0:
				tell(standing.UserChanged(c.Realm, u, standing.RolesTaken, c.now))
			case len(oidc.Scopes(has).Missing(names)) > 0:
				tell(standing.UserChanged(c.Realm, u, standing.RolesGiven, c.now))
			}
			u.SetDirect(c.settings, names)
			return user.Users.Put(tx, c.Realm, u.ID, u)
		},
	}
	rolesOfClient = roleList{
		func(c *call, tx storage.Tx) ([]string, error) {
			cl, err := c.client(tx)
			if err != nil {
				return nil, err
			}
			return cl.ScopeRoles, nil
		},
		func(c *call, tx storage.Tx, tell audit.Tell, names []string) error {
			cl, err := c.client(tx)
			if err != nil {
				return err
			}
			after := clientView{Client: *cl}
			after.ScopeRoles = names
			return c.putClient(tx, tell, cl, &after)
		},
	}
	rolesOfScope = roleList{
		func(c *call, tx storage.Tx) ([]string, error) {
			s, err := c.scope(tx)
			if err != nil {
				return nil, err
			}
			return s.Roles, nil
		},
		func(c *call, tx storage.Tx, tell audit.Tell, names []string) error {
			s, err := c.scope(tx)
			if err != nil {
				return err
			}
			s.Roles = names
			return c.putScope(tx, tell, s)
		},
	}
)

// list answers the roles that are in the list itself.
func (l roleList) list(c *call) (any, error) {
	var out []object
	err := c.view(func(tx storage.Tx) error {
		names, err := l.read(c, tx)
		if err == nil {
			out, err = c.showRoles(tx, names)
		}
		return err
	})
	return out, err
}

// effective answers them with all that are in them as composites.
func (l roleList) effective(c *call) (any, error) {
	var out []object
	err := c.view(func(tx storage.Tx) error {
		names, err := l.read(c, tx)
		if err != nil {
			return err
		}
		all, err := user.Expand(tx, c.settings, names)
		if err != nil {
			return err
		}
		if slices.Contains(names, user.DefaultRole(c.settings)) {
			all = append(all, user.DefaultRole(c.settings))
		}
		out, err = c.showRoles(tx, all)
		return err
	})
	return out, err
}

// available answers those that are not in the list.
func (l roleList) available(c *call) (any, error) {
	first, most, err := c.page()
	if err != nil {
		return nil, err
	}
	var out []object
	err = c.view(func(tx storage.Tx) error {
		out = []object{}
		names, err := l.read(c, tx)
		if err != nil {
			return err
		}
		skip := first
		return c.eachRole(tx, func(r *user.Role) bool {
			switch {
			case slices.Contains(names, r.Name):
			case skip > 0:
				skip--
			case len(out) < most:
				out = append(out, c.showRole(r))
			}
			return len(out) < most
		})
	})
	return out, err
}

// mappings answers the list as Keycloak's MappingsRepresentation.
func (l roleList) mappings(c *call) (any, error) {
	roles, err := l.list(c)
	if err != nil {
		return nil, err
	}
	out := object{}
	if len(roles.([]object)) > 0 {
		out["realmMappings"] = roles
	}
	return out, nil
}

// ofClients answers for roles of clients: there are none.
func (l roleList) ofClients(c *call) (any, error) {
	return []object{}, c.view(func(tx storage.Tx) error {
		if _, err := l.read(c, tx); err != nil {
			return err
		}
		_, err := c.clientBy(tx, c.id("of"))
		return err
	})
}

func (l roleList) add(c *call) (any, error) {
	return l.edit(c, func(names []string, given []string) []string {
		return oidc.Scopes(names).With(given...)
	})
}

func (l roleList) remove(c *call) (any, error) {
	return l.edit(c, func(names []string, given []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(given, n) })
	})
}

func (l roleList) edit(c *call, edit func(names, given []string) []string) (any, error) {
	given, err := c.objects()
	if err != nil {
		return nil, err
	}
	if len(given) > mostMax {
		return nil, bad("", "want at most %d roles", mostMax)
	}
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		var roles []string
		names, err := l.read(c, tx)
		if err != nil {
			return err
		}
		for i, g := range given {
			r, err := c.named(tx, g)
			if err != nil {
				return atIndex(i, err)
			}
			roles = append(roles, r.Name)
		}
		return l.write(c, tx, tell, edit(names, roles))
	})
}

// named finds a role by its representation: by id, which must be that of its
// name, or by name alone.
func (c *call) named(tx storage.Tx, given object) (*user.Role, error) {
	now := roleView{isNew: true}
	v := now
	if err := roleMembers.apply(&v, &now, given); err != nil {
		return nil, err
	}
	id, _ := given["id"].(string)
	var r *user.Role
	var err error
	switch {
	case id != "":
		r, err = user.RoleByID(tx, c.settings, id)
		if err == nil && v.Name != "" && v.Name != r.Name {
			err = storage.ErrNotFound
		}
	case v.Name != "":
		r, err = user.FindRole(tx, c.settings, v.Name)
	default:
		return nil, bad("", "want a role by its id or name")
	}
	return found(r, err, "Role not found")
}

// atIndex puts the place in a list before the path of a refusal.
func atIndex(i int, err error) error {
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusBadRequest {
		why := strings.TrimPrefix(refused.body["errorMessage"], refused.body["field"]+": ")
		return bad(join(fmt.Sprintf("[%d]", i), refused.body["field"]), "%s", why)
	}
	return err
}
