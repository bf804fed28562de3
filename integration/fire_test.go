package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/integration/formlogin"
)

// Foreign providers under fire: a gateway in a process of its own, a provider in
// another (npm's certified oidc-provider with rotation off and on, and a realm with
// single use on), and between them a proxy that loses, cuts, delays and repeats
// answers. The gateway's binary is built with the tag faults, so that its clock
// can be put off and it can be killed at the steps of a refresh.

// wire is the proxy. Refresh requests meet what is armed, one each.
type wire struct {
	mu     sync.Mutex
	armed  []func(x *passing)
	down   bool
	to     string
	client *http.Transport
	commit []time.Time // when the provider had answered a refresh
}

// passing is one refresh request on its way.
type passing struct {
	w    http.ResponseWriter
	r    *http.Request
	body []byte
	wire *wire
}

func newWire(t *testing.T, at, to string) *wire {
	t.Helper()
	w := &wire{to: "127.0.0.1:" + to, client: &http.Transport{DisableKeepAlives: true}}
	l, err := net.Listen("tcp", "127.0.0.1:"+at)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: w}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	return w
}

func (w *wire) arm(faults ...func(*passing)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = append(w.armed, faults...)
}

func (w *wire) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// unmet returns how many faults have not been met, and takes them back.
func (w *wire) unmet() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.armed)
	w.armed = nil
	return n
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p := &passing{rw, r, body, w}
	w.mu.Lock()
	down := w.down
	var fault func(*passing)
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("grant_type") == "refresh_token" && len(w.armed) > 0 {
		fault, w.armed = w.armed[0], w.armed[1:]
	}
	w.mu.Unlock()
	switch {
	case down:
		p.hangUp()
	case fault != nil:
		fault(p)
	default:
		p.pass(p.send())
	}
}

// send delivers the request; nil: the provider gave no answer.
func (p *passing) send() *http.Response {
	out, err := http.NewRequestWithContext(context.WithoutCancel(p.r.Context()), p.r.Method, "http://"+p.wire.to+p.r.URL.RequestURI(), bytes.NewReader(p.body))
	if err != nil {
		return nil
	}
	out.Host, out.Header = p.r.Host, p.r.Header.Clone()
	out.Header.Del("Connection")
	resp, err := p.wire.client.RoundTrip(out)
	if err != nil {
		return nil
	}
	raw, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	return resp
}

func (p *passing) pass(resp *http.Response) {
	if resp == nil {
		p.hangUp()
		return
	}
	maps.Copy(p.w.Header(), resp.Header)
	p.w.Header().Del("Connection")
	p.wire.mu.Lock()
	p.wire.commit = append(p.wire.commit, time.Now())
	p.wire.mu.Unlock()
	p.w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(p.w, resp.Body)
}

func (p *passing) hangUp() {
	if conn, _, err := http.NewResponseController(p.w).Hijack(); err == nil {
		conn.Close()
	}
}

func (p *passing) cut() {
	resp := p.send()
	if resp == nil {
		p.hangUp()
		return
	}
	raw, _ := io.ReadAll(resp.Body)
	if conn, _, err := http.NewResponseController(p.w).Hijack(); err == nil {
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(raw), raw[:len(raw)/2])
		conn.Close()
	}
}

// foreign is a provider in a process of its own.
type foreign interface {
	kill()
	start()
	// disable lets a person's refreshes fail until enable; withdraw ends what the
	// person allowed.
	disable(user string)
	enable(user string)
}

// nodeProvider is npm's oidc-provider.
type nodeProvider struct {
	t         *testing.T
	port, dir string
	env       []string
	cmd       *exec.Cmd
	out       output
}

// nodeModules installs the npm packages of a folder once, as its lock file says.
// Without node and npm the test is skipped, or failed where
// NIGHTLATCH_REQUIRE_ALL is set.
func nodeModules(t *testing.T, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("NIGHTLATCH_REQUIRE_ALL") != "" {
			t.Fatal("no node and npm")
		}
		t.Skip("no node and npm: run make test-deps")
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err == nil {
		return dir
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

func (n *nodeProvider) start() {
	n.t.Helper()
	n.cmd = exec.Command("node", "provider.mjs")
	n.cmd.Dir, n.cmd.Env = n.dir, append(os.Environ(), n.env...)
	n.cmd.Stdout, n.cmd.Stderr = &n.out, &n.out
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+n.port)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("oidc-provider does not listen:\n%s", n.out.String())
		}
	}
}

func (n *nodeProvider) kill() {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

func (n *nodeProvider) control(do, user string) {
	n.t.Helper()
	resp, err := http.PostForm("http://127.0.0.1:"+n.port+"/control", url.Values{"do": {do}, "user": {user}})
	if err != nil || resp.StatusCode != http.StatusNoContent {
		n.t.Fatalf("%s %s: %v, %v", do, user, resp, err)
	}
	resp.Body.Close()
}

func (n *nodeProvider) disable(user string) { n.control("disable", user) }
func (n *nodeProvider) enable(user string)  { n.control("enable", user) }

// realmProvider is a realm of ours that the gateway knows as somebody else's.
type realmProvider struct {
	*gateway
	config string
}

func (r *realmProvider) kill()  { r.Kill() }
func (r *realmProvider) start() { r.StartSites("8080") }

// role takes the role away, or gives it back, by a reload.
func (r *realmProvider) role(user, roles string) {
	r.t.Helper()
	r.WriteConfig(strings.Replace(r.config, "email "+user+"@example.com\n", "email "+user+"@example.com\n\t\t\t\troles "+roles+"\n", 1))
	if res := r.Reload(); res.Code != 0 {
		r.t.Fatalf("reload: %+v", res)
	}
}

func (r *realmProvider) disable(user string) { r.role(user, "") }
func (r *realmProvider) enable(user string)  { r.role(user, "offline_access") }

// battle is one provider under fire.
type battle struct {
	t        *testing.T
	provider foreign
	wire     *wire
	app      *gateway
	appText  string
	faults   string            // folder of the gateway
	off      time.Duration     // of its clock
	scope    string            // that jobs ask for; "": all that they may
	grants   map[string]string // by user
	lost     map[string]int    // by fault
}

var fighters = []string{"alice", "bob", "carol"}

// faultyBinary is the program with the tag faults.
var faultyBinary = sync.OnceValues(func() (string, error) {
	path := binary + "-faults"
	out, err := exec.Command("go", "build", "-tags", "faults", "-o", path, "..").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return path, err
})

func newBattle(t *testing.T, kind string) *battle {
	t.Helper()
	program, err := faultyBinary()
	if err != nil {
		t.Fatal(err)
	}
	b := &battle{t: t, faults: t.TempDir(), grants: map[string]string{}, lost: map[string]int{}}
	issuer := "http://localhost:8083"
	if kind == "realm" {
		issuer += "/realms/demo"
	}
	b.appText = `{
	default_bind 127.0.0.1
	nightlatch {
		store badger ./nightlatch-data
		provider elsewhere ` + issuer + ` {
			client_id files
			client_secret files-demo-secret
		}
		job nightly-backup {
			secret backup-demo
			users *
			scopes openid profile
		}
	}
}

http://localhost:8081 {
	nightlatch http://localhost:8081 {
		provider elsewhere
		allow any
		offline /backup
	}
	respond "hello {http.auth.user.name}"
}

http://127.0.0.1:8082 {
	nightlatch_tokens
}
`
	b.app = newGateway(t, b.appText)
	b.app.program, b.app.more = program, []string{"NIGHTLATCH_FAULTS=" + b.faults}
	own := freePort(t)
	if kind == "realm" {
		text := `{
	default_bind 127.0.0.1
	nightlatch {
		store badger ./nightlatch-data
		realm demo {
			url http://localhost:8083
			access_token_lifespan 1s
			revoke_refresh_token on
			signing_algorithm ES256
`
		for _, u := range fighters {
			text += "\t\t\tuser " + u + " {\n\t\t\t\tpassword demo-demo\n\t\t\t\temail " + u + "@example.com\n\t\t\t}\n"
		}
		text += `			client files {
				secret files-demo-secret
				redirect_uri ` + b.app.URL("http://localhost:8081") + `/.nightlatch/callback
			}
		}
	}
}

http://localhost:8080 {
	nightlatch_provider
}
`
		realm := newGateway(t, text)
		realm.ports["8083"], own = b.app.ports["8083"], realm.ports["8080"]
		realm.WriteConfig(text)
		b.provider = &realmProvider{realm, text}
	} else {
		dir, err := filepath.Abs(nodeModules(t, filepath.Join("testdata", "oidc-provider")))
		if err != nil {
			t.Fatal(err)
		}
		b.provider = &nodeProvider{t: t, port: own, dir: dir, env: []string{
			"PORT=" + own, "ISSUER=" + b.app.URL(issuer), "APP=" + b.app.URL("http://localhost:8081"),
			"FILE=" + filepath.Join(t.TempDir(), "records.json"), "ROTATE=" + kind, "NODE_ENV=test",
		}}
	}
	b.wire = newWire(t, b.app.ports["8083"], own)
	t.Cleanup(b.provider.kill)
	b.provider.start()
	b.app.StartSites("8081", "8082")
	for _, user := range fighters {
		b.login(user)
	}
	return b
}

// login gives a person a grant. Tokens that live a second may have ended before
// they are read; then it is done again.
func (b *battle) login(user string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	for {
		_, err := formlogin.Login(ctx, b.app.URL("http://localhost:8081/backup"), user, "demo-demo")
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			b.t.Fatalf("logging %s in: %v", user, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if b.grants[user] != "" {
		return
	}
	var list struct {
		Grants []struct {
			ID string `json:"grant_id"`
		} `json:"grants"`
	}
	raw := b.app.Run(backup, "grants", "list", "--format", "json").Stdout
	if err := json.Unmarshal([]byte(raw), &list); err != nil {
		b.t.Fatalf("listing grants: %v: %s", err, raw)
	}
	for _, g := range list.Grants {
		if !slices.Contains(slices.Collect(maps.Values(b.grants)), g.ID) {
			b.grants[user] = g.ID
		}
	}
}

type told struct {
	status    int
	Access    string `json:"access_token"`
	Error     string `json:"error"`
	Status    string `json:"grant_status"`
	Reconsent string `json:"reconsent_uri"`
}

func (b *battle) ask(user string) told {
	var a told
	req, err := http.NewRequest(http.MethodPost, b.app.URL("http://127.0.0.1:8082/token"), strings.NewReader(url.Values{"grant_id": {b.grants[user]}, "scope": {b.scope}}.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.SetBasicAuth("nightly-backup", "backup-demo")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return a // the gateway was killed
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	_ = json.NewDecoder(resp.Body).Decode(&a)
	return a
}

// settled asks until there is a token, or an answer about the grant.
func (b *battle) settled(user string) told {
	b.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		a := b.ask(user)
		if a.status == http.StatusOK || a.status == http.StatusBadRequest {
			return a
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: no answer in time: %+v", user, a)
		}
	}
}

// works asks for everybody twice: the second time uses what the first gave.
func (b *battle) works(fault string) {
	b.t.Helper()
	began := time.Now()
	defer func() {
		b.t.Logf("%s: everybody works again after %v", fault, time.Since(began).Round(time.Millisecond))
	}()
	for _, user := range fighters {
		for range 2 {
			if a := b.settled(user); a.status != http.StatusOK {
				b.lost[fault]++
				b.login(user)
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// advance lets time pass for the gateway alone.
func (b *battle) advance(by time.Duration) {
	b.t.Helper()
	b.off += by
	if err := os.WriteFile(filepath.Join(b.faults, "clock"), []byte(b.off.String()), 0o600); err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond) // it is read ten times a second
}

// killAt lets the gateway end itself at a step of its next refresh, and starts it
// again.
func (b *battle) killAt(step string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.faults, step), nil, 0o600); err != nil {
		b.t.Fatal(err)
	}
	done := b.app.done
	for deadline := time.Now().Add(20 * time.Second); ; {
		b.ask("alice")
		select {
		case <-done:
			b.app.StartSites("8081", "8082")
			return
		default:
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("the gateway never came to %s", step)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// together lets many jobs ask for everybody at once.
func (b *battle) together() {
	var all sync.WaitGroup
	for _, user := range fighters {
		for range 6 {
			all.Go(func() { b.ask(user) })
		}
	}
	all.Wait()
}

// open are the faults that the grants of a provider with strict rotation and without
// Idempotency-Key cannot be protected from: it has rotated and the successor is
// lost, or the request came twice.
var open = []string{"answer lost", "answer cut", "request delivered twice", "gateway killed, answered"}

func TestForeignProvidersUnderFire(t *testing.T) {
	for _, kind := range []string{"off", "on", "realm"} {
		name := map[string]string{"off": "oidc-provider, rotation off", "on": "oidc-provider, rotation on", "realm": "realm, single use on"}[kind]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBattle(t, kind)
			b.works("nothing")
			for _, f := range []struct {
				name   string
				inject func(*passing)
			}{
				{"request lost", func(p *passing) { p.hangUp() }},
				{"answer lost", func(p *passing) { p.send(); p.hangUp() }},
				{"answer cut", func(p *passing) { p.cut() }},
				{"answer late", func(p *passing) { resp := p.send(); time.Sleep(300 * time.Millisecond); p.pass(resp) }},
				{"request delivered twice", func(p *passing) { resp := p.send(); p.send(); p.pass(resp) }},
				{"an error page", func(p *passing) { p.w.WriteHeader(http.StatusBadGateway) }},
			} {
				time.Sleep(1100 * time.Millisecond) // until cached tokens have ended
				b.wire.arm(f.inject, f.inject)
				b.together()
				if n := b.wire.unmet(); n == 2 {
					t.Errorf("%s: nobody met it", f.name)
				}
				b.works(f.name)
			}

			for step, fault := range map[string]string{
				vault.StepLocked: "gateway killed, locked", vault.StepIntent: "gateway killed, intent", vault.StepAnswered: "gateway killed, answered", vault.StepCommitted: "gateway killed, committed",
			} {
				b.killAt(step)
				b.works(fault)
			}
			b.provider.kill()
			b.together()
			b.provider.start()
			b.works("provider killed")

			// Consent withdrawn is the person's own no: the job is told so, and a new
			// login gives a grant again.
			if n, ok := b.provider.(*nodeProvider); ok {
				n.control("withdraw", "bob")
				time.Sleep(1100 * time.Millisecond)
				if a := b.settled("bob"); a.Error != "invalid_grant" || a.Reconsent == "" {
					t.Errorf("after bob took it back his job is told %+v", a)
				}
				b.login("bob")
				b.works("withdrawn and given again")
			}

			b.day(name)
			b.wrongSecret()
			// Other scopes than before, for which no token is cached.
			b.advance(10 * time.Minute)
			b.scope = "openid"
			b.works("clock ahead by 10 minutes")
			b.advance(-20 * time.Minute)
			b.scope = "profile"
			b.works("clock behind by 10 minutes")
			b.advance(10 * time.Minute)
			b.scope = ""

			b.provider.disable("alice")
			time.Sleep(1100 * time.Millisecond)
			if a := b.settled("alice"); a.Error != "invalid_grant" || a.Reconsent != b.app.URL("http://localhost:8081/backup") {
				t.Errorf("while she is disabled alice's job is told %+v", a)
			}
			b.provider.enable("alice")
			b.advance(2 * time.Minute) // a suspended grant is tried once a minute
			b.works("disabled and enabled")

			for _, fault := range slices.Sorted(maps.Keys(b.lost)) {
				if kind == "on" && slices.Contains(open, fault) {
					t.Logf("%s: %s: lost %d, the window that cannot be closed there", name, fault, b.lost[fault])
				} else {
					t.Errorf("%s: %s: lost %d", name, fault, b.lost[fault])
				}
			}
			if kind == "on" {
				t.Logf("from the provider's answer to a job's token, which is later than the write: %v", b.window())
			}
		})
	}
}

// day is a simulated day with the provider down: a job asks each hour.
func (b *battle) day(name string) {
	b.t.Helper()
	b.wire.setDown(true)
	for hour := 1; hour <= 24; hour++ {
		b.advance(time.Hour)
		if a := b.ask("alice"); a.status != http.StatusServiceUnavailable {
			b.t.Errorf("%s is down, hour %d: %+v", name, hour, a)
		}
	}
	b.wire.setDown(false)
	b.advance(time.Minute) // the breaker tries once in a while
	b.works("down for a day")
}

// wrongSecret is 48 simulated hours with a client secret that the provider does
// not take.
func (b *battle) wrongSecret() {
	b.t.Helper()
	b.app.WriteConfig(strings.Replace(b.appText, "files-demo-secret", "mistyped", 1))
	if r := b.app.Reload(); r.Code != 0 {
		b.t.Fatalf("reload: %+v", r)
	}
	time.Sleep(1100 * time.Millisecond)
	for hour := 0; hour < 48; hour += 4 {
		b.advance(4 * time.Hour)
		for _, user := range fighters {
			if a := b.ask(user); a.status != http.StatusServiceUnavailable {
				b.t.Errorf("wrong secret, hour %d: %+v", hour, a)
			}
		}
	}
	// The provider answers all the while; what does not work there shows all the same.
	if h := b.app.Admin("/nightlatch/health"); !strings.Contains(h, `:"failing"`) {
		b.t.Errorf("health with a wrong secret: %s", h)
	}
	b.app.WriteConfig(b.appText)
	if r := b.app.Reload(); r.Code != 0 {
		b.t.Fatalf("reload: %+v", r)
	}
	b.works("wrong client secret for two days")
	if h := b.app.Admin("/nightlatch/health"); strings.Contains(h, "failing") {
		b.t.Errorf("health with the right secret again: %s", h)
	}
}

// window measures how long an answer is in nobody's store.
func (b *battle) window() []time.Duration {
	var out []time.Duration
	for range 5 {
		time.Sleep(1100 * time.Millisecond)
		b.wire.mu.Lock()
		b.wire.commit = nil
		b.wire.mu.Unlock()
		if a := b.ask("carol"); a.status != http.StatusOK {
			continue
		}
		now := time.Now()
		b.wire.mu.Lock()
		if n := len(b.wire.commit); n > 0 {
			out = append(out, now.Sub(b.wire.commit[n-1]).Round(10*time.Microsecond))
		}
		b.wire.mu.Unlock()
	}
	return out
}
