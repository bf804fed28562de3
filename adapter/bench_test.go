package adapter_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// passing returns a proxied request with a session as often as it is called, behind
// which the app would be: what the guard costs by itself, without the network and
// without Caddy. The browser has the cookies of a realm on the same host, too.
func passing(t testing.TB) func() {
	s := newSite(t)
	b := newBrowser(t)
	b.open(s.url+"/x").wants(t, http.StatusOK, "app of")
	cookies := []string{"nightlatch_flow_4a249ea3=g0VM4hxrfvrLp5Br4imiig", "nightlatch_sso_4a249ea3=m0InMrsB41BPIrI7TA3iIQ.I1UyfEB0S8ME7VIQcbRWDg"}
	for _, c := range b.cookies(s, "nightlatch_") {
		cookies = append(cookies, c.String())
	}
	header := []string{strings.Join(cookies, "; ")}
	r := httptest.NewRequest(http.MethodGet, s.url+"/x", nil)
	w := httptest.NewRecorder()
	return func() {
		r.Header["Cookie"] = header
		if s.rp.Own(w, r, r.URL) {
			t.Fatal(w.Code)
		}
		if id, ok := s.rp.Guard(w, r, r.URL); !ok || id.Anonymous() || r.Header["Cookie"] != nil {
			t.Fatal(w.Code, id, r.Header)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	pass := passing(b)
	b.ReportAllocs()
	for b.Loop() {
		pass()
	}
}

// TestGuardAllocatesNothing: a request of a known session leaves nothing behind.
func TestGuardAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(1000, passing(t)); n != 0 {
		t.Errorf("the guard allocates %v objects for a request", n)
	}
}
