// Package client owns what the realm knows of its clients: their records, how
// they authenticate (RFC 6749 §2.3, RFC 7523), which redirect URIs and origins
// are theirs, the client scopes of the realm, and which scopes and roles a
// grant to a client holds.
//
// It does not own users, consents or sessions, and it answers no request: the
// endpoints call it inside their transactions. Decisions (Authenticator.Verify,
// MatchRedirect, Evaluate, Narrow) are pure functions of records that were read
// before.
package client
