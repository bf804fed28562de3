package console

import (
	"net/http"
	"strconv"

	"github.com/nightlatch/nightlatch/page"
)

// stat is how many sessions a client has.
type stat struct {
	ID       string   `json:"id"`
	ClientID string   `json:"clientId"`
	Active   number64 `json:"active"`
	Offline  number64 `json:"offline"`
}

// number64 is a number that the REST writes as a text.
type number64 int

// UnmarshalText reads it.
func (n *number64) UnmarshalText(text []byte) error {
	i, err := strconv.Atoi(string(text))
	*n = number64(i)
	return err
}

// overview shows which applications have sessions, offline ones before all.
func (v *visit) overview() error {
	var stats []stat
	if err := v.get(&stats, "client-session-stats"); err != nil {
		return err
	}
	table := Table{
		Caption: v.T("Sessions by client"), Columns: []string{v.T("Client"), v.T("Offline sessions"), v.T("Active sessions")},
		Empty: v.T("Nobody is logged in, and no application has background access."),
	}
	for _, s := range stats {
		table.Rows = append(table.Rows, Row{Cells: []Cell{
			{Text: s.ClientID, URL: v.at(path("clients", s.ID))},
			{Text: page.Number(int(s.Offline)), URL: v.at(path("clients", s.ID, "offline"))},
			{Text: page.Number(int(s.Active)), URL: v.at(path("clients", s.ID, "sessions"))},
		}})
	}
	head := Head{
		Title: v.T("Overview"), Notice: v.notice(),
		Lead: v.T("Which applications people are logged in to, and which may act for them while they are away."),
	}
	v.render(http.StatusOK, "list", head.Title, List{Head: head, Tables: []Table{table}})
	return nil
}
