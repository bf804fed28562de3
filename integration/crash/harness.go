package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/integration/formlogin"
)

const (
	realmName, gatewayName = "realm", "gateway"
	// targets meet a fault in a round, bystanders only what it does to them;
	// everybody is asked for by some askers at once.
	targets, bystanders, askers = 4, 2, 2
	// sacrifices are made once in so many rounds.
	sacrificeEvery = 10
	sacrificed     = 2
	// restoreEvery so many rounds an old copy of the realm's store comes back.
	restoreEvery = 15
	// strikeEvery so many rounds a process is killed at a random instant.
	strikeEvery = 4
)

// person is one user with a grant.
type person struct {
	name, sub, grant string
	lost             bool // no use to try again
}

// harness is the running test.
type harness struct {
	o              options
	began          time.Time
	random         *rand.Rand
	deck           *deck
	tally          *tally
	proxy          *proxy
	server         *http.Server
	realm, gateway *process
	job            *job
	app            string
	config         string    // of the realm
	people         []*person // the first ones are sacrificed
	n, sacrifices  int       // rounds, and of them
	told           time.Time
	once           sync.Once
}

// newHarness starts both processes and the proxy between them, and logs
// everybody in once.
func newHarness(ctx context.Context, binary, dir string, o options) (*harness, error) {
	random := rand.New(rand.NewPCG(o.seed, 0))
	h := &harness{o: o, began: time.Now(), random: random, deck: &deck{random: random}, tally: newTally()}
	var proxyAddr, realmAddr, jobsAddr string
	for _, a := range []*string{&proxyAddr, &realmAddr, &jobsAddr, &h.app} {
		var err error
		if *a, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	var names []string
	for i := range o.users + sacrificed {
		names = append(names, fmt.Sprintf("u%02d", i))
		h.people = append(h.people, &person{name: names[i]})
	}
	var err error
	if h.proxy, h.server, err = newProxy(proxyAddr, realmAddr, h.tally); err != nil {
		return nil, err
	}
	ok := false
	defer func() {
		if !ok {
			h.close()
		}
	}()
	h.config = realmConfig(proxyAddr, realmAddr, h.app, names)
	if h.realm, err = newProcess(realmName, binary, dir, realmAddr, h.config, h.tally); err != nil {
		return nil, err
	}
	if h.gateway, err = newProcess(gatewayName, binary, dir, jobsAddr, gatewayConfig(proxyAddr, h.app, jobsAddr), h.tally); err != nil {
		return nil, err
	}
	h.proxy.realm, h.proxy.gateway = h.realm, h.gateway
	h.job = newJob(jobsAddr)
	for _, p := range h.people {
		if err := h.login(ctx, p); err != nil {
			return nil, fmt.Errorf("logging %s in: %w", p.name, err)
		}
	}
	ok = true
	return h, nil
}

// close ends both processes and the proxy.
func (h *harness) close() {
	h.once.Do(func() {
		for _, p := range []*process{h.gateway, h.realm} {
			if p != nil {
				p.stop()
			}
		}
		h.server.Close()
	})
}

// login gives a person a grant. The realm's tokens live a second, so on a busy
// machine one may have ended before it is read; then it is done again.
func (h *harness) login(ctx context.Context, p *person) error {
	before, err := h.job.grants(ctx)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		_, err = formlogin.Login(ctx, "http://"+h.app+"/backup", p.name, password)
		if err == nil {
			break
		}
		if try == 10 || ctx.Err() != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	if p.sub != "" {
		return nil // the grant's id stays
	}
	after, err := h.job.grants(ctx)
	if err != nil {
		return err
	}
	for sub, id := range after {
		if before[sub] == "" {
			p.sub, p.grant = sub, id
			h.tally.mu.Lock()
			h.tally.names[sub] = p.name
			h.tally.mu.Unlock()
			return nil
		}
	}
	return errors.New("the login made no grant")
}

// loop makes rounds until enough faults were met or time is over, then looks at
// every grant once more, after both processes were killed a last time.
func (h *harness) loop(ctx context.Context) error {
	// The last tenth is met on small disks, which are really full.
	if err := h.rounds(ctx, h.o.faults*9/10, h.o.limit*9/10); err != nil {
		return err
	}
	if err := h.onSmallDisks(func() error { return h.rounds(ctx, h.o.faults, h.o.limit) }); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, p := range h.people[:sacrificed] {
		if err := h.sacrifice(ctx, p); err != nil {
			return err
		}
	}
	if err := h.restoreRealm(ctx); err != nil {
		return err
	}
	for _, p := range []*process{h.realm, h.gateway} {
		if err := <-p.kill(); err != nil {
			return err
		}
	}
	for _, p := range h.people {
		h.ask(ctx, p)
	}
	if err := h.restoreGateway(ctx); err != nil {
		return err
	}
	return h.restarts()
}

// rounds makes rounds until so many faults were met in all, or so much time is
// over since the beginning.
func (h *harness) rounds(ctx context.Context, faults int, limit time.Duration) error {
	for h.tally.injected() < faults && time.Since(h.began) < limit && ctx.Err() == nil {
		h.n++
		if err := h.round(ctx); err != nil {
			return err
		}
		if h.n%sacrificeEvery == 0 && ctx.Err() == nil {
			if err := h.sacrifice(ctx, h.people[h.random.IntN(sacrificed)]); err != nil {
				return err
			}
		}
		if h.n%restoreEvery == 0 && !h.tally.smallDisks && ctx.Err() == nil {
			if err := h.restoreRealm(ctx); err != nil {
				return err
			}
		}
		if time.Since(h.told) > 30*time.Second {
			h.told = time.Now()
			fmt.Printf("%v: %d faults\n", time.Since(h.began).Round(time.Second), h.tally.injected())
		}
	}
	return ctx.Err()
}

// round lets faults happen to some people's refreshes while jobs ask for them
// and for others, then sees that each of them still gets tokens.
func (h *harness) round(ctx context.Context) error {
	var chosen []*person
	for _, i := range h.random.Perm(len(h.people) - sacrificed) {
		if p := h.people[sacrificed+i]; !p.lost && len(chosen) < targets+bystanders {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) == 0 {
		return errors.New("no grant is left to try")
	}
	var armed []*armed
	hit := chosen[:min(targets, len(chosen))]
	for _, p := range hit {
		for range 1 + h.random.IntN(4)/3 { // now and then again at the next attempt
			f := h.deck.next()
			if f.hook == "" {
				armed = append(armed, h.proxy.arm(p.sub, f))
			} else if err := h.hook(p, f); err != nil {
				return err
			}
		}
	}
	var all sync.WaitGroup
	for _, p := range chosen {
		for range askers {
			all.Go(func() { h.ask(ctx, p) })
		}
	}
	if h.random.IntN(strikeEvery) == 0 {
		all.Go(func() { h.strike(hit[0]) })
	}
	all.Wait()
	for _, p := range hit { // a second fault that the first ask did not meet
		for h.proxy.waiting(p.sub) && !p.lost && ctx.Err() == nil {
			h.ask(ctx, p)
		}
	}
	for n := 0; h.realm.waiting() || h.gateway.waiting(); n++ {
		if n == 50 || ctx.Err() != nil {
			return errors.New("no refresh has reached the step of a kill: was the binary built with -tags faults?")
		}
		h.ask(ctx, hit[n%len(hit)])
	}
	for _, p := range hit {
		h.proxy.disarm(p.sub)
	}
	for _, a := range armed {
		if a.fired {
			<-a.done
		}
	}
	for _, p := range hit {
		h.ask(ctx, p) // uses what the faulty exchange gave
	}
	if ctx.Err() != nil {
		return ctx.Err() // without these asks a late copy would be no late one
	}
	h.lateCopies()
	for _, p := range hit {
		h.ask(ctx, p)
	}
	return h.restarts()
}

// strike kills either process at an instant that has nothing to do with what it
// is doing.
func (h *harness) strike(p *person) {
	f, victim := realmStruck, h.realm
	if rand.N(2) == 0 {
		f, victim = gatewayStruck, h.gateway
	}
	time.Sleep(rand.N(80 * time.Millisecond))
	h.tally.fired(p.sub, f)
	h.tally.kill(victim, false, true)
}

// hook lets a process end itself at a step of somebody's next refresh, most
// likely this person's.
func (h *harness) hook(p *person, f *fault) error {
	victim := h.gateway
	if f.process == realmName {
		victim = h.realm
	}
	fresh, err := victim.arm(f.hook)
	if fresh {
		h.tally.hooked(p.sub, f)
	}
	return err
}

// ask is one job's ask. Not to get a token is the failure that this program
// looks for.
func (h *harness) ask(ctx context.Context, p *person) {
	_, err := h.job.token(ctx, p.grant)
	switch {
	case err == nil:
		h.tally.count(&h.tally.tokens)
	case ctx.Err() == nil:
		h.tally.mu.Lock()
		first := !p.lost
		p.lost = true
		h.tally.mu.Unlock()
		if first {
			h.tally.lost(p.sub, err.Error())
		}
	}
}

// lateCopies delivers requests of this round again, now that newer tokens were
// used: they must be refused and nothing be revoked (O55).
func (h *harness) lateCopies() {
	for _, req := range h.tally.takeCopies() {
		h.realm.await()
		ans, err := h.proxy.send(req, func() {})
		switch {
		case err != nil:
			h.tally.broken("delivering a late copy: " + err.Error())
		case ans.status == http.StatusBadRequest:
			h.tally.count(&h.tally.late)
		default:
			h.tally.twice(req.sub, fmt.Sprintf("a late copy was answered %d", ans.status))
		}
	}
}

// sacrifice replays a person's superseded tokens as a thief would, half of the
// time after the realm was killed, and expects a refusal; the session is gone
// with it (O51), and a new login gives a new one.
func (h *harness) sacrifice(ctx context.Context, p *person) error {
	h.tally.mu.Lock()
	h.tally.last[p.sub] = nil
	h.tally.mu.Unlock()
	h.proxy.follow(p.sub)
	for range 3 {
		h.ask(ctx, p)
	}
	old := h.proxy.unfollow(p.sub)
	if p.lost || len(old) < 3 {
		return fmt.Errorf("%d of 3 asks of %s made a refresh", len(old), p.name)
	}
	h.tally.doom(p.sub, true)
	if h.random.IntN(2) == 0 {
		if err := <-h.realm.kill(); err != nil {
			return err
		}
	}
	// Oldest first, or first the one whose successor was not used yet.
	if h.sacrifices++; h.sacrifices%2 == 0 {
		slices.Reverse(old)
	}
	for i, req := range old {
		req.header.Set("Idempotency-Key", fmt.Sprintf("thief-%d", i))
		req.key = req.header.Get("Idempotency-Key")
		ans, err := h.proxy.send(req, func() {})
		switch {
		case err != nil:
			return fmt.Errorf("replaying a token: %w", err)
		case ans.status != http.StatusBadRequest:
			h.tally.twice(p.sub, fmt.Sprintf("a replayed token was answered %d", ans.status))
		default:
			h.tally.count(&h.tally.replays)
		}
	}
	// The newest token is dead too, and the vault is told so.
	if _, err := h.job.token(ctx, p.grant); err == nil {
		h.tally.twice(p.sub, "the session lived on after a replay")
	}
	if err := h.login(ctx, p); err != nil {
		return fmt.Errorf("logging %s in again: %w", p.name, err)
	}
	h.tally.doom(p.sub, false)
	h.ask(ctx, p)
	return nil
}

// restarts waits until both processes are up, and reports one that is not.
func (h *harness) restarts() error {
	h.realm.await()
	h.gateway.await()
	select {
	case err := <-h.tally.restartFailed:
		h.tally.broken(err.Error())
		return err
	default:
		return nil
	}
}
