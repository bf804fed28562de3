package adapter_test

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// clock is the time of a test.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// grants is a vault that remembers.
type grants struct {
	mu     sync.Mutex
	saved  []vault.Login
	kept   map[string]vault.Grant // by sub
	err    error
	saving func()    // while Save runs
	until  time.Time // when Save has to have ended
}

func (g *grants) Save(ctx context.Context, l vault.Login) (lost []string, err error) {
	g.mu.Lock()
	saving, failed := g.saving, g.err
	g.until, _ = ctx.Deadline()
	g.mu.Unlock()
	if saving != nil {
		saving()
	}
	if err := cmp.Or(failed, ctx.Err()); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.saved = append(g.saved, l)
	for _, s := range g.kept[l.Sub].Scopes {
		if !slices.Contains(l.Scopes, s) && !slices.Contains(l.Asked, s) {
			lost = append(lost, s)
		}
	}
	if len(lost) > 0 { // a vault keeps what it has
		return lost, nil
	}
	jobs := g.kept[l.Sub].Jobs
	if l.Jobs != nil {
		jobs = l.Jobs
	}
	g.kept[l.Sub] = vault.Grant{ID: "g_" + l.Sub, Jobs: jobs, JobsAtProvider: l.Jobs != nil, Provider: l.Provider, Client: l.Client, Sub: l.Sub, Scopes: l.Scopes, State: vault.Active}
	return nil, nil
}

func (g *grants) AllowJobs(_ context.Context, _, _, sub string, jobs vault.Jobs) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept, ok := g.kept[sub]
	if !ok {
		return vault.ErrNoGrant
	}
	all := vault.Jobs{}
	maps.Copy(all, kept.Jobs)
	maps.Copy(all, jobs)
	kept.Jobs = all
	g.kept[sub] = kept
	return nil
}

func (g *grants) RemoveJob(_ context.Context, id, job string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for sub, kept := range g.kept {
		if kept.ID == id {
			kept.Jobs = maps.Clone(kept.Jobs)
			delete(kept.Jobs, job)
			g.kept[sub] = kept
			return nil
		}
	}
	return vault.ErrNoGrant
}

func (g *grants) Has(_ context.Context, _, _, sub string, scopes []string) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept, ok := g.kept[sub]
	return ok && kept.Covers(scopes), nil
}

func (g *grants) Find(_ context.Context, q vault.Query) ([]vault.Grant, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if kept, ok := g.kept[q.Sub]; ok {
		return []vault.Grant{kept}, nil
	}
	return nil, nil
}

func (g *grants) revoke(sub string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.kept, sub)
}

func (g *grants) logins() []vault.Login {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.saved)
}

// seen is a request that reached the app.
type seen struct {
	method, uri string
	header      http.Header
	id          session.Identity
}

// site is a guarded app behind real HTTP.
type site struct {
	t      testing.TB
	op     *foreign
	rp     *adapter.RelyingParty
	front  front // what guards the app; nil: rp
	grants *grants
	clock  *clock
	store  *storage.Store
	server *httptest.Server
	url    string
	log    *strings.Builder

	mu     sync.Mutex
	hits   []seen
	events []string
}

type front interface {
	Own(http.ResponseWriter, *http.Request, *url.URL) bool
	Guard(http.ResponseWriter, *http.Request, *url.URL) (*session.Identity, bool)
}

// newSite starts a site; change may alter its config before.
func newSite(t testing.TB, change ...func(*adapter.Config)) *site {
	t.Helper()
	c := &clock{t: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	s := &site{t: t, clock: c, op: newForeign(t, c.Now), grants: &grants{kept: map[string]vault.Grant{}}, store: storagetest.New(t, c.Now), log: &strings.Builder{}}
	keyset, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.url = "http://" + s.server.Listener.Addr().String()
	public, _ := url.Parse(s.url)
	config := adapter.Config{
		Site:          public,
		Provider:      adapter.Provider{Name: "elsewhere", Issuer: s.op.server.URL, ClientID: clientID, ClientSecret: clientSecret},
		RequestScopes: []string{"reports.read"},
		JobScopes:     func() []string { return []string{"openid", "files"} },
		Public:        func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/public") },
		Offline: func(r *http.Request) adapter.Offline {
			return adapter.Offline{Required: strings.HasPrefix(r.URL.Path, "/backup"), Optional: strings.HasPrefix(r.URL.Path, "/maybe")}
		},
		IdentityHeaders: []string{"X-User"},
		Store:           s.store, Sealer: keyset, Grants: s.grants, Now: c.Now,
		Log: slog.New(slog.NewTextHandler(&locked{w: s.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Events: func(name string, _ map[string]any) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, name)
		},
	}
	for _, fn := range change {
		fn(&config)
	}
	if s.rp, err = adapter.New(config); err != nil {
		t.Fatal(err)
	}
	s.server.Start()
	t.Cleanup(s.server.Close)
	return s
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	var by front = s.rp
	if s.front != nil {
		by = s.front
	}
	if by.Own(w, r, r.URL) {
		return
	}
	id, ok := by.Guard(w, r, r.URL)
	if !ok {
		return
	}
	if !id.Anonymous() {
		r.Header.Set("X-User", id.Name)
	}
	s.mu.Lock()
	s.hits = append(s.hits, seen{r.Method, r.URL.RequestURI(), r.Header.Clone(), *id})
	s.mu.Unlock()
	_, _ = io.WriteString(w, "app of "+id.Name)
}

// reached is how many requests reached the app; last is the newest of them.
func (s *site) reached() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.hits)
}

func (s *site) last() seen {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hits) == 0 {
		s.t.Fatal("no request reached the app")
	}
	return s.hits[len(s.hits)-1]
}

// browser keeps cookies and follows links.
type browser struct {
	t    testing.TB
	jar  http.CookieJar
	http *http.Client
	hops []string // of the last navigation
}

func newBrowser(t testing.TB) *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{t: t, jar: jar, http: &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{}, Timeout: 10 * time.Second,
	}}
}

// page is what a browser shows, or a program gets.
type page struct {
	*http.Response
	url, body string
}

// navigating are the headers of a top-level navigation.
var navigating = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}

// do sends one request; headers come in pairs.
func (b *browser) do(method, to string, body io.Reader, header ...string) page {
	b.t.Helper()
	req, err := http.NewRequest(method, to, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if req.Header[header[i]] == nil {
			req.Header[header[i]] = nil
		}
		req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return page{resp, to, string(raw)}
}

// step opens an address without following where it leads.
func (b *browser) step(to string) page {
	b.t.Helper()
	return b.do(http.MethodGet, to, nil, navigating...)
}

// open opens an address and follows where it leads; more than ten hops are a
// loop.
func (b *browser) open(to string) page {
	b.t.Helper()
	b.hops = nil
	return b.follow(b.step(to))
}

func (b *browser) follow(p page) page {
	b.t.Helper()
	for p.StatusCode/100 == 3 {
		if b.hops = append(b.hops, p.Header.Get("Location")); len(b.hops) > 10 {
			b.t.Fatalf("the browser goes in circles: %s", strings.Join(b.hops, "\n"))
		}
		next, err := p.Request.URL.Parse(p.Header.Get("Location"))
		if err != nil {
			b.t.Fatal(err)
		}
		p = b.step(next.String())
	}
	return p
}

// press sends a page's form with one of its buttons and follows.
func (b *browser) press(p page, button string) page {
	b.t.Helper()
	form := fields(b.t, p.body)
	action := between(p.body, `action="`, `"`)
	form.Set(button, "yes")
	to, err := p.Request.URL.Parse(action)
	if err != nil {
		b.t.Fatal(err)
	}
	b.hops = nil
	return b.follow(b.post(to.String(), form))
}

func (b *browser) post(to string, form url.Values, header ...string) page {
	b.t.Helper()
	header = append(header, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Mode", "navigate", "Origin", "null")
	return b.do(http.MethodPost, to, strings.NewReader(form.Encode()), header...)
}

func fields(t testing.TB, body string) url.Values {
	t.Helper()
	form := url.Values{}
	for _, part := range strings.Split(body, `<input type="hidden" `)[1:] {
		value := between(part, `value="`, `"`)
		for _, e := range [][2]string{{"&amp;", "&"}, {"&#43;", "+"}, {"&#34;", `"`}, {"&#39;", "'"}} {
			value = strings.ReplaceAll(value, e[0], e[1])
		}
		form.Set(between(part, `name="`, `"`), value)
	}
	return form
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

// cookies of the site whose name contains a text.
func (b *browser) cookies(s *site, part string) []*http.Cookie {
	u, _ := url.Parse(s.url)
	return slices.DeleteFunc(b.jar.Cookies(u), func(c *http.Cookie) bool { return !strings.Contains(c.Name, part) })
}

// wants fails unless a page has a status and a text.
func (p page) wants(t testing.TB, status int, text string) {
	t.Helper()
	if p.StatusCode != status || !strings.Contains(p.body, text) {
		t.Fatalf("%s answers %d, want %d with %q:\n%s", p.url, p.StatusCode, status, text, p.body)
	}
}
