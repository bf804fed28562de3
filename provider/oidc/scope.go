package oidc

import (
	"slices"
	"strings"
)

// Scopes with a meaning of their own.
const (
	ScopeOpenID        = "openid"         // OpenID Connect Core §3.1.2.1
	ScopeOfflineAccess = "offline_access" // OpenID Connect Core §11
)

// RoleOfflineAccess is the realm role that a user needs for offline access.
const RoleOfflineAccess = "offline_access"

// Scopes is a set of scope tokens in the order in which they were first named.
type Scopes []string

// ParseScopes reads a scope parameter (RFC 6749 §3.3). An empty one is an empty
// set; a character that a scope token may not have is invalid_scope.
func ParseScopes(s string) (Scopes, error) {
	var out Scopes
	for _, tok := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }) {
		for i := range len(tok) {
			if c := tok[i]; c < 0x21 || c == '"' || c == '\\' || c > 0x7e {
				return nil, Errorf(CodeInvalidScope, "scope has a character that is not allowed")
			}
		}
		if !slices.Contains(out, tok) {
			out = append(out, tok)
		}
	}
	return out, nil
}

func (s Scopes) String() string { return strings.Join(s, " ") }

// Has tells whether the set contains a scope.
func (s Scopes) Has(scope string) bool { return slices.Contains(s, scope) }

// Missing returns the members of other that are not in s.
func (s Scopes) Missing(other Scopes) Scopes {
	var out Scopes
	for _, o := range other {
		if !s.Has(o) {
			out = append(out, o)
		}
	}
	return out
}

// With returns the union, s first.
func (s Scopes) With(other ...string) Scopes {
	return append(slices.Clone(s), s.Missing(other)...)
}

// Without returns the scopes but one.
func (s Scopes) Without(scope string) Scopes {
	return slices.DeleteFunc(slices.Clone(s), func(have string) bool { return have == scope })
}
