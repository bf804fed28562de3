package guess

import (
	"crypto/sha256"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Memory counts wrong client secrets of this process: a client that is wrong must
// not keep the store busy. A secret is counted once, however often it comes: who
// was not told of a new one does not guess.
type Memory struct {
	seed maphash.Seed

	size atomic.Int64 // of counts: nearly always 0, and then nothing is locked

	mu     sync.Mutex
	counts map[[32]byte]*secrets
}

type secrets struct {
	Count
	recent []uint64 // of the wrong ones
}

const (
	maxCounts = 1 << 14 // beyond it any other goes
	maxRecent = 8
)

// NewMemory makes an empty one.
func NewMemory() *Memory {
	return &Memory{seed: maphash.MakeSeed(), counts: map[[32]byte]*secrets{}}
}

func pair(client, address string) [32]byte {
	return sha256.Sum256([]byte(network(address) + "\x00" + client))
}

// Wait tells how long a client at an address has to wait, 0 for not at all.
// Whether there is such a client makes no difference.
func (m *Memory) Wait(p Policy, client, address string, now time.Time) time.Duration {
	if p.Factor == 0 || m.size.Load() == 0 {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.counts[pair(client, address)]; s != nil {
		return p.Wait(s.Count, now)
	}
	return 0
}

// Wrong counts a secret.
func (m *Memory) Wrong(p Policy, client, address, secret string, now time.Time) {
	if p.Factor == 0 {
		return
	}
	hash, at := maphash.String(m.seed, secret), pair(client, address)
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.counts[at]
	if s == nil || p.forgets(s.Count, now) {
		for other := range m.counts {
			if len(m.counts) < maxCounts {
				break
			}
			delete(m.counts, other)
		}
		s = &secrets{}
		m.counts[at] = s
		m.size.Store(int64(len(m.counts)))
	}
	if slices.Contains(s.recent, hash) {
		return
	}
	s.Count = p.Add(s.Count, now)
	if s.recent = append(s.recent, hash); len(s.recent) > maxRecent {
		s.recent = slices.Delete(s.recent, 0, 1)
	}
}

// Right forgets what was wrong before.
func (m *Memory) Right(client, address string) {
	if m.size.Load() == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.counts, pair(client, address))
	m.size.Store(int64(len(m.counts)))
}
