package declared

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// list is the JSON name of the field that holds the names.
const list = "declared"

// Merge puts the fields that a declaration sets over those of the record that
// is stored; for a new one that is base, what a record is without any
// declaration. A field is set unless its JSON is absent or null, so a switch
// that the declaration leaves off is not, unless the declaration's own list names
// it. What was declared before and is not any more goes back to what base has.
// Fields named as free are never declared: they stay as stored.
func Merge[T any](have, base, declaration T, free ...string) (T, error) {
	var out T
	merged, err := fields(&have)
	if err != nil {
		return out, err
	}
	initial, err := fields(&base)
	if err != nil {
		return out, err
	}
	set, err := fields(&declaration)
	if err != nil {
		return out, err
	}
	before, err := names(merged)
	if err != nil {
		return out, err
	}
	empty, err := names(set)
	if err != nil {
		return out, err
	}
	for _, name := range empty {
		if _, ok := set[name]; !ok {
			set[name] = json.RawMessage("null") // leaves the zero value
		}
	}
	for _, name := range before {
		delete(merged, name)
		if v, ok := initial[name]; ok {
			merged[name] = v
		}
	}
	for _, name := range append(free, list) {
		delete(set, name)
	}
	maps.Copy(merged, set)
	if merged[list], err = json.Marshal(slices.Sorted(maps.Keys(set))); err != nil {
		return out, fmt.Errorf("writing declared fields: %w", err)
	}
	raw, err := json.Marshal(merged)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return out, fmt.Errorf("merging a declaration: %w", err)
	}
	return out, nil
}

// names of the declared fields of a record.
func names(record map[string]json.RawMessage) (names []string, err error) {
	if raw, ok := record[list]; ok {
		if err := json.Unmarshal(raw, &names); err != nil {
			return nil, fmt.Errorf("reading declared fields: %w", err)
		}
	}
	return names, nil
}

// Changed returns the names of the declared fields in which two versions of a
// record differ.
func Changed(before, after any, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	a, err := fields(before)
	if err != nil {
		return nil, err
	}
	b, err := fields(after)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if !bytes.Equal(a[name], b[name]) {
			out = append(out, name)
		}
	}
	return out, nil
}

// fields of a record by their JSON names, without those that are null.
func fields(v any) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	raw, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("reading fields of a record: %w", err)
	}
	maps.DeleteFunc(out, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	return out, nil
}
