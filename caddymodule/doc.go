// Package caddymodule joins Nightlatch to Caddy.
//
// It owns: the app "nightlatch" (what the global option declares), the handlers
// nightlatch_provider, nightlatch, nightlatch_tokens and nightlatch_health, the provider nightlatch of
// Caddy's own handler authentication, their Caddyfile syntax, the store's life
// across reloads, the in-process way from the adapter to a realm, the fan-out of
// events, the commands "grants", "store" and "realm", and what the last two ask of
// a running gateway (adminapi.go).
//
// It does not own: protocol, sessions, grants or rules. Those are plain Go in
// provider and adapter, which know nothing of Caddy; this package wires them.
//
// # Life of a configuration
//
// Two configurations live at once during a reload, and Caddy starts and cleans
// up their modules in random order. So nothing exclusive belongs to one:
//
//   - Provision and Validate open nothing: `nightlatch validate` runs beside a
//     server that holds the store.
//   - Start leases the shared node (the store and what is tied to it: sealing
//     key, vault, registered listeners of events) from a caddy.UsagePool; an
//     error keeps the old configuration running. The first configuration of a
//     process writes its declaration in Start, a reloaded one only when Caddy
//     says that it runs (event "started"): a failed reload changes nothing.
//   - A handler waits for its app to be ready, and each request holds a lease of
//     its own, so that a request which outlives its configuration still has a
//     store.
//   - Cleanup gives the lease back, once, and only if Start had got it. With the
//     last one the node ends refreshes, then closes the store.
//
// Called by Caddy; main.go compiles it in.
package caddymodule
