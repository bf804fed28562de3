package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// FuzzAdapt: a Caddyfile, whatever is in it, becomes JSON, always the same, or an
// error that says something.
func FuzzAdapt(f *testing.F) {
	files, err := filepath.Glob("testdata/adapt/*.txt")
	if err != nil || len(files) < 20 {
		f.Fatalf("found %d Caddyfiles: %v", len(files), err)
	}
	for _, file := range append(files, "../docs/Caddyfile.full", "../Caddyfile.example") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := strings.Cut(string(text), separator)
		f.Add(input)
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	f.Fuzz(func(t *testing.T, input string) {
		if strings.Contains(input, "import") {
			return // reads files
		}
		once, _, err := adapter.Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a word")
			}
			return
		}
		if !json.Valid(once) {
			t.Errorf("becomes no JSON: %s", once)
		}
		again, _, err := adapter.Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
		if err != nil || string(again) != string(once) {
			t.Errorf("becomes another thing the second time (%v):\n%s\n%s", err, once, again)
		}
	})
}
