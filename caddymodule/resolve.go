package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// resolve replaces the placeholders in every text below v (a pointer), in
// place. An unset {env.…}, an unreadable {file.…} or an unknown placeholder is
// an error that names the option by its path. It runs at provisioning, so that
// `caddy adapt` and the admin API show the placeholder, never the secret.
func resolve(v any) error {
	return resolveValue(caddy.NewReplacer(), reflect.ValueOf(v), "", false)
}

// resolveValue does so for a value at a path. An entry of a map or a list must not
// be null, which only JSON can say: what reads it counts on it.
func resolveValue(repl *caddy.Replacer, v reflect.Value, path string, entry bool) error {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return resolveValue(repl, v.Elem(), path, false)
		}
		if entry {
			return fmt.Errorf("option %s: want an object, not null", path)
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
			if err := resolveValue(repl, v.Index(i), join(path, strconv.Itoa(i)), true); err != nil {
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
			} else if err := resolveValue(repl, value, at, true); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous {
				if err := resolveValue(repl, v.Field(i), path, false); err != nil {
					return err
				}
				continue
			}
			if !f.IsExported() || name == "" || name == "-" || f.Tag.Get("nightlatch") == "late" || f.Tag.Get("caddy") != "" {
				continue
			}
			if err := resolveValue(repl, v.Field(i), join(path, name), false); err != nil {
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
	if !hasPlaceholder(s) || json.Valid([]byte(s)) {
		return s, nil // a key set that is written out has braces of its own
	}
	out, err := repl.ReplaceOrErr(s, true, true)
	if err != nil {
		return "", fmt.Errorf("option %s: %w", path, explained(s, err))
	}
	return out, nil
}

// sourced are the placeholders of what is outside the configuration.
var sourced = regexp.MustCompile(`\{(env|file)\.([^{}]+)\}`)

// explained says why a placeholder has no value, where Caddy says that it has none.
func explained(s string, err error) error {
	for _, m := range sourced.FindAllStringSubmatch(s, -1) {
		if m[1] == "env" && os.Getenv(m[2]) == "" {
			return fmt.Errorf("%s: the environment variable is not set, or is empty", m[0])
		}
		if m[1] == "file" {
			text, failed := os.ReadFile(m[2])
			switch {
			case failed != nil:
				return fmt.Errorf("%s: %w", m[0], failed)
			case len(text) == 0:
				return fmt.Errorf("%s: the file is empty", m[0])
			}
		}
	}
	return err
}
