package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nightlatch/nightlatch/storage"
)

func TestClassesOfErrors(t *testing.T) {
	answer := func(severity, code string) error {
		return fmt.Errorf("driver: %w", &pgconn.PgError{Severity: severity, SeverityUnlocalized: severity, Code: code})
	}
	bug := errors.New("no class")
	for _, c := range []struct {
		err              error
		before, ofCommit error // class of a failure before COMMIT was sent, and of its outcome
	}{
		{answer("ERROR", "40001"), storage.ErrConflict, storage.ErrConflict},
		{answer("ERROR", "40P01"), storage.ErrConflict, storage.ErrConflict},
		{answer("ERROR", "40003"), bug, storage.ErrUnknown},
		{answer("ERROR", "53100"), storage.ErrFull, storage.ErrFull},
		{answer("ERROR", "53200"), storage.ErrUnavailable, storage.ErrUnavailable},
		{answer("FATAL", "53300"), storage.ErrUnavailable, storage.ErrUnknown}, // too many connections
		{answer("ERROR", "57014"), storage.ErrUnavailable, storage.ErrUnavailable},
		{answer("FATAL", "57P01"), storage.ErrUnavailable, storage.ErrUnknown},
		{answer("ERROR", "25006"), storage.ErrUnavailable, storage.ErrUnavailable},
		{answer("FATAL", "28P01"), storage.ErrUnavailable, storage.ErrUnknown},
		{answer("ERROR", "42P01"), storage.ErrUnavailable, storage.ErrUnavailable},
		{answer("ERROR", "XX000"), bug, storage.ErrUnknown},
		{answer("ERROR", "22021"), bug, bug},
		{io.ErrUnexpectedEOF, storage.ErrUnavailable, storage.ErrUnknown},
		{context.DeadlineExceeded, storage.ErrUnavailable, storage.ErrUnknown},
	} {
		for doing, got := range map[string]struct{ err, want error }{
			"before the commit": {failure("reading", c.err), c.before},
			"of the commit":     {outcome(c.err), c.ofCommit},
		} {
			if !errors.Is(got.err, c.err) {
				t.Errorf("%v, %s: the cause is lost: %v", c.err, doing, got.err)
			}
			if got.want == bug {
				if storage.Temporary(got.err) {
					t.Errorf("%v, %s: %v will not pass", c.err, doing, got.err)
				}
			} else if !errors.Is(got.err, got.want) {
				t.Errorf("%v, %s: %v; want %v", c.err, doing, got.err, got.want)
			}
		}
	}
	if outcome(nil) != nil {
		t.Error("success is an error")
	}
}
