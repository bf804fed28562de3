package console

import "slices"

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
var menu = []struct{ page, name string }{
	{"", "Overview"},
	{"settings", "Realm settings"},
	{"clients", "Clients"},
}

const consoleName = "Administration"

// notices by what was done.
var notices = map[string]string{
	"saved":    "Saved.",
	"created":  "Created.",
	"deleted":  "Deleted.",
	"enabled":  "Enabled.",
	"disabled": "Disabled.",
}
