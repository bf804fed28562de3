package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// proxy stands at the realm's public address. Refresh requests may meet a fault
// that was armed for their user; everything else passes.
type proxy struct {
	realm, gateway *process
	ledger         *ledger
	tally          *tally
	transport      *http.Transport

	mu       sync.Mutex
	armed    map[string][]*armed
	followed map[string][]request // accepted requests of the users under watch
}

// armed is a fault that waits for the next refresh request of a user.
type armed struct {
	fault *fault
	fired bool
	done  chan struct{}
}

// request of a client, whole, so that it can be sent again.
type request struct {
	method, uri, host string
	header            http.Header
	body              []byte
	sub, token, key   string // of a refresh
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// deliverWithin bounds a request to the realm.
const deliverWithin = 15 * time.Second

func newProxy(addr string, realm string, t *tally) (*proxy, *http.Server, error) {
	l, err := net.Listen("tcp", strings.Replace(addr, "localhost", "127.0.0.1", 1))
	if err != nil {
		return nil, nil, err
	}
	p := &proxy{
		ledger: newLedger(t.twice), tally: t,
		armed: map[string][]*armed{}, followed: map[string][]request{},
	}
	// A fresh connection for each request: Go sends a request with an
	// Idempotency-Key again by itself when a reused one breaks, and here each
	// delivery must be one of ours.
	p.transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, realm)
		},
	}
	server := &http.Server{Handler: p}
	go func() { _ = server.Serve(l) }() // until Close
	return p, server, nil
}

// arm puts a fault in the way of a user's next refresh request.
func (p *proxy) arm(sub string, f *fault) *armed {
	a := &armed{fault: f, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed[sub] = append(p.armed[sub], a)
	return a
}

// disarm takes back what has not fired.
func (p *proxy) disarm(sub string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.armed, sub)
}

// waiting tells whether a fault of the user has not fired yet.
func (p *proxy) waiting(sub string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.armed[sub]) > 0
}

func (p *proxy) take(sub string) *armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	queue := p.armed[sub]
	if len(queue) == 0 {
		return nil
	}
	p.armed[sub] = queue[1:]
	queue[0].fired = true
	return queue[0]
}

// follow keeps the accepted refresh requests of a user from now on; unfollow
// returns them.
func (p *proxy) follow(sub string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.followed[sub] = []request{}
}

func (p *proxy) unfollow(sub string) []request {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.followed[sub]
	delete(p.followed, sub)
	return all
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client died while it sent
	}
	req := request{method: r.Method, uri: r.URL.RequestURI(), host: r.Host, header: r.Header.Clone(), body: body}
	x := &exchange{p: p, w: w, req: req}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/token") || form.Get("grant_type") != "refresh_token" {
		x.pass(x.deliver())
		return
	}
	x.req.token, x.req.key = form.Get("refresh_token"), r.Header.Get("Idempotency-Key")
	if x.req.sub, err = subject(x.req.token); err != nil {
		p.tally.broken("the gateway sent what is no token of the realm: " + err.Error())
	}
	a := p.take(x.req.sub)
	if a == nil {
		x.pass(x.deliver())
		return
	}
	defer close(a.done)
	p.realm.await() // another fault may have killed it; this one is to be what its name says
	p.tally.fired(x.req.sub, a.fault)
	a.fault.inject(x)
}

// send delivers a request to the realm and reads the answer whole; written is
// called when the last byte has left.
func (p *proxy) send(req request, written func()) (*answer, error) {
	began := p.ledger.begin()
	ctx, cancel := context.WithTimeout(context.Background(), deliverWithin)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err == nil {
			written()
		}
	}})
	out, err := http.NewRequestWithContext(ctx, req.method, "http://realm"+req.uri, bytes.NewReader(req.body))
	if err != nil {
		return nil, err
	}
	out.Host, out.Header = req.host, req.header.Clone()
	out.Header.Del("Connection")
	resp, err := p.transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	ans := &answer{resp.StatusCode, resp.Header, body}
	if req.token != "" && ans.status == http.StatusOK {
		var t struct {
			Refresh string `json:"refresh_token"`
		}
		if err := json.Unmarshal(body, &t); err != nil || t.Refresh == "" {
			return nil, errors.New("reading answer: no refresh token in it")
		}
		p.ledger.accepted(req.sub, req.token, req.key, t.Refresh, began)
		p.mu.Lock()
		if p.followed[req.sub] != nil {
			p.followed[req.sub] = append(p.followed[req.sub], req)
		}
		p.mu.Unlock()
	}
	return ans, nil
}

// exchange is one request of the gateway and what becomes of it.
type exchange struct {
	p        *proxy
	w        http.ResponseWriter
	req      request
	answered atomic.Bool // the realm has
	passed   bool        // the gateway may have read an answer
}

// deliver sends the request on. It returns nil if the realm gave no answer.
func (x *exchange) deliver() *answer {
	return x.deliverDuring(func() {})
}

// deliverDuring sends the request on, does something as soon as the last byte
// has left, and returns when both are done.
func (x *exchange) deliverDuring(do func()) *answer {
	var both sync.WaitGroup
	var once sync.Once
	begin := func() { once.Do(func() { both.Go(do) }) }
	ans, err := x.p.send(x.req, begin)
	if err != nil {
		ans = nil
	} else {
		x.answered.Store(true)
	}
	begin() // the realm may be down
	both.Wait()
	return ans
}

// pass gives the answer to the gateway; for none the connection breaks.
func (x *exchange) pass(a *answer) {
	if a == nil {
		x.hangUp()
		return
	}
	if x.req.token != "" && a.status == http.StatusBadRequest {
		x.p.tally.refused(x.req.sub, "the realm refused the vault's token")
	}
	x.passed = true
	h := x.w.Header()
	for name, values := range a.header {
		if name != "Connection" {
			h[name] = values
		}
	}
	x.w.WriteHeader(a.status)
	_, _ = x.w.Write(a.body) // the gateway may be dead
	_ = http.NewResponseController(x.w).Flush()
}

// hangUp breaks the connection without an answer.
func (x *exchange) hangUp() { x.breakOff(nil) }

// cut passes half of an answer, then breaks the connection.
func (x *exchange) cut(a *answer) {
	if a == nil {
		x.hangUp()
		return
	}
	head := fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", a.status, len(a.body))
	x.breakOff(append([]byte(head), a.body[:rand.N(len(a.body))]...))
}

func (x *exchange) breakOff(last []byte) {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.p.tally.broken("hijacking connection: " + err.Error())
		return
	}
	_, _ = conn.Write(last) // the gateway may be dead
	conn.Close()
}

// restart stops a process in order and lets it come back.
func (x *exchange) restart(v *process) { x.p.tally.restart(v) }

// full lets a process find its disk full for a while.
func (x *exchange) full(v *process) {
	if err := v.disk.fill(); err != nil {
		x.p.tally.broken("filling the disk of the " + v.name + ": " + err.Error())
	}
	time.AfterFunc(200*time.Millisecond+rand.N(600*time.Millisecond), v.disk.clear)
}

// kill ends a process and lets it come back.
func (x *exchange) kill(v *process) { x.p.tally.kill(v, !x.passed, x.answered.Load()) }
