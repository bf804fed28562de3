package badger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// The test binary serves as its own child: what CHILD names runs instead of the
// tests, on the store in CHILD_DIR.
func TestMain(m *testing.M) {
	run, ok := children[os.Getenv("CHILD")]
	if !ok {
		os.Exit(m.Run())
	}
	o := Options{Dir: os.Getenv("CHILD_DIR"), unsynced: os.Getenv("CHILD_UNSYNCED") != "", unchecked: os.Getenv("CHILD_UNCHECKED") != ""}
	if os.Getenv("CHILD") == "crowd" {
		o.tune, o.heard, o.tableWait = small, crowd.heard, 100*time.Millisecond
	}
	b, err := Open(o)
	if err == nil {
		err = run(b)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

var children = map[string]func(*Backend) error{
	"hold":  childHolds,
	"put":   childPuts,
	"write": childWrites,
	"syncs": childSyncs,   // syncs_linux_test.go
	"fill":  childFills,   // full_linux_test.go
	"crowd": childCrowded, // crowd_linux_test.go
}

func child(name, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CHILD="+name, "CHILD_DIR="+dir)
	return cmd
}

// childHolds keeps the folder open until its input ends.
func childHolds(b *Backend) error {
	fmt.Println("open")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return b.Close()
}

func TestFolderInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	cmd := child("hold", dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process: %q, %v", line, err)
	}
	before := listing(t, dir)
	_, err = Open(Options{Dir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "stop it") {
		t.Errorf("opening a folder in use: %v", err)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("the refused open changed the folder from\n%s\nto\n%s", before, after)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	open(t, Options{Dir: dir})
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder: %v, %v", info.Mode(), err)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, e.Name(), info.Size(), info.ModTime())
	}
	return b.String()
}

func TestFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("opening %s: %v", dir, err)
		}
	}
}

// childWrites writes until it is killed, in parallel, and prints what was
// answered.
func childWrites(b *Backend) error {
	failed := make(chan error)
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d", w, i)
				if err := b.Update(context.Background(), putKey(key, "v")); err != nil {
					failed <- err
					return
				}
				_, _ = os.Stdout.WriteString(key + "\n")
			}
		}()
	}
	return <-failed
}

func TestAnsweredWritesSurviveAKill(t *testing.T) {
	dir := t.TempDir()
	var answered []string
	for range 3 {
		cmd := child("write", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 300 {
				if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			answered = append(answered, lines.Text())
		}
		_ = cmd.Wait()
	}
	if len(answered) < 900 {
		t.Fatalf("only %d answers: %q", len(answered), answered)
	}
	b := open(t, Options{Dir: dir})
	if err := b.View(t.Context(), func(tx storage.Tx) error {
		for _, key := range answered {
			if _, err := tx.Get([]byte(key)); err != nil {
				return fmt.Errorf("%s was answered: %w", key, err)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
