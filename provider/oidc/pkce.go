package oidc

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// MethodS256 is the only code_challenge_method (RFC 7636 §4.2): with plain, who
// sees the request can redeem the code.
const MethodS256 = "S256"

// ValidChallenge tells whether s can be an S256 code challenge: 43 characters of
// base64url without padding, the encoding of 32 bytes.
func ValidChallenge(s string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(raw) == sha256.Size
}

// CheckChallenge judges the parameters code_challenge and code_challenge_method of
// a request; none of them is fine.
func CheckChallenge(challenge, method string) error {
	switch {
	case challenge == "" && method != "":
		return Errorf(CodeInvalidRequest, "code_challenge is missing")
	case challenge == "":
		return nil
	case method != MethodS256:
		return Errorf(CodeInvalidRequest, "code_challenge_method must be S256")
	case !ValidChallenge(challenge):
		return Errorf(CodeInvalidRequest, "code_challenge must be 43 characters of base64url without padding, the SHA-256 of the verifier")
	}
	return nil
}

// ValidVerifier tells whether s has the form of a code verifier: 43 to 128
// unreserved characters (RFC 7636 §4.1).
func ValidVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

// VerifyPKCE tells whether verifier is what challenge was made of.
func VerifyPKCE(challenge, verifier string) bool {
	if !ValidVerifier(verifier) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}
