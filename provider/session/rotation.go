package session

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"time"
)

// Presented is a refresh token of a client session, as a request brings it.
type Presented struct {
	// Generation that the token carries. Its signature was verified.
	Generation uint64
	// KeyHash is the hash of the request's Idempotency-Key. A request that
	// brings none gets a random key at the door, so that it recognises its own
	// commit when it is run again; it is judged like any other.
	KeyHash []byte
}

// Outcome of a presented refresh token.
type Outcome int

// Outcomes.
const (
	// Refused: invalid_grant, the session lives on (or had ended before).
	Refused Outcome = iota
	// Accepted: answer the token of Next's generation.
	Accepted
	// Replayed: single use was broken. Next has ended, invalid_grant.
	Replayed
)

// Decision of Rotate.
type Decision struct {
	Outcome Outcome
	Next    ClientSession // the record after the request
	Write   bool          // Next differs from the record: it must be on disk before the answer
	Replay  bool          // event: the session was revoked
	Forward bool          // event: the token was ahead of the record
}

const (
	// lateMemory is the number of consuming keys that are remembered beside those
	// of the newest token's predecessor.
	lateMemory = 4
	// mostReuses is for how many further uses of a token the keys are remembered,
	// whatever Max Reuse allows, so that a record stays small. A request that is
	// forgotten counts as another use.
	mostReuses = 100
)

// Rotate decides what a presented refresh token does to its client session,
// which Check has found working. One compare of generations on one record: two
// refreshes within one second, or on two nodes, cannot both win (O53, O54).
func Rotate(p Policy, cs ClientSession, presented Presented, now time.Time) Decision {
	if cs.Status != Working {
		return Decision{Outcome: Refused, Next: cs}
	}
	mark := consumption(presented)
	remembered := slices.ContainsFunc(cs.Consumed, func(m []byte) bool { return bytes.Equal(m, mark) })
	predecessor := presented.Generation < cs.Generation && presented.Generation+1 == cs.Generation

	switch {
	case presented.Generation > cs.Generation:
		// The signature is ours, so this token was answered and the record was
		// not always this old: the store was restored from a backup. Nobody
		// stole anything (O55).
		return roll(p, cs, presented.Generation, mark, now)

	case presented.Generation == cs.Generation && p.SingleUse:
		return accept(advance(p, cs, cs.Generation, mark, now))

	case presented.Generation == cs.Generation:
		return touch(p, cs, now)

	case predecessor && remembered:
		// The same request again: its answer was lost. The successor was not
		// used yet, else it would be a predecessor itself (O55).
		return touch(p, cs, now)

	case !p.SingleUse || remembered:
		// Without single use an older token is merely old. With it, the very
		// key that consumed the token is a late duplicate on the wire.
		return Decision{Outcome: Refused, Next: cs}

	case predecessor && cs.Uses > 0 && cs.Uses <= p.MaxReuse:
		cs.Uses++
		cs.Consumed = remember(p, cs.Consumed, mark)
		cs.LastUsed = instant(now)
		return accept(cs)
	}
	cs.Status, cs.EndedAt = ReuseDetected, instant(now)
	return Decision{Outcome: Replayed, Next: cs, Write: true, Replay: true}
}

// advance makes the successor of a generation the newest.
func advance(p Policy, cs ClientSession, from uint64, mark []byte, now time.Time) ClientSession {
	cs.Generation = from + 1
	cs.Uses = 1
	cs.Consumed = remember(p, cs.Consumed, mark)
	cs.RotatedAt = instant(now)
	cs.LastUsed = instant(now)
	return cs
}

// roll brings a record up to a generation ahead of it.
func roll(p Policy, cs ClientSession, generation uint64, mark []byte, now time.Time) Decision {
	var d Decision
	if p.SingleUse {
		d = accept(advance(p, cs, generation, mark, now))
	} else {
		cs.Generation = generation
		cs.Uses = 0
		cs.RotatedAt = instant(now)
		cs.LastUsed = instant(now)
		d = accept(cs)
	}
	d.Forward = true
	return d
}

// touch accepts a token without a change but for the last use, now and then.
func touch(p Policy, cs ClientSession, now time.Time) Decision {
	d := Decision{Outcome: Accepted, Next: cs}
	idle, _ := p.clientLimits(nil)
	if cs.Offline {
		idle = p.OfflineIdle
	}
	d.Next.LastUsed, d.Write = used(cs.LastUsed, now, idle)
	return d
}

func accept(next ClientSession) Decision {
	return Decision{Outcome: Accepted, Next: next, Write: true}
}

// consumption is what is remembered of a key that consumed a token. It binds
// the key to the generation: a client that sends the same key with every
// request gains nothing by it.
func consumption(p Presented) []byte {
	h := sha256.New()
	h.Write([]byte("nightlatch consumption"))
	h.Write(binary.BigEndian.AppendUint64(nil, p.Generation))
	h.Write(p.KeyHash)
	return h.Sum(nil)[:16]
}

// remember puts a mark in front. All keys that may have consumed the newest
// token's predecessor fit, and those of a few generations before.
func remember(p Policy, marks [][]byte, mark []byte) [][]byte {
	n := min(len(marks), lateMemory+min(max(p.MaxReuse, 0), mostReuses)-1)
	return append([][]byte{mark}, marks[:n]...)
}

// TokenID is the jti of a session's newest refresh token. It derives from what
// the token derives from, so that the same request gets the same bytes again;
// it is no secret, the signature protects the token.
func TokenID(cs *ClientSession) string {
	h := sha256.New()
	h.Write([]byte("nightlatch jti"))
	h.Write(binary.BigEndian.AppendUint64(nil, cs.Generation))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(cs.RotatedAt.UnixMilli())))
	h.Write([]byte(cs.ID))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}
