package admin

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// roleView is a role with what a request says beside the record.
type roleView struct {
	user.Role
	realm string
	isNew bool
}

// roleMembers is Keycloak's RoleRepresentation.
var roleMembers = table[roleView]{
	"id": shown(func(v *roleView) any { return v.ID }),
	"name": {
		show: func(v *roleView) any { return v.Name },
		set: func(into, _ *roleView, v any) (err error) {
			if !into.isNew {
				return errors.New("cannot be changed") // users, clients and scopes know a role by its name
			}
			into.Name, err = asText(v, 255)
			return err
		},
	},
	"description": line(func(v *roleView) *string { return &v.Description }),
	"composite":   shown(func(v *roleView) any { return len(v.Composites) > 0 }),
	"composites": {set: func(into, _ *roleView, v any) error {
		given, err := asObject(v)
		if err != nil {
			return err
		}
		for name, v := range given {
			switch {
			case v == nil:
			case name == "realm":
				if into.Composites, err = asTexts(v, 255); err != nil {
					return err
				}
			default:
				if !same(v, object{}) {
					return bad(name, "there are roles of the realm alone")
				}
			}
		}
		return nil
	}},
	"containerId": shown(func(v *roleView) any { return v.realm }),
	"clientRole":  fixed[roleView](false),
	"attributes":  inert[roleView](object{}),
}

func (c *call) showRole(r *user.Role) object {
	return roleMembers.show(&roleView{Role: *r, realm: c.Realm})
}

// showRoles of names, as far as they exist.
func (c *call) showRoles(tx storage.Tx, names []string) ([]object, error) {
	out := []object{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		r, err := user.FindRole(tx, c.settings, name)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c.showRole(r))
	}
	return out, nil
}

// role reads the role that the path names, by name or id, to be changed.
func (c *call) role(tx storage.Tx) (*user.Role, error) {
	if c.r.PathValue("role") != "" {
		r, err := user.FindRole(tx, c.settings, c.id("role"))
		return found(r, err, "Could not find role")
	}
	r, err := user.RoleByID(tx, c.settings, c.id("id"))
	return found(r, err, "Could not find role with id")
}

// eachRole calls fn with the roles by name, the default role among them.
func (c *call) eachRole(tx storage.Tx, fn func(*user.Role) (more bool)) error {
	defaults, err := user.FindRole(tx, c.settings, user.DefaultRole(c.settings))
	if err != nil {
		return err
	}
	const page = 200
	for after := ""; ; {
		rows, err := user.Roles.List(tx, c.Realm, after, page)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if defaults != nil && defaults.Name < row.ID {
				if !fn(defaults) {
					return nil
				}
				defaults = nil
			}
			if !fn(row.Record) {
				return nil
			}
			after = row.ID
		}
		if len(rows) < page {
			break
		}
	}
	if defaults != nil {
		fn(defaults)
	}
	return nil
}

func (c *call) listRoles() (any, error) {
	first, most, err := c.page()
	if err != nil {
		return nil, err
	}
	search := strings.ToLower(c.query.Get("search"))
	var out []object
	err = c.view(func(tx storage.Tx) error {
		out = []object{}
		skip := first
		return c.eachRole(tx, func(r *user.Role) bool {
			if search != "" && !strings.Contains(strings.ToLower(r.Name), search) && !strings.Contains(strings.ToLower(r.Description), search) {
				return true
			}
			if skip > 0 {
				skip--
				return true
			}
			if len(out) < most {
				out = append(out, c.showRole(r))
			}
			return len(out) < most
		})
	})
	return out, err
}

func (c *call) getRole() (any, error) {
	var out object
	err := c.view(func(tx storage.Tx) error {
		r, err := c.role(tx)
		if err == nil {
			out = c.showRole(r)
		}
		return err
	})
	return out, err
}

func (c *call) createRole() (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	now := roleView{isNew: true}
	v := now
	if err := roleMembers.apply(&v, &now, given); err != nil {
		return nil, err
	}
	if v.Name == "" {
		return nil, bad("name", "role has no name")
	}
	c.made = "roles/" + v.Name
	err = c.change(func(tx storage.Tx, _ audit.Tell) error {
		if _, err := user.FindRole(tx, c.settings, v.Name); err == nil {
			return taken("Role with name %s already exists", v.Name)
		} else if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		r := user.NewRole(c.Realm, v.Name)
		r.Description, r.Composites = v.Description, v.Composites
		if err := c.rolesExist(tx, "composites.realm", r.Composites); err != nil {
			return err
		}
		return user.PutRole(tx, c.settings, r)
	})
	if err != nil {
		return nil, err
	}
	return created{"roles/" + url.PathEscape(v.Name)}, nil
}

func (c *call) rolesExist(tx storage.Tx, path string, names []string) error {
	for i, name := range names {
		if _, err := user.FindRole(tx, c.settings, name); errors.Is(err, storage.ErrNotFound) {
			return bad(fmt.Sprintf("%s[%d]", path, i), "there is no role %s", name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (c *call) putRoleBody() (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		r, err := c.role(tx)
		if err != nil {
			return err
		}
		after, now := roleView{Role: *r, realm: c.Realm}, roleView{Role: *r, realm: c.Realm}
		if err := roleMembers.apply(&after, &now, given); err != nil {
			return err
		}
		if err := c.rolesExist(tx, "composites.realm", after.Composites); err != nil {
			return err
		}
		return c.putRole(tx, tell, r, &after.Role)
	})
}

// putRole writes a changed role. Whoever has it may lose something by it: which
// users those are nobody has listed, so all of them count.
func (c *call) putRole(tx storage.Tx, tell audit.Tell, before, after *user.Role) error {
	if err := c.undeclared("role "+before.Name, before, after, before.Declared); err != nil {
		return err
	}
	if len(oidc.Scopes(after.Composites).Missing(before.Composites)) > 0 {
		tell(event.Event{Time: c.now, Type: event.RealmChanged, Realm: c.Realm, Reason: "roles"})
	}
	return user.PutRole(tx, c.settings, after)
}

// deleteRole takes a role from everybody who has it, so that one which is made
// later under the same name is nobody's, and then from the realm.
func (c *call) deleteRole() (any, error) {
	return nil, c.all(func(tx storage.Tx, tell audit.Tell, _ bool) (bool, error) {
		r, err := c.role(tx)
		if err != nil {
			return false, err
		}
		if slices.Contains(builtinRoles, r.Name) || r.Name == user.DefaultRole(c.settings) {
			return false, bad("", "role %s is built in", r.Name)
		}
		if err := c.notDeclared("role "+r.Name, r.Declared); err != nil {
			return false, err
		}
		holders, err := user.Users.ListBy(tx, c.Realm, "role", r.Name, "", batch)
		if err != nil {
			return false, err
		}
		for _, row := range holders {
			row.Record.Roles = without(row.Record.Roles, r.Name)
			if err := user.Users.Put(tx, c.Realm, row.ID, row.Record); err != nil {
				return false, err
			}
			tell(standing.UserChanged(c.Realm, row.Record, standing.RolesTaken, c.now))
		}
		if len(holders) == batch {
			return true, nil
		}
		return false, c.dropRole(tx, tell, r.Name)
	})
}

// batch bounds the records that one transaction changes.
const batch = 500

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}

// dropRole deletes a role that no user has any more, and its name from what else
// may hold it.
func (c *call) dropRole(tx storage.Tx, tell audit.Tell, name string) error {
	var parents []*user.Role
	err := c.eachRole(tx, func(r *user.Role) bool {
		if slices.Contains(r.Composites, name) {
			parents = append(parents, r)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, before := range parents {
		after := *before
		after.Composites = without(before.Composites, name)
		if err := c.putRole(tx, tell, before, &after); err != nil {
			return err
		}
	}
	scopes, err := client.ScopeSet(tx, c.Realm)
	if err != nil {
		return err
	}
	for _, s := range scopes {
		if slices.Contains(s.Roles, name) {
			after := *s
			after.Roles = without(s.Roles, name)
			if err := client.Scopes.Put(tx, c.Realm, s.Name, &after); err != nil {
				return err
			}
		}
	}
	err = c.editClients(tx, func(cl *client.Client) bool {
		had := slices.Contains(cl.ScopeRoles, name)
		cl.ScopeRoles = without(cl.ScopeRoles, name)
		return had
	})
	if err != nil {
		return err
	}
	tell(event.Event{Time: c.now, Type: event.RealmChanged, Realm: c.Realm, Reason: "roles"})
	return user.Roles.Delete(tx, c.Realm, name)
}

// editClients writes the clients of the realm that edit has changed.
func (c *call) editClients(tx storage.Tx, edit func(*client.Client) bool) error {
	var changed []*client.Client
	err := each(tx, &client.Clients, c.Realm, "name", func(cl *client.Client) bool {
		if edit(cl) {
			changed = append(changed, cl)
		}
		return true
	})
	for _, cl := range changed {
		if err == nil {
			err = client.Clients.Put(tx, c.Realm, cl.ID, cl)
		}
	}
	return err
}

// usersInRole answers who was given a role itself, service accounts included.
func (c *call) usersInRole() (any, error) {
	first, most, err := c.page()
	if err != nil {
		return nil, err
	}
	var out []object
	err = c.view(func(tx storage.Tx) error {
		out = []object{}
		r, err := c.role(tx)
		if err != nil {
			return err
		}
		rows, err := user.Users.PageBy(tx, c.Realm, "role", r.Name, first, most)
		for _, row := range rows {
			out = append(out, userMembers.show(&userView{User: *row.Record}))
		}
		return err
	})
	return out, err
}
