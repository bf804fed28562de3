package adapter_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nightlatch/nightlatch/adapter"
)

// tape is randomness that can be read again.
type tape struct {
	mu   sync.Mutex
	read []byte
	ends int // bytes after which nothing comes any more; 0: never
}

func (t *tape) Read(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ends > 0 && len(t.read)+len(p) > t.ends {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := rand.Read(p)
	t.read = append(t.read, p[:n]...)
	return n, err
}

// holds tells whether a value is n bytes of the tape, in the base64 of URLs.
func (t *tape) holds(value string, n int) bool {
	raw, err := base64.RawURLEncoding.DecodeString(value)
	t.mu.Lock()
	defer t.mu.Unlock()
	return err == nil && len(raw) == n && strings.Contains(string(t.read), string(raw))
}

// TestRandomness: state, nonce, PKCE verifier and session id are bytes of the injected
// source, none of them twice. Where it fails there is no login and no session.
func TestRandomness(t *testing.T) {
	source := &tape{}
	s := newSite(t, func(c *adapter.Config) { c.Random = source })
	seen := map[string]bool{}
	for range 3 {
		b := newBrowser(t)
		b.open(s.url+"/").wants(t, 200, "app of alice")
		asked, _ := s.op.asked()
		s.op.mu.Lock()
		verifier := s.op.forms[len(s.op.forms)-1].Get("code_verifier")
		s.op.mu.Unlock()
		if len(verifier) < 43 {
			t.Fatalf("the verifier has %d characters", len(verifier))
		}
		for name, c := range map[string]struct {
			value string
			bytes int
		}{
			"state": {asked.Get("state"), 16}, "nonce": {asked.Get("nonce"), 16}, "first half of the verifier": {verifier[:22], 16}, "second half": {verifier[22:], 16},
			"session": {b.cookies(s, "session")[0].Value, 32},
		} {
			if !source.holds(c.value, c.bytes) {
				t.Errorf("%s %q is not of the source", name, c.value)
			}
			if seen[c.value] {
				t.Errorf("%s %q was there before", name, c.value)
			}
			seen[c.value] = true
		}
		if sum := sha256.Sum256([]byte(verifier)); asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || asked.Get("code_challenge_method") != "S256" {
			t.Errorf("the challenge is not the verifier's: %v", asked)
		}
	}

	// A login takes so much of it; where it ends before, there is none.
	const login = 5*16 + 32
	for ends := 1; ends <= login; ends++ {
		if ends%16 != 1 && ends != login {
			continue
		}
		s := newSite(t, func(c *adapter.Config) { c.Random = &tape{ends: ends} })
		s.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the request that was given up
		b := newBrowser(t)
		for to := s.url + "/"; to != ""; {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "text/html")
			resp, err := b.http.Do(req)
			if err != nil {
				break
			}
			resp.Body.Close()
			to = resp.Header.Get("Location")
		}
		if got, want := len(b.cookies(s, "session")) > 0 && s.reached() > 0, ends == login; got != want {
			t.Errorf("with %d random bytes: a session: %v", ends, got)
		}
	}
}
