package main

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/provider/grant"
)

// fault is what may happen to a refresh request.
type fault struct {
	step   string // of the exchange, as the vault sees it
	name   string
	share  int // of it in the deck
	inject func(x *exchange)
	// hook, in place of inject: the process ends itself at a step of a refresh.
	hook, process string
}

// faults in the order of the exchange. Requests to the realm go on when the
// gateway that sent them is dead, as packets do.
var faults = []*fault{
	{step: "request on its way", name: "lost; the realm never sees it", share: 2, inject: func(x *exchange) { x.hangUp() }},
	{step: "request on its way", name: "delivered twice at once", share: 2, inject: func(x *exchange) {
		var twin *answer
		var both sync.WaitGroup
		both.Go(func() { twin = x.deliver() })
		ans := x.deliver()
		both.Wait()
		if rand.N(2) == 0 {
			ans = twin
		}
		x.pass(ans)
	}},
	{step: "request on its way", name: "delivered again, late, after newer tokens were used", share: 2, inject: func(x *exchange) {
		x.pass(x.deliver())
		x.p.tally.later(x.req)
	}},
	{step: "request on its way", name: "gateway killed; the request is lost with it", share: 1, inject: func(x *exchange) {
		x.kill(x.p.gateway)
	}},
	{step: "request on its way", name: "gateway killed; the request arrives all the same", share: 1, inject: func(x *exchange) {
		x.kill(x.p.gateway)
		x.deliver()
	}},
	{step: "request at the realm", name: "realm killed", share: 1, inject: func(x *exchange) {
		x.deliverDuring(func() { soon(); x.kill(x.p.realm) })
		x.hangUp()
	}},
	{step: "request at the realm", name: "gateway killed", share: 1, inject: func(x *exchange) {
		x.deliverDuring(func() { soon(); x.kill(x.p.gateway) })
	}},
	{step: "request at the realm", name: "both killed", share: 1, inject: func(x *exchange) {
		x.deliverDuring(func() { soon(); x.kill(x.p.realm); x.kill(x.p.gateway) })
	}},
	{step: "request at the realm", name: "realm restarted in order", share: 1, inject: func(x *exchange) {
		x.pass(x.deliverDuring(func() { soon(); x.restart(x.p.realm) }))
	}},
	{step: "request at the realm", name: "realm's disk full when it would commit", share: 1, inject: func(x *exchange) {
		x.full(x.p.realm)
		x.pass(x.deliver())
	}},
	{step: "request at the realm", name: "realm's disk full, and it is killed", share: 1, inject: func(x *exchange) {
		x.full(x.p.realm)
		x.deliverDuring(func() { soon(); x.kill(x.p.realm) })
		x.hangUp()
	}},
	{step: "answer on its way", name: "lost after the realm's commit", share: 2, inject: func(x *exchange) {
		x.deliver()
		x.hangUp()
	}},
	{step: "answer on its way", name: "cut in the middle", share: 2, inject: func(x *exchange) { x.cut(x.deliver()) }},
	{step: "answer on its way", name: "a 502 page in its place", share: 2, inject: func(x *exchange) {
		x.deliver()
		x.pass(&answer{http.StatusBadGateway, http.Header{"Content-Type": {"text/html"}}, []byte("<h1>Bad Gateway</h1>")})
	}},
	{step: "answer on its way", name: "late by 0.2 to 0.8 s", share: 2, inject: func(x *exchange) {
		ans := x.deliver()
		time.Sleep(200*time.Millisecond + rand.N(600*time.Millisecond))
		x.pass(ans)
	}},
	{step: "answer on its way", name: "realm killed, then the answer arrives", share: 1, inject: func(x *exchange) {
		ans := x.deliver()
		x.kill(x.p.realm)
		x.pass(ans)
	}},
	{step: "answer on its way", name: "gateway killed", share: 1, inject: func(x *exchange) {
		x.deliver()
		x.kill(x.p.gateway)
	}},
	{step: "answer on its way", name: "gateway restarted in order", share: 1, inject: func(x *exchange) {
		ans := x.deliver()
		x.restart(x.p.gateway)
		soon()
		x.pass(ans)
	}},
	{step: "answer at the gateway", name: "gateway killed before, during or after its write", share: 1, inject: func(x *exchange) {
		x.pass(x.deliver())
		soon()
		x.kill(x.p.gateway)
	}},
	{step: "answer at the gateway", name: "gateway's disk full when it would write", share: 1, inject: func(x *exchange) {
		ans := x.deliver()
		x.full(x.p.gateway)
		x.pass(ans)
	}},
	{step: "answer at the gateway", name: "gateway's disk full, and it is killed", share: 1, inject: func(x *exchange) {
		ans := x.deliver()
		x.full(x.p.gateway)
		x.pass(ans)
		soon()
		x.kill(x.p.gateway)
	}},
	{step: "realm, inside of a refresh", name: "killed when it has decided, before the commit", share: 1, process: realmName, hook: grant.StepCommitting},
	{step: "realm, inside of a refresh", name: "killed after the commit, before the answer", share: 1, process: realmName, hook: grant.StepAnswering},
	{step: "gateway, inside of a refresh", name: "killed with the lock, before anything is read", share: 1, process: gatewayName, hook: vault.StepLocked},
	{step: "gateway, inside of a refresh", name: "killed with the intent on disk, before anything is sent", share: 1, process: gatewayName, hook: vault.StepIntent},
	{step: "gateway, inside of a refresh", name: "killed with the answer read, before anything is written", share: 1, process: gatewayName, hook: vault.StepAnswered},
	{step: "gateway, inside of a refresh", name: "killed with the token on disk, before it is handed out", share: 1, process: gatewayName, hook: vault.StepCommitted},
	realmStruck, gatewayStruck, realmRestored, gatewayRestored,
}

// Kills at random instants belong to a round, not to an exchange (harness.go).
var (
	realmStruck   = &fault{step: "anywhere", name: "realm killed at a random instant"}
	gatewayStruck = &fault{step: "anywhere", name: "gateway killed at a random instant"}
)

// Old copies of a store are put back now and then, not dealt (restore.go).
var (
	realmRestored   = &fault{step: "realm, stopped", name: "an old copy of its store put back"}
	gatewayRestored = &fault{step: "gateway, stopped", name: "an old copy of its store put back, single use off"}
)

// soon is about as long as either process works on a refresh, so that a kill
// falls before, into and after its commit.
func soon() { time.Sleep(rand.N(8 * time.Millisecond)) }

// deck deals all faults in their shares, shuffled, again and again.
type deck struct {
	random *rand.Rand
	cards  []*fault
}

func (d *deck) next() *fault {
	if len(d.cards) == 0 {
		for _, f := range faults {
			for range f.share {
				d.cards = append(d.cards, f)
			}
		}
		d.random.Shuffle(len(d.cards), func(i, j int) { d.cards[i], d.cards[j] = d.cards[j], d.cards[i] })
	}
	f := d.cards[0]
	d.cards = d.cards[1:]
	return f
}
