package oidc

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Error codes, each with the specification that defines it.
const (
	CodeInvalidRequest          = "invalid_request"           // RFC 6749 §4.1.2.1, §5.2
	CodeInvalidClient           = "invalid_client"            // RFC 6749 §5.2
	CodeInvalidGrant            = "invalid_grant"             // RFC 6749 §5.2
	CodeUnauthorizedClient      = "unauthorized_client"       // RFC 6749 §5.2
	CodeUnsupportedGrantType    = "unsupported_grant_type"    // RFC 6749 §5.2
	CodeUnsupportedResponseType = "unsupported_response_type" // RFC 6749 §4.1.2.1
	CodeInvalidScope            = "invalid_scope"             // RFC 6749 §5.2
	CodeAccessDenied            = "access_denied"             // RFC 6749 §4.1.2.1
	CodeServerError             = "server_error"              // RFC 6749 §4.1.2.1
	CodeTemporarilyUnavailable  = "temporarily_unavailable"   // RFC 6749 §4.1.2.1
	CodeInvalidToken            = "invalid_token"             // RFC 6750 §3.1
	CodeInsufficientScope       = "insufficient_scope"        // RFC 6750 §3.1
	CodeLoginRequired           = "login_required"            // OpenID Connect Core §3.1.2.6
	CodeConsentRequired         = "consent_required"          // OpenID Connect Core §3.1.2.6
	CodeInteractionRequired     = "interaction_required"      // OpenID Connect Core §3.1.2.6
	CodeRequestNotSupported     = "request_not_supported"     // OpenID Connect Core §3.1.2.6
	CodeRequestURINotSupported  = "request_uri_not_supported" // OpenID Connect Core §3.1.2.6
	CodeInvalidTarget           = "invalid_target"            // RFC 8707 §2

	CodeInvalidAuthorizationDetails = "invalid_authorization_details" // RFC 9396 §5
	CodeAuthorizationPending        = "authorization_pending"         // RFC 8628 §3.5
	CodeSlowDown                    = "slow_down"                     // RFC 8628 §3.5
	CodeExpiredToken                = "expired_token"                 // RFC 8628 §3.5
)

// Error is the one error type that reaches clients. The cause is for the log
// alone.
type Error struct {
	Code        string
	Description string
	Status      int // HTTP status of a JSON answer
	// GrantStatus, in an error of the token endpoint, tells the vault why a
	// grant does not work: revoked, reuse_detected, idle_expired, max_expired,
	// user_disabled, user_deleted, role_missing, not_before.
	GrantStatus string
	// RetryAfter is when to try again, 0: not told.
	RetryAfter time.Duration
	cause      error
}

// Errorf makes an error with the code's usual status: 401 for invalid_client
// and invalid_token, 403 for insufficient_scope, 500 for server_error, 503 for
// temporarily_unavailable, else 400. Characters that RFC 6749 §5.2 does not
// allow in a description are replaced, and one over 400 bytes is cut: what a
// request said may be part of it.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Description: describe(fmt.Sprintf(format, args...)), Status: statusOf(code)}
}

// WithCause returns a copy that carries the cause for the log.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// WithStatus returns a copy with another HTTP status.
func (e *Error) WithStatus(status int) *Error {
	c := *e
	c.Status = status
	return &c
}

// WithGrantStatus returns a copy with a grant status.
func (e *Error) WithGrantStatus(status string) *Error {
	c := *e
	c.GrantStatus = status
	return &c
}

// WithRetryAfter returns a copy that says when to try again, with status 429
// (RFC 6585 §4).
func (e *Error) WithRetryAfter(wait time.Duration) *Error {
	c := *e
	c.Status, c.RetryAfter = http.StatusTooManyRequests, wait
	return &c
}

func (e *Error) Error() string {
	s := e.Code
	if e.Description != "" {
		s += ": " + e.Description
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.cause }

func statusOf(code string) int {
	switch code {
	case CodeInvalidClient, CodeInvalidToken:
		return http.StatusUnauthorized
	case CodeInsufficientScope:
		return http.StatusForbidden
	case CodeServerError:
		return http.StatusInternalServerError
	case CodeTemporarilyUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

func describe(s string) string {
	const most = 400
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\':
			return '/'
		case r < 0x20 || r > 0x7e:
			return '?'
		}
		return r
	}, s)
}
