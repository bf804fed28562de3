package console

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/provider/visitor"
	"github.com/nightlatch/nightlatch/provider/web"
)

// Handler serves the console. Every field is needed.
type Handler struct {
	Reception visitor.Reception
	// REST is the administrators' REST in a user's name, by way of the console's
	// client. It judges what he may.
	REST   func(u *user.User, via *client.Client) http.Handler
	Pages  *Pages
	Errors *web.Pages
	Log    *slog.Logger
}

// action answers a request of an administrator.
type action func(*visit) error

// Mount serves the console at base, the path of the console without a trailing
// slash: /admin/{realm}/console.
func (h *Handler) Mount(mux *http.ServeMux, base string) {
	for _, rt := range routes {
		mux.HandleFunc(base+rt.path, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, base, rt) })
	}
	mux.HandleFunc(base, func(w http.ResponseWriter, _ *http.Request) { endpoint.SeeOther(w, base+"/") })
	mux.HandleFunc(base+"/", func(w http.ResponseWriter, r *http.Request) {
		h.serve(w, r, base, route{get: func(*visit) error { return errNothing }})
	})
}

var errNothing = oidc.Errorf(oidc.CodeInvalidRequest, "there is no such page in the console").WithStatus(http.StatusNotFound)

// visit is one request of an administrator.
type visit struct {
	*visitor.Visit
	h     *Handler
	rest  http.Handler
	base  string // path of the console
	menu  string // current entry
	realm realmView
	made  string // id of what the last request of the REST made
}

// realmView is what every page knows of the realm.
type realmView struct {
	Name        string   `json:"realm"`
	DisplayName string   `json:"displayName"`
	NotBefore   int64    `json:"notBefore"` // Unix seconds, 0: none
	Declared    []string `json:"declared"`
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, base string, rt route) {
	methods := []string{http.MethodGet, http.MethodHead}
	if rt.post != nil {
		methods = append(methods, http.MethodPost)
	}
	if !endpoint.Method(w, r, methods...) {
		return
	}
	act := rt.get
	if r.Method == http.MethodPost {
		act = rt.post
	}
	got, err := h.Reception.Receive(w, r)
	if err == nil && got != nil {
		v := &visit{Visit: got, h: h, rest: h.REST(got.User, got.Client), base: base, menu: rt.menu}
		// Who is no administrator learns here that he is none, whatever he asked for.
		if err = v.get(&v.realm, ""); err == nil {
			err = act(v)
		}
	}
	if refused := (*Refused)(nil); errors.As(err, &refused) {
		// One that the page itself did not show beside a field.
		err = oidc.Errorf(oidc.CodeInvalidRequest, "%s", refused.Error()).WithStatus(refused.Status)
	}
	if err != nil {
		endpoint.Page(w, r, h.Log, h.Errors, err)
	}
}

// at is the address of a page of the console; parameters come in pairs, one
// without a value is left out.
func (v *visit) at(page string, params ...string) string {
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		if params[i+1] != "" {
			q.Set(params[i], params[i+1])
		}
	}
	return endpoint.WithQuery(v.base+"/"+page, q)
}

// words are those of the language that the browser asks for: v.words().T("…").
func (v *visit) words() *page.Words { return v.h.Pages.set.Words(v.R) }

// T says a text in the language of the browser.
func (v *visit) T(text page.Text, values ...any) string { return v.words().T(text, values...) }

// N says a text about n things.
func (v *visit) N(n int, one, other page.Text, values ...any) string {
	return v.words().N(n, one, other, values...)
}

// form makes a form that goes to a page.
func (v *visit) form(page string, fields ...Field) Form {
	return Form{Action: v.at(page), CSRF: v.h.Reception.Proof(v.Visit), Fields: fields}
}

// notice is what a page says of the step before it.
func (v *visit) notice() string { return v.words().T(notices[v.Params.Get("done")]) }

// done goes on to a page that says what was done; notice is a key of notices.
func (v *visit) done(page, notice string, params ...string) error {
	endpoint.SeeOther(v.W, v.at(page, append(params, "done", notice)...))
	return nil
}

// frame is what surrounds a page.
func (v *visit) frame() *page.Console {
	c := &page.Console{
		Name: v.words().T(consoleName), User: v.User.Username, Wide: true,
		Logout: endpoint.WithQuery(v.Settings.Path()+"/protocol/openid-connect/logout", url.Values{"client_id": {v.Client.ClientID}}),
	}
	for _, entry := range menu {
		c.Menu = append(c.Menu, page.Link{Name: v.words().T(entry.name), URL: v.at(entry.path), Current: entry.path == v.menu})
	}
	return c
}

// tabs of a thing below at, e.g. clients/{id}; current is the page of one.
func (v *visit) tabs(at string, of []tab, current string) []page.Link {
	var out []page.Link
	for _, t := range of {
		out = append(out, page.Link{Name: v.words().T(t.name), URL: v.at(strings.TrimSuffix(at+"/"+t.path, "/")), Current: t.path == current})
	}
	return out
}

// tab of a thing that has several pages.
type tab struct {
	path string // of it, below the thing
	name page.Text
}
