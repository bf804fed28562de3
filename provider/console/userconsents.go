package console

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/nightlatch/nightlatch/page"
)

// consent is what a user allowed a client, or offline tokens that it has without.
type consent struct {
	Client  string   `json:"clientId"`
	Scopes  []string `json:"grantedClientScopes"`
	Created int64    `json:"createdDate"`     // Unix milliseconds; 0: no consent
	Updated int64    `json:"lastUpdatedDate"` // Unix milliseconds
	More    []struct {
		Client string `json:"client"` // id
		Key    string `json:"key"`
	} `json:"additionalGrants"`
}

func (v *visit) consents(p *person) (all []consent, err error) {
	return all, v.get(&all, path("users", p.ID, "consents"))
}

// additional grants in words, by the REST's.
var additional = map[string]page.Text{"Offline Token": "Offline token"}

// userConsents shows what a user allowed which client.
func (v *visit) userConsents() error {
	p, err := v.subject()
	if err != nil {
		return err
	}
	all, err := v.consents(p)
	if err != nil {
		return err
	}
	table := Table{
		Caption: v.T("Consents of %s", p.Username), Empty: v.T("%s has allowed nothing to any client.", p.Username),
		Columns: []string{v.T("Client"), v.T("Granted client scopes"), v.T("Created"), v.T("Last updated"), v.T("Additional grants")},
	}
	for _, c := range all {
		client, scopes, more := Cell{Text: c.Client}, Cell{Text: "—"}, Cell{Text: "—"}
		if len(c.Scopes) > 0 {
			scopes.Text = strings.Join(c.Scopes, ", ")
		}
		for _, m := range c.More {
			client.URL = v.at(path("clients", m.Client))
			more = Cell{Mark: v.T(additional[m.Key]), Tone: "warm"}
		}
		table.Rows = append(table.Rows, Row{
			Cells: []Cell{client, scopes, v.moment(c.Created), v.moment(c.Updated), more},
			Actions: []Action{{
				Name: v.T("Revoke"), Unseen: v.T("Revoke: %s", c.Client), URL: v.at(path("users", p.ID, "consents", "revoke"), "client", c.Client), Bad: true,
			}},
		})
	}
	v.render(http.StatusOK, "list", p.Username+" · "+v.T("Consents"), List{Head: v.userHead(p, "consents"), Tables: []Table{table}})
	return nil
}

// shownEnding is how many of the sessions that end a question names.
const shownEnding = 10

// revokeConsent asks before it takes a consent back, with the offline sessions
// that end by it.
func (v *visit) revokeConsent() (*question, error) {
	p, err := v.subject()
	if err != nil {
		return nil, err
	}
	name := v.Params.Get("client")
	q := v.userQuestion(p, "consents", v.T("Revoke what %s allowed %s?", p.Username, name))
	q.notice, q.fields = "consent-revoked", []Field{{"client", name}}
	q.page.Button, q.page.Bad = v.T("Revoke"), true
	var clients []struct {
		ID string `json:"id"`
	}
	if err := v.get(&clients, "clients", "clientId", name); err != nil {
		return q, err
	}
	if len(clients) == 0 || name == "" {
		return q, errGone
	}
	ends, err := v.count(path("users", p.ID, "offline-session-count"), "client", clients[0].ID)
	if err != nil {
		return q, err
	}
	var sessions []session
	if err := v.get(&sessions, path("users", p.ID, "offline-sessions", clients[0].ID), "max", fmt.Sprint(shownEnding)); err != nil {
		return q, err
	}
	q.page.Then = []string{
		v.N(ends, "%d offline session ends for good: the client cannot act for %s by it any more, jobs included.",
			"%d offline sessions end for good: the client cannot act for %s by them any more, jobs included.", p.Username),
		v.T("The consent goes: the client has to ask again."),
	}
	if ends > 0 {
		table := Table{Caption: v.T("Offline sessions that end"), Columns: []string{v.T("Started"), v.T("Last access"), v.T("IP address")}}
		if ends > len(sessions) {
			table.Total = v.T("%d of %d", len(sessions), ends)
		}
		for _, s := range sessions {
			table.Rows = append(table.Rows, Row{Cells: []Cell{v.started(s), v.moment(s.LastAccess), v.from(s)}})
		}
		q.page.Tables = []Table{table}
	}
	q.act = func() error { return v.send(http.MethodDelete, path("users", p.ID, "consents", name), nil) }
	return q, nil
}
