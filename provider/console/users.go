package console

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/nightlatch/nightlatch/page"
)

const usersMenu = "users"

var userRoutes = slices.Concat([]route{
	{"/users", usersMenu, (*visit).listUsers, nil},
	editing("/users/new", usersMenu, (*visit).newUser),
	editing("/users/{user}", usersMenu, (*visit).userEditor),
	asking("/users/{user}/delete", usersMenu, (*visit).deleteUser),
	editing("/users/{user}/credentials", usersMenu, (*visit).credentials),
	{"/users/{user}/roles", usersMenu, (*visit).userRoles, nil},
	{"/users/{user}/roles/assign", usersMenu, (*visit).assignable, nil},
	asking("/users/{user}/roles/give", usersMenu, (*visit).giveRole),
	asking("/users/{user}/roles/unassign", usersMenu, (*visit).takeRole),
	{"/users/{user}/consents", usersMenu, (*visit).userConsents, nil},
	asking("/users/{user}/consents/revoke", usersMenu, (*visit).revokeConsent),
	{"/users/{user}/sessions", usersMenu, (*visit).userSessions, nil},
	asking("/users/{user}/sessions/end", usersMenu, (*visit).endUserSession),
	asking("/users/{user}/sessions/end-all", usersMenu, (*visit).logOutUser),
	asking("/users/{user}/sessions/revoke-all", usersMenu, (*visit).revokeUser),
}, userNotBefore.routes("/users/{user}/revocation", usersMenu))

var userTabs = []tab{
	{"", "Details"},
	{"credentials", "Credentials"},
	{"roles", "Role mapping"},
	{"consents", "Consents"},
	{"sessions", "Sessions"},
	{"revocation", "Revocation"},
}

// person is a user, as the pages about one need it.
type person struct {
	ID             string   `json:"id"`
	Username       string   `json:"username"`
	Email          string   `json:"email"`
	FirstName      string   `json:"firstName"`
	LastName       string   `json:"lastName"`
	Enabled        bool     `json:"enabled"`
	Created        int64    `json:"createdTimestamp"` // Unix milliseconds
	NotBefore      int64    `json:"notBefore"`        // Unix seconds, 0: none
	Declared       []string `json:"declared"`
	ServiceAccount string   `json:"serviceAccountClientId"`
}

func (p *person) name() string { return strings.TrimSpace(p.FirstName + " " + p.LastName) }

// where the configuration declares him.
func (p *person) where() string { return "user " + p.Username }

// subject is the user whom the page is about.
func (v *visit) subject() (*person, error) {
	p := new(person)
	return p, v.get(p, path("users", v.R.PathValue("user")))
}

// self tells whether somebody is who is logged in here.
func (v *visit) self(p *person) bool { return p.ID == v.User.ID }

// userHead is the head of a tab of a user.
func (v *visit) userHead(p *person, tab string) Head {
	h := Head{
		Title: p.Username, Lead: p.name(), Above: pageLink(v.T("Users"), v.at("users")),
		Tabs: v.tabs(path("users", p.ID), userTabs, tab), Notice: v.notice(),
	}
	if p.ServiceAccount != "" {
		h.Lead = v.T("The service account of the client %s.", p.ServiceAccount)
	}
	return h
}

// userQuestion begins a question about a user, which goes on to one of his tabs.
func (v *visit) userQuestion(p *person, tab, question string) *question {
	next := strings.TrimSuffix(path("users", p.ID)+"/"+tab, "/")
	return newQuestion(Head{Title: question, Above: pageLink(p.Username, v.at(next))}, next)
}

// listUsers shows the people of the realm.
func (v *visit) listUsers() error {
	search := v.Params.Get("search")
	var found struct {
		Users    []person `json:"users"`
		Searched int      `json:"searched"`
		Next     string   `json:"next"`
	}
	if err := v.get(&found, "users/search", "search", search, "after", v.Params.Get("after"), "max", strconv.Itoa(perPage)); err != nil {
		return err
	}
	table := Table{
		Caption: v.T("Users"), Columns: []string{v.T("Username"), v.T("Name"), v.T("Email"), v.T("Created")},
		Empty: v.T("There are no users yet."),
	}
	switch {
	case search == "":
		total := 0
		if err := v.get(&total, "users/count"); err != nil {
			return err
		}
		table.Total = v.N(total, "%d user", "%d users")
	case found.Next != "" && len(found.Users) < perPage:
		table.Empty = v.T("None here is like this; there are more to look at.")
		table.Total = v.N(len(found.Users), "%d user found among the %[2]s names looked at so far; Next goes on.",
			"%d users found among the %[2]s names looked at so far; Next goes on.", page.Number(found.Searched))
	default:
		table.Empty = v.T("Nobody is called so: a search finds how a username, a name or an address begins.")
	}
	if v.Params.Get("after") != "" {
		table.First = v.at("users", "search", search)
	}
	if found.Next != "" {
		table.Older = v.at("users", "search", search, "after", found.Next)
	}
	for _, one := range found.Users {
		at := v.at(path("users", one.ID))
		username := Cell{Text: one.Username, URL: at}
		if !one.Enabled {
			username.Tone, username.Mark = "bad", "Disabled"
		}
		row := Row{Cells: []Cell{username, {Text: one.name()}, {Text: one.Email}, v.moment(one.Created)}}
		if len(one.Declared) == 0 {
			row.Actions = []Action{{Name: v.T("Delete"), Unseen: v.T("Delete %s", one.Username), URL: v.at(path("users", one.ID, "delete")), Bad: true}}
		}
		table.Rows = append(table.Rows, row)
	}
	find := &Search{
		Action: v.at("users"),
		Inputs: []Input{{ID: "search", Name: "search", Label: v.T("Search"), Kind: "line", Value: search, Hint: v.T("Username, name or email address; *part* finds it anywhere.")}},
	}
	if search != "" {
		find.Clear = v.at("users")
	}
	v.render(http.StatusOK, "list", v.T("Users"), List{
		Head: Head{
			Title: v.T("Users"), Notice: v.notice(), Lead: v.T("People who can log in, and what may act for them."),
			Actions: []Action{{Name: v.T("Add user"), URL: v.at("users/new")}},
		},
		Search: find, Tables: []Table{table},
	})
	return nil
}

var (
	usernameField = field{member: "username", declared: "username", label: "Username", kind: line, required: true}
	personFields  = []field{
		{member: "email", declared: "email", label: "Email", kind: line},
		{member: "emailVerified", declared: "email_verified", label: "Email verified", kind: flag, hint: "The address is known to be this person's. Changing the address takes it away, unless it is ticked again."},
		{member: "firstName", declared: "first_name", label: "First name", kind: line},
		{member: "lastName", declared: "last_name", label: "Last name", kind: line},
	}
	groupsField  = field{member: "groups", declared: "groups", label: "Groups", kind: lines, hint: "One a line. Rules of sites and jobs may name them."}
	enabledField = field{
		member: "enabled", label: "Enabled", kind: flag,
		hint: "While it is off this person cannot log in, nobody acts for them, and their background access is refused. Nothing is lost: sessions and background access work again once it is on.",
	}
)

func (v *visit) newUser() (*editor, error) {
	username := usernameField
	username.hint = "Cannot be changed later: rules for jobs name people by it."
	return &editor{
		page: Edit{Head: Head{Title: v.T("Add user"), Above: pageLink(v.T("Users"), v.at("users"))}, Button: v.T("Create")},
		at:   "users/new", record: object{"enabled": true}, notice: "user-created",
		groups: []group{{"", slices.Concat([]field{username}, personFields, []field{groupsField, enabledField})}},
		send:   func(given object) error { return besideName(v.send(http.MethodPost, "users", given)) },
		next:   func() string { return path("users", v.made, "credentials") },
	}, nil
}

// besideName says of a name that is taken which field it is.
func besideName(err error) error {
	if refused := (*Refused)(nil); errors.As(err, &refused) && refused.Status == http.StatusConflict {
		refused.Field = "username"
		if strings.Contains(refused.Message, "email") {
			refused.Field = "email"
		}
	}
	return err
}

func (v *visit) userEditor() (*editor, error) {
	p, err := v.subject()
	if err != nil {
		return nil, err
	}
	username, enabled := usernameField, enabledField
	username.fixed = true
	if v.self(p) {
		enabled.hint = "This is your own account: if you switch it off, you are logged out, and only another administrator can switch it on again."
	}
	e := &editor{
		page: Edit{Head: v.userHead(p, ""), Facts: []Fact{{v.T("ID"), Cell{Text: p.ID, Code: true}}, {v.T("Created"), v.moment(p.Created)}}},
		at:   path("users", p.ID), declared: p.Declared, where: p.where(),
		groups: []group{{"", slices.Concat([]field{username}, personFields, []field{groupsField})}, {"Access", []field{enabled}}},
	}
	if p.ServiceAccount != "" {
		e.groups = e.groups[1:]
	} else if len(p.Declared) == 0 {
		e.page.Actions = []Action{{Name: v.T("Delete"), URL: v.at(path("users", p.ID, "delete")), Bad: true}}
	}
	e.send = func(given object) error { return besideName(v.send(http.MethodPut, path("users", p.ID), given)) }
	return e, v.get(&e.record, path("users", p.ID))
}

// holdings is how much a user has.
type holdings struct{ sessions, offline int }

func (v *visit) holdings(p *person) (h holdings, err error) {
	if h.sessions, err = v.count(path("users", p.ID, "session-count")); err != nil {
		return h, err
	}
	h.offline, err = v.count(path("users", p.ID, "offline-session-count"))
	return h, err
}

func (v *visit) deleteUser() (*question, error) {
	p, err := v.subject()
	if err != nil {
		return &question{next: "users"}, err
	}
	q := v.userQuestion(p, "", v.T("Delete the user %s?", p.Username))
	q.next, q.notice = "users", "deleted"
	q.page.Button, q.page.Bad = v.T("Delete the user"), true
	has, err := v.holdings(p)
	if err != nil {
		return q, err
	}
	consents, err := v.consents(p)
	if err != nil {
		return q, err
	}
	given := 0
	for _, c := range consents {
		if c.Created > 0 {
			given++
		}
	}
	q.page.Then = []string{
		v.T("%s cannot log in any more, and the account cannot be brought back.", p.Username),
		v.N(has.sessions, "%d session ends.", "%d sessions end."),
		v.N(has.offline, "%d offline session ends for good: whatever acts for %s by it stops.", "%d offline sessions end for good: whatever acts for %s by them stops.", p.Username),
		v.N(given, "%d consent goes with it.", "%d consents go with it."),
	}
	if v.self(p) {
		q.page.Then = append(q.page.Then, v.T("This is your own account: you are logged out, and can come back only as somebody else."))
	}
	q.act = func() error { return v.send(http.MethodDelete, path("users", p.ID), nil) }
	return q, nil
}
