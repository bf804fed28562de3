package oidc

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// scopeToken is RFC 6749 §3.3's.
var scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)

// FuzzParseScopes: what is taken is a set of scope tokens that reads back as
// itself; what is not is invalid_scope.
func FuzzParseScopes(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := ParseScopes(raw)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code != CodeInvalidScope || strings.ContainsAny(e.Description, "\"\\\r\n") {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		again, err := ParseScopes(got.String())
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%q reads as %q, which reads as %q, %v", raw, got, again, err)
		}
		for i, s := range got {
			if !scopeToken.MatchString(s) || slices.Contains(got[:i], s) || !slices.Contains(strings.Split(raw, " "), s) {
				t.Errorf("%q reads as %q", raw, got)
			}
		}
	})
}
