package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nightlatch/nightlatch/storage"
)

// How a node hears of the others: each commit leaves a row in changes, and each
// node asks five times a second for the rows that it has not seen. NOTIFY would
// be quicker by a tenth of a second and costs much more than it gives: the server
// lets only one transaction at a time commit that notifies (docs/decisions/0011).
const (
	pollEvery = 200 * time.Millisecond
	// deafAfter is the age beyond which a node may not trust what it has in memory:
	// so long may a change remain unheard.
	deafAfter = time.Second
	// changesKept is how long rows stay at least. A node that has not asked for half
	// of that may have missed some, and says so.
	changesKept = time.Minute
)

// openLane is one connection that writes. Its commits are numbered from 1.
type openLane struct {
	id     int64
	opened time.Time
	n      int64        // the last commit; whoever holds the connection owns it
	told   atomic.Int64 // the last commit that our own watchers were told of
}

// connLifetime ends connections, so that a lane can be forgotten laneKept after
// it was opened.
const (
	connLifetime = time.Hour
	laneKept     = 4 * time.Hour
)

const laneKey = "nightlatch lane"

func (b *Backend) beginLane(conn *pgx.Conn) {
	l := &openLane{id: rand.Int64(), opened: time.Now().Round(0)}
	conn.PgConn().CustomData()[laneKey] = l
	b.lanes.Store(l.id, l)
}

func (b *Backend) endLane(conn *pgx.Conn) {
	if l := laneOf(conn); l != nil {
		b.lanes.Delete(l.id)
	}
}

func laneOf(conn *pgx.Conn) *openLane {
	l, _ := conn.PgConn().CustomData()[laneKey].(*openLane)
	return l
}

// Watch calls fn with changed keys below prefix until ctx ends.
func (b *Backend) Watch(ctx context.Context, prefix []byte, ready func(), fn func(keys [][]byte)) error {
	return b.watchers.Watch(ctx, prefix, ready, fn)
}

// listen asks for changes until ctx ends, on a connection of its own: a pool that
// is busy must not make it late.
func (b *Backend) listen(ctx context.Context) {
	f := follower{b: b}
	defer f.close()
	heard := time.Time{} // when the last question that was answered was asked
	for ctx.Err() == nil {
		asked := time.Now()
		err := f.ask(ctx)
		switch {
		case err == nil:
			b.watchers.Hear()
			heard = asked
		case ctx.Err() != nil:
			return
		default:
			f.close()
			if errors.Is(err, errMissed) || time.Since(heard) >= deafAfter {
				if !f.deaf {
					b.log.Warn("hearing changes of other nodes", "err", err)
				}
				f.deaf = true
				b.watchers.Deaf(fmt.Errorf("hearing changes of other nodes: %w: %w", storage.ErrUnavailable, err))
			}
		}
		if err == nil && f.deaf {
			b.log.Info("changes of other nodes are heard again")
			f.deaf = false
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
}

// follower remembers what was heard. A connection that broke does not make it
// forget.
type follower struct {
	b     *Backend
	conn  *pgx.Conn
	begun bool
	seen  map[int64]int64 // lane → last commit
	at    time.Time       // by the server's clock, of the last answer
	deaf  bool
}

// errMissed: rows may have gone before they were seen.
var errMissed = errors.New("too long without an answer")

// ask makes one round trip, and two for the first one.
func (f *follower) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deafAfter-pollEvery)
	defer cancel()
	if f.conn == nil {
		conn, err := pgx.ConnectConfig(ctx, f.b.pool.Config().ConnConfig)
		if err != nil {
			return err
		}
		f.conn = conn
	}
	if !f.begun {
		return f.first(ctx)
	}
	var lanes, last []int64
	for l, n := range f.seen {
		lanes, last = append(lanes, l), append(last, n)
	}
	var batch pgx.Batch
	batch.Queue("SELECT now()")
	batch.Queue(f.b.sql(`
		SELECT l.lane, c.n, c.keys
		FROM {schema}.lanes l
		LEFT JOIN unnest($1::bigint[], $2::bigint[]) AS s (lane, n) ON s.lane = l.lane
		LEFT JOIN LATERAL (
			SELECT n, keys FROM {schema}.changes WHERE lane = l.lane AND n > coalesce(s.n, 0)
		) c ON true`), lanes, last)
	results := f.conn.SendBatch(ctx, &batch)
	defer func() { _ = results.Close() }()
	var now time.Time
	if err := results.QueryRow().Scan(&now); err != nil {
		return err
	}
	if now.Sub(f.at) > changesKept/2 {
		f.begun = false
		return errMissed
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	seen, changed := map[int64]int64{}, [][]byte(nil)
	var lane int64
	var n *int64
	var packed []byte
	_, err = pgx.ForEachRow(rows, []any{&lane, &n, &packed}, func() error {
		seen[lane] = max(seen[lane], f.seen[lane])
		if n == nil {
			return nil
		}
		seen[lane] = max(seen[lane], *n)
		if own, ok := f.b.lanes.Load(lane); ok && *n <= own.(*openLane).told.Load() {
			return nil
		}
		keys, err := unpack(packed)
		changed = append(changed, keys...)
		return err
	})
	if err != nil {
		return err
	}
	f.seen, f.at = seen, now
	f.b.watchers.Tell(changed)
	return nil
}

// first finds how far the lanes are.
func (f *follower) first(ctx context.Context) error {
	rows, err := f.conn.Query(ctx, f.b.sql("SELECT lane, max(n), now() FROM {schema}.changes GROUP BY lane"))
	if err != nil {
		return err
	}
	seen, now := map[int64]int64{}, time.Time{}
	var lane, n int64
	if _, err := pgx.ForEachRow(rows, []any{&lane, &n, &now}, func() error { seen[lane] = n; return nil }); err != nil {
		return err
	}
	if now.IsZero() {
		if err := f.conn.QueryRow(ctx, "SELECT now()").Scan(&now); err != nil {
			return err
		}
	}
	f.seen, f.at, f.begun = seen, now, true
	return nil
}

func (f *follower) close() {
	if f.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = f.conn.Close(ctx)
		f.conn = nil
	}
}
