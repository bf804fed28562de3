package storage

import (
	"encoding/json"
	"fmt"
	"time"
)

// Sealer encrypts a value so that it opens only under the key it was sealed
// for. storage/seal implements it.
type Sealer interface {
	Seal(key, plaintext []byte) ([]byte, error)
	Open(key, sealed []byte) ([]byte, error)
}

// Table keeps records of type T as JSON under the key (Name, scope, id), and
// keeps its index and counter rows right in the same transaction. The scope
// separates realms (or sites): nothing lists across scopes.
//
// A Put or Delete reads the old record if the table has indexes (a record that
// the transaction has read already costs nothing more) and writes one row, plus
// one row for each index value that came or went, and its counter shard.
type Table[T any] struct {
	// Name begins every key of the table; unique in the program.
	Name string
	// Sealer, if not nil, seals the values. Index values stay readable: never
	// index by a secret, index by its hash.
	Sealer Sealer
	// Indexes by name. See Index.
	Indexes map[string]Index[T]
	// Expires, if not nil, tells when a record ceases to exist. Only for
	// records without indexes: an expired row leaves no trace, an index row
	// would.
	Expires func(*T) time.Time

	memo memo // see Shared
}

// Row is a record with its id.
type Row[T any] struct {
	ID     string
	Record *T
}

func (t *Table[T]) key(scope, id string) []byte { return Key(t.Name, scope, id) }

// Prefix of all records of a scope, for Watch. The last part of each key
// (see Parts) is the id.
func (t *Table[T]) Prefix(scope string) []byte { return Key(t.Name, scope) }

func (t *Table[T]) decode(it Item) (*T, error) {
	raw := it.Value
	if t.Sealer != nil {
		var err error
		if raw, err = t.Sealer.Open(it.Key, raw); err != nil {
			return nil, fmt.Errorf("opening sealed %s record: %w", t.Name, err)
		}
	}
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("decoding %s record: %w", t.Name, err)
	}
	return v, nil
}

// Get returns ErrNotFound for an absent record.
func (t *Table[T]) Get(tx Tx, scope, id string) (*T, error) {
	it, err := tx.Get(t.key(scope, id))
	if err != nil {
		return nil, err
	}
	return t.decode(it)
}

// Put writes the record and moves its index rows. ErrTaken: a unique value
// belongs to another record; nothing was written.
func (t *Table[T]) Put(tx Tx, scope, id string, v *T) error {
	it, err := t.encode(scope, id, v)
	if err != nil {
		return err
	}
	if err := t.reindex(tx, scope, id, v); err != nil {
		return err
	}
	return tx.Put(it)
}

// Add is Put for a record whose id nobody has used or ever will, such as one of
// a log. It reads nothing. If the same transaction runs again it writes the same.
func (t *Table[T]) Add(tx Tx, scope, id string, v *T) error {
	it, err := t.encode(scope, id, v)
	if err != nil {
		return err
	}
	for name, ix := range t.Indexes {
		if ix.Unique || ix.Counted {
			return fmt.Errorf("table %s has a unique or counted index: it needs Put", t.Name)
		}
		for _, value := range ix.Values(v) {
			if err := t.link(tx, scope, name, value, id, ix); err != nil {
				return err
			}
		}
	}
	return tx.Put(it)
}

func (t *Table[T]) encode(scope, id string, v *T) (Item, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return Item{}, fmt.Errorf("encoding %s record: %w", t.Name, err)
	}
	it := Item{Key: t.key(scope, id), Value: raw}
	if t.Sealer != nil {
		if it.Value, err = t.Sealer.Seal(it.Key, raw); err != nil {
			return Item{}, fmt.Errorf("sealing %s record: %w", t.Name, err)
		}
	}
	if t.Expires != nil {
		if len(t.Indexes) > 0 {
			return Item{}, fmt.Errorf("table %s has indexes: its records cannot expire", t.Name)
		}
		it.Expires = t.Expires(v)
	}
	return it, nil
}

// Delete removes the record and its index rows; an absent one is fine.
func (t *Table[T]) Delete(tx Tx, scope, id string) error {
	if err := t.reindex(tx, scope, id, nil); err != nil {
		return err
	}
	return tx.Delete(t.key(scope, id))
}

// List pages through the records of a scope in the order of their ids,
// beginning behind after ("": from the first).
func (t *Table[T]) List(tx Tx, scope, after string, limit int) ([]Row[T], error) {
	return t.list(tx, scope, after, limit, t.decode)
}

func (t *Table[T]) list(tx Tx, scope, after string, limit int, decode func(Item) (*T, error)) ([]Row[T], error) {
	prefix := t.Prefix(scope)
	var from []byte
	if after != "" {
		from = t.key(scope, after)
	}
	items, err := tx.Scan(prefix, from, limit)
	if err != nil {
		return nil, err
	}
	rows := make([]Row[T], 0, len(items))
	for _, it := range items {
		parts, err := Parts(it.Key)
		if err != nil {
			return nil, err
		}
		v, err := decode(it)
		if err != nil {
			return nil, err
		}
		rows = append(rows, Row[T]{parts[len(parts)-1], v})
	}
	return rows, nil
}
