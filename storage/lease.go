package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Lease is the right of one node to do something alone until a time. It is part
// of the record that the work is about, or a record of its own (see Store.Hold).
// Fence grows with each taking: whoever writes at the end of its work compares
// it first, so that a node that slept through its lease changes nothing.
type Lease struct {
	Holder string    `json:"holder,omitempty"` // name of the node
	Fence  uint64    `json:"fence,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// Free tells whether a node may take the lease: nobody else has it.
func (l Lease) Free(node string, now time.Time) bool {
	return l.Holder == node || !l.Until.After(now)
}

// Take is the lease after a node has taken it.
func (l Lease) Take(node string, now time.Time, d time.Duration) Lease {
	return Lease{Holder: node, Fence: l.Fence + 1, Until: now.Add(d)}
}

// Renew is the lease after its holder has prolonged it; the fence stays.
func (l Lease) Renew(now time.Time, d time.Duration) Lease {
	l.Until = now.Add(d)
	return l
}

// Release is the lease after its holder has given it back; the fence stays.
func (l Lease) Release() Lease {
	l.Until = time.Time{}
	return l
}

// ErrHeld: another node has the lease.
var ErrHeld = errors.New("another node has the lease")

func leaseKey(name string) []byte { return Key("lease", name) }

// IsLease tells whether an item is a lease: of this place and hour, no part of
// what a store keeps.
func IsLease(key []byte) bool { return bytes.HasPrefix(key, Key("lease")) }

// Vacant tells whether a store holds nothing but leases.
func Vacant(tx Tx) (bool, error) {
	const page = 16
	for after := []byte(nil); ; {
		items, err := tx.Scan(nil, after, page)
		if err != nil {
			return false, err
		}
		for _, it := range items {
			if !IsLease(it.Key) {
				return false, nil
			}
			after = it.Key
		}
		if len(items) < page {
			return true, nil
		}
	}
}

// Hold takes or prolongs the lease of a piece of work that only one node does,
// such as keeping grants alive. ErrHeld: another node has it. A holder that calls
// again before half of d has passed writes nothing.
func (s *Store) Hold(ctx context.Context, name, node string, d time.Duration) (Lease, error) {
	var l Lease
	now := s.now()
	err := s.Update(ctx, func(tx Tx) error {
		var err error
		if l, err = readLease(tx, name); err != nil {
			return err
		}
		mine := l.Holder == node && l.Until.After(now)
		switch {
		case mine && l.Until.Sub(now) > d/2:
			return nil
		case mine:
			l = l.Renew(now, d)
		case !l.Free(node, now):
			return ErrHeld
		default:
			l = l.Take(node, now, d)
		}
		return writeLease(tx, name, l)
	})
	if err != nil {
		return Lease{}, fmt.Errorf("holding lease %s: %w", name, err)
	}
	return l, nil
}

// Alone tells whether this node is the one that does a piece of work, for at least
// half of d from now on: it has the store to itself, or holds the lease.
func (s *Store) Alone(ctx context.Context, work string, d time.Duration) bool {
	if s.node == "" {
		return true
	}
	_, err := s.Hold(ctx, work, s.node, d)
	if err != nil && !errors.Is(err, ErrHeld) && ctx.Err() == nil {
		s.log.Warn("taking turns with other nodes", "err", err)
	}
	return err == nil
}

// LetGo gives a lease back, so that another node need not wait for its end.
// One that is not this node's any more is left alone.
func (s *Store) LetGo(ctx context.Context, name, node string) error {
	err := s.Update(ctx, func(tx Tx) error {
		l, err := readLease(tx, name)
		if err != nil || l.Holder != node || l.Until.IsZero() {
			return err
		}
		return writeLease(tx, name, l.Release())
	})
	if err != nil {
		return fmt.Errorf("releasing lease %s: %w", name, err)
	}
	return nil
}

// Held tells whether any node has the lease.
func (s *Store) Held(ctx context.Context, name string) (bool, error) {
	var l Lease
	err := s.View(ctx, func(tx Tx) (err error) {
		l, err = readLease(tx, name)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("reading lease %s: %w", name, err)
	}
	return l.Until.After(s.now()), nil
}

// presence is a prefix of the keys of those who use a store that many share. Such
// an item expires by itself.
var presence = Key("lease", "present")

func presenceKey(node string) []byte { return append(bytes.Clone(presence), Key(node)...) }

// Presence is what a node that uses a store says of itself to the others.
type Presence struct {
	Node string
	Says []byte
}

// Appear notes for a while that a node uses the store, with what say returns in
// the same transaction; an error of say changes nothing.
func (s *Store) Appear(ctx context.Context, node string, d time.Duration, say func(Tx) ([]byte, error)) error {
	until := s.now().Add(d)
	err := s.Converge(ctx, func(tx Tx) error {
		said, err := say(tx)
		if err != nil {
			return err
		}
		return tx.Put(Item{Key: presenceKey(node), Value: said, Expires: until})
	})
	if err != nil {
		return fmt.Errorf("noting that a node uses the store: %w", err)
	}
	return nil
}

// Vanish takes back what Appear noted.
func (s *Store) Vanish(ctx context.Context, node string) error {
	if err := s.Converge(ctx, func(tx Tx) error { return tx.Delete(presenceKey(node)) }); err != nil {
		return fmt.Errorf("noting that a node has left the store: %w", err)
	}
	return nil
}

// maxPresent is how many nodes are looked at: more than ever share a store.
const maxPresent = 1000

// Present lists who uses the store, of those that Appear.
func Present(tx Tx) ([]Presence, error) {
	items, err := tx.Scan(presence, nil, maxPresent)
	if err != nil {
		return nil, fmt.Errorf("looking who uses the store: %w", err)
	}
	var all []Presence
	for _, it := range items {
		parts, err := Parts(it.Key)
		if err != nil {
			return nil, fmt.Errorf("looking who uses the store: %w", err)
		}
		all = append(all, Presence{Node: parts[len(parts)-1], Says: bytes.Clone(it.Value)})
	}
	return all, nil
}

// Present lists who uses the store now.
func (s *Store) Present(ctx context.Context) (all []Presence, err error) {
	err = s.View(ctx, func(tx Tx) error {
		all, err = Present(tx)
		return err
	})
	return all, err
}

func readLease(tx Tx, name string) (Lease, error) {
	var l Lease
	it, err := tx.Get(leaseKey(name))
	if errors.Is(err, ErrNotFound) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(it.Value, &l)
	}
	return l, err
}

func writeLease(tx Tx, name string, l Lease) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return tx.Put(Item{Key: leaseKey(name), Value: raw})
}
