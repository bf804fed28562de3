package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nightlatch/nightlatch/storage"
)

// NoteKey is the storage key of what a store says of the keys that it is sealed
// with.
var NoteKey = storage.Key("seal", "fingerprint")

// note is the item at NoteKey. The first stores held the bare fingerprint.
type note struct {
	Fingerprint string `json:"fingerprint"`
	// Keys that any value may be sealed with, ascending; none: unknown, from
	// before a store could be rekeyed.
	Keys []KeyID `json:"keys"`
	// Seals is the one of them that everybody seals with; 0: the newest of the key
	// file, from before the store said so.
	Seals KeyID `json:"seals,omitempty"`
}

func parseNote(raw []byte) (note, error) {
	if !bytes.HasPrefix(raw, []byte("{")) {
		return note{Fingerprint: string(raw)}, nil
	}
	var n note
	if err := json.Unmarshal(raw, &n); err != nil {
		return note{}, fmt.Errorf("reading the note of the sealing key: %w", err)
	}
	return n, nil
}

// fits tells why a keyset cannot open a store with this note; nil if it can.
func (n note) fits(k *Keyset) error {
	if have := k.Fingerprint(); have != n.Fingerprint {
		return fmt.Errorf("the store has fingerprint %s, the key %s; give the key that the store was made with, or choose another store: %w", n.Fingerprint, have, ErrForeignKey)
	}
	for _, id := range n.Keys {
		if !slices.Contains(k.holds, id) {
			return fmt.Errorf("the store holds what key %s sealed, which is not in this keyset (%v); the store was rekeyed: give the key file as it is now, or as it was when this copy of the store was made: %w", id, k.holds, ErrForeignKey)
		}
	}
	return nil
}

func (n note) put(tx storage.Tx) error {
	raw, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("writing the note of the sealing key: %w", err)
	}
	return tx.Put(storage.Item{Key: NoteKey, Value: raw})
}

// Fits tells why the keyset cannot open what stands beside an item at NoteKey,
// of a store or of a backup: ErrForeignKey.
func (k *Keyset) Fits(it storage.Item) error {
	n, err := parseNote(it.Value)
	if err != nil {
		return err
	}
	return n.fits(k)
}

// Check makes sure that the keyset opens what the store holds, and notes in an empty
// one which key seals from now on. ErrForeignKey: the store belongs to another key;
// nothing was written.
func Check(ctx context.Context, s *storage.Store, k *Keyset) error {
	_, err := check(ctx, s, k)
	return err
}

func check(ctx context.Context, s *storage.Store, k *Keyset) (n note, err error) {
	read := func(tx storage.Tx) error {
		if n, err = readNote(tx, k); err != nil {
			return err
		}
		return n.fits(k)
	}
	said := func() bool { return n.Keys != nil && n.Seals != 0 }
	err = s.View(ctx, read)
	if err == nil && !said() {
		err = s.Converge(ctx, func(tx storage.Tx) error {
			if err := read(tx); err != nil || said() {
				return err
			}
			if n.Keys == nil {
				n.Keys = k.holds
			}
			n = n.sealedBy(k.newest)
			return n.put(tx)
		})
	}
	if err != nil {
		return note{}, fmt.Errorf("checking sealing key: %w", err)
	}
	return n, nil
}

// sealedBy is the note after another key has begun to seal.
func (n note) sealedBy(id KeyID) note {
	n.Seals = id
	if !slices.Contains(n.Keys, id) {
		n.Keys = append(slices.Clone(n.Keys), id)
		slices.Sort(n.Keys)
	}
	return n
}

// readNote returns what an empty store is to say, if it is empty. A store with
// records but without a note is not ours.
func readNote(tx storage.Tx, k *Keyset) (note, error) {
	it, err := tx.Get(NoteKey)
	if err == nil {
		return parseNote(it.Value)
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return note{}, err
	}
	vacant, err := storage.Vacant(tx)
	switch {
	case err != nil:
		return note{}, err
	case !vacant:
		return note{Fingerprint: "none"}, nil
	}
	return note{Fingerprint: k.Fingerprint()}, nil
}

// Empty tells whether nothing was ever stored, so that a new key may be made.
func Empty(ctx context.Context, s *storage.Store) (bool, error) {
	empty := false
	err := s.View(ctx, func(tx storage.Tx) (err error) {
		empty, err = storage.Vacant(tx)
		return err
	})
	return empty, err
}
