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
	dress := t.TempDir() // what the pages are dressed with
	for name, text := range map[string]string{"house.svg": `<svg xmlns="http://www.w3.org/2000/svg"/>`, "portal.png": "\x89PNG\r\n\x1a\n", "pages/style.css": "main { margin: 0 }"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dress, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dress, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
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
		for _, name := range []string{"house.svg", "portal.png", "pages"} {
			config = strings.ReplaceAll(config, " ./"+name+" ", " "+filepath.Join(dress, name)+" ")
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
