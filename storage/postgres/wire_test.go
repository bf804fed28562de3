package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
)

// wire is the way to the server, on which a test cuts messages off.
type wire struct {
	sent atomic.Int64 // messages
	// before and behind are cut once: a message that holds these bytes before it
	// reaches the server, or the answer to it.
	before, behind atomic.Pointer[[]byte]
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return &wired{Conn: conn, w: w}, err
}

type wired struct {
	net.Conn
	w   *wire
	cut atomic.Bool // the next answer
}

func cutHere(at *atomic.Pointer[[]byte], p []byte) bool {
	want := at.Load()
	return want != nil && bytes.Contains(p, *want) && at.CompareAndSwap(want, nil)
}

func (c *wired) Write(p []byte) (int, error) {
	c.w.sent.Add(1)
	if cutHere(&c.w.before, p) {
		_ = c.Close()
		return 0, errors.New("the line is cut")
	}
	if cutHere(&c.w.behind, p) {
		c.cut.Store(true)
	}
	return c.Conn.Write(p)
}

func (c *wired) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.cut.Load() { // the server has answered
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (w *wire) open(t *testing.T) *Backend {
	t.Helper()
	b, err := Open(t.Context(), Options{URL: postgrestest.Shared(t).URL(), Schema: postgrestest.Name(), MaxConns: 1, dial: w.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	b.stop() // it would send messages of its own
	b.follow.Wait()
	return b
}

func put(key, value string) func(storage.Tx) error {
	return func(tx storage.Tx) error { return tx.Put(storage.Item{Key: []byte(key), Value: []byte(value)}) }
}

// value is "-" for an absent key.
func value(t *testing.T, b *Backend, key string) (got string) {
	t.Helper()
	err := b.View(t.Context(), func(tx storage.Tx) error {
		it, err := tx.Get([]byte(key))
		if got = string(it.Value); errors.Is(err, storage.ErrNotFound) {
			got = "-"
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A commit is unknown when its answer is lost, whether it happened or not, and
// nothing else is.
func TestUnknownOutcome(t *testing.T) {
	commit, get := []byte("\x00commit\x00"), []byte("\x00get\x00")
	getAndPut := func(tx storage.Tx) error {
		_, _ = tx.Get([]byte("other"))
		return put("k", "v")(tx)
	}
	for _, c := range []struct {
		name           string
		before, behind []byte
		fn             func(storage.Tx) error
		want           error
		value          string
	}{
		{"the commit does not arrive", commit, nil, getAndPut, storage.ErrUnknown, "-"},
		{"its answer does not", nil, commit, getAndPut, storage.ErrUnknown, "v"},
		{"the answer to a write alone", nil, commit, put("k", "v"), storage.ErrUnknown, "v"},
		{"a read does not arrive", get, nil, getAndPut, storage.ErrUnavailable, "-"},
		{"its answer does not", nil, get, getAndPut, storage.ErrUnavailable, "-"},
	} {
		w := new(wire)
		b := w.open(t)
		if c.before != nil {
			w.before.Store(&c.before)
		}
		if c.behind != nil {
			w.behind.Store(&c.behind)
		}
		if err := b.Update(t.Context(), c.fn); !errors.Is(err, c.want) || !storage.Temporary(err) {
			t.Errorf("%s: %v; want %v", c.name, err, c.want)
		}
		if got := value(t, b, "k"); got != c.value { // on a new connection
			t.Errorf("%s: the key has %q; want %q", c.name, got, c.value)
		}
		if err := b.Update(t.Context(), put("k", "next")); err != nil {
			t.Errorf("%s: the next update: %v", c.name, err)
		}
	}
}

// The package comment promises how often a transaction waits for the server.
func TestRoundTrips(t *testing.T) {
	w := new(wire)
	b := w.open(t)
	read := func(keys ...string) func(storage.Tx) error {
		return func(tx storage.Tx) error {
			for _, k := range keys {
				if _, err := tx.Get([]byte(k)); err != nil && !errors.Is(err, storage.ErrNotFound) {
					return err
				}
			}
			return nil
		}
	}
	many := func(keys ...string) func(storage.Tx) error {
		return func(tx storage.Tx) error {
			var all [][]byte
			for _, k := range keys {
				all = append(all, []byte(k))
			}
			_, err := tx.GetMany(all)
			return err
		}
	}
	notes := storage.Table[string]{Name: "note", Indexes: map[string]storage.Index[string]{
		"text": {Counted: true, Values: func(s *string) []string { return []string{*s} }},
	}}
	text := "v"
	for i := range 30 {
		if err := b.Update(t.Context(), func(tx storage.Tx) error { return notes.Put(tx, "demo", fmt.Sprint(i), &text) }); err != nil {
			t.Fatal(err)
		}
	}
	scan := func(tx storage.Tx) error { _, err := tx.Scan([]byte("k"), nil, 10); return err }
	both := func(fns ...func(storage.Tx) error) func(storage.Tx) error {
		return func(tx storage.Tx) error {
			for _, fn := range fns {
				if err := fn(tx); err != nil {
					return err
				}
			}
			return nil
		}
	}
	behind := int64(1) // a rollback, for which nobody waits
	for _, c := range []struct {
		name string
		run  func(context.Context, func(storage.Tx) error) error
		fn   func(storage.Tx) error
		want int64
	}{
		{"an update of nothing", b.Update, read(), 0},
		{"writes alone", b.Update, both(put("k1", "v"), put("k2", "v"), put("k3", "v")), 1},
		{"three reads and two writes", b.Update, both(read("k1", "k2", "no"), put("k1", "w"), put("k4", "w")), 4},
		{"what was read before", b.Update, both(read("k1", "k1", "no", "no"), put("k1", "w"), read("k1")), 3},
		{"what was scanned before", b.Update, both(scan, read("k1", "k2")), 2},
		{"many reads", b.Update, both(many("k1", "k2", "no", "k3"), put("k1", "w")), 2},
		{"many reads, all but one known", b.Update, both(read("k1", "no"), many("k1", "k2", "no"), put("k1", "w")), 4},
		{"many reads, all known", b.Update, both(many("k1", "no"), many("no", "k1"), put("k1", "w")), 2},
		{"a list by an index", b.View, func(tx storage.Tx) error {
			rows, err := notes.ListBy(tx, "demo", "text", "v", "", 20)
			if len(rows) != 20 {
				t.Errorf("listed %d", len(rows))
			}
			return err
		}, 2 + behind},
		{"a page by offset", b.View, func(tx storage.Tx) error {
			rows, err := notes.PageBy(tx, "demo", "text", "v", 5, 20)
			if len(rows) != 20 {
				t.Errorf("listed %d", len(rows))
			}
			return err
		}, 3 + behind},
		{"a view of one", b.View, read("k1"), 1 + behind},
		{"a view of a scan and two", b.View, both(scan, read("no", "k1", "o")), 3 + behind},
	} {
		before := w.sent.Load()
		if err := c.run(t.Context(), c.fn); err != nil {
			t.Fatal(err)
		}
		conn, err := b.acquire(t.Context()) // the only one: it has come back
		if err != nil {
			t.Fatal(err)
		}
		conn.Release()
		if got := w.sent.Load() - before; got != c.want {
			t.Errorf("%s: %d round trips; want %d", c.name, got, c.want)
		}
	}
}
