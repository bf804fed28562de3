package pagetest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/page"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Evil is what a value of a page may be.
const Evil = `<script>alert("x")</script>`

// Look is the English one of a realm named demo.
func Look(t *testing.T, resources string) *page.Look {
	t.Helper()
	l, err := page.NewLook(page.Config{Resources: resources, Name: func(context.Context) string { return "demo" }})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var (
	// hashed is the stylesheet's name, which a golden file does not hold.
	hashed = regexp.MustCompile(`style\.[0-9a-f]+\.css`)
	script = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
)

// Golden compares a page with testdata/name.html, and fails on what no page may
// have.
func Golden(t *testing.T, name string, rec *httptest.ResponseRecorder) {
	t.Helper()
	got := hashed.ReplaceAllString(rec.Body.String(), "style.css")
	file := filepath.Join("testdata", name+".html")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (-update writes it):\n%s", file, got)
	}
	for _, bad := range []string{Evil, " style=", " onclick=", " onload=", "javascript:", "%!"} {
		if strings.Contains(got, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	h := rec.Header()
	policy := h.Get("Content-Security-Policy")
	if h.Get("X-Frame-Options") != "DENY" || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
	found := script.FindStringSubmatch(got)
	if (found != nil) != strings.Contains(policy, "script-src") {
		t.Errorf("policy %q", policy)
	}
	if found != nil {
		sum := sha256.Sum256([]byte(found[1]))
		if !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Errorf("the policy does not let the page's own script run: %q", policy)
		}
	}
}
