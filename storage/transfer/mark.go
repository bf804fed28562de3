package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nightlatch/nightlatch/storage"
)

// Errors that an operator has to act on.
var (
	// ErrUnfinished: a copy into this store did not come to its end.
	ErrUnfinished = errors.New("the store is not whole")
	// ErrNotEmpty: the target holds records and is no copy that was begun.
	ErrNotEmpty = errors.New("the target is not empty")
	// ErrEmpty: the source holds nothing.
	ErrEmpty = errors.New("the source holds no records")
	// ErrChanged: the source changes while it is copied.
	ErrChanged = errors.New("the source changes while it is copied")
)

// markKey is the storage key of the mark: what a store is filled from, and how
// far. It goes when all is there and verified.
var markKey = storage.Key("store", "unfinished")

// stays tells whether an item is of its place: it is not moved, and left alone
// where it is.
func stays(key []byte) bool { return bytes.Equal(key, markKey) || storage.IsLease(key) }

type mark struct {
	// What is under way, as an operator knows it: "copy of badger ./a".
	What string `json:"what"`
	// After is the key of the last item that is in place.
	After []byte `json:"after,omitempty"`
}

// readMark returns nil for a store without one.
func readMark(tx storage.Tx) (*mark, error) {
	it, err := tx.Get(markKey)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := new(mark)
	if err := json.Unmarshal(it.Value, m); err != nil {
		return nil, fmt.Errorf("reading the mark of an unfinished store: %w", err)
	}
	return m, nil
}

func (m mark) put(tx storage.Tx) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing the mark of an unfinished store: %w", err)
	}
	return tx.Put(storage.Item{Key: markKey, Value: raw})
}

// Whole returns ErrUnfinished, with what to do, for a store that a copy has not
// filled yet: nobody may use it.
func Whole(ctx context.Context, s *storage.Store) error {
	var m *mark
	err := s.View(ctx, func(tx storage.Tx) (err error) {
		m, err = readMark(tx)
		return err
	})
	switch {
	case err != nil:
		return err
	case m != nil:
		return fmt.Errorf("%w: %s did not come to its end: run the same command again, or empty the store", ErrUnfinished, m.What)
	}
	return nil
}
