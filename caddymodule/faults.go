//go:build faults

package caddymodule

import (
	"os"
	"path/filepath"
	"syscall"
)

// A binary with this file in it ends itself by SIGKILL at a named step of a
// refresh (vault.Step…, grant.Step…), for integration/crash: when the folder
// that the environment variable names holds a file of the step's name. The file
// is removed first, so that one file is one kill.
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
	faults.realm = at
	faults.vault.At = func(step string) error {
		at(step)
		return nil
	}
}
