package session_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nightlatch/nightlatch/provider/session"
)

func keyHash(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}

// use presents a generation with a key a minute after the last use.
func use(p session.Policy, cs session.ClientSession, generation uint64, key string) session.Decision {
	return session.Rotate(p, cs, session.Presented{Generation: generation, KeyHash: keyHash(key)}, cs.LastUsed.Add(time.Minute))
}

func fresh() session.ClientSession {
	return session.ClientSession{ID: "cs", Offline: true, Created: t0, LastUsed: t0, RotatedAt: t0, Generation: 1}
}

var (
	multiUse  = session.Policy{OfflineIdle: 30 * day}
	singleUse = session.Policy{OfflineIdle: 30 * day, SingleUse: true}
)

func reuse(n int) session.Policy {
	p := singleUse
	p.MaxReuse = n
	return p
}

// step is one presented token and what must come of it.
type step struct {
	policy     session.Policy
	generation uint64
	key        string
	want       session.Outcome
	next       uint64 // generation after it
	forward    bool
}

func TestRotate(t *testing.T) {
	const acc, ref, rep = session.Accepted, session.Refused, session.Replayed
	tests := []struct {
		name  string
		steps []step
	}{
		{"O50 again and again", []step{{multiUse, 1, "a", acc, 1, false}, {multiUse, 1, "b", acc, 1, false}, {multiUse, 1, "a", acc, 1, false}}},
		{"O51 each once, the next one works", []step{{singleUse, 1, "a", acc, 2, false}, {singleUse, 2, "b", acc, 3, false}, {singleUse, 3, "c", acc, 4, false}}},
		{"O51 a replay revokes, the newest is dead too", []step{{singleUse, 1, "a", acc, 2, false}, {singleUse, 1, "b", rep, 2, false}, {singleUse, 2, "c", ref, 2, false}}},
		{"O51 an old token revokes", []step{{singleUse, 1, "a", acc, 2, false}, {singleUse, 2, "b", acc, 3, false}, {singleUse, 1, "x", rep, 3, false}}},
		{"O52 1 + N uses", []step{{reuse(2), 1, "a", acc, 2, false}, {reuse(2), 1, "b", acc, 2, false}, {reuse(2), 1, "c", acc, 2, false}, {reuse(2), 1, "d", rep, 2, false}}},
		{"O52 reuse ends when the successor is used", []step{{reuse(2), 1, "a", acc, 2, false}, {reuse(2), 2, "b", acc, 3, false}, {reuse(2), 1, "c", rep, 3, false}}},
		{"O55 the same request again", []step{{singleUse, 1, "a", acc, 2, false}, {singleUse, 1, "a", acc, 2, false}, {singleUse, 1, "a", acc, 2, false}, {singleUse, 2, "b", acc, 3, false}}},
		{"O55 the same request is not counted", []step{{reuse(1), 1, "a", acc, 2, false}, {reuse(1), 1, "a", acc, 2, false}, {reuse(1), 1, "b", acc, 2, false},
			{reuse(1), 1, "b", acc, 2, false}, {reuse(1), 1, "a", acc, 2, false}, {reuse(1), 1, "c", rep, 2, false}}},
		{"O55 a late duplicate is refused", []step{{singleUse, 1, "a", acc, 2, false}, {singleUse, 2, "b", acc, 3, false}, {singleUse, 1, "a", ref, 3, false}, {singleUse, 3, "c", acc, 4, false}}},
		{"O55 another token's key is no late duplicate", []step{{singleUse, 1, "a", acc, 2, false}, {singleUse, 2, "b", acc, 3, false}, {singleUse, 1, "b", rep, 3, false}}},
		{"one key for every request gains nothing", []step{{singleUse, 1, "k", acc, 2, false}, {singleUse, 2, "k", acc, 3, false}, {singleUse, 3, "k", acc, 4, false}, {singleUse, 3, "x", rep, 4, false}}},
		{"late duplicates are forgotten in time", []step{{singleUse, 1, "a", acc, 2, false}, {singleUse, 2, "b", acc, 3, false}, {singleUse, 3, "c", acc, 4, false},
			{singleUse, 4, "d", acc, 5, false}, {singleUse, 1, "a", ref, 5, false}, {singleUse, 5, "e", acc, 6, false}, {singleUse, 1, "a", rep, 6, false}}},
		{"O55 a restored store rolls forward", []step{{singleUse, 7, "a", acc, 8, true}, {singleUse, 7, "a", acc, 8, false}, {singleUse, 8, "b", acc, 9, false}}},
		{"O55 a restored store without single use", []step{{multiUse, 7, "a", acc, 7, true}, {multiUse, 7, "b", acc, 7, false}, {multiUse, 1, "c", ref, 7, false}}},
		{"without single use an older token is refused alone", []step{{singleUse, 1, "a", acc, 2, false}, {multiUse, 1, "x", ref, 2, false}, {multiUse, 2, "b", acc, 2, false}}},
		{"a lost answer survives the switch off", []step{{singleUse, 1, "a", acc, 2, false}, {multiUse, 1, "a", acc, 2, false}}},
		{"O57 switching on applies to what exists", []step{{multiUse, 1, "a", acc, 1, false}, {multiUse, 1, "b", acc, 1, false}, {singleUse, 1, "c", acc, 2, false}, {singleUse, 1, "d", rep, 2, false}}},
		{"O57 switching off revives nothing", []step{{singleUse, 1, "a", acc, 2, false}, {singleUse, 1, "b", rep, 2, false}, {multiUse, 2, "c", ref, 2, false}}},
		{"generation 0 is older than any", []step{{singleUse, 0, "a", rep, 1, false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cs := fresh()
			for i, s := range tt.steps {
				d := use(s.policy, cs, s.generation, s.key)
				if d.Outcome != s.want || d.Next.Generation != s.next || d.Forward != s.forward {
					t.Fatalf("step %d (%+v): outcome %d, generation %d, forward %v", i, s, d.Outcome, d.Next.Generation, d.Forward)
				}
				if replayed := s.want == rep; d.Replay != replayed || replayed != (cs.Status == "" && d.Next.Status == session.ReuseDetected) {
					t.Fatalf("step %d: replay %v, status %q", i, d.Replay, d.Next.Status)
				}
				if d.Write {
					cs = d.Next
				}
			}
		})
	}
}

// An ended session answers nothing, whatever is presented, and is not ended a
// second time.
func TestRotateEnded(t *testing.T) {
	for _, generation := range []uint64{0, 1, 2, 9} {
		cs := fresh()
		cs.Status = session.Revoked
		d := use(singleUse, cs, generation, "a")
		if d.Outcome != session.Refused || d.Write || d.Replay || d.Forward || d.Next.Status != session.Revoked {
			t.Errorf("generation %d: %+v", generation, d)
		}
	}
}

// A busy job does not write for every refresh: only when the last use moved by
// more than 1/1000 of the idle limit, at least 1 s, at most 30 s.
func TestRotateWritesLastUseNowAndThen(t *testing.T) {
	for _, tt := range []struct {
		idle, after time.Duration
		write       bool
	}{
		{30 * day, 30 * time.Second, false},
		{30 * day, 30*time.Second + time.Millisecond, true},
		{10 * time.Minute, time.Second, false},
		{10 * time.Minute, 1100 * time.Millisecond, true},
		{5000 * time.Second, 5 * time.Second, false},
		{5000 * time.Second, 6 * time.Second, true},
		{30 * day, -time.Hour, false}, // a clock that went back
	} {
		d := session.Rotate(session.Policy{OfflineIdle: tt.idle}, fresh(), session.Presented{Generation: 1, KeyHash: keyHash("a")}, t0.Add(tt.after))
		if d.Write != tt.write || d.Outcome != session.Accepted {
			t.Errorf("idle %v after %v: write %v, outcome %d", tt.idle, tt.after, d.Write, d.Outcome)
		}
		want := t0
		if tt.write {
			want = t0.Add(tt.after)
		}
		if !d.Next.LastUsed.Equal(want) {
			t.Errorf("idle %v after %v: last used %v, want %v", tt.idle, tt.after, d.Next.LastUsed, want)
		}
	}
}

// The same request again derives the same token, from the record as it comes
// back from the store too.
func TestTokenIDIsDerived(t *testing.T) {
	now := t0.Add(1234567 * time.Nanosecond).In(time.FixedZone("x", 3600))
	d := session.Rotate(singleUse, fresh(), session.Presented{Generation: 1, KeyHash: keyHash("a")}, now)
	raw, err := json.Marshal(d.Next)
	if err != nil {
		t.Fatal(err)
	}
	var stored session.ClientSession
	if err := json.Unmarshal(raw, &stored); err != nil {
		t.Fatal(err)
	}
	again := session.Rotate(singleUse, stored, session.Presented{Generation: 1, KeyHash: keyHash("a")}, now.Add(time.Hour))
	if again.Outcome != session.Accepted || session.TokenID(&again.Next) != session.TokenID(&d.Next) || !again.Next.RotatedAt.Equal(d.Next.RotatedAt) {
		t.Errorf("first %s at %v, again %s at %v", session.TokenID(&d.Next), d.Next.RotatedAt, session.TokenID(&again.Next), again.Next.RotatedAt)
	}
	if session.TokenID(&d.Next) != session.TokenID(&stored) {
		t.Error("the stored record derives another jti")
	}
	if f := fresh(); session.TokenID(&f) == session.TokenID(&d.Next) {
		t.Error("the successor has the jti of its predecessor")
	}
}

// However often a token may be used, its record stays small.
func TestRotateRemembersBounded(t *testing.T) {
	cs, p := fresh(), reuse(1000)
	for i := range 1001 {
		d := use(p, cs, 1, fmt.Sprint(i))
		if d.Outcome != session.Accepted || d.Next.Uses != i+1 {
			t.Fatalf("use %d: outcome %d, %d uses", i, d.Outcome, d.Next.Uses)
		}
		cs = d.Next
	}
	if n := len(cs.Consumed); n != 104 {
		t.Errorf("%d keys are remembered", n)
	}
	if d := use(p, cs, 1, "1000"); d.Outcome != session.Accepted || d.Next.Uses != 1001 {
		t.Errorf("the same request again: outcome %d, %d uses", d.Outcome, d.Next.Uses)
	}
	if d := use(p, cs, 1, "1001"); d.Outcome != session.Replayed {
		t.Errorf("one too many: outcome %d", d.Outcome)
	}
}

// Rotate does not write into the record that it was given: a transaction may
// run again with it.
func TestRotateLeavesItsArgumentAlone(t *testing.T) {
	cs := use(singleUse, fresh(), 1, "a").Next
	cs.Consumed = slices.Grow(cs.Consumed, 8)
	before := fmt.Sprintf("%+v", cs)
	for _, g := range []uint64{0, 1, 2, 5} {
		for _, p := range []session.Policy{multiUse, singleUse, reuse(3)} {
			use(p, cs, g, "b")
		}
	}
	if after := fmt.Sprintf("%+v", cs); after != before {
		t.Errorf("changed\n%s\n%s", before, after)
	}
}

// model is single use told another way: who has used which token with which
// keys, in full, and nothing of generations compared or memories bounded.
type model struct {
	newest uint64
	keys   map[uint64][]string // that each token was used with, in order
	dead   bool
}

// expect tells the outcome of a use and the token it answers.
func (m *model) expect(single bool, maxReuse int, token uint64, key string) (session.Outcome, uint64) {
	if m.dead {
		return session.Refused, m.newest
	}
	known := slices.Contains(m.keys[token], key)
	successorUnused := token+1 == m.newest
	switch {
	case token > m.newest || token == m.newest:
		m.newest = token
		if single {
			m.keys[token] = append(m.keys[token], key)
			m.newest++
		}
		return session.Accepted, m.newest
	case known && successorUnused:
		return session.Accepted, m.newest
	case known || !single:
		return session.Refused, m.newest
	case successorUnused && len(m.keys[token]) > 0 && len(m.keys[token]) <= maxReuse:
		m.keys[token] = append(m.keys[token], key)
		return session.Accepted, m.newest
	}
	m.dead = true
	return session.Replayed, m.newest
}

// TestRotateAgainstModel holds Rotate against the model over random histories
// with settings that change, keys that repeat, lost answers and old tokens.
// Only tokens within the memory of late duplicates are presented again with
// their keys, since the model forgets nothing.
func TestRotateAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cs := fresh()
		m := &model{newest: 1, keys: map[uint64][]string{}}
		maxReuse := rapid.IntRange(0, 3).Draw(t, "max reuse")
		single := true
		now := t0
		for i := range rapid.IntRange(1, 40).Draw(t, "uses") {
			if rapid.IntRange(0, 9).Draw(t, "switch") == 0 {
				single = !single
			}
			p := session.Policy{OfflineIdle: 30 * day, SingleUse: single, MaxReuse: maxReuse}
			low := uint64(0)
			if m.newest > 2 {
				low = m.newest - 2
			}
			token := rapid.Uint64Range(low, m.newest).Draw(t, "token")
			if rapid.IntRange(0, 30).Draw(t, "restored") == 0 {
				token = m.newest + rapid.Uint64Range(1, 3).Draw(t, "ahead")
			}
			key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key")
			now = now.Add(time.Duration(rapid.IntRange(0, 100_000).Draw(t, "ms")) * time.Millisecond)

			wasNewest, wasDead := m.newest, m.dead
			want, newest := m.expect(single, maxReuse, token, key)
			d := session.Rotate(p, cs, session.Presented{Generation: token, KeyHash: keyHash(key)}, now)

			if d.Outcome != want || d.Next.Generation != newest {
				t.Fatalf("use %d of token %d with %q (single use %v, max reuse %d, newest %d): outcome %d, newest %d; want %d, %d",
					i, token, key, single, maxReuse, wasNewest, d.Outcome, d.Next.Generation, want, newest)
			}
			if d.Forward != (!wasDead && token > wasNewest) {
				t.Fatalf("use %d: forward %v", i, d.Forward)
			}
			if (d.Next.Status != "") != m.dead {
				t.Fatalf("use %d: status %q, dead %v", i, d.Next.Status, m.dead)
			}
			if !d.Write && d.Outcome == session.Replayed {
				t.Fatalf("use %d: a replay that is not written", i)
			}
			if !d.Write && (d.Next.Generation != cs.Generation || d.Next.Uses != cs.Uses || d.Next.Status != cs.Status) {
				t.Fatalf("use %d: a change that is not written", i)
			}
			if len(d.Next.Consumed) > 4+maxReuse {
				t.Fatalf("use %d: remembers %d keys", i, len(d.Next.Consumed))
			}
			if d.Write {
				cs = d.Next
			}
		}
	})
}
