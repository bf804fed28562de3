package storage

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
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
}

// Index lists the records of a scope by a value.
type Index[T any] struct {
	// Values of a record, none to leave it out.
	Values func(*T) []string
	// Counted keeps the number of records of each value, in shards so that one
	// popular value is no hot spot. Count reads it without a scan.
	Counted bool
	// Unique makes Put fail with ErrTaken if another record has the value.
	Unique bool
}

// Row is a record with its id.
type Row[T any] struct {
	ID     string
	Record *T
}

// ErrTaken: a unique value belongs to another record.
var ErrTaken = errors.New("value is taken")

const counterShards = 16

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

// Put writes the record and moves its index rows.
func (t *Table[T]) Put(tx Tx, scope, id string, v *T) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s record: %w", t.Name, err)
	}
	it := Item{Key: t.key(scope, id), Value: raw}
	if t.Sealer != nil {
		if it.Value, err = t.Sealer.Seal(it.Key, raw); err != nil {
			return fmt.Errorf("sealing %s record: %w", t.Name, err)
		}
	}
	if t.Expires != nil {
		it.Expires = t.Expires(v)
	}
	if err := t.reindex(tx, scope, id, v); err != nil {
		return err
	}
	return tx.Put(it)
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
		v, err := t.decode(it)
		if err != nil {
			return nil, err
		}
		rows = append(rows, Row[T]{parts[len(parts)-1], v})
	}
	return rows, nil
}

// ListBy pages through the records with an index value, in the order of their
// ids.
func (t *Table[T]) ListBy(tx Tx, scope, index, value, after string, limit int) ([]Row[T], error) {
	ids, err := t.IDsBy(tx, scope, index, value, after, limit)
	if err != nil {
		return nil, err
	}
	rows := make([]Row[T], 0, len(ids))
	for _, id := range ids {
		v, err := t.Get(tx, scope, id)
		if err != nil {
			return nil, fmt.Errorf("reading %s record behind its index: %w", t.Name, err)
		}
		rows = append(rows, Row[T]{id, v})
	}
	return rows, nil
}

// IDsBy is ListBy without reading the records.
func (t *Table[T]) IDsBy(tx Tx, scope, index, value, after string, limit int) ([]string, error) {
	if _, ok := t.Indexes[index]; !ok {
		return nil, fmt.Errorf("table %s has no index %q", t.Name, index)
	}
	prefix := t.indexKey(scope, index, value)
	var from []byte
	if after != "" {
		from = t.indexKey(scope, index, value, after)
	}
	items, err := tx.Scan(prefix, from, limit)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(items))
	for _, it := range items {
		parts, err := Parts(it.Key)
		if err != nil {
			return nil, err
		}
		ids = append(ids, parts[len(parts)-1])
	}
	return ids, nil
}

// GetBy returns the record with a value of a unique index, or ErrNotFound.
func (t *Table[T]) GetBy(tx Tx, scope, index, value string) (Row[T], error) {
	it, err := tx.Get(t.uniqueKey(scope, index, value))
	if err != nil {
		return Row[T]{}, err
	}
	id := string(it.Value)
	v, err := t.Get(tx, scope, id)
	if err != nil {
		return Row[T]{}, err
	}
	return Row[T]{id, v}, nil
}

// Count tells how many records have a value of a counted index. It reads the
// counter's shards, never the records.
func (t *Table[T]) Count(tx Tx, scope, index, value string) (int, error) {
	if ix, ok := t.Indexes[index]; !ok || !ix.Counted {
		return 0, fmt.Errorf("table %s does not count by %q", t.Name, index)
	}
	items, err := tx.Scan(Key(t.Name+"#", scope, index, value), nil, counterShards)
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, it := range items {
		sum += int(int64(binary.BigEndian.Uint64(it.Value)))
	}
	return sum, nil
}

func (t *Table[T]) indexKey(scope, index string, rest ...string) []byte {
	return Key(append([]string{t.Name + "@", scope, index}, rest...)...)
}

func (t *Table[T]) uniqueKey(scope, index, value string) []byte {
	return Key(t.Name+"!", scope, index, value)
}

// reindex moves the rows of all indexes from the stored record to v; nil means
// that the record goes.
func (t *Table[T]) reindex(tx Tx, scope, id string, v *T) error {
	if len(t.Indexes) == 0 {
		return nil
	}
	old, err := t.Get(tx, scope, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	for name, ix := range t.Indexes {
		var was, is []string
		if old != nil {
			was = ix.Values(old)
		}
		if v != nil {
			is = ix.Values(v)
		}
		for _, value := range was {
			if !slices.Contains(is, value) {
				if err := t.unlink(tx, scope, name, value, id, ix); err != nil {
					return err
				}
			}
		}
		for _, value := range is {
			if !slices.Contains(was, value) {
				if err := t.link(tx, scope, name, value, id, ix); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t *Table[T]) link(tx Tx, scope, name, value, id string, ix Index[T]) error {
	if ix.Unique {
		key := t.uniqueKey(scope, name, value)
		switch it, err := tx.Get(key); {
		case err == nil && string(it.Value) != id:
			return fmt.Errorf("%s %s %q: %w", t.Name, name, value, ErrTaken)
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		}
		return tx.Put(Item{Key: key, Value: []byte(id)})
	}
	if ix.Counted {
		if err := t.count(tx, scope, name, value, id, 1); err != nil {
			return err
		}
	}
	return tx.Put(Item{Key: t.indexKey(scope, name, value, id), Value: []byte{}})
}

func (t *Table[T]) unlink(tx Tx, scope, name, value, id string, ix Index[T]) error {
	if ix.Unique {
		return tx.Delete(t.uniqueKey(scope, name, value))
	}
	if ix.Counted {
		if err := t.count(tx, scope, name, value, id, -1); err != nil {
			return err
		}
	}
	return tx.Delete(t.indexKey(scope, name, value, id))
}

// count moves the shard of a counter that the record's id belongs to.
func (t *Table[T]) count(tx Tx, scope, name, value, id string, by int64) error {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	key := Key(t.Name+"#", scope, name, value, string(rune('a'+h.Sum32()%counterShards)))
	var n int64
	switch it, err := tx.Get(key); {
	case err == nil:
		n = int64(binary.BigEndian.Uint64(it.Value))
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if n += by; n == 0 {
		return tx.Delete(key)
	}
	return tx.Put(Item{Key: key, Value: binary.BigEndian.AppendUint64(nil, uint64(n))})
}
