package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

const demo = "demo"

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// heard is a sink that remembers.
type heard struct {
	mu     sync.Mutex
	events []event.Event
}

func (h *heard) Emit(_ context.Context, e event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// engine fails commits as it is told.
type engine struct {
	storage.Backend
	outcome error // of the next commit, which happens
}

func (e *engine) Update(ctx context.Context, fn func(storage.Tx) error) error {
	err := e.Backend.Update(ctx, fn)
	if err == nil && e.outcome != nil {
		err, e.outcome = e.outcome, nil
	}
	return err
}

type fixture struct {
	t     *testing.T
	store *storage.Store
	eng   *engine
	sink  *heard
	log   *audit.Log
}

func newFixture(t *testing.T, edit ...func(*realm.Settings)) *fixture {
	t.Helper()
	f := &fixture{t: t, eng: &engine{Backend: storagetest.Steady(t)}, sink: &heard{}}
	f.store = storage.New(storage.Config{Backend: f.eng})
	f.log = audit.New(audit.Config{Store: f.store, Realm: demo, Logger: slog.New(slog.DiscardHandler), Sink: f.sink})
	f.set(edit...)
	return f
}

func (f *fixture) set(edit ...func(*realm.Settings)) {
	f.t.Helper()
	s := realm.Settings{Name: demo}
	for _, e := range edit {
		e(&s)
	}
	if err := f.store.Update(f.t.Context(), func(tx storage.Tx) error { return realm.Table.Put(tx, demo, demo, &s) }); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) find(q audit.Query) []audit.Record {
	f.t.Helper()
	if q.Max == 0 {
		q.Max = 10000
	}
	var out []audit.Record
	err := f.store.View(f.t.Context(), func(tx storage.Tx) (err error) {
		out, err = audit.Find(tx, demo, q)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// reasons of found events, in their order.
func (f *fixture) reasons(q audit.Query) string {
	f.t.Helper()
	var out []string
	for _, r := range f.find(q) {
		out = append(out, r.Reason)
	}
	return strings.Join(out, " ")
}

func (f *fixture) tell(events ...event.Event) { f.log.Tell(f.t.Context(), events...) }

func at(after time.Duration, kind event.Type, sub, client, reason string) event.Event {
	return event.Event{Time: t0.Add(after), Type: kind, Subject: sub, Client: client, Reason: reason}
}

func TestFind(t *testing.T) {
	f := newFixture(t)
	f.tell(at(0, event.Login, "alice", "app", "a"), at(0, event.CodeToToken, "alice", "app", "b"))
	f.tell(at(0, event.Login, "bob", "app", "c"))
	f.tell(at(time.Hour, event.RefreshToken, "alice", "job", "d"))
	f.tell(at(time.Hour+time.Millisecond, event.RefreshTokenError, "bob", "job", "e"))
	f.tell(event.Event{Time: t0.Add(2 * time.Hour), Type: event.AdminUpdate, Subject: "root", Client: "console", IP: "192.0.2.1", Reason: "f"})
	f.tell(event.Event{Time: t0.Add(3 * time.Hour), Type: event.LoginError, IP: "192.0.2.2", Client: "app", Reason: "g"})

	last := func(n int) string { return f.find(audit.Query{Max: n})[n-1].ID }
	for _, tt := range []struct {
		name string
		q    audit.Query
		want string
	}{
		{"all, the newest first", audit.Query{}, "g e d c b a"},
		{"a first page", audit.Query{Max: 2}, "g e"},
		{"the page behind it", audit.Query{Max: 2, First: 2}, "d c"},
		{"the page behind an event", audit.Query{Max: 2, After: last(2)}, "d c"},
		{"beyond the end", audit.Query{First: 6}, ""},
		{"a user's", audit.Query{User: "alice"}, "d b a"},
		{"a user's, second page", audit.Query{User: "alice", First: 1, Max: 1}, "b"},
		{"a client's", audit.Query{Client: "app"}, "g c b a"},
		{"a user's at a client", audit.Query{User: "alice", Client: "app"}, "b a"},
		{"a type", audit.Query{Types: []event.Type{event.Login}}, "c a"},
		{"types", audit.Query{Types: []event.Type{event.Login, event.RefreshTokenError, event.Login, event.LoginError}}, "g e c a"},
		{"types of a user", audit.Query{User: "bob", Types: []event.Type{event.Login, event.RefreshToken}}, "c"},
		{"types behind an event", audit.Query{Types: []event.Type{event.Login, event.LoginError}, After: last(1)}, "c a"},
		{"an address", audit.Query{IP: "192.0.2.2"}, "g"},
		{"from", audit.Query{From: t0.Add(time.Hour)}, "g e d"},
		{"to", audit.Query{To: t0.Add(time.Hour)}, "d c b a"},
		{"one millisecond", audit.Query{From: t0.Add(time.Hour), To: t0.Add(time.Hour)}, "d"},
		{"nothing between", audit.Query{From: t0.Add(time.Minute), To: t0.Add(time.Minute * 2)}, ""},
		{"to, behind an older event", audit.Query{To: t0.Add(time.Hour), After: last(4)}, "b a"},
		{"nobody's", audit.Query{User: "carol"}, ""},
		{"administrators'", audit.Query{Admin: true}, "f"},
		{"an administrator's, by type", audit.Query{Admin: true, Types: []event.Type{event.AdminUpdate, event.AdminCreate}}, "f"},
		{"an administrator's type without asking for them", audit.Query{Types: []event.Type{event.AdminUpdate}}, ""},
	} {
		if got := f.reasons(tt.q); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	r := f.find(audit.Query{Max: 1})[0]
	if r.ID == "" || r.Realm != demo || !r.Time.Equal(t0.Add(3*time.Hour)) || r.IP != "192.0.2.2" {
		t.Errorf("record %+v", r)
	}
}

// More events than are read at a time, in several streams.
func TestFindManyPages(t *testing.T) {
	f := newFixture(t)
	kinds := []event.Type{event.Login, event.Logout, event.CodeToToken}
	const n = 1000
	for i := range n {
		f.tell(at(time.Duration(i)*time.Second, kinds[i%3], "alice", "app", fmt.Sprint(i)))
	}
	for name, q := range map[string]audit.Query{
		"table": {}, "user": {User: "alice"}, "types": {Types: kinds},
	} {
		got := f.find(q)
		if len(got) != n {
			t.Fatalf("%s: %d events", name, len(got))
		}
		for i, r := range got {
			if r.Reason != fmt.Sprint(n-1-i) {
				t.Fatalf("%s: event %d is %s", name, i, r.Reason)
			}
		}
		var paged []audit.Record
		for after := ""; ; {
			q.After, q.Max = after, 37
			page := f.find(q)
			if paged = append(paged, page...); len(page) < 37 {
				break
			}
			after = page[36].ID
		}
		if !slices.EqualFunc(got, paged, func(a, b audit.Record) bool { return a.ID == b.ID }) {
			t.Errorf("%s: pages give %d events", name, len(paged))
		}
	}
}

// An event of a change is on disk with it or not at all, once.
func TestUpdate(t *testing.T) {
	f := newFixture(t)
	change := storage.Item{Key: []byte("change"), Value: []byte("x")}
	run := func(fail error) error {
		return f.log.Update(t.Context(), func(tx storage.Tx, tell audit.Tell) error {
			tell(at(0, event.Login, "alice", "app", "1"))
			if err := tx.Put(change); err != nil {
				return err
			}
			tell(at(0, event.CodeToToken, "alice", "app", "2"))
			return fail
		})
	}
	refused := errors.New("refused")
	if err := run(refused); !errors.Is(err, refused) || len(f.sink.events) != 0 || f.reasons(audit.Query{}) != "" {
		t.Errorf("a change that was refused: %v, told %v, kept %q", err, f.sink.events, f.reasons(audit.Query{}))
	}
	before := f.store.Stats().Updates.Load()
	f.eng.outcome = storage.ErrConflict // it commits, and runs again
	if err := run(nil); err != nil {
		t.Fatal(err)
	}
	if got := f.reasons(audit.Query{}); got != "2 1" || len(f.sink.events) != 2 {
		t.Errorf("kept %q, told %d", got, len(f.sink.events))
	}
	if n := f.store.Stats().Updates.Load() - before; n != 1 {
		t.Errorf("%d updates for a change and its events", n)
	}
	f.eng.outcome = storage.ErrUnknown
	if err := run(nil); !errors.Is(err, storage.ErrUnknown) || len(f.sink.events) != 4 {
		t.Errorf("an unknown outcome: %v, told %d in all", err, len(f.sink.events))
	}
}

// Events without a change wait for nobody while the log runs, and share a commit.
func TestTell(t *testing.T) {
	f := newFixture(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	started := make(chan struct{})
	go func() { defer close(ended); close(started); f.log.Run(ctx) }()
	<-started
	for f.store.Stats().Updates.Load() == 1 && len(f.sink.events) < 1000 {
		f.tell(at(0, event.RefreshToken, "alice", "app", "x"))
	}
	// Whoever reads flushes: what was told by then is there.
	f.log.Flush(t.Context())
	told := len(f.sink.events)
	if got := len(f.find(audit.Query{})); got != told {
		t.Errorf("%d kept of %d", got, told)
	}
	before := f.store.Stats().Updates.Load()
	for range 300 {
		f.tell(at(time.Second, event.RefreshToken, "alice", "app", "y"))
	}
	stop()
	<-ended
	if got := len(f.find(audit.Query{})); got != told+300 {
		t.Errorf("%d kept of %d after the end", got, told+300)
	}
	if n := f.store.Stats().Updates.Load() - before; n > 3 {
		t.Errorf("%d updates for 300 events", n)
	}
	f.tell(at(2*time.Second, event.Login, "alice", "app", "z")) // nobody runs it any more
	if got := f.reasons(audit.Query{Max: 1}); got != "z" {
		t.Errorf("kept %q", got)
	}
}

// Who knocks often in a second is one row, and a flood is bounded.
func TestTellMerges(t *testing.T) {
	f := newFixture(t)
	knock := at(0, event.ClientLoginError, "", "app", "invalid_client")
	knock.Details = map[string]string{"grant_type": "password"}
	f.tell(append(slices.Repeat([]event.Event{knock}, 400), at(0, event.ClientLoginError, "", "other", "invalid_client"),
		at(0, event.RefreshToken, "a", "app", ""), at(0, event.RefreshToken, "a", "app", ""))...)
	got := f.find(audit.Query{})
	if len(got) != 4 {
		t.Fatalf("%d rows", len(got))
	}
	if r := got[3]; r.Details["count"] != "400" || r.Details["grant_type"] != "password" || knock.Details["count"] != "" {
		t.Errorf("the oldest is %+v", r)
	}
	var flood []event.Event
	for i := range 20000 {
		flood = append(flood, at(time.Second, event.ClientLoginError, "", fmt.Sprint("client-", i), "invalid_client"))
	}
	f.tell(flood...)
	if n := len(f.find(audit.Query{From: t0.Add(time.Second), Max: 30000})); n != 5000 {
		t.Errorf("%d rows of a flood of 20000", n)
	}
	if len(f.sink.events) != 403+20000 {
		t.Errorf("the sink heard of %d", len(f.sink.events))
	}
}

func TestSettingsDecideWhatIsKept(t *testing.T) {
	off := false
	for name, tt := range map[string]struct {
		edit func(*realm.Settings)
		want string
	}{
		"defaults":          {func(*realm.Settings) {}, "c b a/d"},
		"off":               {func(s *realm.Settings) { s.EventsEnabled = &off }, "/d"},
		"some types":        {func(s *realm.Settings) { s.EnabledEventTypes = []string{"LOGIN", "REFRESH_TOKEN"} }, "b a/d"},
		"an empty list":     {func(s *realm.Settings) { s.EnabledEventTypes = []string{} }, "c b a/d"},
		"administrators no": {func(s *realm.Settings) { s.AdminEventsEnabled = &off }, "c b a/"},
	} {
		f := newFixture(t, tt.edit)
		f.tell(at(0, event.Login, "alice", "app", "a"), at(1, event.RefreshToken, "alice", "app", "b"),
			at(2, event.LoginError, "alice", "app", "c"), at(3, event.AdminAction, "root", "console", "d"))
		if got := f.reasons(audit.Query{}) + "/" + f.reasons(audit.Query{Admin: true}); got != tt.want {
			t.Errorf("%s: kept %q, want %q", name, got, tt.want)
		}
		if len(f.sink.events) != 4 {
			t.Errorf("%s: the sink heard of %d", name, len(f.sink.events))
		}
	}
}

func TestSweepEvents(t *testing.T) {
	day := 24 * time.Hour
	f := newFixture(t)
	for i := range 1200 {
		f.tell(at(time.Duration(i)*time.Second, event.Login, "alice", "app", "old"))
	}
	f.tell(at(day, event.AdminUpdate, "root", "console", "young"))
	sweep := func(now time.Time) int {
		t.Helper()
		if err := audit.Sweep(t.Context(), f.store, demo, now); err != nil {
			t.Fatal(err)
		}
		return len(f.find(audit.Query{})) + len(f.find(audit.Query{Admin: true}))
	}
	if n := sweep(t0.Add(90 * day)); n != 1201 {
		t.Errorf("%d left on the last day", n)
	}
	if n := sweep(t0.Add(90*day + 600*time.Second)); n != 601 {
		t.Errorf("%d left, want 601", n)
	}
	before := f.store.Stats().Updates.Load()
	if n := sweep(t0.Add(90*day + 600*time.Second)); n != 601 || f.store.Stats().Updates.Load() != before {
		t.Errorf("%d left; a sweep that finds nothing wrote", n)
	}
	forever := time.Duration(0)
	f.set(func(s *realm.Settings) { s.EventsExpiration = &forever })
	if n := sweep(t0.Add(9000 * day)); n != 601 {
		t.Errorf("%d left although they are kept for ever", n)
	}
	hour := time.Hour
	f.set(func(s *realm.Settings) { s.EventsExpiration = &hour })
	if n := sweep(t0.Add(day + time.Minute)); n != 1 {
		t.Errorf("%d left after the expiration was lowered", n)
	}
	if n := sweep(t0.Add(2 * day)); n != 0 {
		t.Errorf("%d left", n)
	}
}

func TestClear(t *testing.T) {
	f := newFixture(t)
	for i := range 700 {
		f.tell(at(time.Duration(i), event.Login, "alice", "app", "a"), at(time.Duration(i), event.AdminUpdate, "root", "console", "b"))
	}
	if n, err := audit.Clear(t.Context(), f.store, demo, false); n != 700 || err != nil {
		t.Errorf("cleared %d: %v", n, err)
	}
	if a, b := len(f.find(audit.Query{})), len(f.find(audit.Query{Admin: true})); a != 0 || b != 700 {
		t.Errorf("%d and %d left", a, b)
	}
	if n, err := audit.Clear(t.Context(), f.store, demo, true); n != 700 || err != nil {
		t.Errorf("cleared %d of administrators: %v", n, err)
	}
}

// What somebody typed is cut, and reads back as it was indexed.
func TestTypedTexts(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("é", 4000)
	for _, name := range []string{long, "\xff\xfe", "a\x00b", "", strings.Repeat("x", 254) + "é"} {
		details := map[string]string{"grant_type": name}
		f.tell(event.Event{Time: t0, Type: event.LoginError, Username: name, Client: name, Subject: name, Reason: name, Details: details})
		if details["grant_type"] != name {
			t.Error("the teller's map was changed")
		}
	}
	if n := len(f.find(audit.Query{})); n != 5 {
		t.Errorf("%d kept of 5", n)
	}
	for _, r := range f.find(audit.Query{}) {
		if len(r.Client) > 300 {
			t.Errorf("client of %d bytes", len(r.Client))
		}
		if n := len(r.Details["grant_type"]); n > 1100 {
			t.Errorf("a detail of %d bytes", n)
		}
		if r.Client == "" {
			continue
		}
		if got := f.find(audit.Query{Client: r.Client}); len(got) != 1 || got[0].ID != r.ID {
			t.Errorf("not found by its client %q", r.Client)
		}
	}
	if n, err := audit.Clear(t.Context(), f.store, demo, false); n != 5 || err != nil {
		t.Fatalf("cleared %d: %v", n, err)
	}
	if got := f.find(audit.Query{Types: []event.Type{event.LoginError}}); len(got) != 0 {
		t.Errorf("index rows are left: %v", got)
	}
}
