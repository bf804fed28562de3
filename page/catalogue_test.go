package page

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"text/template/parse"

	"golang.org/x/tools/go/packages"
)

var update = flag.Bool("update", false, "write messages/en.json anew")

// TestCatalogue: messages/en.json has every text that templates and Go say, and
// no other.
//
//go:generate go test -run TestCatalogue -update .
func TestCatalogue(t *testing.T) {
	c := catalogue{t, map[Text]message{}}
	c.templates("..")
	c.code("./page", "./provider/...", "./adapter/...")
	if len(c.found) < 100 {
		t.Fatalf("%d texts were found; the check would say nothing", len(c.found))
	}
	const file = "messages/en.json"
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := e.Encode(c.found); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := parseMessages(english)
	if err != nil {
		t.Fatal(err)
	}
	for text := range c.found {
		if _, ok := have[text]; !ok {
			t.Errorf("%s lacks %q", file, text)
		}
	}
	for text := range have {
		if _, ok := c.found[text]; !ok {
			t.Errorf("%s has %q, which nothing says", file, text)
		}
	}
	if t.Failed() || !bytes.Equal(buf.Bytes(), english) {
		t.Errorf("%s is not what the sources say: go generate ./page writes it anew", file)
	}
}

// catalogue gathers the texts of the sources.
type catalogue struct {
	t     *testing.T
	found map[Text]message
}

func (c catalogue) add(where, one, other string) {
	c.t.Helper()
	m := message{text: one}
	if other != "" {
		m = message{forms: map[string]string{"one": one, "other": other}}
		if err := samePlaces(one, other); err != nil {
			c.t.Errorf("%s: %v", where, err)
		}
	}
	if _, err := places(one); err != nil {
		c.t.Errorf("%s: %v", where, err)
	}
	if before, ok := c.found[Text(one)]; ok && fmt.Sprint(before) != fmt.Sprint(m) {
		c.t.Errorf("%s: %q has another plural, or none, elsewhere", where, one)
	}
	c.found[Text(one)] = m
}

// templates reads what {{t …}} and {{n …}} say in all *.html below a folder.
func (c catalogue) templates(root string) {
	c.t.Helper()
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return filepath.SkipDir
		case filepath.Ext(file) != ".html":
			return nil
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		trees := map[string]*parse.Tree{}
		tree := parse.New(file)
		tree.Mode = parse.SkipFuncCheck
		if _, err := tree.Parse(string(raw), "", "", trees); err != nil {
			return err
		}
		for _, tree := range trees {
			c.node(file, tree.Root)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c catalogue) node(file string, node parse.Node) {
	branch := func(b *parse.BranchNode) {
		c.node(file, b.Pipe)
		c.node(file, b.List)
		if b.ElseList != nil {
			c.node(file, b.ElseList)
		}
	}
	switch n := node.(type) {
	case *parse.ListNode:
		for _, each := range n.Nodes {
			c.node(file, each)
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.ActionNode:
		c.node(file, n.Pipe)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			c.node(file, n.Pipe)
		}
	case *parse.PipeNode:
		for _, each := range n.Cmds {
			c.node(file, each)
		}
	case *parse.CommandNode:
		for _, each := range n.Args {
			c.node(file, each)
		}
		c.command(file, n)
	}
}

// command takes the literals of t and n.
func (c catalogue) command(file string, n *parse.CommandNode) {
	c.t.Helper()
	name, ok := n.Args[0].(*parse.IdentifierNode)
	if !ok || name.Ident != "t" && name.Ident != "n" {
		return
	}
	var literals []string
	for i, arg := range n.Args[1:] {
		if s, ok := arg.(*parse.StringNode); ok && i == len(literals)+map[string]int{"n": 1}[name.Ident] {
			literals = append(literals, s.Text)
		}
	}
	switch {
	case name.Ident == "t" && len(literals) > 0:
		c.add(file, literals[0], "")
	case name.Ident == "n" && len(literals) > 1:
		c.add(file, literals[0], literals[1])
	default:
		c.t.Errorf("%s: %s says no literal text", file, n)
	}
}

// code reads every constant of type Text in the packages of some patterns.
func (c catalogue) code(patterns ...string) {
	c.t.Helper()
	all, err := packages.Load(&packages.Config{
		Dir: "..", Mode: packages.NeedName | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports,
	}, using(c.t, patterns)...)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range all {
		for _, err := range p.Errors {
			c.t.Fatal(err)
		}
		is := func(e ast.Expr, name string) bool {
			t := p.TypesInfo.TypeOf(e)
			return t != nil && t.String() == self+"."+name
		}
		text := func(e ast.Expr) string {
			if v := p.TypesInfo.Types[e].Value; v != nil && v.Kind() == constant.String && is(e, "Text") {
				return constant.StringVal(v)
			}
			return ""
		}
		for _, file := range p.Syntax {
			ast.Inspect(file, func(node ast.Node) bool {
				e, ok := node.(ast.Expr)
				if !ok {
					return true
				}
				where := p.Fset.Position(e.Pos()).String()
				if one, other := pair(e, is); other != nil && text(one) != "" {
					c.add(where, text(one), text(other))
					return false
				}
				if s := text(e); s != "" {
					c.add(where, s, "")
					return false
				}
				return true
			})
		}
	}
}

const self = "github.com/nightlatch/nightlatch/page"

// using lists the packages of patterns that import this one, and itself: the
// others have no texts.
func using(t *testing.T, patterns []string) []string {
	t.Helper()
	all, err := packages.Load(&packages.Config{Dir: "..", Mode: packages.NeedName | packages.NeedImports}, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range all {
		if p.Imports[self] != nil || p.PkgPath == self {
			out = append(out, p.PkgPath)
		}
	}
	slices.Sort(out)
	return out
}

// pair finds the two forms of a text about a number: the second and third value
// of Words.N, or the two of a counted.
func pair(e ast.Expr, is func(ast.Expr, string) bool) (one, other ast.Expr) {
	switch e := e.(type) {
	case *ast.CallExpr:
		if s, ok := e.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "N" && is(e.Args[1], "Text") {
			return e.Args[1], e.Args[2]
		}
	case *ast.CompositeLit:
		if is(e, "counted") {
			return e.Elts[0], e.Elts[1]
		}
	}
	return nil, nil
}

// TestLanguages: words of another language take the place of the English ones,
// and whatever is wrong in a file is told with its name and the text.
func TestLanguages(t *testing.T) {
	read := func(file, content string) ([]*Words, error) {
		return languages(fstest.MapFS{file: {Data: []byte(content)}})
	}
	all, err := read("messages/pl.json", `{"Log out": "Wyloguj", "%d day ago": {"one": "%d dzień temu", "few": "%d dni temu", "other": "%d dnia temu"}, "%[1]d %[2]s %[3]d, %[4]s UTC": "%[3]d %[2]s %[1]d, %[4]s UTC"}`)
	if err != nil || len(all) != 2 || all[0] != English {
		t.Fatalf("%v %v", all, err)
	}
	pl := all[1]
	for got, want := range map[string]string{
		pl.T("Log out"):                           "Wyloguj",
		pl.T("just now"):                          "just now",
		pl.N(1, "%d day ago", "%d days ago"):      "1 dzień temu",
		pl.N(3, "%d day ago", "%d days ago"):      "3 dni temu",
		pl.N(2, "%d hour ago", "%d hours ago"):    "2 hours ago",
		English.N(1, "%d day ago", "%d days ago"): "1 day ago",
		English.N(0, "%d day ago", "%d days ago"): "0 days ago",
		pl.T("100 % from a record"):               "100 % from a record",
		pl.At(t0, t0).Text:                        "2026 March 1, 12:00 UTC",
		pl.At(t0, t0.Add(day)).Near:               "1 dzień temu",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if all, err := read("messages/en.json", `{"Log out": "Sign off"}`); err != nil || len(all) != 1 || all[0].T("Log out") != "Sign off" {
		t.Errorf("%v %v", all, err)
	}
	for _, bad := range []struct{ file, content, want string }{
		{"messages/de.json", "{\n\"Log out\": \"Abmelden\",\n}", "line 3"},
		{"messages/de.json", `{"Log oout": "Abmelden"}`, `text "Log oout" is none`},
		{"messages/de.json", `{"Log out": "%s abmelden"}`, `text "Log out"`},
		{"messages/de.json", `{"Log out": 7}`, "a text is a string"},
		{"messages/de.json", `{"Log out": {"other": "Abmelden"}}`, "counts nothing"},
		{"messages/de.json", `{"%d day ago": "vor %d Tagen"}`, `counts: it needs an object`},
		{"messages/de.json", `{"%d day ago": {"one": "vor %d Tag"}}`, `lacks the form "other"`},
		{"messages/de.json", `{"%d day ago": {"other": "vor %d Tagen", "lots": "vor %d Tagen"}}`, `"lots" is no form`},
		{"messages/de.json", `{"%d day ago": {"other": "vor Tagen"}}`, `form other: "vor Tagen" has not the same places`},
		{"messages/de.json", `{"%d day ago": {"other": "vor %s Tagen"}}`, `form other`},
		{"messages/de.json", `{"%[1]d %[2]s %[3]d, %[4]s UTC": "%[1]d %[2]s %[2]s %[4]s"}`, "twice"},
		{"messages/de.json", `{"Log out": "100 % weg"}`, "a percent sign %%"},
		{"messages/gibberish!.json", `{}`, "no language tag"},
		{"messages/de.json", `[]`, "messages/de.json"},
	} {
		_, err := read(bad.file, bad.content)
		if err == nil || !strings.Contains(err.Error(), bad.want) || !strings.Contains(err.Error(), bad.file) {
			t.Errorf("%s: %v, want %s", bad.content, err, bad.want)
		}
	}
}
