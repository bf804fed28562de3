package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The role of every server and its password over TCP.
const (
	Role     = "nightlatch"
	Password = "postgres-demo"
)

// Config of a server.
type Config struct {
	// Durable syncs to disk. Tests that do not judge durability go without.
	Durable bool
	// Settings beside those, such as max_connections.
	Settings map[string]string
}

// Server is a running PostgreSQL, or one that was stopped.
type Server struct {
	c    Config
	bin  string // folder of the programs
	dir  string
	port string              // of 127.0.0.1
	cred *syscall.Credential // of the user it runs as; nil: our own

	mu  sync.Mutex
	cmd *exec.Cmd
	end io.WriteCloser // its end ends the server
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
	next   atomic.Int64
}

// Shared returns a server that all tests of this process share; it ends with the
// process.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = Run(Config{}) })
	missing(t, shared.err)
	return shared.server
}

// Name returns a name for a schema or a role that nobody else uses.
func Name() string { return fmt.Sprintf("test_%d_%d", os.Getpid(), shared.next.Add(1)) }

// Start starts a server of its own, which ends with the test.
func Start(t testing.TB, c Config) *Server {
	t.Helper()
	s, err := Run(c)
	missing(t, err)
	t.Cleanup(s.Remove)
	return s
}

// errMissing: PostgreSQL is not installed.
var errMissing = errors.New("PostgreSQL is not installed (Debian: apt-get install postgresql)")

func missing(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errMissing) && os.Getenv("NIGHTLATCH_REQUIRE_ALL") == "":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// programs finds the folder of initdb and postgres; Debian keeps it out of PATH.
func programs() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			return filepath.Dir(p), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errMissing
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// Run starts a server for a program that is no test. It ends with Remove, or with
// the process.
func Run(c Config) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{c: c, bin: bin}
	// A short name: the path of a socket has at most 107 bytes.
	if s.dir, err = os.MkdirTemp("", "nlpg"); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 { // PostgreSQL refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, fmt.Errorf("root cannot run PostgreSQL: %w", err)
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
			return nil, err
		}
	}
	if err := s.init(); err != nil {
		s.Remove()
		return nil, err
	}
	// Somebody may take the port before the server does.
	for n := 0; ; n++ {
		if s.port, err = freePort(); err == nil {
			err = s.Up()
		}
		switch {
		case err == nil:
			return s, nil
		case n == 3:
			s.Remove()
			return nil, err
		}
		_ = s.Stop()
	}
}

// freePort returns one below those that the system takes for outgoing
// connections: nothing takes it while the server is down.
func freePort() (string, error) {
	for range 100 {
		port := strconv.Itoa(30000 + rand.IntN(2700))
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			return port, l.Close()
		}
	}
	return "", errors.New("no free port on loopback")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) init() error {
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(Password), 0o644); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", Role, "--pwfile", secret, "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	rules := "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	return os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(rules), 0o600)
}

// script runs the server until its standard input ends, and takes the folder
// away then, unless it is told to keep it. So nothing is left behind however the
// process that started it ends.
const script = `dir=$1; shift
"$@" >>"$dir/log" 2>&1 &
pid=$!
read -r word
kill -QUIT $pid 2>/dev/null
wait $pid
[ "$word" = keep ] || rm -rf "$dir"`

// Up starts a server that was stopped or killed, and waits until it answers.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "unix_socket_directories": s.dir, "port": s.port,
		"max_connections": "300", "shared_buffers": "64MB", "logging_collector": "off",
	}
	if !s.c.Durable {
		settings["fsync"], settings["full_page_writes"] = "off", "off"
	}
	for k, v := range s.c.Settings {
		settings[k] = v
	}
	args := []string{"-c", script, "sh", s.dir, filepath.Join(s.bin, "postgres"), "-D", s.data()}
	for k, v := range settings {
		args = append(args, "-c", k+"="+v)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := s.up(args, deadline)
		if err == nil || !errors.Is(err, errNotYet) || time.Now().After(deadline) {
			return err
		}
		if err := s.down(); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// errNotYet: what is left of a killed server is still there.
var errNotYet = errors.New("PostgreSQL cannot start yet")

func (s *Server) up(args []string, deadline time.Time) error {
	before, _ := os.ReadFile(s.log())
	s.cmd = exec.Command("/bin/sh", args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Setpgid: true}
	s.cmd.Dir = s.dir
	var err error
	if s.end, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := pgx.Connect(ctx, s.URL())
		if err == nil {
			_ = conn.Close(ctx)
			cancel()
			return nil
		}
		cancel()
		log, _ := os.ReadFile(s.log())
		log = log[min(len(before), len(log)):]
		switch {
		case bytes.Contains(log, []byte("pre-existing shared memory")), bytes.Contains(log, []byte("FATAL:  lock file")):
			return errNotYet
		case bytes.Contains(log, []byte("FATAL:  could not create")), time.Now().After(deadline):
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, log[max(0, len(log)-4096):])
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

// URL of the server by its socket, where no password is asked for.
func (s *Server) URL() string {
	return fmt.Sprintf("postgres://%s@/postgres?host=%s&port=%s", Role, url.QueryEscape(s.dir), s.port)
}

// Address of the server on 127.0.0.1, where the password is asked for.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", s.port) }

// TCP is the URL of the server at its Address.
func (s *Server) TCP() string {
	return fmt.Sprintf("postgres://%s:%s@%s/postgres?sslmode=disable", Role, Password, s.Address())
}

// Exec runs SQL as the owner of everything.
func (s *Server) Exec(t testing.TB, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// Kill ends all processes of the server by SIGKILL.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pid := range s.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return s.down()
}

// Stop ends the server at once but in order (an "immediate" shutdown).
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down()
}

// Pause stops all processes of the server until Resume, as a network that
// swallows everything does.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pid := range s.processes() {
		_ = syscall.Kill(pid, sig)
	}
}

func (s *Server) down() error {
	if s.cmd == nil {
		return nil
	}
	_, _ = io.WriteString(s.end, "keep\n")
	_ = s.end.Close()
	err := s.cmd.Wait()
	s.cmd = nil
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// processes of the server, the first one first.
func (s *Server) processes() []int {
	raw, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return nil
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	main, err := strconv.Atoi(string(line))
	if err != nil {
		return nil
	}
	pids := []int{main}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state parent …
		_, rest, _ := bytes.Cut(raw, []byte(") "))
		fields := strings.Fields(string(rest))
		if len(fields) > 1 && fields[1] == strconv.Itoa(main) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// Remove stops the server and takes its folder away.
func (s *Server) Remove() {
	_ = s.Stop()
	_ = os.RemoveAll(s.dir)
}

// Role makes a role that may log in, with further options, and returns the URL
// by which it does over TCP.
func (s *Server) Role(t testing.TB, options string) (name, url string) {
	t.Helper()
	name = Name()
	s.Exec(t, "CREATE ROLE "+name+" LOGIN PASSWORD '"+Password+"' "+options)
	return name, fmt.Sprintf("postgres://%s:%s@%s/postgres?sslmode=disable", name, Password, s.Address())
}

// Write puts a file into the server's data folder.
func (s *Server) Write(t testing.TB, name string, content []byte, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(s.data(), name)
	err := os.WriteFile(path, content, mode)
	if err == nil && s.cred != nil {
		err = os.Chown(path, int(s.cred.Uid), int(s.cred.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Hold runs SQL in a transaction of its own that stays open until release.
func (s *Server) Hold(t testing.TB, sql string) (release func()) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = conn.Close(ctx) })
	t.Cleanup(release)
	if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
	return release
}
