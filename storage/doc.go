// Package storage keeps every record of Nightlatch: a small transactional
// key–value contract (Backend, Tx), what each engine would otherwise have to
// write again (Store: retry, expiry, limits), and typed records with indexes
// and counters (Table).
//
// It owns: isolation and durability as promised to callers, the encoding of
// keys, index and counter rows and bringing those of an older version up to date
// (Store.Index), the sweeping of expired items.
//
// It does not own: any record type, any policy. A domain package declares its
// Table and its functions take a Tx; the endpoint (or the vault) that calls
// them opens the transaction, so that several records change in one commit.
//
// Rules for closures given to View and Update. A closure may run many times,
// and Updates of one process run one after another: no network, no waiting, no
// clock, no random numbers and no events inside, results only through captured
// variables that are set anew by each run. A nested Update is an error
// (ErrNested; ErrStuck if it comes from another goroutine that the closure waits
// for). An invariant sits on one record that the closure reads by Get and writes;
// never scan, then decide: where several nodes write, whoever adds or removes a
// row of the range makes the others begin again. An Update that returned nil is
// on disk.
//
// Engines are in storage/badger and storage/postgres; storage/storagetest is
// the one suite for all of them; storage/seal seals what is secret,
// storage/transfer moves all of it.
package storage
