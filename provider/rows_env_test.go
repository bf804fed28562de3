package provider_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

const (
	origin   = "http://id.test"
	issuer   = origin + "/realms/demo"
	callback = "https://app.test/callback"
	day      = 24 * time.Hour
)

// world is a realm on an injected clock: requests in, answers out.
//
// Users: alice (default roles), bob (no roles), carol (a role that holds
// offline_access as a composite). Clients, each with its name and "-secret" as
// secret: reports and other (everything on), spa (public).
type world struct {
	t        testing.TB
	provider *provider.Provider
	backend  *unsure
	store    *storage.Store
	keyset   *seal.Keyset
	settings realm.Settings
	address  string // of whoever asks; default: httptest's
	folder   fs.FS  // of pages, from the next restart on

	mu     sync.Mutex
	now    time.Time
	events []event.Event
}

// newWorld starts a realm with the defaults of Keycloak, changed by edit.
func newWorld(t testing.TB, edit ...func(*realm.Settings)) *world {
	t.Helper()
	keyset, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), keyset: keyset}
	w.settings = realm.Settings{Name: "demo", URL: origin, Enabled: true, SigningAlgorithm: "ES256"}
	for _, e := range edit {
		e(&w.settings)
	}
	w.backend = &unsure{Backend: storagetest.Backend(t)}
	w.store = storage.New(storage.Config{Backend: w.backend, Now: w.clock})
	w.restart()
	return w
}

// unsure is an engine that does not know what came of its next commits, as many
// as were asked for.
type unsure struct {
	storage.Backend
	next  atomic.Int32 // happen
	lost  atomic.Int32 // do not
	again atomic.Int32 // happen and yet run once more
}

func (u *unsure) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if u.lost.Load() > 0 {
		lose := storagetest.Faults{Backend: u.Backend, At: func(int) storagetest.Fault { return storagetest.LostCommit }}
		err := lose.Update(ctx, fn)
		if errors.Is(err, storage.ErrUnknown) {
			u.lost.Add(-1)
		}
		return err
	}
	err := u.Backend.Update(ctx, fn)
	switch {
	case err == nil && u.next.Add(-1) >= 0:
		return storage.ErrUnknown
	case err == nil && u.again.Add(-1) >= 0:
		return storage.ErrConflict
	}
	return err
}

// restart is a new process on the same store.
func (w *world) restart() {
	w.t.Helper()
	p, err := provider.New(provider.Config{Store: w.store, Sealer: w.keyset, Realm: "demo", URL: origin, Now: w.clock, Events: w, Folder: w.folder})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx := context.Background()
	everything := func(name string) provider.DeclaredClient {
		return provider.DeclaredClient{Secret: name + "-secret", Client: client.Client{
			ClientID: name, Enabled: true, StandardFlow: true, DirectAccessGrants: true, ServiceAccount: true, FullScope: true,
			RequirePKCE: true, RedirectURIs: []string{callback}, WebOrigins: []string{"+"},
		}}
	}
	spa := everything("spa")
	spa.Secret, spa.Public, spa.ServiceAccount, spa.DirectAccessGrants = "", true, false, false
	err = p.Declare(ctx, provider.Declaration{
		Settings: w.settings,
		Roles:    []user.Role{{Name: "keeper", Composites: []string{"offline_access"}}},
		Users: []provider.DeclaredUser{
			{Username: "alice", Password: "alice-pw", Email: "alice@example.com", FirstName: "Alice", LastName: "Liddell"},
			{Username: "bob", Password: "bob-pw", Roles: []string{}},
			{Username: "carol", Password: "carol-pw", Roles: []string{"keeper"}},
		},
		Clients: []provider.DeclaredClient{everything("reports"), everything("other"), spa},
	})
	if err == nil {
		err = p.Start(ctx)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.provider = p
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// Emit makes the world an event sink.
func (w *world) Emit(_ context.Context, e event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *world) count(kind event.Type, reason string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if e.Type == kind && e.Reason == reason {
			n++
		}
	}
	return n
}

// edit changes the settings of the realm, as an administrator would.
func (w *world) edit(change func(*realm.Settings)) {
	w.t.Helper()
	w.update(func(tx storage.Tx) error {
		s, err := realm.Table.Get(tx, "demo", "demo")
		if err != nil {
			return err
		}
		change(s)
		return realm.Table.Put(tx, "demo", "demo", s)
	})
}

func (w *world) editClient(name string, change func(*client.Client)) {
	w.t.Helper()
	w.update(func(tx storage.Tx) error {
		c, err := client.ByName(tx, "demo", name)
		if err != nil {
			return err
		}
		change(c)
		return client.Clients.Put(tx, "demo", c.ID, c)
	})
}

func (w *world) editUser(name string, change func(*user.User)) {
	w.t.Helper()
	w.update(func(tx storage.Tx) error {
		u, err := user.ByLogin(tx, "demo", name)
		if err != nil {
			return err
		}
		change(u)
		return user.Users.Put(tx, "demo", u.ID, u)
	})
}

func (w *world) update(fn func(storage.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// reply is an answer; its members are those of the JSON body.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (w *world) do(r *http.Request) *reply {
	w.t.Helper()
	if w.address != "" {
		r.RemoteAddr = net.JoinHostPort(w.address, "4711")
	}
	rec := httptest.NewRecorder()
	w.provider.ServeHTTP(rec, r)
	out := &reply{t: w.t, status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	if strings.HasPrefix(out.header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(rec.Body.Bytes(), &out.json); err != nil {
			w.t.Fatalf("answer is no JSON object: %v", err)
		}
	}
	return out
}

// post sends a form to a protocol endpoint as a client. Parameters come in
// pairs; "header:Name" sets a header.
func (w *world) post(endpoint, clientID string, params ...string) *reply {
	w.t.Helper()
	form, headers := url.Values{}, http.Header{}
	for i := 0; i < len(params); i += 2 {
		if name, ok := strings.CutPrefix(params[i], "header:"); ok {
			headers.Add(name, params[i+1])
		} else {
			form.Add(params[i], params[i+1])
		}
	}
	if clientID == "spa" {
		form.Set("client_id", "spa")
	}
	r := httptest.NewRequest(http.MethodPost, issuer+"/protocol/openid-connect/"+endpoint, strings.NewReader(form.Encode()))
	maps.Copy(r.Header, headers)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if clientID != "spa" && clientID != "" {
		r.SetBasicAuth(clientID, clientID+"-secret")
	}
	return w.do(r)
}

func (w *world) password(clientID, name, scope string) *reply {
	w.t.Helper()
	return w.post("token", clientID, "grant_type", "password", "username", name, "password", name+"-pw", "scope", scope)
}

func (w *world) refresh(clientID, token string, more ...string) *reply {
	w.t.Helper()
	return w.post("token", clientID, append([]string{"grant_type", "refresh_token", "refresh_token", token}, more...)...)
}

// introspect asks about a token in the name of the client that it was issued to.
func (w *world) introspect(token string) map[string]any {
	w.t.Helper()
	asker := "reports"
	if strings.Count(token, ".") == 2 {
		if azp, ok := decode(w.t, token, 1)["azp"].(string); ok && azp != "spa" {
			asker = azp
		}
	}
	return w.post("token/introspect", asker, "token", token).ok().json
}

func (w *world) active(token string) bool {
	w.t.Helper()
	return w.introspect(token)["active"] == true
}

func (w *world) userinfo(token string) *reply {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodGet, issuer+"/protocol/openid-connect/userinfo", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return w.do(r)
}

func (r *reply) ok() *reply {
	r.t.Helper()
	if r.status != http.StatusOK {
		r.t.Fatalf("answered %d %v %v", r.status, r.json["error"], r.json["error_description"])
	}
	return r
}

// fails checks the OAuth error of a reply.
func (r *reply) fails(status int, code, grantStatus string) *reply {
	r.t.Helper()
	got, _ := r.json["grant_status"].(string)
	if r.status != status || r.json["error"] != code || got != grantStatus {
		r.t.Fatalf("answered %d %v (%v, grant_status %q), want %d %s, grant_status %q",
			r.status, r.json["error"], r.json["error_description"], got, status, code, grantStatus)
	}
	return r
}

func (r *reply) text(member string) string {
	s, _ := r.json[member].(string)
	return s
}

func (r *reply) number(member string) float64 {
	r.t.Helper()
	n, ok := r.json[member].(float64)
	if !ok {
		r.t.Fatalf("%s is not a number in %v", member, r.json)
	}
	return n
}

func (r *reply) access() string       { return r.text("access_token") }
func (r *reply) refreshed() string    { return r.text("refresh_token") }
func (r *reply) scopes() []string     { return strings.Fields(r.text("scope")) }
func (r *reply) claims() claims       { r.t.Helper(); return decode(r.t, r.access(), 1) }
func (r *reply) idClaims() claims     { r.t.Helper(); return decode(r.t, r.text("id_token"), 1) }
func (r *reply) offlineToken() claims { r.t.Helper(); return decode(r.t, r.refreshed(), 1) }

type claims map[string]any

func (c claims) has(name string) bool { _, ok := c[name]; return ok }

// decode reads a part of a compact JWS: 0 the header, 1 the claims.
func decode(t testing.TB, token string, part int) claims {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a compact JWS")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[part])
	if err != nil {
		t.Fatal(err)
	}
	var out claims
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// browser is a person's browser: cookies, redirects within the realm, forms.
type browser struct {
	*world
	jar      http.CookieJar
	language string // that it asks for
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{world: w, jar: jar}
}

// open follows redirects until a page, or until the address leaves the realm,
// which it returns.
func (b *browser) open(method, address string, form url.Values) (page *reply, left *url.URL) {
	b.t.Helper()
	for range 20 {
		u, err := url.Parse(address)
		if err != nil {
			b.t.Fatal(err)
		}
		if u.Scheme+"://"+u.Host != origin {
			return nil, u
		}
		r := httptest.NewRequest(method, address, strings.NewReader(form.Encode()))
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", origin)
		}
		if b.language != "" {
			r.Header.Set("Accept-Language", b.language)
		}
		for _, c := range b.jar.Cookies(u) {
			r.AddCookie(c)
		}
		page = b.do(r)
		b.jar.SetCookies(u, (&http.Response{Header: page.header}).Cookies())
		if page.status < 300 || page.status > 399 {
			page.header.Set("X-Address", address)
			return page, nil
		}
		to, err := u.Parse(page.header.Get("Location"))
		if err != nil {
			b.t.Fatal(err)
		}
		method, address, form = http.MethodGet, to.String(), nil
	}
	b.t.Fatal("redirects without end")
	return nil, nil
}

var (
	formTag  = regexp.MustCompile(`(?s)<form[^>]*\bid="(\w+)"[^>]*>(.*?)</form>`)
	action   = regexp.MustCompile(`<form[^>]*\baction="([^"]*)"`)
	inputTag = regexp.MustCompile(`<input[^>]*>`)
	attrName = regexp.MustCompile(`\bname="([^"]*)"`)
	attrVal  = regexp.MustCompile(`\bvalue="([^"]*)"`)
)

// submit fills the form of a page.
func (b *browser) submit(page *reply, id string, fill url.Values) (*reply, *url.URL) {
	b.t.Helper()
	m := formTag.FindStringSubmatch(page.body)
	if m == nil || m[1] != id {
		b.t.Fatalf("want form %s on this page (%d):\n%s", id, page.status, page.body)
	}
	form := url.Values{}
	for _, tag := range inputTag.FindAllString(m[2], -1) {
		if n := attrName.FindStringSubmatch(tag); n != nil && strings.Contains(tag, "hidden") {
			value := ""
			if v := attrVal.FindStringSubmatch(tag); v != nil {
				value = html.UnescapeString(v[1])
			}
			form.Set(n[1], value)
		}
	}
	maps.Copy(form, fill)
	address := page.header.Get("X-Address")
	if a := action.FindStringSubmatch(m[0]); a != nil {
		u, _ := url.Parse(address)
		to, err := u.Parse(html.UnescapeString(a[1]))
		if err != nil {
			b.t.Fatal(err)
		}
		address = to.String()
	}
	return b.open(http.MethodPost, address, form)
}

const verifier = "a-verifier-of-forty-three-characters-or-more-0123456789"

func authURL(clientID, scope string, more ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {clientID}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {scope},
		"state": {"st"}, "nonce": {"n-1"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return issuer + "/protocol/openid-connect/auth?" + q.Encode()
}

// authorize asks for a code; name logs in if the realm asks for it.
func (b *browser) authorize(name, clientID, scope string, more ...string) url.Values {
	b.t.Helper()
	page, left := b.open(http.MethodGet, authURL(clientID, scope, more...), nil)
	if left == nil {
		if name == "" {
			b.t.Fatalf("single sign-on was expected, got a page (%d):\n%s", page.status, page.body)
		}
		page, left = b.submit(page, "login", url.Values{"username": {name}, "password": {name + "-pw"}})
	}
	if left == nil {
		b.t.Fatalf("the browser did not come back to the client (%d):\n%s", page.status, page.body)
	}
	return left.Query()
}

// exchange redeems a code.
func (w *world) exchange(clientID, code string, more ...string) *reply {
	w.t.Helper()
	return w.post("token", clientID, append([]string{
		"grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", verifier,
	}, more...)...)
}

// grant is a whole login at a client, from the browser to the tokens.
func (b *browser) grant(name, clientID, scope string) *reply {
	b.t.Helper()
	q := b.authorize(name, clientID, scope)
	if q.Get("code") == "" {
		b.t.Fatalf("no code: %v", q)
	}
	return b.exchange(clientID, q.Get("code")).ok()
}

func (w *world) editScope(name string, change func(*client.Scope)) {
	w.t.Helper()
	w.update(func(tx storage.Tx) error {
		s, err := client.Scopes.Get(tx, "demo", name)
		if err != nil {
			return err
		}
		change(s)
		return client.Scopes.Put(tx, "demo", name, s)
	})
}

func containsWord(text, word string) bool {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(word) + `\b`).MatchString(text)
}

func disable(c *client.Client) { c.Enabled = false }
func enable(c *client.Client)  { c.Enabled = true }
