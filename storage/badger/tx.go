package badger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/engine"
)

// Rows on disk: data rows are 'd' + key with the value behind 8 bytes of expiry
// (Unix nanoseconds, 0: never); expiry rows are 'e' + expiry + key, empty. An
// item that is written anew or deleted leaves its old expiry row behind: Sweep
// compares before it deletes.
const (
	dataRow   = 'd'
	expiryRow = 'e'
)

func dataKey(key []byte) string { return string(dataRow) + string(key) }

func expiryKey(at int64, key []byte) string {
	k := binary.BigEndian.AppendUint64([]byte{expiryRow}, uint64(at))
	return string(append(k, key...))
}

// splitExpiryKey is the inverse of expiryKey.
func splitExpiryKey(row string) (at int64, key []byte) {
	return int64(binary.BigEndian.Uint64([]byte(row[1:9]))), []byte(row[9:])
}

func encode(it storage.Item) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, len(it.Value)+8), uint64(engine.Nano(it.Expires))), it.Value...)
}

func decode(key, raw []byte) (storage.Item, error) {
	if len(raw) < 8 {
		return storage.Item{}, errors.New("reading item: row is too short")
	}
	return storage.Item{Key: key, Value: raw[8:], Expires: engine.Instant(int64(binary.BigEndian.Uint64(raw)))}, nil
}

// tx is the transaction that a closure sees.
type tx struct {
	rows rows
	own  *overlay // nil in a View
	room room
}

func (t tx) Get(key []byte) (storage.Item, error) {
	raw, err := t.rows.get(dataKey(key))
	if err != nil {
		return storage.Item{}, err
	}
	return decode(bytes.Clone(key), raw)
}

func (t tx) GetMany(keys [][]byte) ([]storage.Item, error) {
	items := make([]storage.Item, len(keys))
	for i, key := range keys {
		var err error
		if items[i], err = t.Get(key); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
	}
	return items, nil
}

func (t tx) Put(it storage.Item) error {
	if t.own == nil {
		return errors.New("writing in a view")
	}
	t.own.set(dataKey(it.Key), encode(it))
	if !it.Expires.IsZero() {
		t.own.set(expiryKey(engine.Nano(it.Expires), it.Key), []byte{})
	}
	return t.fits()
}

func (t tx) Delete(key []byte) error {
	if t.own == nil {
		return errors.New("deleting in a view")
	}
	t.own.set(dataKey(key), nil)
	return t.fits()
}

// fits stops a transaction that no commit will take before it grows further.
func (t tx) fits() error {
	if !t.room.holds(t.own) {
		return fmt.Errorf("transaction of %d rows and %d bytes: %w", len(t.own.writes), t.own.size, storage.ErrTooLarge)
	}
	return nil
}

func (t tx) Scan(prefix, after []byte, limit int) ([]storage.Item, error) {
	if limit <= 0 {
		return nil, nil
	}
	from := ""
	if after != nil {
		from = dataKey(after) + "\x00" // the least key greater than after
	}
	var out []storage.Item
	var bad error
	err := t.rows.walk(dataKey(prefix), from, func(key string, raw []byte) bool {
		it, err := decode([]byte(key[1:]), raw)
		if err != nil {
			bad = err
			return false
		}
		out = append(out, it)
		return len(out) < limit
	})
	return out, errors.Join(err, bad)
}

// sweep deletes items that expired before the given time and the expiry rows
// that speak of them; it looks at no more than limit rows. more tells that it
// may have left some.
func (t tx) sweep(before time.Time, limit int) (swept int, more bool, err error) {
	var rows []string
	err = t.rows.walk(string(expiryRow), "", func(row string, _ []byte) bool {
		if at, _ := splitExpiryKey(row); at >= engine.Nano(before) {
			return false
		}
		rows = append(rows, row)
		return len(rows) < limit
	})
	if err != nil {
		return 0, false, err
	}
	for _, row := range rows {
		t.own.set(row, nil)
		at, key := splitExpiryKey(row)
		switch it, err := t.Get(key); {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return 0, false, err
		case engine.Nano(it.Expires) == at:
			if err := t.Delete(key); err != nil {
				return 0, false, err
			}
			swept++
		}
	}
	return swept, len(rows) == limit, nil
}
