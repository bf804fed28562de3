package storage

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// Errors of the contract. Backends wrap them, callers use errors.Is.
var (
	// ErrNotFound: the key is absent (or its item has expired).
	ErrNotFound = errors.New("not found")
	// ErrConflict: another transaction changed what this one read; nothing was
	// written, try again. Store retries; callers of Store see it only when the
	// deadline for retries has passed.
	ErrConflict = errors.New("transaction conflict")
	// ErrUnknown: the commit failed in a way that does not tell whether it
	// happened. Callers read again or rely on an idempotent request; they never
	// repeat blindly.
	ErrUnknown = errors.New("outcome of the commit is unknown")
	// ErrTooLarge: a key, a value or the whole transaction exceeds a limit.
	ErrTooLarge = errors.New("too large")
	// ErrNested: Update was called inside the closure of an Update.
	ErrNested = errors.New("update inside an update")
	// ErrStuck: a closure does not end, perhaps because it waits for this very
	// Update, which was sent away; nothing was written.
	ErrStuck = errors.New("an update before it does not end")
	// ErrFull: the disk has no room; nothing was written, reads go on. It ends by
	// itself when there is room.
	ErrFull = errors.New("no room on the disk")
	// ErrUnavailable: the engine cannot be reached, or does not let us in; nothing
	// was written. It ends when the engine is back.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

// Temporary tells that an error is not the caller's and passes: the same request
// may be sent again later (HTTP 503 with Retry-After).
func Temporary(err error) bool {
	for _, e := range []error{ErrUnknown, ErrConflict, ErrStuck, ErrFull, ErrUnavailable, ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Limits that every engine keeps.
const (
	MaxKey   = 1 << 10   // bytes of a key
	MaxValue = 512 << 10 // bytes of a value
)

// Item is one record. Expires tells when it ceases to exist; zero means never.
type Item struct {
	Key, Value []byte
	Expires    time.Time
}

func (it Item) clone() Item {
	return Item{Key: bytes.Clone(it.Key), Value: bytes.Clone(it.Value), Expires: it.Expires}
}

// Tx is the view of one transaction. Slices handed in and out belong to the
// transaction until it ends, and to nobody who writes to them.
type Tx interface {
	// Get returns ErrNotFound for an absent key. The key, present or absent,
	// is guarded: the commit fails if it changed meanwhile.
	Get(key []byte) (Item, error)
	// GetMany is Get of several keys at the price of one round trip: an item for
	// each, in their order, without a Key where it is absent.
	GetMany(keys [][]byte) ([]Item, error)
	Put(Item) error
	// Delete of an absent key is fine.
	Delete(key []byte) error
	// Scan returns at most limit items whose key begins with prefix and is
	// greater than after (nil: from the first), in ascending byte order. It
	// sees the transaction's own writes. What it found is guarded as by Get, and
	// so is that there was no more.
	Scan(prefix, after []byte, limit int) ([]Item, error)
}

// Backend is an engine. It neither retries nor judges expiry: Store does.
type Backend interface {
	// View runs fn on one snapshot, taken at its first read or before.
	View(ctx context.Context, fn func(Tx) error) error
	// Update makes one attempt; its outcome equals some serial order of all
	// Updates. ErrConflict: nothing happened, try again. ErrUnknown: the commit
	// may have happened. Otherwise an error means that nothing was written; a
	// nil error means that everything is on disk.
	Update(ctx context.Context, fn func(Tx) error) error
	// Sweep deletes at most limit items whose Expires is before the given time
	// and tells how many it deleted.
	Sweep(ctx context.Context, before time.Time, limit int) (int, error)
	// Watch calls fn with keys below prefix that were changed by any node, at
	// least once each and within 1 s, until ctx ends. It returns when ctx ends
	// (nil) or the engine cannot go on (an error). ready, if not nil, is called
	// once when no change can be missed any more.
	Watch(ctx context.Context, prefix []byte, ready func(), fn func(keys [][]byte)) error
	Close() error
}
