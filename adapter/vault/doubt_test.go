package vault_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
)

// runs lets the background work until the test ends.
func (e *env) runs() {
	ctx, stop := context.WithCancel(context.Background())
	var over sync.WaitGroup
	over.Go(func() { e.vault.Run(ctx) })
	e.t.Cleanup(func() { stop(); over.Wait() })
}

// becomes waits until a grant is in a state, without any ask.
func (e *env) becomes(state vault.State, reason string) {
	e.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		g := e.grant()
		if g.State == state && g.Reason == reason {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("the grant is %s (%s), want %s (%s)", g.State, g.Reason, state, reason)
		}
	}
}

func (e *env) changed() {
	e.t.Helper()
	if err := e.vault.DropCached(context.Background(), "demo", "sub-alice", "", ""); err != nil {
		e.t.Fatal(err)
	}
}

// TestPersonChanged: what a change of a person means for a grant is seen at once,
// though no job asks: a role that is taken, and given back within the same minute.
func TestPersonChanged(t *testing.T) {
	t.Run("while it runs", func(t *testing.T) {
		e := newEnv(t)
		id := e.login()
		e.runs()
		for range 2 {
			e.provider.SetStatus("sub-alice", "role_missing")
			e.changed()
			e.becomes(vault.Suspended, "role_missing")
			e.provider.SetStatus("sub-alice", "")
			e.changed()
			e.becomes(vault.Active, "")
		}
		e.token(id)
		e.provider.SetStatus("sub-alice", "user_deleted")
		e.changed()
		e.becomes(vault.Ended, "user_deleted")
		e.changed() // of a grant that has ended nothing is asked
		if _, refreshes, _ := e.provider.Counts(); refreshes != 3 {
			t.Errorf("%d refreshes", refreshes)
		}
	})
	t.Run("a process that died before it asked", func(t *testing.T) {
		e := newEnv(t)
		e.login()
		e.provider.SetStatus("sub-alice", "role_missing")
		e.changed()
		e.restart()
		e.vault.Attend(context.Background())
		e.becomes(vault.Suspended, "role_missing")
		e.vault.Attend(context.Background())
		e.counts(1, 0, 0) // once: then it waits as after any refusal
	})
	t.Run("a provider that is away", func(t *testing.T) {
		e := newEnv(t)
		e.login()
		e.provider.SetStatus("sub-alice", "role_missing")
		e.provider.Down(true)
		e.changed()
		e.vault.Attend(context.Background())
		e.becomes(vault.Active, "")
		e.provider.Down(false)
		e.advance(time.Hour)
		e.vault.Attend(context.Background())
		e.becomes(vault.Suspended, "role_missing")
	})
	t.Run("a change while the answer is on its way", func(t *testing.T) {
		e := newEnv(t)
		e.login()
		e.provider.SetStatus("sub-alice", "role_missing")
		release := e.provider.Hold()
		e.changed()
		var walk sync.WaitGroup
		walk.Go(func() { e.vault.Attend(context.Background()) })
		<-e.provider.Arrived()
		e.provider.SetStatus("sub-alice", "")
		e.changed()
		release()
		walk.Wait()
		e.vault.Attend(context.Background())
		e.becomes(vault.Active, "")
	})
	t.Run("a suspension that nobody's change can lift", func(t *testing.T) {
		e := newEnv(t)
		e.login()
		e.provider.SetStatus("sub-alice", "not_before")
		e.changed()
		e.vault.Attend(context.Background())
		e.becomes(vault.Suspended, "not_before")
		e.changed()
		e.vault.Attend(context.Background())
		e.becomes(vault.Suspended, "not_before")
		e.counts(2, 0, 0)
	})
}

// TestCountAfterADrop: what is said of all grants of a client is counted soon,
// though nobody touches one of them.
func TestCountAfterADrop(t *testing.T) {
	e := newEnv(t)
	const many = 150 // more than two pages
	e.people(many)
	counts := func(active, suspended int) (ok bool) {
		t.Helper()
		ok = true
		for state, want := range map[vault.State]int{vault.Active: active, vault.Suspended: suspended} {
			n, err := e.vault.Count(context.Background(), "demo", vaulttest.ClientID, state)
			if err != nil {
				t.Fatal(err)
			}
			ok = ok && n == want
		}
		return ok
	}
	for _, d := range []struct{ client, reason string }{{"", ""}, {"another", "revoked"}} {
		if err := e.vault.DropClient(context.Background(), "demo", d.client, d.reason); err != nil {
			t.Fatal(err)
		}
		before := e.store.Stats().Updates.Load()
		e.vault.Attend(context.Background())
		if n := e.store.Stats().Updates.Load() - before; n > 5 || !counts(many, 0) {
			t.Errorf("%v: a drop that suspends none of them: %d writes", d, n)
		}
	}
	e.provider.Down(true) // they are counted before they are asked for
	e.runs()
	if err := e.vault.DropClient(context.Background(), "demo", vaulttest.ClientID, "not_before"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !counts(0, many); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the count is that of before")
		}
	}
}
