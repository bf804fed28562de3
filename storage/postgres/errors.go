package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nightlatch/nightlatch/storage"
)

// Codes of errors (PostgreSQL manual, appendix A).
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	completionUnknown    = "40003" // CockroachDB: an ambiguous commit
	uniqueViolation      = "23505"
	diskFull             = "53100"
	readOnlyTransaction  = "25006"
	undefinedTable       = "42P01"
	undefinedColumn      = "42703"
	undefinedSchema      = "3F000"
	duplicateSchema      = "42P06"
	duplicateTable       = "42P07"
	duplicateObject      = "42710"
	insufficientRights   = "42501"
	startingUp           = "57P03"
)

// failure gives an error that happened before COMMIT was sent its class of the
// contract: nothing was written.
func failure(doing string, err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		// Dialling, waiting for a connection, or a connection that broke.
		return fmt.Errorf("%s: %w: %w", doing, storage.ErrUnavailable, err)
	}
	class := classOf(server)
	if class == nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, class, err)
}

// classOf returns nil for what no repetition mends: a bug.
func classOf(e *pgconn.PgError) error {
	switch e.Code {
	case serializationFailure, deadlockDetected, uniqueViolation:
		return storage.ErrConflict
	case diskFull:
		return storage.ErrFull
	case readOnlyTransaction, undefinedTable, insufficientRights:
		return storage.ErrUnavailable // a standby; a schema that was taken away
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "53", "57", "58", // connection, resources, shutdown or time, system
		"28", "3D", "3F": // who may come in, and whereto
		return storage.ErrUnavailable
	}
	return nil
}

// outcome gives the error of the message that ends in COMMIT its class. An
// answer of the server tells that the commit did not happen, unless the server
// says that it cannot tell or was ending itself. No answer tells nothing, unless
// nothing was sent.
func outcome(err error) error {
	const doing = "committing transaction"
	var server *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case pgconn.SafeToRetry(err):
		return failure(doing, err)
	case !errors.As(err, &server),
		server.Code == completionUnknown, strings.HasPrefix(server.Code, "XX"), strings.HasPrefix(server.Code, "08"),
		server.SeverityUnlocalized == "FATAL", server.SeverityUnlocalized == "PANIC":
		return fmt.Errorf("%s: %w: %w", doing, storage.ErrUnknown, err)
	}
	return failure(doing, err)
}

// misled tells that the connections lead to a server that only reads, a standby:
// new ones may find another.
func misled(err error) bool { return hasCode(err, readOnlyTransaction) }

func hasCode(err error, codes ...string) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	for _, c := range codes {
		if server.Code == c {
			return true
		}
	}
	return false
}
