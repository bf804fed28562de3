package jobs_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestNoTokenAfterRevoke(t *testing.T) {
	job := nightly()
	job.MayRevoke = true
	e := newEnv(t, job)
	e.login("alice")
	handler := e.server.Config.Handler
	ask := func() int {
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader("user=alice"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("nightly-backup", secret)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	var revoked atomic.Bool
	var given, late atomic.Int64
	var askers sync.WaitGroup
	for range 64 {
		askers.Go(func() {
			for late.Load() < 200 {
				over := revoked.Load()
				switch status := ask(); {
				case over && status != http.StatusBadRequest, status != http.StatusOK && status != http.StatusBadRequest:
					t.Errorf("status %d; revoked before the ask: %v", status, over)
					return
				case over:
					late.Add(1)
				default:
					given.Add(1)
				}
			}
		})
	}
	for given.Load() < 200 && !t.Failed() {
		time.Sleep(time.Millisecond)
	}
	if a := e.post("/revoke", form("user", "alice")); a.status != http.StatusNoContent {
		t.Error(a.status, a.raw)
	}
	revoked.Store(true)
	askers.Wait()
}

// The rule is judged by the grant of now, though it comes from memory.
func TestCachedGrantsAreJudged(t *testing.T) {
	job := nightly()
	job.Users = []string{"group=staff"}
	e := newEnv(t, job)
	e.login("alice", "staff")
	for range 3 {
		if a := e.post("/token", form("user", "alice")); a.status != http.StatusOK {
			t.Fatal(a.raw)
		}
	}
	e.login("alice") // who has left the group
	for range 3 {
		e.want(e.post("/token", form("user", "alice")), http.StatusForbidden, "access_denied", "rule", "nightly-backup/users")
	}
	e.want(e.post("/token", form("user", "bob")), http.StatusForbidden, "access_denied", "rule", "nightly-backup/users")
}

func TestSecretAsItIsOrEncoded(t *testing.T) {
	const secret = "a+b%c d"
	job := nightly()
	job.Secret = secret
	e := newEnv(t, job)
	e.login("alice")
	for sent, want := range map[string]int{
		secret: 200, "a%2Bb%25c+d": 200, "a b%c d": 401, "a%2Bb%c d": 401, "": 401, "a+b%25c d": 401,
	} {
		r := e.request(http.MethodPost, "/token", form("user", "alice"))
		r.SetBasicAuth("nightly-backup", sent)
		if a := e.do(r); a.status != want {
			t.Errorf("secret %q: %d; want %d", sent, a.status, want)
		}
	}
}
