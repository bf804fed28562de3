package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what adapting gives into the golden files")

const separator = "----------\n"

// TestAdapt holds each golden file: a Caddyfile, then the JSON that it becomes,
// or the error.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d golden files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(text), separator)
			got, warnings := adapt(t, input)
			if *update {
				if err := os.WriteFile(file, []byte(input+separator+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("adapting gives something else (-want +got):\n%s", diff)
			}
			if strings.HasPrefix(got, "error: ") {
				if !strings.Contains(got, "Caddyfile:") {
					t.Error("the error names no line")
				}
			} else if len(warnings) > 0 {
				t.Errorf("the input draws warnings (caddy fmt?): %v", warnings)
			}
		})
	}
}

func adapt(t *testing.T, input string) (string, []caddyconfig.Warning) {
	t.Helper()
	raw, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "error: " + err.Error() + "\n", warnings
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n", warnings
}
