package seal

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// Live is the keyset of a process while it uses a store. It seals with the key that
// the store names (Follow), whichever is the newest of the file, and opens what any
// key could open that it was ever given: bytes that were read before an exchange,
// and cookies, still come. It implements storage.Sealer.
type Live struct {
	is      atomic.Pointer[generations]
	turning sync.Mutex // one Follow or Learn at a time
	// settled is the key that all is sealed with which is under way.
	settled atomic.Uint32

	// Of several processes one that the others have not heard of for within seals
	// nothing: they may have gone on without it. 0: there are no others.
	within time.Duration
	began  time.Time
	heard  atomic.Int64 // since began, in nanoseconds
}

type generations struct {
	file   *Keyset   // as it was given
	now    *Keyset   // the same, sealing with the key that the store names
	former []*Keyset // the latest first
}

// Open makes sure that the keyset opens what the store holds, which is noted in an
// empty one, and returns it as this process uses it: of several that share the
// store it has to Appear again before within has passed, and Follow. 0: it has the
// store to itself. ErrForeignKey: the store belongs to another key; nothing was
// written.
func Open(ctx context.Context, s *storage.Store, k *Keyset, within time.Duration) (*Live, error) {
	n, err := check(ctx, s, k)
	if err != nil {
		return nil, err
	}
	now, err := k.sealingWith(n.Seals)
	if err != nil {
		return nil, err
	}
	l := &Live{within: within, began: time.Now()} // real time, like the waits of a lock
	l.is.Store(&generations{file: k, now: now})
	l.settled.Store(uint32(now.newest))
	return l, nil
}

// File is the keyset as it was given last.
func (l *Live) File() *Keyset { return l.is.Load().file }

// Follow seals from now on with the key that the store names. turned: that is
// another one than before, with which nothing is sealed any more, and nothing is
// under way. ErrForeignKey: the store has gone on with a key that this process was
// not given; it seals nothing until it has Learnt that.
func (l *Live) Follow(ctx context.Context, s *storage.Store) (turned bool, err error) {
	return l.take(ctx, s, nil)
}

// Learn is Follow with another keyset of the same store in place of the one that was
// given before. An error changes nothing.
func (l *Live) Learn(ctx context.Context, s *storage.Store, k *Keyset) error {
	_, err := l.take(ctx, s, k)
	return err
}

func (l *Live) take(ctx context.Context, s *storage.Store, given *Keyset) (turned bool, err error) {
	l.turning.Lock()
	defer l.turning.Unlock()
	was := l.is.Load()
	is := &generations{file: was.file, former: was.former}
	if given != nil {
		is.file = given
	}
	var n note
	err = s.View(ctx, func(tx storage.Tx) error {
		n, err = readNote(tx, is.file)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("following the sealing key: %w", err)
	}
	if err := n.fits(is.file); err != nil {
		if given == nil {
			l.heard.Store(math.MinInt64)
		}
		return false, fmt.Errorf("following the sealing key: %w", err)
	}
	if is.now, err = is.file.sealingWith(n.Seals); err != nil {
		return false, err
	}
	if !is.now.opens(was.now) {
		is.former = slices.Insert(slices.Clone(was.former), 0, was.now)
	}
	l.is.Store(is)
	if KeyID(l.settled.Load()) == is.now.newest {
		return false, nil
	}
	if err := s.Settle(ctx); err != nil {
		return false, fmt.Errorf("waiting for what is sealed with the key before: %w", err)
	}
	l.settled.Store(uint32(is.now.newest))
	return true, nil
}

// attendant is what a process that shares a store says of itself.
type attendant struct {
	// Is names it to people.
	Is    string  `json:"is"`
	Opens []KeyID `json:"opens,omitempty"`
	Seals KeyID   `json:"seals,omitempty"`
	// Bystander: it seals nothing that it writes, so nobody waits for it.
	Bystander bool `json:"bystander,omitempty"`
}

// StandBy tells for d that a process uses the store and seals nothing, or nothing but
// by Rekey; see Appear.
func StandBy(ctx context.Context, s *storage.Store, node, is string, d time.Duration) error {
	said, err := json.Marshal(attendant{Is: is, Bystander: true})
	if err != nil {
		return fmt.Errorf("telling of the sealing key: %w", err)
	}
	return s.Appear(ctx, node, d, func(storage.Tx) ([]byte, error) { return said, nil })
}

// Appear tells for d, in the store, which keys a process opens and which one it
// seals with: Rekey waits for it. node is its name among processes, is the one
// that people know it by. given, if not nil, is a keyset that it is about to Learn.
// ErrForeignKey: the store has gone on with a key that it was not given; it does
// not appear.
func (l *Live) Appear(ctx context.Context, s *storage.Store, node, is string, d time.Duration, given *Keyset) error {
	at := time.Since(l.began)
	if given == nil {
		given = l.File()
	}
	said, err := json.Marshal(attendant{Is: is, Opens: given.holds, Seals: KeyID(l.settled.Load())})
	if err != nil {
		return fmt.Errorf("telling of the sealing key: %w", err)
	}
	err = s.Appear(ctx, node, d, func(tx storage.Tx) ([]byte, error) {
		n, err := readNote(tx, given)
		if err == nil {
			err = n.fits(given)
		}
		return said, err
	})
	if err == nil {
		l.heard.Store(int64(at))
	}
	return err
}

// Seal encrypts plaintext for a storage key.
func (l *Live) Seal(key, plaintext []byte) ([]byte, error) {
	if l.within > 0 && time.Since(l.began) > time.Duration(l.heard.Load())+l.within {
		return nil, fmt.Errorf("the nodes that share the store have not heard of this one: it does not know which key seals now: %w", storage.ErrUnavailable)
	}
	return l.is.Load().now.Seal(key, plaintext)
}

// Open decrypts what was sealed for the same storage key.
func (l *Live) Open(key, sealed []byte) ([]byte, error) {
	is := l.is.Load()
	plain, err := is.now.Open(key, sealed)
	for i := 0; err != nil && i < len(is.former); i++ {
		if plain, ferr := is.former[i].Open(key, sealed); ferr == nil {
			return plain, nil
		}
	}
	if by, ok := sealedWith(sealed); err != nil && l.within > 0 && ok && !slices.Contains(is.file.holds, by) {
		return nil, fmt.Errorf("sealed with key %s, which this node was not given: %w", by, storage.ErrUnavailable)
	}
	return plain, err
}

// Derive returns a subkey, which no exchange changes.
func (l *Live) Derive(purpose string) []byte { return l.File().Derive(purpose) }

var _ storage.Sealer = (*Live)(nil)
