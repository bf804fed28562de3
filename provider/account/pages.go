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

// NewPages parses the embedded templates. The stylesheet is linked below
// resources; realm is the name that pages show.
func NewPages(resources, realm string) (*Pages, error) {
	templates, err := fs.Sub(files, "templates")
	if err != nil {
		return nil, fmt.Errorf("reading templates: %w", err)
	}
	set, err := page.New(templates, resources, realm)
	return &Pages{set}, err
}

func (p *Pages) render(v *visit, current, name, title string, view any) {
	p.set.Write(v.w, v.r, http.StatusOK, page.Page{Name: name, Title: title, View: view, Console: v.frame(current)})
}

// Form is where a form goes, with its proof and what it carries along.
type Form struct {
	Action string
	CSRF   string
	Fields []Field
}

// Field is a hidden field of a form.
type Field struct{ Name, Value string }

// Job is a job that used a grant.
type Job struct {
	Name     string
	LastUsed Moment
}

// Grant is one grant of an application.
type Grant struct {
	Granted Moment
	// From where: the browser in words, and the address.
	Browser, Address string
	Scopes           []string // in words
	LastUsed         Moment
	Used             bool    // since it was granted
	Unused           string  // how long it may rest before it ends, in words
	Ends             *Moment // however often it is used; nil: never
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
	Grant       *Grant // nil: all of the application
	Grants      int    // that the application has
	Whole       bool   // the application has nothing left afterwards
	Jobs        []Job  // that stop
	Within      string // when what was handed out already has run out
}

func (p *Pages) remove(v *visit, view Remove) {
	p.render(v, "", "remove", "Remove background access", view)
}
