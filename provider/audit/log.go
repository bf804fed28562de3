package audit

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

// Config of a Log. Every field is needed.
type Config struct {
	Store  *storage.Store
	Realm  string
	Random io.Reader
	Logger *slog.Logger
	Sink   event.Sink
}

// Log takes the events of one realm.
type Log struct {
	Config
	node string
	last atomic.Uint32

	mu      sync.Mutex
	running bool // somebody flushes; else Tell writes by itself
	waiting []event.Event
	lost    int // since the last flush
}

// New makes a Log. It does no I/O.
func New(c Config) *Log {
	return &Log{Config: c, node: oidc.NewID(c.Random)[:8]}
}

func (l *Log) stamp() stamp { return stamp{number: l.last.Add(1), node: l.node} }

// Tell adds events to those of a closure that runs in Update.
type Tell func(...event.Event)

// Update is Store.Update. What the run of fn that commits has told is written
// with its changes, in the order in which it was told, and reaches the sink when
// they are on disk. If nobody knows whether they are, the sink hears of it too:
// better twice than never.
func (l *Log) Update(ctx context.Context, fn func(tx storage.Tx, tell Tell) error) error {
	at := l.stamp()
	var told []event.Event
	err := l.Store.Update(ctx, func(tx storage.Tx) error {
		told = nil
		if err := fn(tx, func(more ...event.Event) { told = append(told, more...) }); err != nil {
			return err
		}
		return write(tx, l.Realm, at, told)
	})
	if err == nil || errors.Is(err, storage.ErrUnknown) {
		l.emit(ctx, told)
	}
	return err
}

// How events without a change wait for the disk.
const (
	flushEvery = time.Second
	maxWaiting = 5000 // beyond these they are counted, not kept
	flushBatch = 500  // in one transaction
)

// Tell is for events without a change. It waits for the disk only where nobody
// runs the Log.
func (l *Log) Tell(ctx context.Context, told ...event.Event) {
	if len(told) == 0 {
		return
	}
	l.emit(ctx, told)
	l.mu.Lock()
	for _, e := range told {
		if len(l.waiting) < maxWaiting {
			l.waiting = append(l.waiting, e)
		} else {
			l.lost++
		}
	}
	running := l.running
	l.mu.Unlock()
	if !running {
		l.Flush(ctx)
	}
}

func (l *Log) emit(ctx context.Context, told []event.Event) {
	for _, e := range told {
		l.Sink.Emit(ctx, e)
	}
}

// Run flushes once a second until ctx ends, and then a last time.
func (l *Log) Run(ctx context.Context) {
	l.run(true)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			l.Flush(ctx)
		}
	}
	l.run(false)
	l.Flush(ctx)
}

func (l *Log) run(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = on
}

// flushWithin bounds a flush whose caller may be gone already.
const flushWithin = 10 * time.Second

// Flush writes what waits, so that whoever reads next sees it. A failure is
// logged: what was told has happened, and nobody can take it back.
func (l *Log) Flush(ctx context.Context) {
	l.mu.Lock()
	waiting, lost := l.waiting, l.lost
	l.waiting, l.lost = nil, 0
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
	defer cancel()
	for batch := merge(waiting); len(batch) > 0; {
		n := min(len(batch), flushBatch)
		at := l.stamp()
		err := l.Store.Update(ctx, func(tx storage.Tx) error { return write(tx, l.Realm, at, batch[:n]) })
		if err != nil {
			l.Logger.ErrorContext(ctx, "writing events", "realm", l.Realm, "events", len(batch), "err", err)
			return
		}
		batch = batch[n:]
	}
	if lost > 0 {
		l.Logger.WarnContext(ctx, "more events than can be kept", "realm", l.Realm, "lost", lost)
	}
}

// merge makes one event of refusals that are alike, with their number in the
// detail "count": who knocks a thousand times in a second fills no disk.
func merge(told []event.Event) []event.Event {
	type likeness struct{ kind, client, sub, name, session, offline, ip, reason string }
	first, times := map[likeness]int{}, map[int]int{}
	out := make([]event.Event, 0, len(told))
	for _, e := range told {
		if e.Type.Error() {
			k := likeness{string(e.Type), e.Client, e.Subject, e.Username, e.Session, e.OfflineSession, e.IP, e.Reason}
			if i, ok := first[k]; ok {
				times[i]++
				continue
			}
			first[k] = len(out)
		}
		out = append(out, e)
	}
	for i, more := range times {
		details := map[string]string{"count": strconv.Itoa(1 + more)}
		for name, value := range out[i].Details {
			details[name] = value
		}
		out[i].Details = details
	}
	return out
}
