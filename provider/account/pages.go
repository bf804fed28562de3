package account

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/nightlatch/nightlatch/page"
)

//go:embed all:templates
var files embed.FS

// Pages renders the console of one realm. It is safe for concurrent use.
type Pages struct{ set *page.Set }

// NewPages parses the embedded templates.
func NewPages(look *page.Look) (*Pages, error) {
	templates, err := fs.Sub(files, "templates")
	if err != nil {
		return nil, fmt.Errorf("reading templates: %w", err)
	}
	set, err := page.New(templates, views, look)
	return &Pages{set}, err
}

// views of the pages, by the name of their template.
var views = page.Views{
	"access": Access{}, "remove": Remove{}, "sessions": Sessions{}, "signout": SignOut{}, "applications": Applications{},
	"password": Password{}, "profile": Profile{}, "activity": Activity{},
}

func (p *Pages) render(v *visit, current, name string, title page.Text, view any) {
	p.set.Write(v.w, v.r, http.StatusOK, page.Page{Name: name, Title: v.words.T(title), View: view, Console: v.frame(current)})
}

// Form is where a form goes, with its proof and what it carries along.
type Form struct {
	Action string
	CSRF   string
	Fields []Field
}

// Field is a hidden field of a form.
type Field struct{ Name, Value string }

// Job is a job that may use a grant, or has done so.
type Job struct {
	Name     string
	Sees     []string // in words
	Used     bool
	LastUsed page.Moment
	Remove   string // address; "": it goes with the grant alone
}

// Grant is one grant of an application.
type Grant struct {
	Granted page.Moment
	// From where: the browser in words, and the address.
	Browser, Address string
	Scopes           []string // in words
	LastUsed         page.Moment
	Used             bool         // since it was granted
	Unused           string       // how long it may rest before it ends, in words
	Ends             *page.Moment // however often it is used; nil: never
	Jobs             []Job
	Remove           string // address
}

// Application is one with background access.
type Application struct {
	Name, Description string
	URL               string // "" for none
	Paused            string // why it does not work at present, "" if it does
	Grants            []Grant
	Remove            string // address
}

// Access is the view of the first page.
type Access struct {
	Notice       string
	Applications []Application
}

func (p *Pages) access(v *visit, view Access) {
	p.render(v, "", "access", "Background access", view)
}

// Remove is the view of what is asked before a removal.
type Remove struct {
	Form
	Back        string
	Application string
	Job         string // alone; "": the access as a whole
	Grant       *Grant // nil: all of the application
	Grants      int    // that the application has
	Whole       bool   // the application has nothing left afterwards
	Jobs        []Job  // that stop
	Within      string // when what was handed out already has run out
}

func (p *Pages) remove(v *visit, current string, view Remove) {
	p.render(v, current, "remove", "Remove background access", view)
}

// Login is a place where the person is logged in.
type Login struct {
	Here             bool // this very browser
	Browser, Address string
	Started          page.Moment
	LastAccess       page.Moment
	Applications     []string
	SignOut          string // address
}

// Sessions is the view of the logins.
type Sessions struct {
	Notice     string
	Logins     []Login
	More       bool   // there are more than these
	Everywhere string // address
}

func (p *Pages) sessions(v *visit, view Sessions) {
	p.render(v, "/sessions", "sessions", "Sessions", view)
}

// SignOut is the view of what is asked before a sign-out.
type SignOut struct {
	Form
	Back  string
	Login *Login // nil: everywhere
	// Grants that the tick ends too, and the applications that have them.
	Grants       int
	Applications []string
}

func (p *Pages) signOut(v *visit, view SignOut) {
	p.render(v, "/sessions", "signout", "Sign out", view)
}

// Consent is what one application was allowed.
type Consent struct {
	Name, Description, URL string
	Scopes                 []string // in words
	Background             bool
	Given                  page.Moment
	Changed                *page.Moment // nil: not since
	Remove                 string       // address
}

// Applications is the view of what was consented to.
type Applications struct {
	Notice   string
	Consents []Consent
}

func (p *Pages) applications(v *visit, view Applications) {
	p.render(v, "/applications", "applications", "Applications", view)
}

// Password is the view of the form for a new password.
type Password struct {
	Form
	Notice, Problem string
	Username        string // for the browser's keeper of passwords
	Shortest        int    // in characters
	Longest         int    // in bytes
}

func (p *Pages) password(v *visit, view Password) {
	p.render(v, "/password", "password", "Password", view)
}

// Profile is the view of a person's names and address.
type Profile struct {
	Form
	Notice, Problem string
	Username        string
	Inputs          []ProfileField
	Longest         int  // in bytes
	Editable, Fixed bool // some fields are
}

// ProfileField is one of them.
type ProfileField struct {
	Name, Label, Type, Autocomplete, Value string
	Fixed                                  bool // by the configuration
}

func (p *Pages) profile(v *visit, view Profile) {
	p.render(v, "/profile", "profile", "Personal info", view)
}

// Entry is an event, or some that are alike.
type Entry struct {
	At          page.Moment
	Text        string
	Reason      string // "" for none
	Application string // "" for none
	Address     string
	Refused     bool
	Times       int
	Since       page.Moment // the first of them
}

// Activity is the view of a person's events.
type Activity struct {
	Entries []Entry
	First   bool   // it is the newest page
	Newest  string // address
	Older   string // address, "" for the last page
}

func (p *Pages) activity(v *visit, view Activity) {
	p.render(v, "/activity", "activity", "Activity", view)
}
