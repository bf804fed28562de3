package console

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/client"
)

const clientsMenu = "clients"

var clientRoutes = slices.Concat([]route{
	{"/clients", clientsMenu, (*visit).clients, nil},
	editing("/new-client", clientsMenu, (*visit).newClient),
	editing("/clients/{client}", clientsMenu, clientTab("").editor),
	asking("/clients/{client}/enable", clientsMenu, (*visit).askEnableClient),
	asking("/clients/{client}/disable", clientsMenu, (*visit).askDisableClient),
	asking("/clients/{client}/delete", clientsMenu, (*visit).askDeleteClient),
	editing("/clients/{client}/credentials", clientsMenu, clientTab("credentials").editor),
	asking("/clients/{client}/credentials/regenerate", clientsMenu, (*visit).askRegenerate),
	{"/clients/{client}/scopes", clientsMenu, (*visit).clientScopes, nil},
	asking("/clients/{client}/scopes/assign", clientsMenu, (*visit).askAssignScope),
	{"/clients/{client}/roles", clientsMenu, (*visit).clientRoles, nil},
	asking("/clients/{client}/roles/full-on", clientsMenu, (*visit).askFullScopeOn),
	asking("/clients/{client}/roles/full-off", clientsMenu, (*visit).askFullScopeOff),
	asking("/clients/{client}/roles/add", clientsMenu, (*visit).askAddRole),
	asking("/clients/{client}/roles/remove", clientsMenu, (*visit).askRemoveRole),
	editing("/clients/{client}/advanced", clientsMenu, clientTab("advanced").editor),
}, clientSessionRoutes)

// clientTabs of a client; a public one has no credentials.
func clientTabs(public bool) []tab {
	tabs := []tab{
		{"", "Settings"},
		{"credentials", "Credentials"},
		{"scopes", "Client scopes"},
		{"roles", "Scope"},
		{"sessions", "Sessions"},
		{"offline", "Offline Access"},
		{"revocation", "Revocation"},
		{"advanced", "Advanced"},
	}
	if public {
		tabs = slices.DeleteFunc(tabs, func(t tab) bool { return t.path == "credentials" })
	}
	return tabs
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
		Title: c.ClientID, Lead: c.Name, Above: page.Link{Name: v.T("Clients"), URL: v.at("clients")},
		Tabs: v.tabs(c.at(), clientTabs(c.Public), tab), Notice: v.notice(), Locked: c.where(),
	}
	if c.Name == c.ClientID {
		h.Lead = ""
	}
	if c.Enabled {
		h.Actions = append(h.Actions, Action{Name: v.T("Disable"), URL: v.at(c.at("disable"))})
	} else {
		h.Mark, h.Tone = v.T("Disabled"), "warm"
		h.Actions = append(h.Actions, Action{Name: v.T("Enable"), URL: v.at(c.at("enable"))})
	}
	if !client.BuiltIn(c.ClientID) && c.Origin == "" {
		h.Actions = append(h.Actions, Action{Name: v.T("Delete"), URL: v.at(c.at("delete")), Bad: true})
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
		Caption: v.T("Clients"), Columns: []string{v.T("Client ID"), v.T("Name"), v.T("Type"), v.T("State"), v.T("Offline sessions")},
		Empty: v.T("There is no such client."),
	}
	p.turn(v, &table, "clients", "search", search)
	for _, c := range found {
		offline, err := v.count(c.at("offline-session-count"))
		if err != nil {
			return err
		}
		kind, state := Cell{Text: v.T("Confidential")}, Cell{Mark: v.T("Enabled"), Tone: "good"}
		if c.Public {
			kind.Text = v.T("Public")
		}
		if !c.Enabled {
			state = Cell{Mark: v.T("Disabled"), Tone: "warm"}
		}
		table.Rows = append(table.Rows, Row{Cells: []Cell{
			{Text: c.ClientID, URL: v.at(c.at())}, {Text: c.Name}, kind, state,
			{Text: page.Number(offline), URL: v.at(c.at("offline"))},
		}})
	}
	view := List{
		Head: Head{Title: v.T("Clients"), Lead: v.T("Applications that people log in to, and what may act for them."), Notice: v.notice(),
			Actions: []Action{{Name: v.T("New client"), URL: v.at("new-client")}}},
		Search: &Search{Action: v.at("clients"), Inputs: []Input{{ID: "search", Name: "search", Label: v.T("Client ID"), Kind: "line", Value: search}}},
		Tables: []Table{table},
	}
	if search != "" {
		view.Search.Clear = v.at("clients")
	}
	v.render(http.StatusOK, "list", view.Title, view)
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
	"credentials": {{"Client authentication", []field{
		{member: "clientAuthenticatorType", declared: "auth_method", label: "Client authenticator", kind: choice, options: []Option{{Value: "client-secret", Label: "Client Id and Secret"}, {Value: "client-jwt", Label: "Signed JWT"}}, hint: "With Signed JWT it shows that it has the private key of one of the keys below (RFC 7523)."},
		{member: "attributes.jwks.string", declared: "jwks", label: "JWKS", kind: area, hint: "Its public keys, as a JSON Web Key Set."},
	}}},
	"advanced": {{"Tokens", []field{
		{member: "attributes.access.token.lifespan", declared: "access_token_lifespan", label: "Access Token Lifespan", kind: spanOrInherit, hint: "Empty: the realm's, as with each time on this page."},
		{member: "attributes.access.token.signed.response.alg", declared: "signing_algorithm", label: "Access and ID token signature algorithm", kind: choice, options: append([]Option{{Value: "", Label: "The realm's"}}, same("RS256", "ES256", "EdDSA")...)},
		{member: "attributes.revoke.refresh.token", declared: "revoke_refresh_token", label: "Revoke Refresh Token", kind: choice, options: []Option{{Value: "", Label: "The realm's"}, {Value: "true", Label: "On"}, {Value: "false", Label: "Off"}}, hint: "On: each refresh token works once; one that is used again ends its session."},
		{member: "attributes.refresh.token.max.reuse", declared: "refresh_token_max_reuse", label: "Refresh Token Max Reuse", kind: numberOrInherit, hint: "How often the last one may be used again before that. Empty: the realm's."},
	}}, {"Client session settings", []field{
		{member: "attributes.client.session.idle.timeout", declared: "client_session_idle", label: "Client Session Idle", kind: spanOrInherit},
		{member: "attributes.client.session.max.lifespan", declared: "client_session_max", label: "Client Session Max", kind: spanOrInherit},
	}}, {"Offline session settings", []field{
		{member: "attributes.client.offline.session.idle.timeout", declared: "offline_session_idle", label: "Client Offline Session Idle", kind: spanOrInherit, hint: "Background access ends when nothing used it for this long. It can shorten the realm's, never lengthen it."},
		{member: "attributes.client.offline.session.max.lifespan", declared: "offline_session_max", label: "Client Offline Session Max", kind: spanOrInherit, hint: "Background access ends after this long, however much it is used; only while Offline Session Max Limited is on in the realm."},
	}}},
}

// clientTab is a tab of a client that changes the client itself, by its address.
type clientTab string

func (t clientTab) editor(v *visit) (*editor, error) {
	c, err := v.client()
	if err != nil {
		return nil, err
	}
	if t == "credentials" && c.Public {
		return nil, errNothing
	}
	e := &editor{
		page: Edit{Head: c.head(v, string(t))}, at: c.at(), groups: clientFields[string(t)], declared: c.Declared, where: "client " + c.ClientID,
	}
	if t != "" {
		e.at = c.at(string(t))
	}
	if t == "credentials" {
		if e.page.Facts, err = c.secret(v, &e.page.Head); err != nil {
			return nil, err
		}
	}
	e.ask = func(given object) ([]string, error) { return v.clientShortened(e.record, given) }
	e.send = func(given object) error { return v.send(http.MethodPut, c.at(), given) }
	return e, v.get(&e.record, c.at())
}

// secret of a client, which an administrator may see for an hour after it was made.
func (c clientView) secret(v *visit, head *Head) ([]Fact, error) {
	var credential struct {
		Value string `json:"value"`
	}
	if err := v.get(&credential, c.at("client-secret")); err != nil {
		return nil, err
	}
	shown := Cell{Text: credential.Value, Code: true, More: []string{v.T("It is shown for an hour after it was made. Keep it where nobody else reads it.")}}
	if credential.Value == "" {
		shown = Cell{Text: v.T("Hidden"), More: []string{v.T("Only a hash of it is kept. Who has lost it needs a new one.")}}
	}
	if !slices.Contains(c.Declared, "secret_hash") {
		head.Actions = append([]Action{{Name: v.T("New secret"), URL: v.at(c.at("credentials", "regenerate")), Bad: true}}, head.Actions...)
	}
	return []Fact{{v.T("Client secret"), shown}}, nil
}

func (v *visit) askRegenerate() (*question, error) {
	c, err := v.client()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "credentials", v.T("Make a new secret for %s?", c.ClientID), v.T("New secret"),
		v.T("The 1 secret that it has stops working at once: the application gets no tokens until it is given the new one."),
		v.T("Sessions and offline sessions stay."))
	q.notice = "new-secret"
	q.act = func() error { return v.send(http.MethodPost, c.at("client-secret"), nil) }
	return q, nil
}

// clientShortened is shortened for the limits of a client alone.
func (v *visit) clientShortened(now, given object) ([]string, error) {
	shorter := func(member string) bool {
		f := field{member: "attributes." + member}
		is, _ := strconv.ParseInt(plain(f.of(given)), 10, 64)
		was, _ := strconv.ParseInt(plain(f.of(now)), 10, 64)
		return is > 0 && (was <= 0 || is < was) // without one it inherits, mostly a longer one
	}
	online := shorter("client.session.idle.timeout") || shorter("client.session.max.lifespan")
	unused, old := shorter("client.offline.session.idle.timeout"), shorter("client.offline.session.max.lifespan")
	if !online && !unused && !old {
		return nil, nil
	}
	_, r, err := v.clientReached()
	return v.endsBeyond(online, unused, old, r.active, r.offline), err
}

// newClient is the page that makes a client: the rest is for its tabs.
func (v *visit) newClient() (*editor, error) {
	return &editor{
		page: Edit{Head: Head{Title: v.T("New client"), Above: page.Link{Name: v.T("Clients"), URL: v.at("clients")}}, Button: v.T("Create")}, at: "new-client",
		groups: []group{{"", []field{
			{member: "clientId", label: "Client ID", kind: line, required: true, hint: "The name by which it asks for tokens."},
			{member: "name", label: "Name", kind: line, hint: "What people see on the consent page and in their account."},
			{member: "description", label: "Description", kind: line},
			{member: "redirectUris", label: "Valid redirect URIs", kind: lines, hint: "Where a login may lead to, one a line. The port of a local host may be *."},
			{member: "publicClient", label: "Public client", kind: flag, hint: "It cannot keep a secret: an application in a browser or on a phone."},
		}}},
		record: object{}, notice: "created",
		send: func(given object) error { return v.send(http.MethodPost, "clients", given) },
		next: func() string { return path("clients", v.made) },
	}, nil
}

// reach is what hangs on a client.
type reach struct{ offline, active int }

// clientReached reads the client that the address names, and what hangs on it.
func (v *visit) clientReached() (c clientView, r reach, err error) {
	if c, err = v.client(); err != nil {
		return c, r, err
	}
	if r.offline, err = v.count(c.at("offline-session-count")); err == nil {
		r.active, err = v.count(c.at("session-count"))
	}
	return c, r, err
}

// words for it.
func (r reach) words(v *visit) string {
	return v.offlineSessions(r.offline) + ", " + v.N(r.active, "%d active session", "%d active sessions")
}

func (v *visit) offlineSessions(n int) string {
	return v.N(n, "%d offline session", "%d offline sessions")
}

// question about a client, on a page below it; tab comes next.
func (c clientView) question(v *visit, tab, title, button string, then ...string) *question {
	next := c.at()
	if tab != "" {
		next = c.at(tab)
	}
	return &question{
		page: Confirm{
			Head: Head{Title: title, Above: page.Link{Name: c.ClientID, URL: v.at(next)}},
			Then: then, Button: button, Bad: true,
		},
		next: next,
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
	q := c.question(v, "", v.T("Enable %s?", c.ClientID), v.T("Enable"),
		v.T("People can log in to it again, and it gets tokens."),
		v.T("What it had works again: %s.", r.words(v)))
	q.page.Bad, q.notice, q.act = false, "enabled", c.change(v, object{"enabled": true})
	return q, nil
}

func (v *visit) askDisableClient() (*question, error) {
	c, r, err := v.clientReached()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "", v.T("Disable %s?", c.ClientID), v.T("Disable"),
		v.T("Nobody can log in to it, and it gets no tokens."),
		v.T("What it has does not work meanwhile: %s.", r.words(v)),
		v.T("Nothing is lost: it all works again once the client is enabled."))
	q.notice, q.act = "disabled", c.change(v, object{"enabled": false})
	return q, nil
}

func (v *visit) askDeleteClient() (*question, error) {
	c, r, err := v.clientReached()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "", v.T("Delete %s?", c.ClientID), v.T("Delete"),
		v.T("The client is gone, with its secret, its settings and what people consented to. This cannot be undone."),
		v.T("These end at once: %s.", r.words(v)))
	q.page.Back, q.next, q.notice = v.at(c.at()), "clients", "deleted"
	q.act = func() error { return v.send(http.MethodDelete, c.at(), nil) }
	return q, nil
}
