package provider_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

// waiting counts the requests that wait in the store.
func (w *world) waiting() (n int) {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(tx storage.Tx) error {
		n = 0
		for after := ""; ; {
			rows, err := session.AuthorizationRequests.List(tx, "demo", after, 500)
			if err != nil || len(rows) == 0 {
				return err
			}
			n += len(rows)
			after = rows[len(rows)-1].ID
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// abandon begins logins and goes on with none.
func (w *world) abandon(n int, cookies ...*http.Cookie) {
	w.t.Helper()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range (n + 15) / 16 {
				r := httptest.NewRequest(http.MethodGet, authURL("reports", "openid"), nil)
				for _, c := range cookies {
					r.AddCookie(c)
				}
				if got := w.do(r); got.status != http.StatusSeeOther || !strings.Contains(got.header.Get("Location"), "/login-actions/authenticate") {
					w.t.Errorf("an abandoned login: %d %s", got.status, got.body)
				}
			}
		})
	}
	all.Wait()
}

// TestAbandonedLogins: 10 001 of them, of strangers and in one browser, do not stop
// the next one. In one browser the latest wait; all end with their time.
func TestAbandonedLogins(t *testing.T) {
	w := newWorld(t)
	w.abandon(5000)
	b := w.browser()
	oldest, _ := b.open(http.MethodGet, authURL("reports", "openid"), nil)
	before := w.waiting()
	w.abandon(5001, b.cookie("flow"))
	if n := w.waiting() - before; n >= 20 {
		t.Errorf("%d more requests wait in one browser", n)
	}
	if page, left := b.submit(oldest, "login", credentials("alice", "alice-pw")); left != nil || page.status != http.StatusBadRequest || !strings.Contains(page.body, "has ended") {
		t.Errorf("the oldest: %v %s", left, page.body)
	}
	for _, next := range []*browser{b, w.browser()} {
		if code := next.authorize("alice", "reports", "openid").Get("code"); code == "" {
			t.Error("the next login has no code")
		}
	}
	w.advance(30 * time.Minute)
	if err := w.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.waiting(); n > 0 {
		t.Errorf("half an hour later %d requests wait", n)
	}
}

// TestTabsOfOneBrowser: who has many tabs loses none of those that wait to the ones
// that were answered.
func TestTabsOfOneBrowser(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	tab, _ := b.open(http.MethodGet, authURL("reports", "openid", "prompt", "login"), nil)
	for range 30 {
		b.authorize("alice", "reports", "openid", "prompt", "login")
	}
	for range 19 {
		b.open(http.MethodGet, authURL("reports", "openid", "prompt", "login"), nil)
	}
	if _, left := b.submit(tab, "login", credentials("alice", "alice-pw")); left == nil || left.Query().Get("code") == "" {
		t.Errorf("the first of 20 tabs: %v", left)
	}
}
