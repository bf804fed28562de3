// Command crash shows that no fault costs a grant and that no refresh token is
// accepted twice (O55, O56, A07), with real processes. `make crash` runs it.
//
// One process is a realm with single use on, one is a gateway whose vault uses
// that realm as a foreign provider. All that the gateway says to the realm
// passes a proxy in this process, which loses, cuts, delays, repeats or replaces
// answers of the token endpoint, ends either process with SIGKILL between a
// request and its answer or restarts it in order, and fills the disk of either.
// At the steps of a refresh that no request marks, the processes end themselves:
// they are built with the tag faults. Some kills fall at random instants. Now and
// then an old copy of a store is put back. Jobs ask for tokens all the while.
//
// What counts as a failure: a grant that no longer gives tokens, an
// invalid_grant for the vault, a revocation that nobody asked for, a commit that
// the realm has answered and then forgotten, and a token that was accepted a
// second time. Any of them makes the exit code 1.
//
// It does not own power cuts: SIGKILL leaves the operating system's file cache
// alive. That a write is synced before its answer is counted by the tests of
// storage/badger.
//
// It speaks to loopback only, ends only processes that it started, and prints
// no token.
package main
