package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
)

// migrations in the order of their names; the number of the last is the version
// of the schema. Each may run again after it was interrupted.
//
//go:embed migrations/*.sql
var migrations embed.FS

// ErrNewerSchema: a newer program has changed the tables.
var ErrNewerSchema = errors.New("the schema is newer than this program")

// migrateWithin bounds how long nodes that start together wait for the one that
// migrates.
const migrateWithin = time.Minute

// migrate makes or changes the tables. Any number of nodes may do it at once: they
// agree by a lock on the row that holds the version. A program that is up to date
// needs no more rights than to read it.
func (b *Backend) migrate(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, migrateWithin)
	defer cancel()
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for {
		version, err := b.version(ctx, conn, "")
		if hasCode(err, undefinedTable, undefinedSchema) {
			version, err = 0, nil
		}
		switch {
		case err != nil:
			return fmt.Errorf("reading the version of the schema: %w", err)
		case version == len(steps):
			return nil
		case version > len(steps):
			return fmt.Errorf("%w: it has version %d, this program knows versions up to %d; run the newer program, or restore a copy of the database from before", ErrNewerSchema, version, len(steps))
		}
		// What another node makes at the same moment is no error, but no success
		// either: look again.
		err = b.step(ctx, conn, steps)
		if err != nil && !hasCode(err, uniqueViolation, duplicateSchema, duplicateTable, duplicateObject, serializationFailure, deadlockDetected) {
			return fmt.Errorf("migrating the schema: %w", err)
		}
	}
}

// Exists tells whether the options lead to a store.
func Exists(ctx context.Context, o Options) (bool, error) {
	c, err := o.config()
	if err != nil {
		return false, err
	}
	conn, err := dial(ctx, c.ConnConfig)
	if err != nil {
		return false, explain(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	version, err := (&Backend{o: o}).version(ctx, conn, "")
	if hasCode(err, undefinedTable, undefinedSchema) {
		return false, nil
	}
	return version > 0, err
}

func (b *Backend) version(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, lock string) (version int, err error) {
	err = q.QueryRow(ctx, b.sql("SELECT version FROM {schema}.versions WHERE name = 'schema' "+lock)).Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

// step makes the table of the version where there is none, and runs the next
// migration.
func (b *Backend) step(ctx context.Context, conn *pgx.Conn, steps []string) error {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM information_schema.schemata WHERE schema_name = $1)", b.o.Schema).Scan(&exists); err != nil {
		return err
	}
	if !exists { // who may not make schemas may have been given one
		if _, err := conn.Exec(ctx, b.sql("CREATE SCHEMA IF NOT EXISTS {schema}")); err != nil {
			return err
		}
	}
	for _, text := range []string{
		"CREATE TABLE IF NOT EXISTS {schema}.versions (name text PRIMARY KEY, version bigint NOT NULL)",
		"INSERT INTO {schema}.versions (name, version) VALUES ('schema', 0) ON CONFLICT DO NOTHING",
	} {
		if _, err := conn.Exec(ctx, b.sql(text)); err != nil {
			return err
		}
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	version, err := b.version(ctx, tx, "FOR UPDATE")
	if err != nil || version >= len(steps) {
		return err
	}
	text, err := migrations.ReadFile(steps[version])
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, b.sql(string(text)), pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, b.sql("UPDATE {schema}.versions SET version = $1 WHERE name = 'schema'"), version+1); err != nil {
		return err
	}
	return tx.Commit(ctx)
}
