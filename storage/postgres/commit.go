package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/engine"
)

// Update makes one attempt in a SERIALIZABLE transaction.
func (b *Backend) Update(ctx context.Context, fn func(storage.Tx) error) error {
	me := engine.Goroutine()
	if _, nested := b.closures.Load(me); nested {
		return storage.ErrNested
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !b.gate.Enter() {
		return storage.ErrClosed
	}
	defer b.gate.Leave()
	t := &tx{b: b, ctx: ctx, begin: "begin", own: map[string]write{}}
	defer t.end()
	err := func() error {
		b.closures.Store(me, nil)
		defer b.closures.Delete(me)
		return engine.Run(func() error { return fn(t) })
	}()
	switch {
	case t.err != nil:
		return t.err
	case err != nil:
		return err
	}
	if err := t.fits(); err != nil { // also if the closure swallowed it
		return err
	}
	return t.commit()
}

// View runs fn on a snapshot that is taken with its first read.
func (b *Backend) View(ctx context.Context, fn func(storage.Tx) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !b.gate.Enter() {
		return storage.ErrClosed
	}
	defer b.gate.Leave()
	t := &tx{b: b, ctx: ctx, begin: "view"}
	defer t.end()
	if err := fn(t); err != nil {
		return err
	}
	return t.err
}

// sweepOnce bounds what one transaction of the sweeper deletes.
const sweepOnce = 1000

// Sweep deletes expired items in the order of their expiry. It runs in READ
// COMMITTED: a row that was written anew meanwhile is judged again by the server
// before it goes, and nothing else is read. What another node sweeps or somebody
// writes at this moment is passed over: fewer than limit means that nothing else
// is left.
func (b *Backend) Sweep(ctx context.Context, before time.Time, limit int) (int, error) {
	if !b.gate.Enter() {
		return 0, storage.ErrClosed
	}
	defer b.gate.Leave()
	total := 0
	for total < limit {
		want := min(limit-total, sweepOnce)
		n, err := b.sweep(ctx, before, want)
		total += n
		if err != nil {
			return total, err
		}
		if n < want {
			return total, b.trim(ctx)
		}
	}
	return total, nil
}

func (b *Backend) sweep(ctx context.Context, before time.Time, limit int) (int, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	conn, err := b.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { b.giveBack(conn, err) }()
	var batch pgconn.Batch
	add(&batch, "sweeping")
	add(&batch, "sweep", number(engine.Nano(before)), number(int64(limit)))
	results, err := b.send(conn, &batch)
	if err != nil {
		err = failure("sweeping", err)
		return 0, err
	}
	var keys [][]byte
	for _, row := range results[1].Rows {
		keys = append(keys, row[0])
	}
	if err = b.finish(conn, &pgconn.Batch{}, keys); err != nil {
		return 0, err
	}
	return len(keys), nil
}

// finish sends a batch that writes, what it changed, and COMMIT, and tells who
// watches.
func (b *Backend) finish(conn *pgxpool.Conn, batch *pgconn.Batch, changed [][]byte) error {
	l := laneOf(conn.Conn())
	if len(changed) > 0 {
		if l.n == 0 {
			add(batch, "lane", number(l.id))
		}
		add(batch, "changed", number(l.id), number(l.n+1), pack(changed))
		l.told.Store(l.n + 1) // as we shall
	}
	add(batch, "commit")
	results, err := b.send(conn, batch)
	if err = outcome(err); err == nil && results[len(results)-1].CommandTag.String() != "COMMIT" {
		err = fmt.Errorf("committing transaction: the server answered %s", results[len(results)-1].CommandTag)
	}
	if len(changed) == 0 {
		return err
	}
	if err == nil {
		l.n++
	} else {
		l.told.Store(l.n)
	}
	if err == nil || errors.Is(err, storage.ErrUnknown) {
		b.watchers.Tell(changed) // if it becomes true only later, the lane tells
	}
	return err
}

// pack puts keys into one value; unpack is its inverse.
func pack(keys [][]byte) []byte {
	var out []byte
	for _, k := range keys {
		out = append(binary.AppendUvarint(out, uint64(len(k))), k...)
	}
	return out
}

func unpack(packed []byte) ([][]byte, error) {
	var keys [][]byte
	for len(packed) > 0 {
		n, size := binary.Uvarint(packed)
		if size <= 0 || n > uint64(len(packed)-size) {
			return nil, fmt.Errorf("reading changed keys: unfinished key")
		}
		keys = append(keys, packed[size:size+int(n)])
		packed = packed[size+int(n):]
	}
	return keys, nil
}
