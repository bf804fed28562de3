package caddymodule

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// blockOf is where the options of each block stand in a Caddyfile: the word that
// opens it, and for the two that have the same one, where.
var blockOf = map[string]string{
	"appOptions": "nightlatch, global", "siteOptions": "nightlatch, site", "accessOptions": "access", "notifyOptions": "notify",
	"webhookOptions": "webhook", "mailOptions": "mail", "realmOptions": "realm", "roleOptions": "role", "userOptions": "user",
	"clientOptions": "client", "foreignOptions": "provider", "jobOptions": "job", "postgresOptions": "store",
}

// TestEveryOptionAndErrorHasAGoldenFile reads the parsers themselves: an option
// that no golden file uses in its block fails it, and so does the text of an
// error that no golden file shows.
func TestEveryOptionAndErrorHasAGoldenFile(t *testing.T) {
	used, shown := goldens(t)
	options, errs := parsers(t)
	if len(options) < 100 || len(errs) < 35 {
		t.Fatalf("read only %d options and %d errors: the parsers look different now", len(options), len(errs))
	}
	for _, option := range options {
		if !used[option] {
			t.Errorf("no golden file has the option %s", option)
		}
	}
	for text, pattern := range errs {
		if text != unreachable && !slices.ContainsFunc(shown, pattern.MatchString) {
			t.Errorf("no golden file has the error %q", text)
		}
	}
}

// unreachable is of JSON that this package wrote itself a moment ago.
const unreachable = "reading the earlier nightlatch block: %w"

// goldens returns the options that adapt, as "block option", and the errors of
// those that do not.
func goldens(t *testing.T) (used map[string]bool, shown []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/adapt/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	used = map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input, output, _ := strings.Cut(string(text), separator)
		if strings.HasPrefix(output, "error: ") {
			shown = append(shown, output)
			continue
		}
		var within []string
		for _, line := range strings.Split(input, "\n") {
			line, _, _ = strings.Cut(line, " #")
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			if words[0] == "}" {
				within = within[:len(within)-1]
				continue
			}
			if len(within) > 0 {
				block := within[len(within)-1]
				if block == "nightlatch" && len(within) > 1 && within[0] == "{" {
					block += ", global"
				} else if block == "nightlatch" {
					block += ", site"
				}
				used[block+" "+words[0]] = true
			}
			if words[len(words)-1] == "{" {
				within = append(within, words[0])
			}
		}
	}
	return used, shown
}

// parsers returns the options and the errors of the parsing code.
func parsers(t *testing.T) (options []string, errs map[string]*regexp.Regexp) {
	t.Helper()
	errs = map[string]*regexp.Regexp{}
	for name, file := range sources(t, "*.go") {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, v := range n.Values {
					if block, ok := v.(*ast.CompositeLit); ok && isOptions(block.Type) {
						where := blockOf[n.Names[i].Name]
						if where == "" {
							t.Errorf("%s: tell blockOf where the options of %s stand", name, n.Names[i].Name)
						}
						for _, e := range block.Elts {
							options = append(options, where+" "+literal(e.(*ast.KeyValueExpr).Key))
						}
					}
				}
			case *ast.CallExpr:
				method, ok := n.Fun.(*ast.SelectorExpr)
				if ok && len(n.Args) > 0 && (method.Sel.Name == "Errf" || method.Sel.Name == "Err") {
					if text := literal(n.Args[0]); text != "" {
						errs[text] = pattern(text)
					}
				}
			}
			return true
		})
	}
	return options, errs
}

// sources parses the files of some patterns, tests left out.
func sources(t *testing.T, patterns ...string) map[string]*ast.File {
	t.Helper()
	out := map[string]*ast.File{}
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil || len(files) == 0 {
			t.Fatalf("files %s: %v", p, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			out[name] = file
		}
	}
	return out
}

// isOptions tells the type options[T].
func isOptions(e ast.Expr) bool {
	ix, ok := e.(*ast.IndexExpr)
	if !ok {
		return false
	}
	name, ok := ix.X.(*ast.Ident)
	return ok && name.Name == "options"
}

// literal is the text of a string, or its first part if more is added to it.
func literal(e ast.Expr) string {
	if sum, ok := e.(*ast.BinaryExpr); ok {
		e = sum.X
	}
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return text
}

var verb = regexp.MustCompile(`%[a-z]`)

// pattern matches what a format makes.
func pattern(format string) *regexp.Regexp {
	parts := verb.Split(format, -1)
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile(strings.Join(parts, `.+`))
}
