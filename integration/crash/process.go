package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/integration/loopback"
)

// process is one gateway with a folder of its own, which can be killed and
// comes back.
type process struct {
	name   string
	binary string
	dir    string
	disk   *disk
	addr   string // it is up when this listens
	watch  func(process string, line logLine)

	// died is told of each end that nobody else brought about.
	died func(*process, error)

	mu      sync.Mutex // held while it is down
	cmd     *exec.Cmd
	up      *exec.Cmd // the one that has listened
	ended   chan struct{}
	stopped bool
	// Slowest and number of starts, for the report.
	slowest time.Duration
	starts  int
}

// logLine is what the harness reads of a process's log.
type logLine struct {
	Level  string `json:"level"`
	Msg    string `json:"msg"`
	Event  string `json:"event"`
	Sub    string `json:"sub"`
	Reason string `json:"reason"`
	Error  string `json:"error"`
}

const startWithin = 60 * time.Second

func newProcess(name, binary, dir, addr, caddyfile string, t *tally) (*process, error) {
	p := &process{name: name, binary: binary, dir: filepath.Join(dir, name), addr: addr, watch: t.watch, died: t.died}
	if err := os.MkdirAll(p.faults(), 0o700); err != nil {
		return nil, err
	}
	p.disk = &disk{store: filepath.Join(p.dir, "data"), told: filepath.Join(p.faults(), diskFault)}
	if err := p.configure(caddyfile); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p, p.start()
}

// configure writes what the next start reads.
func (p *process) configure(caddyfile string) error {
	return os.WriteFile(filepath.Join(p.dir, "Caddyfile"), []byte(caddyfile), 0o600)
}

// faults is the folder that says which faults the process suffers
// (caddymodule/faults.go): a file of a step's name is a kill at that step, one of
// diskFault's name a full disk.
func (p *process) faults() string { return filepath.Join(p.dir, "faults") }

const diskFault = "free"

// arm lets the process end itself when it is at a step next. It tells whether it
// was not armed for that step already.
func (p *process) arm(step string) (bool, error) {
	f, err := os.OpenFile(filepath.Join(p.faults(), step), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// waiting tells whether a step that the process is armed for was not met yet.
func (p *process) waiting() bool {
	left, err := os.ReadDir(p.faults())
	return err == nil && slices.ContainsFunc(left, func(f os.DirEntry) bool { return !strings.HasPrefix(f.Name(), diskFault) })
}

// start starts the process and waits until it listens.
func (p *process) start() error {
	if p.stopped {
		return errors.New("the run has ended")
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(p.binary, "run", "--config", "Caddyfile")
	p.cmd.Dir = p.dir
	p.cmd.Env = append(os.Environ(), "HOME="+p.dir, "XDG_DATA_HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir, "NIGHTLATCH_FAULTS="+p.faults())
	out := &lines{log: log}
	out.each = func(raw []byte) {
		var l logLine
		if json.Unmarshal(raw, &l) == nil {
			if l.Level == "error" {
				out.last = strings.TrimSpace(l.Msg + " " + l.Error)
			}
			p.watch(p.name, l)
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	at := time.Now()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	cmd, ended := p.cmd, make(chan struct{})
	p.ended = ended
	go func() {
		err := cmd.Wait()
		log.Close()
		close(ended)
		p.revive(cmd, err)
	}()
	for time.Since(at) < startWithin {
		select {
		case <-ended:
			return fmt.Errorf("the %s ended at its start: %s; see %s", p.name, out.last, log.Name())
		case <-time.After(5 * time.Millisecond):
		}
		if conn, err := net.DialTimeout("tcp", p.addr, time.Second); err == nil {
			conn.Close()
			p.up = cmd
			p.starts++
			p.slowest = max(p.slowest, time.Since(at))
			return nil
		}
	}
	return fmt.Errorf("the %s did not listen within %v; see %s", p.name, startWithin, log.Name())
}

// kill ends the process as SIGKILL does and returns once it is gone. The
// restart goes on in the background; await waits for it.
func (p *process) kill() <-chan error {
	p.mu.Lock()
	back := make(chan error, 1)
	_ = p.cmd.Process.Kill() // an error means that it is gone
	<-p.ended
	go func() {
		defer p.mu.Unlock()
		back <- p.start()
	}()
	return back
}

// restart stops the process in order, as an upgrade does, and starts it again. It
// returns at once; await waits for it.
func (p *process) restart() <-chan error {
	p.mu.Lock()
	back := make(chan error, 1)
	p.up = nil
	go func() {
		defer p.mu.Unlock()
		p.end()
		back <- p.start()
	}()
	return back
}

// revive starts the process again if it has ended by itself.
func (p *process) revive(cmd *exec.Cmd, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || p.up != cmd {
		return // its end was brought about, or its start failed
	}
	p.died(p, why)
	if err := p.start(); err != nil {
		p.died(p, err)
	}
}

// whileDown stops the process in order, does something, and starts it again.
func (p *process) whileDown(do func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = nil
	p.end()
	err := do()
	return errors.Join(err, p.start())
}

// end stops the process in order, and kills it if it takes too long.
func (p *process) end() {
	_ = p.cmd.Process.Signal(os.Interrupt) // an error means that it is gone
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// await returns once the process is up.
func (p *process) await() {
	p.mu.Lock()
	defer p.mu.Unlock()
}

// stop ends the process for good.
func (p *process) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	p.end()
}

// lines keeps what a process prints and passes each line on.
type lines struct {
	each func([]byte)
	log  *os.File
	rest []byte
	last string // what it said last of an error; read it once the process has ended
}

func (l *lines) Write(b []byte) (int, error) {
	if _, err := l.log.Write(b); err != nil {
		return 0, err
	}
	l.rest = append(l.rest, b...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		l.each(l.rest[:i])
		l.rest = l.rest[i+1:]
	}
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr() (string, error) {
	port, err := loopback.Port()
	return "localhost:" + port, err
}
