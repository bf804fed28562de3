package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/postgres"
	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
)

// The server is killed and comes back, under load: what fails meanwhile says that
// it passes, what was answered is there, and nobody has to do anything.
func TestServerKilledUnderLoad(t *testing.T) {
	server := postgrestest.Start(t, postgrestest.Config{Durable: true})
	b := open(t, postgres.Options{URL: server.URL()})
	s := storage.New(storage.Config{Backend: b, RetryFor: time.Minute})
	const writers = 8
	var answered [writers]atomic.Int64
	var refused atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			key := fmt.Sprint("w", w)
			for n := int64(1); ctx.Err() == nil; {
				err := s.Update(context.Background(), func(tx storage.Tx) error {
					if _, err := tx.Get([]byte(key)); err != nil && !errors.Is(err, storage.ErrNotFound) {
						return err
					}
					return put(key, strconv.FormatInt(n, 10))(tx)
				})
				switch {
				case err == nil:
					answered[w].Store(n)
					n++
				case storage.Temporary(err):
					refused.Add(1)
					time.Sleep(5 * time.Millisecond)
				default:
					t.Errorf("%v does not say that it passes", err)
					return
				}
			}
		})
	}
	progress := func() (sum int64) {
		for w := range writers {
			sum += answered[w].Load()
		}
		return sum
	}
	wait := func(what string, until func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !until(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waited 30 s for %s", what)
			}
		}
	}
	for range 3 {
		begun := progress()
		wait("writes", func() bool { return progress() > begun+50 })
		failed := refused.Load()
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		wait("refusals", func() bool { return refused.Load() >= failed+writers })
		if err := server.Up(); err != nil {
			t.Fatal(err)
		}
	}
	last := progress()
	wait("writes after the last kill", func() bool { return progress() > last+50 })
	stop()
	wg.Wait()
	for w := range writers {
		got, _ := strconv.ParseInt(value(t, b, fmt.Sprint("w", w)), 10, 64)
		if got < answered[w].Load() {
			t.Errorf("writer %d was answered %d, the store has %d", w, answered[w].Load(), got)
		}
	}
}

// A server that has become a standby takes no writes. Its connections are given
// up, so that the next ones may find another server.
func TestReadOnlyServer(t *testing.T) {
	server := postgrestest.Shared(t)
	standby, url := server.Role(t, "SUPERUSER")
	b := open(t, postgres.Options{URL: url, Schema: postgrestest.Name(), MaxConns: 1})
	s := storage.New(storage.Config{Backend: b})
	if err := s.Update(t.Context(), put("k", "v")); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "ALTER ROLE "+standby+" SET default_transaction_read_only = on; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+standby+"'")
	readOnly := false
	for range 50 {
		err := s.Update(t.Context(), put("k", "w"))
		if !storage.Temporary(err) {
			t.Fatalf("writing to a standby: %v", err)
		}
		if readOnly = errors.Is(err, storage.ErrUnavailable); readOnly {
			break
		}
	}
	if !readOnly {
		t.Error("it was never said that the server takes no writes")
	}
	if got := value(t, b, "k"); got != "v" { // it can still be read
		t.Errorf("the standby has %q", got)
	}
	server.Exec(t, "ALTER ROLE "+standby+" RESET default_transaction_read_only")
	// The connection that has read is the last one that leads to the standby.
	if err := s.Update(t.Context(), put("k", "w")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("by an old connection: %v", err)
	}
	if err := s.Update(t.Context(), put("k", "w")); err != nil {
		t.Errorf("after the standby was promoted: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	server, schema := postgrestest.Shared(t), postgrestest.Name()
	b := open(t, postgres.Options{URL: server.URL(), Schema: schema})
	if err := b.Update(t.Context(), put("k", "v")); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, `CREATE FUNCTION `+schema+`.full() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
		CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON `+schema+`.items EXECUTE FUNCTION `+schema+`.full()`)
	if err := b.Update(t.Context(), put("k", "w")); !errors.Is(err, storage.ErrFull) {
		t.Errorf("writing to a full disk: %v", err)
	}
	if got := value(t, b, "k"); got != "v" {
		t.Errorf("the full disk has %q", got)
	}
	server.Exec(t, "DROP TRIGGER full_disk ON "+schema+".items")
	if err := b.Update(t.Context(), put("k", "w")); err != nil {
		t.Errorf("after there is room: %v", err)
	}
}

// A lock that somebody else holds is waited for as long as the option says, and
// the connection serves on.
func TestStatementTimeout(t *testing.T) {
	server, schema := postgrestest.Shared(t), postgrestest.Name()
	b := open(t, postgres.Options{URL: server.URL(), Schema: schema, MaxConns: 1, StatementTimeout: 100 * time.Millisecond})
	if err := b.Update(t.Context(), put("k", "v")); err != nil {
		t.Fatal(err)
	}
	release := server.Hold(t, "LOCK TABLE "+schema+".items IN ACCESS EXCLUSIVE MODE")
	start := time.Now()
	err := b.Update(t.Context(), put("k", "w"))
	if took := time.Since(start); !errors.Is(err, storage.ErrUnavailable) || took > 3*time.Second {
		t.Errorf("waiting for a lock: %v after %v", err, took)
	}
	release()
	if err := b.Update(t.Context(), put("k", "w")); err != nil {
		t.Error(err)
	}
	if got := value(t, b, "k"); got != "w" {
		t.Errorf("read %q", got)
	}
}

// A call that gets no connection says so in time.
func TestNoConnection(t *testing.T) {
	b := open(t, postgres.Options{URL: postgrestest.Shared(t).URL(), Schema: postgrestest.Name(), MaxConns: 1})
	err := b.View(t.Context(), func(tx storage.Tx) error {
		if _, err := tx.Get([]byte("k")); !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := b.Update(ctx, put("k", "v")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a connection: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := b.Update(t.Context(), put("k", "v")); err != nil {
		t.Error(err)
	}
}
