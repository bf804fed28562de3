package console

import (
	"net/http"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/client"
)

var clientRoutes = []route{
	{"/clients", "clients", (*visit).clients, nil},
	{"/new-client", "clients", (*visit).newClient, (*visit).createClient},
	{"/clients/{client}", "clients", clientTab("").show, clientTab("").save},
	asking("/clients/{client}/enable", "clients", (*visit).askEnableClient),
	asking("/clients/{client}/disable", "clients", (*visit).askDisableClient),
	asking("/clients/{client}/delete", "clients", (*visit).askDeleteClient),
}

var clientTabs = []tab{
	{"", "Settings"},
}

// clientView is what each page of a client knows of it.
type clientView struct {
	ID       string   `json:"id"`
	ClientID string   `json:"clientId"`
	Name     string   `json:"name"`
	Enabled  bool     `json:"enabled"`
	Public   bool     `json:"publicClient"`
	Declared []string `json:"declared"`
	Origin   string   `json:"origin"`
}

// at is the page of the client, or one below it.
func (c clientView) at(below ...string) string {
	return path(append([]string{"clients", c.ID}, below...)...)
}

// where the client is declared, "" if it is not.
func (c clientView) where() string {
	if c.Origin == "" {
		return ""
	}
	return "client " + c.ClientID
}

// client reads the one that the address names.
func (v *visit) client() (c clientView, err error) {
	err = v.get(&c, path("clients", v.R.PathValue("client")))
	return c, err
}

// head of a tab of a client.
func (c clientView) head(v *visit, tab string) Head {
	h := Head{
		Title: c.ClientID, Lead: c.Name, Above: page.Link{Name: "Clients", URL: v.at("clients")},
		Tabs: v.tabs(c.at(), clientTabs, tab), Notice: v.notice(), Locked: c.where(),
	}
	if c.Enabled {
		h.Actions = append(h.Actions, Action{Name: "Disable", URL: v.at(c.at("disable"))})
	} else {
		h.Mark, h.Tone = "Disabled", "warm"
		h.Actions = append(h.Actions, Action{Name: "Enable", URL: v.at(c.at("enable"))})
	}
	if !client.BuiltIn(c.ClientID) && c.Origin == "" {
		h.Actions = append(h.Actions, Action{Name: "Delete", URL: v.at(c.at("delete")), Bad: true})
	}
	return h
}

// clients lists them.
func (v *visit) clients() error {
	search := v.Params.Get("search")
	params := []string{"clientId", search}
	if search != "" {
		params = append(params, "search", "true")
	}
	found, p, err := listed[clientView](v, "first", "clients", params...)
	if err != nil {
		return err
	}
	table := Table{
		Caption: "Clients", Columns: []string{"Client ID", "Name", "Type", "State", "Offline sessions"},
		Empty: "There is no such client.",
	}
	p.turn(v, &table, "clients", "search", search)
	for _, c := range found {
		offline, err := v.count(c.at("offline-session-count"))
		if err != nil {
			return err
		}
		kind, state := Cell{Text: "Confidential"}, Cell{Mark: "Enabled", Tone: "good"}
		if c.Public {
			kind.Text = "Public"
		}
		if !c.Enabled {
			state = Cell{Mark: "Disabled", Tone: "warm"}
		}
		table.Rows = append(table.Rows, Row{Cells: []Cell{
			{Text: c.ClientID, URL: v.at(c.at())}, {Text: c.Name}, kind, state,
			{Text: thousands(offline), URL: v.at(c.at("offline"))},
		}})
	}
	view := List{
		Head: Head{Title: "Clients", Lead: "Applications that people log in to, and what may act for them.", Notice: v.notice(),
			Actions: []Action{{Name: "New client", URL: v.at("new-client")}}},
		Search: &Search{Action: v.at("clients"), Inputs: []Input{{ID: "search", Name: "search", Label: "Client ID", Kind: "line", Value: search}}},
		Tables: []Table{table},
	}
	if search != "" {
		view.Search.Clear = v.at("clients")
	}
	v.render(http.StatusOK, "list", "Clients", view)
	return nil
}

// clientFields of each tab that changes the client itself, in Keycloak's words.
var clientFields = map[string][]group{
	"": {{"General settings", []field{
		{member: "clientId", declared: "client_id", label: "Client ID", kind: line, required: true, hint: "The name by which it asks for tokens."},
		{member: "name", declared: "name", label: "Name", kind: line, hint: "What people see on the consent page and in their account."},
		{member: "description", declared: "description", label: "Description", kind: line},
	}}, {"Access settings", []field{
		{member: "baseUrl", declared: "base_url", label: "Home URL", kind: line, hint: "Where people get to it from their account."},
		{member: "redirectUris", declared: "redirect_uris", label: "Valid redirect URIs", kind: lines, hint: "Where a login may lead to, one a line. The port of a local host may be *."},
		{member: "attributes.post.logout.redirect.uris", declared: "post_logout_redirect_uris", label: "Valid post logout redirect URIs", kind: lines, hint: "Where a logout may lead to, one a line; + stands for the redirect URIs."},
		{member: "webOrigins", declared: "web_origins", label: "Web origins", kind: lines, hint: "Pages of which origins may read answers, one a line; + stands for those of the redirect URIs."},
		{member: "attributes.backchannel.logout.url", declared: "backchannel_logout_uri", label: "Backchannel logout URL", kind: line, hint: "Hears of each login that ends."},
	}}, {"Capability config", []field{
		{member: "publicClient", declared: "public", label: "Public client", kind: flag, hint: "It cannot keep a secret: an application in a browser or on a phone."},
		{member: "standardFlowEnabled", declared: "standard_flow", label: "Standard flow", kind: flag, hint: "People log in by their browser."},
		{member: "directAccessGrantsEnabled", declared: "direct_access_grants", label: "Direct access grants", kind: flag, hint: "It asks for tokens by a person's password, which it then has seen."},
		{member: "serviceAccountsEnabled", declared: "service_account", label: "Service account roles", kind: flag, hint: "It asks for tokens in its own name."},
		{member: "attributes.oauth2.device.authorization.grant.enabled", declared: "device_grant", label: "OAuth 2.0 Device Authorization Grant", kind: flag, hint: "People let it in from another device, by a code."},
		{member: "attributes.pkce.code.challenge.method", declared: "require_pkce", label: "PKCE", kind: choice, options: []Option{{Value: "S256", Label: "Required (S256)"}, {Value: "", Label: "Not required"}}, hint: "A public client cannot do without."},
	}}, {"Consent", []field{
		{member: "consentRequired", declared: "consent_required", label: "Consent required", kind: flag, hint: "People are asked what the client may."},
		{member: "attributes.consent.offline.access", declared: "consent_offline", label: "Consent for offline access", kind: flag, hint: "People are asked before it may act for them while they are away, though they are asked for nothing else."},
	}}},
}

// clientTab is a tab of a client that changes the client itself, by its address.
type clientTab string

func (t clientTab) editor(v *visit) (*editor, error) {
	c, err := v.client()
	if err != nil {
		return nil, err
	}
	e := &editor{
		page: Edit{Head: c.head(v, string(t))}, at: c.at(), groups: clientFields[string(t)], declared: c.Declared, where: "client " + c.ClientID,
	}
	if t != "" {
		e.at = c.at(string(t))
	}
	return e, v.get(&e.record, c.at())
}

func (t clientTab) show(v *visit) error {
	e, err := t.editor(v)
	if err == nil {
		e.show(v)
	}
	return err
}

func (t clientTab) save(v *visit) error {
	e, err := t.editor(v)
	if err != nil {
		return err
	}
	return e.save(v, func(given object) error {
		return v.send(http.MethodPut, path("clients", v.R.PathValue("client")), given)
	})
}

// clientMaker is the page that makes a client: the rest is for its tabs.
func (v *visit) clientMaker() *editor {
	return &editor{
		page: Edit{Head: Head{Title: "New client", Above: page.Link{Name: "Clients", URL: v.at("clients")}}, Button: "Create"}, at: "new-client",
		groups: []group{{"", []field{
			{member: "clientId", label: "Client ID", kind: line, required: true, hint: "The name by which it asks for tokens."},
			{member: "name", label: "Name", kind: line, hint: "What people see on the consent page and in their account."},
			{member: "description", label: "Description", kind: line},
			{member: "redirectUris", label: "Valid redirect URIs", kind: lines, hint: "Where a login may lead to, one a line. The port of a local host may be *."},
			{member: "publicClient", label: "Public client", kind: flag, hint: "It cannot keep a secret: an application in a browser or on a phone."},
		}}},
		record: object{}, notice: "created",
	}
}

func (v *visit) newClient() error {
	v.clientMaker().show(v)
	return nil
}

func (v *visit) createClient() error {
	e := v.clientMaker()
	e.next = func() string { return path("clients", v.made) }
	return e.save(v, func(given object) error { return v.send(http.MethodPost, "clients", given) })
}

// reach is what hangs on a client.
type reach struct{ offline, active int }

func (c clientView) reach(v *visit) (r reach, err error) {
	if r.offline, err = v.count(c.at("offline-session-count")); err == nil {
		r.active, err = v.count(c.at("session-count"))
	}
	return r, err
}

// words for it.
func (r reach) String() string {
	return plural(r.offline, "offline session", "offline sessions") + ", " + plural(r.active, "active session", "active sessions")
}

// question about a client, whose page comes next.
func (c clientView) question(v *visit, title, button string, then ...string) *question {
	return &question{
		page: Confirm{
			Head: Head{Title: title, Above: page.Link{Name: c.ClientID, URL: v.at(c.at())}},
			Then: then, Button: button, Bad: true,
		},
		next: c.at(),
	}
}

// change puts members of the client.
func (c clientView) change(v *visit, members object) func() error {
	return func() error { return v.send(http.MethodPut, c.at(), members) }
}

func (v *visit) askEnableClient() (*question, error) {
	c, r, err := v.clientReached()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "Enable "+c.ClientID, "Enable",
		"People can log in to it again, and it gets tokens.",
		"What it had works again: "+r.String()+".")
	q.page.Bad, q.notice, q.act = false, "enabled", c.change(v, object{"enabled": true})
	return q, nil
}

func (v *visit) askDisableClient() (*question, error) {
	c, r, err := v.clientReached()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "Disable "+c.ClientID, "Disable",
		"Nobody can log in to it, and it gets no tokens.",
		"What it has does not work meanwhile: "+r.String()+".",
		"Nothing is lost: it all works again once the client is enabled.")
	q.notice, q.act = "disabled", c.change(v, object{"enabled": false})
	return q, nil
}

func (v *visit) askDeleteClient() (*question, error) {
	c, r, err := v.clientReached()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "Delete "+c.ClientID, "Delete",
		"The client is gone, with its secret and its settings. This cannot be undone.",
		"These end at once: "+r.String()+".")
	q.page.Back, q.next, q.notice = v.at(c.at()), "clients", "deleted"
	q.act = func() error { return v.send(http.MethodDelete, c.at(), nil) }
	return q, nil
}

// clientReached reads the client that the address names, and what hangs on it.
func (v *visit) clientReached() (c clientView, r reach, err error) {
	if c, err = v.client(); err == nil {
		r, err = c.reach(v)
	}
	return c, r, err
}
