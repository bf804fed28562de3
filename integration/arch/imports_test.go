package arch

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/nightlatch/nightlatch/"

// mayImport says which of our packages each package may import. A pattern
// ending in "/..." is a tree. What is not listed may import nothing of ours, so
// a new package has to be entered here, in view of its neighbours.
//
// Leaves ← domain ← endpoints ← provider; adapter imports storage, the frame of
// pages and nothing of the provider; only the gateway (caddymodule) and integration import both.
var mayImport = map[string][]string{
	"storage":             nil,
	"storage/engine":      {"storage"},
	"storage/badger":      {"storage", "storage/engine"},
	"storage/postgres":    {"storage", "storage/engine"},
	"storage/seal":        {"storage"},
	"storage/transfer":    {"storage", "storage/engine"},
	"storage/storagetest": {"storage", "storage/badger", "storage/postgres", "storage/postgres/postgrestest", "storage/seal"},

	"page":          nil,
	"page/pagetest": {"page"},

	"provider/oidc":     nil,
	"provider/event":    nil,
	"provider/declared": nil,

	"provider/realm":    {"storage"},
	"provider/audit":    {"storage", "provider/oidc", "provider/event", "provider/realm"},
	"provider/keys":     {"storage", "provider/oidc"},
	"provider/token":    {"provider/oidc", "provider/keys"},
	"provider/guess":    {"storage", "provider/oidc", "provider/realm"},
	"provider/client":   {"storage", "provider/oidc", "provider/realm", "provider/guess"},
	"provider/user":     {"storage", "provider/oidc", "provider/realm"},
	"provider/session":  {"storage", "provider/oidc", "provider/realm", "provider/client"},
	"provider/consent":  {"storage", "provider/oidc", "provider/client"},
	"provider/web":      {"page", "provider/oidc"},
	"provider/endpoint": {"storage", "provider/oidc", "provider/web"},

	"provider/standing": {
		"storage", "provider/oidc", "provider/event", "provider/realm", "provider/client", "provider/user", "provider/session", "provider/consent", "provider/token",
	},

	"provider/visitor": {
		"storage", "provider/oidc", "provider/realm", "provider/client", "provider/user", "provider/session", "provider/standing", "provider/endpoint",
	},

	"provider/authorize":  domain,
	"provider/login":      domain,
	"provider/device":     domain,
	"provider/grant":      domain,
	"provider/introspect": domain,
	"provider/revoke":     domain,
	"provider/userinfo":   domain,
	"provider/discovery":  domain,
	"provider/logout":     domain,
	"provider/account":    append([]string{"provider/visitor"}, domain...),
	"provider/console":    append([]string{"provider/visitor"}, domain...),
	"provider/admin":      append([]string{"provider/declared"}, domain...),

	"provider":              {"page", "storage", "provider/..."},
	"provider/providertest": {"storage/...", "provider", "provider/..."},

	"adapter/session": {"page", "storage"},
	"adapter/vault":   {"storage"},
	"adapter/jobs":    {"adapter/vault"},
	"adapter/notify":  {"adapter/vault"},
	"adapter":         {"page", "storage", "adapter/..."},

	"caddymodule": {"page", "storage/...", "storage", "provider", "provider/...", "adapter", "adapter/..."},
	"":            {"caddymodule"},
}

var domain = []string{
	"page", "storage", "provider/oidc", "provider/event", "provider/realm", "provider/audit", "provider/keys", "provider/token", "provider/client",
	"provider/user", "provider/session", "provider/consent", "provider/standing", "provider/web", "provider/endpoint", "provider/guess",
}

// only names foreign modules that just one part of the program may know.
var only = map[string][]string{
	"github.com/caddyserver/":    {"", "caddymodule", "integration/..."},
	"github.com/spf13/":          {"caddymodule"},
	"go.uber.org/zap":            {"caddymodule"},
	"github.com/dgraph-io/":      {"storage/badger"},
	"github.com/jackc/":          {"storage/postgres", "storage/postgres/postgrestest"},
	"github.com/tink-crypto/":    {"storage/seal"},
	"github.com/coreos/go-oidc/": {"adapter", "integration/..."},
	"github.com/chromedp/":       {"integration/..."},
	"github.com/Nerzal/":         {"integration/..."},
}

type listed struct {
	ImportPath, Dir           string
	GoFiles                   []string
	Imports                   []string
	TestImports, XTestImports []string
}

func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports", module+"...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		all = append(all, l)
	}
}

func matches(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if tree, ok := strings.CutSuffix(p, "/..."); ok {
			return strings.HasPrefix(pkg, tree+"/") || (pkg == tree && tree == "integration")
		}
		return pkg == p
	})
}

func ours(importPath string) (string, bool) {
	if importPath+"/" == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module)
}

func TestImportDirections(t *testing.T) {
	all := list(t)
	if len(all) < 20 {
		t.Fatalf("go list found %d packages; the check would say nothing", len(all))
	}
	for _, l := range all {
		pkg, _ := ours(l.ImportPath)
		for _, imp := range l.Imports {
			if dep, ok := ours(imp); ok && !strings.HasPrefix(pkg, "integration") && !matches(dep, mayImport[pkg]) {
				t.Errorf("%s imports %s, which its layer may not", name(pkg), name(dep))
			}
		}
		for _, imp := range slices.Concat(l.Imports, l.TestImports, l.XTestImports) {
			for foreign, allowed := range only {
				if strings.HasPrefix(imp, foreign) && !matches(pkg, allowed) {
					t.Errorf("%s imports %s, which only %s may", name(pkg), imp, strings.Join(allowed, ", "))
				}
			}
		}
	}
}

func name(pkg string) string { return path.Join("nightlatch", pkg) }

// predictable names the files that may use randomness which can be foretold, and for what.
var predictable = map[string]string{
	"storage/store.go":          "pauses between attempts of an Update",
	"storage/postgres/watch.go": "numbers of the lanes of this process",
	"adapter/vault/refresh.go":  "pauses between attempts of a refresh",
}

// TestRandomnessIsCryptographic: whatever makes states, nonces, verifiers, ids, codes and
// keys has crypto/rand and nothing else at hand.
func TestRandomnessIsCryptographic(t *testing.T) {
	cryptographic, used := 0, 0
	for _, l := range list(t) {
		pkg, _ := ours(l.ImportPath)
		if strings.HasSuffix(pkg, "test") || strings.HasPrefix(pkg, "integration") {
			continue
		}
		if slices.Contains(l.Imports, "crypto/rand") {
			cryptographic++
		}
		for _, file := range l.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(l.Dir, file), nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range parsed.Imports {
				switch at := path.Join(pkg, file); {
				case !strings.HasPrefix(imp.Path.Value, `"math/rand`):
				case predictable[at] == "":
					t.Errorf("%s imports %s", at, imp.Path.Value)
				default:
					used++
				}
			}
		}
	}
	if cryptographic < 5 || used != len(predictable) {
		t.Errorf("%d packages import crypto/rand, %d files what can be foretold: the check says nothing, or too much is allowed", cryptographic, used)
	}
}
