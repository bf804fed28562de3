package badger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/nightlatch/nightlatch/storage"
)

// Rows on disk: data rows are 'd' + key with the value behind 8 bytes of expiry
// (Unix nanoseconds, 0: never); expiry rows are 'e' + expiry + key, empty. An
// item that is written anew leaves its old expiry row behind; Sweep compares
// before it deletes.
const (
	dataRow   = 'd'
	expiryRow = 'e'
)

func dataKey(key []byte) []byte {
	return append(append(make([]byte, 0, len(key)+1), dataRow), key...)
}

func expiryKey(at int64, key []byte) []byte {
	k := binary.BigEndian.AppendUint64(append(make([]byte, 0, len(key)+9), expiryRow), uint64(at))
	return append(k, key...)
}

func encode(it storage.Item) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, len(it.Value)+8), uint64(nano(it.Expires))), it.Value...)
}

func nano(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() >= 2262: // beyond int64 nanoseconds
		return math.MaxInt64
	}
	return max(t.UnixNano(), 1)
}

func decode(key, raw []byte) (storage.Item, error) {
	if len(raw) < 8 {
		return storage.Item{}, errors.New("reading item: row is too short")
	}
	it := storage.Item{Key: key, Value: raw[8:]}
	if at := int64(binary.BigEndian.Uint64(raw)); at != 0 {
		it.Expires = time.Unix(0, at).UTC()
	}
	return it, nil
}

// view reads a Badger transaction.
type view struct{ txn *badger.Txn }

func (v *view) Get(key []byte) (storage.Item, error) {
	item, err := v.txn.Get(dataKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return storage.Item{}, storage.ErrNotFound
	}
	if err != nil {
		return storage.Item{}, fmt.Errorf("reading item: %w", err)
	}
	raw, err := item.ValueCopy(nil)
	if err != nil {
		return storage.Item{}, fmt.Errorf("reading item: %w", err)
	}
	return decode(bytes.Clone(key), raw)
}

func (v *view) Put(storage.Item) error { return errors.New("writing in a view") }
func (v *view) Delete([]byte) error    { return errors.New("deleting in a view") }

func (v *view) Scan(prefix, after []byte, limit int) ([]storage.Item, error) {
	var out []storage.Item
	err := v.walk(prefix, after, limit, func(it storage.Item) bool {
		out = append(out, it)
		return len(out) < limit
	})
	return out, err
}

// walk calls fn with the items below prefix that are greater than after, until
// it returns false.
func (v *view) walk(prefix, after []byte, limit int, fn func(storage.Item) bool) error {
	if limit <= 0 {
		return nil
	}
	opts := badger.DefaultIteratorOptions
	opts.Prefix = dataKey(prefix)
	opts.PrefetchSize = min(limit, 100)
	opts.PrefetchValues = limit > 1
	iter := v.txn.NewIterator(opts)
	defer iter.Close()
	start := opts.Prefix
	if after != nil && bytes.Compare(after, prefix) >= 0 {
		start = append(dataKey(after), 0)
	}
	for iter.Seek(start); iter.Valid(); iter.Next() {
		raw, err := iter.Item().ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("scanning items: %w", err)
		}
		it, err := decode(iter.Item().KeyCopy(nil)[1:], raw)
		if err != nil {
			return err
		}
		if !fn(it) {
			return nil
		}
	}
	return nil
}

// overlay is the transaction that one closure sees: its own writes over what
// the commit holds so far. Nothing of it reaches the commit before merge.
type overlay struct {
	base   view
	writes map[string]*storage.Item // nil: deleted
	expiry [][]byte                 // expiry rows to delete
	size   int64
}

// perRow is what a row costs in Badger's accounting beside key and value.
const perRow = 64

func (o *overlay) Get(key []byte) (storage.Item, error) {
	if it, ok := o.writes[string(key)]; ok {
		if it == nil {
			return storage.Item{}, storage.ErrNotFound
		}
		return *it, nil
	}
	return o.base.Get(key)
}

func (o *overlay) Put(it storage.Item) error {
	it = storage.Item{Key: bytes.Clone(it.Key), Value: bytes.Clone(it.Value), Expires: it.Expires}
	o.writes[string(it.Key)] = &it
	o.size += int64(2*len(it.Key)+len(it.Value)) + 2*perRow
	return nil
}

func (o *overlay) Delete(key []byte) error {
	o.writes[string(key)] = nil
	o.size += int64(len(key)) + perRow
	return nil
}

func (o *overlay) Scan(prefix, after []byte, limit int) ([]storage.Item, error) {
	if limit <= 0 {
		return nil, nil
	}
	// Own writes in the range, ascending, to be merged into the walk.
	var own []string
	for k := range o.writes {
		if bytes.HasPrefix([]byte(k), prefix) && (after == nil || k > string(after)) {
			own = append(own, k)
		}
	}
	slices.Sort(own)
	var out []storage.Item
	add := func(key string) {
		if it := o.writes[key]; it != nil {
			out = append(out, *it)
		}
	}
	err := o.base.walk(prefix, after, limit+len(own), func(it storage.Item) bool {
		for len(own) > 0 && own[0] < string(it.Key) && len(out) < limit {
			add(own[0])
			own = own[1:]
		}
		if len(out) >= limit {
			return false
		}
		if len(own) > 0 && own[0] == string(it.Key) {
			add(own[0])
			own = own[1:]
		} else {
			out = append(out, it)
		}
		return len(out) < limit
	})
	for ; err == nil && len(own) > 0 && len(out) < limit; own = own[1:] {
		add(own[0])
	}
	return out, err
}

// rows tells how many Badger rows a merge writes at most.
func (o *overlay) rows() int64 { return int64(2*len(o.writes) + len(o.expiry)) }

// merge writes the overlay into the commit.
func (o *overlay) merge() error {
	txn := o.base.txn
	for k, it := range o.writes {
		key := dataKey([]byte(k))
		if it == nil {
			if err := txn.Delete(key); err != nil {
				return err
			}
			continue
		}
		if err := txn.Set(key, encode(*it)); err != nil {
			return err
		}
		if !it.Expires.IsZero() {
			if err := txn.Set(expiryKey(nano(it.Expires), it.Key), nil); err != nil {
				return err
			}
		}
	}
	for _, k := range o.expiry {
		if err := txn.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// sweep deletes items that expired before the given time and the expiry rows
// that speak of them, at most limit rows, and tells how many rows it took.
func (o *overlay) sweep(before time.Time, limit int) (int, error) {
	opts := badger.DefaultIteratorOptions
	opts.Prefix = []byte{expiryRow}
	opts.PrefetchValues = false
	iter := o.base.txn.NewIterator(opts)
	defer iter.Close()
	end := expiryKey(nano(before), nil)
	n := 0
	for iter.Rewind(); iter.Valid() && n < limit; iter.Next() {
		row := iter.Item().KeyCopy(nil)
		if bytes.Compare(row[:9], end) >= 0 {
			break
		}
		n++
		o.expiry = append(o.expiry, row)
		key := row[9:]
		switch it, err := o.Get(key); {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return 0, err
		case nano(it.Expires) == int64(binary.BigEndian.Uint64(row[1:9])):
			_ = o.Delete(key)
		}
	}
	return n, nil
}
