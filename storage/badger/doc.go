// Package badger is the embedded engine: one folder, one process.
//
// It owns: opening the folder with little memory and synced writes, folding
// concurrent Updates into one synced commit, the expiry index that Sweep reads,
// and telling watchers what was committed.
//
// It does not own: retry, expiry by a clock, limits (storage.Store), or any
// record. The gateway opens it; nothing else names the driver.
//
// Badger 4 syncs once per transaction and has no group commit, so one goroutine
// commits for all callers: it runs the closures that wait, one after another in
// one Badger transaction, each on an overlay of its own that is merged only on
// a nil error, and syncs once. Being the only writer it never meets a conflict.
package badger
