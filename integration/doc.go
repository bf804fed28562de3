// Package integration tests the whole program from outside: the real binary,
// a real Chromium, real processes that are killed and started again.
//
// It does not own fast semantics (expiry, rotation, rules): those are tested on
// an injected clock beside their packages. Only what needs a process is here.
//
// Each test takes free ports and a folder of its own; the demo's Caddyfile is
// used as it is but for its ports. NIGHTLATCH_REQUIRE_ALL=1 (set in CI) turns
// a missing browser from a skip into a failure.
package integration
