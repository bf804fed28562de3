// Package oidc is the vocabulary that all of the provider speaks: error codes
// and the one protocol error type, scopes, prompts, response modes, PKCE.
// Constants, parsing and pure checks, no I/O.
//
// It does not own any rule that needs a record: those are in the domain
// packages. Every package of the provider may import it; it imports none.
package oidc
