//go:build faults

package caddymodule

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A binary with this file in it ends itself by SIGKILL at a named step of a
// refresh (vault.Step…, grant.Step…), for integration/crash: when the folder
// that the environment variable names holds a file of the step's name. The file
// is removed first, so that one file is one kill. A file "clock" in it holds by
// how much the program's clock is off, as a Go duration; a file "free" how many
// bytes the disk of the store has left.
func init() {
	dir := os.Getenv("NIGHTLATCH_FAULTS")
	if dir == "" {
		return
	}
	at := func(step string) {
		if os.Remove(filepath.Join(dir, step)) == nil {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing more is done until the signal arrives
		}
	}
	faults.now = shifted(filepath.Join(dir, "clock"))
	faults.free = func() (int64, error) {
		raw, err := os.ReadFile(filepath.Join(dir, "free"))
		if err != nil {
			return math.MaxInt64, nil // it is not full
		}
		return strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	}
	faults.realm = at
	faults.vault.At = func(step string) error {
		at(step)
		return nil
	}
}

// shifted is a clock that is off by what a file says, read anew ten times a second.
func shifted(file string) func() time.Time {
	var off, read atomic.Int64
	return func() time.Time {
		now := time.Now()
		if last := read.Load(); now.UnixNano()-last > int64(100*time.Millisecond) && read.CompareAndSwap(last, now.UnixNano()) {
			raw, _ := os.ReadFile(file) // there is none: not off
			d, _ := time.ParseDuration(strings.TrimSpace(string(raw)))
			off.Store(int64(d))
		}
		return now.Add(time.Duration(off.Load()))
	}
}
