package integration

import (
	"encoding/json"
	"fmt"
	"io"
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

	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// cluster is three nodes of the demo on one PostgreSQL, and a plain Caddy in front
// that gives each request to the next of them.
type cluster struct {
	*gateway // in front: the demo's addresses are its own
	nodes    []*gateway
	database *postgrestest.Server
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{database: postgrestest.Start(t, postgrestest.Config{Durable: true})}
	key := storagetest.Keyset(t)
	demo := example(t)
	for from, to := range map[string]string{
		"store badger ./nightlatch-data": "store postgres {env.DATABASE_URL}\n\t\tkey {file.nightlatch.key}",
		"client reports {":               "revoke_refresh_token\n\t\t\tclient reports {",
		"\nhttp://localhost:8080 {":      "\nhttp://localhost:8083 {",
		"\nhttp://localhost:8081 {":      "\nhttp://localhost:8084 {",
		"\nhttp://127.0.0.1:8082":        "\nhttp://127.0.0.1:8085",
		", http://localhost:8082 {":      ", http://localhost:8085 {",
	} {
		if !strings.Contains(demo, from) {
			t.Fatalf("the demo has no %q", from)
		}
		demo = strings.Replace(demo, from, to, 1)
	}
	public := map[string]string{"8080": freePort(t), "8081": freePort(t), "8082": freePort(t)}
	for old, port := range public {
		demo = strings.ReplaceAll(demo, ":"+old, ":"+port)
	}
	behind := map[string]string{}
	for range 3 {
		n := newGateway(t, demo)
		n.more = []string{"DATABASE_URL=" + c.database.TCP()}
		if err := key.Save(n.keyFile(), false); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, n)
		for _, port := range []string{"8083", "8084", "8085"} {
			behind[port] += " 127.0.0.1:" + n.ports[port]
		}
	}
	front := "{\n\tdefault_bind 127.0.0.1\n}\n" + balancer(t)
	for port, node := range map[string]string{"8080": "8083", "8081": "8084", "8082": "8085"} {
		front += fmt.Sprintf("\nhttp://localhost:%s, http://127.0.0.1:%[1]s {\n\timport nodes%s\n}\n", public[port], behind[node])
	}
	c.gateway = newGateway(t, front)
	c.ports = public

	var all sync.WaitGroup // at once: they make schema, keys and realm together
	for _, n := range c.nodes {
		all.Go(func() { n.StartSites("8083", "8084", "8085") })
	}
	all.Wait()
	c.Start()
	return c
}

// keyFile of a node of a cluster.
func (g *gateway) keyFile() string { return filepath.Join(g.Dir, "nightlatch.key") }

// balancer is the snippet "nodes" of the recipe.
func balancer(t *testing.T) string {
	t.Helper()
	recipe, err := os.ReadFile("../docs/recipes/balancer.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	_, snippet, found := strings.Cut(string(recipe), "(nodes)")
	snippet, _, ended := strings.Cut(snippet, "\nid.example.com")
	if !found || !ended {
		t.Fatal("the recipe has no snippet")
	}
	return "(nodes)" + snippet
}

// at sends a request to one node, as the balancer would.
func (c *cluster) at(node int, port, method, demo string, form url.Values, header http.Header) (int, http.Header, string, error) {
	u, err := url.Parse(c.URL(demo))
	if err != nil {
		return 0, nil, "", err
	}
	host := u.Host
	u.Host = "127.0.0.1:" + c.nodes[node].ports[port]
	req, err := http.NewRequest(method, u.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, "", err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Host = host
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(body), err
}

func basic(user, password string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header
}

// refresh redeems a refresh token of the client reports at a node.
func (c *cluster) refresh(node int, token, key string) (status int, successor string, err error) {
	header := basic("reports", "reports-demo")
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	status, _, body, err := c.at(node, "8083", http.MethodPost, "http://localhost:8080/realms/demo/protocol/openid-connect/token",
		url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, header)
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal([]byte(body), &answer)
	return status, answer.RefreshToken, err
}

// grant is an offline token of alice's.
func (c *cluster) grant() string {
	c.t.Helper()
	_, _, body, err := c.at(0, "8083", http.MethodPost, "http://localhost:8080/realms/demo/protocol/openid-connect/token",
		url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"alice-demo"}, "scope": {"openid offline_access"}}, basic("reports", "reports-demo"))
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err != nil || json.Unmarshal([]byte(body), &answer) != nil || answer.RefreshToken == "" {
		c.t.Fatalf("no grant: %v %s", err, body)
	}
	return answer.RefreshToken
}

// lives tells whether a session lives at a node.
func (c *cluster) lives(node int, session string) bool {
	c.t.Helper()
	status, _, body, err := c.at(node, "8084", http.MethodGet, "http://localhost:8081/api/whoami", nil, http.Header{"Cookie": {session}})
	if err != nil {
		c.t.Fatal(err)
	}
	return status == http.StatusOK && strings.Contains(body, `"username":"alice"`)
}

var refreshesSent = regexp.MustCompile(`(?m)^nightlatch_refreshes_total\{.*\} (\d+)$`)

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]*)"`)

// TestCluster: any node serves any step of a login, one refresh of fifty wins, and
// a logout at one node is over at all of them.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	session := c.login("alice", "alice-demo", func() {}) // its steps go round the nodes
	for node := range c.nodes {
		if !c.lives(node, session) {
			t.Errorf("node %d does not know the session", node)
		}
	}

	// The first ask of a job refreshes the grant; of fifty at all nodes one does. The
	// nodes count what they send: the same request again is no refresh to the realm.
	const many = 50
	everywhere := func(ask func(i int)) {
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() { ask(i) })
		}
		all.Wait()
	}
	refreshes := func() (n int) {
		for _, node := range c.nodes {
			for _, sent := range refreshesSent.FindAllStringSubmatch(node.Admin("/metrics"), -1) {
				i, _ := strconv.Atoi(sent[1])
				n += i
			}
		}
		return n
	}
	before := refreshes()
	var tokens sync.Map
	everywhere(func(i int) {
		status, _, body, err := c.at(i%3, "8085", http.MethodPost, "http://127.0.0.1:8082/token",
			url.Values{"user": {"alice"}, "scope": {"openid"}}, basic("nightly-backup", "backup-demo"))
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err != nil || status != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil {
			t.Errorf("a job's ask: %d %v %s", status, err, body)
		}
		tokens.Store(answer.AccessToken, true)
	})
	different := 0
	tokens.Range(func(any, any) bool { different++; return true })
	if n := refreshes() - before; n != 1 || different != 1 {
		t.Errorf("%d asks at three nodes made %d refreshes and %d tokens", many, n, different)
	}

	// Fifty times the same request gets the same successor.
	token := c.grant()
	var successors sync.Map
	everywhere(func(i int) {
		status, next, err := c.refresh(i%3, token, "the same request")
		if err != nil || status != http.StatusOK {
			t.Errorf("the same request again: %d %v", status, err)
		}
		successors.Store(next, true)
	})
	different = 0
	successors.Range(func(next, _ any) bool { different, token = different+1, next.(string); return true })
	if different != 1 {
		t.Errorf("one request got %d successors", different)
	}
	// Fifty requests with one token: one winner.
	var won, refused atomic.Int64
	everywhere(func(i int) {
		for {
			status, _, err := c.refresh(i%3, token, "")
			switch {
			case err == nil && status == http.StatusOK:
				won.Add(1)
			case err == nil && status == http.StatusBadRequest:
				refused.Add(1)
			case err == nil && status == http.StatusServiceUnavailable:
				continue // it is told to come again
			default:
				t.Errorf("a refresh: %d %v", status, err)
			}
			return
		}
	})
	if won.Load() != 1 || refused.Load() != many-1 {
		t.Errorf("%d of %d refreshes with one token won, %d were refused", won.Load(), many, refused.Load())
	}

	// A logout at node 0.
	_, _, page, err := c.at(0, "8084", http.MethodGet, "http://localhost:8081/.nightlatch/logout", nil, http.Header{"Cookie": {session}, "Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}})
	field := csrfField.FindStringSubmatch(page)
	if err != nil || field == nil {
		t.Fatalf("no logout form: %v %.300s", err, page)
	}
	for node := range c.nodes {
		c.lives(node, session) // warm
	}
	status, _, body, err := c.at(0, "8084", http.MethodPost, "http://localhost:8081/.nightlatch/logout", url.Values{"csrf": {field[1]}}, http.Header{"Cookie": {session}})
	if err != nil || status >= 400 {
		t.Fatalf("logging out: %d %v %s", status, err, body)
	}
	over := time.Now()
	for node := range c.nodes {
		for c.lives(node, session) {
			if time.Since(over) > time.Second {
				t.Errorf("a second after the logout the session lives at node %d", node)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}

	// A logout of the whole realm at node 0: sessions, jobs and bearers, all warm.
	session = c.login("alice", "alice-demo", func() {})
	token = ""
	job := func(node int) bool {
		status, _, body, err := c.at(node, "8085", http.MethodPost, "http://127.0.0.1:8082/token",
			url.Values{"user": {"alice"}, "scope": {"openid"}}, basic("nightly-backup", "backup-demo"))
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err != nil || json.Unmarshal([]byte(body), &answer) != nil {
			t.Fatalf("a job's ask: %d %v %s", status, err, body)
		}
		if status == http.StatusOK {
			token = answer.AccessToken
		}
		return status == http.StatusOK
	}
	bearer := func(node int) bool {
		status, _, _, err := c.at(node, "8084", http.MethodGet, "http://localhost:8081/api/whoami", nil, http.Header{"Authorization": {"Bearer " + token}})
		if err != nil {
			t.Fatal(err)
		}
		return status == http.StatusOK
	}
	for node := range c.nodes {
		if !c.lives(node, session) || !job(node) || !bearer(node) {
			t.Fatalf("node %d does not serve alice", node)
		}
	}
	c.administer(http.MethodPost, "/logout-all", "")
	over = time.Now()
	for node := range c.nodes {
		for what, serves := range map[string]func(int) bool{
			"session": func(node int) bool { return c.lives(node, session) }, "job": job, "bearer": bearer,
		} {
			for serves(node) {
				if time.Since(over) > 2*time.Second {
					t.Errorf("two seconds after the logout of the realm node %d serves the %s", node, what)
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
}

// TestClusterLosesANode: a node is killed in the middle of logins and refreshes,
// and started again. Nobody who is logged in notices, no login fails, no grant is
// lost.
func TestClusterLosesANode(t *testing.T) {
	c := newCluster(t)
	session := c.login("alice", "alice-demo", func() {})
	var over atomic.Bool
	var load sync.WaitGroup
	end := func() { over.Store(true); load.Wait() }
	defer end() // before the nodes are taken away
	var requests, refreshed atomic.Int64
	for range 4 {
		load.Go(func() {
			for !over.Load() {
				resp, body := get(t, c.URL("http://localhost:8081/api/whoami"), http.Header{"Cookie": {session}})
				if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"username":"alice"`) {
					t.Errorf("who is logged in notices: %d %.200s", resp.StatusCode, body)
					return
				}
				requests.Add(1)
			}
		})
	}
	// Each chain rotates one grant. What got no answer is sent again with its key,
	// at another node.
	for chain := range 3 {
		token := c.grant()
		load.Go(func() {
			for n, node := 0, chain; !over.Load(); n++ {
				key := fmt.Sprint(chain, " ", n)
				for deadline := time.Now().Add(30 * time.Second); ; node = (node + 1) % 3 {
					status, next, err := c.refresh(node, token, key)
					if err == nil && status == http.StatusOK {
						token = next
						refreshed.Add(1)
						break
					}
					if err == nil && status != http.StatusServiceUnavailable || time.Now().After(deadline) {
						t.Errorf("a grant is lost: %d %v", status, err)
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	steps := 0
	var dying sync.WaitGroup
	defer dying.Wait()
	for range 2 {
		c.login("alice", "alice-demo", func() { // before each form is sent
			dying.Wait()
			// What reaches it from now on gets no answer.
			victim := c.nodes[steps%3]
			if err := victim.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
			dying.Go(func() {
				time.Sleep(100 * time.Millisecond)
				victim.Kill()
			})
			if steps++; steps > 1 {
				c.nodes[(steps-2)%3].StartSites("8083", "8084", "8085")
			}
		})
	}
	dying.Wait()
	end()
	t.Logf("%d kills; %d requests, %d refreshes", steps, requests.Load(), refreshed.Load())
	if steps < 2 || requests.Load() < 20 || refreshed.Load() < 10 {
		t.Error("that is not a load")
	}
	if r := c.Token("alice"); r.Code != 0 {
		t.Errorf("the job afterwards: %+v", r)
	}
}

// TestClusterLosesTheDatabase: PostgreSQL is killed under load and started again.
// Meanwhile requests are told to come again, and afterwards nothing is missing.
func TestClusterLosesTheDatabase(t *testing.T) {
	c := newCluster(t)
	session := c.login("alice", "alice-demo", func() {})
	token, acknowledged := c.grant(), 0
	refresh := func(node int) (int, http.Header, error) {
		header := basic("reports", "reports-demo")
		header.Set("Idempotency-Key", fmt.Sprint(acknowledged))
		status, answer, body, err := c.at(node, "8083", http.MethodPost, "http://localhost:8080/realms/demo/protocol/openid-connect/token",
			url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, header)
		var next struct {
			RefreshToken string `json:"refresh_token"`
		}
		if err == nil && status == http.StatusOK && json.Unmarshal([]byte(body), &next) == nil {
			token, acknowledged = next.RefreshToken, acknowledged+1
		}
		return status, answer, err
	}
	refused := 0
	for n, down := 0, false; n < 60; n++ {
		switch n {
		case 20:
			if err := c.database.Kill(); err != nil {
				t.Fatal(err)
			}
			down = true
		case 40:
			if err := c.database.Up(); err != nil {
				t.Fatal(err)
			}
			down = false
		}
		status, header, err := refresh(n % 3)
		switch {
		case err != nil:
			t.Errorf("without an answer: %v", err)
		case status == http.StatusServiceUnavailable:
			refused++
			if header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		case status != http.StatusOK || down:
			t.Errorf("request %d, database down: %v: %d", n, down, status)
		}
		if down && refused == 3 { // a page and a job, too
			status, header, _, err := c.at(0, "8084", http.MethodGet, "http://localhost:8081/backup", nil, http.Header{"Cookie": {session}, "Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}})
			if err != nil || status != http.StatusOK && (status != http.StatusServiceUnavailable || header.Get("Retry-After") == "") {
				t.Errorf("a page while the database is down: %d %v", status, err)
			}
		}
	}
	if refused < 20 || acknowledged < 30 {
		t.Errorf("%d requests were told to come again, %d succeeded", refused, acknowledged)
	}
	for node := range c.nodes {
		c.nodes[node].await("the session", func() bool { return c.lives(node, session) })
	}
	if r := c.Token("alice"); r.Code != 0 {
		t.Errorf("the job afterwards: %+v", r)
	}
}
