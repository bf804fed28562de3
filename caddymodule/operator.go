package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// exitFailed: the command could not do it, and has lost nothing. The other codes
// of an operator's commands are those of the job's.
const exitFailed = 1

// operatorExits is the part of a command's help that explains its exit codes.
const operatorExits = `
Exit codes:
  0   done
  1   refused or failed; nothing is lost, stderr says why
  2   wrong usage
  75  temporary: the store is in use, away, its disk is full, or a node lacks the
      new sealing key
  78  the configuration or the sealing key is wrong
`

// errConfig: the configuration does not say what a command needs.
var errConfig = errors.New("configuration")

func operatorExit(err error) int {
	for code, causes := range map[int][]error{
		exitUsage:       {errUsage},
		exitTemporary:   {badger.ErrInUse, errInUse, seal.ErrUnready, storage.ErrFull, storage.ErrUnavailable, storage.ErrStuck, storage.ErrClosed, storage.ErrUnknown, storage.ErrConflict},
		exitCredentials: {errConfig, seal.ErrForeignKey, seal.ErrBadKey},
	} {
		for _, cause := range causes {
			if errors.Is(err, cause) {
				return code
			}
		}
	}
	return exitFailed
}

// errUsage: the command line is wrong.
var errUsage = errors.New("wrong usage")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// operatorCommand makes a command of fn, which is stopped by an interrupt.
func operatorCommand(cmd *cobra.Command, least, most int, fn func(ctx context.Context, args []string) error) *cobra.Command {
	asCommand(cmd, func(args []string) int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		var err error
		if len(args) < least || len(args) > most {
			err = usage("%d argument(s), want %d", len(args), least)
		} else {
			err = fn(ctx, args)
		}
		switch {
		case err == nil:
			return 0
		case errors.Is(err, errUsage):
			return misused(cmd, strings.TrimPrefix(err.Error(), errUsage.Error()+": "))
		case errors.Is(err, badger.ErrInUse), errors.Is(err, errInUse):
			err = fmt.Errorf("%w; stop the gateway first (nightlatch stop)", err)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "nightlatch: %v\n", err)
		return operatorExit(err)
	})
	return cmd
}

// setup is where a command finds the gateway's configuration.
type setup struct{ config, adapter, address string }

func (s *setup) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVarP(&s.config, "config", "c", "", "configuration of the gateway; default: Caddyfile in this folder")
	f.StringVarP(&s.adapter, "adapter", "a", "", "name of the configuration's adapter, if it is no Caddyfile")
	f.StringVar(&s.address, "address", "", "address of the running gateway's admin endpoint; default: what the configuration says")
}

// declared is what a configuration says of the store, and the names of its
// realms.
type declared struct {
	raw    []byte
	engine engine
	// key is the text of the sealing key, keyFile the file that it comes from. No
	// text: the engine's own file. No file: it comes from elsewhere.
	key, keyFile string
	realms       []string
}

// fileOnly is a value that is the content of a file and nothing else.
var fileOnly = regexp.MustCompile(`^\{file\.([^{}]+)\}$`)

// read reads the configuration, of which it resolves nothing but the store and
// its key.
func (s *setup) read() (*declared, error) {
	raw, _, _, err := caddycmd.LoadConfig(s.config, s.adapter)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConfig, err)
	}
	if len(raw) == 0 {
		return nil, usage("want --config, or a Caddyfile in this folder")
	}
	var config struct {
		Apps struct {
			Nightlatch *struct {
				Store  json.RawMessage            `json:"store"`
				Key    string                     `json:"key"`
				Realms map[string]json.RawMessage `json:"realms"`
			} `json:"nightlatch"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("%w: %w", errConfig, err)
	}
	n := config.Apps.Nightlatch
	if n == nil {
		return nil, fmt.Errorf("%w: the global option nightlatch is missing", errConfig)
	}
	d := &declared{raw: raw}
	a := &App{StoreRaw: n.Store, Key: n.Key}
	if d.engine, err = a.provisionEngine(); err != nil {
		return nil, err
	}
	if err := resolve(a); err != nil {
		return nil, fmt.Errorf("%w: %w", errConfig, err)
	}
	switch from := fileOnly.FindStringSubmatch(n.Key); {
	case n.Key == "":
		d.keyFile = d.engine.keyFile()
	case from != nil:
		d.keyFile = from[1]
	}
	d.key = a.Key
	for name := range n.Realms {
		d.realms = append(d.realms, name)
	}
	return d, nil
}

// provisionEngine makes an engine outside of a running configuration.
func (a *App) provisionEngine() (engine, error) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := a.loadEngine(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errConfig, err)
	}
	return a.engine, nil
}

// parseEngine reads an engine as it stands behind the option store.
func parseEngine(flag, text string) (engine, error) {
	tokens, err := caddyfile.Tokenize([]byte("store "+text), flag)
	if err != nil {
		return nil, usage("%s %q: %v", flag, text, err)
	}
	a, d := new(App), caddyfile.NewDispenser(tokens)
	d.Next()
	err = readStore(d, a)
	if err == nil && d.Next() {
		err = fmt.Errorf("unexpected %q", d.Val())
	}
	if err != nil {
		return nil, usage("%s %q: want what stands behind the option store, such as \"badger ./nightlatch-data\": %v", flag, text, err)
	}
	return a.provisionEngine()
}

// keyset reads the sealing key of a configuration; it has to be there.
func (d *declared) keyset() (*seal.Keyset, error) {
	k, err := readKey(d.engine, d.key)
	if err == nil && k == nil {
		err = fmt.Errorf("%w: %w", errConfig, missingKey(d.engine))
	}
	return k, err
}

// opened is a store that a command works on. It judges expiry by one instant, so
// that nothing comes and goes while it is read.
type opened struct {
	*storage.Store
	engine  engine
	backend storage.Backend
	ctx     context.Context // ends when others may have the store
	done    func()
}

// clocked is the same store, by the time of the moment.
func (o *opened) clocked() *storage.Store { return storage.New(storage.Config{Backend: o.backend}) }

// attend notes that a command uses a store beside nodes, until the store is closed,
// and which key it seals with, if it seals. The context ends when others may take it
// for gone.
func (o *opened) attend(ctx context.Context, what string, live *seal.Live) (context.Context, error) {
	if !o.engine.shared() {
		return ctx, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var loops sync.WaitGroup
	self := attend(o.clocked(), what, live)
	o.done = func() { cancel(nil); loops.Wait() }
	if err := self.appear(ctx, cancel, &loops); err != nil {
		return nil, err
	}
	return ctx, nil
}

// Close gives the store back.
func (o *opened) Close() error {
	o.done()
	return o.Store.Close()
}

// How a command uses a store.
type use int

const (
	beside use = iota // a source that others may use too
	source            // a source, alone
	target            // a store to be filled, alone
)

// openStore opens a store for a command. A source has to be there already.
func openStore(ctx context.Context, e engine, now time.Time, as use) (*opened, error) {
	if c, ok := e.(interface{ check(source bool) error }); ok {
		if err := c.check(as != target); err != nil {
			return nil, fmt.Errorf("store %s: %w", e.name(), err)
		}
	}
	log := slog.New(processLog{})
	backend, err := e.open(log)
	if err != nil {
		return nil, err
	}
	o := &opened{engine: e, backend: backend, ctx: ctx, done: func() {}}
	o.Store = storage.New(storage.Config{Backend: backend, Logger: log, Now: func() time.Time { return now }})
	if as == beside || !e.shared() {
		return o, nil
	}
	if o.ctx, o.done, err = alone(ctx, o.clocked()); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", e.name(), err), backend.Close())
	}
	return o, nil
}

// check tells what would go wrong if this process opened the folder.
func (b *BadgerStore) check(source bool) error {
	info, err := os.Stat(b.Dir)
	switch {
	case source && !badger.Exists(b.Dir):
		return fmt.Errorf("%w: there is no store in this folder", errConfig)
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", errConfig, err)
	}
	if uid, ok := ownerOf(info); ok && os.Geteuid() == 0 && uid != 0 {
		return fmt.Errorf("%w: the folder belongs to user %d: run this command as that user (sudo -u '#%d' nightlatch …), or the gateway could not open the files that it leaves", errConfig, uid, uid)
	}
	return nil
}

// progress tells on stderr how far a command is: at the beginning of a step, and
// once a second.
type progress struct {
	out  io.Writer
	step string
	last time.Time
}

func (p *progress) tell(step string, items int) {
	if now := time.Now(); step != p.step || now.Sub(p.last) >= time.Second {
		p.step, p.last = step, now
		fmt.Fprintf(p.out, "%s: %d items\n", step, items)
	}
}
