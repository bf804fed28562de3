package vault_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
)

const day = 24 * time.Hour

// pass lets time pass in steps, and the background work at each.
func (e *env) pass(whole, step time.Duration) {
	for ; whole > 0; whole -= step {
		e.advance(min(step, whole))
		e.vault.Attend(context.Background())
	}
}

// people saves grants of that many people.
func (e *env) people(n int) (ids []string) {
	e.t.Helper()
	for i := range n {
		sub := fmt.Sprintf("sub-%d", i)
		_, err := e.vault.Save(context.Background(), vault.Login{
			Provider: "demo", Client: vaulttest.ClientID, Site: "http://localhost:8081", Sub: sub, Username: sub,
			Scopes: strings.Fields(granted), RefreshToken: e.provider.Login(sub, sub, granted), IdleExpiresIn: 30 * day,
		})
		if err != nil {
			e.t.Fatal(err)
		}
		gs, err := e.vault.Find(context.Background(), vault.Query{Provider: "demo", Sub: sub})
		if err != nil || len(gs) != 1 {
			e.t.Fatal(gs, err)
		}
		ids = append(ids, gs[0].ID)
	}
	return ids
}

// TestA09_KeptAlive: a grant that no job uses is refreshed at about 40 % of the
// idle limit, again and again, and works after a year.
func TestA09_KeptAlive(t *testing.T) {
	e := newEnv(t)
	e.with(func(p *vault.Provider) { p.StopAfterUnused = -1 })
	id := e.login()
	e.pass(9*day-3*time.Hour, 6*time.Hour) // 30 % of 30 days, less a grain
	e.counts(0, 0, 0)
	e.pass(6*day+4*time.Hour, 6*time.Hour)
	e.counts(1, 1, 0)
	e.pass(350*day, 6*time.Hour)
	requests, refreshes, replays := e.provider.Counts()
	if refreshes < 365/15 || refreshes > 365/9+1 || requests != refreshes || replays != 0 {
		t.Errorf("%d requests, %d refreshes, %d replays in a year", requests, refreshes, replays)
	}
	if g := e.grant(); g.State != vault.Active || !g.LastUsedAt.IsZero() {
		t.Errorf("grant %+v", g)
	}
	e.token(id)
	// What the background fetched was kept for nobody.
	if n, _, _ := e.provider.Counts(); n != requests+1 {
		t.Errorf("the job's token made %d requests", n-requests)
	}
}

// TestA09_StopsAfterUnused: what nobody uses is kept for stop_after_unused, with a
// warning before, then lapses. It is not deleted: a job's ask tries it.
func TestA09_StopsAfterUnused(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.pass(75*day, 6*time.Hour)
	if e.saw(vault.EventLapsing) != 0 {
		t.Fatal("warned too early")
	}
	e.pass(2*day, 6*time.Hour)
	if e.saw(vault.EventLapsing) != 1 {
		t.Fatal("not warned")
	}
	e.pass(14*day, 6*time.Hour)
	_, kept, _ := e.provider.Counts()
	e.pass(40*day, 6*time.Hour)
	if _, n, _ := e.provider.Counts(); n != kept {
		t.Errorf("refreshed %d times after the end", n-kept)
	}
	if g := e.grant(); g.State != vault.Suspended || g.Status() != "idle_expired" || e.saw(vault.EventLapsed) != 1 {
		t.Errorf("grant is %s (%s), told %d times", g.State, g.Reason, e.saw(vault.EventLapsed))
	}
	if e.has() {
		t.Error("an offline path would not ask for consent again")
	}
	e.token(id) // this provider is more patient than it said
	if g := e.grant(); g.State != vault.Active || e.saw(vault.EventRestored) != 1 {
		t.Errorf("grant is %s", g.State)
	}
	_, kept, _ = e.provider.Counts()
	e.pass(20*day, 6*time.Hour)
	if _, n, _ := e.provider.Counts(); n == kept {
		t.Error("not kept alive after it was used again")
	}
}

func TestA09_UseGoesOn(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	for range 6 {
		e.pass(60*day, 12*time.Hour)
		e.token(id)
	}
	if n := e.saw(vault.EventLapsing); n != 0 {
		t.Errorf("%d warnings about a grant that is used every two months", n)
	}
}

func TestA09_SuspendedGrantIsProbed(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.provider.SetStatus("sub-alice", "user_disabled")
	e.refused(id, vault.ClassSuspended, "user_disabled")
	e.pass(day, 10*time.Minute)
	requests, _, _ := e.provider.Counts()
	if requests < 4 || requests > 7 { // after 1, 3, 7, 15 hours
		t.Errorf("%d requests in a day", requests)
	}
	e.provider.SetStatus("sub-alice", "")
	e.pass(day, 10*time.Minute)
	if g := e.grant(); g.State != vault.Active {
		t.Errorf("grant is %s a day after the person was enabled again", g.State)
	}
	if e.saw(vault.EventSuspended) != 1 || e.saw(vault.EventRestored) != 1 {
		t.Errorf("told %v", e.events)
	}
}

func TestA09_DroppedByAnEventIsLookedAtSoon(t *testing.T) {
	e := newEnv(t)
	e.login()
	e.provider.SetStatus("sub-alice", "revoked")
	if err := e.vault.DropCached(context.Background(), "demo", "sub-alice", "", "revoked"); err != nil {
		t.Fatal(err)
	}
	e.pass(2*time.Minute, time.Minute)
	if e.saw(vault.EventRevoked) != 1 {
		t.Errorf("told %v", e.events)
	}
}

// TestA09_ProviderDownForADay: nothing is lost, little is sent while it is down,
// and everybody is kept alive after it is back.
func TestA09_ProviderDownForADay(t *testing.T) {
	e := newEnv(t)
	e.with(func(p *vault.Provider) { p.RefreshRate = 1e6 })
	ids := e.people(50)
	e.advance(16 * day) // the gateway slept: all are due
	e.provider.Down(true)
	e.pass(day, 5*time.Minute)
	requests, _, _ := e.provider.Counts()
	if requests > 500 {
		t.Errorf("%d requests to a provider that is down", requests)
	}
	if e.saw("provider_failing") != 1 {
		t.Errorf("the breaker opened %d times", e.saw("provider_failing"))
	}
	e.provider.Down(false)
	e.pass(8*time.Hour, 5*time.Minute)
	if _, refreshes, replays := e.provider.Counts(); refreshes != len(ids) || replays != 0 {
		t.Errorf("%d of %d refreshed, %d replays", refreshes, len(ids), replays)
	}
	for _, id := range ids {
		e.token(id)
	}
}

// TestA09_PeopleAreToldInTime: a provider that does not take our client for weeks
// ends grants. Nothing can be done about it but to tell in time.
func TestA09_OperatorIsToldInTime(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	wrong := e.client()
	wrong.ClientSecret = "wrong"
	e.vault.Use(map[string]*vault.Provider{"demo": wrong})
	e.pass(15*day, time.Hour)
	if e.saw(vault.EventLapsing) != 0 || e.saw("provider_failing") != 1 {
		t.Errorf("told %v", e.events)
	}
	e.pass(3*day, time.Hour)
	if e.saw(vault.EventLapsing) != 1 {
		t.Errorf("told %v", e.events)
	}
	requests, refreshes, _ := e.provider.Counts()
	if refreshes != 0 || requests > 100 {
		t.Errorf("%d requests with the wrong secret", requests)
	}
	e.vault.Use(map[string]*vault.Provider{"demo": e.client()})
	e.pass(7*time.Hour, time.Hour)
	if _, refreshes, _ := e.provider.Counts(); refreshes != 1 || e.grant().State != vault.Active {
		t.Errorf("%d refreshes after the secret was mended", refreshes)
	}
	e.token(id)
}

func TestA09_OneNodeDoesIt(t *testing.T) {
	e := newEnv(t)
	e.with(func(p *vault.Provider) { p.RefreshRate = 1e6 })
	e.provider.KnowsKey = false
	e.people(20)
	e.advance(16 * day)
	var nodes []*vault.Vault
	for _, name := range []string{"one", "two", "three"} {
		e.config.Node = name
		e.restart()
		nodes = append(nodes, e.vault)
	}
	var wg sync.WaitGroup
	for _, v := range nodes {
		for range 3 {
			wg.Go(func() { v.Attend(context.Background()) })
		}
	}
	wg.Wait()
	e.counts(20, 20, 0)
	// The one that did it is gone; another goes on, and then the others leave the
	// work to it.
	e.advance(16 * day)
	nodes[0].Attend(context.Background())
	e.counts(40, 40, 0)
	for _, v := range nodes[1:] {
		before := e.store.Stats().Views.Load()
		v.Attend(context.Background())
		if n := e.store.Stats().Views.Load() - before; n != 0 {
			t.Errorf("a node without the lease has looked %d times for what is due", n)
		}
	}
}

func TestA09_RunStopsWhenTold(t *testing.T) {
	e := newEnv(t)
	e.login()
	e.advance(16 * day)
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { e.vault.Run(ctx); close(over) }()
	<-e.provider.Arrived()
	stop()
	select {
	case <-over:
	case <-time.After(5 * time.Second):
		t.Fatal("it runs on")
	}
	e.counts(1, 1, 0)
	if err := e.vault.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	e.vault.Run(context.Background()) // of a closed vault returns
}

// A provider that hangs keeps the grants of another waiting no longer than its own.
func TestA09_ProvidersDoNotWaitForEachOther(t *testing.T) {
	e := newEnv(t)
	e.login()
	other := vaulttest.New(t)
	p := e.client()
	p.Name, p.Issuer = "other", other.URL
	p.TokenEndpoint = func(context.Context) (string, error) { return other.URL + "/token", nil }
	e.config.Providers["other"] = p
	e.restart()
	_, err := e.vault.Save(context.Background(), vault.Login{
		Provider: "other", Client: vaulttest.ClientID, Sub: "s", Scopes: strings.Fields(granted), RefreshToken: other.Login("s", "s", granted), IdleExpiresIn: 30 * day,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.advance(16 * day)
	release := e.provider.Hold()
	done := make(chan struct{})
	go func() { e.vault.Attend(context.Background()); close(done) }()
	<-e.provider.Arrived()
	<-other.Arrived()
	release()
	<-done
}

func TestTheCachedTokenServesWhileTheBreakerIsOpen(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	first := e.token(id)
	e.advance(4*time.Minute + 10*time.Second)
	e.provider.Down(true)
	for range 10 {
		if got := e.token(id); got != first {
			t.Fatal("another token")
		}
		e.advance(750 * time.Millisecond)
	}
	requests, _, _ := e.provider.Counts()
	if requests < 1+5 || requests > 1+8 { // those that open the breaker, and who tries once in a while
		t.Errorf("%d requests", requests-1)
	}
	e.advance(time.Minute)
	if failed := e.refused(id, vault.ClassTransient, ""); failed.RetryAfter <= 0 {
		t.Error("no retry after")
	}
	e.provider.Down(false)
	e.advance(5 * time.Minute)
	e.token(id)
}

// TestLag: nothing is late as long as somebody attends; when nobody does, the time
// since the first grant came due is.
func TestLag(t *testing.T) {
	e := newEnv(t)
	e.people(3)
	lag := func() time.Duration {
		t.Helper()
		d, err := e.vault.Lag(t.Context(), "demo", vaulttest.ClientID)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if got := lag(); got != 0 {
		t.Errorf("after a login: %v", got)
	}
	e.advance(20 * day) // 40 % of 30 days, and 15 % of jitter
	if got := lag(); got < 6*day || got > 11*day {
		t.Errorf("nobody attended for 20 days: %v", got)
	}
	if got, err := e.vault.Lag(t.Context(), "demo", "another"); got != 0 || err != nil {
		t.Errorf("of another client: %v, %v", got, err)
	}
	e.vault.Attend(t.Context())
	if got := lag(); got != 0 {
		t.Errorf("after the work was done: %v", got)
	}
}

// TestA09_AShorterLimitPlansAnew: what was planned by a longer limit would come too
// late, whether the operator's option or the realm's settings say so now. It takes
// more grants than one write plans, and the end of a process in between.
func TestA09_AShorterLimitPlansAnew(t *testing.T) {
	for name, c := range map[string]struct {
		told    time.Duration // by the provider at the login
		shorter func(p *vault.Provider)
	}{
		"offline_idle": {0, func(p *vault.Provider) { p.OfflineIdle = 2 * day }},
		"the realm's settings": {30 * day, func(p *vault.Provider) {
			p.Limits = func(context.Context) (time.Duration, time.Duration, error) { return 2 * day, 0, nil }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.with(func(p *vault.Provider) { p.OfflineIdle, p.RefreshRate = 30*day, 1e6 })
			const many = 150
			for i := range many {
				sub := fmt.Sprintf("sub-%d", i)
				_, err := e.vault.Save(t.Context(), vault.Login{
					Provider: "demo", Client: vaulttest.ClientID, Sub: sub, Scopes: strings.Fields(granted),
					RefreshToken: e.provider.Login(sub, sub, granted), IdleExpiresIn: c.told,
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			e.pass(day/2, day/4)
			e.counts(0, 0, 0)
			change := e.client()
			change.RefreshRate, change.OfflineIdle = 1e6, 30*day
			c.shorter(change)
			e.vault.Use(map[string]*vault.Provider{"demo": change})
			mend := e.backend.broken(fmt.Errorf("the disk is away"))
			e.vault.Attend(t.Context()) // it gets nowhere
			mend()
			e.restart()
			e.vault.Use(map[string]*vault.Provider{"demo": change})
			e.pass(day/2, day/8)
			if _, refreshes, _ := e.provider.Counts(); refreshes != many {
				t.Errorf("%d of %d were refreshed in time", refreshes, many)
			}
			// Once it has planned, nothing is written but what the work is.
			e.vault.Attend(t.Context())
			if n := e.transactions(func() { e.vault.Attend(t.Context()) }); n > 3 {
				t.Errorf("%d transactions with nothing to do", n)
			}
		})
	}
}
