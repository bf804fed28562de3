package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	var b bench
	flag.IntVar(&b.rounds, "rounds", 5, "rounds in which product and baseline alternate")
	flag.DurationVar(&b.each, "each", 2*time.Second, "load in one round on one path")
	only := flag.String("only", "", "run only the groups whose name contains this: size, proxy, jobs, credentials, refresh, engines, keepalive, million, store")
	flag.StringVar(&b.profiles, "profiles", "", "folder for a CPU profile of the gateway for each path, taken after the rounds")
	flag.IntVar(&b.sessions, "sessions", 1_000_000, "offline sessions in the store of the groups million and store")
	flag.IntVar(&b.grants, "grants", 100_000, "grants in the group keepalive")
	flag.StringVar(&b.kept, "store", "", "folder of the group store, which stays for the next run; default: one that is removed")
	flag.Parse()
	if dir := os.Getenv(storeEnv); dir != "" {
		if err := measureStore(dir, b.sessions); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(b, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(b bench, only string) error {
	dir, err := os.MkdirTemp("", "nightlatch-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "nightlatch")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("building the binary: %w\n%s", err, out)
	}
	upstream, stop, err := serveUpstream()
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("%s, %d cores, servers and load on the same cores; %d rounds of %v, median (range)\n\n", runtime.Version(), runtime.NumCPU(), b.rounds, b.each)

	b.binary, b.dir, b.upstream = binary, dir, upstream
	var failed []error
	for _, group := range []struct {
		name string
		run  func() error
	}{{"size", b.size}, {"proxy", b.proxy}, {"jobs", b.jobs}, {"credentials", b.credentials}, {"refresh", b.refresh}, {"engines", b.engines}, {"keepalive", b.keepalive}, {"million", b.million}, {"store", b.store}} {
		if !strings.Contains(group.name, only) {
			continue
		}
		if err := group.run(); err != nil { // the others have their figures all the same
			failed = append(failed, fmt.Errorf("%s: %w", group.name, err))
			fmt.Printf("  failed: %v\n\n", err)
		}
	}
	return errors.Join(failed...)
}

type bench struct {
	binary, dir, upstream string
	rounds                int
	each                  time.Duration
	sessions, grants      int
	kept                  string // folder of the group store; empty: a temporary one
	profiles              string // folder; "": none
	n                     int
}

// gateway starts a fresh one with an empty store.
func (b *bench) gateway(s setup) (*gateway, error) {
	b.n++
	dir := filepath.Join(b.dir, fmt.Sprint(b.n))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return start(b.binary, dir, b.upstream, s)
}

// path is one thing to load.
type path struct {
	g       *gateway
	name    string
	addr    string
	workers int
	do      step
	conns   []*conn
	all     []sample
	allocs  float64   // objects that the process allocates for one request
	cpu     []float64 // µs of the process's CPU time for one request, each round
	// conflicts wants to know how often the store's transactions ran once more.
	conflicts bool
	retries   []float64 // for 100 transactions, each round
}

// turns is how often each path is loaded in a round. A machine that is shared is
// slower at one second than at the next: what is compared shares the good moments and
// the bad ones.
const turns = 10

// alternate loads all paths in every round, turn by turn, and prints them; ratios are
// against each of the baselines, which come first.
func (b *bench) alternate(baselines int, paths ...*path) error {
	for _, p := range paths { // once for warmth, not counted
		if err := p.warm(b.each / 4); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		defer hangUp(p.conns)
	}
	for range b.rounds {
		if err := b.round(paths); err != nil {
			return err
		}
	}
	if b.profiles != "" {
		for _, p := range paths {
			if err := b.profile(p); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	for i, p := range paths {
		p.print(paths[:min(i, baselines)])
	}
	return nil
}

// warm opens the path's connections and counts what a request allocates.
func (p *path) warm(d time.Duration) (err error) {
	if p.conns, err = dialAll(p.addr, p.workers); err != nil {
		return err
	}
	before, err := p.g.allocations()
	if err != nil {
		return err
	}
	times, _, err := load(p.conns, d, p.do)
	if err != nil {
		return err
	}
	after, err := p.g.allocations()
	p.allocs = (after - before) / float64(len(times))
	return err
}

// round loads each path for b.each, in turns.
func (b *bench) round(paths []*path) error {
	type measured struct {
		times     []time.Duration
		took, cpu time.Duration
		before    transactions
	}
	all := make([]measured, len(paths))
	for i, p := range paths {
		var err error
		if all[i].before, err = p.transactions(); err != nil {
			return err
		}
	}
	for range turns {
		for i, p := range paths {
			cpu := p.g.cpu()
			times, took, err := load(p.conns, b.each/turns, p.do)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			m := &all[i]
			m.times, m.took, m.cpu = append(m.times, times...), m.took+took, m.cpu+p.g.cpu()-cpu
		}
	}
	for i, p := range paths {
		m := all[i]
		after, err := p.transactions()
		if err != nil {
			return err
		}
		p.all = append(p.all, sum(m.times, m.took))
		p.cpu = append(p.cpu, float64(m.cpu.Microseconds())/float64(len(m.times)))
		p.retries = append(p.retries, 100*(after.again-m.before.again)/max(after.all-m.before.all, 1))
	}
	return nil
}

// transactions of the path's gateway so far, where they are asked for.
func (p *path) transactions() (transactions, error) {
	if !p.conflicts {
		return transactions{}, nil
	}
	return p.g.conflicts()
}

// print shows a path, and what it is of each baseline.
func (p *path) print(baselines []*path) {
	rate := pick(p.all, func(s sample) float64 { return s.PerSecond })
	p50 := pick(p.all, func(s sample) float64 { return ms(s.P50) })
	p99 := pick(p.all, func(s sample) float64 { return ms(s.P99) })
	fmt.Printf("  %-38s %2d conn  %s/s  p50 %s ms  p99 %s ms  CPU %s µs  %.0f allocations", p.name, p.workers, show(rate, 0), show(p50, 2), show(p99, 2), show(p.cpu, 0), p.allocs)
	if p.conflicts {
		fmt.Printf("  retries for 100 transactions %s", show(p.retries, 2))
	}
	fmt.Println()
	for _, base := range baselines {
		var ratio, tail, cpu []float64
		for r := range p.all {
			ratio = append(ratio, p.all[r].PerSecond/base.all[r].PerSecond)
			tail = append(tail, float64(p.all[r].P99)/float64(base.all[r].P99))
			cpu = append(cpu, p.cpu[r]/base.cpu[r])
		}
		fmt.Printf("    of %-36s ratio %s  p99 ratio %s  CPU ratio %s\n", base.name, show(ratio, 2), show(tail, 2), show(cpu, 2))
	}
}

// profile loads a path once more, uncounted, while the gateway profiles itself.
func (b *bench) profile(p *path) error {
	const seconds = 8
	taken := make(chan error, 1)
	go func() {
		raw, err := p.g.fromAdmin(fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
		if err == nil {
			name := strings.NewReplacer(" ", "-", ",", "", "/", "").Replace(p.name)
			err = os.WriteFile(filepath.Join(b.profiles, fmt.Sprintf("%s-%d.pprof", name, p.workers)), raw, 0o600)
		}
		taken <- err
	}()
	if _, _, err := load(p.conns, (seconds+1)*time.Second, p.do); err != nil {
		return err
	}
	return <-taken
}

func pick(all []sample, of func(sample) float64) []float64 {
	var out []float64
	for _, s := range all {
		out = append(out, of(s))
	}
	return out
}

// show prints the median and the range.
func show(v []float64, digits int) string {
	v = slices.Sorted(slices.Values(v))
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, v[len(v)/2], digits, v[0], digits, v[len(v)-1])
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// size: binary, start-up, idle memory.
func (b *bench) size() error {
	info, err := os.Stat(b.binary)
	if err != nil {
		return err
	}
	var first, again, rss []float64
	for range b.rounds {
		g, err := b.gateway(setup{})
		if err != nil {
			return err
		}
		first = append(first, ms(g.ready))
		time.Sleep(3 * time.Second)
		rss = append(rss, g.memory().Resident)
		g.stop()
		g, err = start(b.binary, g.dir, b.upstream, setup{})
		if err != nil {
			return err
		}
		again = append(again, ms(g.ready))
		g.stop()
	}
	fmt.Printf("size\n  binary %.1f MiB; ready on an empty store %s ms, on an existing one %s ms; idle %s MiB\n\n",
		float64(info.Size())/(1<<20), show(first, 0), show(again, 0), show(rss, 1))
	return nil
}

// proxy: a request with a session against a bare reverse_proxy to the same
// upstream in the same process.
func (b *bench) proxy() error {
	g, err := b.gateway(setup{})
	if err != nil {
		return err
	}
	defer g.stop()
	cookie, err := g.login(context.Background())
	if err != nil {
		return err
	}
	token, err := g.token("grant_type=password&username=alice&password=alice-demo&scope=openid&resource=http%3A%2F%2F" + g.app)
	if err != nil {
		return err
	}
	fmt.Println("proxied request, against bare reverse_proxy in the same process: as it comes from a browser that is not logged in, and the same request byte for byte, whose cookie the bare one passes on")
	bearer := want(get(g.app, "/x", "authorization", "Bearer "+token.Access))
	err = b.alternate(2,
		&path{g: g, name: "bare reverse_proxy", addr: g.bare, workers: 16, do: want(get(g.bare, "/x"))},
		&path{g: g, name: "bare reverse_proxy, with the cookie", addr: g.bare, workers: 16, do: want(get(g.bare, "/x", "cookie", cookie))},
		&path{g: g, name: "with a session", addr: g.app, workers: 16, do: want(get(g.app, "/x", "cookie", cookie))},
		&path{g: g, name: "with a bearer token seen before", addr: g.app, workers: 16, do: bearer},
	)
	fmt.Println()
	return err
}

// jobs: a cached job token against a bare respond in the same process.
func (b *bench) jobs() error {
	g, err := b.gateway(setup{})
	if err != nil {
		return err
	}
	defer g.stop()
	if _, err := g.login(context.Background()); err != nil {
		return err
	}
	fmt.Println("cached job token, against bare respond in the same process")
	err = b.alternate(1,
		&path{g: g, name: "bare respond", addr: g.respond, workers: 16, do: want(get(g.respond, "/"))},
		&path{g: g, name: "POST /token, cached", addr: g.jobs, workers: 16, do: want(post(g.jobs, "/token", "user=alice&min_ttl=60s", "authorization", basic("nightly-backup", "backup-demo")))},
	)
	fmt.Println()
	return err
}

// credentials: client_credentials with one ES256 token, by a server that has one
// core, and by one that has all that the load leaves.
func (b *bench) credentials() error {
	fmt.Println("client_credentials, one ES256 token")
	for _, cores := range []string{"1", ""} {
		var env []string
		name := "client_credentials"
		if cores != "" {
			env, name = []string{"GOMAXPROCS=" + cores}, name+", GOMAXPROCS=1"
		}
		g, err := b.gateway(setup{env: env})
		if err != nil {
			return err
		}
		err = b.alternate(0, &path{g: g, name: name, addr: g.realm, workers: 16,
			do: want(post(g.realm, tokenPath, "grant_type=client_credentials&scope=profile", "authorization", reports))})
		g.stop()
		if err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

// refresh: offline tokens, two ES256 tokens an answer, with single use on and
// off at 1, 8 and 64 connections.
func (b *bench) refresh() error {
	for _, single := range []string{"off", "on"} {
		g, err := b.gateway(setup{realm: "revoke_refresh_token " + single})
		if err != nil {
			return err
		}
		fmt.Printf("refresh of an offline token, single use %s, ID and access token ES256\n", single)
		for _, workers := range []int{1, 8, 64} {
			do, err := g.refreshes(workers)
			if err == nil {
				err = b.alternate(0, &path{g: g, name: "refresh", addr: g.realm, workers: workers, do: do})
			}
			if err != nil {
				g.stop()
				return err
			}
		}
		fmt.Printf("  resident afterwards %.0f MiB\n\n", g.memory().Resident)
		g.stop()
	}
	return nil
}

// refreshes is a step in which each worker refreshes an offline token of its own.
func (g *gateway) refreshes(workers int) (step, error) {
	held := make([]string, workers)
	for i := range held {
		t, err := g.token("grant_type=password&username=alice&password=alice-demo&scope=openid+offline_access")
		if err != nil {
			return nil, err
		}
		held[i] = t.Refresh
	}
	return func(i int, c *conn) error {
		status, body, err := c.do(post(g.realm, tokenPath, "grant_type=refresh_token&refresh_token="+held[i], "authorization", reports))
		if err != nil {
			return err
		}
		var t token
		if err := json.Unmarshal(body, &t); err != nil || status != 200 || t.Refresh == "" {
			return fmt.Errorf("status %d: %.200s", status, body)
		}
		held[i] = t.Refresh
		return nil
	}, nil
}

const tokenPath = "/realms/demo/protocol/openid-connect/token"

var reports = basic("reports", "reports-demo")

func basic(user, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
}

type token struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// token asks the realm for tokens as the client reports.
func (g *gateway) token(form string) (token, error) {
	c, err := dial(g.realm)
	if err != nil {
		return token{}, err
	}
	defer c.Close()
	status, body, err := c.do(post(g.realm, tokenPath, form, "authorization", reports))
	if err != nil {
		return token{}, err
	}
	var t token
	if status != 200 {
		return token{}, fmt.Errorf("asking for a token: %d %.200s", status, body)
	}
	return t, json.Unmarshal(body, &t)
}

// serveUpstream answers 100 bytes to whatever comes, written by hand so that it
// never is the bottleneck.
func serveUpstream() (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + strings.Repeat("x", 100))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 16<<10)
				have := 0
				for {
					n, err := c.Read(buf[have:])
					if err != nil {
						return
					}
					have += n
					for {
						i := strings.Index(string(buf[:have]), "\r\n\r\n")
						if i < 0 {
							break
						}
						have = copy(buf, buf[i+4:have])
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
					if have == len(buf) {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), func() { l.Close() }, nil
}
