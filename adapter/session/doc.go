// Package session keeps the browser sessions of a site: a cookie with an opaque
// random id, a sealed record under the cookie's hash, and the record's claims in
// memory, so that a proxied request costs no storage read.
//
// It owns: ids and their hashes, idle and maximum life, the cache and how it
// hears of changes, ending sessions by subject or provider session.
//
// It does not own the cookie's name, the login (adapter), or grants: a grant
// never renews a session, and ending a session never touches a grant.
package session
