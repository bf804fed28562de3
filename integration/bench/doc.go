// Command bench measures what docs/performance.md promises, as ratios in one run: the
// product and its baseline alternate in rounds, and each figure is printed with
// its range over the rounds. `make bench` runs it.
//
// It does not judge: no figure passes or fails. It starts the real binary on
// loopback ports with a folder of its own, loads it over keep-alive
// connections from this process, and ends both. Servers and load share the
// machine's cores, so figures are lower bounds; ratios are what counts.
package main
