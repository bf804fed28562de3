package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile(`\bTest[A-Z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*\b`)
	testFunc = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(t \*testing\.T\) \{`)
	rowID    = regexp.MustCompile(`\b[OA][0-9]{2}\b`)
)

// tests returns the body of every test function by name.
func tests(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	walk(t, root, "_test.go", func(_, text string) {
		at := testFunc.FindAllStringSubmatchIndex(text, -1)
		for _, m := range at {
			// gofmt ends a function with a brace at the beginning of a line.
			body, _, _ := strings.Cut(text[m[0]:], "\n}\n")
			found[text[m[2]:m[3]]] = body
		}
	})
	return found
}

func walk(t *testing.T, root, suffix string, fn func(file, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || (strings.HasPrefix(d.Name(), ".") && d.Name() != "." && d.Name() != "..")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, suffix) {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fn(file, string(text))
		return nil
	})
	if err != nil {
		t.Fatalf("reading the tree: %v", err)
	}
}

// TestDocsNameRealTests: a test that docs/ or the README names exists and does
// not skip itself.
func TestDocsNameRealTests(t *testing.T) {
	root := filepath.Join("..", "..")
	have := tests(t, root)
	if len(have) < 50 {
		t.Fatalf("found %d tests; the check would say nothing", len(have))
	}
	check := func(file, text string) {
		for _, name := range testName.FindAllString(text, -1) {
			switch body, ok := have[name]; {
			case !ok:
				t.Errorf("%s names %s, which does not exist", file, name)
			case strings.Contains(body, "t.Skip"):
				t.Errorf("%s names %s, which can be skipped", file, name)
			}
		}
	}
	walk(t, filepath.Join(root, "docs"), ".md", check)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	check("README.md", string(readme))
}

// TestRowsHaveTests: each row that docs/rows.md lists as shown has a test that
// carries its id.
func TestRowsHaveTests(t *testing.T) {
	root := filepath.Join("..", "..")
	var ids strings.Builder
	walk(t, root, "_test.go", func(file, text string) {
		if !strings.Contains(filepath.ToSlash(file), "integration/arch/") {
			ids.WriteString(text)
		}
	})
	rows, err := os.ReadFile(filepath.Join(root, "docs", "rows.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := rowID.FindAllString(string(rows), -1)
	if len(want) < 30 {
		t.Fatalf("docs/rows.md lists %d rows; the check would say nothing", len(want))
	}
	for _, id := range want {
		if !regexp.MustCompile(`(?:Test|"|_|/)` + id + `(?:_|"|\b)`).MatchString(ids.String()) {
			t.Errorf("row %s of docs/rows.md has no test that carries its id", id)
		}
	}
}
