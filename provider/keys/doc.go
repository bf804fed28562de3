// Package keys holds a realm's signing keys: asymmetric ones for ID and access
// tokens, a symmetric one for refresh and offline tokens.
//
// It owns: making, storing (sealed), rotating and reading keys, compact JWS with
// them, and the public key set.
//
// It does not own claims (provider/token). The provider opens a Ring at start,
// and again when Watch tells of a rotation; signing and verifying touch no
// storage.
package keys
