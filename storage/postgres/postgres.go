package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/engine"
)

// Options of Open.
type Options struct {
	// URL is postgres://user:password@host:5432/database?sslmode=verify-full, or
	// the same as keywords and values, with libpq's parameters and environment
	// variables. It is the place for TLS (sslmode, sslrootcert, sslcert, sslkey),
	// several hosts (target_session_attrs) and connect_timeout (default 5 s).
	// Required.
	URL string
	// Schema that holds the tables; it is made if it is missing. Default:
	// nightlatch.
	Schema string
	// MaxConns bounds the connections of this process, one more apart. Default 16.
	MaxConns int
	// StatementTimeout bounds what the server does for one message, waiting for
	// locks included. Default 10 s.
	StatementTimeout time.Duration
	// ApplicationName is what the server shows in pg_stat_activity. Default:
	// nightlatch.
	ApplicationName string
	// Logger defaults to one that discards.
	Logger *slog.Logger

	// dial connects to the server; tests put faults here.
	dial pgconn.DialFunc
}

// Backend implements storage.Backend.
type Backend struct {
	o        Options
	pool     *pgxpool.Pool
	log      *slog.Logger
	gate     *engine.Gate
	closures sync.Map // goroutines that run the closure of an Update
	watchers engine.Watchers
	lanes    sync.Map // lane → *openLane, of open connections

	stop   context.CancelFunc
	follow sync.WaitGroup
}

// Timeouts that are nobody's choice.
const (
	connectTimeout = 5 * time.Second
	// acquireTimeout is how long a call waits for one of the connections.
	acquireTimeout = 5 * time.Second
	// idleInTransaction ends a transaction whose closure does not come back, such as
	// that of a process which was suspended.
	idleInTransaction = 15 * time.Second
)

// config reads the options into the driver's form. Its errors never show the
// address: it may hold a password.
func (o *Options) config() (*pgxpool.Config, error) {
	if o.Schema == "" {
		o.Schema = "nightlatch"
	}
	if o.MaxConns == 0 {
		o.MaxConns = 16
	}
	if o.StatementTimeout == 0 {
		o.StatementTimeout = 10 * time.Second
	}
	if o.ApplicationName == "" {
		o.ApplicationName = "nightlatch"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.URL == "" {
		return nil, errors.New("the address of the database is missing: want postgres://user:password@host:5432/database")
	}
	c, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, errors.New("the address of the database cannot be read: want postgres://user:password@host:5432/database?sslmode=verify-full, with special characters of the password percent-encoded")
	}
	c.MaxConns = int32(o.MaxConns)
	c.MaxConnLifetime = connLifetime
	c.MaxConnLifetimeJitter = connLifetime / 10
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = connectTimeout
	}
	if o.dial != nil {
		c.ConnConfig.DialFunc = o.dial
	}
	// What is sent often is prepared by name (see prepare); the rest is not worth a
	// cache that every conflict would empty.
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	for name, value := range map[string]string{
		"application_name":                    o.ApplicationName,
		"statement_timeout":                   milliseconds(o.StatementTimeout),
		"idle_in_transaction_session_timeout": milliseconds(idleInTransaction),
		// A sequential or bitmap scan of a small table would read, and so guard,
		// rows that nobody asked for.
		"enable_seqscan":    "off",
		"enable_bitmapscan": "off",
	} {
		if _, given := c.ConnConfig.RuntimeParams[name]; !given {
			c.ConnConfig.RuntimeParams[name] = value
		}
	}
	return c, nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

// name tells a database apart without a secret.
func name(c *pgx.ConnConfig, schema string) string {
	return fmt.Sprintf("postgres %s@%s/%s, schema %s", c.User, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), c.Database, schema)
}

// Name is what the options lead to, for messages: user, host, database and
// schema, never the password.
func (o Options) Name() (string, error) {
	c, err := o.config()
	if err != nil {
		return "", err
	}
	return name(c.ConnConfig, o.Schema), nil
}

// Open connects, brings the schema up to date and begins to hear of other nodes.
// An error names what is wrong and where, without the password.
func Open(ctx context.Context, o Options) (*Backend, error) {
	c, err := o.config()
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	wrap := func(err error) error { return fmt.Errorf("opening store %s: %w", name(c.ConnConfig, o.Schema), err) }
	b := &Backend{o: o, log: o.Logger, gate: engine.NewGate()}
	if err := b.prepareServer(ctx, c); err != nil {
		return nil, wrap(err)
	}
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		b.beginLane(conn)
		return b.prepare(ctx, conn)
	}
	c.BeforeClose = b.endLane
	c.PrepareConn = func(_ context.Context, conn *pgx.Conn) (bool, error) {
		// Only a process that was suspended has one that is so old.
		return time.Since(laneOf(conn).opened) < laneKept/2, nil
	}
	if b.pool, err = pgxpool.NewWithConfig(ctx, c); err != nil {
		return nil, wrap(err)
	}
	conn, err := b.acquire(ctx)
	if err != nil {
		b.pool.Close()
		return nil, wrap(err)
	}
	conn.Release()

	b.watchers.Deaf(nil) // until the first answer
	follow, stop := context.WithCancel(context.Background())
	b.stop = stop
	b.follow.Go(func() { b.listen(follow) })
	return b, nil
}

// prepareServer does what one connection does before the pool: it looks at the
// server and migrates the schema.
func (b *Backend) prepareServer(ctx context.Context, c *pgxpool.Config) error {
	conn, err := dial(ctx, c.ConnConfig)
	if err != nil {
		return explain(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return explain(err)
	}
	if version < oldestServer {
		return fmt.Errorf("the server is PostgreSQL %s, this program needs %d or later", conn.PgConn().ParameterStatus("server_version"), oldestServer/10000)
	}
	// What was answered is on disk, whatever the server's default is.
	var synced string
	if err := conn.QueryRow(ctx, "SHOW synchronous_commit").Scan(&synced); err != nil {
		return explain(err)
	}
	if synced == "off" {
		c.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	}
	if c.ConnConfig.TLSConfig == nil && !local(c.ConnConfig.Host) {
		b.log.Warn("the connection to the database is not encrypted; add sslmode=verify-full to its address", "host", c.ConnConfig.Host)
	}
	return explain(b.migrate(ctx, conn))
}

// oldestServer as server_version_num.
const oldestServer = 11_00_00

func local(host string) bool {
	ip := net.ParseIP(host)
	return strings.HasPrefix(host, "/") || host == "localhost" || ip != nil && ip.IsLoopback()
}

// startWithin is how long Open waits for a server that is just starting.
const startWithin = 10 * time.Second

func dial(ctx context.Context, c *pgx.ConnConfig) (*pgx.Conn, error) {
	for deadline := time.Now().Add(startWithin); ; {
		conn, err := pgx.ConnectConfig(ctx, c)
		if err == nil || !hasCode(err, startingUp) || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// explain says in words what an operator can mend. The driver's own texts name
// user and database and hold no password.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case hasCode(err, "28P01", "28000"):
		return fmt.Errorf("the server refuses user or password: %w", err)
	case hasCode(err, "3D000"):
		return fmt.Errorf("there is no such database: %w", err)
	case hasCode(err, insufficientRights):
		return fmt.Errorf("the user may not use or make the schema; let its owner run CREATE SCHEMA … AUTHORIZATION …: %w", err)
	case hasCode(err, readOnlyTransaction):
		return fmt.Errorf("the server takes no writes, it is a standby: %w", err)
	}
	var server *pgconn.PgError
	var connecting *pgconn.ConnectError
	if errors.As(err, &connecting) && !errors.As(err, &server) {
		return fmt.Errorf("the server cannot be reached: %w", err)
	}
	return err
}

// statements that are prepared on each connection, by name.
var statements = map[string]string{
	"begin":    "BEGIN ISOLATION LEVEL SERIALIZABLE",
	"view":     "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
	"sweeping": "BEGIN ISOLATION LEVEL READ COMMITTED",
	"commit":   "COMMIT",
	"rollback": "ROLLBACK",
	"get":      "SELECT value, expires FROM {schema}.items WHERE key = $1",
	"scan":     "SELECT key, value, expires FROM {schema}.items WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3",
	"scan_on":  "SELECT key, value, expires FROM {schema}.items WHERE key >= $1 ORDER BY key LIMIT $2",
	"put": "INSERT INTO {schema}.items (key, value, expires) VALUES ($1, $2, $3) " +
		"ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
	"delete": "DELETE FROM {schema}.items WHERE key = $1",
	"sweep": "DELETE FROM {schema}.items WHERE expires < $1 AND key IN (" +
		"SELECT key FROM {schema}.items WHERE expires < $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING key",
	"lane":    "INSERT INTO {schema}.lanes (lane) VALUES ($1) ON CONFLICT DO NOTHING",
	"changed": "INSERT INTO {schema}.changes (lane, n, keys) VALUES ($1, $2, $3)",
}

func (b *Backend) prepare(ctx context.Context, conn *pgx.Conn) error {
	for name, text := range statements {
		if _, err := conn.PgConn().Prepare(ctx, name, b.sql(text), nil); err != nil {
			return fmt.Errorf("preparing statement %s: %w", name, err)
		}
	}
	return nil
}

// sql puts the schema into a text.
func (b *Backend) sql(text string) string {
	return strings.ReplaceAll(text, "{schema}", pgx.Identifier{b.o.Schema}.Sanitize())
}

// acquire takes a connection of the pool.
func (b *Backend) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	wait, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	conn, err := b.pool.Acquire(wait)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, failure("connecting to the database", err)
}

// giveBack returns a connection after an outcome; what it has begun and not
// committed is undone. Nobody waits for that.
func (b *Backend) giveBack(conn *pgxpool.Conn, err error) {
	if misled(err) {
		b.pool.Reset()
	}
	if c := conn.Conn(); c.IsClosed() || c.PgConn().TxStatus() == 'I' {
		conn.Release()
		return
	}
	go func() {
		var batch pgconn.Batch
		add(&batch, "rollback")
		_, _ = b.send(conn, &batch)
		conn.Release()
	}()
}

// trim forgets changes that everybody has seen, and lanes that have ended.
func (b *Backend) trim(ctx context.Context) error {
	conn, err := b.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	for table, condition := range map[string]string{
		"changes": "at < now() - interval '" + milliseconds(changesKept) + " milliseconds'",
		"lanes":   "opened < now() - interval '" + milliseconds(laneKept) + " milliseconds'",
	} {
		if _, err := conn.Exec(ctx, b.sql("DELETE FROM {schema}."+table+" WHERE "+condition)); err != nil {
			return failure("forgetting changes", err)
		}
	}
	return nil
}

// Close waits for the Updates and Views that have begun, then ends the
// connections. Later calls get storage.ErrClosed; a second Close does nothing.
func (b *Backend) Close() error {
	if !b.gate.Close() {
		return nil
	}
	b.gate.Wait()
	b.stop()
	b.follow.Wait()
	b.watchers.Close()
	b.pool.Close()
	return nil
}

var _ storage.Backend = (*Backend)(nil)
