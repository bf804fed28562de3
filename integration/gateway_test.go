package integration

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/integration/loopback"
)

// gateway is one running Nightlatch on ports and a folder of its own.
type gateway struct {
	t     *testing.T
	Dir   string
	ports map[string]string // port in the Caddyfile → port used
	admin string            // unix socket of Caddy's admin endpoint

	program string   // what is run; default: binary
	more    []string // of its environment
	cmd     *exec.Cmd
	done    chan struct{}
	out     *output
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := loopback.Port()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// newGateway lays out a folder with the given Caddyfile, whose ports 8080 to
// 8089 become free ones. It does not start anything.
func newGateway(t *testing.T, caddyfile string) *gateway {
	t.Helper()
	g := &gateway{t: t, Dir: t.TempDir(), ports: map[string]string{}, out: &output{}}
	// A socket's path is limited to about 100 bytes, a test's folder is not.
	sockets, err := os.MkdirTemp("", "nl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	g.admin = "unix/" + filepath.Join(sockets, "admin.sock")
	for p := 8080; p <= 8089; p++ {
		if old := fmt.Sprint(p); strings.Contains(caddyfile, ":"+old) {
			g.ports[old] = freePort(t)
		}
	}
	g.WriteConfig(caddyfile)
	t.Cleanup(func() {
		g.Kill()
		if t.Failed() {
			t.Logf("the gateway printed:\n%s", g.out)
		}
	})
	return g
}

// example returns the demo's Caddyfile.
func example(t *testing.T) string {
	t.Helper()
	return readFile(t, filepath.Join("..", "Caddyfile.example"))
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// WriteConfig replaces the Caddyfile; a running gateway needs Reload to see it.
func (g *gateway) WriteConfig(caddyfile string) {
	g.t.Helper()
	if err := os.WriteFile(g.Config(), []byte(g.withPorts(caddyfile)), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) Config() string { return filepath.Join(g.Dir, "Caddyfile") }

func (g *gateway) withPorts(s string) string {
	for old, port := range g.ports {
		s = strings.ReplaceAll(s, ":"+old, ":"+port)
	}
	return s
}

// URL turns an address of the demo into that of this gateway.
func (g *gateway) URL(demo string) string { return g.withPorts(demo) }

func (g *gateway) env(extra ...string) []string {
	return append(append(os.Environ(), "CADDY_ADMIN="+g.admin, "HOME="+g.Dir, "XDG_DATA_HOME="+g.Dir, "XDG_CONFIG_HOME="+g.Dir,
		"NIGHTLATCH_URL="+g.URL("http://127.0.0.1:8082")), extra...)
}

// Start starts the process and waits until every site listens and the realm
// answers.
func (g *gateway) Start() {
	g.t.Helper()
	g.StartSites(slices.Collect(maps.Keys(g.ports))...)
	g.await("the realm's discovery", func() bool {
		resp, err := http.Get(g.URL("http://localhost:8080/realms/demo/.well-known/openid-configuration"))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// StartSites starts the process and waits until it listens on the given ports
// of the Caddyfile.
func (g *gateway) StartSites(ports ...string) {
	g.t.Helper()
	g.cmd = exec.Command(cmp.Or(g.program, binary), "run", "--config", "Caddyfile")
	g.cmd.Dir, g.cmd.Env = g.Dir, g.env(g.more...)
	g.cmd.Stdout, g.cmd.Stderr = g.out, g.out
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	done := make(chan struct{})
	g.done = done
	cmd := g.cmd
	go func() { _ = cmd.Wait(); close(done) }()
	for _, port := range ports {
		g.await("port "+g.ports[port], func() bool {
			conn, err := net.DialTimeout("tcp", "127.0.0.1:"+g.ports[port], time.Second)
			if err != nil {
				return false
			}
			conn.Close()
			return true
		})
	}
}

// await polls until something outside this process is so.
func (g *gateway) await(what string, ready func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ready(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-g.done:
			g.t.Fatalf("the gateway ended while waiting for %s:\n%s", what, g.out)
		default:
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("no sign of %s:\n%s", what, g.out)
		}
	}
}

// Kill ends the process as a power cut would.
func (g *gateway) Kill() { g.end(syscall.SIGKILL) }

// Stop ends the process gracefully.
func (g *gateway) Stop() { g.end(syscall.SIGTERM) }

func (g *gateway) end(sig syscall.Signal) {
	g.t.Helper()
	if g.cmd == nil || g.cmd.Process == nil {
		return
	}
	_ = g.cmd.Process.Signal(sig)
	select {
	case <-g.done:
	case <-time.After(20 * time.Second):
		_ = g.cmd.Process.Kill()
		g.t.Errorf("the gateway did not end on %v", sig)
	}
	g.cmd = nil
}

// result of a command.
type result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs the binary beside the gateway.
func (g *gateway) Run(env []string, args ...string) result {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env = g.Dir, g.env(env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		g.t.Fatalf("running %v: %v", args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Reload lets the running gateway take the Caddyfile as it is now.
func (g *gateway) Reload() result {
	return g.Run(nil, "reload", "--config", "Caddyfile", "--address", g.admin)
}

// Admin fetches a path of Caddy's admin endpoint.
func (g *gateway) Admin(path string) string {
	g.t.Helper()
	code, body := g.admins(path)
	if code != http.StatusOK {
		g.t.Fatalf("admin endpoint %s: %d %s", path, code, body)
	}
	return body
}

// admins is what Caddy's admin endpoint answers.
func (g *gateway) admins(path string) (code int, body string) {
	g.t.Helper()
	socket := strings.TrimPrefix(g.admin, "unix/")
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://localhost" + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatalf("admin endpoint %s: %v", path, err)
	}
	return resp.StatusCode, string(raw)
}

// backup is the environment of the demo's job.
var backup = []string{"NIGHTLATCH_JOB=nightly-backup", "NIGHTLATCH_SECRET=backup-demo"}

// Token asks for a user's token as the demo's job does.
func (g *gateway) Token(user string) result {
	return g.Run(backup, "grants", "token", "--user", user)
}

// get fetches a page without following redirects.
func get(t *testing.T, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	client := &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
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
