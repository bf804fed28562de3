package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/integration/formlogin"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/postgres"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// vaultful is a cluster whose store holds many sealed records, so that sealing them
// anew takes a while.
func vaultful(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.withStore(func(b *postgres.Backend) {
		s := storage.New(storage.Config{Backend: b})
		live, err := seal.Open(t.Context(), s, c.key(0), 0)
		table := &storage.Table[sealedRecord]{Name: "kept", Sealer: live}
		for i := 0; i < sealedRecords && err == nil; i += 500 {
			err = s.Update(t.Context(), func(tx storage.Tx) error {
				for n := range 500 {
					if err := table.Put(tx, "s", fmt.Sprintf("%06d", i+n), &sealedRecord{strings.Repeat("x", 100)}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	return c
}

func (c *cluster) withStore(fn func(*postgres.Backend)) {
	c.t.Helper()
	b, err := postgres.Open(c.t.Context(), postgres.Options{URL: c.database.TCP()})
	if err != nil {
		c.t.Fatal(err)
	}
	fn(b)
	if err := b.Close(); err != nil {
		c.t.Error(err)
	}
}

// key is the key file of a node.
func (c *cluster) key(node int) *seal.Keyset {
	c.t.Helper()
	k, err := seal.Load(c.nodes[node].keyFile())
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

// hand copies the key file of node 0 to another one.
func (c *cluster) hand(node int) {
	c.t.Helper()
	if err := c.key(0).Save(c.nodes[node].keyFile(), true); err != nil {
		c.t.Fatal(err)
	}
}

// reload lets a node read its key file again.
func (c *cluster) reload(node int) {
	c.t.Helper()
	n := c.nodes[node]
	if r := n.Run(n.more, "reload", "--force", "--config", "Caddyfile", "--address", n.admin); r.Code != 0 {
		c.t.Fatalf("reloading node %d: %+v", node, r)
	}
}

func (c *cluster) rekey(args ...string) result {
	c.t.Helper()
	return c.nodes[0].Run(c.nodes[0].more, append([]string{"store", "rekey"}, args...)...)
}

// opens counts the rows of the database that a keyset opens alone, and the sealed
// ones that it does not.
func (c *cluster) opens(k *seal.Keyset) (opens, not int) {
	c.t.Helper()
	c.withStore(func(b *postgres.Backend) {
		for after := []byte(nil); ; {
			n := 0
			err := b.View(c.t.Context(), func(tx storage.Tx) error {
				items, err := tx.Scan(nil, after, 1000)
				n = len(items)
				for _, it := range items {
					after = slices.Clone(it.Key)
					if _, err := k.Open(it.Key, it.Value); err == nil {
						opens++
					} else if _, sealed := seal.SealedWith(it); sealed {
						not++
					}
				}
				return err
			})
			if err != nil {
				c.t.Fatal(err)
			}
			if n < 1000 {
				return
			}
		}
	})
	return opens, not
}

// die ends a node in the middle of its work: what reaches it from now on gets no
// answer.
func (g *gateway) die() {
	g.t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		g.t.Error(err)
	}
	time.Sleep(100 * time.Millisecond)
	g.Kill()
}

// TestRekeyOfACluster: three nodes get a new sealing key one after another, under
// load, and while nodes and the command are killed: nobody notices, and in the end
// the old key opens nothing and can be thrown away.
func TestRekeyOfACluster(t *testing.T) {
	c := vaultful(t)
	first := c.key(0)
	session := c.login("alice", "alice-demo", func() {})
	var over atomic.Bool
	var load sync.WaitGroup
	end := sync.OnceFunc(func() { over.Store(true); load.Wait() })
	defer end() // before the nodes are taken away
	done := map[string]*atomic.Int64{}
	loop := func(what string, fn func(n int) error) {
		count := done[what]
		if count == nil {
			count = new(atomic.Int64)
			done[what] = count
		}
		load.Go(func() {
			for n := 0; !over.Load(); n++ {
				if err := fn(n); err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
				count.Add(1)
			}
		})
	}
	loop("pages", func(int) error {
		resp, body := get(t, c.URL("http://localhost:8081/api/whoami"), http.Header{"Cookie": {session}})
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"username":"alice"`) {
			return fmt.Errorf("who is logged in notices: %d %.200s", resp.StatusCode, body)
		}
		return nil
	})
	// A login whose node dies behind the exchange of its code has to be repeated if a
	// job has used the grant by then (decision 0003): none is on its way at a kill.
	var entering sync.Mutex
	kill := func(n *gateway) {
		entering.Lock()
		defer entering.Unlock()
		n.die()
	}
	loop("logins", func(int) error {
		entering.Lock()
		defer entering.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_, err := formlogin.Login(ctx, c.URL("http://localhost:8081/backup"), "alice", "alice-demo")
		return err
	})
	loop("asks", func(n int) error {
		scope := []string{"openid", "profile", "openid profile"}[n%3]
		form := strings.NewReader(url.Values{"user": {"alice"}, "scope": {scope}}.Encode())
		req, err := http.NewRequest(http.MethodPost, c.URL("http://127.0.0.1:8082/token"), form)
		if err != nil {
			return err
		}
		req.Header = basic("nightly-backup", "backup-demo")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("a job is answered %d", resp.StatusCode)
		}
		return nil
	})
	for chain := range 2 { // each rotates one grant
		token := c.grant()
		loop("refreshes", func(n int) error {
			key := fmt.Sprint(chain, " ", n)
			for deadline := time.Now().Add(30 * time.Second); ; n++ {
				status, next, err := c.refresh(n%3, token, key)
				if err == nil && status == http.StatusOK {
					token = next
					return nil
				}
				if err == nil && status != http.StatusServiceUnavailable || time.Now().After(deadline) {
					return fmt.Errorf("a grant is lost: %d %v", status, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}

	// Nobody knows the new key, then one does not: they are named.
	named := func(r result, want ...int) {
		t.Helper()
		if r.Code != 75 || !strings.Contains(r.Stderr, "not every node has the new sealing key") || !strings.Contains(r.Stderr, "nightlatch.key") {
			t.Errorf("nodes %v lack the key: %+v", want, r)
		}
		for i, n := range c.nodes {
			if got := strings.Contains(r.Stderr, fmt.Sprintf("process %d)", n.cmd.Process.Pid)); got != slices.Contains(want, i) {
				t.Errorf("nodes %v lack the key; node %d, %d, named: %v: %s", want, i, n.cmd.Process.Pid, got, r.Stderr)
			}
		}
	}
	named(c.rekey(), 0, 1, 2)
	for node := range 2 {
		c.hand(node)
		c.reload(node)
	}
	named(c.rekey(), 2)
	if _, not := c.opens(first); not > 0 {
		t.Errorf("%d rows are sealed with a key that a node lacks", not)
	}
	c.hand(2)
	c.nodes[2].Stop() // a start reads the file too
	c.nodes[2].StartSites("8083", "8084", "8085")

	// Lazily.
	r := c.rekey("--lazily")
	second := c.key(0)
	newest, err := second.NewestOnly()
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 || !strings.Contains(r.Stdout, "is sealed with key "+newest.Keys()[0].String()) {
		t.Fatalf("lazily: %+v", r)
	}
	if opens, _ := c.opens(first); opens < sealedRecords {
		t.Errorf("only %d rows are sealed with the old key: that was not lazily", opens)
	}
	c.login("alice", "alice-demo", func() {})
	if opens, _ := c.opens(newest); opens == 0 {
		t.Error("after a login nothing is sealed with the new key")
	}
	// A node that does not have it does not start.
	stray := newGateway(t, readFile(t, c.nodes[0].Config()))
	if err := first.Save(stray.keyFile(), false); err != nil {
		t.Fatal(err)
	}
	if r := stray.Run(c.nodes[0].more, "run", "--config", "Caddyfile"); r.Code == 0 || !strings.Contains(r.Stderr, newest.Keys()[0].String()) || !strings.Contains(r.Stderr, "rekeyed") {
		t.Errorf("a start with the old key: %+v", r)
	}

	// At once, and the command is killed.
	for range 2 {
		if !c.nodes[0].killedAt("sealing anew:", "store", "rekey") {
			t.Fatal("the command ended before it was killed")
		}
	}
	if opens, _ := c.opens(first); opens == 0 {
		t.Error("nothing is sealed with the old key: the command was not killed in the middle")
	}
	// A node is killed.
	cmd := exec.Command(binary, "store", "rekey")
	cmd.Dir, cmd.Env = c.nodes[0].Dir, c.nodes[0].env(c.nodes[0].more...)
	said, err := whenItSays(cmd, "sealing anew:", func() {
		kill(c.nodes[1])
		c.nodes[1].StartSites("8083", "8084", "8085")
	})
	if err != nil {
		t.Fatalf("at once: %v\n%s", err, said)
	}
	if opens, not := c.opens(first); opens > 0 || not < sealedRecords {
		t.Errorf("the old key opens %d rows of %d", opens, opens+not)
	}
	if opens, not := c.opens(newest); not > 0 || opens < sealedRecords {
		t.Errorf("the new key opens %d rows of %d", opens, opens+not)
	}
	if keys := c.key(0).Keys(); !slices.Equal(keys, newest.Keys()) {
		t.Errorf("the key file holds %v, want %v", keys, newest.Keys())
	}
	if left, _ := filepath.Glob(c.nodes[0].keyFile() + ".*"); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}

	// The old key is taken out everywhere: by a reload, and by a start.
	for node := range c.nodes {
		c.hand(node)
	}
	c.reload(0)
	for _, n := range c.nodes[1:] {
		kill(n)
		n.StartSites("8083", "8084", "8085")
	}
	c.login("alice", "alice-demo", func() {})
	end()
	counts := map[string]int64{}
	for what, n := range done {
		if counts[what] = n.Load(); counts[what] < 10 {
			t.Errorf("only %d %s: that is no load", counts[what], what)
		}
	}
	t.Log(counts)
	for node := range c.nodes {
		if !c.lives(node, session) {
			t.Errorf("node %d does not know the session", node)
		}
	}
	if opens, not := c.opens(newest); not > 0 {
		t.Errorf("in the end the new key opens %d rows of %d", opens, opens+not)
	}
}

// TestNodeAsleepDuringARekey: a node that was suspended until the others took it for
// gone wakes without the key that they use by now. It says so, seals nothing, and
// goes on where it was once it is given the key.
func TestNodeAsleepDuringARekey(t *testing.T) {
	c := newCluster(t)
	asleep := c.nodes[2]
	session := c.login("alice", "alice-demo", func() {})
	if !c.lives(2, session) {
		t.Fatal("the session is unknown")
	}
	for _, n := range c.nodes[:2] {
		n.Stop()
	}
	if err := asleep.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.withStore(func(b *postgres.Backend) { // a minute passes
		s := storage.New(storage.Config{Backend: b})
		present, err := s.Present(t.Context())
		if err == nil && len(present) == 1 {
			err = s.Vanish(t.Context(), present[0].Node)
		}
		if err != nil || len(present) != 1 {
			t.Fatalf("present: %v, %v", present, err)
		}
	})
	r := c.rekey()
	if err := asleep.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	page := func(header http.Header) (int, http.Header) {
		t.Helper()
		header.Set("Accept", "text/html")
		header.Set("Sec-Fetch-Mode", "navigate")
		status, answer, _, err := c.at(2, "8084", http.MethodGet, "http://localhost:8081/backup", nil, header)
		if err != nil {
			t.Fatal(err)
		}
		return status, answer
	}
	asleep.await("its word that it lacks the key", func() bool {
		_, said, found := strings.Cut(asleep.out.String(), "keeping in step with the other nodes")
		return found && strings.Contains(said, c.key(0).Keys()[0].String())
	})
	// The minute passed for the store alone: until the node asks it, and its keys may be
	// read before, it takes itself for awake.
	asleep.await("a login that is refused", func() bool {
		status, answer := page(http.Header{})
		return status == http.StatusServiceUnavailable && answer.Get("Retry-After") != ""
	})
	if status, _, body, err := c.at(2, "8085", http.MethodPost, "http://127.0.0.1:8082/token", url.Values{"user": {"alice"}}, basic("nightly-backup", "backup-demo")); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("a job at a node without the key: %d %v %s", status, err, body)
	}
	if code, h := asleep.admins("/nightlatch/health"); code != http.StatusServiceUnavailable || !strings.Contains(h, `"store":"sealed"`) {
		t.Errorf("its health: %d %s", code, h)
	}
	c.hand(2)
	c.reload(2)
	if code, h := asleep.admins("/nightlatch/health"); code != http.StatusOK {
		t.Errorf("its health with the key: %d %s", code, h)
	}
	if !c.lives(2, session) {
		t.Error("the session is lost")
	}
	if status, _ := page(http.Header{"Cookie": {session}}); status != http.StatusOK {
		t.Errorf("the offline path answers %d", status)
	}
	if r := c.Token("alice"); r.Code != 0 {
		t.Errorf("the job afterwards: %+v", r)
	}
}
