package badger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// crowd takes all descriptors that are left while a compaction makes its tables,
// as connections may, and gives them back for the rest of it.
var crowd crowding

type crowding struct {
	mu    sync.Mutex
	times int // how many compactions are still to suffer
	taken []*os.File
}

func (c *crowding) heard(f string, a ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f {
	case sayMaking:
		if c.times > 0 {
			c.take()
		}
	case sayMade:
		if len(c.taken) > 0 {
			c.times--
		}
		c.giveBack()
	}
}

func (c *crowding) take() {
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		c.taken = append(c.taken, f)
	}
}

func (c *crowding) giveBack() {
	for _, f := range c.taken {
		_ = f.Close()
	}
	c.taken = nil
}

func (c *crowding) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times
}

// childCrowded writes with a tight limit of descriptors, of which somebody else
// takes all now and then, and prints what was answered.
func childCrowded(b *Backend) error {
	limit := syscall.Rlimit{Cur: 512, Max: 512}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	crowd.mu.Lock()
	crowd.times = 3
	crowd.mu.Unlock()
	for i, until := 0, time.Now().Add(time.Minute); i < 400 || crowd.left() > 0; i++ {
		if time.Now().After(until) {
			return fmt.Errorf("%d compactions were still to suffer", crowd.left())
		}
		answered, err := churn(b, fmt.Sprint("k", i, "-"), 1)
		switch {
		case err == nil:
		case errors.Is(err, storage.ErrFull), errors.Is(err, storage.ErrUnknown), errors.Is(err, storage.ErrClosed):
			time.Sleep(time.Millisecond)
		default:
			return err
		}
		for _, key := range answered {
			fmt.Println(key)
		}
	}
	for until := time.Now().Add(20 * time.Second); b.Update(context.Background(), putKey("last", "v")) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			return errors.New("it does not go on with descriptors enough")
		}
	}
	// A write is refused before the engine runs out of them, a start as well.
	crowd.mu.Lock()
	crowd.take()
	_, err := churn(b, "refused", 1)
	crowd.giveBack()
	crowd.mu.Unlock()
	if !errors.Is(err, storage.ErrFull) || !strings.Contains(err.Error(), "LimitNOFILE") {
		return fmt.Errorf("a write without a descriptor left: %w", err)
	}
	if err := b.Close(); err != nil {
		return err
	}
	limit.Cur = descriptorsToSpare
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if _, err := Open(b.options); !errors.Is(err, storage.ErrFull) || !strings.Contains(err.Error(), "LimitNOFILE") {
		return fmt.Errorf("a start with too low a limit: %w", err)
	}
	return nil
}

// TestDescriptorsRunOut: what a process whose connections use up its descriptors
// answers is there afterwards. The engine alone loses records.
func TestDescriptorsRunOut(t *testing.T) {
	for _, c := range []struct {
		name      string
		unchecked bool
	}{{"checked", false}, {"unchecked", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "store")
			cmd := child("crowd", dir)
			if c.unchecked {
				cmd.Env = append(cmd.Env, "CHILD_UNCHECKED=1")
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out[max(0, len(out)-2000):])
			}
			var answered []string
			for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "k") {
					answered = append(answered, lines.Text())
				}
			}
			b := open(t, Options{Dir: dir, tune: small})
			lost, err := missing(b, answered)
			if err != nil || len(answered) < 200 {
				t.Fatalf("%d answers: %v", len(answered), err)
			}
			switch {
			case !c.unchecked && len(lost) > 0:
				t.Errorf("%d of %d records are lost", len(lost), len(answered))
			case c.unchecked && len(lost) == 0:
				t.Error("the engine has lost nothing: this test sees nothing, or compactions.go is not needed any more")
			}
		})
	}
}
