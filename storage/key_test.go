package storage_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nightlatch/nightlatch/storage"
)

func part() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 0xfe, 0xff}), 0, 4).Draw(t, "part"))
	})
}

func TestKeyKeepsPartsAndTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(part(), 0, 3).Draw(t, "a")
		b := rapid.SliceOfN(part(), 0, 3).Draw(t, "b")
		ka, kb := storage.Key(a...), storage.Key(b...)
		if got, err := storage.Parts(ka); err != nil || !slices.Equal(got, a) {
			t.Fatalf("parts of %q: %q, %v", ka, got, err)
		}
		if got, want := bytes.Compare(ka, kb), slices.Compare(a, b); got != want {
			t.Fatalf("keys of %q and %q compare as %d, the parts as %d", a, b, got, want)
		}
		if got, want := bytes.HasPrefix(ka, kb), len(b) <= len(a) && slices.Equal(a[:len(b)], b); got != want {
			t.Fatalf("the key of %q is a prefix of that of %q: %v", b, a, got)
		}
	})
}

func TestPartsRefusesWhatIsNoKey(t *testing.T) {
	for _, k := range []string{"a", "a\x00", "\x00\x02", "a\x00\x01b", "a\x00\xff"} {
		if parts, err := storage.Parts([]byte(k)); err == nil {
			t.Errorf("%q has parts %q", k, parts)
		}
	}
}

func FuzzParts(f *testing.F) {
	f.Add([]byte("a\x00\x01b\x00\xffc\x00\x01"))
	f.Fuzz(func(t *testing.T, key []byte) {
		if parts, err := storage.Parts(key); err == nil && string(storage.Key(parts...)) != string(key) {
			t.Errorf("%q became %q", key, strings.Join(parts, "|"))
		}
	})
}
