package caddymodule

import (
	"encoding/json"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/google/go-cmp/cmp"

	"github.com/nightlatch/nightlatch/storage/seal"
)

// TestProvision holds each golden file of what a configuration says that can be
// read and cannot work: a Caddyfile, or the JSON that is handed to Caddy as it is,
// then the error. Whatever Caddyfile became JSON is judged as JSON, so the two
// have the same errors.
func TestProvision(t *testing.T) {
	for _, file := range provisionFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			t.Setenv("NIGHTLATCH_TEST_DIR", dir)
			t.Setenv("NIGHTLATCH_TEST_KEY", sealingKey(t))
			t.Setenv("EMPTY", "")
			t.Setenv("SOON", "soon")
			input, want, _ := strings.Cut(string(text), separator)
			if before := storeBefore[strings.TrimSuffix(filepath.Base(file), ".txt")]; before != nil {
				if got := provisionError(t, input); got != "" {
					t.Fatalf("at first: %s", got)
				}
				before(t, dir)
			}
			got := provisionError(t, input)
			if got == "" {
				t.Fatal("it loads")
			}
			got = "error: " + fingerprint.ReplaceAllString(strings.ReplaceAll(got, dir, "$NIGHTLATCH_TEST_DIR"), "<fingerprint>") + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(input+separator+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("it says something else (-want +got):\n%s", diff)
			}
		})
	}
}

var fingerprint = regexp.MustCompile(`[0-9a-f]{32}`)

func provisionFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/provision/*.txt")
	if err != nil || len(files) < 60 {
		t.Fatalf("found %d golden files: %v", len(files), err)
	}
	return files
}

// sealingKey is the text of one that is valid.
func sealingKey(t *testing.T) string {
	t.Helper()
	k, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// storeBefore is what happens to the store between two starts, by golden file.
var storeBefore = map[string]func(t *testing.T, dir string){
	"store_key_missing": func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, "nightlatch.key")); err != nil {
			t.Fatal(err)
		}
	},
	"store_key_bad": func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, "nightlatch.key"), []byte("sesame\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	},
	"store_key_foreign": func(t *testing.T, dir string) {
		file := filepath.Join(dir, "nightlatch.key")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.Create(file); err != nil {
			t.Fatal(err)
		}
	},
}

// provisionError loads a configuration as `validate` does, then starts its app as
// `run` does; "" if both work.
func provisionError(t *testing.T, input string) string {
	t.Helper()
	raw := []byte(input)
	if !json.Valid(raw) {
		var err error
		if raw, _, err = caddyconfig.GetAdapter("caddyfile").Adapt(raw, map[string]any{"filename": "Caddyfile"}); err != nil {
			t.Fatalf("this is for testdata/adapt: %v", err)
		}
	}
	config := func() *caddy.Config {
		c := new(caddy.Config)
		if err := caddy.StrictUnmarshalJSON(raw, c); err != nil {
			t.Fatal(err)
		}
		c.Admin = &caddy.AdminConfig{Disabled: true}
		return c
	}
	// The app by itself comes first: Caddy provisions apps in random order, and says
	// on which way it came to one.
	alone := config()
	delete(alone.AppsRaw, "http")
	for _, c := range []*caddy.Config{alone, config()} {
		if err := caddy.Validate(c); err != nil {
			return ofCaddy.ReplaceAllString(err.Error(), "")
		}
	}
	early := Unstartable() // what `validate` says
	ctx, err := caddy.ProvisionContext(config())
	if err != nil {
		t.Fatal(err)
	}
	app, err := ctx.App("nightlatch")
	if err != nil {
		t.Fatal(err)
	}
	a := app.(*App)
	err = a.Start()
	if stopped := a.Stop(); stopped != nil {
		t.Error(stopped)
	}
	a.active = false // nothing lingers
	if cleaned := a.Cleanup(); cleaned != nil {
		t.Error(cleaned)
	}
	switch {
	case early != nil && (err == nil || err.Error() != early.Error()):
		t.Errorf("validating says %v, starting %v", early, err)
	case early == nil && err != nil && ofStore.FindString(err.Error()) == "":
		t.Errorf("only starting says %v", err)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// ofStore is what nobody can tell who opens no store.
var ofStore = regexp.MustCompile(`store|key`)

// ofCaddy is what Caddy puts before an error of ours.
var ofCaddy = regexp.MustCompile(`^loading .*?provision (?:nightlatch|http\.handlers\.nightlatch\w*): `)

// judges are the files whose errors tell what is wrong with a configuration.
var judges = []string{
	"app.go", "access.go", "config.go", "notify.go", "realm.go", "realm_handler.go", "resolve.go", "site.go", "start.go", "store.go", "store_postgres.go", "wire_sites.go",
	"../provider/declare.go", "../provider/realm/realm.go", "../provider/client/valid.go", "../provider/client/redirect.go", "../provider/user/password.go",
	"../adapter/adapter.go", "../adapter/login.go", "../adapter/jobs/jobs.go", "../adapter/jobs/rule.go", "../adapter/notify/mail.go",
	"../storage/badger/badger.go", "../storage/badger/tree.go", "../storage/postgres/postgres.go", "../storage/seal/file.go", "../storage/seal/seal.go",
}

// elsewhere are the errors in these files that no configuration can call forth, and
// why; or where they are shown.
var elsewhere = map[string]string{
	// What a store says at run time, or while it is at a fault.
	"closing store: %w":      "at the end",
	"declaring realm %s: %w": "storage fails",
	"retiring what left the configuration of realm %s: %w":            "storage fails",
	"reading realm %s: %w":                                            "storage fails",
	"role %s: %w":                                                     "storage fails",
	"reading the secret of client %s: %w":                             "storage fails",
	"finding store folder %s: %w":                                     "the working directory is gone",
	"writing sealing key: %w":                                         "the disk fails",
	"making sealing key: %w":                                          "no randomness",
	"writing keyset: %w":                                              "no such keyset",
	"changing keyset: %w":                                             "rekeying",
	"what is in memory cannot be written to tables: %w":               "storage/badger: TestFullDisk",
	"%d MiB are free on its disk, %d MiB are needed: %w":              "storage/badger: TestRefusesWritesBeforeTheDiskIsFull",
	"this process may have %d files open, the store needs %d: %w; %s": "storage/badger: TestDescriptorsRunOut",
	"store is in use":                                                 "storage/badger: TestFolderInUse",
	"another process has this folder open; stop it, or name another folder: %w": "storage/badger: TestFolderInUse",
	"%w; to change a running server use `nightlatch reload`":                    "integration: TestStoreInUse",
	"store %s: the sealing key of the new configuration is another one: %w":     "TestSealingKey, at a reload",
	"store %s: the sealing key of the new configuration: %w":                    "TestSealingKey, at a reload",
	// A server has to be there: storage/postgres, TestOpenNamesWhatIsWrong and its neighbours.
	"opening store: %w": "the address was read before",
	"the user may not use or make the schema; let its owner run CREATE SCHEMA … AUTHORIZATION …: %w": "TestLeastRights",
	"there is no store in this schema":                            "a command's",
	"the server takes no writes, it is a standby: %w":             "TestOpenNamesWhatIsWrong",
	"the server refuses user or password: %w":                     "TestOpenNamesWhatIsWrong",
	"there is no such database: %w":                               "TestOpenNamesWhatIsWrong",
	"the server is PostgreSQL %s, this program needs %d or later": "an old server",
	"preparing statement %s: %w":                                  "the connection breaks",
	// What an earlier judge has caught, or a map cannot say.
	"option store: %T is not an engine":                                 "the namespace has engines alone",
	"registering metrics: %w":                                           "the names are ours",
	"reading aead keyset: %w":                                           "storage/seal: TestKeyFile",
	"reading derivation keyset: %w":                                     "storage/seal: TestKeyFile",
	"making jobs: vault is required":                                    "it is given",
	"job %s: named twice":                                               "a map has a name once",
	"client %s is declared twice":                                       "a map has a name once",
	"must not be empty":                                                 "REST: a declared client has a name",
	"private_key_jwt needs a key set":                                   "REST: it is chosen where there is one",
	"a public client cannot do without PKCE":                            "REST: the option does not count there",
	"events_expiration: %v: want a time span above zero, or 0 for ever": "REST: an option is above zero",
	"site must be an http or https URL with a host":                     "judged as the directive's address",
	"site %s must have no path, query or user":                          "judged as the directive's address",
	"provider of site %s needs an issuer and a client id":               "judged as the provider's options",
	"provider of site %s: %w":                                           "judged as the provider's options",
	"site %s needs a store, a sealer and grants":                        "they are given",
	// Of passwords and mails at run time.
	"password is too long":                            "who logs in",
	"waiting to hash a password: %w":                  "who logs in",
	"making a salt: %w":                               "no randomness",
	"sending mail: %w":                                "adapter/notify",
	"writing mail: %w":                                "adapter/notify",
	"writing mail: the person's address is malformed": "adapter/notify",
}

// TestEveryErrorOfProvisioningHasAGoldenFile reads what judges a configuration: the
// text of an error that no golden file shows fails it.
func TestEveryErrorOfProvisioningHasAGoldenFile(t *testing.T) {
	var shown []string
	for _, file := range provisionFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, output, _ := strings.Cut(string(text), separator)
		shown = append(shown, output)
	}
	errs := failures(t, judges...)
	if len(errs) < 100 {
		t.Fatalf("read only %d errors: they look different now", len(errs))
	}
	for text, pattern := range errs {
		there := slices.ContainsFunc(shown, pattern.MatchString)
		switch why := elsewhere[text]; {
		case !there && why == "":
			t.Errorf("no golden file has the error %q", text)
		case there && why != "":
			t.Errorf("a golden file has the error %q, which is said to be elsewhere", text)
		}
	}
	for text := range elsewhere {
		if errs[text] == nil {
			t.Errorf("there is no error %q any more", text)
		}
	}
}

// failures returns the texts of fmt.Errorf and errors.New, and of a function bad
// that makes an error with them.
func failures(t *testing.T, files ...string) map[string]*regexp.Regexp {
	t.Helper()
	errs := map[string]*regexp.Regexp{}
	for _, file := range sources(t, files...) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			text := ""
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				if f.Sel.Name == "Errorf" || f.Sel.Name == "New" {
					text = literal(call.Args[0])
				}
			case *ast.Ident:
				if f.Name == "bad" {
					for _, arg := range call.Args[:min(2, len(call.Args))] { // of a field, or of what is judged
						if more := literal(arg); more != "" {
							text = more
						}
					}
				}
			}
			if text != "" {
				errs[text] = pattern(text)
			}
			return true
		})
	}
	return errs
}
