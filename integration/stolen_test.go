package integration

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/integration/formlogin"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// recorder is a proxy that remembers all that was said through it.
type recorder struct {
	mu   sync.Mutex
	said strings.Builder
}

func (r *recorder) note(parts ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range parts {
		r.said.WriteString(p + "\n")
	}
}

// between listens on one port of this machine and passes requests to another.
func (r *recorder) between(t *testing.T, from, to string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:"+from)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: "127.0.0.1:" + to})
			p.Out.Host = p.In.Host
			body, _ := io.ReadAll(p.In.Body)
			p.Out.Body = io.NopCloser(bytes.NewReader(body))
			if _, password, ok := p.In.BasicAuth(); ok {
				r.note("client_secret=" + password)
			}
			r.note(p.In.URL.String(), string(body), strings.Join(p.In.Header["Cookie"], "\n"), p.In.Header.Get("Authorization"))
		},
		ModifyResponse: func(a *http.Response) error {
			body, err := io.ReadAll(a.Body)
			a.Body = io.NopCloser(bytes.NewReader(body))
			r.note(string(body), a.Header.Get("Location"))
			for _, c := range a.Cookies() {
				r.note("cookie=" + c.Value)
			}
			return err
		},
	}
	s := &http.Server{Handler: proxy}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
}

var issued = map[string]*regexp.Regexp{
	"token":     regexp.MustCompile(`[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`),
	"code":      regexp.MustCompile(`(?:[?&]|^)code=([A-Za-z0-9_-]{20,})`),
	"cookie":    regexp.MustCompile(`(?m)^cookie=([^\s;]{16,})$`),
	"secret":    regexp.MustCompile(`client_secret=([^\s&]{8,})`),
	"verifier":  regexp.MustCompile(`code_verifier=([A-Za-z0-9_-]{20,})`),
	"password":  regexp.MustCompile(`[?&]?password=([^\s&]{8,})`),
	"jobsecret": regexp.MustCompile(`(backup-demo)`),
}

// secrets that were said, by kind.
func (r *recorder) secrets() map[string][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, out := r.said.String(), map[string][]string{}
	for kind, form := range issued {
		seen := map[string]bool{}
		for _, m := range form.FindAllStringSubmatch(text, -1) {
			s := m[len(m)-1]
			if !seen[s] {
				seen[s] = true
				out[kind] = append(out[kind], s)
			}
		}
	}
	return out
}

// TestStolenStoreOpensNothing: two processes, everything that they say recorded,
// then their folders taken without the keys: no token, code, cookie, password or
// secret that was ever issued is in a raw file, and no other key opens a record.
func TestStolenStoreOpensNothing(t *testing.T) {
	sites := `{
	default_bind 127.0.0.1
	nightlatch {
		store badger ./nightlatch-data
		provider elsewhere http://localhost:8083/realms/demo {
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
	nightlatch http://localhost:8084 {
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
	app := newGateway(t, sites)
	realm := newGateway(t, `{
	default_bind 127.0.0.1
	nightlatch {
		store badger ./nightlatch-data
		realm demo {
			url http://localhost:8083
			revoke_refresh_token on
			user alice {
				password alice-demo-password
				email alice@example.com
			}
			client files {
				secret files-demo-secret
				redirect_uri `+app.URL("http://localhost:8084")+`/.nightlatch/callback
			}
		}
	}
}

http://localhost:8080 {
	nightlatch_provider
}
`)
	app.ports["8083"] = realm.ports["8083"]
	app.WriteConfig(sites)
	said := &recorder{}
	said.between(t, realm.ports["8083"], realm.ports["8080"])
	said.between(t, app.ports["8084"], app.ports["8081"])
	realm.StartSites("8080")
	app.StartSites("8081", "8082")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 { // the second login replaces the grant
		if _, err := formlogin.Login(ctx, app.URL("http://localhost:8084/backup"), "alice", "alice-demo-password"); err != nil {
			t.Fatal(err)
		}
	}
	list := app.Run(backup, "grants", "list", "--format", "json")
	id := between(strings.ReplaceAll(list.Stdout, `": "`, `":"`), `"grant_id":"`, `"`)
	for _, scope := range []string{"openid", "profile", "openid profile"} { // each refresh rotates the offline token
		r := app.Run(backup, "grants", "token", "--grant", id, "--scope", scope)
		if r.Code != 0 {
			t.Fatalf("grants token: %+v", r)
		}
		said.note(r.Stdout, "backup-demo")
	}
	app.Kill() // a power cut: what is in memory is lost, the files are as they are
	realm.Kill()

	secrets := said.secrets()
	for kind, least := range map[string]int{"token": 9, "code": 2, "cookie": 4, "secret": 1, "verifier": 2, "password": 1, "jobsecret": 1} {
		if len(secrets[kind]) < least {
			t.Errorf("only %d of kind %s were recorded: the test would say nothing", len(secrets[kind]), kind)
		}
	}
	for name, g := range map[string]*gateway{"realm": realm, "app": app} {
		dir := filepath.Join(g.Dir, "nightlatch-data")
		own, err := seal.Load(filepath.Join(dir, "nightlatch.key"))
		if err != nil {
			t.Fatal(err)
		}
		raw := files(t, dir)
		if !bytes.Contains(raw, []byte("seal")) || !bytes.Contains(raw, []byte("fingerprint")) {
			t.Fatalf("%s: the raw files do not even hold the keys of records: the test would say nothing", name)
		}
		items := records(t, dir)
		for _, it := range items {
			raw = append(append(raw, it.Key...), it.Value...)
		}
		for kind, all := range secrets {
			for _, s := range all {
				for _, part := range parts(kind, s) {
					if bytes.Contains(raw, []byte(part)) {
						t.Errorf("%s: a %s is in the files in the clear: %.12s…", name, kind, part)
					}
				}
			}
		}
		opens(t, name, items, own)
	}
}

// parts of a secret that must not be found: of a token its signature, and what it
// says, decoded.
func parts(kind, s string) []string {
	out := []string{s}
	if unescaped, err := url.QueryUnescape(s); err == nil {
		out = append(out, unescaped)
	}
	if kind == "token" {
		p := strings.Split(s, ".")
		out = append(out, p[2])
		if claims, err := base64.RawURLEncoding.DecodeString(p[1]); err == nil {
			out = append(out, string(claims))
		}
	}
	return out
}

// files are the bytes of a folder, but for the key.
func files(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".key") {
			return err
		}
		raw, err := os.ReadFile(path)
		all = append(all, raw...)
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("reading %s: %d bytes, %v", dir, len(all), err)
	}
	return all
}

// records are what the store in a folder holds.
func records(t *testing.T, dir string) []storage.Item {
	t.Helper()
	db, err := badger.Open(badger.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out []storage.Item
	err = db.View(t.Context(), func(tx storage.Tx) error {
		items, err := tx.Scan(nil, nil, 1e6)
		for _, it := range items {
			out = append(out, storage.Item{Key: bytes.Clone(it.Key), Value: bytes.Clone(it.Value)})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// opens tries another key, and the right key in the wrong place: a sealed record
// opens under its own storage key alone.
func opens(t *testing.T, name string, items []storage.Item, own *seal.Keyset) {
	t.Helper()
	thief, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	var sealed []storage.Item
	tables := map[string]int{}
	for _, it := range items {
		if json.Valid(it.Value) {
			continue
		}
		if _, err := own.Open(it.Key, it.Value); err != nil {
			continue // an index or counter row
		}
		sealed = append(sealed, it)
		if p, err := storage.Parts(it.Key); err == nil {
			tables[p[0]]++
		}
	}
	if len(sealed) == 0 {
		t.Fatalf("%s: %d sealed records", name, len(sealed))
	}
	for i, it := range sealed {
		if _, err := thief.Open(it.Key, it.Value); err == nil {
			t.Errorf("%s: another key opens a record", name)
		}
		if other := items[i].Key; !bytes.Equal(other, it.Key) {
			if _, err := own.Open(other, it.Value); err == nil {
				t.Errorf("%s: a record opens in the place of another", name)
			}
		}
	}
	t.Log(name, "sealed records by table:", fmt.Sprint(tables))
}
