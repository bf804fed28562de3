package jobs_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/adapter/jobs"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
)

// BenchmarkCachedToken is a hand-out without the network and without listeners:
// what the handler and the vault cost by themselves.
func BenchmarkCachedToken(b *testing.B) {
	e := newEnv(b)
	e.login("alice")
	h, err := jobs.New(jobs.Config{
		Vault: e.vault, Jobs: []jobs.Job{nightly()}, Now: e.clock,
		Sites: []jobs.Site{{URL: site, Provider: "demo", Client: vaulttest.ClientID, Local: true}},
	})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/token", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("nightly-backup", secret)
	ask := func() int {
		r.Body = io.NopCloser(strings.NewReader("user=alice&min_ttl=60s"))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if got := ask(); got != 200 {
		b.Fatal(got)
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := ask(); got != 200 {
			b.Fatal(got)
		}
	}
}
