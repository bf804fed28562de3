package caddymodule

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/postgres"
)

func init() { caddy.RegisterModule(new(PostgresStore)) }

// PostgresStore keeps the records in a PostgreSQL, for any number of nodes (see
// docs/scale.md). The option key is required beside it, the same on all nodes.
type PostgresStore struct {
	// postgres://user:password@host:5432/database?sslmode=verify-full, or libpq's
	// keywords and values; best {env.DATABASE_URL}. Required.
	URL string `json:"url,omitempty"`
	// Schema that holds the tables; made if it is missing. Default: nightlatch.
	Schema string `json:"schema,omitempty"`
	// Connections of this process, one more apart. Default: 16.
	MaxConns int `json:"max_conns,omitempty"`
	// How long the server may work on one message, waiting for locks included.
	// Default: 10s.
	StatementTimeout Duration `json:"statement_timeout,omitempty"`
	// What the server calls our connections. Default: nightlatch.
	ApplicationName string `json:"application_name,omitempty"`

	options postgres.Options
	label   string
}

// CaddyModule names the module.
func (*PostgresStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "nightlatch.stores.postgres", New: func() caddy.Module { return new(PostgresStore) }}
}

// UnmarshalCaddyfile reads `postgres <url> [{ … }]`.
func (p *PostgresStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.NextArg() || d.Val() == "" {
		return d.Err("option store postgres: want the address of a database: store postgres {env.DATABASE_URL}")
	}
	p.URL = d.Val()
	if d.NextArg() { // it is not repeated: it may hold a password
		return d.Err("option store postgres: want one address; put one with spaces into quotes")
	}
	return postgresOptions.read(d, "store postgres", p)
}

var postgresOptions = options[PostgresStore]{
	"schema":            text(func(p *PostgresStore) *string { return &p.Schema }),
	"max_conns":         number(1, func(p *PostgresStore, n int) { p.MaxConns = n }),
	"statement_timeout": span(func(p *PostgresStore) *Duration { return &p.StatementTimeout }),
	"application_name":  text(func(p *PostgresStore) *string { return &p.ApplicationName }),
}

// Provision reads the options; it does not connect.
func (p *PostgresStore) Provision(caddy.Context) error {
	if err := resolve(p); err != nil {
		return err
	}
	timeout, err := p.StatementTimeout.parse()
	if err != nil {
		return fmt.Errorf("option statement_timeout: %w", err)
	}
	if p.MaxConns < 0 {
		return fmt.Errorf("option max_conns: %d: want a number from 1 on", p.MaxConns)
	}
	p.options = postgres.Options{
		URL: p.URL, Schema: p.Schema, MaxConns: p.MaxConns, StatementTimeout: timeout, ApplicationName: p.ApplicationName,
	}
	p.label, err = p.options.Name()
	return err
}

// processSecret hides passwords in keys of this process.
var processSecret = rand.Text()

// key differs as soon as an option does: a reload with a new password connects
// anew, and fails if it is wrong, while the old configuration serves on.
func (p *PostgresStore) key() string {
	mac := hmac.New(sha256.New, []byte(processSecret))
	fmt.Fprintf(mac, "%q", []string{p.URL, p.Schema, fmt.Sprint(p.MaxConns), string(p.StatementTimeout), p.ApplicationName})
	return "postgres:" + hex.EncodeToString(mac.Sum(nil))
}

func (p *PostgresStore) name() string    { return p.label }
func (p *PostgresStore) keyFile() string { return "" }
func (p *PostgresStore) shared() bool    { return true }

// openWithin bounds how long a start waits for the database.
const openWithin = 30 * time.Second

func (p *PostgresStore) open(log *slog.Logger) (storage.Backend, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	o := p.options
	o.Logger = log
	b, err := postgres.Open(ctx, o)
	if err != nil {
		return nil, err // not b: an interface that holds nil is not nil
	}
	return b, nil
}

// check tells a command whether the database is there to be read.
func (p *PostgresStore) check(source bool) error {
	if !source {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	there, err := postgres.Exists(ctx, p.options)
	if err == nil && !there {
		err = errors.New("there is no store in this schema")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errConfig, err)
	}
	return nil
}

var (
	_ engine                = (*PostgresStore)(nil)
	_ caddy.Provisioner     = (*PostgresStore)(nil)
	_ caddyfile.Unmarshaler = (*PostgresStore)(nil)
)
