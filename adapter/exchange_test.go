package adapter_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
)

// repeating makes a provider that takes an Idempotency-Key with a code.
func repeating(p *foreign) { p.metadata["nightlatch_code_idempotency"] = true }

// times makes something go wrong so often, and then no more.
func times(n int) func() bool {
	return func() bool { n--; return n >= 0 }
}

// asleep is a provider's 503, n times.
func asleep(n int) func(*foreign) {
	failing := times(n)
	return func(p *foreign) {
		p.tokenError = func(url.Values) (int, string) {
			if failing() {
				return http.StatusServiceUnavailable, "temporarily_unavailable"
			}
			return 0, ""
		}
	}
}

// losing loses n answers, after the provider has done what they tell.
func losing(n int) func(*foreign) {
	failing := times(n)
	return func(p *foreign) { p.lose = func(url.Values) bool { return failing() } }
}

// exchanges are the codes of the token requests, and their keys without
// repetitions.
func (p *foreign) exchanges() (codes, keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, form := range p.forms {
		codes = append(codes, form.Get("code"))
	}
	return codes, slices.Compact(slices.Clone(p.keys))
}

// TestCodeIsExchangedAgain: a provider that takes the same exchange for the same is
// asked again, and nobody notices that an answer was lost.
func TestCodeIsExchangedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		trouble func(*foreign)
		wait    string
	}{
		"answer lost":          {losing(1), ""},
		"answers lost":         {losing(2), ""},
		"busy":                 {asleep(2), ""},
		"busy, come back soon": {asleep(1), "0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.op.set(repeating)
			s.op.set(c.trouble)
			s.op.set(func(p *foreign) { p.wait = c.wait })
			newBrowser(t).open(s.url+"/backup").wants(t, 200, "app of alice")
			codes, keys := s.op.exchanges()
			if len(codes) < 2 || len(keys) != 1 || len(keys[0]) != 22 {
				t.Errorf("sent codes %v with keys %v", codes, keys)
			}
			if got := s.grants.logins(); len(got) != 1 {
				t.Errorf("%d grants", len(got))
			}
		})
	}
	t.Run("a key of its own for each login", func(t *testing.T) {
		s := newSite(t)
		s.op.set(repeating)
		for range 3 {
			newBrowser(t).open(s.url+"/").wants(t, 200, "app of alice")
		}
		if codes, keys := s.op.exchanges(); len(codes) != 3 || len(keys) != 3 {
			t.Errorf("sent codes %v with keys %v", codes, keys)
		}
	})
}

// TestCallbackLoadedAgain: while the provider or the store is away the page says so,
// and loading it again goes on with the same login.
func TestCallbackLoadedAgain(t *testing.T) {
	s := newSite(t)
	s.op.set(repeating)
	// A long wait is the person's, not the request's.
	s.op.set(asleep(1))
	s.op.set(func(p *foreign) { p.wait = "60" })
	b := newBrowser(t)
	answer := b.step(b.step(s.url + "/backup").Header.Get("Location")).Header.Get("Location")
	b.open(answer).wants(t, 503, "try again")
	if codes, _ := s.op.exchanges(); len(codes) != 1 {
		t.Errorf("%d requests within a wait of a minute", len(codes))
	}
	// The provider answers, the store does not write.
	s.grants.mu.Lock()
	s.grants.err = http.ErrServerClosed
	s.grants.mu.Unlock()
	b.open(answer).wants(t, 503, "try again")
	s.grants.mu.Lock()
	s.grants.err = nil
	s.grants.mu.Unlock()
	b.open(answer).wants(t, 200, "app of alice")
	if codes, keys := s.op.exchanges(); len(codes) != 3 || len(keys) != 1 {
		t.Errorf("sent codes %v with keys %v", codes, keys)
	}
	b.open(answer).wants(t, 400, "another browser") // it has ended
	newBrowser(t).open(answer).wants(t, 400, "another browser")

	// What is refused is not loaded again.
	s.op.set(func(p *foreign) { p.forge, p.tokenError = unsigned, nil })
	answer = b.step(b.step(s.url + "/?scope=offline_access+reports.read").Header.Get("Location")).Header.Get("Location")
	b.open(answer).wants(t, 403, "not logged in")
	b.open(answer).wants(t, 400, "another browser")
}

// TestCodeIsSentOnce: a provider that does not say that it knows the key gets a
// code once, whatever becomes of the answer: a second one would end what the first
// began (RFC 6749 §4.1.2).
func TestCodeIsSentOnce(t *testing.T) {
	for name, trouble := range map[string]func(*foreign){"answer lost": losing(1), "busy": asleep(1)} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.op.set(trouble)
			b := newBrowser(t)
			answer := b.step(b.step(s.url + "/").Header.Get("Location")).Header.Get("Location")
			b.open(answer).wants(t, 503, "try again")
			b.open(answer).wants(t, 400, "another browser")
			if codes, keys := s.op.exchanges(); len(codes) != 1 || keys[0] != "" {
				t.Errorf("sent codes %v with keys %v", codes, keys)
			}
			b.open(s.url+"/").wants(t, 200, "app of alice")
		})
	}
}
