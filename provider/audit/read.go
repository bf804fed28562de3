package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// Record is a kept event with its id.
type Record struct {
	ID string
	event.Event
}

// Query says which events; what is empty does not matter.
type Query struct {
	// Admin asks for what administrators did, else for everything but that.
	Admin  bool
	Types  []event.Type // any of them
	User   string       // sub
	Client string       // client_id
	IP     string
	// From and To bound the time, both inclusively, to the millisecond.
	From, To time.Time

	After string // the id of the last event of the page before
	First int    // how many to skip
	Max   int    // at most; needed
}

func (q Query) matches(e *event.Event) bool {
	return e.Type.Admin() == q.Admin && (len(q.Types) == 0 || slices.Contains(q.Types, e.Type)) &&
		(q.User == "" || e.Subject == q.User) && (q.Client == "" || e.Client == q.Client) && (q.IP == "" || e.IP == q.IP)
}

// readPage is how many rows are read at a time.
const readPage = 200

// Find returns kept events, the newest first. It reads the index of the user,
// else of the client, else of the types; what these do not tell apart is read
// and left out.
func Find(tx storage.Tx, realmName string, q Query) ([]Record, error) {
	after := q.After
	if !q.To.IsZero() {
		after = max(after, moment(q.To))
	}
	var oldest string
	if !q.From.IsZero() {
		oldest = moment(q.From)
	}
	var out []Record
	skip := q.First
	for from := newStream(tx, realmName, q, after); len(out) < q.Max; {
		r, err := from.next()
		if err != nil {
			return nil, fmt.Errorf("reading events: %w", err)
		}
		if r == nil || oldest != "" && r.ID[:len(oldest)] > oldest {
			break
		}
		switch {
		case !q.matches(&r.Event):
		case skip > 0:
			skip--
		default:
			out = append(out, *r)
		}
	}
	return out, nil
}

// stream yields events in the order of their ids, from one index, from several
// values of one, or from the table itself.
type stream struct {
	tx    storage.Tx
	realm string
	heads []*head
}

// head is one source of ids, nil once it is dry.
type head struct {
	page  func(after string) ([]string, error)
	ids   []string
	after string
	last  bool // no page comes after this one
}

func newStream(tx storage.Tx, realmName string, q Query, after string) *stream {
	s := &stream{tx: tx, realm: realmName}
	by := func(index, value string) {
		s.heads = append(s.heads, &head{after: after, page: func(after string) ([]string, error) {
			return events.IDsBy(tx, realmName, index, value, after, readPage)
		}})
	}
	switch {
	case q.User != "":
		by("user", q.User)
	case q.Client != "":
		by("client", q.Client)
	case len(q.Types) > 0 || q.Admin:
		types := q.Types
		if len(types) == 0 {
			types = []event.Type{event.AdminCreate, event.AdminUpdate, event.AdminDelete, event.AdminAction}
		}
		for _, t := range slices.Compact(slices.Sorted(slices.Values(types))) {
			by("type", string(t))
		}
	default:
		s.heads = []*head{{after: after, page: func(after string) ([]string, error) {
			rows, err := events.List(tx, realmName, after, readPage)
			ids := make([]string, len(rows))
			for i, row := range rows {
				ids[i] = row.ID
			}
			return ids, err
		}}}
	}
	return s
}

// next returns the newest event that was not returned yet, nil at the end.
func (s *stream) next() (*Record, error) {
	for {
		id, err := s.nextID()
		if err != nil || id == "" {
			return nil, err
		}
		e, err := events.Get(s.tx, s.realm, id)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		e.Realm = s.realm
		return &Record{ID: id, Event: *e}, nil
	}
}

func (s *stream) nextID() (string, error) {
	var newest *head
	for _, h := range s.heads {
		if len(h.ids) == 0 && !h.last {
			ids, err := h.page(h.after)
			if err != nil {
				return "", err
			}
			h.ids, h.last = ids, len(ids) < readPage
			if len(ids) > 0 {
				h.after = ids[len(ids)-1]
			}
		}
		if len(h.ids) > 0 && (newest == nil || h.ids[0] < newest.ids[0]) {
			newest = h
		}
	}
	if newest == nil {
		return "", nil
	}
	id := newest.ids[0]
	newest.ids = newest.ids[1:]
	return id, nil
}

// sweepBatch bounds one transaction that deletes.
const sweepBatch = 500

// Sweep deletes events that are older than the realm keeps them. It reads no
// other; call it every minute.
func Sweep(ctx context.Context, store *storage.Store, realmName string, now time.Time) error {
	var before time.Time
	err := store.View(ctx, func(tx storage.Tx) error {
		s, err := realm.Get(tx, realmName)
		if err == nil && *s.EventsExpiration > 0 {
			before = now.Add(-*s.EventsExpiration)
		}
		return err
	})
	if err == nil && !before.IsZero() {
		_, err = drop(ctx, store, realmName, moment(before.Add(-time.Millisecond)), func(*event.Event) bool { return true })
	}
	if err != nil {
		return fmt.Errorf("sweeping events: %w", err)
	}
	return nil
}

// Clear deletes all events, those of administrators or the others, and tells how
// many.
func Clear(ctx context.Context, store *storage.Store, realmName string, admin bool) (int, error) {
	n, err := drop(ctx, store, realmName, "", func(e *event.Event) bool { return e.Type.Admin() == admin })
	if err != nil {
		return n, fmt.Errorf("clearing events: %w", err)
	}
	return n, nil
}

// drop deletes events behind an id, in batches. They are looked for in a view,
// so that a round which finds none writes nothing.
func drop(ctx context.Context, store *storage.Store, realmName, after string, doomed func(*event.Event) bool) (n int, err error) {
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		var ids []string
		next := after
		err := store.View(ctx, func(tx storage.Tx) error {
			ids = nil
			rows, err := events.List(tx, realmName, after, sweepBatch)
			if err != nil {
				return err
			}
			more = len(rows) == sweepBatch
			for _, row := range rows {
				if next = row.ID; doomed(row.Record) {
					ids = append(ids, row.ID)
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		if after = next; len(ids) == 0 {
			continue
		}
		err = store.Update(ctx, func(tx storage.Tx) error {
			for _, id := range ids {
				if err := events.Delete(tx, realmName, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n += len(ids)
	}
	return n, nil
}
