// Package seal encrypts what is secret at rest: signing keys, offline tokens,
// browser sessions. A sealed value opens only under the storage key it was
// sealed for, so a record cannot be moved to another user.
//
// It owns: the key file, the fingerprint of the key in the store, and subkeys
// for hashing client and job secrets.
//
// It does not own: which table is sealed (its package says so), nor the place of
// the key file (the gateway's configuration).
package seal
