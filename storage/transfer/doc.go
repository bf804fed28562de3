// Package transfer moves all that a store holds: into another store (Copy), out
// into a file that belongs to no engine (Backup), and back (Copy from a File).
//
// It owns: the mark of a store that is not whole yet, the order and the checksum
// of what is moved, the format of a backup.
//
// It does not own: keys (sealed values move as they are; their associated data
// is the storage key, which stays), nor how a store is opened. Called by the
// gateway's operator commands; the gateway asks Whole before it uses a store.
//
// Expired items and leases are not moved.
package transfer
