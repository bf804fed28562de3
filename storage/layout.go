package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Indexed is a Table with indexes, whatever it holds.
type Indexed interface {
	tableName() string
	// layout names the indexes; a store that was written for others may lack rows.
	layout() string
	// These work on a page of rows behind a key and return the last key of it, nil
	// if there are no more.
	pruneRows(tx Tx, after []byte) ([]byte, error)
	pruneUnique(tx Tx, after []byte) ([]byte, error)
	linkRecords(tx Tx, after []byte) ([]byte, error)
}

// layoutKey is the storage key of what a table's index rows were written for.
func layoutKey(t Indexed) []byte { return Key("layout", t.tableName()) }

// indexing is the lease of the one node that brings index rows up to date.
const indexing, indexingFor = "indexing", time.Minute

// indexPage is how many records, or index rows, one transaction looks at.
const indexPage = 100

// Index makes the index rows of all records what this program wants, in a store
// that an older one has written: a record that was written before its table got
// an index is in none of its lists. Each table remembers its layout, so it costs
// one View where nothing has changed. Nobody uses the tables before it returns;
// of several nodes that start together one works and the others wait for it. One
// that dies in the middle has lost nothing: the next does all of it again.
func (s *Store) Index(ctx context.Context, tables ...Indexed) error {
	for {
		stale, err := s.stale(ctx, tables)
		if err != nil || len(stale) == 0 {
			return err
		}
		err = s.indexAlone(ctx, stale)
		if !errors.Is(err, ErrHeld) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// stale are the tables whose layout is not the one that the store was written in.
func (s *Store) stale(ctx context.Context, tables []Indexed) (stale []Indexed, err error) {
	keys := make([][]byte, len(tables))
	for i, t := range tables {
		keys[i] = layoutKey(t)
	}
	err = s.View(ctx, func(tx Tx) error {
		stale = nil
		have, err := tx.GetMany(keys)
		for i, it := range have {
			if it.Key == nil || string(it.Value) != tables[i].layout() {
				stale = append(stale, tables[i])
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading layouts of tables: %w", err)
	}
	return stale, nil
}

func (s *Store) indexAlone(ctx context.Context, tables []Indexed) error {
	hold := func() error {
		if s.node == "" {
			return nil
		}
		_, err := s.Hold(ctx, indexing, s.node, indexingFor)
		return err
	}
	if err := hold(); err != nil {
		return err
	}
	// Another node may just have done it.
	tables, err := s.stale(ctx, tables)
	if err != nil {
		return err
	}
	for _, t := range tables {
		for _, step := range []func(Tx, []byte) ([]byte, error){t.pruneRows, t.pruneUnique, t.linkRecords} {
			for last := []byte(nil); ; {
				if err := hold(); err != nil {
					return err
				}
				after := last
				err := s.Converge(ctx, func(tx Tx) (err error) { last, err = step(tx, after); return err })
				if err != nil {
					return fmt.Errorf("indexing table %s: %w", t.tableName(), err)
				}
				if last == nil {
					break
				}
			}
		}
	}
	err = s.Converge(ctx, func(tx Tx) error {
		for _, t := range tables {
			if err := tx.Put(Item{Key: layoutKey(t), Value: []byte(t.layout())}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting layouts of tables: %w", err)
	}
	if s.node == "" {
		return nil
	}
	return s.LetGo(ctx, indexing, s.node)
}

func (t *Table[T]) tableName() string { return t.Name }

func (t *Table[T]) layout() string {
	var all []string
	for name, ix := range t.Indexes {
		kind := "plain"
		switch {
		case ix.Unique:
			kind = "unique"
		case ix.Counted:
			kind = "counted"
		}
		all = append(all, fmt.Sprintf("%s %s %d", name, kind, ix.Version))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// pruneRows deletes index rows that their record does not have, or that has gone.
func (t *Table[T]) pruneRows(tx Tx, after []byte) ([]byte, error) {
	return t.prune(tx, t.Name+"@", after, func(parts []string, _ Item) (value, id string) { return parts[3], parts[4] })
}

// pruneUnique is pruneRows for unique indexes.
func (t *Table[T]) pruneUnique(tx Tx, after []byte) ([]byte, error) {
	return t.prune(tx, t.Name+"!", after, func(parts []string, it Item) (value, id string) { return parts[3], string(it.Value) })
}

func (t *Table[T]) prune(tx Tx, rows string, after []byte, of func([]string, Item) (value, id string)) ([]byte, error) {
	items, err := tx.Scan(Key(rows), after, indexPage)
	if err != nil {
		return nil, err
	}
	parts, keys := make([][]string, len(items)), make([][]byte, len(items))
	for i, it := range items {
		if parts[i], err = Parts(it.Key); err != nil {
			return nil, err
		}
		_, id := of(parts[i], it)
		keys[i] = t.key(parts[i][1], id)
	}
	records, err := tx.GetMany(keys)
	if err != nil {
		return nil, err
	}
	for i, it := range items {
		scope, index := parts[i][1], parts[i][2]
		value, id := of(parts[i], it)
		ix, known := t.Indexes[index]
		if known && records[i].Key != nil {
			v, err := t.decode(records[i])
			if err != nil {
				return nil, err
			}
			if slices.Contains(ix.Values(v), value) {
				continue
			}
		}
		if !known {
			ix = Index[T]{Unique: rows == t.Name+"!"}
		}
		if err := t.unlink(tx, scope, index, value, id, ix); err != nil {
			return nil, err
		}
	}
	return following(items), nil
}

// linkRecords writes what index rows the records lack. A unique value that
// another record has stays with that.
func (t *Table[T]) linkRecords(tx Tx, after []byte) ([]byte, error) {
	items, err := tx.Scan(Key(t.Name), after, indexPage)
	if err != nil {
		return nil, err
	}
	type row struct{ scope, index, value, id string }
	var rows []row
	var keys [][]byte
	for _, it := range items {
		parts, err := Parts(it.Key)
		if err != nil {
			return nil, err
		}
		v, err := t.decode(it)
		if err != nil {
			return nil, err
		}
		scope, id := parts[1], parts[2]
		for name, ix := range t.Indexes {
			for _, value := range without(ix.Values(v), nil) {
				key := t.indexKey(scope, name, value, id)
				if ix.Unique {
					key = t.uniqueKey(scope, name, value)
				}
				rows, keys = append(rows, row{scope, name, value, id}), append(keys, key)
			}
		}
	}
	have, err := tx.GetMany(keys)
	if err != nil {
		return nil, err
	}
	for i, r := range rows {
		if have[i].Key != nil {
			continue
		}
		if err := t.link(tx, r.scope, r.index, r.value, r.id, t.Indexes[r.index]); err != nil {
			return nil, err
		}
	}
	return following(items), nil
}

// following is where the next page begins, nil if there is none.
func following(page []Item) []byte {
	if len(page) < indexPage {
		return nil
	}
	return bytes.Clone(page[len(page)-1].Key)
}
