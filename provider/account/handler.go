package account

import (
	"context"
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
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/provider/visitor"
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
	profile := map[string]answerer{http.MethodGet: h.getProfile, http.MethodPost: h.postProfile}
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
	words    *page.Words
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

func (h *Handler) reception() visitor.Reception {
	return visitor.Reception{
		Store: h.Store, Realm: h.Realm, Browser: h.Browser, Now: h.Now, Random: h.Random, Client: client.Account, Step: "account",
	}
}

// visit tells who asks. Nobody is nil without an error: the answer is on its way
// to the login.
func (h *Handler) visit(w http.ResponseWriter, r *http.Request) (*visit, error) {
	v, err := h.reception().Receive(w, r)
	if v == nil {
		return nil, err
	}
	return &visit{w: w, r: r, params: v.Params, now: v.Now, words: h.Pages.set.Words(r), settings: v.Settings, session: v.Session, user: v.User}, err
}

// moment is an instant in words.
func (v *visit) moment(t time.Time) page.Moment { return v.words.At(t, v.now) }

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
	proof := h.reception().Proof(&visitor.Visit{W: v.w, R: v.r, Now: v.now, Session: v.session})
	return Form{Action: v.at(page), CSRF: proof}
}

// frame is what surrounds a page.
func (v *visit) frame(current string) *page.Console {
	c := &page.Console{
		Name: v.words.T(consoleName), User: personName(v.user),
		Logout: v.settings.Path() + "/protocol/openid-connect/logout?client_id=" + client.Account,
	}
	for _, entry := range menu {
		c.Menu = append(c.Menu, page.Link{Name: v.words.T(entry.name), URL: v.at(entry.path), Current: entry.path == current})
	}
	return c
}

// notice is what a page says of the step before it.
func (v *visit) notice() string { return v.words.T(notices[v.params.Get("done")]) }

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
