package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// events by an id that sorts the newest first; see stamp.
var events = storage.Table[event.Event]{
	Name: "event",
	Indexes: map[string]storage.Index[event.Event]{
		"user":   {Values: some(func(e *event.Event) string { return e.Subject })},
		"client": {Values: some(func(e *event.Event) string { return e.Client })},
		"type":   {Values: some(func(e *event.Event) string { return string(e.Type) })},
	},
}

// Indexed is the table of events, for Store.Index.
func Indexed() storage.Indexed { return &events }

func some(value func(*event.Event) string) func(*event.Event) []string {
	return func(e *event.Event) []string {
		if v := value(e); v != "" {
			return []string{v}
		}
		return nil
	}
}

// maxText bounds what somebody typed, so that no request makes an index key too
// long.
const maxText = 255

// maxDetail bounds each of the details, which hold what somebody typed too: a
// grant type, a list of scopes.
const maxDetail = 1 << 10

// clip cuts an event's texts, and makes them read back as they were indexed.
func clip(e event.Event) event.Event {
	for _, text := range []*string{&e.Client, &e.Subject, &e.Username, &e.Session, &e.OfflineSession, &e.IP, &e.Reason} {
		*text = cut(*text, maxText)
	}
	e.Details = maps.Clone(e.Details) // other sinks have the same map
	for name, value := range e.Details {
		e.Details[name] = cut(value, maxDetail)
	}
	return e
}

func cut(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "\uFFFD")
}

// keeps tells whether the realm keeps a type of event.
func keeps(s realm.Settings, t event.Type) bool {
	switch s = s.Resolve(); {
	case t.Admin():
		return *s.AdminEventsEnabled
	case !*s.EventsEnabled:
		return false
	}
	return len(s.EnabledEventTypes) == 0 || slices.Contains(s.EnabledEventTypes, string(t))
}

// write keeps the events of one stamp, oldest first.
func write(tx storage.Tx, realmName string, at stamp, told []event.Event) error {
	if len(told) == 0 {
		return nil
	}
	s, err := realm.Get(tx, realmName)
	if err != nil {
		return fmt.Errorf("writing events: %w", err)
	}
	for i, e := range told {
		if !keeps(s, e.Type) {
			continue
		}
		e = clip(e)
		if err := events.Add(tx, realmName, at.id(e.Time, i), &e); err != nil {
			return fmt.Errorf("writing event: %w", err)
		}
	}
	return nil
}

// stamp tells the events of one millisecond apart, in the order in which they
// came: a number that counts up in this process, and the process's random name.
// It is drawn before a transaction, so that one which runs again writes the same
// ids again.
type stamp struct {
	number uint32
	node   string
}

// maxMilli is later than any event; ids count down from it.
const maxMilli = 1<<48 - 1

// id of the i-th event of the stamp: what is newer sorts first.
func (s stamp) id(t time.Time, i int) string {
	return fmt.Sprintf("%s%08x%s%04x", moment(t), ^s.number, s.node, 0xffff-min(i, 0xffff))
}

// moment begins the ids of all events of a millisecond.
func moment(t time.Time) string {
	return fmt.Sprintf("%012x", maxMilli-min(max(t.UnixMilli(), 0), maxMilli))
}
