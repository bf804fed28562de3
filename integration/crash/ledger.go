package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// ledger follows every refresh token that passes the proxy, by its hash, and
// judges the realm by its answers: single use means that one request, told by
// its Idempotency-Key, consumes a token, gets one successor, and gets nothing
// any more once that successor has been used.
type ledger struct {
	mu     sync.Mutex
	clock  int64 // counts what was observed
	tokens map[[32]byte]*history
	closed bool // the realm makes no single use any more
	// twice is told of a token that was accepted when it should not have been.
	twice func(sub, why string)
}

type history struct {
	accepted    bool
	key         string
	successor   [32]byte
	predecessor *history
	superseded  int64 // when its successor was seen to be accepted; 0: not yet
}

func newLedger(twice func(sub, why string)) *ledger {
	return &ledger{tokens: map[[32]byte]*history{}, twice: twice}
}

// begin is called before a request leaves for the realm.
func (l *ledger) begin() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	return l.clock
}

// accepted enters an answer 200 of the realm for a request that left at began.
func (l *ledger) accepted(sub, token, key, successor string, began int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.clock++
	h := l.of(sha256.Sum256([]byte(token)))
	next := sha256.Sum256([]byte(successor))
	switch {
	case !h.accepted:
		h.accepted, h.key, h.successor = true, key, next
		l.of(next).predecessor = h
		if h.predecessor != nil {
			h.predecessor.superseded = l.clock
		}
	case h.key != key:
		l.twice(sub, "a token was accepted for two keys")
	case h.successor != next:
		l.twice(sub, "the same request got two successors")
	}
	if h.superseded != 0 && h.superseded < began {
		l.twice(sub, "a token was accepted after its successor had been used")
	}
}

// close ends the judgement: from now on the realm has single use off.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

func (l *ledger) of(token [32]byte) *history {
	if l.tokens[token] == nil {
		l.tokens[token] = &history{}
	}
	return l.tokens[token]
}

// subject reads sub from a compact JWS; the realm judges its signature.
func subject(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("token has %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", fmt.Errorf("decoding token: %w", err)
	}
	var c struct {
		Sub string `json:"sub"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", fmt.Errorf("reading claims of token: %w", err)
	}
	return c.Sub, nil
}
