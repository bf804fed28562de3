package caddymodule

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// resolve replaces the placeholders in every text below v (a pointer), in
// place. An unset {env.…}, an unreadable {file.…} or an unknown placeholder is
// an error that names the option by its path. It runs at provisioning, so that
// `caddy adapt` and the admin API show the placeholder, never the secret.
func resolve(v any) error {
	return resolveValue(caddy.NewReplacer(), reflect.ValueOf(v), "")
}

func resolveValue(repl *caddy.Replacer, v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return resolveValue(repl, v.Elem(), path)
		}
	case reflect.String:
		out, err := resolveText(repl, v.String(), path)
		if err != nil {
			return err
		}
		v.SetString(out)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 { // raw JSON of a guest module
			return nil
		}
		for i := range v.Len() {
			if err := resolveValue(repl, v.Index(i), path); err != nil {
				return err
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			at := join(path, key.String())
			value := v.MapIndex(key)
			if value.Kind() == reflect.String {
				out, err := resolveText(repl, value.String(), at)
				if err != nil {
					return err
				}
				v.SetMapIndex(key, reflect.ValueOf(out).Convert(value.Type()))
			} else if err := resolveValue(repl, value, at); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous {
				if err := resolveValue(repl, v.Field(i), path); err != nil {
					return err
				}
				continue
			}
			if !f.IsExported() || name == "" || name == "-" || f.Tag.Get("nightlatch") == "late" || f.Tag.Get("caddy") != "" {
				continue
			}
			if err := resolveValue(repl, v.Field(i), join(path, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func resolveText(repl *caddy.Replacer, s, path string) (string, error) {
	if !hasPlaceholder(s) {
		return s, nil
	}
	out, err := repl.ReplaceOrErr(s, true, true)
	if err != nil {
		return "", fmt.Errorf("option %s: %w", path, err)
	}
	return out, nil
}
