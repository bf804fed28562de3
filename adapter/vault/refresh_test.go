package vault_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
	"github.com/nightlatch/nightlatch/storage"
)

func TestA07_ParallelAsksMakeOneRefresh(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	var wg sync.WaitGroup
	tokens := make([]string, 50)
	for i := range tokens {
		wg.Go(func() { tokens[i] = e.token(id).AccessToken })
	}
	wg.Wait()
	for _, token := range tokens {
		if token != tokens[0] {
			t.Errorf("two tokens: %s, %s", token, tokens[0])
		}
	}
	e.counts(1, 1, 0)
}

func TestA07_DifferentAsksDoNotRace(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			a := vault.Ask{Scopes: [][]string{{"openid"}, {"profile"}, {"openid", "profile"}}[i%3], Job: "j"}
			if i%2 == 0 {
				a.Job = "k"
			}
			if _, err := e.vault.Token(context.Background(), id, a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	e.counts(3, 3, 0)
}

func TestA07_OnDiskBeforeHandOut(t *testing.T) {
	e := newEnv(t)
	before := map[string]time.Time{}
	e.config.Hooks.At = func(step string) error {
		before[step] = e.grant().RefreshedAt
		return nil
	}
	e.restart()
	id := e.login()
	start := e.clock()
	e.advance(time.Hour)
	e.token(id)
	if !before[vault.StepAnswered].Equal(start) {
		t.Error("something was written before the answer was judged")
	}
	if !before[vault.StepCommitted].Equal(e.clock()) {
		t.Error("the new token is not in the store before the hand-out")
	}
}

func TestRestartAtEachStepLosesNothing(t *testing.T) {
	for _, step := range []string{vault.StepLocked, vault.StepIntent, vault.StepAnswered, vault.StepCommitted} {
		for _, knows := range []bool{true, false} {
			if step == vault.StepAnswered && !knows {
				continue // see TestStrictProviderWithoutKeys
			}
			t.Run(step, func(t *testing.T) {
				e := newEnv(t)
				e.provider.KnowsKey = knows
				id := e.login()
				for range 3 { // the same crash again and again
					e.config.Hooks.At = func(at string) error {
						if at == step {
							return errors.New("power cut")
						}
						return nil
					}
					e.restart()
					if step == vault.StepCommitted {
						e.advance(time.Hour) // the token of the round before has ended
					}
					e.refused(id, vault.ClassTransient, "")
				}
				e.config.Hooks.At = nil
				e.restart()
				e.token(id)
				e.advance(time.Hour)
				e.token(id)
				if _, _, replays := e.provider.Counts(); replays != 0 {
					t.Fatal("the provider saw a replay")
				}
			})
		}
	}
}

func TestIntentIsTakenOverWithItsKey(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.config.Hooks.At = func(at string) error {
		if at == vault.StepAnswered {
			return errors.New("power cut")
		}
		return nil
	}
	e.restart()
	e.refused(id, vault.ClassTransient, "")
	e.config.Hooks.At = nil
	e.restart()
	e.advance(60 * 24 * time.Hour) // as late as needed
	e.token(id)
	e.counts(2, 1, 0)
	e.advance(time.Hour)
	e.token(id)
	keys := e.provider.Keys()
	if keys[0] == "" || keys[0] != keys[1] || keys[1] == keys[2] {
		t.Errorf("keys %q; want the first twice, then another", keys)
	}
}

func TestLostAnswers(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.provider.Fail(vaulttest.Fault{Lose: true}, vaulttest.Fault{Lose: true})
	e.token(id)
	e.counts(3, 1, 0)

	e.advance(time.Hour)
	e.provider.Fail(vaulttest.Fault{Lose: true}, vaulttest.Fault{Lose: true}, vaulttest.Fault{Lose: true})
	e.refused(id, vault.ClassTransient, "")
	e.restart()
	e.token(id)
	e.counts(7, 2, 0)
}

func TestStrictProviderWithoutKeys(t *testing.T) {
	e := newEnv(t)
	e.foreign()
	e.provider.KnowsKey = false
	id := e.login()
	for range 5 {
		e.token(id)
		e.advance(time.Hour)
	}
	// A lost answer cannot be mended there; the grant is kept, a login mends it.
	e.provider.Fail(vaulttest.Fault{Lose: true})
	e.refused(id, vault.ClassSuspended, "suspended")
	e.login()
	e.token(id)
}

func TestProviderThatDoesNotRotate(t *testing.T) {
	e := newEnv(t)
	e.foreign()
	e.provider.Rotates, e.provider.KnowsKey = false, false
	id := e.login()
	e.provider.Fail(vaulttest.Fault{Lose: true})
	for range 3 { // an answer without refresh_token keeps the old one
		e.token(id)
		e.advance(time.Hour)
	}
	keys := e.provider.Keys()
	if keys[0] != keys[1] || keys[1] == keys[2] || keys[2] == keys[3] {
		t.Errorf("keys %q; want a new one for each refresh but not for its repetition", keys)
	}
}

func TestNoWriteNoRefresh(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	mend := e.backend.broken(errors.New("no space left on device"))
	if _, err := e.vault.Token(context.Background(), id, ask); err == nil {
		t.Fatal("a token although nothing can be written")
	}
	e.counts(0, 0, 0)
	mend()
	e.token(id)
}

func TestAnswerThatCannotBeWrittenIsNotHandedOut(t *testing.T) {
	for _, cause := range []error{errors.New("no space left on device"), storage.ErrUnknown} {
		e := newEnv(t)
		id := e.login()
		var mend func()
		e.config.Hooks.At = func(step string) error {
			if step == vault.StepAnswered && mend == nil {
				mend = e.backend.broken(cause)
			}
			return nil
		}
		e.restart()
		e.refused(id, vault.ClassTransient, "")
		mend()
		e.restart()
		e.token(id)
		e.counts(2, 1, 0)
	}
}

func TestFlightOutlivesItsAsker(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	release := e.provider.Hold()
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error)
	go func() {
		_, err := e.vault.Token(ctx, id, ask)
		left <- err
	}()
	<-e.provider.Arrived()
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("asker who left got %v", err)
	}
	release()
	if err := e.vault.Close(context.Background()); err != nil { // waits for the flight
		t.Fatal(err)
	}
	e.token(id) // cached: a closed vault refreshes no more
	e.counts(1, 1, 0)
	e.advance(time.Hour)
	e.refused(id, vault.ClassTransient, "")
}

func TestTwoNodesRefreshOnce(t *testing.T) {
	e := newEnv(t)
	e.provider.KnowsKey = false // the lease alone must do
	id := e.login()
	var nodes []*vault.Vault
	for _, name := range []string{"one", "two", "three"} {
		e.config.Node = name
		e.restart()
		nodes = append(nodes, e.vault)
	}
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			if _, err := nodes[i%3].Token(context.Background(), id, ask); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	e.counts(1, 1, 0)
}

func TestLeaseOfADeadNodeEnds(t *testing.T) {
	e := newEnv(t)
	e.config.Node = "dead"
	e.config.Hooks.At = func(step string) error {
		if step == vault.StepAnswered {
			return errors.New("power cut")
		}
		return nil
	}
	e.restart()
	id := e.login()
	e.refused(id, vault.ClassTransient, "")
	e.config.Node, e.config.Hooks.At, e.config.FlightTimeout = "alive", nil, 50*time.Millisecond
	e.restart()
	e.advance(14 * time.Second)             // an attempt may take 10 s
	e.refused(id, vault.ClassTransient, "") // the lease holds
	e.counts(1, 1, 0)
	e.advance(time.Second)
	e.config.FlightTimeout = 0
	e.restart()
	e.token(id)
	e.counts(2, 1, 0) // by the dead node's key
}

// onSending calls fn before each request, with its number.
type onSending struct {
	http.RoundTripper
	n  int
	fn func(n int)
}

func (s *onSending) RoundTrip(r *http.Request) (*http.Response, error) {
	s.n++
	s.fn(s.n)
	return s.RoundTripper.RoundTrip(r)
}

// onNodes is a node whose requests call fn first, and one that gives up early.
func (e *env) onNodes(fn func(n int)) (slow, other *vault.Vault) {
	e.config.Node, e.config.FlightTimeout = "other", 50*time.Millisecond
	e.restart()
	other = e.vault
	e.config.Node, e.config.FlightTimeout = "slow", 0
	p := e.client()
	p.HTTPClient = &http.Client{Transport: &onSending{RoundTripper: p.HTTPClient.Transport, fn: fn}}
	e.config.Providers = map[string]*vault.Provider{"demo": p}
	e.restart()
	return e.vault, other
}

// No request is out without a lease: it is renewed before each attempt.
func TestLeaseIsRenewedBeforeEachAttempt(t *testing.T) {
	e := newEnv(t)
	e.provider.KnowsKey = false // a second one at the same time would end the session
	id := e.login()
	var slow, other *vault.Vault
	slow, other = e.onNodes(func(n int) {
		e.advance(10 * time.Second) // that is how long the attempt takes
		_, err := other.Token(context.Background(), id, ask)
		var failed *vault.Error
		if !errors.As(err, &failed) || failed.Class != vault.ClassTransient {
			t.Errorf("attempt %d: another node got %v", n, err)
		}
	})
	e.provider.Fail(vaulttest.Fault{Status: 503}, vaulttest.Fault{Status: 503})
	if _, err := slow.Token(context.Background(), id, ask); err != nil {
		t.Fatal(err)
	}
	e.counts(3, 1, 0)
}

// A node that slept through its lease sends nothing more.
func TestLeaseThatWasLost(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	var slow, other *vault.Vault
	slow, other = e.onNodes(func(int) {
		e.advance(15 * time.Second)
		if _, err := other.Token(context.Background(), id, ask); err != nil {
			t.Errorf("the node that took over: %v", err)
		}
		e.provider.Fail(vaulttest.Fault{Status: 503})
	})
	// It answers with what the other one fetched.
	if _, err := slow.Token(context.Background(), id, ask); err != nil {
		t.Fatal(err)
	}
	e.counts(2, 1, 0)
}

func TestLoginDuringARefreshWins(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	release := e.provider.Hold()
	asked := make(chan error)
	go func() {
		_, err := e.vault.Token(context.Background(), id, ask)
		asked <- err
	}()
	<-e.provider.Arrived()
	saved := make(chan struct{})
	go func() { defer close(saved); e.login() }()
	select {
	case <-saved:
		t.Error("a login did not wait for the refresh under way")
	case <-time.After(20 * time.Millisecond):
	}
	release()
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	<-saved
	if got := e.token(id).AccessToken; !strings.HasPrefix(got, "at-session-2-") {
		t.Errorf("token %s is not of the new login", got)
	}
	if got := e.provider.Revoked(); len(got) != 1 || got[0] != "session-1" {
		t.Errorf("revoked %q; want the replaced session", got)
	}
}

func TestMinTTLIsCappedAtHalfOfTheLifetime(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	greedy := vault.Ask{Scopes: []string{"openid"}, MinTTL: time.Hour}
	for range 3 {
		if _, err := e.vault.Token(context.Background(), id, greedy); err != nil {
			t.Fatal(err)
		}
	}
	e.counts(1, 1, 0)
	e.advance(2*time.Minute + 31*time.Second) // less than half of 5 min is left
	e.token(id)                               // 60 s are enough for this one
	e.counts(1, 1, 0)
	if _, err := e.vault.Token(context.Background(), id, greedy); err != nil {
		t.Fatal(err)
	}
	e.counts(2, 2, 0)
}

func TestRequestSendsScopesOnlyWhereTheyNarrow(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.token(id)
	if got := e.provider.LastForm()["scope"]; got != "openid" {
		t.Errorf("scope %q", got)
	}
	if _, err := e.vault.Token(context.Background(), id, vault.Ask{Resource: "https://files.example"}); err != nil {
		t.Fatal(err)
	}
	form := e.provider.LastForm()
	if _, ok := form["scope"]; ok || form["resource"] != "https://files.example" {
		t.Errorf("form %v", form)
	}
	_, err := e.vault.Token(context.Background(), id, vault.Ask{Scopes: []string{"mail"}})
	var failed *vault.Error
	if !errors.As(err, &failed) || failed.Class != vault.ClassRequest || failed.Code != "invalid_scope" {
		t.Errorf("a scope that was not granted: %v", err)
	}
	e.counts(2, 2, 0)
}

// Another process over the same store that does not respect the lock is what
// the comparisons in the last transaction are for.
func TestNewerTokenInTheRecordIsLeftAlone(t *testing.T) {
	for name, fault := range map[string][]vaulttest.Fault{
		"after a success": nil,
		"after a refusal": {{Status: 400, Body: `{"error":"invalid_grant","grant_status":"revoked"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			other := e.vault
			id := e.login()
			replaced := false
			e.config.Hooks.At = func(step string) error {
				if step != vault.StepAnswered || replaced {
					return nil
				}
				replaced = true
				_, err := other.Save(context.Background(), vault.Login{
					Provider: "demo", Client: vaulttest.ClientID, Sub: "sub-alice", Username: "alice",
					Scopes: strings.Fields(granted), RefreshToken: e.provider.Login("sub-alice", "alice", granted),
				})
				return err
			}
			e.restart()
			e.provider.Fail(fault...)
			if got := e.token(id).AccessToken; !strings.HasPrefix(got, "at-session-2-") {
				t.Errorf("token %s; want one of the newer login", got)
			}
			if g := e.grant(); g.State != vault.Active {
				t.Errorf("the newer grant is %s (%s)", g.State, g.Reason)
			}
		})
	}
}

func TestOtherGrantsDoNotWaitForAHungOne(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	_, err := e.vault.Save(context.Background(), vault.Login{
		Provider: "demo", Client: vaulttest.ClientID, Sub: "sub-bob", Scopes: strings.Fields(granted),
		RefreshToken: e.provider.Login("sub-bob", "bob", granted),
	})
	if err != nil {
		t.Fatal(err)
	}
	release := e.provider.Hold()
	held := make(chan struct{})
	go func() { defer close(held); e.token(id) }()
	<-e.provider.Arrived()
	bob, err := e.vault.Find(context.Background(), vault.Query{Provider: "demo", Sub: "sub-bob"})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan error)
	go func() {
		_, err := e.vault.Token(context.Background(), bob[0].ID, ask)
		asked <- err
	}()
	<-e.provider.Arrived() // bob's request was sent while alice's hangs
	release()
	<-held
	if err := <-asked; err != nil {
		t.Error(err)
	}
}
