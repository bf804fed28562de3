package adapter_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// abandon begins logins of strangers and goes on with none.
func (s *site) abandon(n int, path string) {
	s.t.Helper()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range (n + 7) / 8 {
				r := httptest.NewRequest(http.MethodGet, s.url+path, nil)
				for i := 0; i < len(navigating); i += 2 {
					r.Header.Set(navigating[i], navigating[i+1])
				}
				w := httptest.NewRecorder()
				s.serve(w, r)
				if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), s.op.server.URL) {
					s.t.Errorf("an abandoned login: %d", w.Code)
				}
			}
		})
	}
	all.Wait()
}

// stored counts the records whose key has a part.
func (s *site) stored(part string) (n int) {
	s.t.Helper()
	err := s.store.Each(s.t.Context(), nil, func(it storage.Item) error {
		if bytes.Contains(it.Key, []byte(part)) {
			n++
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// TestAbandonedLogins: 10 001 of them do not stop the next one, nor do those that
// fill no cookie fill the store.
func TestAbandonedLogins(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	mine := b.step(b.step(s.url + "/mine").Header.Get("Location")).Header.Get("Location")
	s.abandon(8000, "/abandoned")
	if n := s.stored("return_to"); n > 0 {
		t.Errorf("%d records of logins that nobody went on with", n)
	}
	long := "/long?q=" + strings.Repeat("a", 6<<10)
	s.abandon(2001, long)
	if n := s.stored("return_to"); n != 1000 {
		t.Errorf("%d long addresses are kept", n)
	}
	b.open(mine).wants(t, 200, "app of alice")
	if s.last().uri != "/mine" {
		t.Errorf("the login from before ends at %s", s.last().uri)
	}
	next := newBrowser(t)
	next.open(s.url+long).wants(t, 200, "app of alice")
	if s.last().uri != "/" {
		t.Errorf("with a long address it ends at %.30s", s.last().uri)
	}
	s.clock.Advance(10 * time.Minute)
	newBrowser(t).open(s.url+long).wants(t, 200, "app of alice")
	if s.last().uri != long {
		t.Errorf("ten minutes later it ends at %.30s", s.last().uri)
	}
}
