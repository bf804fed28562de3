package badger

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/nightlatch/nightlatch/storage"
)

// rows is what a transaction reads: a snapshot, or an overlay on one.
type rows interface {
	// get returns storage.ErrNotFound for an absent row.
	get(key string) ([]byte, error)
	// walk calls fn with the rows below prefix from the first that is not less
	// than from, ascending, until fn returns false.
	walk(prefix, from string, fn func(key string, value []byte) bool) error
}

// snapshot reads a Badger transaction.
type snapshot struct{ txn *badger.Txn }

func (s snapshot) get(key string) ([]byte, error) {
	item, err := s.txn.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading item: %w", err)
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("reading item: %w", err)
	}
	return value, nil
}

func (s snapshot) walk(prefix, from string, fn func(string, []byte) bool) error {
	opts := badger.DefaultIteratorOptions
	opts.Prefix = []byte(prefix)
	// Values lie beside their keys in the tree (see Open): fetching them ahead
	// would start a goroutine for each and save nothing.
	opts.PrefetchValues = false
	iter := s.txn.NewIterator(opts)
	defer iter.Close()
	for iter.Seek([]byte(max(prefix, from))); iter.Valid(); iter.Next() {
		value, err := iter.Item().ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("scanning items: %w", err)
		}
		if !fn(string(iter.Item().Key()), value) {
			return nil
		}
	}
	return nil
}

// overlay holds writes over rows that stay as they are: those of one closure
// over what the commit has so far, and these over the snapshot.
type overlay struct {
	base   rows
	writes map[string][]byte // nil: deleted
	size   int64             // bytes that Badger counts, rounded up
}

// perRow is more than a row costs in Badger's accounting beside key and value.
const perRow = 64

func newOverlay(base rows) *overlay { return &overlay{base: base, writes: map[string][]byte{}} }

func rowSize(key string, value []byte) int64 { return int64(len(key)+len(value)) + perRow }

// set writes a row; a nil value deletes it.
func (o *overlay) set(key string, value []byte) {
	if old, ok := o.writes[key]; ok {
		o.size -= rowSize(key, old)
	}
	o.writes[key] = value
	o.size += rowSize(key, value)
}

// room is what one Badger transaction takes.
type room struct {
	rows  int
	bytes int64
}

func roomOf(db *badger.DB) room {
	// The commit adds a row of its own.
	return room{int(db.MaxBatchCount()) - 8, db.MaxBatchSize() - 8*perRow}
}

// holds tells whether all overlays together fit.
func (r room) holds(overlays ...*overlay) bool {
	for _, o := range overlays {
		r.rows, r.bytes = r.rows-len(o.writes), r.bytes-o.size
	}
	return r.rows > 0 && r.bytes > 0
}

// merge takes over the writes of another overlay.
func (o *overlay) merge(from *overlay) {
	for key, value := range from.writes {
		o.set(key, value)
	}
}

func (o *overlay) get(key string) ([]byte, error) {
	value, ok := o.writes[key]
	switch {
	case !ok:
		return o.base.get(key)
	case value == nil:
		return nil, storage.ErrNotFound
	}
	return value, nil
}

func (o *overlay) walk(prefix, from string, fn func(string, []byte) bool) error {
	var own []string // in the range, ascending
	for key := range o.writes {
		if strings.HasPrefix(key, prefix) && key >= from {
			own = append(own, key)
		}
	}
	slices.Sort(own)
	goOn := true
	pass := func(key string) {
		if value := o.writes[key]; value != nil {
			goOn = fn(key, value)
		}
	}
	err := o.base.walk(prefix, from, func(key string, value []byte) bool {
		for goOn && len(own) > 0 && own[0] < key {
			pass(own[0])
			own = own[1:]
		}
		switch {
		case !goOn:
		case len(own) > 0 && own[0] == key:
			pass(key)
			own = own[1:]
		default:
			goOn = fn(key, value)
		}
		return goOn
	})
	for ; err == nil && goOn && len(own) > 0; own = own[1:] {
		pass(own[0])
	}
	return err
}

// same tells whether all that the overlay writes is there already.
func (o *overlay) same() bool {
	for key, value := range o.writes {
		old, err := o.base.get(key)
		switch {
		case errors.Is(err, storage.ErrNotFound) && value == nil:
		case err != nil, value == nil, !bytes.Equal(old, value):
			return false
		}
	}
	return true
}

// flush writes the overlay into a Badger transaction.
func (o *overlay) flush(txn *badger.Txn) error {
	for key, value := range o.writes {
		var err error
		if value == nil {
			err = txn.Delete([]byte(key))
		} else {
			err = txn.Set([]byte(key), value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changed lists the keys of the items that the overlay writes or deletes.
func (o *overlay) changed() [][]byte {
	var keys [][]byte
	for key := range o.writes {
		if item, ok := bytes.CutPrefix([]byte(key), []byte{dataRow}); ok {
			keys = append(keys, item)
		}
	}
	return keys
}
