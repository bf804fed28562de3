package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/integration/formlogin"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// TestReloadUnderLoad: with requests, job tokens and logins under way, reloads
// with an unchanged, a changed and broken files lose no login, no session and
// no grant, and leave nothing behind in the process. Files are broken where they
// are read, where they are judged, and where the apps start; each refresh token of
// a grant works once, and is used every second or so.
func TestReloadUnderLoad(t *testing.T) {
	const logins = 7 // each is interrupted twice: before its login form and its consent form are sent
	config := strings.Replace(example(t), "users alice", "users *", 1)
	config = strings.Replace(config, "realm demo {", "realm demo {\n\t\t\trevoke_refresh_token on\n\t\t\taccess_token_lifespan 2s", 1)
	for i := range logins {
		const next = "client reports {"
		config = strings.Replace(config, next, fmt.Sprintf("user guest%d {\n\t\t\t\tpassword guest-demo\n\t\t\t\troles offline_access\n\t\t\t}\n\t\t\t%s", i, next), 1)
	}
	extra := config + "\nhttp://localhost:8083 {\n\trespond new\n}\n"
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, takenPort, _ := net.SplitHostPort(taken.Addr().String())

	otherKey := filepath.Join(t.TempDir(), "other.key")
	if _, err := seal.Create(otherKey); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, extra)
	g.WriteConfig(config)
	g.StartSites("8080", "8081", "8082")
	session := g.login("alice", "alice-demo", func() {})
	g.whoami(session, "alice")
	if r := g.Token("alice"); r.Code != 0 {
		t.Fatalf("the job before the load: %+v", r)
	}
	before := g.usage()

	l := startLoad(g, session)
	reloads := []struct {
		name, config, fails string
		changes             bool
	}{
		{"changed", extra, "", true},
		{"broken: unknown word", strings.Replace(config, "store badger", "store bodger", 1), "bodger", true},
		{"broken: job without its site", strings.Replace(config, "job nightly-backup {", "job nightly-backup {\n\t\t\tsite http://localhost:1", 1), "has no directive nightlatch", true},
		{"unchanged", extra, "", true},
		{"broken: port is taken", config + "\nhttp://localhost:" + takenPort + " {\n\trespond never\n}\n", takenPort, true},
		{"changed back", strings.Replace(config, "realm demo {", "realm demo {\n\t\t\tdisplay_name Demo", 1), "", false},
		{"broken: another sealing key", strings.Replace(config, "realm demo {", "key {file."+otherKey+"}\n\t\trealm demo {", 1), "sealing key of the new configuration is another one", false},
		{"broken: wrong value", strings.Replace(config, "realm demo {", "realm demo {\n\t\t\tsigning_algorithm HS256", 1), "HS256", false},
	}
	n := 0
	reload := func() {
		r := reloads[n%len(reloads)]
		n++
		g.WriteConfig(r.config)
		got := g.Run(nil, "reload", "--config", "Caddyfile", "--address", g.admin, "--force")
		if (got.Code != 0) != (r.fails != "") || !strings.Contains(got.Stderr, r.fails) {
			t.Errorf("reload %d, %s: code %d, %s", n, r.name, got.Code, got.Stderr)
		}
		http.DefaultClient.CloseIdleConnections() // a reload closes the server's ends
		resp, err := http.Get(g.URL("http://localhost:8083/"))
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != r.changes {
			t.Errorf("reload %d, %s: the added site: %v", n, r.name, err)
		}
		http.DefaultClient.CloseIdleConnections()
	}
	sessions := map[string]string{"alice": session}
	for i := range logins {
		user := fmt.Sprint("guest", i)
		sessions[user] = g.login(user, "guest-demo", reload)
	}
	reload()
	reload() // the last one ends on a broken file: the process serves the one before it
	if n != 2*len(reloads) {
		t.Errorf("%d reloads", n)
	}
	l.stop()
	t.Logf("%d reloads; %d requests, %d job tokens; %d connections that the server closed under a request", n, l.requests.Load(), l.tokens.Load(), l.resets.Load())
	if l.requests.Load() < 1000 || l.tokens.Load() < 50 {
		t.Error("that is not a load")
	}
	for user, session := range sessions {
		g.whoami(session, user)
		if r := g.Token(user); r.Code != 0 {
			t.Errorf("the job for %s after the reloads: %+v", user, r)
		}
	}
	list := g.Run(backup, "grants", "list", "--format", "json")
	if got := strings.Count(list.Stdout, `"grant_id"`); list.Code != 0 || got != len(sessions) {
		t.Errorf("%d grants: %+v", got, list)
	}

	// Replaced configurations keep the store for some seconds.
	http.DefaultClient.CloseIdleConnections()
	var after usage
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		after = g.usage()
		if after.goroutines <= before.goroutines+5 && after.files <= before.files+3 || time.Now().After(deadline) {
			break
		}
	}
	t.Logf("before %+v, after %+v", before, after)
	if after.goroutines > before.goroutines+5 || after.files > before.files+3 {
		t.Errorf("the process had %+v and has %+v:\n%s", before, after, g.Admin("/debug/pprof/goroutine?debug=1"))
	}
	if after.stores != 1 || after.writers != 1 {
		t.Errorf("%d locks of the store's folder are held, %d engines run", after.stores, after.writers)
	}
	// Each configuration has given the store back: with the last one it is closed.
	g.WriteConfig(strings.Replace(config, "./nightlatch-data", "./other-data", 1))
	if r := g.Reload(); r.Code != 0 {
		t.Fatalf("a reload with another store: %+v", r)
	}
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		after = g.usage()
		if after.stores == 0 && after.writers == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the configuration named another store: %+v", after)
		}
	}
}

// login returns the Cookie header of a session at the demo's app.
func (g *gateway) login(user, password string, meanwhile func()) string {
	g.t.Helper()
	found, err := formlogin.LoginSlowly(context.Background(), g.URL("http://localhost:8081/backup"), user, password, meanwhile)
	if err != nil {
		g.t.Fatalf("the login of %s: %v", user, err)
	}
	var cookies []string
	for _, c := range found {
		cookies = append(cookies, c.String())
	}
	return strings.Join(cookies, "; ")
}

func (g *gateway) whoami(session, user string) {
	g.t.Helper()
	resp, body := get(g.t, g.URL("http://localhost:8081/api/whoami"), http.Header{"Cookie": {session}})
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"username":"`+user+`"`) {
		g.t.Errorf("the session of %s: %d %s", user, resp.StatusCode, body)
	}
}

// usage of a process: goroutines, open files, locks of the store's folder among
// them, and engines that write.
type usage struct{ goroutines, files, stores, writers int }

var (
	totalGoroutines  = regexp.MustCompile(`(?m)^goroutine profile: total (\d+)$`)
	writerGoroutines = regexp.MustCompile(`(?m)^(\d+) @.*\n(?:#.*\n)*#.*badger/v4\.\(\*DB\)\.doWrites\+`)
)

func (g *gateway) usage() (u usage) {
	g.t.Helper()
	profile := g.Admin("/debug/pprof/goroutine?debug=1")
	if m := totalGoroutines.FindStringSubmatch(profile); m != nil {
		u.goroutines, _ = strconv.Atoi(m[1])
	}
	for _, m := range writerGoroutines.FindAllStringSubmatch(profile, -1) {
		n, _ := strconv.Atoi(m[1])
		u.writers += n
	}
	folder, err := filepath.EvalSymlinks(filepath.Join(g.Dir, "nightlatch-data"))
	if err != nil {
		g.t.Fatal(err)
	}
	fds := fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid)
	entries, err := os.ReadDir(fds)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, e := range entries {
		u.files++
		if to, err := os.Readlink(filepath.Join(fds, e.Name())); err == nil && to == folder {
			u.stores++ // the engine locks the folder itself
		}
	}
	return u
}

// running is a load: 16 connections with a session and two that ask for job
// tokens, one of them for such as have just been made.
type running struct {
	requests, tokens, resets atomic.Int64
	over                     atomic.Bool
	workers                  sync.WaitGroup
}

func startLoad(g *gateway, session string) *running {
	l := &running{}
	whoami := func() (*http.Request, error) {
		req, err := http.NewRequest(http.MethodGet, g.URL("http://localhost:8081/api/whoami"), nil)
		if err == nil {
			req.Header.Set("Cookie", session)
		}
		return req, err
	}
	for range 16 {
		l.loop(g, &l.requests, 2*time.Millisecond, whoami, func(body []byte) bool { return strings.Contains(string(body), `"username":"alice"`) })
	}
	for _, minTTL := range []string{"60s", "298s"} {
		l.loop(g, &l.tokens, 20*time.Millisecond, func() (*http.Request, error) {
			form := url.Values{"user": {"alice"}, "min_ttl": {minTTL}}
			req, err := http.NewRequest(http.MethodPost, g.URL("http://127.0.0.1:8082/token"), strings.NewReader(form.Encode()))
			if err == nil {
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.SetBasicAuth("nightly-backup", "backup-demo")
			}
			return req, err
		}, func(body []byte) bool {
			var answer struct {
				AccessToken string `json:"access_token"`
			}
			return json.Unmarshal(body, &answer) == nil && answer.AccessToken != ""
		})
	}
	return l
}

// loop sends requests over a connection of its own until the load is over. An
// answer that is wrong is a failure, and so is every error but the end of a
// connection that Caddy closes with the servers of a replaced configuration.
func (l *running) loop(g *gateway, count *atomic.Int64, pause time.Duration, next func() (*http.Request, error), good func([]byte) bool) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxConnsPerHost: 1}}
	once := func() error {
		req, err := next()
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != http.StatusOK || !good(body)) {
			err = fmt.Errorf("%d %.300s", resp.StatusCode, body)
		}
		return err
	}
	l.workers.Go(func() {
		defer client.CloseIdleConnections()
		for failures := 0; !l.over.Load() && failures < 5; time.Sleep(pause) {
			err := once()
			switch {
			case err == nil:
				count.Add(1)
			case closed(err):
				l.resets.Add(1)
			default:
				failures++
				g.t.Errorf("a request under the reloads: %v", err)
			}
		}
	})
}

// closed tells a connection that was closed before an answer began.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "server closed idle connection")
}

func (l *running) stop() {
	l.over.Store(true)
	l.workers.Wait()
}
