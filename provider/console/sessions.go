package console

import (
	"maps"
	"net/http"
	"slices"

	"github.com/nightlatch/nightlatch/page"
)

const sessionsMenu = "sessions"

var sessionRoutes = slices.Concat([]route{
	{"/sessions", sessionsMenu, (*visit).listSessions, nil},
	asking("/sessions/end", sessionsMenu, (*visit).endSession),
	asking("/sessions/end-all", sessionsMenu, (*visit).logOutAll),
}, realmNotBefore.routes("/sessions/revocation", sessionsMenu))

// session is a login, or an offline session.
type session struct {
	ID         string            `json:"id"`
	UserID     string            `json:"userId"`
	Username   string            `json:"username"`
	Type       string            `json:"type"` // REGULAR or OFFLINE, in the realm's list alone
	IP         string            `json:"ipAddress"`
	Browser    string            `json:"browser"`
	Start      int64             `json:"start"` // Unix milliseconds
	LastAccess int64             `json:"lastAccess"`
	Clients    map[string]string `json:"clients"`     // client_id by id
	Refused    string            `json:"grantStatus"` // why it does not work, "" if it does
	IdleAt     int64             `json:"idleAt"`      // when an offline one ends unless it is used; Unix milliseconds
	MaxAt      int64             `json:"maxAt"`       // when it ends anyhow; 0: never
}

// refusals in words, by grant status.
var refusals = map[string]page.Text{
	"not_before": "Refused: before Not before", "idle_expired": "Expired", "max_expired": "Expired", "revoked": "Revoked",
}

// Kinds of sessions.
const (
	allKinds    = "ALL"
	regularKind = "REGULAR"
	offlineKind = "OFFLINE"
)

// started is a cell with the start, and a mark on a session that is refused.
func (v *visit) started(s session) Cell {
	c := v.moment(s.Start)
	if s.Refused != "" {
		c.Mark, c.Tone = v.T(refusals[s.Refused]), "warm"
	}
	return c
}

// from is a cell with where a session came from.
func (v *visit) from(s session) Cell {
	return Cell{Text: s.IP, More: []string{v.words().Browser(s.Browser)}}
}

// clientsOf is a cell with the clients of a session, each with a link.
func (v *visit) clientsOf(s session) Cell {
	ids := slices.SortedFunc(maps.Keys(s.Clients), func(a, b string) int {
		switch {
		case s.Clients[a] < s.Clients[b]:
			return -1
		case s.Clients[a] > s.Clients[b]:
			return 1
		}
		return 0
	})
	c := Cell{Text: "—"}
	for _, id := range ids {
		c.Links = append(c.Links, pageLink(s.Clients[id], v.at(path("clients", id))))
	}
	return c
}

// end is the action of a row that ends a session; at is the page that asks.
func (v *visit) end(s session, offline bool, at string) Action {
	a := Action{Name: v.T("Sign out"), Bad: true}
	kind := ""
	if offline {
		a.Name, kind = v.T("Revoke"), "true"
	}
	a.URL = v.at(at, "session", s.ID, "offline", kind)
	a.Unseen = a.Name + ": " + s.Username + ", " + s.IP
	return a
}

// listSessions shows the sessions of the realm.
func (v *visit) listSessions() error {
	kind, search := v.Params.Get("type"), v.Params.Get("search")
	if kind == allKinds {
		kind = ""
	}
	sessions, p, err := listed[session](v, "first", "ui-ext/sessions", "type", kind, "search", search)
	if err != nil {
		return err
	}
	table := Table{
		Caption: v.T("Sessions"), Empty: v.T("Nobody is logged in, and no application has background access."),
		Columns: []string{v.T("User"), v.T("Type"), v.T("Started"), v.T("Last access"), v.T("IP address"), v.T("Clients")},
	}
	if kind != "" || search != "" {
		table.Empty = v.T("No session is like this.")
	}
	for _, s := range sessions {
		offline := s.Type == offlineKind
		named := v.T("Regular")
		if offline {
			named = v.T("Offline")
		}
		table.Rows = append(table.Rows, Row{
			Cells: []Cell{
				{Text: s.Username, URL: v.at(path("users", s.UserID, "sessions"))}, {Text: named},
				v.started(s), v.moment(s.LastAccess), v.from(s), v.clientsOf(s),
			},
			Actions: []Action{v.end(s, offline, "sessions/end")},
		})
	}
	p.turn(v, &table, "sessions", "type", kind, "search", search)
	find := &Search{
		Action: v.at("sessions"),
		Inputs: []Input{
			{ID: "type", Name: "type", Label: v.T("Type"), Kind: "choice", Options: choose(v.words(), []Option{
				{Value: allKinds, Label: "All sessions"}, {Value: regularKind, Label: "Regular sessions"}, {Value: offlineKind, Label: "Offline sessions"},
			}, kind)},
			{ID: "search", Name: "search", Label: v.T("User or IP address"), Kind: "line", Value: search, Hint: v.T("The whole username, email or IP address; 192.0.2.* is how an address begins.")},
		},
	}
	if kind != "" || search != "" {
		find.Clear = v.at("sessions")
	}
	v.render(http.StatusOK, "list", v.T("Sessions"), List{
		Head: Head{
			Title: v.T("Sessions"), Notice: v.notice(),
			Lead: v.T("Who is logged in, and which applications may act for people while they are away."),
			Actions: []Action{
				{Name: v.T("Revocation"), URL: v.at("sessions/revocation")},
				{Name: v.T("Sign out all active sessions"), URL: v.at("sessions/end-all"), Bad: true},
			},
		},
		Search: find, Tables: []Table{table},
	})
	return nil
}

// endSession asks about a session of the realm's list.
func (v *visit) endSession() (*question, error) {
	return v.ending(newQuestion(Head{Above: pageLink(v.T("Sessions"), v.at("sessions"))}, "sessions"))
}

// ending makes a question out of the session that the parameters name.
func (v *visit) ending(q *question) (*question, error) {
	id, offline := v.Params.Get("session"), v.Params.Get("offline")
	at := path("sessions", id)
	var s session
	if err := v.get(&s, at, "isOffline", offline); err != nil {
		return q, err
	}
	q.fields = []Field{{"session", id}, {"offline", offline}}
	q.page.Tables = []Table{{
		Caption: v.T("Session"), Columns: []string{v.T("User"), v.T("Started"), v.T("Last access"), v.T("IP address"), v.T("Clients")},
		Rows: []Row{{Cells: []Cell{{Text: s.Username}, v.started(s), v.moment(s.LastAccess), v.from(s), v.clientsOf(s)}}},
	}}
	q.page.Bad = true
	q.act = func() error { return v.send(http.MethodDelete, at, nil, "isOffline", offline) }
	if offline != "" {
		q.notice = "revoked"
		q.page.Title, q.page.Button = v.T("Revoke this offline session?"), v.T("Revoke")
		q.page.Then = []string{
			v.T("This 1 offline session ends for good: the application cannot act for %s by it any more, jobs included.", s.Username),
			v.T("Other offline sessions and logins stay."),
		}
		return q, nil
	}
	q.notice = "signed-out"
	q.page.Title, q.page.Button = v.T("Sign out this session?"), v.T("Sign out")
	q.page.Then = []string{
		v.T("This 1 session of %s ends, and what applications have of it: %s.", s.Username, v.N(len(s.Clients), "%d client", "%d clients")),
		v.T("Offline sessions stay: revoke them one by one, or all."),
	}
	if id == v.Session.ID {
		q.page.Then = append(q.page.Then, v.T("It is the one that you are using now: you are logged out here."))
	}
	return q, nil
}

// totals of the sessions of the realm.
type totals struct {
	Regular int  `json:"regular"`
	More    bool `json:"moreRegular"` // there are more of them than were counted
	Offline int  `json:"offline"`
}

func (v *visit) totals() (t totals, err error) { return t, v.get(&t, "ui-ext/sessions/count") }

// endsAll says what a not-before of the realm that is set to now ends.
func (v *visit) endsAll(t totals) []string {
	logins := v.N(t.Regular, "%d session ends: everybody has to log in again, you too.", "%d sessions end: everybody has to log in again, you too.")
	if t.More {
		logins = v.N(t.Regular, "More than %d session ends: everybody has to log in again, you too.", "More than %d sessions end: everybody has to log in again, you too.")
	}
	return []string{
		logins,
		v.N(t.Offline, "%d offline session is refused from then on: no job gets a token by it until people agree again.",
			"%d offline sessions are refused from then on: no job gets a token by them until people agree again."),
		v.T("Tokens from before are refused at once. Not before of the realm is now; who logs in afterwards is not touched."),
	}
}

// logOutAll asks before it ends every session of the realm.
func (v *visit) logOutAll() (*question, error) {
	t, err := v.totals()
	q := newQuestion(Head{Title: v.T("Sign out all active sessions?"), Above: pageLink(v.T("Sessions"), v.at("sessions"))}, "sessions")
	q.page.Then, q.page.Button, q.page.Bad, q.notice = v.endsAll(t), v.T("Sign out all"), true, "logged-out"
	q.act = func() error { return v.send(http.MethodPost, "logout-all", nil) }
	return q, err
}
