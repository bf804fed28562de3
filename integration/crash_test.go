package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestCrashShort is `make crash` in short: O55, O56 and A07 with real processes
// that are killed between a request and its answer.
func TestCrashShort(t *testing.T) {
	crash := filepath.Join(t.TempDir(), "crash")
	if out, err := exec.Command("go", "build", "-o", crash, "./crash").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	// Interrupted, it ends the processes that it has started.
	cmd := exec.CommandContext(ctx, crash, "-faults", "60", "-for", "50s")
	cmd.Dir = ".." // it builds the program with the tag faults
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("grants lost 0, tokens accepted twice 0")) {
		t.Errorf("crash: %v\n%s", err, out)
	}
}
