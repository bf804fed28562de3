package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.IntVar(&o.faults, "faults", 2000, "faults to inject")
	flag.DurationVar(&o.limit, "for", 20*time.Minute, "stop after this time, with fewer faults if need be")
	flag.IntVar(&o.users, "users", 12, "users whose grants must survive; two more are sacrificed")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64(), "order of the faults; which byte a kill falls on is up to the machine")
	flag.StringVar(&o.binary, "binary", "", "the program under test, built with -tags faults; default: built from the current folder")
	flag.StringVar(&o.keep, "keep", "", "folder for stores and logs that stays; default: a temporary one, removed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
	}
	if !ok || err != nil {
		stop()
		os.Exit(1)
	}
}

type options struct {
	faults, users int
	limit         time.Duration
	seed          uint64
	binary, keep  string
}

// run tells whether nothing was lost.
func run(ctx context.Context, o options) (bool, error) {
	dir := o.keep
	if dir == "" {
		temp, err := os.MkdirTemp("", "nightlatch-crash-")
		if err != nil {
			return false, err
		}
		defer os.RemoveAll(temp)
		dir = temp
	}
	if o.binary == "" {
		o.binary = filepath.Join(dir, "nightlatch")
		if out, err := exec.CommandContext(ctx, "go", "build", "-tags", "faults", "-o", o.binary, ".").CombinedOutput(); err != nil {
			return false, fmt.Errorf("building the binary: %w\n%s", err, out)
		}
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return false, err
	}
	fmt.Printf("%d faults, %d users, seed %d, at most %v\n", o.faults, o.users, o.seed, o.limit)
	h, err := newHarness(ctx, binary, dir, o)
	if err != nil {
		return false, err
	}
	defer h.close()
	err = h.loop(ctx)
	h.close() // the log is complete only when the processes have ended
	ok := h.tally.print(os.Stdout)
	fmt.Printf("%d of %d faults in %v; slowest of %d starts %v\n", h.tally.injected(), o.faults, time.Since(h.began).Round(time.Second),
		h.realm.starts+h.gateway.starts, max(h.realm.slowest, h.gateway.slowest).Round(time.Millisecond))
	return ok, err
}
