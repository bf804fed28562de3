package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/user"
)

// role of the realm.
type role struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Composite   bool   `json:"composite"`
}

// mapping is the path of the roles of a user.
func (p *person) mapping(below ...string) string {
	return path(append([]string{"users", p.ID, "role-mappings", "realm"}, below...)...)
}

// userRoles shows the roles that a user was given, and those that come by them.
func (v *visit) userRoles() error {
	p, err := v.subject()
	if err != nil {
		return err
	}
	var direct, effective []role
	if err := v.get(&direct, p.mapping()); err != nil {
		return err
	}
	if err := v.get(&effective, p.mapping("composite")); err != nil {
		return err
	}
	given := Table{
		Heading: v.T("Assigned roles"), Caption: v.T("Assigned roles of %s", p.Username), Columns: []string{v.T("Role"), v.T("Description")},
		Empty: v.T("%s was given no role.", p.Username), Actions: []Action{{Name: v.T("Assign role"), URL: v.at(path("users", p.ID, "roles", "assign"))}},
	}
	inherited := Table{
		Heading: v.T("Effective roles"), Caption: v.T("Effective roles of %s", p.Username), Columns: []string{v.T("Role"), v.T("Description")},
		Empty: v.T("%s has no role.", p.Username),
	}
	for _, r := range direct {
		given.Rows = append(given.Rows, Row{
			Cells:   []Cell{{Text: r.Name}, {Text: r.Description}},
			Actions: []Action{{Name: v.T("Unassign"), Unseen: v.T("Unassign %s", r.Name), URL: v.at(path("users", p.ID, "roles", "unassign"), "role", r.Name), Bad: true}},
		})
	}
	for _, r := range effective {
		name := Cell{Text: r.Name}
		if !slices.ContainsFunc(direct, func(d role) bool { return d.Name == r.Name }) {
			name.Mark, name.Tone = v.T("Inherited"), "quiet"
		}
		inherited.Rows = append(inherited.Rows, Row{Cells: []Cell{name, {Text: r.Description}}})
	}
	v.render(http.StatusOK, "list", p.Username+" · "+v.T("Role mapping"), List{Head: v.userHead(p, "roles"), Tables: []Table{given, inherited}})
	return nil
}

// assignable shows the roles that a user could be given.
func (v *visit) assignable() error {
	p, err := v.subject()
	if err != nil {
		return err
	}
	at := path("users", p.ID, "roles", "assign")
	roles, pages, err := listed[role](v, "first", p.mapping("available"))
	if err != nil {
		return err
	}
	table := Table{
		Caption: v.T("Roles that can be assigned"), Columns: []string{v.T("Role"), v.T("Description")}, Empty: v.T("%s has every role.", p.Username),
	}
	for _, r := range roles {
		table.Rows = append(table.Rows, Row{
			Cells:   []Cell{{Text: r.Name}, {Text: r.Description}},
			Actions: []Action{{Name: v.T("Assign"), Unseen: v.T("Assign %s", r.Name), URL: v.at(path("users", p.ID, "roles", "give"), "role", r.Name)}},
		})
	}
	pages.turn(v, &table, at)
	title := v.T("Assign a role to %s", p.Username)
	v.render(http.StatusOK, "list", title, List{
		Head: Head{Title: title, Above: pageLink(p.Username, v.at(path("users", p.ID, "roles")))}, Tables: []Table{table},
	})
	return nil
}

// roleQuestion begins a question about the role that the parameters name, and
// tells which roles somebody has by it.
func (v *visit) roleQuestion(title func(p *person, role string) string) (q *question, p *person, name string, by []string, err error) {
	if p, err = v.subject(); err != nil {
		return nil, nil, "", nil, err
	}
	name = v.Params.Get("role")
	q = v.userQuestion(p, "roles", title(p, name))
	q.fields = []Field{{"role", name}}
	if name == "" {
		return q, p, name, nil, errGone
	}
	by, err = v.expand(name)
	return q, p, name, by, err
}

// expand reads which roles are in roles as composites, themselves included.
func (v *visit) expand(names ...string) (all []string, err error) {
	for todo := names; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if slices.Contains(all, name) {
			continue
		}
		all = append(all, name)
		var in []role
		if err := v.get(&in, path("roles", name, "composites"), "max", "1000"); err != nil {
			return nil, err
		}
		for _, r := range in {
			todo = append(todo, r.Name)
		}
	}
	slices.Sort(all)
	return all, nil
}

// giveRole asks before a user gets a role.
func (v *visit) giveRole() (*question, error) {
	q, p, name, by, err := v.roleQuestion(func(p *person, role string) string { return v.T("Assign the role %s to %s?", role, p.Username) })
	if err != nil {
		return q, err
	}
	q.page.Then = []string{v.T("%s has these roles from now on: %s.", p.Username, strings.Join(by, ", "))}
	if slices.Contains(by, oidc.RoleOfflineAccess) {
		q.page.Then = append(q.page.Then, v.T("Applications may ask %s for background access, and what was given before works again.", p.Username))
	}
	if slices.Contains(by, user.RoleRealmAdmin) {
		q.page.Then = append(q.page.Then, v.T("%s is an administrator: may see and change everything of this realm, here and by the REST.", p.Username))
		q.page.Bad = true
	}
	q.page.Button, q.notice = v.T("Assign"), "role-assigned"
	q.act = func() error { return v.send(http.MethodPost, p.mapping(), []object{{"name": name}}) }
	return q, nil
}

// takeRole asks before a user loses a role, and says what is lost by it.
func (v *visit) takeRole() (*question, error) {
	q, p, name, by, err := v.roleQuestion(func(p *person, role string) string { return v.T("Unassign the role %s of %s?", role, p.Username) })
	if err != nil {
		return q, err
	}
	var direct []role
	if err := v.get(&direct, p.mapping()); err != nil {
		return q, err
	}
	var others []string
	for _, r := range direct {
		if r.Name != name {
			others = append(others, r.Name)
		}
	}
	if len(others) == len(direct) {
		return q, errGone
	}
	kept, err := v.expand(others...)
	if err != nil {
		return q, err
	}
	lost := slices.DeleteFunc(by, func(r string) bool { return slices.Contains(kept, r) })
	if len(lost) == 0 {
		q.page.Then = []string{v.T("Nothing is lost: other roles of %s hold it too.", p.Username)}
	} else {
		q.page.Then = []string{v.T("%s loses these roles at once, whatever tokens still say: %s.", p.Username, strings.Join(lost, ", "))}
	}
	if slices.Contains(lost, oidc.RoleOfflineAccess) {
		has, err := v.holdings(p)
		if err != nil {
			return q, err
		}
		q.page.Then = append(q.page.Then, v.N(has.offline,
			"Without offline_access nobody acts for %[2]s while they are away: %[1]d offline session is refused. Nothing is deleted: with the role it works again.",
			"Without offline_access nobody acts for %[2]s while they are away: %[1]d offline sessions are refused. Nothing is deleted: with the role they work again.", p.Username))
	}
	if slices.Contains(lost, user.RoleRealmAdmin) {
		q.page.Then = append(q.page.Then, v.T("%s is no administrator any more.", p.Username))
		if v.self(p) {
			q.page.Then = append(q.page.Then, v.T("This is your own account: you are out of this console at once, and only another administrator can give the role back."))
		}
	}
	q.page.Button, q.page.Bad, q.notice = v.T("Unassign"), true, "role-unassigned"
	q.act = func() error { return v.send(http.MethodDelete, p.mapping(), []object{{"name": name}}) }
	return q, nil
}
