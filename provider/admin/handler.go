package admin

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// Handler serves the administrators' REST of a realm. Every field is needed.
type Handler struct {
	Store  *storage.Store
	Realm  string
	Ring   *keys.Ring
	Sealer storage.Sealer
	// SecretKey is the key of client.HashSecret.
	SecretKey []byte
	Hasher    *user.Hasher
	Now       func() time.Time
	Random    io.Reader
	Log       *slog.Logger
	Audit     *audit.Log
}

// Mount adds the routes to a mux whose paths begin with base, the path of the
// server's public address. What is not in the table of routes is 404, and
// another realm 403, for administrators alone: who is none learns nothing.
func (h *Handler) Mount(mux *http.ServeMux, base string) {
	paths := map[string]map[string]route{}
	for _, rt := range routes {
		path := base + "/admin/" + strings.ReplaceAll(rt.path, "{realm}", h.Realm)
		if paths[path] == nil {
			paths[path] = map[string]route{}
		}
		paths[path][rt.method] = rt
	}
	for path, methods := range paths {
		serve := func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, methods) }
		mux.HandleFunc(path, serve)
		mux.HandleFunc(path+"/{$}", serve) // some clients end every path so
	}
	mux.HandleFunc(base+"/admin/realms/", func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, nil) })
}

// call is one request of an administrator.
type call struct {
	*Handler
	w        http.ResponseWriter
	r        *http.Request
	route    route
	who      administrator
	settings realm.Settings // of now, defaults filled in
	now      time.Time
	query    url.Values
	made     string // path of what the call makes, for its event
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, methods map[string]route) {
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		endpoint.CORS(w, r, []string{"*"}, allMethods...) // a preflight names no client
		return
	}
	c := &call{Handler: h, w: w, r: r, now: h.Now().UTC().Truncate(time.Millisecond)}
	var err error
	c.who, c.settings, err = h.administrator(r.Context(), bearer(r), c.now)
	if c.who.client != nil {
		endpoint.CORS(w, r, client.Readers(c.who.client, r.Header.Get("Origin")))
	}
	if err == nil {
		err = c.find(methods)
	}
	if err != nil {
		c.write(nil, err)
		return
	}
	c.write(c.route.run(c))
}

var allMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete}

// find picks the route of the request and reads its parameters.
func (c *call) find(methods map[string]route) (err error) {
	if methods == nil {
		_, below, _ := strings.Cut(c.r.URL.Path, "/admin/realms/")
		if name, _, _ := strings.Cut(below, "/"); name != c.Realm {
			return plain(http.StatusForbidden)
		}
		return plain(http.StatusNotFound)
	}
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt, ok := methods[method]
	if !ok {
		var allow []string
		for m := range methods {
			allow = append(allow, m)
		}
		slices.Sort(allow)
		c.w.Header().Set("Allow", strings.Join(allow, ", "))
		return plain(http.StatusMethodNotAllowed)
	}
	c.route = rt
	if len(c.r.URL.RawQuery) > endpoint.MaxBody {
		return plain(http.StatusRequestURITooLong)
	}
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return bad("", "the query is malformed")
	}
	for name, values := range c.query {
		if !slices.Contains(rt.query, strings.TrimSuffix(name, "[]")) {
			return bad(name, "this parameter is not known here")
		}
		if len(values) > 1 && !slices.Contains(repeatable, name) {
			return bad(name, "is repeated")
		}
		for _, v := range values {
			if _, err := asText(v, 2000); err != nil {
				return bad(name, "%s", err)
			}
		}
	}
	return nil
}

// repeatable parameters: lists of what an event may be.
var repeatable = []string{"type", "operationTypes", "resourceTypes"}

// id is a part of the path, never so long that no record could have it.
func (c *call) id(name string) string {
	if v := c.r.PathValue(name); len(v) <= 255 {
		return v
	}
	return ""
}

// Paging. Nothing is listed without a bound.
const (
	defaultMax = 100
	mostMax    = 1000
)

// page reads first and max.
func (c *call) page() (first, most int, err error) {
	if first, err = c.number("first", 0, 0, 1<<31-1); err != nil {
		return 0, 0, err
	}
	most, err = c.number("max", defaultMax, 0, mostMax)
	return first, most, err
}

func (c *call) number(name string, otherwise, least, most int) (int, error) {
	if !c.query.Has(name) || c.query.Get(name) == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(c.query.Get(name))
	if err != nil || n < least || n > most {
		return 0, bad(name, "want a whole number from %d to %d", least, most)
	}
	return n, nil
}

// is reads a switch among the parameters; set tells whether it is there.
func (c *call) is(name string) (on, set bool, err error) {
	switch c.query.Get(name) {
	case "":
		return false, false, nil
	case "true":
		return true, true, nil
	case "false":
		return false, true, nil
	}
	return false, false, bad(name, "want true or false")
}

func (c *call) view(fn func(storage.Tx) error) error { return c.Store.View(c.r.Context(), fn) }

// change makes a change with its events, the administrator's first: who did what
// to which thing. A change that takes more than one transaction goes on by more,
// which tells its events alone.
func (c *call) change(fn func(storage.Tx, audit.Tell) error) error {
	return c.Audit.Update(c.r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		return fn(tx, c.tellWho(tell))
	})
}

// tellWho puts the administrator's own event before the first of the others.
func (c *call) tellWho(tell audit.Tell) audit.Tell {
	path := c.made
	if path == "" {
		_, path, _ = strings.Cut(c.r.URL.Path, "/admin/realms/"+c.Realm)
		path = strings.TrimPrefix(path, "/")
	}
	tell(event.Event{
		Time: c.now, Type: c.route.event(), Realm: c.Realm, Client: c.who.client.ClientID,
		Subject: c.who.user.ID, Username: c.who.user.Username, IP: endpoint.ClientIP(c.r),
		Details: map[string]string{"resource_type": c.route.resource, "resource_path": path},
	})
	return c.byHim(tell)
}

// byHim adds from where the administrator asked.
func (c *call) byHim(tell audit.Tell) audit.Tell {
	ip := endpoint.ClientIP(c.r)
	return func(events ...event.Event) {
		for _, e := range events {
			if e.IP == "" {
				e.IP = ip
			}
			tell(e)
		}
	}
}

// all repeats a change in as many transactions as it takes; again tells the
// further ones from the first.
func (c *call) all(step func(tx storage.Tx, tell audit.Tell, again bool) (more bool, err error)) error {
	more := false
	err := c.change(func(tx storage.Tx, tell audit.Tell) (err error) {
		more, err = step(tx, tell, false)
		return err
	})
	for more && err == nil {
		// What was begun is finished, though the administrator may be gone.
		err = c.Audit.Update(context.WithoutCancel(c.r.Context()), func(tx storage.Tx, tell audit.Tell) (err error) {
			more, err = step(tx, c.byHim(tell), true)
			return err
		})
	}
	return err
}
