// Package seal encrypts what is secret at rest: signing keys, offline tokens,
// browser sessions. A sealed value opens only under the storage key it was
// sealed for, so a record cannot be moved to another user.
//
// It owns: the key file, the note in the store of the keys that it is sealed with
// and of the one that seals, the exchange of a key for a new one (Rekey), and
// subkeys for hashing client and job secrets.
//
// A keyset may hold several sealing keys: all of them open. The note says which one
// seals; a process that uses the store follows it (Live), and where several share a
// store each says there which keys it opens. So a new key is in the hands of all of
// them before any of them seals with it. Subkeys are derived from a key of its own,
// which stays.
//
// It does not own: which table is sealed (its package says so), nor the place of
// the key file (the gateway's configuration).
package seal
