package integration

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

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/transfer"
)

// sealedRecord is a record of the store that the commands below work on.
type sealedRecord struct{ Text string }

const sealedRecords = 6000 // many transactions of a copy, and more of a rekey

// opened opens a store in a folder while no process has it.
func opened(t *testing.T, dir string, fn func(*storage.Store)) {
	t.Helper()
	b, err := badger.Open(badger.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s := storage.New(storage.Config{Backend: b})
	fn(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// sealedStore makes a gateway's folder with a store of many sealed records.
func sealedStore(t *testing.T) *gateway {
	t.Helper()
	g := newGateway(t, example(t))
	dir := filepath.Join(g.Dir, "nightlatch-data")
	opened(t, dir, func(s *storage.Store) {
		k, err := seal.Create(filepath.Join(dir, "nightlatch.key"))
		if err == nil {
			err = seal.Check(t.Context(), s, k)
		}
		table := &storage.Table[sealedRecord]{Name: "kept", Sealer: k}
		for i := 0; i < sealedRecords && err == nil; i += 500 {
			err = s.Update(t.Context(), func(tx storage.Tx) error {
				for n := range 500 {
					if err := table.Put(tx, "s", fmt.Sprintf("%06d", i+n), &sealedRecord{strings.Repeat("x", 700)}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	return g
}

// killedAt runs a command and kills it by SIGKILL when its stderr holds a word;
// false if it ended before.
func (g *gateway) killedAt(word string, args ...string) bool {
	g.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = g.Dir, g.env(g.more...)
	said, err := whenItSays(cmd, word, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		return true
	}
	if err != nil {
		g.t.Fatalf("%v: %v\n%s", args, err, said)
	}
	return false
}

// whenItSays runs a command to its end and calls fn once, when its stderr holds a
// word.
func whenItSays(cmd *exec.Cmd, word string, fn func()) (stderr string, err error) {
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", err
	}
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), word) && fn != nil {
			fn()
			fn = nil
		}
	}
	return said.String(), cmd.Wait()
}

// TestCopyAfterKill: a copy that is killed again and again is never taken for a
// store, goes on where it was, and is whole in the end.
func TestCopyAfterKill(t *testing.T) {
	g := sealedStore(t)
	source, target := filepath.Join(g.Dir, "nightlatch-data"), filepath.Join(g.Dir, "target")
	args := []string{"store", "copy", "--to", "badger ./target"}
	var want transfer.Sum
	opened(t, source, func(s *storage.Store) { want = sumOf(t, s) })
	had := 0
	for n := range 3 {
		if !g.killedAt("copying:", args...) {
			t.Fatalf("the copy ended before kill %d", n)
		}
		opened(t, target, func(s *storage.Store) {
			if err := transfer.Whole(t.Context(), s); !errors.Is(err, transfer.ErrUnfinished) {
				t.Errorf("after kill %d: %v", n, err)
			}
			if has := sumOf(t, s).Items; has <= had || has >= want.Items {
				t.Errorf("after kill %d the target has %d items, before %d, the source %d", n, has, had, want.Items)
			} else {
				had = has
			}
		})
	}
	g.WriteConfig(strings.Replace(example(t), "./nightlatch-data", "./target", 1))
	if r := g.Run(nil, "run", "--config", "Caddyfile"); r.Code == 0 || !strings.Contains(r.Stderr, "did not come to its end") {
		t.Errorf("the gateway on half a copy: %+v", r)
	}
	g.WriteConfig(example(t))
	if r := g.Run(nil, args...); r.Code != 0 || !strings.Contains(r.Stdout, want.String()) {
		t.Fatalf("the copy at last: %+v", r)
	}
	opened(t, target, func(s *storage.Store) {
		if got := sumOf(t, s); got != want {
			t.Errorf("the copy has %d items, checksum %s; want %d, %s", got.Items, got, want.Items, want)
		}
	})
}

func sumOf(t *testing.T, s *storage.Store) transfer.Sum {
	t.Helper()
	sum, err := transfer.SumOf(context.Background(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestRekeyAfterKill: whenever a rekey is killed, the store opens with the key
// file, and the next attempt goes on.
func TestRekeyAfterKill(t *testing.T) {
	g := sealedStore(t)
	dir := filepath.Join(g.Dir, "nightlatch-data")
	file := filepath.Join(dir, "nightlatch.key")
	first, err := seal.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	whole := func(when string) (k *seal.Keyset) {
		opened(t, dir, func(s *storage.Store) {
			if k, err = seal.Load(file); err == nil {
				err = seal.Check(t.Context(), s, k)
			}
			n := 0
			if err == nil {
				err = s.Each(t.Context(), nil, func(it storage.Item) error {
					if _, sealed := seal.SealedWith(it); !sealed {
						return nil
					}
					n++
					_, err := k.Open(it.Key, it.Value)
					return err
				})
			}
			if err != nil || n != sealedRecords {
				t.Fatalf("%s: %d records open: %v", when, n, err)
			}
		})
		return k
	}
	for _, word := range []string{"adapted config", "sealing anew:", "sealing anew:", "verifying:"} {
		if !g.killedAt(word, "store", "rekey") {
			t.Fatalf("the command ended before it said %q", word)
		}
		whole("killed at " + word)
	}
	if r := g.Run(nil, "store", "rekey"); r.Code != 0 {
		t.Fatalf("the rekey at last: %+v", r)
	}
	last := whole("at last")
	if keys := last.Keys(); len(keys) != 1 || keys[0] == first.Keys()[0] || last.Fingerprint() != first.Fingerprint() {
		t.Errorf("the file holds keys %v, had %v", keys, first.Keys())
	}
	for _, left := range []string{file + ".old", file + ".tmp"} {
		if _, err := os.Lstat(left); err == nil {
			t.Errorf("%s is left", left)
		}
	}
}
