// Package session owns what tokens point to: user sessions (a browser login,
// sid), client sessions (online ones that end with a user session, offline ones
// that live on their own), authorization codes; how long each lives, and how
// refresh tokens rotate.
//
// It does not own tokens (provider/token), nor users, clients and consents. It
// never opens a transaction but to sweep: endpoints open them, and emit the
// events for what the functions here return.
//
// The decisions are pure: PolicyOf makes the policy of now from the settings of
// now, Check judges a session by it, Rotate judges a presented refresh token.
// Nothing that was decided at issue is kept, so that a changed setting applies
// to every session that exists (O36, O57).
package session
