package vault

import (
	"errors"
	"sync"
	"time"
)

// A breaker stands before each client of each provider. It opens when the
// provider does not take our client (a wrong secret, a wrong address, a
// certificate), or does not answer several times in a row. While it is open
// nothing is sent, so that nobody waits for what cannot come, and no grant is
// touched; then one request at a time tries whether it is over. It lives in
// memory: after a restart or a reload the first request tells.
type breaker struct {
	failures int       // in a row
	since    time.Time // the first of them
	tries    int       // openings in a row
	until    time.Time // nothing is sent before; zero: closed
	cause    Error     // what opened it
}

const (
	// breakAfter so many transient failures in a row, of whatever grants, it opens,
	// but not for a restart, which is over within breakPatience.
	breakAfter, breakPatience = 5, 3 * time.Second
	// breakFirst and breakLast bound how long it stays open while the provider is
	// away; breakOperator where somebody has to act.
	breakFirst, breakLast, breakOperator = time.Second, 30 * time.Second, 5 * time.Minute
)

// refusing are the codes that are about our client, whichever the grant.
var refusing = map[string]bool{"invalid_client": true, "unauthorized_client": true, "wrong_address": true, "tls": true}

// admit tells whether a request may be sent now. While the breaker is open the
// answer is yes once in a while, for the one that tries.
func (b *breaker) admit(now time.Time) *Error {
	switch {
	case b.until.IsZero():
		return nil
	case now.Before(b.until):
		e := b.cause
		e.RetryAfter = b.until.Sub(now)
		return &e
	}
	b.until = now.Add(breakFirst) // for whoever comes while this one tries
	return nil
}

// report takes what became of a request; nil is a success. It tells whether the
// breaker has opened or closed by it.
func (b *breaker) report(failed *Error, now time.Time) (opened, closed bool) {
	was := !b.until.IsZero()
	switch {
	case failed != nil && failed.Class == ClassOperator && !refusing[failed.Code]:
		return false, false // this request's own, it says nothing about others
	case failed == nil || failed.Class != ClassOperator && failed.Class != ClassTransient:
		*b = breaker{} // it answers, and knows us
		return false, was
	}
	if b.failures++; b.failures == 1 {
		b.since = now
	}
	away := b.failures >= breakAfter && now.Sub(b.since) >= breakPatience
	if failed.Class == ClassTransient && !was && !away {
		return false, false
	}
	pause := min(breakFirst<<min(b.tries, 9), breakLast)
	if failed.Class == ClassOperator {
		pause = min(failed.RetryAfter<<min(b.tries, 9), breakOperator)
	} else if failed.later {
		pause = max(pause, min(failed.RetryAfter, breakOperator))
	}
	b.tries++
	b.until = now.Add(pause)
	b.cause = Error{Class: failed.Class, Code: failed.Code, cause: errors.New("the provider's breaker is open")}
	return !was, false
}

// breakers of all clients.
type breakers struct {
	mu sync.Mutex
	of map[providerKey]*breaker
}

// with calls fn with the breaker of a client.
func (b *breakers) with(k providerKey, fn func(*breaker)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[providerKey]*breaker{}
	}
	if b.of[k] == nil {
		b.of[k] = &breaker{}
	}
	fn(b.of[k])
}

// reset closes all: what an operator has mended works at once.
func (b *breakers) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of = nil
}

// admit asks the breaker of a client.
func (v *Vault) admit(k providerKey) (refused *Error) {
	v.breakers.with(k, func(b *breaker) { refused = b.admit(v.c.Now()) })
	return refused
}

// report tells the breaker of a client what became of a request.
func (v *Vault) report(k providerKey, failed *Error) {
	var opened, closed bool
	v.breakers.with(k, func(b *breaker) { opened, closed = b.report(failed, v.c.Now()) })
	data := map[string]any{"provider": k.name, "client": k.client}
	switch {
	case opened:
		data["error"] = failed.Code
		if failed.Class == ClassOperator {
			v.c.Logger.Error("the provider does not accept our client; no grant is touched, an operator has to act", "provider", k.name, "client", k.client, "error", failed)
		} else {
			v.c.Logger.Warn("the provider does not answer", "provider", k.name, "client", k.client, "error", failed)
		}
		v.c.Events("provider_failing", data)
	case closed:
		v.c.Logger.Info("the provider answers again", "provider", k.name, "client", k.client)
		v.c.Events("provider_recovered", data)
	}
}
