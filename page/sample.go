package page

import (
	"html/template"
	"io"
	"reflect"
)

// Views has the view of each page of a Set, by the name of its template: a value
// of its type.
type Views map[string]any

// samples of a view show a template what it may meet: everything there, nothing
// there, and everything but one thing. So each branch is taken that hangs on one.
func samples(view any) []any {
	if view == nil {
		return []any{nil}
	}
	t := reflect.TypeOf(view)
	out := []any{full(t, 2).Interface(), reflect.Zero(t).Interface()}
	if t.Kind() == reflect.Struct {
		without(t, nil, func(path []int) {
			v := full(t, 1)
			blank(v, path)
			out = append(out, v.Interface())
		})
	}
	return out
}

// full is a value of a type with something in each field, and so many in each
// slice.
func full(t reflect.Type, many int) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.String:
		v.SetString("1")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(2)
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		v.Elem().Set(full(t.Elem(), many))
	case reflect.Slice:
		for range many {
			v.Set(reflect.Append(v, full(t.Elem(), many)))
		}
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				v.Field(i).Set(full(t.Field(i).Type, many))
			}
		}
	}
	return v
}

// without calls fn with the path to each field, through structs, pointers and the
// elements of slices.
func without(t reflect.Type, path []int, fn func([]int)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			continue
		}
		at := append(append([]int{}, path...), i)
		fn(at)
		without(t.Field(i).Type, at, fn)
	}
}

// blank takes away what is at a path.
func blank(v reflect.Value, path []int) {
	switch v.Kind() {
	case reflect.Pointer:
		blank(v.Elem(), path)
	case reflect.Slice:
		for i := range v.Len() {
			blank(v.Index(i), path)
		}
	case reflect.Struct:
		field := v.Field(path[0])
		if len(path) == 1 {
			field.SetZero()
			return
		}
		blank(field, path[1:])
	}
}

// trial compares templates with the program's own, which bear some samples no
// better: no handler makes such a view.
type trial struct{ t, plain *template.Template }

func (t trial) run(around string, frame Frame) error {
	err := t.t.ExecuteTemplate(io.Discard, around, frame)
	if err != nil && t.plain.ExecuteTemplate(io.Discard, around, frame) != nil {
		return nil
	}
	return err
}

// page executes a page in all the ways that its view allows.
func (t trial) page(view any) error {
	for _, v := range samples(view) {
		if err := t.run("frame", Frame{View: v}); err != nil {
			return err
		}
	}
	return nil
}

// frames executes what is around a page, which is the same for all.
func (t trial) frames(view any) error {
	view = samples(view)[0]
	for _, sample := range samples(Frame{}) {
		frame, _ := sample.(Frame)
		frame.View = view
		if err := t.run("frame", frame); err != nil {
			return err
		}
		if frame.Console == nil {
			continue
		}
		if err := t.run("console", frame); err != nil {
			return err
		}
	}
	return nil
}
