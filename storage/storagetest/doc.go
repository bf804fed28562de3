// Package storagetest holds what every engine must do, and what tests of other
// packages need of a store.
//
// It owns: Run, the one suite for all engines, with real concurrency and
// nothing skipped for one of them; New, Backend and Place, a store on the engine
// that the environment names; Keyset, a sealing key; Faults, a backend whose
// commits fail as a network or a rival makes them.
//
// It does not own: what only one engine can be asked, such as how often it
// syncs (that is in the engine's own tests). Only tests call it.
package storagetest
