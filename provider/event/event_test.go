package event_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/nightlatch/nightlatch/provider/event"
)

// Types forgets none that is declared.
func TestTypes(t *testing.T) {
	source, err := os.ReadFile("event.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\t\w+\s+Type = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(declared) < 30 {
		t.Fatalf("found %d types; the check would say nothing", len(declared))
	}
	for _, m := range declared {
		if kind := event.Type(m[1]); slices.Contains(event.Types(), kind) == kind.Admin() {
			t.Errorf("%s: listed %v", kind, kind.Admin())
		}
	}
}
