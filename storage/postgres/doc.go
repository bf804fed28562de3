// Package postgres is the engine for many nodes: records in a PostgreSQL that
// its users already operate.
//
// It owns: the tables in one schema and their migrations, the pool, one
// SERIALIZABLE transaction per Update and one REPEATABLE READ snapshot per View,
// the classes of the server's errors, and telling the nodes what was changed.
//
// It does not own: retry, expiry by a clock, limits of an item (storage.Store),
// the sealing of values, or any record. The gateway opens it; nothing else names
// the driver.
//
// # Round trips
//
// A transaction begins with its first read: BEGIN and the read go together. Each
// further key costs one round trip, any number that are asked for together
// (GetMany, or a page of a Table) cost one, a key that was read before costs none. What
// is written waits in memory; it goes with COMMIT in one message. So an Update
// that reads n keys takes n+1 round trips, one that reads nothing takes one, a
// View n; what ends a View is sent behind the answer.
//
// # Conflicts
//
// PostgreSQL finds conflicts by locks on rows and, for the gaps between them, on
// leaf pages of an index: two transactions that never touch the same key conflict
// if one reads and the other inserts on the same leaf. These false conflicts are
// kept few, see docs/decisions/0011.
//
// # What other databases must have
//
// Nothing but tables, rows, SERIALIZABLE, unnest and ON CONFLICT is used: no
// extension, no advisory lock, no type or function that CockroachDB and
// YugabyteDB lack. Neither was run.
package postgres
