package vault

import (
	"errors"
	"time"
)

// ErrNoGrant: nobody has given this grant, or it was never one of ours.
var ErrNoGrant = errors.New("no grant")

// Class of an error tells who has to do something about it.
type Class string

// Classes of errors (docs/decisions/0008). None of them deletes a grant.
const (
	// ClassSuspended: the provider refuses the grant for now; the person may
	// consent again, or whatever it was may pass.
	ClassSuspended Class = "suspended"
	// ClassFinal: the grant has ended; only a new consent helps.
	ClassFinal Class = "final"
	// ClassOperator: our own client is wrong at the provider; no grant is at
	// fault.
	ClassOperator Class = "operator"
	// ClassRequest: the ask cannot be met by this grant.
	ClassRequest Class = "request"
	// ClassTransient: try again later.
	ClassTransient Class = "transient"
)

// Error of Token, Reject and Revoke. Its text holds no token and no secret.
type Error struct {
	Class Class
	// Code is the OAuth error code of the provider, or ours in its stead.
	Code string
	// Status is the grant_status for the job, of the classes suspended and final.
	Status string
	// RetryAfter is when to try again, of the classes operator and transient.
	RetryAfter time.Duration
	later      bool // the provider named that time: nothing is sent again before
	cause      error
}

func (e *Error) Error() string {
	s := string(e.Class) + ": " + e.Code
	if e.Status != "" {
		s += " (" + e.Status + ")"
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.cause }

func transient(cause error) *Error {
	return &Error{Class: ClassTransient, Code: "temporarily_unavailable", RetryAfter: 5 * time.Second, cause: cause}
}
