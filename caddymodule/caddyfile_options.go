package caddymodule

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// options is one block of the Caddyfile: what its lines may be and what reads
// them. A reader finds the dispenser on the option's name and must take all of
// its arguments and its block.
type options[T any] map[string]func(d *caddyfile.Dispenser, into *T) error

// read reads a block; what names it in errors.
func (o options[T]) read(d *caddyfile.Dispenser, what string, into *T) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		fn := o[name]
		if fn == nil {
			return d.Errf("unknown option %q of %s: want one of %s", name, what, strings.Join(slices.Sorted(maps.Keys(o)), ", "))
		}
		if err := fn(d, into); err != nil {
			return err
		}
		if d.NextArg() {
			return d.Errf("option %s of %s: unexpected %q", name, what, d.Val())
		}
	}
	return nil
}

// text reads `name <value>`, once.
func text[T any](field func(*T) *string) func(*caddyfile.Dispenser, *T) error {
	return func(d *caddyfile.Dispenser, into *T) error {
		name, f := d.Val(), field(into)
		if *f != "" {
			return d.Errf("option %s is given twice", name)
		}
		if !d.NextArg() || d.Val() == "" {
			return d.Errf("option %s: want one value", name)
		}
		*f = d.Val()
		return nil
	}
}

// span reads `name <duration>`, once.
func span[T any](field func(*T) *Duration) func(*caddyfile.Dispenser, *T) error {
	return func(d *caddyfile.Dispenser, into *T) error {
		name, f := d.Val(), field(into)
		if *f != "" {
			return d.Errf("option %s is given twice", name)
		}
		if !d.NextArg() {
			return d.Errf("option %s: want a time span such as 90s, 30m, 10h or 30d", name)
		}
		v := Duration(d.Val())
		if _, err := v.parse(); err != nil && !hasPlaceholder(d.Val()) {
			return d.Errf("option %s: %w", name, err)
		}
		*f = v
		return nil
	}
}

// spanOrOff reads `name <duration>` or `name off`, once.
func spanOrOff[T any](field func(*T) *Duration) func(*caddyfile.Dispenser, *T) error {
	read := span(field)
	return func(d *caddyfile.Dispenser, into *T) error {
		name, f := d.Val(), field(into)
		if d.CountRemainingArgs() != 1 || *f != "" {
			return read(d, into)
		}
		d.NextArg()
		if d.Val() == string(off) {
			*f = off
			return nil
		}
		v := Duration(d.Val())
		if _, err := v.parse(); err != nil && !hasPlaceholder(d.Val()) {
			return d.Errf("option %s: %w, or off", name, err)
		}
		*f = v
		return nil
	}
}

// words reads `name <value...>`; more lines add up. least is how many values a
// line needs.
func words[T any](least int, field func(*T) *[]string) func(*caddyfile.Dispenser, *T) error {
	return func(d *caddyfile.Dispenser, into *T) error {
		name, f := d.Val(), field(into)
		values := d.RemainingArgs()
		if len(values) < least {
			return d.Errf("option %s: want at least %d value(s)", name, least)
		}
		if *f == nil {
			*f = []string{}
		}
		*f = append(*f, values...)
		return nil
	}
}

// number reads `name <n>`.
func number[T any](least int, set func(*T, int)) func(*caddyfile.Dispenser, *T) error {
	return func(d *caddyfile.Dispenser, into *T) error {
		name := d.Val()
		if d.NextArg() {
			if n, err := strconv.Atoi(d.Val()); err == nil && n >= least {
				set(into, n)
				return nil
			}
			return d.Errf("option %s: %q: want a number from %d on", name, d.Val(), least)
		}
		return d.Errf("option %s: want a number", name)
	}
}

// onOff reads `name`, `name on` or `name off`.
func onOff[T any](set func(*T, bool)) func(*caddyfile.Dispenser, *T) error {
	return func(d *caddyfile.Dispenser, into *T) error {
		name, on := d.Val(), true
		if d.NextArg() {
			switch d.Val() {
			case "on":
			case "off":
				on = false
			default:
				return d.Errf("option %s: %q: want on or off", name, d.Val())
			}
		}
		set(into, on)
		return nil
	}
}

// named reads `name <key> { … }` into a map; a key comes once.
func named[T, V any](field func(*T) *map[string]*V, block options[V]) func(*caddyfile.Dispenser, *T) error {
	return func(d *caddyfile.Dispenser, into *T) error {
		kind := d.Val()
		if !d.NextArg() {
			return d.Errf("option %s: want a name", kind)
		}
		key, m := d.Val(), field(into)
		if (*m)[key] != nil {
			return d.Errf("%s %s is declared twice", kind, key)
		}
		if *m == nil {
			*m = map[string]*V{}
		}
		v := new(V)
		(*m)[key] = v
		return block.read(d, kind+" "+key, v)
	}
}
