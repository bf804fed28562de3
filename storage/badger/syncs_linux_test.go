package badger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/nightlatch/nightlatch/storage"
)

// childSyncs does five Updates one after another, then 64 at once, with a line
// on its output before and after each part: the tracer sees these writes and
// the syncs among its system calls, in order.
func childSyncs(b *Backend) error {
	if err := b.Update(context.Background(), putKey("warm", "up")); err != nil {
		return err
	}
	for i := range 5 {
		say("request")
		if err := b.Update(context.Background(), putKey(fmt.Sprint(i), "v")); err != nil {
			return err
		}
		say("answer")
	}
	running, goOn := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var once sync.Once
	for i := range 64 {
		wg.Go(func() {
			_ = b.Update(context.Background(), func(tx storage.Tx) error {
				once.Do(func() { close(running); <-goOn })
				return putKey(fmt.Sprint(i), "w")(tx)
			})
		})
	}
	<-running
	for len(b.jobs) < 63 {
		time.Sleep(time.Millisecond)
	}
	say("request")
	close(goOn)
	wg.Wait()
	say("answer")
	return nil
}

func say(line string) { _, _ = syscall.Write(1, []byte(line)) }

// The second case shows that the first one would notice.
func TestSyncedBetweenRequestAndAnswer(t *testing.T) {
	for _, c := range []struct {
		name     string
		unsynced bool
	}{{"synced", false}, {"unsynced", true}} {
		t.Run(c.name, func(t *testing.T) {
			between := traceSyncs(t, t.TempDir(), c.unsynced)
			if len(between) != 6 {
				t.Fatalf("traced %d requests", len(between))
			}
			for i, n := range between {
				// The last is 64 Updates: they cost what one costs. (Badger syncs
				// its log of large values too, which stays empty.)
				if c.unsynced != (n == 0) || n != between[0] {
					t.Errorf("request %d: %d syncs before its answer, the first had %d", i, n, between[0])
				}
			}
		})
	}
}

// traceSyncs runs childSyncs under ptrace and counts the syncs that succeeded
// between each request and its answer.
func traceSyncs(t *testing.T, dir string, unsynced bool) (between []int) {
	t.Helper()
	runtime.LockOSThread() // ptrace belongs to a thread
	defer runtime.UnlockOSThread()
	env := append(os.Environ(), "CHILD=syncs", "CHILD_DIR="+dir)
	if unsynced {
		env = append(env, "CHILD_UNSYNCED=1")
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	pid, _, err := syscall.StartProcess("/proc/self/exe", os.Args[:1], &syscall.ProcAttr{
		Env: env, Files: []uintptr{null.Fd(), null.Fd(), 2}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	const exitKill = 0x100000
	if err := syscall.PtraceSetOptions(pid, exitKill|syscall.PTRACE_O_TRACECLONE|syscall.PTRACE_O_TRACESYSGOOD); err != nil {
		t.Fatal(err)
	}
	if err := syscall.PtraceSyscall(pid, 0); err != nil {
		t.Fatal(err)
	}
	calls := map[int]uint64{} // what each thread is in
	count, inRequest := 0, false
	for {
		// __WNOTHREAD: only what this thread traces.
		tid, err := syscall.Wait4(-1, &status, syscall.WALL|syscall.WNOTHREAD, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status.Exited() || status.Signaled() {
			if tid != pid {
				continue
			}
			if status.ExitStatus() != 0 {
				t.Errorf("the traced process ended with %d", status.ExitStatus())
			}
			return between
		}
		deliver := 0
		switch sig := status.StopSignal(); sig {
		case syscall.SIGTRAP | 0x80:
			info, err := syscallInfo(tid)
			if errors.Is(err, syscall.ESRCH) {
				continue // the process ends, and its threads with it
			}
			if err != nil {
				t.Fatal(err)
			}
			if info.op == entry {
				calls[tid] = info.data[0]
				switch written(tid, info) {
				case "request":
					count, inRequest = 0, true
				case "answer":
					between, inRequest = append(between, count), false
				}
				break
			}
			switch calls[tid] {
			case syscall.SYS_MSYNC, syscall.SYS_FSYNC, syscall.SYS_FDATASYNC:
				if inRequest && info.data[0] == 0 {
					count++
				}
			}
		case syscall.SIGTRAP, syscall.SIGSTOP: // a new thread
		default:
			deliver = int(sig)
		}
		_ = syscall.PtraceSyscall(tid, deliver) // the thread may have gone
	}
}

// callInfo is the kernel's struct ptrace_syscall_info.
type callInfo struct {
	op     uint8
	_      [3]uint8
	_      uint32
	ip, sp uint64
	data   [7]uint64 // entry: number and arguments; exit: result
}

const entry = 1 // op

func syscallInfo(tid int) (info callInfo, err error) {
	const getSyscallInfo = 0x420e
	_, _, e := syscall.Syscall6(syscall.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if e != 0 {
		return info, e
	}
	return info, nil
}

// written returns the short text that a call is about to write to standard
// output, or "".
func written(tid int, info callInfo) string {
	call, fd, at, n := info.data[0], info.data[1], info.data[2], info.data[3]
	var text [16]byte
	if call != syscall.SYS_WRITE || fd != 1 || n > uint64(len(text)) {
		return ""
	}
	if _, err := syscall.PtracePeekData(tid, uintptr(at), text[:n]); err != nil {
		return ""
	}
	return string(text[:n])
}
