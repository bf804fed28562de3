package arch

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the views in docs/pages.md anew")

// TestManualOfPages: docs/pages.md has the views of all pages as the code has them.
func TestManualOfPages(t *testing.T) {
	root := filepath.Join("..", "..")
	var out bytes.Buffer
	for _, of := range []struct{ heading, dir, from string }{
		{"Around every page: `frame.html`, `console.html`", "page", "Frame"},
		{"The realm's own pages", "provider/web", "views"},
		{"The account console", "provider/account", "views"},
		{"The admin console", "provider/console", "views"},
		{"The pages of a site", "adapter", "views"},
	} {
		p := readPackage(t, filepath.Join(root, filepath.FromSlash(of.dir)))
		fmt.Fprintf(&out, "\n### %s\n\n", of.heading)
		var order []string
		if of.from == "views" {
			order = p.views(t, &out)
		} else {
			order = []string{of.from, "Moment"}
		}
		out.WriteString("```go\n")
		p.write(t, &out, order)
		out.WriteString("```\n")
	}
	const begin, end = "<!-- views -->\n", "\n<!-- /views -->\n"
	file := filepath.Join(root, "docs", "pages.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	have, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no marks around the views", file)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+out.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != out.String() {
		t.Errorf("%s has other views than the code: go test ./integration/arch -run TestManualOfPages -update writes them", file)
	}
}

// pack is the declarations of a package.
type pack struct {
	set   *token.FileSet
	types map[string]*ast.GenDecl
	list  *ast.CompositeLit // views
}

func readPackage(t *testing.T, dir string) *pack {
	t.Helper()
	p := &pack{set: token.NewFileSet(), types: map[string]*ast.GenDecl{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(p.set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			d, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					p.types[s.Name.Name] = d
				case *ast.ValueSpec:
					if s.Names[0].Name == "views" {
						p.list, _ = s.Values[0].(*ast.CompositeLit)
					}
				}
			}
		}
	}
	return p
}

// views writes which page has which view, and returns the views in that order.
func (p *pack) views(t *testing.T, out *bytes.Buffer) (order []string) {
	t.Helper()
	if p.list == nil {
		t.Fatal("a package of pages has no views")
	}
	out.WriteString("| file | view |\n|---|---|\n")
	for _, e := range p.list.Elts {
		e, _ := e.(*ast.KeyValueExpr)
		file, view := strings.Trim(e.Key.(*ast.BasicLit).Value, `"`), "none"
		if of, ok := e.Value.(*ast.CompositeLit); ok {
			name := of.Type.(*ast.Ident).Name
			order, view = append(order, name), "`"+name+"`"
		}
		fmt.Fprintf(out, "| `%s.html` | %s |\n", file, view)
	}
	out.WriteString("\n")
	return order
}

// write writes types, and those of the package that they are made of, each once.
func (p *pack) write(t *testing.T, out *bytes.Buffer, order []string) {
	t.Helper()
	for i := 0; i < len(order); i++ {
		d := p.types[order[i]]
		if d == nil || slices.Contains(order[:i], order[i]) {
			continue
		}
		if i > 0 {
			out.WriteString("\n")
		}
		begin := d.Pos()
		if d.Doc != nil {
			begin = d.Doc.Pos()
		}
		text, err := os.ReadFile(p.set.Position(begin).Filename)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text[p.set.Position(begin).Offset:p.set.Position(d.End()).Offset])
		out.WriteString("\n")
		ast.Inspect(d.Specs[0].(*ast.TypeSpec).Type, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok {
				ast.Inspect(field.Type, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok && p.types[id.Name] != nil {
						order = append(order, id.Name)
					}
					return true
				})
			}
			return true
		})
	}
}
