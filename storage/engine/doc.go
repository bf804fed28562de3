// Package engine holds what every engine would otherwise write again.
//
// It owns: passing changed keys to those who watch (Watchers), letting calls
// finish before a store is closed (Gate), running a closure (Run, Goroutine), and
// the form of an instant in a row (Nano).
//
// It does not own: anything that is stored, or the contract (package storage).
// Called by storage/badger and storage/postgres; storage/transfer sums instants up
// as they are stored.
package engine
