package console

import (
	"embed"
	"fmt"
	"io/fs"

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
var views = page.Views{"edit": Edit{}, "list": List{}, "confirm": Confirm{}, "panel": Panel{}}

func (v *visit) render(status int, name, title string, view any) {
	v.h.Pages.set.Write(v.W, v.R, status, page.Page{Name: name, Title: title, View: view, Console: v.frame()})
}

// Form is where a form goes, with its proof and what it carries along.
type Form struct {
	Action string
	CSRF   string
	Fields []Field
}

// Field is a hidden field of a form.
type Field struct{ Name, Value string }

// Head is what stands at the head of a page.
type Head struct {
	Title string
	Mark  string // a badge behind it, "" for none
	Tone  string // of the badge: good, warm, bad, quiet
	Lead  string
	Above page.Link // the page that this one belongs to; without a URL: none
	Tabs  []page.Link
	// Locked says where the thing is declared, "" if it is not.
	Locked  string
	Notice  string
	Problem string
	Actions []Action // of the page as a whole
}

func pageLink(name, url string) page.Link { return page.Link{Name: name, URL: url} }

// Action is a link to a page that asks, or that makes something new.
type Action struct {
	Name, URL string
	Bad       bool   // it ends or deletes something
	Unseen    string // what a screen reader says instead of the name
}

// Edit is the view of a page that changes a record.
type Edit struct {
	Head
	Form
	Facts  []Fact   // that nobody changes
	Hint   string   // what the change means, "" for nothing
	Then   []string // what it will end: the page asks before
	Groups []Group
	Fixed  bool   // nothing of it can be changed here
	Button string // "": Save
}

// Group of inputs under a heading, "" for none.
type Group struct {
	Heading string
	Inputs  []Input
}

// List is the view of a page that lists things.
type List struct {
	Head
	Search *Search // nil: there is nothing to search by
	Tables []Table
}

// Search is a form that reads, so it goes by GET.
type Search struct {
	Action string
	Fields []Field // that it carries along
	Inputs []Input
	Clear  string // address of the page without it, "" when nothing is searched for
}

// Table of a list.
type Table struct {
	Heading string // "": the page's own will do
	Caption string // for screen readers
	Total   string // how many there are in all, "" if nobody knows
	Columns []string
	Rows    []Row
	Empty   string // what stands there when there are no rows
	First   string // address of the first page, of a list that only goes on; "" on it
	Newer   string // address of the page before, "" for none
	Older   string // address of the next page, "" for none
	Actions []Action
}

// Row of a table.
type Row struct {
	Cells   []Cell
	Actions []Action
}

// Cell of a row.
type Cell struct {
	Text  string
	URL   string
	Links []page.Link  // instead of the text
	More  []string     // further texts, each on its own line
	At    *page.Moment // instead of the text
	Mark  string       // a badge behind it, "" for none
	Tone  string       // of the badge: good, warm, bad, quiet
	Code  bool         // a name that is typed exactly so
}

// Confirm is the view of a page that asks before it changes something.
type Confirm struct {
	Head
	Form
	Then   []string // what it will touch, and how much of it
	Tables []Table  // of it
	Button string
	Bad    bool // it ends or deletes something
	Back   string
}

// Panel is the view of a page that shows facts, and pages that change them.
type Panel struct {
	Head
	Facts   []Fact
	Hint    string   // what they mean
	Actions []Action // pages that ask before they change them
}

// Fact is a thing with its name.
type Fact struct {
	Name string
	Cell
}
