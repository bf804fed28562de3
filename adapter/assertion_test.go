package adapter_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nightlatch/nightlatch/adapter"
)

// TestAssertion: the app gets proof of who is there, signed by a key of the
// site; a client's own never arrives, one is signed anew each minute, and the key
// outlives a restart.
func TestAssertion(t *testing.T) {
	var config adapter.Config
	s := newSite(t, func(c *adapter.Config) { c.Assertion = true; config = *c })
	b := newBrowser(t)
	forged := append([]string{adapter.AssertionHeader, "forged", "Nightlatch_assertion", "forged"}, navigating...)
	b.do(http.MethodGet, s.url+"/public/x", nil, forged...).wants(t, 200, "app of")
	if got := s.last().header; got.Get(adapter.AssertionHeader) != "" || len(got["Nightlatch_assertion"]) > 0 {
		t.Errorf("nobody's assertion: %v", got)
	}
	b.open(s.url+"/x").wants(t, 200, "app of alice")
	first := s.last().header.Get(adapter.AssertionHeader)

	certs := b.do(http.MethodGet, s.url+"/.nightlatch/certs", nil)
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(certs.body), &set); err != nil || len(set.Keys) != 1 || strings.Contains(certs.body, `"d"`) {
		t.Fatalf("%d %s", certs.StatusCode, certs.body)
	}
	signed, err := jose.ParseSignedCompact(first, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := signed.Verify(set.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Iss, Aud, Sub, Email, Provider string
		Name                           string `json:"preferred_username"`
		Iat, Exp                       int64
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Iss != s.url || claims.Aud != s.url || claims.Sub != "sub-alice" || claims.Name != "alice" || claims.Email != "alice@example.com" ||
		claims.Provider != "elsewhere" || claims.Iat != s.clock.Now().Unix() || claims.Exp-claims.Iat != 120 || signed.Signatures[0].Header.KeyID != set.Keys[0].KeyID {
		t.Errorf("claims %s", payload)
	}

	b.do(http.MethodGet, s.url+"/x", nil, forged...).wants(t, 200, "app of alice")
	if got := s.last().header[adapter.AssertionHeader]; len(got) != 1 || got[0] != first {
		t.Errorf("a moment later %q", got)
	}
	s.clock.Advance(61 * time.Second)
	b.open(s.url+"/x").wants(t, 200, "app of alice")
	if got := s.last().header.Get(adapter.AssertionHeader); got == first || got == "" {
		t.Errorf("a minute later %q", got)
	}
	if s.rp, err = adapter.New(config); err != nil { // as after a restart
		t.Fatal(err)
	}
	if again := b.do(http.MethodGet, s.url+"/.nightlatch/certs", nil); again.body != certs.body {
		t.Errorf("after a restart %s", again.body)
	}

	off := newSite(t)
	if p := newBrowser(t).do(http.MethodGet, off.url+"/.nightlatch/certs", nil); p.StatusCode != 404 {
		t.Errorf("without assertions: %d", p.StatusCode)
	}
}
