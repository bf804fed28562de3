package storage

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
)

// Index lists the records of a scope by a value.
type Index[T any] struct {
	// Values of a record, none to leave it out.
	Values func(*T) []string
	// Counted keeps the number of records of each value, in shards so that one
	// popular value is no hot spot. Count reads it without a scan, and PageBy
	// skips whole shards.
	Counted bool
	// Unique makes Put fail with ErrTaken if another record has the value.
	// Unique values are read by GetBy; they are neither listed nor counted.
	Unique bool
	// Version grows when Values gives other values for records that are there (see
	// Store.Index). An index that becomes counted, or unique, needs another name.
	Version int
}

// ErrTaken: a unique value belongs to another record.
var ErrTaken = errors.New("value is taken")

// The counter of a value has a row for each byte that an id may begin with, so
// that the rows are in the order of the ids; and of each of them so many, by a hash
// of the whole id, for ids may all begin alike. Stores of older versions have one
// row for each byte; it goes on being a part of the sum.
const (
	counterParts  = 16
	counterShards = 257 * (counterParts + 1)
)

// ListBy pages through the records with an index value, in the order of their
// ids.
func (t *Table[T]) ListBy(tx Tx, scope, index, value, after string, limit int) ([]Row[T], error) {
	ids, err := t.IDsBy(tx, scope, index, value, after, limit)
	if err != nil {
		return nil, err
	}
	return t.GetMany(tx, scope, ids)
}

// GetMany reads the records that an index names, in one round trip.
func (t *Table[T]) GetMany(tx Tx, scope string, ids []string) ([]Row[T], error) {
	keys := make([][]byte, len(ids))
	for i, id := range ids {
		keys[i] = t.key(scope, id)
	}
	items, err := tx.GetMany(keys)
	if err != nil {
		return nil, err
	}
	rows := make([]Row[T], len(ids))
	for i, it := range items {
		if it.Key == nil {
			return nil, fmt.Errorf("reading %s record behind its index: %w", t.Name, ErrNotFound)
		}
		v, err := t.decode(it)
		if err != nil {
			return nil, fmt.Errorf("reading %s record behind its index: %w", t.Name, err)
		}
		rows[i] = Row[T]{ids[i], v}
	}
	return rows, nil
}

// IDsBy is ListBy without reading the records.
func (t *Table[T]) IDsBy(tx Tx, scope, index, value, after string, limit int) ([]string, error) {
	if ix, ok := t.Indexes[index]; !ok || ix.Unique {
		return nil, fmt.Errorf("table %s does not list by %q", t.Name, index)
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

// PageBy is ListBy by offset: the records from the first-th on. It reads a
// counter's shards and the index rows of one shard at most before the page,
// however far that is; the index must be Counted.
func (t *Table[T]) PageBy(tx Tx, scope, index, value string, first, limit int) ([]Row[T], error) {
	counter, err := t.shards(tx, scope, index, value)
	if err != nil {
		return nil, err
	}
	shards, err := byFirst(counter)
	if err != nil {
		return nil, err
	}
	prefix := t.indexKey(scope, index, value)
	var from []byte
	skip, passed := max(first, 0), 0
	for passed < len(shards) && skip >= shards[passed].count {
		skip -= shards[passed].count
		passed++
	}
	if passed == len(shards) {
		return nil, nil
	}
	if passed > 0 {
		// Every id of a shard is greater than the shard itself, unfinished.
		from = t.indexKey(scope, index, value, shards[passed].first)
		from = from[:len(from)-2]
	}
	var ids []string
	for len(ids) < limit {
		want := min(4096, skip+limit-len(ids))
		items, err := tx.Scan(prefix, from, want)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			from = it.Key
			if skip > 0 {
				skip--
				continue
			}
			parts, err := Parts(it.Key)
			if err != nil {
				return nil, err
			}
			ids = append(ids, parts[len(parts)-1])
		}
		if len(items) < want {
			break
		}
	}
	return t.GetMany(tx, scope, ids)
}

// GetBy returns the record with a value of a unique index, or ErrNotFound.
func (t *Table[T]) GetBy(tx Tx, scope, index, value string) (Row[T], error) {
	if !t.Indexes[index].Unique {
		return Row[T]{}, fmt.Errorf("table %s has no unique index %q", t.Name, index)
	}
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
	shards, err := t.shards(tx, scope, index, value)
	sum := 0
	for _, it := range shards {
		sum += counted(it)
	}
	return sum, err
}

// TableOf names the table of a stored item by its key; record is false for a row
// of an index or a counter.
func TableOf(key []byte) (table string, record bool) {
	first, _, _ := bytes.Cut(key, []byte{0})
	table = strings.TrimRight(string(first), "@!#")
	return table, table == string(first)
}

// shards of a counter, in the order of the ids that they count.
func (t *Table[T]) shards(tx Tx, scope, index, value string) ([]Item, error) {
	if ix := t.Indexes[index]; !ix.Counted || ix.Unique {
		return nil, fmt.Errorf("table %s does not count by %q", t.Name, index)
	}
	return tx.Scan(Key(t.Name+"#", scope, index, value), nil, counterShards)
}

// shard is how many ids begin with a byte.
type shard struct {
	first string // "": the empty id
	count int
}

// byFirst sums the rows of a counter up.
func byFirst(counter []Item) ([]shard, error) {
	var out []shard
	for _, it := range counter {
		parts, err := Parts(it.Key)
		if err != nil {
			return nil, err
		}
		last := parts[len(parts)-1]
		first := last[:min(1, len(last))]
		if len(out) == 0 || out[len(out)-1].first != first {
			out = append(out, shard{first: first})
		}
		out[len(out)-1].count += counted(it)
	}
	return out, nil
}

func counted(shard Item) int { return int(int64(binary.BigEndian.Uint64(shard.Value))) }

func (t *Table[T]) indexKey(scope, index string, rest ...string) []byte {
	return Key(append([]string{t.Name + "@", scope, index}, rest...)...)
}

func (t *Table[T]) uniqueKey(scope, index, value string) []byte {
	return Key(t.Name+"!", scope, index, value)
}

// Entry is a row of an index: a record's id under one of its values.
type Entry struct{ Value, ID string }

// ErrCursor: a text that should say where a list goes on says nothing of that list.
var ErrCursor = errors.New("not where this list could go on")

// String is the entry as a text that may stand in an address; ParseEntry reads it.
func (e Entry) String() string {
	return base64.RawURLEncoding.EncodeToString(Key(e.Value, e.ID))
}

// ParseEntry reads what String wrote, or returns ErrCursor.
func ParseEntry(text string) (Entry, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return Entry{}, ErrCursor
	}
	parts, err := Parts(raw)
	if err != nil || len(parts) != 2 || parts[1] == "" {
		return Entry{}, ErrCursor
	}
	return Entry{parts[0], parts[1]}, nil
}

// Between pages through an index in the order of values, then ids: entries
// greater than after and with a value of at most to. An after without ID begins
// at its Value, inclusively. It reads no records. Unique indexes have no order
// to page through.
func (t *Table[T]) Between(tx Tx, scope, index string, after Entry, to string, limit int) ([]Entry, error) {
	if ix, ok := t.Indexes[index]; !ok || ix.Unique {
		return nil, fmt.Errorf("table %s does not list by %q", t.Name, index)
	}
	from := t.indexKey(scope, index, after.Value)
	if after.ID != "" {
		from = t.indexKey(scope, index, after.Value, after.ID)
	}
	items, err := tx.Scan(t.indexKey(scope, index), from, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(items))
	for _, it := range items {
		parts, err := Parts(it.Key)
		if err != nil {
			return nil, err
		}
		e := Entry{Value: parts[len(parts)-2], ID: parts[len(parts)-1]}
		if e.Value > to {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

// reindex moves the rows of all indexes from the stored record to v; nil means
// that the record goes. It looks at all unique values before it writes, so that
// a caller may go on after ErrTaken.
func (t *Table[T]) reindex(tx Tx, scope, id string, v *T) error {
	if len(t.Indexes) == 0 {
		return nil
	}
	old, err := t.Get(tx, scope, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	came, left := map[string][]string{}, map[string][]string{}
	for name, ix := range t.Indexes {
		var was, is []string
		if old != nil {
			was = ix.Values(old)
		}
		if v != nil {
			is = ix.Values(v)
		}
		came[name], left[name] = without(is, was), without(was, is)
	}
	for name, ix := range t.Indexes {
		if !ix.Unique {
			continue
		}
		for _, value := range came[name] {
			switch it, err := tx.Get(t.uniqueKey(scope, name, value)); {
			case err == nil && string(it.Value) != id:
				return fmt.Errorf("%s %s: %w", t.Name, name, ErrTaken)
			case err != nil && !errors.Is(err, ErrNotFound):
				return err
			}
		}
	}
	for name, ix := range t.Indexes {
		for _, value := range left[name] {
			if err := t.unlink(tx, scope, name, value, id, ix); err != nil {
				return err
			}
		}
		for _, value := range came[name] {
			if err := t.link(tx, scope, name, value, id, ix); err != nil {
				return err
			}
		}
	}
	return nil
}

// without returns the values of a that b has not, each once.
func without(a, b []string) []string {
	var out []string
	for _, v := range a {
		if !slices.Contains(b, v) && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func (t *Table[T]) link(tx Tx, scope, name, value, id string, ix Index[T]) error {
	if ix.Unique {
		return tx.Put(Item{Key: t.uniqueKey(scope, name, value), Value: []byte(id)})
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

// count moves the row of a counter that the record's id belongs to.
func (t *Table[T]) count(tx Tx, scope, name, value, id string, by int64) error {
	part := id[:min(1, len(id))]
	if id != "" {
		part += string(rune('a' + crc32.ChecksumIEEE([]byte(id))%counterParts))
	}
	key := Key(t.Name+"#", scope, name, value, part)
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
