package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/engine"
)

// Limits of one transaction, near those of the embedded engine, so that what one
// takes the other takes too.
const (
	maxRows  = 20_000
	maxBytes = 2 << 20
	perRow   = 64 // beside key and value
)

// tx is the transaction that a closure sees. It begins on the server with the
// first read and holds back what is written.
type tx struct {
	b     *Backend
	ctx   context.Context // the caller's
	begin string          // the statement that begins it

	conn  *pgxpool.Conn           // nil until the first read
	known map[string]storage.Item // read before; without a Key: absent
	own   map[string]write        // nil in a View
	size  int
	err   error // of the server: the transaction is lost, whatever the closure makes of it
}

// write is a row to be written, or deleted.
type write struct {
	value   []byte
	expires int64
	deleted bool
}

func (t *tx) Get(key []byte) (storage.Item, error) {
	items, err := t.GetMany([][]byte{key})
	switch {
	case err != nil:
		return storage.Item{}, err
	case items[0].Key == nil:
		return storage.Item{}, storage.ErrNotFound
	}
	return items[0], nil
}

// GetMany asks for what is not known yet in one message.
func (t *tx) GetMany(keys [][]byte) ([]storage.Item, error) {
	items := make([]storage.Item, len(keys))
	var asked []int
	var calls []call
	for i, key := range keys {
		if w, ok := t.own[string(key)]; ok {
			items[i], _ = w.item(key)
		} else if it, ok := t.known[string(key)]; ok {
			items[i] = it
		} else {
			asked, calls = append(asked, i), append(calls, call{"get", [][]byte{key}})
		}
	}
	if len(asked) == 0 {
		return items, nil
	}
	results, err := t.query(calls...)
	if err != nil {
		return nil, err
	}
	for n, i := range asked {
		if rows := results[n].Rows; len(rows) > 0 {
			if items[i], err = item(bytes.Clone(keys[i]), rows[0]); err != nil {
				return nil, t.fail("reading item", err)
			}
		}
		t.learn(string(keys[i]), items[i])
	}
	return items, nil
}

func (t *tx) learn(key string, it storage.Item) {
	if t.known == nil {
		t.known = map[string]storage.Item{}
	}
	t.known[key] = it
}

// Scan asks for as many rows more as own deletions may hide, so that one round
// trip is enough.
func (t *tx) Scan(prefix, after []byte, limit int) ([]storage.Item, error) {
	if limit <= 0 {
		return nil, nil
	}
	from := append([]byte{}, prefix...) // nil would be sent as NULL
	if after != nil && bytes.Compare(after, prefix) >= 0 {
		from = append(bytes.Clone(after), 0) // the least key greater than after
	}
	var own []string // in the range, ascending
	hidden := 0
	for key, w := range t.own {
		if strings.HasPrefix(key, string(prefix)) && key >= string(from) {
			own = append(own, key)
			if w.deleted {
				hidden++
			}
		}
	}
	slices.Sort(own)

	most := number(int64(limit + hidden))
	scan := call{"scan_on", [][]byte{from, most}}
	if to := behind(prefix); to != nil {
		scan = call{"scan", [][]byte{from, to, most}}
	}
	results, err := t.query(scan)
	if err != nil {
		return nil, err
	}
	rows := results[0].Rows
	out := make([]storage.Item, 0, min(limit, len(rows)+len(own)))
	pass := func(key string) {
		if w := t.own[key]; !w.deleted {
			it, _ := w.item([]byte(key))
			out = append(out, it)
		}
	}
	for _, row := range rows {
		it, err := item(row[0], row[1:])
		if err != nil {
			return nil, t.fail("reading item", err)
		}
		t.learn(string(it.Key), it)
		for len(own) > 0 && own[0] < string(it.Key) {
			pass(own[0])
			own = own[1:]
		}
		if len(own) > 0 && own[0] == string(it.Key) {
			pass(own[0])
			own = own[1:]
		} else {
			out = append(out, it)
		}
	}
	if len(rows) < limit+hidden { // there are no more rows between and behind own ones
		for _, key := range own {
			pass(key)
		}
	}
	return out[:min(limit, len(out))], nil
}

// behind returns the least key greater than all that begin with prefix, nil if
// there is none.
func behind(prefix []byte) []byte {
	end := bytes.TrimRight(prefix, "\xff")
	if len(end) == 0 {
		return nil
	}
	end = bytes.Clone(end)
	end[len(end)-1]++
	return end
}

func (t *tx) Put(it storage.Item) error {
	return t.set(it.Key, write{value: append([]byte{}, it.Value...), expires: engine.Nano(it.Expires)})
}

func (t *tx) Delete(key []byte) error { return t.set(key, write{deleted: true}) }

func (t *tx) set(key []byte, w write) error {
	if t.own == nil {
		return errors.New("writing in a view")
	}
	if old, ok := t.own[string(key)]; ok {
		t.size -= len(key) + len(old.value) + perRow
	}
	t.own[string(key)] = w
	t.size += len(key) + len(w.value) + perRow
	return t.fits()
}

// fits stops a transaction that is too large before it grows further.
func (t *tx) fits() error {
	if len(t.own) > maxRows || t.size > maxBytes {
		return fmt.Errorf("transaction of %d rows and %d bytes: %w", len(t.own), t.size, storage.ErrTooLarge)
	}
	return nil
}

func (w write) item(key []byte) (storage.Item, error) {
	if w.deleted {
		return storage.Item{}, storage.ErrNotFound
	}
	return storage.Item{Key: bytes.Clone(key), Value: w.value, Expires: engine.Instant(w.expires)}, nil
}

// item reads the columns value and expires.
func item(key []byte, row [][]byte) (storage.Item, error) {
	it := storage.Item{Key: key, Value: row[0]}
	if it.Value == nil {
		it.Value = []byte{}
	}
	switch len(row[1]) {
	case 0:
	case 8:
		it.Expires = engine.Instant(int64(binary.BigEndian.Uint64(row[1])))
	default:
		return storage.Item{}, fmt.Errorf("the column expires has %d bytes", len(row[1]))
	}
	return it, nil
}

// number is a bigint as it is sent.
func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// expiry is number for the column expires, which is null for never.
func expiry(nano int64) []byte {
	if nano == 0 {
		return nil
	}
	return number(nano)
}

// call of one of the prepared statements.
type call struct {
	statement string
	args      [][]byte
}

// query makes calls in one message, with the beginning of the transaction if it
// has not begun, and returns the result of each.
func (t *tx) query(calls ...call) ([]*pgconn.Result, error) {
	if t.err != nil {
		return nil, t.err
	}
	if t.ctx.Err() != nil {
		return nil, context.Cause(t.ctx)
	}
	var batch pgconn.Batch
	if t.conn == nil {
		var err error
		if t.conn, err = t.b.acquire(t.ctx); err != nil {
			t.err = err
			return nil, err
		}
		add(&batch, t.begin)
	}
	for _, c := range calls {
		add(&batch, c.statement, c.args...)
	}
	results, err := t.b.send(t.conn, &batch)
	if err != nil {
		return nil, t.fail("reading", err)
	}
	return results[len(results)-len(calls):], nil
}

func (t *tx) fail(doing string, err error) error {
	t.err = failure(doing, err)
	return t.err
}

// commit sends what was written and COMMIT in one message: see outcome.
func (t *tx) commit() error {
	if t.conn == nil && len(t.own) == 0 {
		return nil
	}
	if t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	var batch pgconn.Batch
	if t.conn == nil {
		var err error
		if t.conn, err = t.b.acquire(t.ctx); err != nil {
			return err
		}
		add(&batch, t.begin)
	}
	// In the order of keys, so that two transactions do not wait for each other.
	var changed [][]byte
	for _, key := range slices.Sorted(maps.Keys(t.own)) {
		w := t.own[key]
		if w.deleted {
			add(&batch, "delete", []byte(key))
		} else {
			add(&batch, "put", []byte(key), w.value, expiry(w.expires))
		}
		changed = append(changed, []byte(key))
	}
	t.err = t.b.finish(t.conn, &batch, changed)
	return t.err
}

// end gives the connection back; what has not been committed is undone. Nobody
// waits for that.
func (t *tx) end() {
	if t.conn != nil {
		t.b.giveBack(t.conn, t.err)
		t.conn = nil
	}
}

var binaryFormat = []int16{1}

func add(batch *pgconn.Batch, statement string, args ...[]byte) {
	batch.ExecPrepared(statement, args, binaryFormat, binaryFormat)
}

// statementGrace is how long past the statement timeout of the server an answer
// is awaited.
const statementGrace = 5 * time.Second

// send makes one round trip. The caller's context does not interrupt it: that
// would cost the connection, and of a commit the outcome.
func (b *Backend) send(conn *pgxpool.Conn, batch *pgconn.Batch) ([]*pgconn.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), b.o.StatementTimeout+statementGrace)
	defer cancel()
	return conn.Conn().PgConn().ExecBatch(ctx, batch).ReadAll()
}
