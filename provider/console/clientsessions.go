package console

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/nightlatch/nightlatch/page"
)

var clientSessionRoutes = slices.Concat([]route{
	{"/clients/{client}/sessions", clientsMenu, (*visit).clientSessions, nil},
	asking("/clients/{client}/sessions/end", clientsMenu, (*visit).endClientSession),
	{"/clients/{client}/offline", clientsMenu, (*visit).clientOffline, nil},
	asking("/clients/{client}/offline/revoke", clientsMenu, (*visit).endClientOffline),
	asking("/clients/{client}/offline/revoke-all", clientsMenu, (*visit).askRevokeClient),
}, clientNotBefore.routes("/clients/{client}/revocation", clientsMenu))

// owner is a cell with whose session it is.
func (v *visit) owner(s session) Cell {
	if s.Username == "" {
		return Cell{Text: v.T("Deleted"), More: []string{s.UserID}}
	}
	return Cell{Text: s.Username, URL: v.at(path("users", s.UserID, "sessions"))}
}

// expires is a cell with when an offline session ends.
func (v *visit) expires(s session) Cell {
	if s.MaxAt > 0 {
		return v.moment(s.MaxAt)
	}
	c := Cell{Text: v.T("Never")}
	if idle := v.moment(s.IdleAt); idle.At != nil {
		c.More = []string{v.T("if it is used before %s", idle.At.Text)}
	}
	return c
}

// offlineTable lists offline sessions of a client; at is the page that asks before
// one is revoked.
func (v *visit) offlineTable(sessions []session, at string) Table {
	t := Table{
		Caption: v.T("Offline sessions"), Columns: []string{v.T("User"), v.T("From IP"), v.T("Token issued"), v.T("Last refresh"), v.T("Expires")},
		Empty: v.T("Nobody has given this application background access."),
	}
	for _, s := range sessions {
		t.Rows = append(t.Rows, Row{
			Cells:   []Cell{v.owner(s), v.from(s), v.started(s), v.moment(s.LastAccess), v.expires(s)},
			Actions: []Action{v.end(s, true, at)},
		})
	}
	return t
}

// clientSessions shows who is logged in at a client, and its offline sessions.
func (v *visit) clientSessions() error {
	c, r, err := v.clientReached()
	if err != nil {
		return err
	}
	at := c.at("sessions")
	logins, p, err := listed[session](v, "first", c.at("user-sessions"))
	if err != nil {
		return err
	}
	regular := Table{
		Heading: v.T("Regular sessions"), Caption: v.T("Regular sessions"), Total: v.N(r.active, "%d active session", "%d active sessions"),
		Columns: []string{v.T("User"), v.T("Started"), v.T("Last access"), v.T("IP address"), v.T("Clients")},
		Empty:   v.T("Nobody is logged in at this application."),
	}
	for _, s := range logins {
		regular.Rows = append(regular.Rows, Row{
			Cells:   []Cell{v.owner(s), v.started(s), v.moment(s.LastAccess), v.from(s), v.clientsOf(s)},
			Actions: []Action{v.end(s, false, at+"/end")},
		})
	}
	p.turn(v, &regular, at, "offline", v.Params.Get("offline"))
	sessions, pages, err := listed[session](v, "offline", c.at("offline-sessions"))
	if err != nil {
		return err
	}
	offline := v.offlineTable(sessions, c.at("offline", "revoke"))
	offline.Heading, offline.Total = v.T("Offline sessions"), v.offlineSessions(r.offline)
	pages.turn(v, &offline, at, "first", v.Params.Get("first"))
	head := c.head(v, "sessions")
	v.render(http.StatusOK, "list", head.Title, List{Head: head, Tables: []Table{regular, offline}})
	return nil
}

// offlineFilters of the page Offline Access: parameters of the REST and of the
// page alike.
var offlineFilters = []struct {
	name  string
	label page.Text
	hint  page.Text
	kind  string
}{
	{"user", "User", "The whole username or email address.", "line"},
	{"ipAddress", "From IP", "192.0.2.* finds all that begin so.", "line"},
	{"issuedFrom", "Token issued from", "", "date"},
	{"issuedTo", "Token issued to", "", "date"},
	{"lastRefreshFrom", "Last refresh from", "", "date"},
	{"lastRefreshTo", "Last refresh to", "", "date"},
}

// clientOffline shows a client's offline sessions: all by pages, or those that are
// searched for.
func (v *visit) clientOffline() error {
	c, err := v.client()
	if err != nil {
		return err
	}
	total, err := v.count(c.at("offline-session-count"))
	if err != nil {
		return err
	}
	at, status := c.at("offline"), http.StatusOK
	find := &Search{Action: v.at(at)}
	var params []string
	for _, f := range offlineFilters {
		value := v.Params.Get(f.name)
		params = append(params, f.name, value)
		if value != "" {
			find.Clear = v.at(at)
		}
		find.Inputs = append(find.Inputs, Input{ID: f.name, Name: f.name, Label: v.T(f.label), Hint: v.T(f.hint), Kind: f.kind, Value: value})
	}
	var table Table
	if find.Clear == "" {
		sessions, p, err := listed[session](v, "first", c.at("offline-sessions"))
		if err != nil {
			return err
		}
		table = v.offlineTable(sessions, c.at("offline", "revoke"))
		table.Total = v.offlineSessions(total)
		p.turn(v, &table, at)
	} else {
		table, err = v.searchOffline(c, params)
		var refused *Refused
		if errors.As(err, &refused) {
			for i := range find.Inputs {
				if in := &find.Inputs[i]; in.Name == refused.Field {
					in.Problem, status, err = sentence(refused.Message), refused.Status, nil
				}
			}
		}
		if err != nil {
			return err
		}
	}
	if total > 0 {
		table.Actions = []Action{{Name: v.T("Revoke all"), Unseen: v.T("Revoke all offline sessions"), URL: v.at(at + "/revoke-all"), Bad: true}}
	}
	head := c.head(v, "offline")
	head.Lead = v.T("Who has given this application background access. Each line is one grant, which a job uses until it is revoked.")
	v.render(status, "list", head.Title, List{Head: head, Search: find, Tables: []Table{table}})
	return nil
}

// searchOffline makes the table of a part of a search. A part looks at a bounded
// number of sessions, so that it may have few rows, or none, and the next has more.
func (v *visit) searchOffline(c clientView, params []string) (Table, error) {
	var found struct {
		Sessions []session `json:"sessions"`
		Searched int       `json:"searched"`
		Next     string    `json:"next"`
	}
	at := c.at("offline")
	err := v.get(&found, c.at("offline-sessions", "search"), slices.Concat(params, []string{"after", v.Params.Get("after"), "max", strconv.Itoa(perPage)})...)
	t := v.offlineTable(found.Sessions, c.at("offline", "revoke"))
	t.Empty = v.T("No offline session is like this.")
	t.Total = v.N(len(found.Sessions), "%d offline session found", "%d offline sessions found")
	if v.Params.Get("after") != "" {
		t.First = v.at(at, params...)
	}
	if found.Next != "" {
		t.Older = v.at(at, slices.Concat(params, []string{"after", found.Next})...)
		if len(found.Sessions) < perPage {
			t.Total = v.N(len(found.Sessions), "%d offline session found among the %[2]s looked at so far; Next goes on.",
				"%d offline sessions found among the %[2]s looked at so far; Next goes on.", page.Number(found.Searched))
			t.Empty = v.T("None here is like this; there are more to look at.")
		}
	}
	return t, err
}

// endClientSession asks about a login at a client.
func (v *visit) endClientSession() (*question, error) { return v.endAtClient("sessions") }

// endClientOffline asks about an offline session of a client.
func (v *visit) endClientOffline() (*question, error) { return v.endAtClient("offline") }

func (v *visit) endAtClient(tab string) (*question, error) {
	c, err := v.client()
	if err != nil {
		return nil, err
	}
	q, err := v.ending(c.question(v, tab, "", ""))
	if err != nil {
		return q, err
	}
	var s session
	if err := v.get(&s, path("sessions", v.Params.Get("session")), "isOffline", v.Params.Get("offline")); err != nil {
		return q, err
	}
	if _, here := s.Clients[c.ID]; !here {
		return nil, errGone // it is another client's
	}
	return q, nil
}

// askRevokeClient asks before all offline sessions of a client end.
func (v *visit) askRevokeClient() (*question, error) {
	c, r, err := v.clientReached()
	if err != nil {
		return nil, err
	}
	q := c.question(v, "offline", v.T("Revoke all offline sessions of %s?", c.ClientID), v.T("Revoke all"),
		v.N(r.offline, "%d offline session ends at once and for good: nothing acts for this person any more, jobs included.",
			"%d offline sessions end at once and for good: nothing acts for these people any more, jobs included."),
		v.N(r.active, "%d active session stays: who is logged in stays so.", "%d active sessions stay: who is logged in stays so."),
		v.T("The application asks again before it gets background access."))
	q.notice = "revoked-all"
	q.act = func() error { return v.send(http.MethodDelete, c.at("offline-sessions"), nil) }
	return q, nil
}

// clientNotBefore is the revocation policy of a client.
var clientNotBefore = notBefore{
	head: func(v *visit) (Head, error) {
		c, err := v.client()
		if err != nil {
			return Head{}, err
		}
		return c.head(v, "revocation"), nil
	},
	at:   func(v *visit) string { return path("clients", v.R.PathValue("client"), "revocation") },
	rest: func(v *visit) string { return path("clients", v.R.PathValue("client")) },
	push: func(v *visit) string { return path("clients", v.R.PathValue("client"), "push-revocation") },
	ends: func(v *visit) ([]string, error) {
		c, r, err := v.clientReached()
		return []string{
			v.N(r.offline, "%d offline session of %[2]s is refused from then on: no job gets a token by it until the person agrees again.",
				"%d offline sessions of %[2]s are refused from then on: no job gets a token by them until people agree again.", c.ClientID),
			v.N(r.active, "%d active session has to come back by a login.", "%d active sessions have to come back by a login."),
			v.T("Tokens from before are refused at once. Who logs in afterwards is not touched."),
		}, err
	},
}
