package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/transfer"
)

// engine is a guest module below "nightlatch.stores": one way to keep records.
type engine interface {
	// key names what the engine connects to. Configurations with the same key
	// share one connection.
	key() string
	// name is the same for people: no secrets in it.
	name() string
	open(log *slog.Logger) (storage.Backend, error)
	// keyFile is where a sealing key may be made for an empty store; "" where the
	// operator has to bring one.
	keyFile() string
	// shared tells that other processes may have the same store open.
	shared() bool
}

func init() { caddy.RegisterModule(new(BadgerStore)) }

// BadgerStore keeps the records in a folder of this machine, for one process at
// a time.
type BadgerStore struct {
	// The folder; made with mode 0700 if it is missing. Default: "nightlatch" in
	// Caddy's data folder.
	Dir string `json:"dir,omitempty"`
}

// CaddyModule names the module.
func (*BadgerStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "nightlatch.stores.badger", New: func() caddy.Module { return new(BadgerStore) }}
}

// UnmarshalCaddyfile reads `badger [<folder>]`.
func (b *BadgerStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		b.Dir = d.Val()
	}
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.Errf("option store badger: unexpected %q: want at most a folder", d.Val())
	}
	return nil
}

// Provision finds the folder; it does not touch it.
func (b *BadgerStore) Provision(caddy.Context) error {
	if err := resolve(b); err != nil {
		return err
	}
	if b.Dir == "" {
		b.Dir = filepath.Join(caddy.AppDataDir(), "nightlatch")
	}
	abs, err := filepath.Abs(b.Dir)
	if err != nil {
		return fmt.Errorf("finding store folder %s: %w", b.Dir, err)
	}
	b.Dir = realPath(abs)
	return nil
}

// realPath resolves the symbolic links of the part of a path that exists, so
// that two spellings of one folder are one store.
func realPath(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(realPath(parent), filepath.Base(path))
	}
	return path
}

func (b *BadgerStore) key() string     { return "badger:" + b.Dir }
func (b *BadgerStore) name() string    { return "badger " + b.Dir }
func (b *BadgerStore) keyFile() string { return filepath.Join(b.Dir, "nightlatch.key") }
func (b *BadgerStore) shared() bool    { return false }

// inUseFor is how long a start waits for another process to let go of the
// folder: restarts overlap under a supervisor.
const inUseFor = 5 * time.Second

func (b *BadgerStore) open(log *slog.Logger) (storage.Backend, error) {
	deadline := time.Now().Add(inUseFor)
	for told := false; ; told = true {
		db, err := badger.Open(badger.Options{Dir: b.Dir, Logger: log, Free: faults.free})
		switch {
		case err == nil:
			return db, nil
		case !errors.Is(err, badger.ErrInUse):
			return nil, err
		case time.Now().After(deadline):
			return nil, err
		case !told:
			log.Info("waiting for another process to let go of the store", "dir", b.Dir)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// node is what outlives a configuration: the open store and all that is bound
// to it rather than to the configuration of the hour.
type node struct {
	store  *storage.Store
	name   string // among those that share the store
	keyset *seal.Live
	self   *attendant // where others may have the store too
	vault  *vault.Vault
	hub    hub
	log    *slog.Logger
	cancel context.CancelFunc
	loops  sync.WaitGroup
	// rekeying: one at a time.
	rekeying sync.Mutex
}

// nodes of this process by the key of their engine.
var nodes = caddy.NewUsagePool()

// closeWithin bounds the end of a node: refreshes under way, then the store.
const closeWithin = 15 * time.Second

// readKey returns the keyset that a configuration names: the text of a sealing
// key, or, if that is empty, the engine's key file. nil: there is none yet.
func readKey(e engine, key string) (*seal.Keyset, error) {
	if key != "" {
		k, err := seal.Parse([]byte(key))
		if err != nil {
			return nil, fmt.Errorf("option key: %w: want the text of a file that `nightlatch store new-key` made", err)
		}
		return k, nil
	}
	if e.keyFile() == "" {
		return nil, fmt.Errorf("%w: option key is missing: this engine needs one; make it with `nightlatch store new-key`", errConfig)
	}
	k, err := seal.Load(e.keyFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return k, err
}

// missingKey: a store is there, and the file with its key is not.
func missingKey(e engine) error {
	return fmt.Errorf("the sealing key %s is missing, but the store holds records that it sealed: put the key back, or choose another folder", e.keyFile())
}

// openNode opens the store and makes sure that the sealing key is its own; an
// engine's key file is made if the store is empty.
func openNode(e engine, key string) (*node, error) {
	log := slog.New(processLog{})
	keyset, err := readKey(e, key)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", e.name(), err)
	}
	backend, err := e.open(log)
	if errors.Is(err, badger.ErrInUse) {
		return nil, fmt.Errorf("%w; to change a running server use `nightlatch reload`", err)
	}
	if err != nil {
		return nil, err
	}
	name := "" // of this node, among those that share the store
	if e.shared() {
		name = rand.Text()
	}
	n := &node{
		store: storage.New(storage.Config{Backend: backend, Node: name, Logger: log, Now: faults.now, Updated: counted.updated}), name: name, log: log,
	}
	if err := n.begin(e, keyset); err != nil {
		n.cancel()
		n.loops.Wait()
		return nil, errors.Join(err, n.store.Close())
	}
	return n, nil
}

func (n *node) begin(e engine, k *seal.Keyset) error {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	if err := transfer.Whole(ctx, n.store); err != nil {
		return fmt.Errorf("store %s: %w", e.name(), err)
	}
	if k == nil {
		empty, err := seal.Empty(ctx, n.store)
		if err != nil {
			return err
		}
		if !empty {
			return fmt.Errorf("store %s: %w", e.name(), missingKey(e))
		}
		if k, err = seal.Create(e.keyFile()); err != nil {
			return err
		}
	}
	within := time.Duration(0)
	if e.shared() {
		within = sealsFor
	}
	var err error
	if n.keyset, err = seal.Open(ctx, n.store, k, within); err != nil {
		return fmt.Errorf("store %s: %w", e.name(), err)
	}
	if e.shared() {
		warn := func(err error) { n.log.Warn("keeping in step with the other nodes of the store", "error", err) }
		n.self = attend(n.store, "gateway", n.keyset)
		if err := n.self.appear(ctx, warn, &n.loops); err != nil {
			return fmt.Errorf("store %s: %w", e.name(), err)
		}
	}
	tables := append(provider.Indexed(), vault.Indexed(n.keyset), session.Indexed(n.keyset))
	if err := n.store.Index(ctx, tables...); err != nil {
		return fmt.Errorf("store %s: %w", e.name(), err)
	}
	n.vault, err = vault.New(vault.Config{
		Store: n.store, Sealer: n.keyset, Node: n.name, Logger: n.log, Events: n.hub.emit, Hooks: faults.vault, Now: faults.now,
		Refreshed: counted.refreshed,
	})
	if err != nil {
		return err
	}
	n.loops.Go(func() { n.store.Run(ctx, time.Minute) })
	n.loops.Go(func() { n.vault.Follow(ctx) })
	n.loops.Go(func() { n.vault.Run(ctx) })
	return nil
}

// Destruct ends the node with its last lease.
func (n *node) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	err := n.vault.Close(ctx)
	n.cancel()
	n.loops.Wait()
	return errors.Join(err, n.store.Close())
}

// faults are nobody's, except in a binary that `make crash` builds with the tag
// faults.
var faults struct {
	vault vault.Hooks
	realm func(step string)
	now   func() time.Time // nil: the time
	free  func() (int64, error)
}

// lease keeps a node open: one for a configuration, shared by its requests, so
// that a request which outlives its configuration still has a store.
type lease struct {
	*node
	engine engine
	refs   atomic.Int64
}

// joinWithin bounds what a reload reads and writes of the sealing key.
const joinWithin = 10 * time.Second

// takeLease opens the node or joins the configuration that has it open; fresh
// tells which.
func takeLease(e engine, key string) (l *lease, fresh bool, err error) {
	v, loaded, err := nodes.LoadOrNew(e.key(), func() (caddy.Destructor, error) { return openNode(e, key) })
	if err != nil {
		return nil, false, err
	}
	l = &lease{node: v.(*node), engine: e}
	l.refs.Store(1)
	if loaded {
		if err := l.joins(e, key); err != nil {
			l.release()
			return nil, false, err
		}
	}
	return l, !loaded, nil
}

// joins lets the node open what the sealing key of another configuration opens, or
// tells why that cannot share the node: the next start with it would fail. Which key
// seals stays.
func (n *node) joins(e engine, key string) error {
	k, err := readKey(e, key)
	inUse := n.keyset.File()
	switch {
	case err != nil:
		return fmt.Errorf("store %s: %w", e.name(), err)
	case k == nil:
		return fmt.Errorf("store %s: %w", e.name(), missingKey(e))
	case k.Fingerprint() != inUse.Fingerprint():
		return fmt.Errorf("store %s: the sealing key of the new configuration is another one: %w", e.name(), seal.ErrForeignKey)
	case k.Same(inUse):
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), joinWithin)
	defer cancel()
	if n.self != nil {
		err = n.self.say(ctx, k)
	}
	if err == nil {
		err = n.keyset.Learn(ctx, n.store, k)
	}
	if err != nil {
		return fmt.Errorf("store %s: the sealing key of the new configuration: %w", e.name(), err)
	}
	return nil
}

// hold adds a user; false if the last one has gone.
func (l *lease) hold() bool {
	for {
		n := l.refs.Load()
		if n == 0 {
			return false
		}
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives back what takeLease or hold took.
func (l *lease) release() {
	if l.refs.Add(-1) > 0 {
		return
	}
	if _, err := nodes.Delete(l.engine.key()); err != nil {
		l.log.Error("closing store", "store", l.engine.name(), "error", err)
	}
}

var (
	_ engine                = (*BadgerStore)(nil)
	_ caddy.Provisioner     = (*BadgerStore)(nil)
	_ caddyfile.Unmarshaler = (*BadgerStore)(nil)
	_ caddy.Destructor      = (*node)(nil)
)
