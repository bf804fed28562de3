package console

import "net/http"

// userSessions shows the logins of a user, and the offline sessions at all
// clients.
func (v *visit) userSessions() error {
	p, err := v.subject()
	if err != nil {
		return err
	}
	has, err := v.holdings(p)
	if err != nil {
		return err
	}
	at := path("users", p.ID, "sessions")
	regular := Table{
		Heading: v.T("Regular sessions"), Caption: v.T("Regular sessions of %s", p.Username), Total: v.N(has.sessions, "%d session", "%d sessions"),
		Columns: []string{v.T("Started"), v.T("Last access"), v.T("IP address"), v.T("Clients")}, Empty: v.T("%s is not logged in.", p.Username),
	}
	offline := Table{
		Heading: v.T("Offline sessions"), Caption: v.T("Offline sessions of %s", p.Username), Total: v.N(has.offline, "%d offline session", "%d offline sessions"),
		Columns: []string{v.T("Started"), v.T("Last access"), v.T("IP address"), v.T("Client")}, Empty: v.T("Nothing may act for %s while they are away.", p.Username),
	}
	fill := func(t *Table, param, other string, isOffline bool) error {
		rest := path("users", p.ID, "sessions")
		if isOffline {
			rest = path("users", p.ID, "offline-sessions")
		}
		sessions, pages, err := listed[session](v, param, rest)
		if err != nil {
			return err
		}
		for _, s := range sessions {
			t.Rows = append(t.Rows, Row{
				Cells:   []Cell{v.started(s), v.moment(s.LastAccess), v.from(s), v.clientsOf(s)},
				Actions: []Action{v.end(s, isOffline, at+"/end")},
			})
		}
		pages.turn(v, t, at, other, v.Params.Get(other))
		return nil
	}
	if err := fill(&regular, "first", "offline", false); err != nil {
		return err
	}
	if err := fill(&offline, "offline", "first", true); err != nil {
		return err
	}
	if has.offline > 0 {
		offline.Actions = []Action{{Name: v.T("Revoke all"), Unseen: v.T("Revoke all offline sessions"), URL: v.at(at + "/revoke-all"), Bad: true}}
	}
	head := v.userHead(p, "sessions")
	if has.sessions+has.offline > 0 {
		head.Actions = []Action{{Name: v.T("Log out all sessions"), URL: v.at(at + "/end-all"), Bad: true}}
	}
	v.render(http.StatusOK, "list", p.Username+" · "+v.T("Sessions"), List{Head: head, Tables: []Table{regular, offline}})
	return nil
}

// endUserSession asks about one session of a user.
func (v *visit) endUserSession() (*question, error) {
	p, err := v.subject()
	if err != nil {
		return nil, err
	}
	return v.ending(v.userQuestion(p, "sessions", ""))
}

// logOutUser asks before all sessions of a user end.
func (v *visit) logOutUser() (*question, error) {
	p, err := v.subject()
	if err != nil {
		return nil, err
	}
	q := v.userQuestion(p, "sessions", v.T("Log out all sessions of %s?", p.Username))
	has, err := v.holdings(p)
	q.page.Then, q.page.Button, q.page.Bad, q.notice = v.barring(p, has), v.T("Log out all sessions"), true, "logged-out"
	q.act = func() error { return v.send(http.MethodPost, path("users", p.ID, "logout"), nil) }
	return q, err
}

// barring says what a not-before of a user that is set to now ends.
func (v *visit) barring(p *person, has holdings) []string {
	then := []string{
		v.N(has.sessions, "%d session ends: %s has to log in again.", "%d sessions end: %s has to log in again.", p.Username),
		v.N(has.offline, "%d offline session is refused from then on: no job gets a token by it until %s agrees again.",
			"%d offline sessions are refused from then on: no job gets a token by them until %s agrees again.", p.Username),
		v.T("Tokens from before are refused at once. Not before of %s is now; who logs in afterwards is not touched.", p.Username),
	}
	if v.self(p) {
		then = append(then, v.T("This is your own account: you are logged out here too."))
	}
	return then
}

// revokeUser asks before all offline sessions of a user end.
func (v *visit) revokeUser() (*question, error) {
	p, err := v.subject()
	if err != nil {
		return nil, err
	}
	q := v.userQuestion(p, "sessions", v.T("Revoke all offline sessions of %s?", p.Username))
	has, err := v.holdings(p)
	q.page.Then = []string{
		v.N(has.offline, "%d offline session ends for good, jobs included.", "%d offline sessions end for good, at all applications, jobs included."),
		v.T("%s stays logged in.", p.Username),
	}
	q.page.Button, q.page.Bad, q.notice = v.T("Revoke all"), true, "revoked-all"
	q.act = func() error { return v.send(http.MethodDelete, path("users", p.ID, "offline-sessions"), nil) }
	return q, err
}
