// Package token makes and opens the realm's tokens: access tokens (RFC 9068),
// ID tokens (OpenID Connect Core §2), refresh and offline tokens.
//
// It owns their claims and nothing else: no HTTP, no storage, no clock. Opening
// checks signature, issuer and kind; whether a token still works is for the
// caller to judge by the record behind it (provider/standing).
//
// The claims are those that Keycloak's clients read: typ, azp, sid,
// realm_access.roles, resource_access.
package token
