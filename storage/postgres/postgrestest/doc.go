// Package postgrestest starts PostgreSQL servers for tests.
//
// It owns: finding the server's programs, a server in a private folder and on a
// private socket, ending it with the process that started it, and stopping,
// killing and starting it again.
//
// It does not own: the engine that is tested. Where PostgreSQL is missing the
// test is skipped, and with NIGHTLATCH_REQUIRE_ALL set it fails. Only tests call
// it, and integration/bench.
package postgrestest
