package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/integration/formlogin"
	"github.com/nightlatch/nightlatch/integration/loopback"
)

// gateway is the binary under test on ports of its own.
type gateway struct {
	dir     string
	cmd     *exec.Cmd
	log     string
	realm   string // host:port of the sites
	app     string
	bare    string
	jobs    string
	respond string
	admin   string // socket of Caddy's admin endpoint
	ready   time.Duration
}

// config of the bench: the demo without pages, an upstream of our own, and the
// two baselines in the same binary.
const config = `{
	admin unix//%[8]s
	default_bind 127.0.0.1
	nightlatch {
		store %[9]s
		realm demo {
			url http://%[1]s
			%[6]s
			user alice {
				password alice-demo
			}
			user admin {
				password admin-demo
				admin
			}
			client reports {
				secret reports-demo
				service_account
				direct_access_grants
				signing_algorithm ES256
			}
		}
		job nightly-backup {
			secret backup-demo
			users *
			scopes openid profile
		}
	}
}
http://%[1]s {
	nightlatch_provider
}
http://%[2]s {
	nightlatch http://%[2]s {
		offline /backup
	}
	reverse_proxy %[5]s
}
http://%[3]s {
	reverse_proxy %[5]s
}
http://%[4]s {
	respond "{}"
}
http://%[7]s {
	nightlatch_tokens
}
`

func freeAddr() (string, error) {
	port, err := loopback.Port()
	return "localhost:" + port, err
}

// setup is what differs from one gateway to another.
type setup struct {
	store string   // the option's words and further lines; default: badger ./data
	realm string   // lines for the realm's block
	env   []string // added to the environment
}

// start starts the binary in dir.
func start(binary, dir, upstream string, s setup) (*gateway, error) {
	g := &gateway{dir: dir, log: filepath.Join(dir, "log"), admin: filepath.Join(dir, "admin.sock")}
	for _, p := range []*string{&g.realm, &g.app, &g.bare, &g.respond, &g.jobs} {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		*p = addr
	}
	// As in production the realm has a host of its own: its cookies are not the app's.
	g.realm = strings.Replace(g.realm, "localhost", "127.0.0.1", 1)
	text := fmt.Sprintf(config, g.realm, g.app, g.bare, g.respond, upstream, s.realm, g.jobs, g.admin, cmp.Or(s.store, "badger ./data"))
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(g.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	g.cmd = exec.Command(binary, "run", "--config", "Caddyfile")
	g.cmd.Dir = dir
	g.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	g.cmd.Env = append(g.cmd.Env, s.env...)
	g.cmd.Stdout, g.cmd.Stderr = log, log
	at := time.Now()
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(at) < 60*time.Second {
		resp, err := http.Get("http://" + g.realm + "/realms/demo/.well-known/openid-configuration")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				g.ready = time.Since(at)
				return g, nil
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	g.stop()
	out, _ := os.ReadFile(g.log)
	return nil, fmt.Errorf("the gateway did not start:\n%s", out)
}

func (g *gateway) stop() {
	_ = g.cmd.Process.Signal(os.Interrupt)
	_ = g.cmd.Wait()
}

// allocations returns how many objects the process has allocated so far.
func (g *gateway) allocations() (float64, error) { return g.metric("go_memstats_mallocs_total") }

// metric reads one that has no labels.
func (g *gateway) metric(name string) (float64, error) {
	body, err := g.fromAdmin("/metrics")
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(body)
	if m == nil {
		return 0, fmt.Errorf("metrics lack %s", name)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// transactions of a store so far: all that were to write, and how often one ran
// again.
type transactions struct{ all, again float64 }

func (g *gateway) conflicts() (t transactions, err error) {
	if t.all, err = g.metric("nightlatch_store_updates_total"); err == nil {
		t.again, err = g.metric("nightlatch_store_conflicts_total")
	}
	return t, err
}

// fromAdmin gets a page of Caddy's admin endpoint.
func (g *gateway) fromAdmin(path string) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", g.admin)
	}}}
	resp, err := client.Get("http://localhost" + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// cpu returns the CPU time that the process has used, user and system.
func (g *gateway) cpu() time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// proc_pid_stat(5): after the name in parentheses utime and stime are the
	// 12th and 13th field, in ticks of 10 ms.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memory of the gateway.
func (g *gateway) memory() memory { return memoryOf(strconv.Itoa(g.cmd.Process.Pid)) }

// login logs alice in at the app's offline path and returns the Cookie header
// of the app's session.
func (g *gateway) login(ctx context.Context) (string, error) {
	found, err := formlogin.Login(ctx, "http://"+g.app+"/backup", "alice", "alice-demo")
	if err != nil {
		return "", err
	}
	var cookies []string
	for _, c := range found {
		cookies = append(cookies, c.String())
	}
	return strings.Join(cookies, "; "), nil
}
