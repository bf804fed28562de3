package storage

// Entry is a row of an index: a record's id under one of its values.
type Entry struct{ Value, ID string }

// Between pages through an index in the order of values, then ids: entries
// greater than after and with a value of at most to. An after without ID begins
// at its Value, inclusively. It reads no records. Unique indexes have no order
// to page through: they yield nothing.
func (t *Table[T]) Between(tx Tx, scope, index string, after Entry, to string, limit int) ([]Entry, error) {
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
