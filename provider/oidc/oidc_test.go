package oidc

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestVerifyPKCE(t *testing.T) {
	// RFC 7636 Appendix B.
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	tests := []struct {
		name                string
		challenge, verifier string
		want                bool
	}{
		{"the pair of the specification", challenge, verifier, true},
		{"another verifier", challenge, "A" + verifier[1:], false},
		{"plain", verifier, verifier, false},
		{"no verifier", challenge, "", false},
		{"no challenge", "", verifier, false},
		{"nothing at all", "", "", false},
		{"a verifier that is too short, with its challenge", "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0", "abc", false},
		{"a challenge with padding", challenge + "=", verifier, false},
	}
	for _, tt := range tests {
		if got := VerifyPKCE(tt.challenge, tt.verifier); got != tt.want {
			t.Errorf("%s: VerifyPKCE = %v, want %v", tt.name, got, tt.want)
		}
	}
	if !ValidChallenge(challenge) {
		t.Error("ValidChallenge refuses the challenge of the specification")
	}
	for _, bad := range []string{"", challenge[1:], challenge + "A", challenge[:42] + "N", strings.Replace(challenge, "-", "+", 1)} {
		if ValidChallenge(bad) {
			t.Errorf("ValidChallenge(%q) = true", bad)
		}
	}
	for verifier, want := range map[string]bool{
		verifier: true, strings.Repeat("~", 128): true, strings.Repeat("a", 129): false, strings.Repeat("a", 42): false,
		strings.Repeat("a", 42) + "+": false, strings.Repeat("a", 42) + "é": false,
	} {
		if got := ValidVerifier(verifier); got != want {
			t.Errorf("ValidVerifier(%q) = %v, want %v", verifier, got, want)
		}
	}
}

func TestParsePrompt(t *testing.T) {
	tests := []struct {
		in   string
		want Prompts
		bad  bool
	}{
		{in: ""},
		{in: "none", want: Prompts{"none"}},
		{in: "login consent", want: Prompts{"login", "consent"}},
		{in: "select_account", want: Prompts{"select_account"}},
		{in: "none login", bad: true},
		{in: "login none", bad: true},
		{in: "create", bad: true},
		{in: "Login", bad: true},
	}
	for _, tt := range tests {
		got, err := ParsePrompt(tt.in)
		if tt.bad {
			wantCode(t, "prompt "+tt.in, err, CodeInvalidRequest)
			continue
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("ParsePrompt(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestParseResponseMode(t *testing.T) {
	for in, want := range map[string]ResponseMode{"": ModeQuery, "query": ModeQuery, "fragment": ModeFragment, "form_post": ModeFormPost} {
		if got, err := ParseResponseMode(in); err != nil || got != want {
			t.Errorf("ParseResponseMode(%q) = %q, %v", in, got, err)
		}
	}
	_, err := ParseResponseMode("query.jwt")
	wantCode(t, "query.jwt", err, CodeInvalidRequest)
}

func TestScopes(t *testing.T) {
	got, err := ParseScopes(" openid  offline_access openid ")
	if err != nil || got.String() != "openid offline_access" {
		t.Errorf("ParseScopes = %q, %v", got, err)
	}
	for _, bad := range []string{"a\tb", "a\"b", `a\b`, "é", "a\x00"} {
		_, err := ParseScopes(bad)
		wantCode(t, bad, err, CodeInvalidScope)
	}
	all := Scopes{"a", "b"}
	if m := all.Missing(Scopes{"b", "c"}); !slices.Equal(m, Scopes{"c"}) {
		t.Errorf("Missing = %q", m)
	}
	if w := all.With("c", "a"); !slices.Equal(w, Scopes{"a", "b", "c"}) || len(all) != 2 {
		t.Errorf("With = %q of %q", w, all)
	}
}

func TestErrorf(t *testing.T) {
	for code, want := range map[string]int{
		CodeInvalidClient: http.StatusUnauthorized, CodeInvalidToken: http.StatusUnauthorized, CodeInsufficientScope: http.StatusForbidden,
		CodeServerError: http.StatusInternalServerError, CodeTemporarilyUnavailable: http.StatusServiceUnavailable,
		CodeInvalidGrant: http.StatusBadRequest, CodeAccessDenied: http.StatusBadRequest,
	} {
		if got := Errorf(code, "").Status; got != want {
			t.Errorf("status of %s is %d, want %d", code, got, want)
		}
	}
	// RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E.
	if got := Errorf(CodeInvalidScope, "scope %s", "\"a\\b\"\r\né").Description; got != "scope 'a/b'???" {
		t.Errorf("description is %q", got)
	}
	if got := Errorf(CodeInvalidScope, "%s", strings.Repeat("x", 70000)).Description; len(got) > 500 {
		t.Errorf("description has %d bytes", len(got))
	}
	cause := errors.New("why")
	first := Errorf(CodeInvalidGrant, "no")
	second := first.WithCause(cause).WithGrantStatus("revoked").WithStatus(418)
	if !errors.Is(second, cause) || errors.Is(first, cause) || first.GrantStatus != "" || first.Status != 400 {
		t.Error("a copy changed the original")
	}
}

func TestNewID(t *testing.T) {
	if id := NewID(bytes.NewReader(make([]byte, 16))); id != strings.Repeat("A", 22) {
		t.Errorf("NewID of zeros = %q", id)
	}
	if a, b := NewID(nil), NewID(nil); len(a) != 22 || a == b {
		t.Errorf("NewID = %q, %q", a, b)
	}
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%q: error is %v, want %s", what, err, code)
	}
}
