package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// shortLived is the demo with single use and access tokens that live for
// seconds, so that a job's next token takes a refresh.
func shortLived(t *testing.T) string {
	t.Helper()
	return strings.Replace(example(t), "realm demo {", "realm demo {\n\t\t\trevoke_refresh_token on\n\t\t\taccess_token_lifespan 4s", 1)
}

// inUse is a gateway with all that a store may lose: a browser session, a grant
// in the vault, an offline token of a foreign client under single use.
type inUse struct {
	*gateway
	b       *browser
	offline string // the foreign client's newest token
	last    string // the job's newest access token
}

func use(t *testing.T, g *gateway) *inUse {
	t.Helper()
	g.Start()
	u := &inUse{gateway: g, b: newBrowser(t)}
	u.b.Open(g.URL("http://localhost:8081/backup"))
	u.b.Login("alice", "alice-demo")
	u.b.Click(`form#consent [name="accept"]`)
	u.b.Wants("alice")
	u.offline = u.ask(url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"alice-demo"}, "scope": {"openid offline_access"}})
	u.works()
	return u
}

// ask returns the refresh token that the client reports is answered with.
func (u *inUse) ask(form url.Values) string {
	u.t.Helper()
	form.Set("client_id", "reports")
	form.Set("client_secret", "reports-demo")
	resp, err := http.PostForm(u.URL("http://localhost:8080/realms/demo/protocol/openid-connect/token"), form)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Refresh string `json:"refresh_token"`
		Error   string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		u.t.Fatalf("the foreign client is answered %d: %s (%v)", resp.StatusCode, answer.Error, err)
	}
	return answer.Refresh
}

// works uses all of it: the job gets a token that it has not had yet, so the
// vault has refreshed; the foreign client's token is exchanged for the next; the
// person is still logged in.
func (u *inUse) works() {
	u.t.Helper()
	u.await("a new token for the job", func() bool {
		r := u.Token("alice")
		if r.Code != 0 {
			u.t.Fatalf("the job: %+v", r)
		}
		token := strings.TrimSpace(r.Stdout)
		fresh := token != u.last
		u.last = token
		return fresh
	})
	whoami(u.t, u.gateway, u.last)
	u.offline = u.ask(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {u.offline}})
	u.b.Open(u.URL("http://localhost:8081/orders"))
	u.b.Wants("alice")
	if u.b.Has("form#login") {
		u.t.Error("the person has to log in again")
	}
}

func (u *inUse) command(args ...string) result {
	u.t.Helper()
	r := u.Run(nil, args...)
	if r.Code != 0 {
		u.t.Fatalf("nightlatch %s: %+v", strings.Join(args, " "), r)
	}
	return r
}

// on lets the gateway begin with another store.
func (u *inUse) on(store string) {
	u.t.Helper()
	u.WriteConfig(strings.Replace(shortLived(u.t), "store badger ./nightlatch-data", "store "+store, 1))
	u.Start()
}

// TestStoreCommandsKeepEverybody: rekeyed, with new signing keys, copied: nobody
// has to log in or to consent again, and no token is refused.
func TestStoreCommandsKeepEverybody(t *testing.T) {
	u := use(t, newGateway(t, shortLived(t)))
	u.command("realm", "rotate-keys")
	u.works()
	u.Stop()
	u.command("store", "rekey")
	u.Start()
	u.works()
	u.Stop()
	u.command("store", "copy", "--to", "badger ./moved")
	// The old place is not needed any more.
	if err := os.RemoveAll(filepath.Join(u.Dir, "nightlatch-data")); err != nil {
		t.Fatal(err)
	}
	u.on("badger ./moved")
	u.works()
	// And it goes on there.
	u.Stop()
	u.command("store", "rekey")
	u.Start()
	u.works()
}

// TestRekeyWhileTheGatewayRuns: nobody waits for it, nobody has to log in again, and
// what the gateway does after it, a reload and a start included, is done with the new
// key alone.
func TestRekeyWhileTheGatewayRuns(t *testing.T) {
	u := use(t, newGateway(t, shortLived(t)))
	file := filepath.Join(u.Dir, "nightlatch-data", "nightlatch.key")
	keys := func() []seal.KeyID {
		t.Helper()
		k, err := seal.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return k.Keys()
	}
	was := keys()
	for range 2 {
		stop, over := make(chan struct{}), make(chan struct{})
		go func() { // a job asks all the while
			defer close(over)
			for {
				select {
				case <-stop:
					return
				default:
					if r := u.Token("alice"); r.Code != 0 {
						t.Errorf("while it is rekeyed the job gets %+v", r)
						return
					}
				}
			}
		}()
		r := u.command("store", "rekey")
		close(stop)
		<-over
		now := keys()
		if len(now) != 1 || now[0] == was[0] || !strings.Contains(r.Stdout, now[0].String()) {
			t.Errorf("keys %v, before %v: %s", now, was, r.Stdout)
		}
		was = now
		u.works()
		if r := u.Reload(); r.Code != 0 {
			t.Errorf("a reload after it: %+v", r)
		}
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
	u.Kill()
	u.Start()
	u.works()
	// Another file is not the key in use.
	u.command("store", "new-key", "--out", "other.key")
	other := strings.Replace(shortLived(t), "store badger ./nightlatch-data", "store badger ./nightlatch-data\n\t\tkey {file."+filepath.Join(u.Dir, "other.key")+"}", 1)
	u.WriteConfig(other)
	if r := u.Run(nil, "store", "rekey"); r.Code == 0 || !strings.Contains(r.Stderr, "another key") {
		t.Errorf("with another key file: %+v", r)
	}
	u.works()
}

// TestMovesBetweenEngines: from a folder into PostgreSQL and back, with a rekey
// there: nobody has to log in or to consent again, and no token is refused.
func TestMovesBetweenEngines(t *testing.T) {
	database := fmt.Sprintf("postgres %q {\n\t\t\tschema %s\n\t\t}", postgrestest.Shared(t).URL(), postgrestest.Name())
	u := use(t, newGateway(t, shortLived(t)))
	key := filepath.Join(u.Dir, "kept.key")
	u.Stop()
	old := filepath.Join(u.Dir, "nightlatch-data")
	r := u.command("store", "copy", "--to", database)
	if want := "key {file." + filepath.Join(old, "nightlatch.key") + "}"; !strings.Contains(r.Stderr, want) {
		t.Errorf("the advice lacks %q: %s", want, r.Stderr)
	}
	if err := os.Rename(filepath.Join(old, "nightlatch.key"), key); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(old); err != nil {
		t.Fatal(err)
	}
	u.on(database + "\n\t\tkey {file." + key + "}")
	u.works()
	// What needs the store alone is told that it is in use, and a new sealing key that
	// the gateway lacks it; a backup is not.
	for said, args := range map[string][]string{
		"a gateway uses it":                      {"store", "copy", "--to", "badger ./home"},
		"not every node has the new sealing key": {"store", "rekey"},
	} {
		if r := u.Run(nil, args...); r.Code != 75 || !strings.Contains(r.Stderr, said) {
			t.Errorf("%v beside a gateway: %+v", args, r)
		}
	}
	u.command("store", "backup", "night.backup")
	u.command("realm", "rotate-keys", "--algorithm", "ES256,HS512")
	u.works()
	u.Stop()
	u.command("store", "rekey")
	u.Start()
	u.works()
	u.Stop()
	u.command("store", "copy", "--to", "badger ./home")
	u.on("badger ./home\n\t\tkey {file." + key + "}")
	u.works()
}

// TestO55_RestoredBackupRevokesNobody: what was used after the backup is ahead of
// the store that it is restored to, and goes on.
func TestO55_RestoredBackupRevokesNobody(t *testing.T) {
	u := use(t, newGateway(t, shortLived(t)))
	u.command("store", "backup", "night.backup") // while it runs
	u.works()
	u.works()
	u.Stop()
	restored := filepath.Join(u.Dir, "restored")
	if err := os.Mkdir(restored, 0o700); err != nil {
		t.Fatal(err)
	}
	key := readFile(t, filepath.Join(u.Dir, "nightlatch-data", "nightlatch.key"))
	if err := os.WriteFile(filepath.Join(restored, "nightlatch.key"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	u.WriteConfig(strings.Replace(shortLived(t), "./nightlatch-data", "./restored", 1))
	u.command("store", "restore", "night.backup")
	u.Start()
	u.works()
	u.works()
}

// TestBackupOnlyOverAUnixSocket: whoever reaches a TCP port of this machine gets
// neither a backup nor new keys.
func TestBackupOnlyOverAUnixSocket(t *testing.T) {
	port := freePort(t)
	g := newGateway(t, strings.Replace(example(t), "{\n", fmt.Sprintf("{\n\tadmin localhost:%s\n", port), 1))
	g.Start()
	for path, method := range map[string]string{"store/backup": http.MethodGet, "realms/demo/rotate-keys": http.MethodPost, "store/rekey": http.MethodPost} {
		req, err := http.NewRequest(method, "http://localhost:"+port+"/nightlatch/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s answers %d over TCP", path, resp.StatusCode)
		}
	}
	for name, args := range map[string][]string{
		"backup": {"store", "backup", "b.backup"}, "new keys": {"realm", "rotate-keys"}, "a new key": {"store", "rekey"},
	} {
		if r := g.Run(nil, args...); r.Code != 75 || !strings.Contains(r.Stderr, "another process") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(g.Dir, "b.backup*")); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
}
