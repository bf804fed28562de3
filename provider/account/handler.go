package account

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/provider/web"
	"github.com/nightlatch/nightlatch/storage"
)

// Handler serves the console. Every field but Uses is needed.
type Handler struct {
	Store   *storage.Store
	Realm   string
	Browser session.Browser
	Ring    *keys.Ring
	Hasher  *user.Hasher
	Pages   *Pages
	Errors  *web.Pages
	Now     func() time.Time
	Random  io.Reader
	Log     *slog.Logger
	Audit   *audit.Log
	// Uses tells which jobs got a token of an offline session, each with the last
	// time; nil: nobody knows.
	Uses func(ctx context.Context, offlineSession string) (map[string]time.Time, error)
}

// action answers a request of somebody who is logged in.
type action func(*visit) error

// Mount serves the console below the realm's path.
func (h *Handler) Mount(mux *http.ServeMux, base string) {
	type route struct {
		get, post action
		rest      map[string]answerer
	}
	profile := map[string]answerer{http.MethodGet: h.getProfile}
	for path, r := range map[string]route{
		"":              {get: h.access, rest: profile},
		"/{$}":          {get: h.access, rest: profile},
		"/remove":       {get: h.askRemove, post: h.remove},
		"/sessions":     {get: h.sessions, rest: map[string]answerer{http.MethodGet: h.getSessions, http.MethodDelete: h.deleteSessions}},
		"/sign-out":     {get: h.askSignOut, post: h.signOut},
		"/applications": {get: h.applications, rest: map[string]answerer{http.MethodGet: h.getApplications}},
		"/password":     {get: h.askPassword, post: h.setPassword},
		"/profile":      {get: h.askProfile, post: h.setProfile},
		"/activity":     {get: h.activity},
	} {
		mux.HandleFunc(base+"/account"+path, func(w http.ResponseWriter, req *http.Request) {
			if r.rest != nil && wantsJSON(req) {
				h.answer(w, req, r.rest)
				return
			}
			h.serve(w, req, r.get, r.post)
		})
	}
	h.mountREST(mux, base+"/account")
}

// visit is one request of somebody who is logged in.
type visit struct {
	w        http.ResponseWriter
	r        *http.Request
	params   url.Values // of the query, or of the form of a POST
	now      time.Time
	settings realm.Settings
	session  *session.UserSession
	user     *user.User
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, get, post action) {
	methods := []string{http.MethodGet, http.MethodHead}
	if post != nil {
		methods = append(methods, http.MethodPost)
	}
	if !endpoint.Method(w, r, methods...) {
		return
	}
	act := get
	if r.Method == http.MethodPost {
		act = post
	}
	v, err := h.visit(w, r)
	if err == nil && v != nil {
		err = act(v)
	}
	if err != nil {
		endpoint.Page(w, r, h.Log, h.Errors, err)
	}
}

// step of the console's forms in their CSRF proofs.
const step = "account"

// visit tells who asks. Nobody is nil without an error: the answer is on its way
// to the login.
func (h *Handler) visit(w http.ResponseWriter, r *http.Request) (*visit, error) {
	v := &visit{w: w, r: r, now: h.Now().UTC()}
	var err error
	if r.Method == http.MethodPost {
		v.params, err = endpoint.Form(w, r)
	} else {
		v.params, err = endpoint.Query(r)
	}
	if err != nil {
		return nil, err
	}
	var console *client.Client
	err = h.Store.View(r.Context(), func(tx storage.Tx) error {
		var err error
		if v.settings, err = realm.Get(tx, h.Realm); err != nil {
			return err
		}
		if console, err = client.ByName(tx, h.Realm, client.Account); err != nil {
			return err
		}
		v.session, v.user, err = standing.LoggedIn(tx, v.settings, h.Browser.Login(r), v.now)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) || err == nil && !console.Enabled {
		return nil, errOff
	}
	if err != nil {
		return nil, err
	}
	if v.user == nil {
		return nil, h.logIn(v, console)
	}
	if r.Method == http.MethodPost {
		_, err = h.Browser.Proves(r, step, v.session.ID, v.params.Get("csrf"), v.now, 0)
	}
	return v, err
}

// logIn sends the browser to the realm's login page, which sends it back here; a
// form that came too late goes to the page that it was on.
func (h *Handler) logIn(v *visit, console *client.Client) error {
	to := v.r.URL.EscapedPath()
	if v.r.Method == http.MethodPost {
		v.params = nil
	}
	to = endpoint.WithQuery(to, v.params)
	id, flow := oidc.NewID(h.Random), session.HashFlow(h.Browser.Flow(v.w, v.r, h.Random))
	err := h.Store.Update(v.r.Context(), func(tx storage.Tx) error {
		return session.Await(tx, h.Realm, id, &session.AuthorizationRequest{
			Client: console.ID, Page: to, Started: v.now, Expires: v.now.Add(v.settings.LoginTimeout), Browser: flow,
		})
	})
	if err == nil {
		endpoint.SeeOther(v.w, v.settings.Action("authenticate", id))
	}
	return err
}

// at is the address of a page of the console.
func (v *visit) at(page string, params ...string) string {
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	return endpoint.WithQuery(v.settings.Account()+page, q)
}

// form makes a form that goes to a page of the console.
func (h *Handler) form(v *visit, page string) Form {
	h.Browser.Flow(v.w, v.r, h.Random)
	return Form{Action: v.at(page), CSRF: h.Browser.Proof(v.r, step, v.session.ID, v.now)}
}

// frame is what surrounds a page.
func (v *visit) frame(current string) *page.Console {
	c := &page.Console{
		Name: consoleName, User: personName(v.user),
		Logout: v.settings.Path() + "/protocol/openid-connect/logout?client_id=" + client.Account,
	}
	for _, entry := range menu {
		c.Menu = append(c.Menu, page.Link{Name: entry.name, URL: v.at(entry.page), Current: entry.page == current})
	}
	return c
}

// notice is what a page says of the step before it.
func (v *visit) notice() string { return notices[v.params.Get("done")] }

// done goes on to a page that says what was done.
func (v *visit) done(page, notice string) {
	endpoint.SeeOther(v.w, v.at(page, "done", notice))
}

// leave goes to the realm's logout, which says that nobody is logged in.
func (v *visit) leave() { endpoint.SeeOther(v.w, v.settings.Path()+"/protocol/openid-connect/logout") }

// change repeats a step in as many transactions as it takes, with the events of
// what it did; again tells the further ones from the first.
func (h *Handler) change(v *visit, step func(tx storage.Tx, again bool) (events []event.Event, more bool, err error)) error {
	ip := endpoint.ClientIP(v.r)
	for again, more := false, true; more; again = true {
		err := h.Audit.Update(v.r.Context(), func(tx storage.Tx, tell audit.Tell) error {
			events, rest, err := step(tx, again)
			for i := range events {
				events[i].IP = ip
			}
			tell(events...)
			more = rest
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
