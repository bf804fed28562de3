package vault_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
)

var alice = vault.Query{Provider: "demo", Client: vaulttest.ClientID, User: "alice"}

// transactions counts the transactions of fn.
func (e *env) transactions(fn func()) int64 {
	stats := e.store.Stats()
	before := stats.Views.Load() + stats.Updates.Load()
	fn()
	return stats.Views.Load() + stats.Updates.Load() - before
}

// find is what jobs do first.
func (e *env) find(q vault.Query) []vault.Grant {
	e.t.Helper()
	gs, err := e.vault.Find(context.Background(), q)
	if err != nil {
		e.t.Fatal(err)
	}
	return gs
}

func TestAHandOutOfAFreshTokenTouchesNoStore(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	first := e.token(id)
	e.token(id)
	for _, q := range []vault.Query{alice, {Provider: "demo", User: "ALICE"}, {Provider: "demo", Sub: "sub-alice"}, {Provider: "demo", GrantID: id}} {
		e.find(q)
		if n := e.transactions(func() {
			for range 100 {
				if gs := e.find(q); len(gs) != 1 || gs[0].ID != id || e.token(id) != first {
					t.Fatalf("%+v: found %v", q, gs)
				}
			}
		}); n != 0 {
			t.Errorf("%+v: %d transactions", q, n)
		}
	}
	// It is still the clock that decides.
	e.advance(4*time.Minute + time.Second)
	if again := e.token(id); again == first {
		t.Error("a token that is not fresh any more was handed out")
	}
	e.advance(time.Hour)
	e.provider.SetStatus("sub-alice", "revoked")
	e.refused(id, vault.ClassFinal, "revoked")
}

func TestNobodyIsHandedWhatWasDropped(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	ctx := context.Background()
	var newest, floor atomic.Int64 // numbers of tokens: handed out, dropped
	var revoked atomic.Bool
	stop := make(chan struct{})
	var askers sync.WaitGroup
	for range 64 {
		askers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				dropped, over := floor.Load(), revoked.Load()
				found, err := e.vault.Find(ctx, alice)
				if err != nil || len(found) != 1 || over && found[0].State != vault.Ended {
					t.Errorf("found %v, %v; revoked %v", found, err, over)
					return
				}
				got, err := e.vault.Token(ctx, found[0].ID, ask)
				var failed *vault.Error
				switch {
				case errors.As(err, &failed) && (failed.Class == vault.ClassTransient || failed.Status == "revoked"):
					continue // dropped too often while it asked, or revoked while or before it did
				case err != nil:
					t.Errorf("asking: %v", err)
					return
				case over:
					t.Error("a token was handed out after Revoke had returned")
					return
				}
				n := number(got.AccessToken)
				if n <= dropped {
					t.Errorf("token %d was handed out after token %d had been dropped", n, dropped)
					return
				}
				for old := newest.Load(); n > old && !newest.CompareAndSwap(old, n); old = newest.Load() {
				}
			}
		})
	}
	for i := range 16 {
		for newest.Load() <= floor.Load() && !t.Failed() {
			time.Sleep(time.Millisecond) // until askers have something to lose
		}
		was := newest.Load()
		var err error
		switch i % 4 {
		case 0:
			err = e.vault.DropCached(ctx, "demo", "sub-alice", "", "")
		case 1:
			err = e.vault.DropCached(ctx, "demo", "sub-alice", "", "user_disabled")
		case 2:
			e.login()
		case 3:
			e.advance(time.Minute)
			token := e.token(id)
			was = number(token.AccessToken)
			err = e.vault.Reject(ctx, id, token.AccessToken)
		}
		if err != nil {
			t.Fatal(err)
		}
		floor.Store(was)
	}
	if err := e.vault.Revoke(ctx, id); err != nil {
		t.Fatal(err)
	}
	revoked.Store(true)
	time.Sleep(50 * time.Millisecond) // of asks that come too late
	close(stop)
	askers.Wait()
}

// number of an access token of the provider, in the order of issue.
func number(token string) (n int64) {
	_, _ = fmt.Sscan(token[strings.LastIndex(token, "-")+1:], &n)
	return n
}

func TestNobodyJoinsAFlightWhoseTokenWasDropped(t *testing.T) {
	e := newEnv(t)
	landing, land := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e.config.Hooks.At = func(step string) error {
		if step == vault.StepCommitted {
			once.Do(func() { close(landing); <-land })
		}
		return nil
	}
	e.restart()
	id := e.login()
	tokens := make(chan string, 1)
	go func() {
		token, _ := e.vault.Token(context.Background(), id, ask)
		tokens <- token.AccessToken
	}()
	<-landing
	if err := e.vault.DropCached(context.Background(), "demo", "sub-alice", "", ""); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(land) }) // when the ask below waits
	late := e.token(id)
	if early := <-tokens; late.AccessToken == early {
		t.Error("an ask was given a token that had been dropped before it began")
	}
}

func TestATokenDroppedDuringAnOutageServesNobody(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.token(id)
	<-e.provider.Arrived()
	e.advance(4*time.Minute + 30*time.Second) // alive, not fresh
	release := e.provider.Hold()
	e.provider.Fail(vaulttest.Fault{Status: 503})
	failed := make(chan error, 1)
	go func() {
		_, err := e.vault.Token(context.Background(), id, ask)
		failed <- err
	}()
	<-e.provider.Arrived()
	if err := e.vault.DropCached(context.Background(), "demo", "sub-alice", "", ""); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-failed; err == nil {
		t.Error("a token that had been dropped served on")
	}
}

func TestFindFollowsNames(t *testing.T) {
	e := newEnv(t)
	save := func(sub, name, address string) {
		t.Helper()
		_, err := e.vault.Save(context.Background(), vault.Login{
			Provider: "demo", Client: vaulttest.ClientID, Sub: sub, Username: name, Email: address, EmailVerified: true, RefreshToken: "t",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	byAddress := func(address string) vault.Query { return vault.Query{Provider: "demo", Email: address} }
	want := func(q vault.Query, n int) {
		t.Helper()
		for range 2 { // from the store, then from memory
			if gs := e.find(q); len(gs) != n {
				t.Errorf("%+v: %d grants; want %d", q, len(gs), n)
			}
		}
	}
	want(alice, 0)
	save("1", "Alice", "a@example.com")
	want(alice, 1)
	want(byAddress("A@example.com"), 1)
	save("2", "alice", "b@example.com") // another account of that name
	want(alice, 2)
	save("1", "carol", "c@example.com") // the first is renamed
	want(alice, 1)
	want(byAddress("a@example.com"), 0)
	want(byAddress("c@example.com"), 1)
}

func TestUsesAreWrittenOnceBehindTheAnswers(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	first := e.token(id)
	e.advance(time.Minute)
	stats := e.store.Stats()
	before := stats.Updates.Load()
	release := e.backend.slow()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() { e.token(id) })
	}
	wg.Wait() // nobody waits for the disk
	release()
	if err := e.vault.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := stats.Updates.Load() - before; n != 1 {
		t.Errorf("%d writes for 64 uses", n)
	}
	if g := e.grant(); !g.Uses[ask.Job].Equal(e.clock()) || !g.LastUsedAt.Equal(e.clock()) {
		t.Errorf("uses %v, last %v", g.Uses, g.LastUsedAt)
	}
	if e.token(id) != first {
		t.Error("a use that was noted cost the token")
	}
}

func TestAUseThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	first := e.token(id)
	e.advance(time.Minute)
	mend := e.backend.broken(errors.New("no space left on device"))
	stats := e.store.Stats()
	before := stats.Updates.Load()
	for range 20 {
		if e.token(id) != first {
			t.Fatal("another token")
		}
		time.Sleep(time.Millisecond)
	}
	if n := stats.Updates.Load() - before; n > 2 {
		t.Errorf("%d attempts to write one use in a moment", n)
	}
	mend()
	for e.grant().LastUsedAt.Before(e.clock()) {
		e.token(id)
		time.Sleep(10 * time.Millisecond)
	}
}

// nodes are two vaults of different processes on one store.
func nodes(t *testing.T) (e *env, other *vault.Vault) {
	e = newEnv(t)
	e.config.Node = "b"
	other, err := vault.New(e.config)
	if err != nil {
		t.Fatal(err)
	}
	e.config.Node = "a"
	e.restart()
	return e, other
}

func TestANodeThatHearsNothingRemembersNothing(t *testing.T) {
	e, other := nodes(t)
	id := e.login()
	e.token(id)
	e.find(alice)
	if err := other.DropCached(context.Background(), "demo", "sub-alice", "", "revoked"); err != nil {
		t.Fatal(err)
	}
	if gs := e.find(alice); gs[0].State != vault.Suspended {
		t.Errorf("state %s", gs[0].State)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { e.vault.Follow(ctx); close(over) }()
	for e.transactions(func() { e.find(alice) }) != 0 {
		time.Sleep(time.Millisecond)
	}
	stop()
	<-over
	if e.transactions(func() { e.find(alice) }) == 0 {
		t.Error("served from memory although nobody hears the other nodes")
	}
}

func TestOtherNodesAreHeard(t *testing.T) {
	e, other := nodes(t)
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { e.vault.Follow(ctx); close(over) }()
	defer func() { stop(); <-over }()
	id := e.login()
	within := func(what string, done func() bool) {
		t.Helper()
		for start := time.Now(); !done(); time.Sleep(time.Millisecond) {
			if time.Since(start) > 2*time.Second {
				t.Fatalf("not heard of after 2 s: %s", what)
			}
		}
	}
	kept := func() bool { return e.transactions(func() { e.find(alice); e.token(id) }) == 0 }
	within("the watch has begun", kept)
	first := e.token(id)

	if err := other.DropCached(ctx, "demo", "sub-alice", "", ""); err != nil {
		t.Fatal(err)
	}
	within("tokens were dropped", func() bool { return e.token(id) != first })

	within("kept again", kept)
	first = e.token(id)
	if err := other.DropClient(ctx, "demo", "", ""); err != nil {
		t.Fatal(err)
	}
	within("all tokens were dropped", func() bool { return e.token(id) != first })

	within("kept again", kept)
	_, err := other.Save(ctx, vault.Login{
		Provider: "demo", Client: vaulttest.ClientID, Sub: "another", Username: "alice", RefreshToken: e.provider.Login("another", "alice", granted),
	})
	if err != nil {
		t.Fatal(err)
	}
	within("another grant has the name", func() bool { return len(e.find(alice)) == 2 })

	if err := other.Revoke(ctx, id); err != nil {
		t.Fatal(err)
	}
	within("the grant was revoked", func() bool {
		_, err := e.vault.Token(ctx, id, ask)
		var failed *vault.Error
		return errors.As(err, &failed) && failed.Class == vault.ClassFinal
	})
}

// TestUses: the realm asks by its offline session which jobs used the grant.
func TestUses(t *testing.T) {
	e := newEnv(t)
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"offline_session":"os-1"}`)) + ".x"
	_, err := e.vault.Save(t.Context(), vault.Login{
		Provider: "demo", Client: vaulttest.ClientID, Sub: "sub-alice", Scopes: []string{"openid"},
		RefreshToken: token, AccessToken: "first", AccessExpires: e.clock().Add(5 * time.Minute), IdleExpiresIn: 30 * 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	uses := func(session string) map[string]time.Time {
		t.Helper()
		got, err := e.vault.Uses(t.Context(), "demo", session)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := uses("os-1"); len(got) != 0 {
		t.Errorf("before any: %v", got)
	}
	e.token(e.grant().ID)
	if err := e.vault.Close(t.Context()); err != nil { // what is written behind the answer
		t.Fatal(err)
	}
	if got := uses("os-1"); len(got) != 1 || !got[ask.Job].Equal(e.clock()) {
		t.Errorf("after one: %v", got)
	}
	if got := uses("os-2"); len(got) != 0 {
		t.Errorf("of another: %v", got)
	}
}
