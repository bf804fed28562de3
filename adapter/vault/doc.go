// Package vault keeps the offline tokens of the people who allowed background
// access, and turns them into short-lived access tokens for as long as the
// provider agrees.
//
// It owns: the record of a grant (sealed, one for each provider, client and
// sub), the refresh protocol that loses no grant whatever fails and whenever,
// the classes of a provider's errors, the cached access tokens (cache.go
// says what handing one out costs).
//
// It does not own: who may ask for a token (adapter/jobs judges), the login that
// yields a grant (adapter), any page. No caller ever sees a refresh token.
//
// Called by adapter (Save, Has after a login), by adapter/jobs (Find, List,
// Token, Reject, Revoke) and by the gateway, which passes the events of a local
// realm on (DropCached, DropClient), replaces the providers at a reload (Use), and lets it
// hear the other nodes of a shared store (Follow).
package vault
