package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// load provisions a Caddyfile as `validate` does.
func load(t *testing.T, caddyfile string) error {
	t.Helper()
	raw, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	var c caddy.Config
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	c.Admin = &caddy.AdminConfig{Disabled: true}
	return caddy.Validate(&c)
}

// demo is a Caddyfile with a realm and a site; more goes into the realm's
// block, the global block and the site's block.
func demo(inRealm, inApp, inSite string) string {
	return `{
	nightlatch {
		store badger {env.NIGHTLATCH_TEST_DIR}
		realm demo {
			url http://localhost:8080
			` + inRealm + `
		}
		` + inApp + `
	}
}
http://localhost:8080 {
	nightlatch_provider
}
http://localhost:8081 {
	nightlatch http://localhost:8081 {
		` + inSite + `
	}
}
`
}

// TestValidateOpensNoStore: validating leaves no trace, so that it can run
// beside a server that holds the store.
func TestValidateOpensNoStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	t.Setenv("NIGHTLATCH_TEST_DIR", dir)
	if err := load(t, demo("", "", "")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the store's folder was touched: %v", err)
	}
}

// TestWrongOptions: what cannot be seen while parsing is said at provisioning,
// by name and with what was expected.
func TestWrongOptions(t *testing.T) {
	t.Setenv("NIGHTLATCH_TEST_DIR", t.TempDir())
	t.Setenv("EMPTY", "")
	t.Setenv("WRONG", "soon")
	for name, c := range map[string]struct {
		config string
		want   []string
	}{
		"unset variable":       {demo("client x {\n\tsecret {env.NOBODY_SETS_THIS}\n}", "", ""), []string{"realms.demo.clients.x.secret", "NOBODY_SETS_THIS"}},
		"empty variable":       {demo("", "job x {\n\tsecret {env.EMPTY}\n}", ""), []string{"jobs.x.secret", "EMPTY"}},
		"unreadable file":      {demo("client x {\n\tsecret {file./does/not/exist}\n}", "", ""), []string{"realms.demo.clients.x.secret", "/does/not/exist"}},
		"duration by variable": {demo("sso_session_idle {env.WRONG}", "", ""), []string{"realm demo", "sso_session_idle", "soon", "30m"}},
		"algorithm":            {demo("signing_algorithm HS256", "", ""), []string{"signing_algorithm", "HS256", "ES256"}},
		"user without":         {demo("user alice {\n\temail a@b.c\n}", "", ""), []string{"realm demo", "user alice", "password_hash"}},
		"bad hash":             {demo("user alice {\n\tpassword_hash sesame\n}", "", ""), []string{"user alice", "password_hash"}},
		"both passwords":       {demo("user alice {\n\tpassword x\n\tpassword_hash y\n}", "", ""), []string{"user alice", "password_hash"}},
		"client without":       {demo("client x {\n\tredirect_uri https://x.example.com/cb\n}", "", ""), []string{"client x", "secret"}},
		"redirect":             {demo("client x {\n\tsecret y\n\tredirect_uri /callback\n}", "", ""), []string{"client x", "/callback"}},
		"jwks":                 {demo("client x {\n\tjwks nonsense\n}", "", ""), []string{"client x", "jwks"}},
		"job without users":    {demo("", "job x {\n\tsecret y\n\tscopes openid\n}", ""), []string{"job x", "users"}},
		"job without scopes":   {demo("", "job x {\n\tsecret y\n\tusers *\n}", ""), []string{"job x", "scopes"}},
		"provider plain http":  {demo("", "provider p http://id.example.com {\n\tclient_id x\n}", "provider demo"), []string{"provider p", "https"}},
		"provider client":      {demo("", "provider p https://id.example.com", "provider demo"), []string{"provider p", "client_id"}},
		"which provider":       {demo("", "provider p https://id.example.com {\n\tclient_id x\n}", ""), []string{"provider is missing", "demo", "p"}},
		"unknown provider":     {demo("", "", "provider keycloak"), []string{"keycloak", "demo"}},
		"foreign without allow": {
			demo("", "provider p https://id.example.com {\n\tclient_id x\n}", "provider p"), []string{"http://localhost:8081", "allow", "provider p"},
		},
		"foreign client_id": {
			demo("", "provider p https://id.example.com {\n\tclient_id x\n}", "provider p\nclient_id y\nallow any"), []string{"client_id", "provider p"},
		},
		"client twice": {demo("client portal {\n\tsecret x\n}", "", "client_id portal"), []string{"client_id", "portal"}},
		"site path":    {strings.Replace(demo("", "", ""), "nightlatch http://localhost:8081", "nightlatch http://localhost:8081/app", 1), []string{"without a path"}},
		"no realm":     {"http://localhost:8080 {\n\tnightlatch_provider\n}", []string{"nightlatch_provider", "global option"}},
		"which realm":  {strings.Replace(demo("", "", ""), "nightlatch_provider", "nightlatch_provider office", 1), []string{"office", "demo"}},
		"site twice": {
			demo("", "", "") + "http://localhost:8082 {\n\tnightlatch http://localhost:8081\n}\n", []string{"twice"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := load(t, c.config)
			if err == nil {
				t.Fatal("it loads")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message lacks %q: %v", want, err)
				}
			}
		})
	}
}

// TestPlainPassword: for demos on loopback alone.
func TestPlainPassword(t *testing.T) {
	t.Setenv("NIGHTLATCH_TEST_DIR", t.TempDir())
	config := demo("user alice {\n\tpassword sesame-open\n}", "", "")
	if err := load(t, config); err != nil {
		t.Fatalf("on loopback: %v", err)
	}
	err := load(t, strings.ReplaceAll(config, "url http://localhost:8080", "url https://id.example.com"))
	if err == nil || !strings.Contains(err.Error(), "password_hash") || strings.Contains(err.Error(), "sesame") {
		t.Errorf("elsewhere: %v", err)
	}
	for address, want := range map[string]bool{
		"http://localhost:8080": true, "http://127.0.0.1": true, "http://[::1]:80": true, "https://id.localhost": true,
		"http://localhost.example.com": false, "http://127.0.0.1.example.com": false, "https://id.example.com": false, "http://10.0.0.1": false,
	} {
		if got := loopback(address); got != want {
			t.Errorf("loopback(%s) = %v", address, got)
		}
	}
}

const someHash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Nn0fjnFJYjGEq2dK0E8IVwVjRyFrJjxvvbQQbBJHRzE"

// TestExamplesLoad: the demo and the manual are valid, and as `fmt` would have
// them.
func TestExamplesLoad(t *testing.T) {
	t.Setenv("ALICE_HASH", someHash)
	for _, name := range []string{"REPORTS_SECRET", "GOOGLE_ID", "GOOGLE_SECRET", "BACKUP_JOB_SECRET", "HOOK_SECRET", "MAIL_PASSWORD"} {
		t.Setenv(name, "x-"+name)
	}
	jwks := filepath.Join(t.TempDir(), "jwks")
	if err := os.WriteFile(jwks, []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"../Caddyfile.example", "../docs/Caddyfile.full"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		config := strings.ReplaceAll(string(text), "/etc/nightlatch/signed.jwks", jwks)
		config = strings.ReplaceAll(config, "/run/secrets/nightlatch.key", jwks) // any text: validating opens no store
		if _, warnings := adapt(t, config); len(warnings) > 0 {
			t.Errorf("%s: %v", file, warnings)
		}
		if err := load(t, config); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if strings.HasSuffix(file, ".full") {
			for what, names := range map[string][]string{
				"nightlatch": keysOf(appOptions), "store postgres": keysOf(postgresOptions), "realm": keysOf(realmOptions), "role": keysOf(roleOptions), "user": keysOf(userOptions),
				"client": keysOf(clientOptions), "provider": keysOf(foreignOptions), "job": keysOf(jobOptions), "site": keysOf(siteOptions),
			} {
				for _, option := range names {
					if option != "password" && !strings.Contains(config, "\t"+option+" ") && !strings.Contains(config, "\t"+option+"\n") {
						t.Errorf("%s lacks option %s of %s", file, option, what)
					}
				}
			}
		}
	}
}

// TestRecipes: each file of docs/recipes is valid as it is, and warns of nothing.
func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("../docs/recipes/*.Caddyfile")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d recipes, %v", len(files), err)
	}
	index, err := os.ReadFile("../docs/recipes/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config := string(raw)
			for _, m := range regexp.MustCompile(`\{env\.(\w+)\}`).FindAllStringSubmatch(config, -1) {
				value := "x-" + m[1]
				if strings.HasSuffix(m[1], "_HASH") {
					value = someHash
				}
				t.Setenv(m[1], value)
			}
			if _, warnings := adapt(t, config); len(warnings) > 0 {
				t.Error(warnings)
			}
			if err := load(t, config); err != nil {
				t.Error(err)
			}
			if !strings.Contains(string(index), "("+filepath.Base(file)+")") {
				t.Error("the list of recipes lacks it")
			}
		})
	}
}

func keysOf[T any](o options[T]) []string {
	var out []string
	for name := range o {
		out = append(out, name)
	}
	return out
}
