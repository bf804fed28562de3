package admin

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// configMembers is Keycloak's RealmEventsConfigRepresentation, a part of the
// realm's.
var configMembers = table[realm.Settings]{
	"eventsEnabled":             realmMembers["eventsEnabled"],
	"eventsExpiration":          realmMembers["eventsExpiration"],
	"enabledEventTypes":         realmMembers["enabledEventTypes"],
	"adminEventsEnabled":        realmMembers["adminEventsEnabled"],
	"adminEventsDetailsEnabled": realmMembers["adminEventsDetailsEnabled"],
	"eventsListeners":           realmMembers["eventsListeners"],
}

func (c *call) getEventsConfig() (any, error) { return configMembers.show(&c.settings), nil }

func (c *call) putEventsConfig() (any, error) { return c.changeRealm(configMembers) }

// events reads what all lists of events filter by.
func (c *call) events(q audit.Query) ([]audit.Record, error) {
	var err error
	if q.First, q.Max, err = c.page(); err != nil {
		return nil, err
	}
	if q.From, err = c.date("dateFrom", false); err != nil {
		return nil, err
	}
	if q.To, err = c.date("dateTo", true); err != nil {
		return nil, err
	}
	if d := c.query.Get("direction"); d != "" && d != "desc" {
		return nil, bad("direction", "events come newest first: want desc")
	}
	c.Audit.Flush(c.r.Context())
	var out []audit.Record
	err = c.view(func(tx storage.Tx) (err error) {
		out, err = audit.Find(tx, c.Realm, q)
		return err
	})
	return out, err
}

// date is a day, which counts as a whole, or Unix milliseconds.
func (c *call) date(name string, end bool) (time.Time, error) {
	v := c.query.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	if ms, err := strconv.ParseInt(v, 10, 64); err == nil && ms >= 0 && ms <= lastSecond*1000 {
		return time.UnixMilli(ms).UTC(), nil
	}
	day, err := time.Parse(time.DateOnly, v)
	if err != nil {
		return day, bad(name, "want a day such as 2026-03-01, or Unix milliseconds")
	}
	if end {
		day = day.AddDate(0, 0, 1).Add(-time.Millisecond)
	}
	return day, nil
}

// types reads a parameter that may come several times.
func (c *call) types(name string, known []event.Type) ([]event.Type, error) {
	var out []event.Type
	for _, v := range slices.Concat(c.query[name], c.query[name+"[]"]) {
		t := event.Type(v)
		if !slices.Contains(known, t) {
			return nil, bad(name, "there is no type of events %s", v)
		}
		out = append(out, t)
	}
	return out, nil
}

func (c *call) listEvents() (any, error) {
	types, err := c.types("type", event.Types())
	if err != nil {
		return nil, err
	}
	rows, err := c.events(audit.Query{
		Types: types, User: c.query.Get("user"), Client: c.query.Get("client"), IP: c.query.Get("ipAddress"),
	})
	out := make([]object, 0, len(rows))
	for _, r := range rows {
		o := object{"id": r.ID, "time": r.Time.UnixMilli(), "type": r.Type, "realmId": c.Realm}
		details := object{}
		for name, v := range r.Details {
			details[name] = v
		}
		set := func(o object, name, v string) {
			if v != "" {
				o[name] = v
			}
		}
		set(o, "clientId", r.Client)
		set(o, "userId", r.Subject)
		set(o, "sessionId", r.Session)
		set(o, "ipAddress", r.IP)
		set(details, "username", r.Username)
		set(details, "offline_session", r.OfflineSession)
		if r.Type.Error() {
			set(o, "error", r.Reason)
		} else {
			set(details, "reason", r.Reason)
		}
		o["details"] = details
		out = append(out, o)
	}
	return out, err
}

func (c *call) deleteEvents() (any, error) { return c.clearEvents(false) }

func (c *call) deleteAdminEvents() (any, error) { return c.clearEvents(true) }

// clearEvents deletes events; that somebody did is an event itself.
func (c *call) clearEvents(admin bool) (any, error) {
	c.Audit.Flush(c.r.Context())
	if _, err := audit.Clear(c.r.Context(), c.Store, c.Realm, admin); err != nil {
		return nil, err
	}
	return nil, c.change(func(storage.Tx, audit.Tell) error { return nil })
}

// operations of administrators' events, in Keycloak's names.
var operations = map[string]event.Type{
	"CREATE": event.AdminCreate, "UPDATE": event.AdminUpdate, "DELETE": event.AdminDelete, "ACTION": event.AdminAction,
}

func (c *call) listAdminEvents() (any, error) {
	q := audit.Query{Admin: true, User: c.query.Get("authUser"), Client: c.query.Get("authClient"), IP: c.query.Get("authIpAddress")}
	for _, name := range c.query["operationTypes"] {
		t, known := operations[name]
		if !known {
			return nil, bad("operationTypes", "want one of %s", strings.Join(slices.Sorted(maps.Keys(operations)), ", "))
		}
		q.Types = append(q.Types, t)
	}
	rows, err := c.events(q)
	out := make([]object, 0, len(rows))
	for _, r := range rows {
		o := object{
			"id": r.ID, "time": r.Time.UnixMilli(), "realmId": c.Realm,
			"resourceType": r.Details["resource_type"], "resourcePath": r.Details["resource_path"],
			"authDetails": object{"realmId": c.Realm, "clientId": r.Client, "userId": r.Subject, "username": r.Username, "ipAddress": r.IP},
		}
		for name, t := range operations {
			if t == r.Type {
				o["operationType"] = name
			}
		}
		out = append(out, o)
	}
	return out, err
}
