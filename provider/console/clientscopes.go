package console

import (
	"net/http"
	"slices"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/oidc"
)

// Assigned types of a client scope, in Keycloak's words.
const (
	defaultType  = "default"
	optionalType = "optional"
)

// scopeLists are the client scopes that a client has.
type scopeLists struct {
	Default  []string `json:"defaultClientScopes"`
	Optional []string `json:"optionalClientScopes"`
}

// of tells how a scope is assigned, "" if it is not.
func (l scopeLists) of(name string) string {
	switch {
	case slices.Contains(l.Default, name):
		return defaultType
	case slices.Contains(l.Optional, name):
		return optionalType
	}
	return ""
}

// with assigns a scope; "" takes it away.
func (l scopeLists) with(name, as string) object {
	without := func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
	}
	d, o := without(l.Default), without(l.Optional)
	switch as {
	case defaultType:
		d = append(d, name)
	case optionalType:
		o = append(o, name)
	}
	return object{"defaultClientScopes": d, "optionalClientScopes": o}
}

// named is a client scope or a role, as lists of them need it.
type named struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

// clientScopes shows which client scopes a client has, and which it could have.
func (v *visit) clientScopes() error {
	c, err := v.client()
	if err != nil {
		return err
	}
	var lists scopeLists
	if err := v.get(&lists, c.at()); err != nil {
		return err
	}
	var all []named
	if err := v.get(&all, "client-scopes"); err != nil {
		return err
	}
	assigned := Table{
		Heading: v.T("Assigned"), Caption: v.T("Assigned client scopes"), Columns: []string{v.T("Client scope"), v.T("Assigned type"), v.T("Description")},
		Empty: v.T("No client scope is assigned."),
	}
	others := Table{
		Heading: v.T("Available"), Caption: v.T("Available client scopes"), Columns: []string{v.T("Client scope"), v.T("Description")},
		Empty: v.T("All client scopes are assigned."),
	}
	locked := slices.Contains(c.Declared, "default_scopes") || slices.Contains(c.Declared, "optional_scopes")
	for _, s := range all {
		to := func(name page.Text, as string, bad bool) Action {
			said := v.T(name)
			return Action{Name: said, Unseen: said + ": " + s.Name, Bad: bad, URL: v.at(c.at("scopes", "assign"), "scope", s.ID, "as", as)}
		}
		row := Row{Cells: []Cell{{Text: s.Name, Code: true}}}
		switch lists.of(s.Name) {
		case defaultType:
			row.Cells = append(row.Cells, Cell{Mark: v.T("Default"), Tone: "good"}, Cell{Text: s.Description})
			row.Actions = []Action{to("Make optional", optionalType, false), to("Remove", "", true)}
		case optionalType:
			row.Cells = append(row.Cells, Cell{Mark: v.T("Optional"), Tone: "quiet"}, Cell{Text: s.Description})
			row.Actions = []Action{to("Make default", defaultType, false), to("Remove", "", true)}
		default:
			row.Cells = append(row.Cells, Cell{Text: s.Description})
			row.Actions = []Action{to("Add as default", defaultType, false), to("Add as optional", optionalType, false)}
		}
		if locked {
			row.Actions = nil
		}
		if lists.of(s.Name) != "" {
			assigned.Rows = append(assigned.Rows, row)
		} else {
			others.Rows = append(others.Rows, row)
		}
	}
	head := c.head(v, "scopes")
	head.Lead = v.T("A default scope is granted at each login; an optional one when the application asks for it.")
	v.render(http.StatusOK, "list", head.Title, List{Head: head, Tables: []Table{assigned, others}})
	return nil
}

// askAssignScope asks before a client scope is assigned in another way.
func (v *visit) askAssignScope() (*question, error) {
	c, r, err := v.clientReached()
	if err != nil {
		return nil, err
	}
	var s named
	if err := v.get(&s, path("client-scopes", v.Params.Get("scope"))); err != nil {
		return nil, err
	}
	var lists scopeLists
	if err := v.get(&lists, c.at()); err != nil {
		return nil, err
	}
	as, was := v.Params.Get("as"), lists.of(s.Name)
	q := c.question(v, "scopes", v.T("Remove %s?", s.Name), v.T("Remove"))
	offline := s.Name == oidc.ScopeOfflineAccess
	switch as {
	case defaultType:
		q.page.Title, q.page.Button, q.page.Bad = v.T("Make %s a default scope?", s.Name), v.T("Make default"), false
		q.page.Then = []string{v.T("It is granted at each login, whether %s asks for it or not.", c.ClientID)}
		if offline {
			q.page.Then = append(q.page.Then, v.T("So each login makes an offline session, for whoever has the role offline_access."))
		}
	case optionalType:
		q.page.Title, q.page.Button, q.page.Bad = v.T("Make %s an optional scope?", s.Name), v.T("Make optional"), false
		q.page.Then = []string{v.T("It is granted when %s asks for it.", c.ClientID)}
	case "":
		q.page.Then = []string{v.T("%s is not granted it any more, and is refused if it asks for it.", c.ClientID)}
		if offline && was != "" {
			q.page.Then = append(q.page.Then,
				v.N(r.offline, "%d offline session does not work any more; it works again once the scope is assigned.",
					"%d offline sessions do not work any more; they work again once the scope is assigned."))
		}
	default:
		return nil, errNothing
	}
	q.notice, q.fields = "saved", []Field{{"scope", s.ID}, {"as", as}}
	q.act = c.change(v, lists.with(s.Name, as))
	return q, nil
}

// clientRoles shows which roles a client may speak with.
func (v *visit) clientRoles() error {
	c, err := v.client()
	if err != nil {
		return err
	}
	var record struct {
		Full bool `json:"fullScopeAllowed"`
	}
	if err := v.get(&record, c.at()); err != nil {
		return err
	}
	at := c.at("scope-mappings", "realm")
	var has []named
	if err := v.get(&has, at); err != nil {
		return err
	}
	described := func(r named) Cell {
		if r.Name == oidc.RoleOfflineAccess {
			return Cell{Text: r.Description, More: []string{v.T("Who has it may give background access.")}}
		}
		return Cell{Text: r.Description}
	}
	could, p, err := listed[named](v, "first", at+"/available")
	if err != nil {
		return err
	}
	locked := slices.Contains(c.Declared, "scope_roles")
	act := func(name page.Text, step string, r named) []Action {
		if locked {
			return nil
		}
		said := v.T(name)
		return []Action{{Name: said, Unseen: said + ": " + r.Name, Bad: step == "remove", URL: v.at(c.at("roles", step), "role", r.Name)}}
	}
	full := Table{
		Caption: v.T("Full scope allowed"), Columns: []string{v.T("Setting"), v.T("State")},
		Rows: []Row{{Cells: []Cell{{Text: v.T("Full scope allowed"), More: []string{v.T("Tokens of the client hold every role of the person.")}}, {Mark: v.T("Off"), Tone: "quiet"}}}},
	}
	step, name := "full-on", page.Text("Switch on")
	if record.Full {
		full.Rows[0].Cells[1] = Cell{Mark: v.T("On"), Tone: "good"}
		step, name = "full-off", "Switch off"
	}
	if !slices.Contains(c.Declared, "full_scope") {
		full.Rows[0].Actions = []Action{{Name: v.T(name), URL: v.at(c.at("roles", step)), Unseen: v.T(name) + ": " + v.T("Full scope allowed")}}
	}
	columns := []string{v.T("Role"), v.T("Description")}
	assigned := Table{Heading: v.T("Assigned"), Caption: v.T("Assigned roles"), Columns: columns, Empty: v.T("No role is assigned.")}
	for _, r := range has {
		assigned.Rows = append(assigned.Rows, Row{Cells: []Cell{{Text: r.Name, Code: true}, described(r)}, Actions: act("Remove", "remove", r)})
	}
	others := Table{Heading: v.T("Available"), Caption: v.T("Available roles"), Columns: columns, Empty: v.T("All roles are assigned.")}
	for _, r := range could {
		others.Rows = append(others.Rows, Row{Cells: []Cell{{Text: r.Name, Code: true}, described(r)}, Actions: act("Add", "add", r)})
	}
	p.turn(v, &others, c.at("roles"))
	head := c.head(v, "roles")
	head.Lead = v.T("A person's roles count at this client only if they are in its scope: by Full scope allowed, by a role below, or by a client scope that brings it. Without offline_access among them nobody can give it background access.")
	v.render(http.StatusOK, "list", head.Title, List{Head: head, Tables: []Table{full, assigned, others}})
	return nil
}

// narrowing says what a smaller scope does to what was granted.
func (v *visit) narrowing(r reach) string {
	return v.N(r.offline, "%d offline session goes on without the roles that are left out; without offline_access it does not work until that is back.",
		"%d offline sessions go on without the roles that are left out; without offline_access they do not work until that is back.")
}

func (v *visit) askFullScopeOn() (*question, error) {
	c, err := v.client()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "roles", v.T("Switch Full scope allowed on?"), v.T("Switch on"), v.T("Tokens of %s hold every role of the person, also those that are given later.", c.ClientID))
	q.notice, q.page.Bad, q.act = "saved", false, c.change(v, object{"fullScopeAllowed": true})
	return q, nil
}

func (v *visit) askFullScopeOff() (*question, error) {
	c, r, err := v.clientReached()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "roles", v.T("Switch Full scope allowed off?"), v.T("Switch off"),
		v.T("Tokens of %s hold only the roles that are assigned to it, and those that its client scopes bring.", c.ClientID), v.narrowing(r))
	q.notice, q.act = "saved", c.change(v, object{"fullScopeAllowed": false})
	return q, nil
}

// role is the one that the parameters name.
func (v *visit) role() (r named, err error) {
	err = v.get(&r, path("roles", v.Params.Get("role")))
	return r, err
}

func (v *visit) askAddRole() (*question, error) {
	c, err := v.client()
	if err != nil {
		return nil, err
	}
	r, err := v.role()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "roles", v.T("Add the role %s?", r.Name), v.T("Add"), v.T("Tokens of %s hold it, for people who have it.", c.ClientID))
	q.page.Bad, q.notice, q.fields = false, "saved", []Field{{"role", r.Name}}
	q.act = func() error {
		return v.send(http.MethodPost, c.at("scope-mappings", "realm"), []object{{"id": r.ID, "name": r.Name}})
	}
	return q, nil
}

func (v *visit) askRemoveRole() (*question, error) {
	c, reached, err := v.clientReached()
	if err != nil {
		return nil, err
	}
	r, err := v.role()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "roles", v.T("Remove the role %s?", r.Name), v.T("Remove"),
		v.T("Tokens of %s do not hold it any more, unless Full scope allowed is on or a client scope brings it.", c.ClientID), v.narrowing(reached))
	q.notice, q.fields = "saved", []Field{{"role", r.Name}}
	q.act = func() error {
		return v.send(http.MethodDelete, c.at("scope-mappings", "realm"), []object{{"id": r.ID, "name": r.Name}})
	}
	return q, nil
}
