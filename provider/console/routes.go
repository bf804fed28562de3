package console

import (
	"slices"

	"github.com/nightlatch/nightlatch/page"
)

// route is one page of the console.
type route struct {
	path string // below the console
	menu string // the entry that it belongs to
	get  action
	post action // nil: the page changes nothing
}

// routes is the one list of pages.
var routes = slices.Concat([]route{
	{"/{$}", "", (*visit).overview, nil},
}, settingsRoutes, clientRoutes)

// menu in the order in which it is shown.
var menu = []struct {
	path string
	name page.Text
}{
	{"", "Overview"},
	{"settings", "Realm settings"},
	{"clients", "Clients"},
}

const consoleName page.Text = "Administration"

// notices by what was done.
var notices = map[string]page.Text{
	"saved":    "Saved.",
	"created":  "Created.",
	"deleted":  "Deleted.",
	"enabled":  "Enabled.",
	"disabled": "Disabled.",
}
