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
}, clientRoutes, userRoutes, sessionRoutes, settingsRoutes)

// menu in the order in which it is shown.
var menu = []struct {
	path string
	name page.Text
}{
	{"", "Overview"},
	{"clients", "Clients"},
	{usersMenu, "Users"},
	{sessionsMenu, "Sessions"},
	{"settings", "Realm settings"},
}

const consoleName page.Text = "Administration"

// notices by what was done.
var notices = map[string]page.Text{
	"saved":              "Saved.",
	"created":            "Created.",
	"deleted":            "Deleted.",
	"enabled":            "Enabled.",
	"disabled":           "Disabled.",
	"gone":               "That had ended already.",
	"signed-out":         "Signed out there.",
	"revoked":            "Revoked. It cannot act for anybody any more.",
	"logged-out":         "All sessions are logged out, and offline sessions from before are refused.",
	"password-set":       "The password is set.",
	"role-assigned":      "The role is assigned.",
	"role-unassigned":    "The role is unassigned.",
	"consent-revoked":    "Revoked. The client has to ask again.",
	"revoked-all":        "All offline sessions are revoked.",
	"not-before-set":     "Not before is now: what was issued until then is refused.",
	"not-before-cleared": "Not before is cleared.",
	"pushed":             "No application had to be told: it is in force already.",
	"user-created":       "The user is there. Without a password nobody can log in as them.",
	"new-secret":         "The new secret is there; it is shown for an hour.",
}
