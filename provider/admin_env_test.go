package provider_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/user"
)

// console is an administrator at the REST of a world: carol, who was given the
// role.
type console struct {
	*world
	token string
	at    time.Time // of the token
}

func (w *world) console() *console {
	w.t.Helper()
	w.editUser("carol", func(u *user.User) { u.Roles = append(u.Roles, "realm-admin") })
	return &console{world: w}
}

// cli logs somebody in as administrators' tools do.
func (w *world) cli(name string) string {
	w.t.Helper()
	return w.post("token", "", "client_id", "admin-cli", "grant_type", "password", "username", name, "password", name+"-pw").ok().access()
}

// result is an answer of the REST.
type result struct {
	t      testing.TB
	call   string
	status int
	header http.Header
	raw    string
	value  any
}

// rest sends a request below /admin/; body is nil, a text that is sent as it is,
// or what is sent as JSON. more are pairs of headers.
func (w *world) rest(method, path, token string, body any, more ...string) *result {
	w.t.Helper()
	var raw []byte
	switch b := body.(type) {
	case nil:
	case string:
		raw = []byte(b)
	default:
		var err error
		if raw, err = json.Marshal(b); err != nil {
			w.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, origin+"/admin/"+path, bytes.NewReader(raw))
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	r.RemoteAddr = "192.0.2.9:4711"
	rec := httptest.NewRecorder()
	w.provider.ServeHTTP(rec, r)
	out := &result{t: w.t, call: method + " " + path, status: rec.Code, header: rec.Header(), raw: rec.Body.String()}
	if strings.HasPrefix(out.header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(rec.Body.Bytes(), &out.value); err != nil {
			w.t.Fatalf("%s: no JSON: %v", out.call, err)
		}
	}
	return out
}

// call sends a request of the administrator below the realm.
func (c *console) call(method, path string, body any) *result {
	c.t.Helper()
	if now := c.clock(); c.token == "" || now.Sub(c.at) > 4*time.Minute {
		c.token, c.at = c.cli("carol"), now
	}
	if path != "" {
		path = "/" + path
	}
	return c.rest(method, "realms/demo"+path, c.token, body)
}

func (c *console) get(path string) *result           { c.t.Helper(); return c.call("GET", path, nil).is(200) }
func (c *console) put(path string, body any) *result { c.t.Helper(); return c.call("PUT", path, body) }
func (c *console) send(path string, body any) *result {
	c.t.Helper()
	return c.call("POST", path, body)
}
func (c *console) delete(path string) *result { c.t.Helper(); return c.call("DELETE", path, nil) }

// create posts and returns the id in the Location.
func (c *console) create(path string, body any) string {
	c.t.Helper()
	r := c.send(path, body).is(201)
	at := r.header.Get("Location")
	if want := origin + "/admin/realms/demo/" + path + "/"; !strings.HasPrefix(at, want) || at == want {
		c.t.Fatalf("%s: Location %q", r.call, at)
	}
	return at[strings.LastIndexByte(at, '/')+1:]
}

// client returns the uuid of a client.
func (c *console) client(name string) string {
	c.t.Helper()
	return c.get("clients?clientId=" + name).list()[0]["id"].(string)
}

func (c *console) user(name string) string {
	c.t.Helper()
	return c.get("users?exact=true&username=" + name).list()[0]["id"].(string)
}

func (r *result) is(status int) *result {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s answered %d %s, want %d", r.call, r.status, r.raw, status)
	}
	return r
}

// refused checks a refusal and that its text has some words.
func (r *result) refused(status int, words ...string) *result {
	r.t.Helper()
	r.is(status)
	for _, word := range words {
		if !strings.Contains(r.raw, word) {
			r.t.Errorf("%s answered %s, want %q", r.call, r.raw, word)
		}
	}
	return r
}

func (r *result) object() map[string]any {
	r.t.Helper()
	o, ok := r.value.(map[string]any)
	if !ok {
		r.t.Fatalf("%s answered %s, want an object", r.call, r.raw)
	}
	return o
}

func (r *result) list() []map[string]any {
	r.t.Helper()
	list, ok := r.value.([]any)
	if !ok {
		r.t.Fatalf("%s answered %s, want a list", r.call, r.raw)
	}
	out := make([]map[string]any, len(list))
	for i, v := range list {
		if out[i], ok = v.(map[string]any); !ok {
			r.t.Fatalf("%s answered %s, want objects", r.call, r.raw)
		}
	}
	return out
}

// each returns one member of each object in a list.
func (r *result) each(member string) []string {
	r.t.Helper()
	out := []string{}
	for _, o := range r.list() {
		out = append(out, fmt.Sprint(o[member]))
	}
	return out
}

func (r *result) names(want ...string) {
	r.t.Helper()
	got := r.each("name")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.t.Errorf("%s answered %q, want %q", r.call, got, want)
	}
}

func (r *result) has(member string, want any) *result {
	r.t.Helper()
	got, _ := json.Marshal(r.object()[member])
	expected, err := json.Marshal(want)
	if err != nil {
		r.t.Fatal(err)
	}
	if !bytes.Equal(got, expected) {
		r.t.Errorf("%s: %s is %s, want %s", r.call, member, got, expected)
	}
	return r
}

type o = map[string]any

// newForm makes a POST of a form, parameters in pairs.
func newForm(address string, params ...string) *http.Request {
	form := url.Values{}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}
