package openredirect_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/integration/openredirect"
)

func TestPayloads(t *testing.T) {
	good, err := url.Parse("https://rp.test/out")
	if err != nil {
		t.Fatal(err)
	}
	all := openredirect.Payloads(good, "evil.test")
	if len(all) < 600 {
		t.Errorf("%d payloads", len(all))
	}
	if slices.Contains(all, good.String()) {
		t.Error("the trusted address is among them")
	}
	seen := map[string]bool{}
	for _, p := range all {
		if seen[p] {
			t.Errorf("%q is there twice", p)
		}
		seen[p] = true
	}
	for _, want := range []string{
		"https://evil.test/out", "//evil.test/out", "https:evil.test/out", `/\evil.test/out`, "/%5cevil.test/out", "https://rp.test@evil.test/out",
		"https://rp.test.evil.test/out", "https://rp.test/out?foo=bar&x=//evil.test", "https://rp.test/out/", "https://rp.test/OUT", "https://rp.test/out%2f..",
		"https://ｒｐ.ｔｅｓｔ/out", "//rр.test/out", "https://rp.tеst/out", "https://rp.test。evil.test/out", "//xn--rp.test-evil.test.evil.test/out",
	} {
		if !seen[want] {
			t.Errorf("%q is missing; the nearest: %q", want, nearest(all, want))
		}
	}
}

func nearest(all []string, want string) (out []string) {
	for _, p := range all {
		if strings.HasSuffix(p, want[len(want)-6:]) {
			out = append(out, p)
		}
	}
	return out[:min(5, len(out))]
}
