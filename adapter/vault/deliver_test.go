package vault_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// crier is a teller that remembers.
type crier struct {
	mu    sync.Mutex
	news  []vault.News
	fails error
}

func (c *crier) teller(name string) vault.Teller {
	return vault.Teller{Name: name, Tell: func(_ context.Context, n vault.News) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.fails != nil {
			return c.fails
		}
		c.news = append(c.news, n)
		return nil
	}}
}

func (c *crier) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails = err
}

// take returns what was told since the last time, by kind and reason.
func (c *crier) take() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.news {
		out = append(out, n.Kind+" "+n.Reason)
	}
	c.news = nil
	return out
}

func told(t *testing.T, c *crier, want ...string) {
	t.Helper()
	if got := c.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("told %q; want %q", got, want)
	}
}

func TestPeopleAreTold(t *testing.T) {
	e := newEnv(t)
	c := &crier{}
	e.vault.NotifyBy(c.teller("c"))
	e.login()
	e.vault.Attend(context.Background())
	told(t, c) // a login is no news for the person

	e.provider.SetStatus("sub-alice", "user_disabled")
	e.refused(e.grant().ID, vault.ClassSuspended, "user_disabled")
	e.pass(4*time.Minute, time.Minute)
	told(t, c)
	e.pass(2*time.Minute, time.Minute)
	c.mu.Lock()
	n := c.news[0]
	c.mu.Unlock()
	if n.ReconsentURI != "http://localhost:8081" || n.Grant.Username != "alice" || n.ID == "" {
		t.Errorf("news %+v", n)
	}
	told(t, c, "grant_suspended user_disabled")

	e.provider.SetStatus("sub-alice", "reuse_detected")
	e.advance(2 * time.Hour) // the probe has its jitter
	e.vault.Attend(context.Background())
	e.vault.Attend(context.Background())
	told(t, c, "grant_replayed reuse_detected")

	e.login()
	// An end is told at once, whatever suspicion came before it.
	e.provider.SetStatus("sub-alice", "revoked")
	if err := e.vault.DropCached(context.Background(), "demo", "sub-alice", "", "revoked"); err != nil {
		t.Fatal(err)
	}
	e.refused(e.grant().ID, vault.ClassFinal, "revoked")
	e.vault.Attend(context.Background())
	told(t, c, "grant_revoked revoked")

	e.login()
	e.pass(77*day, 6*time.Hour)
	told(t, c, "grant_lapsing unused")
	if err := e.vault.Revoke(context.Background(), e.grant().ID); err != nil {
		t.Fatal(err)
	}
	e.vault.Attend(context.Background())
	told(t, c, "grant_revoked revoked")
}

func TestNobodyIsToldWhatIsOver(t *testing.T) {
	e := newEnv(t)
	c := &crier{}
	e.vault.NotifyBy(c.teller("c"))
	id := e.login()
	e.provider.SetStatus("sub-alice", "user_disabled")
	e.refused(id, vault.ClassSuspended, "user_disabled")
	e.provider.SetStatus("sub-alice", "")
	e.advance(2 * time.Minute)
	e.token(id)
	e.pass(time.Hour, time.Minute)
	told(t, c)

	c.fail(errors.New("the mail server is down"))
	e.pass(78*day, 6*time.Hour) // a warning waits
	e.token(id)                 // it is used again
	c.fail(nil)
	e.pass(2*day, time.Hour)
	told(t, c)
}

func TestNewsOutlivesACrash(t *testing.T) {
	e := newEnv(t)
	first, second := &crier{}, &crier{}
	second.fail(errors.New("no route to host"))
	e.vault.NotifyBy(first.teller("first"), second.teller("second"))
	id := e.login()
	e.provider.SetStatus("sub-alice", "revoked")
	e.refused(id, vault.ClassFinal, "revoked")
	e.restart() // before anybody was told
	e.vault.NotifyBy(first.teller("first"), second.teller("second"))
	e.vault.Attend(context.Background())
	e.pass(time.Hour, time.Minute)
	told(t, first, "grant_revoked revoked")
	e.restart() // between two tries of the second
	e.vault.NotifyBy(first.teller("first"), second.teller("second"))
	second.fail(nil)
	e.pass(2*time.Hour, time.Minute)
	told(t, second, "grant_revoked revoked")
	told(t, first) // not twice
}

func TestNewsIsGivenUpInTheEnd(t *testing.T) {
	e := newEnv(t)
	c := &crier{}
	tries := 0
	e.vault.NotifyBy(vault.Teller{Name: "c", Tell: func(context.Context, vault.News) error { tries++; return errors.New("no") }})
	id := e.login()
	e.provider.SetStatus("sub-alice", "revoked")
	e.refused(id, vault.ClassFinal, "revoked")
	e.pass(5*day, time.Minute*10)
	if tries < 10 || tries > 30 {
		t.Errorf("%d tries in 3 days", tries)
	}
	e.vault.NotifyBy(c.teller("c"))
	e.pass(day, time.Hour)
	told(t, c)
}

func TestWithoutTellersNothingWaits(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.provider.SetStatus("sub-alice", "revoked")
	e.refused(id, vault.ClassFinal, "revoked")
	c := &crier{}
	e.vault.NotifyBy(c.teller("c"))
	e.vault.Attend(context.Background())
	told(t, c)
}

func TestCount(t *testing.T) {
	e := newEnv(t)
	ids := e.people(5)
	e.provider.SetStatus("sub-1", "user_disabled")
	e.refused(ids[1], vault.ClassSuspended, "user_disabled")
	if err := e.vault.Revoke(context.Background(), ids[2]); err != nil {
		t.Fatal(err)
	}
	for state, want := range map[vault.State]int{vault.Active: 3, vault.Suspended: 1, vault.Ended: 1} {
		if n, err := e.vault.Count(context.Background(), "demo", "portal", state); err != nil || n != want {
			t.Errorf("%s: %d, %v; want %d", state, n, err, want)
		}
	}
}
