package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// gateway runs configurations in this process, on ports of its own.
type gateway struct {
	t           *testing.T
	dir         string
	store       string // the options store and key; default: badger in dir
	admin       string // address of the admin endpoint; default: off
	realm, site string // host:port
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{t: t, dir: filepath.Join(t.TempDir(), "data"), realm: freeAddr(t), site: freeAddr(t)}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		lingering.mu.Lock()
		owed := lingering.owed
		lingering.owed = nil
		lingering.mu.Unlock()
		for timer, leave := range owed {
			timer.Stop()
			leave()
		}
	})
	return g
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return "localhost:" + port
}

// load runs a configuration: lines for the realm, and the site's block; change may
// alter its JSON.
func (g *gateway) load(inRealm, site string, change ...func(config string) string) error {
	g.t.Helper()
	store := g.store
	if store == "" {
		store = "store badger " + g.dir
	}
	admin := g.admin
	if admin == "" {
		admin = "off"
	}
	text := fmt.Sprintf(`{
	admin %s
	default_bind 127.0.0.1
	nightlatch {
		%s
		realm demo {
			url http://%s
			signing_algorithm ES256
			client reports {
				secret reports-demo
				service_account
			}
			%s
		}
	}
}
http://%s {
	nightlatch_provider
}
http://%s {
	%s
}
`, admin, store, g.realm, inRealm, g.realm, g.site, site)
	raw, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	for _, fn := range change {
		raw = []byte(fn(string(raw)))
	}
	return caddy.Load(raw, false)
}

func (g *gateway) guarded() string { return "nightlatch http://" + g.site + "\n\trespond hello" }

// lifespan is what the realm says of an access token's life, in seconds.
func (g *gateway) lifespan() int {
	g.t.Helper()
	http.DefaultClient.CloseIdleConnections() // a reload closes them
	ask := func() (*http.Response, error) {
		return http.PostForm("http://"+g.realm+"/realms/demo/protocol/openid-connect/token", url.Values{
			"grant_type": {"client_credentials"}, "client_id": {"reports"}, "client_secret": {"reports-demo"},
		})
	}
	resp, err := ask()
	if err != nil || resp.StatusCode == http.StatusServiceUnavailable {
		// A reload that failed may have begun to listen beside the old servers, and
		// closes what it had just accepted, or gives it up.
		if err == nil {
			resp.Body.Close()
		}
		resp, err = ask()
	}
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		ExpiresIn int `json:"expires_in"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		g.t.Fatalf("%d: %v", resp.StatusCode, err)
	}
	return answer.ExpiresIn
}

// TestRun: a start, a reload, a reload that fails, and the store's life
// through them.
func TestRun(t *testing.T) {
	g := newGateway(t)
	if err := g.load("", g.guarded()); err != nil {
		t.Fatal(err)
	}
	if got := g.lifespan(); got != 300 {
		t.Errorf("at first a token lives %d s", got)
	}
	resp, err := http.Get("http://" + g.site + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the site answers %d to nobody", resp.StatusCode)
	}
	t.Run("wrong host", func(t *testing.T) {
		for _, addr := range []string{g.realm, g.site} {
			_, port, _ := net.SplitHostPort(addr)
			resp, err := http.Get("http://127.0.0.1:" + port + "/")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusMisdirectedRequest || len(body) == 0 {
				t.Errorf("%s answers %d %q", addr, resp.StatusCode, body)
			}
		}
	})
	t.Run("failed reload", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		_, port, _ := net.SplitHostPort(taken.Addr().String())
		err = g.load("access_token_lifespan 1m", g.guarded()+"\n}\nhttp://localhost:"+port+" {\n\trespond x")
		if err == nil {
			t.Fatal("two listeners on one port")
		}
		if got := g.lifespan(); got != 300 {
			t.Errorf("after a failed reload a token lives %d s", got)
		}
	})
	t.Run("reload", func(t *testing.T) {
		if err := g.load("access_token_lifespan 2m", g.guarded()); err != nil {
			t.Fatal(err)
		}
		if got := g.lifespan(); got != 120 {
			t.Errorf("after a reload a token lives %d s", got)
		}
	})
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
}

// TestLostCallback: a start notices when a site's own paths lead elsewhere.
func TestLostCallback(t *testing.T) {
	g := newGateway(t)
	for name, c := range map[string]struct {
		site string
		want bool
	}{
		"site level":   {g.guarded(), true},
		"with matcher": {"nightlatch /admin/* http://" + g.site + "\n\trespond hello", true},
		"route":        {"route {\n\t\tnightlatch http://" + g.site + "\n\t\trespond hello\n\t}", true},
		"handle":       {"handle /admin/* {\n\t\tnightlatch http://" + g.site + "\n\t\trespond hello\n\t}", false},
		"redir":        {"redir https://example.com\n\tnightlatch http://" + g.site, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := g.load("display_name "+strings.ReplaceAll(name, " ", "-"), c.site); err != nil {
				t.Fatal(err)
			}
			app, err := caddy.ActiveContext().AppIfConfigured("nightlatch")
			if err != nil {
				t.Fatal(err)
			}
			if got := app.(*App).sites[0].callbackReached(); got != c.want {
				t.Errorf("callback reached: %v", got)
			}
		})
	}
}

// TestStoreThatCannotOpen: a start says why, and a failed one leaves nothing
// open.
func TestStoreThatCannotOpen(t *testing.T) {
	g := newGateway(t)
	held, _ := lend(t, g.dir, "")
	held.release()
	g.dir = filepath.Join(g.dir, "nightlatch.key", "below-a-file")
	err := g.load("", g.guarded())
	if err == nil || !strings.Contains(err.Error(), "below-a-file") {
		t.Errorf("a folder that cannot be: %v", err)
	}
	if _, ok := nodes.References("badger:" + g.dir); ok {
		t.Error("the node stays in the pool")
	}
}

// TestLimitsOfARealm: the vault hears how long a realm lets tokens rest now, after a
// reload too.
func TestLimitsOfARealm(t *testing.T) {
	g := newGateway(t)
	for _, c := range []struct {
		inRealm    string
		idle, most time.Duration
	}{
		{"", 30 * 24 * time.Hour, 0},
		{"offline_session_idle 2d\n\t\t\toffline_session_max 20d", 48 * time.Hour, 480 * time.Hour},
	} {
		if err := g.load(c.inRealm, g.guarded()); err != nil {
			t.Fatal(err)
		}
		app, err := caddy.ActiveContext().AppIfConfigured("nightlatch")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range app.(*App).vaults {
			if idle, most, err := p.Limits(t.Context()); idle != c.idle || most != c.most || err != nil {
				t.Errorf("%v, %v, %v; want %v, %v", idle, most, err, c.idle, c.most)
			}
		}
	}
}

// TestSeveralProviders: a site of a realm and of a provider that is away at start
// lets people choose, by the realm they come in, and the admin endpoint asks which
// provider is meant where a sub alone could be somebody of either.
func TestSeveralProviders(t *testing.T) {
	g := newGateway(t)
	g.admin = freeAddr(t)
	err := g.load("user alice {\n\tpassword alice-demo\n}\n}\nprovider dead http://"+freeAddr(t)+"/ {\n\tclient_id x\n}\njob nightly {\n\tsecret y\n\tprovider demo\n\tusers alice\n\tscopes openid\n",
		"nightlatch http://"+g.site+" {\n\tprovider dead demo\n\tallow provider demo\n\toffline /backup\n}\nrespond \"hello {http.auth.user.name} of {http.auth.user.provider}\"")
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	show := func(req *http.Request, err error) (*http.Response, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		resp, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	state := regexp.MustCompile(`name="state" value="([^"]+)"`)
	pick := func(name string) (*http.Response, string) {
		t.Helper()
		_, page := show(http.NewRequest(http.MethodGet, "http://"+g.site+"/x", nil))
		m := state.FindStringSubmatch(page)
		if m == nil || !strings.Contains(page, `value="demo"`) || !strings.Contains(page, `value="dead"`) {
			t.Fatalf("no choice: %s", page)
		}
		req, err := http.NewRequest(http.MethodPost, "http://"+g.site+"/.nightlatch/choose", strings.NewReader(url.Values{"state": {m[1]}, "provider": {name}}.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return show(req, err)
	}
	if resp, _ := pick("dead"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a provider that is away: %d", resp.StatusCode)
	}
	resp, page := pick("demo")
	if resp.Request.URL.Host != g.realm || !strings.Contains(page, `id="login"`) {
		t.Fatalf("%s shows %s", resp.Request.URL, page)
	}
	site, err := url.Parse("http://" + g.site)
	if err != nil {
		t.Fatal(err)
	}
	var chosen string // the browser remembers
	for _, c := range jar.Cookies(site) {
		if strings.Contains(c.Name, "provider") {
			chosen = c.String()
		}
	}
	if resp, _ := answerOf(t, http.MethodGet, "http://"+g.site+"/", "Cookie", chosen, "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); !strings.HasPrefix(resp.Header.Get("Location"), "http://"+g.realm) {
		t.Errorf("chosen before: %d %v", resp.StatusCode, resp.Header)
	}
	for path, want := range map[string]int{"sessions": 200, "sessions?sub=x": 400, "grants": 400, "grants?provider=demo": 200, "sessions?sub=x&provider=dead": 200, "grants?provider=nobody": 404} {
		if resp, body := answerOf(t, http.MethodGet, "http://"+g.admin+"/nightlatch/"+path); resp.StatusCode != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

// TestEndedBearersStayEnded: an access token that was revoked, whose person logged
// out, or whose refresh token was revoked, is refused by a site at once, and by the next process too; others go on.
func TestEndedBearersStayEnded(t *testing.T) {
	g := newGateway(t)
	run := func() {
		t.Helper()
		if err := g.load("user alice {\n\tpassword alice-demo\n}\nclient direct {\n\tsecret direct-demo\n\tdirect_access_grants\n}", g.guarded()); err != nil {
			t.Fatal(err)
		}
	}
	run()
	post := func(endpoint string, form url.Values) (answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}) {
		t.Helper()
		resp, err := http.PostForm("http://"+g.realm+"/realms/demo/protocol/openid-connect/"+endpoint, form)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			t.Fatalf("%s: %d", endpoint, resp.StatusCode)
		}
		_ = json.NewDecoder(resp.Body).Decode(&answer)
		return answer
	}
	direct := func(more ...string) url.Values {
		form := url.Values{"client_id": {"direct"}, "client_secret": {"direct-demo"}}
		for i := 0; i < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return form
	}
	alice := func() (access, refresh string) {
		t.Helper()
		got := post("token", direct("grant_type", "password", "username", "alice", "password", "alice-demo", "scope", "openid", "resource", "http://"+g.site))
		return got.Access, got.Refresh
	}
	loggedOut, refresh := alice()
	itsRefreshRevoked, refreshRevoked := alice()
	hers, _ := alice() // another session at the same client
	revoked := g.serviceToken("http://" + g.site)
	good := g.serviceToken("http://" + g.site)
	check := func(when string, ended int) {
		t.Helper()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		for name, c := range map[string]struct {
			token string
			want  int
		}{"the one that was revoked": {revoked, ended}, "of who logged out": {loggedOut, ended}, "of a refresh token that was revoked": {itsRefreshRevoked, ended}, "another": {good, 200}, "another of hers": {hers, 200}} {
			if resp, body := answerOf(t, http.MethodGet, "http://"+g.site+"/", "Authorization", "Bearer "+c.token); resp.StatusCode != c.want {
				t.Errorf("%s, %s: %d %s", when, name, resp.StatusCode, body)
			}
		}
	}
	check("at first", 200)
	post("revoke", url.Values{"client_id": {"reports"}, "client_secret": {"reports-demo"}, "token": {revoked}})
	post("logout", direct("refresh_token", refresh))
	post("revoke", direct("token", refreshRevoked))
	check("when they have ended", 401)
	for range 2 {
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		run()
		check("after a restart", 401)
	}
}
