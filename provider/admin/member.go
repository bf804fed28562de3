package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// member of a representation of T: what a GET shows of a record, and how a PUT
// or POST changes it.
type member[T any] struct {
	// show returns nil to leave the member out; nil itself: never shown.
	show func(*T) any
	// set returns a *refusal with the path below the member, or any error that
	// says what it wants; nil itself: the member is accepted and changes nothing.
	// now is the record as it is shown.
	set func(into, now *T, v any) error
}

// table of all members of a representation.
type table[T any] map[string]member[T]

// show makes the representation of a record.
func (t table[T]) show(v *T) object {
	out := object{}
	for name, m := range t {
		if m.show != nil {
			if shown := m.show(v); shown != nil {
				out[name] = shown
			}
		}
	}
	return out
}

// apply changes a record by a representation. null is as good as absent, as in
// Keycloak, and so is what the record shows already: a PUT of what a GET
// answered changes nothing, not even what is only shown rounded.
func (t table[T]) apply(into, now *T, given object) error {
	for _, name := range slices.Sorted(maps.Keys(given)) {
		v := given[name]
		if v == nil {
			continue
		}
		m, known := t[name]
		if !known {
			return bad(name, "this member is not known here")
		}
		if m.set == nil || m.show != nil && same(m.show(now), v) {
			continue
		}
		if err := m.set(into, now, v); err != nil {
			var refused *refusal
			if !errors.As(err, &refused) {
				return bad(name, "%s", err)
			}
			return bad(join(name, refused.body["field"]), "%s", strings.TrimPrefix(refused.body["errorMessage"], refused.body["field"]+": "))
		}
	}
	return nil
}

func join(path, below string) string {
	if below == "" || strings.HasPrefix(below, "[") {
		return path + below
	}
	return path + "." + below
}

// same compares two values as JSON.
func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// shown is a member that only a GET has.
func shown[T any](show func(*T) any) member[T] { return member[T]{show: show} }

// fixed is a member that has one value here and can have no other.
func fixed[T any](v any) member[T] {
	return member[T]{
		show: func(*T) any { return v },
		set:  func(_, _ *T, _ any) error { return fmt.Errorf("can only be %s here", text(v)) },
	}
}

// inert is a member that has no effect here: it is not shown, and accepted with
// the values at which it has none elsewhere.
func inert[T any](values ...any) member[T] {
	return member[T]{set: func(_, _ *T, v any) error {
		for _, may := range values {
			if same(may, v) {
				return nil
			}
		}
		return fmt.Errorf("has no effect here, so it can only be %s", text(values[0]))
	}}
}

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// declaredNames shows what the configuration declares of a record, in its own
// names: those members are read-only. Keycloak has nothing like it.
func declaredNames[T any](names func(*T) []string) member[T] {
	return shown(func(v *T) any { return list(names(v)) })
}

// nested is a member that is an object with a table of its own.
func nested[T any](t table[T]) member[T] {
	return member[T]{
		show: func(v *T) any { return t.show(v) },
		set: func(into, now *T, v any) error {
			given, err := asObject(v)
			if err != nil {
				return err
			}
			return t.apply(into, now, given)
		},
	}
}

// attributes is nested, for the maps in which Keycloak writes every value as a
// text: a switch as "true", a number as "300", nothing as "".
func attributes[T any](t table[T]) member[T] {
	m := nested(t)
	return member[T]{show: m.show, set: func(into, now *T, v any) error {
		given, err := asObject(v)
		if err != nil {
			return err
		}
		for name, v := range given {
			if _, ok := v.(string); v != nil && !ok {
				return bad(name, "want a text")
			}
		}
		return t.apply(into, now, given)
	}}
}

// asText takes a text of at most most bytes, without control characters.
func asText(v any, most int) (string, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return "", errors.New("want a text")
	case len(s) > most:
		return "", fmt.Errorf("must have at most %d bytes", most)
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' }):
		return "", errors.New("has a control character")
	}
	return s, nil
}

func asBool(v any) (bool, error) {
	b, ok := v.(bool)
	if !ok {
		return false, errors.New("want true or false")
	}
	return b, nil
}

func asObject(v any) (object, error) {
	o, ok := v.(object)
	if !ok {
		return nil, errors.New("want an object")
	}
	return o, nil
}

// asInt takes a whole number from least on that fits Keycloak's int.
func asInt(v any, least int64) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, errors.New("want a number")
	}
	i, err := n.Int64()
	if err != nil || i < least || i > math.MaxInt32 {
		return 0, fmt.Errorf("want a whole number from %d to %d", least, math.MaxInt32)
	}
	return i, nil
}

// asTexts takes a list of texts, each once.
func asTexts(v any, most int) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("want a list of texts")
	}
	out := make([]string, 0, len(list))
	for i, v := range list {
		s, err := asText(v, most)
		if err == nil && slices.Contains(out, s) {
			err = errors.New("is there twice")
		}
		if err != nil {
			return nil, bad(fmt.Sprintf("[%d]", i), "%s", err)
		}
		out = append(out, s)
	}
	return out, nil
}

// line is a text of at most 255 bytes.
func line[T any](at func(*T) *string) member[T] {
	return member[T]{
		show: func(v *T) any {
			if s := *at(v); s != "" {
				return s
			}
			return nil
		},
		set: func(into, _ *T, v any) (err error) {
			*at(into), err = asText(v, 255)
			return err
		},
	}
}

func flag[T any](at func(*T) *bool) member[T] {
	return member[T]{
		show: func(v *T) any { return *at(v) },
		set: func(into, _ *T, v any) (err error) {
			*at(into), err = asBool(v)
			return err
		},
	}
}

// seconds is a time span; 0 and less stand for the default, or for inheriting.
func seconds[T any](at func(*T) *time.Duration) member[T] {
	return member[T]{
		show: func(v *T) any { return int64(*at(v) / time.Second) },
		set: func(into, _ *T, v any) error {
			n, err := asInt(v, -1)
			*at(into) = time.Duration(max(n, 0)) * time.Second
			return err
		},
	}
}

// lines is a list of texts; an empty one is a list too.
func lines[T any](at func(*T) *[]string) member[T] {
	return member[T]{
		show: func(v *T) any { return list(*at(v)) },
		set: func(into, _ *T, v any) (err error) {
			*at(into), err = asTexts(v, 2000)
			return err
		},
	}
}

// list is never null in JSON.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// lastSecond that a not-before may be, in the year 9999.
const lastSecond = 253402300799

// notBefore is shown in seconds and kept in milliseconds. A client that sets it
// to now may send a fraction; 0 clears it.
func notBefore[T any](at func(*T) *int64) member[T] {
	return member[T]{
		show: func(v *T) any { return *at(v) / 1000 },
		set: func(into, _ *T, v any) error {
			n, ok := v.(json.Number)
			if !ok {
				return errors.New("want a number of seconds")
			}
			f, err := n.Float64()
			if err != nil || f < 0 || f > lastSecond {
				return fmt.Errorf("want a number of seconds from 0 to %d", int64(lastSecond))
			}
			*at(into) = int64(math.Round(f * 1000))
			return nil
		},
	}
}

// flagText is a switch in an attribute.
func flagText[T any](at func(*T) *bool) member[T] {
	return member[T]{
		show: func(v *T) any { return fmt.Sprint(*at(v)) },
		set: func(into, _ *T, v any) error {
			switch v {
			case "true", "false":
				*at(into) = v == "true"
				return nil
			}
			return errors.New(`want "true" or "false"`)
		},
	}
}

// secondsText is a time span in an attribute that inherits when it is empty.
func secondsText[T any](at func(*T) **time.Duration) member[T] {
	return member[T]{
		show: func(v *T) any {
			if d := *at(v); d != nil {
				return fmt.Sprint(int64(*d / time.Second))
			}
			return nil
		},
		set: func(into, _ *T, v any) error {
			n, err := numberText(v, -1)
			if err != nil {
				return err
			}
			if n <= 0 {
				*at(into) = nil
				return nil
			}
			d := time.Duration(n) * time.Second
			*at(into) = &d
			return nil
		},
	}
}

// numberText reads a number in an attribute; "" is 0.
func numberText(v any, least int64) (int64, error) {
	if v == "" {
		return 0, nil
	}
	s, ok := v.(string)
	if !ok {
		return 0, errors.New("want a number as a text")
	}
	return asInt(json.Number(s), least)
}
