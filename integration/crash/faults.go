package main

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// fault is what may happen to a refresh request.
type fault struct {
	step   string // of the exchange, as the vault sees it
	name   string
	share  int // of it in the deck
	inject func(x *exchange)
}

// faults in the order of the exchange. Requests to the realm go on when the
// gateway that sent them is dead, as packets do.
var faults = []*fault{
	{"request on its way", "lost; the realm never sees it", 2, func(x *exchange) { x.hangUp() }},
	{"request on its way", "delivered twice at once", 2, func(x *exchange) {
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
	{"request on its way", "delivered again, late, after newer tokens were used", 2, func(x *exchange) {
		x.pass(x.deliver())
		x.p.tally.later(x.req)
	}},
	{"request on its way", "gateway killed; the request is lost with it", 1, func(x *exchange) {
		x.kill(x.p.gateway)
	}},
	{"request on its way", "gateway killed; the request arrives all the same", 1, func(x *exchange) {
		x.kill(x.p.gateway)
		x.deliver()
	}},
	{"request at the realm", "realm killed", 1, func(x *exchange) {
		x.deliverDuring(func() { soon(); x.kill(x.p.realm) })
		x.hangUp()
	}},
	{"request at the realm", "gateway killed", 1, func(x *exchange) {
		x.deliverDuring(func() { soon(); x.kill(x.p.gateway) })
	}},
	{"request at the realm", "both killed", 1, func(x *exchange) {
		x.deliverDuring(func() { soon(); x.kill(x.p.realm); x.kill(x.p.gateway) })
	}},
	{"answer on its way", "lost after the realm's commit", 2, func(x *exchange) {
		x.deliver()
		x.hangUp()
	}},
	{"answer on its way", "cut in the middle", 2, func(x *exchange) { x.cut(x.deliver()) }},
	{"answer on its way", "a 502 page in its place", 2, func(x *exchange) {
		x.deliver()
		x.pass(&answer{http.StatusBadGateway, http.Header{"Content-Type": {"text/html"}}, []byte("<h1>Bad Gateway</h1>")})
	}},
	{"answer on its way", "late by 0.2 to 0.8 s", 2, func(x *exchange) {
		ans := x.deliver()
		time.Sleep(200*time.Millisecond + rand.N(600*time.Millisecond))
		x.pass(ans)
	}},
	{"answer on its way", "realm killed, then the answer arrives", 1, func(x *exchange) {
		ans := x.deliver()
		x.kill(x.p.realm)
		x.pass(ans)
	}},
	{"answer on its way", "gateway killed", 1, func(x *exchange) {
		x.deliver()
		x.kill(x.p.gateway)
	}},
	{"answer at the gateway", "gateway killed before, during or after its write", 1, func(x *exchange) {
		x.pass(x.deliver())
		soon()
		x.kill(x.p.gateway)
	}},
}

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
