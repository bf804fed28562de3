package console

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/page/pagetest"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/provider/visitor"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Every view, with names that somebody else chose, in testdata: a change is seen in
// review.
func TestPages(t *testing.T) {
	const evil = pagetest.Evil
	const bad = "javascript:alert(1)"
	look, err := page.NewLook(page.Config{Resources: "/realms/demo/resources", Name: func(context.Context) string { return evil }})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := NewPages(look)
	if err != nil {
		t.Fatal(err)
	}
	at := page.English.At(t0.Add(-49*time.Hour), t0)
	link := page.Link{Name: evil, URL: bad}
	head := Head{
		Title: evil, Mark: evil, Tone: "warm", Lead: evil, Above: link, Tabs: []page.Link{link, {Name: "Here", URL: "/here", Current: true}},
		Locked: evil, Notice: evil, Problem: evil, Actions: []Action{{Name: evil, URL: bad, Bad: true, Unseen: evil}},
	}
	form := Form{Action: "/x?a=b&c", CSRF: "proof", Fields: []Field{{evil, evil}}}
	cells := []Cell{{Text: evil}, {Text: evil, URL: bad}, {Links: []page.Link{link, link}}, {At: &at, Mark: evil, Tone: "bad"}, {Text: evil, Code: true, More: []string{evil}}}
	columns := []string{evil, "b", "c", "d", "e"}
	table := Table{
		Heading: evil, Caption: evil, Total: evil, Columns: columns, Rows: []Row{{Cells: cells, Actions: head.Actions}},
		Newer: bad, Older: "/older?a=b&c", Actions: head.Actions,
	}
	options := []Option{{Value: evil, Label: page.Text(evil), Selected: true}, {Value: "b", Label: "B"}}
	var inputs []Input
	for _, kind := range []string{"line", "area", "lines", "number", "span", "flag", "choice", "secret"} {
		inputs = append(inputs,
			Input{ID: "a-" + kind, Name: "a." + kind, Label: evil, Hint: evil, Kind: kind, Value: evil, On: true, Options: options, Unit: "unit", Required: true, Problem: evil},
			Input{ID: "b-" + kind, Name: "b." + kind, Label: "B", Kind: kind, Value: evil, Options: options, Unit: "unit", Locked: evil},
			Input{ID: "c-" + kind, Name: "c." + kind, Label: "C", Kind: kind, Value: evil, Options: options, Unit: "unit", Fixed: true})
	}
	facts := []Fact{{evil, cells[0]}, {"At", cells[3]}}
	for name, view := range map[string]any{
		"list":       List{Head: head, Search: &Search{Action: "/x", Fields: form.Fields, Inputs: inputs[:1], Clear: bad}, Tables: []Table{table, {Caption: "None", Empty: evil}}},
		"edit":       Edit{Head: head, Form: form, Facts: facts, Hint: evil, Groups: []Group{{Heading: evil, Inputs: inputs}}, Button: evil},
		"edit_asks":  Edit{Head: Head{Title: "Settings"}, Form: form, Then: []string{evil}, Groups: []Group{{Inputs: inputs[:1]}}},
		"edit_fixed": Edit{Head: Head{Title: "Settings"}, Form: form, Fixed: true},
		"confirm":    Confirm{Head: head, Form: form, Then: []string{evil}, Tables: []Table{table}, Button: evil, Bad: true, Back: bad},
		"panel":      Panel{Head: head, Facts: facts, Hint: evil, Actions: head.Actions},
	} {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			v := &visit{
				Visit: &visitor.Visit{
					W: rec, R: httptest.NewRequest(http.MethodGet, "/", nil), Now: t0, Settings: realm.Settings{Name: "demo", URL: "http://id.test"},
					User: &user.User{Username: evil}, Client: &client.Client{ClientID: "security-admin-console"},
				},
				h: &Handler{Pages: pages}, base: "/admin/demo/console", menu: "users",
			}
			template, _, _ := strings.Cut(name, "_")
			v.render(http.StatusOK, template, evil, view)
			pagetest.Golden(t, name, rec)
		})
	}
}
