package storage

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
)

// Shared is Get for a record that many requests read and few change (settings,
// clients, scopes, users, roles). The bytes are read in the transaction as ever;
// if they are those of the last time, the record that was decoded then is
// returned again. Nobody may change it, nor what its slices and maps hold: who
// wants to write reads by Get.
func (t *Table[T]) Shared(tx Tx, scope, id string) (*T, error) {
	it, err := tx.Get(t.key(scope, id))
	if err != nil {
		return nil, err
	}
	return t.share(it)
}

// SharedBy is GetBy as Shared is Get.
func (t *Table[T]) SharedBy(tx Tx, scope, index, value string) (*T, error) {
	if !t.Indexes[index].Unique {
		return nil, fmt.Errorf("table %s has no unique index %q", t.Name, index)
	}
	it, err := tx.Get(t.uniqueKey(scope, index, value))
	if err != nil {
		return nil, err
	}
	return t.Shared(tx, scope, string(it.Value))
}

// ListShared is List as Shared is Get.
func (t *Table[T]) ListShared(tx Tx, scope, after string, limit int) ([]Row[T], error) {
	return t.list(tx, scope, after, limit, t.share)
}

// memo keeps decoded records by key, with the bytes that they were decoded of.
type memo struct {
	records sync.Map // string(key) → *decoded
	count   atomic.Int64
}

type decoded struct {
	raw    []byte
	record any
}

// maxMemo bounds a table's memo; beyond it all is forgotten and begins anew.
const maxMemo = 4096

func (t *Table[T]) share(it Item) (*T, error) {
	if d, ok := t.memo.records.Load(string(it.Key)); ok && bytes.Equal(d.(*decoded).raw, it.Value) {
		return d.(*decoded).record.(*T), nil
	}
	v, err := t.decode(it)
	if err != nil {
		return nil, err
	}
	if t.memo.count.Load() >= maxMemo {
		t.memo.records.Clear()
		t.memo.count.Store(0)
	}
	if _, had := t.memo.records.Swap(string(it.Key), &decoded{bytes.Clone(it.Value), v}); !had {
		t.memo.count.Add(1)
	}
	return v, nil
}
