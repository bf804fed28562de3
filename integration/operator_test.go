package integration

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLoopbackOnly: the demo is nobody else's.
func TestLoopbackOnly(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	// 127.0.0.2 stands for any other address of the machine: a listener on all
	// addresses answers there too.
	others := []string{"127.0.0.2"}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			others = append(others, ip.IP.String())
		}
	}
	for _, port := range g.ports {
		for _, host := range others {
			if conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 2*time.Second); err == nil {
				conn.Close()
				t.Errorf("port %s answers on %s", port, host)
			}
		}
	}
}

// TestTellsWhereToGo: the first thing that a newcomer reads.
func TestTellsWhereToGo(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	g.await("a line that names the app", func() bool {
		return strings.Contains(g.out.String(), "Point the browser to") && strings.Contains(g.out.String(), g.URL("http://localhost:8081"))
	})
}

// TestWrongHost: 421 with a text, not Caddy's empty 200.
func TestWrongHost(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	for _, demo := range []string{"http://127.0.0.1:8080/realms/demo", "http://127.0.0.1:8081/backup"} {
		resp, body := get(t, g.URL(demo), nil)
		if resp.StatusCode != http.StatusMisdirectedRequest || strings.TrimSpace(body) == "" {
			t.Errorf("%s answers %d %q, want 421 with a text", demo, resp.StatusCode, body)
		}
	}
}

// TestStoreInUse: a second process on the same folder is told which folder and
// what to do, and the first goes on.
func TestStoreInUse(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	second := newGateway(t, example(t))
	second.WriteConfig(strings.Replace(example(t), "./nightlatch-data", filepath.Join(g.Dir, "nightlatch-data"), 1))
	r := second.Run(nil, "run", "--config", "Caddyfile")
	if r.Code == 0 {
		t.Fatal("two processes share a store")
	}
	for _, want := range []string{"nightlatch-data", "another process", "reload"} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("the message lacks %q:\n%s", want, r.Stderr)
		}
	}
	if resp, _ := get(t, g.URL("http://localhost:8080/realms/demo"), nil); resp.StatusCode != http.StatusOK {
		t.Errorf("the first process answers %d", resp.StatusCode)
	}
	// validate opens no store.
	if r := second.Run(nil, "validate", "--config", "Caddyfile"); r.Code != 0 {
		t.Errorf("validate beside a running server: %+v", r)
	}
}

// TestForeignKey: a store that was sealed with another key is refused by name,
// and nothing on disk changes.
func TestForeignKey(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	g.Stop()
	keys, err := filepath.Glob(filepath.Join(g.Dir, "nightlatch-data*", "*.key"))
	if more, _ := filepath.Glob(filepath.Join(g.Dir, "*.key")); len(keys) == 0 {
		keys = more
	}
	if err != nil || len(keys) != 1 {
		t.Fatalf("sealing keys found: %v", keys)
	}
	info, err := os.Stat(keys[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the sealing key has mode %v", info.Mode())
	}
	saved, err := os.ReadFile(keys[0])
	if err != nil {
		t.Fatal(err)
	}

	other := newGateway(t, example(t))
	other.Start()
	other.Stop()
	foreign, _ := filepath.Glob(filepath.Join(other.Dir, "*", "*.key"))
	if len(foreign) == 0 {
		foreign, _ = filepath.Glob(filepath.Join(other.Dir, "*.key"))
	}
	raw, err := os.ReadFile(foreign[0])
	if err != nil {
		t.Fatal(err)
	}

	for name, key := range map[string][]byte{"another": raw, "garbage": []byte("not a key"), "none": nil} {
		if key == nil {
			err = os.Remove(keys[0])
		} else {
			err = os.WriteFile(keys[0], key, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		r := g.Run(nil, "run", "--config", "Caddyfile")
		if r.Code == 0 || !strings.Contains(r.Stderr, "key") || !strings.Contains(r.Stderr, "nightlatch-data") {
			t.Errorf("%s key: code %d, %s", name, r.Code, r.Stderr)
		}
		if _, err := os.Stat(keys[0]); key == nil && err == nil {
			t.Error("a new key was made beside a store that has one")
		}
	}
	if err := os.WriteFile(keys[0], saved, 0o600); err != nil {
		t.Fatal(err)
	}
	g.Start()
}

// TestNotWritable: a folder that cannot be made is named.
func TestNotWritable(t *testing.T) {
	g := newGateway(t, example(t))
	blocked := filepath.Join(g.Dir, "file")
	if err := os.WriteFile(blocked, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.WriteConfig(strings.Replace(example(t), "./nightlatch-data", blocked+"/data", 1))
	r := g.Run(nil, "run", "--config", "Caddyfile")
	if r.Code == 0 || !strings.Contains(r.Stderr, blocked) {
		t.Errorf("code %d, %s", r.Code, r.Stderr)
	}
}

// TestReload: a reload with an unchanged, a changed and a broken file loses no
// login and no grant, not even one that is in the middle.
func TestReload(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8081/backup?n=1"))
	if r := g.Reload(); r.Code != 0 {
		t.Fatalf("reload before the login: %+v", r)
	}
	b.Login("alice", "alice-demo")
	g.WriteConfig(example(t) + "\nhttp://localhost:8083 {\n\trespond new\n}\n")
	g.ports["8083"] = freePort(t)
	g.WriteConfig(example(t) + "\nhttp://localhost:8083 {\n\trespond new\n}\n")
	if r := g.Reload(); r.Code != 0 {
		t.Fatalf("reload before the consent: %+v", r)
	}
	b.Click(`form#consent [name="accept"]`)
	if want := g.URL("http://localhost:8081/backup?n=1"); b.URL() != want {
		t.Fatalf("the login ended on %s", b.URL())
	}
	g.WriteConfig(strings.Replace(example(t), "store badger", "store bodger", 1))
	if r := g.Reload(); r.Code == 0 || !strings.Contains(r.Stderr, "bodger") {
		t.Errorf("a broken file: %+v", r)
	}
	b.Open(g.URL("http://localhost:8081/orders"))
	b.Wants("alice")
	if r := g.Token("alice"); r.Code != 0 {
		t.Errorf("the job after the reloads: %+v", r)
	}
}

// TestPlaceholdersStayHidden: caddy adapt shows where a secret comes from, not
// the secret.
func TestPlaceholdersStayHidden(t *testing.T) {
	g := newGateway(t, strings.Replace(example(t), "secret backup-demo", "secret {env.BACKUP_JOB_SECRET}", 1))
	r := g.Run([]string{"BACKUP_JOB_SECRET=hunter2-hunter2"}, "adapt", "--config", "Caddyfile")
	if r.Code != 0 || !strings.Contains(r.Stdout, "{env.BACKUP_JOB_SECRET}") || strings.Contains(r.Stdout, "hunter2") {
		t.Errorf("adapt: %+v", r)
	}
	if r := g.Run(nil, "validate", "--config", "Caddyfile"); r.Code == 0 || !strings.Contains(r.Stderr, "BACKUP_JOB_SECRET") {
		t.Errorf("an unset variable: %+v", r)
	}
}

// TestJobExitCodes: what a scheduler sees.
func TestJobExitCodes(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	cases := map[string]struct {
		env  []string
		args []string
		code int
	}{
		"no such option":  {backup, []string{"grants", "token", "--usr", "alice"}, 2},
		"no user":         {backup, []string{"grants", "token"}, 2},
		"no grant":        {backup, []string{"grants", "token", "--user", "alice"}, 4},
		"outside rule":    {backup, []string{"grants", "token", "--user", "admin"}, 77},
		"unknown user":    {backup, []string{"grants", "token", "--user", "nobody"}, 77},
		"wrong secret":    {[]string{"NIGHTLATCH_JOB=nightly-backup", "NIGHTLATCH_SECRET=wrong"}, []string{"grants", "token", "--user", "alice"}, 78},
		"no credentials":  {nil, []string{"grants", "token", "--user", "alice"}, 78},
		"gateway is away": {append([]string{"NIGHTLATCH_URL=http://127.0.0.1:" + freePort(t)}, backup...), []string{"grants", "token", "--user", "alice"}, 75},
	}
	for name, c := range cases {
		r := g.Run(c.env, c.args...)
		if r.Code != c.code || r.Stdout != "" || r.Stderr == "" {
			t.Errorf("%s: code %d (want %d), stdout %q, stderr %q", name, r.Code, c.code, r.Stdout, r.Stderr)
		}
	}
}
