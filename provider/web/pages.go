package web

import (
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/oidc"
)

//go:embed templates
var files embed.FS

// Pages renders the pages of one realm. It is safe for concurrent use.
type Pages struct{ set *page.Set }

// autoSubmit is the only script of any page. Its hash stands in the policy of
// the page that has it.
const autoSubmit = `document.forms[0].submit()`

// New parses the embedded templates.
func New(look *page.Look) (*Pages, error) {
	templates, err := fs.Sub(files, "templates")
	if err != nil {
		return nil, fmt.Errorf("reading templates: %w", err)
	}
	set, err := page.New(templates, views, look)
	return &Pages{set}, err
}

// views of the pages, by the name of their template.
var views = page.Views{
	"login": Login{}, "consent": Consent{}, "device": Device{}, "devicedone": DeviceDone{}, "logout": Logout{}, "loggedout": nil,
	"error": Failure{}, "formpost": FormPost{},
}

func (p *Pages) render(w http.ResponseWriter, r *http.Request, status int, name string, title page.Text, view any) {
	p.set.Write(w, r, status, page.Page{Name: name, Title: p.Words(r).T(title), View: view})
}

// Words are those of the language that a request asks for: what a view holds is
// said by its endpoint.
func (p *Pages) Words(r *http.Request) *page.Words { return p.set.Words(r) }

// Static serves what pages link to below their resources.
func (p *Pages) Static(w http.ResponseWriter, r *http.Request) {
	if !p.set.Serve(w, r) {
		p.NotFound(w, r)
	}
}

// Login is the view of the login page.
type Login struct {
	Action   string // where the form goes
	CSRF     string
	Client   string // name of the application that asks
	Username string // filled in beforehand
	Problem  string // why the last attempt failed, "" for none
	// RememberMe offers the checkbox.
	RememberMe bool
}

// Login shows the login form; after a failed attempt too with 200: 401 would
// need a challenge that browsers do not know (RFC 9110 §15.5.2).
func (p *Pages) Login(w http.ResponseWriter, r *http.Request, v Login) {
	p.render(w, r, http.StatusOK, "login", "Log in", v)
}

// Consent is the view of the consent page.
type Consent struct {
	Action string
	CSRF   string
	Client string
	User   string
	Scopes []string // in words
	// Offline tells that the application wants to act while the user is away.
	Offline bool
	// Jobs that want to, by name.
	Jobs []Job
	// UserCode of the device that asks, to compare; "": it is no device.
	UserCode string
	Account  string // address of the account console, where it can be taken back
}

// Job is a job that the consent names, and what it may do, in words.
type Job struct{ Name, May string }

// Consent shows what an application asks for.
func (p *Pages) Consent(w http.ResponseWriter, r *http.Request, v Consent) {
	p.render(w, r, http.StatusOK, "consent", "Allow access", v)
}

// Device is the view of the page for a device's code.
type Device struct {
	Action   string
	CSRF     string
	UserCode string // filled in beforehand
	Problem  string // why the last code was refused, "" for none
}

// Device asks for the code that a device shows.
func (p *Pages) Device(w http.ResponseWriter, r *http.Request, v Device) {
	p.render(w, r, http.StatusOK, "device", "Connect a device", v)
}

// DeviceDone is the view of the end: whether the user let the device in.
type DeviceDone struct {
	Client    string
	Connected bool
}

// DeviceDone tells that the user can go back to the device.
func (p *Pages) DeviceDone(w http.ResponseWriter, r *http.Request, v DeviceDone) {
	title := page.Text("Device not connected")
	if v.Connected {
		title = "Device connected"
	}
	p.render(w, r, http.StatusOK, "devicedone", title, v)
}

// Logout is the view of the logout confirmation.
type Logout struct {
	Action string
	CSRF   string
	User   string
	// Parameters of the request, to go on with once it is confirmed.
	Fields  []Field
	Account string // address of the account console
}

// Logout asks whether to log out.
func (p *Pages) Logout(w http.ResponseWriter, r *http.Request, v Logout) {
	p.render(w, r, http.StatusOK, "logout", "Log out", v)
}

// LoggedOut tells that nobody is logged in any more.
func (p *Pages) LoggedOut(w http.ResponseWriter, r *http.Request) {
	p.render(w, r, http.StatusOK, "loggedout", "Logged out", nil)
}

// Failure is the view of the error page.
type Failure struct {
	Heading, Description string
	Code                 string // of the protocol
	ID                   string // of the log's entry, for the operator; "" for none
}

// NotFound tells that an address leads nowhere.
func (p *Pages) NotFound(w http.ResponseWriter, r *http.Request) {
	p.Error(w, r, http.StatusNotFound, "not_found", "There is no such page here.", "")
}

// Error shows why something cannot go on. code is the protocol's, id the one in
// the log ("": none). A description that is not in the catalogue is a developer's
// affair and stays English.
func (p *Pages) Error(w http.ResponseWriter, r *http.Request, status int, code, description, id string) {
	heading := page.Text("This did not work")
	switch {
	case status == http.StatusNotFound:
		heading = "Nothing here"
	case status == http.StatusServiceUnavailable:
		heading = "Please try again in a moment"
	case status >= 500:
		heading = "Something went wrong on our side"
	}
	words := p.Words(r)
	text := words.T(page.Text(sentence(description)))
	if wait, err := strconv.Atoi(w.Header().Get("Retry-After")); err == nil && code == oidc.CodeSlowDown {
		text = words.T("Too many attempts were wrong; try again in %s.", words.Span(time.Duration(wait)*time.Second))
	}
	p.render(w, r, status, "error", heading, Failure{words.T(heading), text, code, id})
}

// sentence makes one of a description as errors have it. The name of a
// parameter stays as it is.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	if first, _, _ := strings.Cut(s, " "); !strings.Contains(first, "_") {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	return strings.TrimSuffix(s, ".") + "."
}

// Field is a hidden field of a form.
type Field struct{ Name, Value string }

// FormPost is the view of the form that posts an authorization response.
type FormPost struct {
	Action string
	Fields []Field
	Script template.JS
}

// FormPost sends parameters to a client by a form that submits itself, or by a
// button without scripts (OAuth 2.0 Form Post Response Mode).
func (p *Pages) FormPost(w http.ResponseWriter, r *http.Request, uri string, params url.Values) {
	v := FormPost{Action: uri, Script: template.JS(autoSubmit)}
	for name, values := range params {
		for _, value := range values {
			v.Fields = append(v.Fields, Field{name, value})
		}
	}
	slices.SortFunc(v.Fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	p.set.Write(w, r, http.StatusOK, page.Page{Name: "formpost", Title: p.Words(r).T("One moment"), View: v, Script: autoSubmit})
}
