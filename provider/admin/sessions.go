package admin

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// A session is answered as Keycloak's UserSessionRepresentation. An offline
// session is one grant here, with an id of its own, so that each can be seen and
// ended alone.

func (c *call) showOnline(tx storage.Tx, us *session.UserSession) (object, error) {
	clients := object{}
	for _, id := range us.Clients {
		name, err := c.clientName(tx, id)
		if err != nil {
			return nil, err
		}
		if name != "" {
			clients[id] = name
		}
	}
	u, err := c.owner(tx, us.User)
	if err != nil {
		return nil, err
	}
	return object{
		"id": us.ID, "userId": us.User, "username": u.Username, "ipAddress": us.IP, "start": us.Started.UnixMilli(),
		"lastAccess": us.LastAccess.UnixMilli(), "rememberMe": us.RememberMe, "transientUser": false, "clients": clients,
		"browser": us.Browser, "grantStatus": session.CheckUser(session.PolicyOf(c.settings, &client.Client{}).ForUser(u.NotBefore), us, c.now),
	}, nil
}

func (c *call) showOffline(tx storage.Tx, cs *session.ClientSession) (object, error) {
	cl, err := orNone(client.Clients.Shared(tx, c.Realm, cs.Client))
	if err != nil {
		return nil, err
	}
	u, err := c.owner(tx, cs.User)
	if err != nil {
		return nil, err
	}
	p := session.PolicyOf(c.settings, cl).ForUser(u.NotBefore)
	out := object{
		"id": cs.ID, "userId": cs.User, "username": u.Username, "ipAddress": cs.IP, "start": cs.Created.UnixMilli(),
		"lastAccess": cs.LastUsed.UnixMilli(), "rememberMe": false, "transientUser": false, "clients": object{cs.Client: cl.ClientID},
		"browser": cs.Browser, "grantStatus": session.GrantStatus(session.Check(p, cs, nil, c.now)), "idleAt": p.OfflineIdleEnd(cs).UnixMilli(),
	}
	if end := p.OfflineMaxEnd(cs); !end.IsZero() {
		out["maxAt"] = end.UnixMilli()
	}
	return out, nil
}

// clientName is a client's client_id, "" once it is deleted.
func (c *call) clientName(tx storage.Tx, id string) (string, error) {
	cl, err := orNone(client.Clients.Shared(tx, c.Realm, id))
	if err != nil {
		return "", err
	}
	return cl.ClientID, nil
}

// owner of a session; without a name once he is deleted.
func (c *call) owner(tx storage.Tx, id string) (*user.User, error) {
	return orNone(user.Users.Shared(tx, c.Realm, id))
}

// orNone is an empty record in place of one that is deleted.
func orNone[T any](v *T, err error) (*T, error) {
	if errors.Is(err, storage.ErrNotFound) {
		return new(T), nil
	}
	return v, err
}

// pager reads a page of sessions of what the path names.
type pager[T any] func(tx storage.Tx, first, most int) ([]storage.Row[T], error)

// answerPage answers a page of sessions.
func answerPage[T any](c *call, page pager[T], show func(storage.Tx, *T) (object, error)) (any, error) {
	first, most, err := c.page()
	if err != nil {
		return nil, err
	}
	var out []object
	err = c.view(func(tx storage.Tx) error {
		out = []object{}
		rows, err := page(tx, first, most)
		if err != nil {
			return err
		}
		for _, row := range rows {
			o, err := show(tx, row.Record)
			if err != nil {
				return err
			}
			out = append(out, o)
		}
		return nil
	})
	return out, err
}

// answerCount answers a number that belongs to the client in the path.
func (c *call) answerCount(count func(storage.Tx, *client.Client) (int, error)) (any, error) {
	n := 0
	err := c.view(func(tx storage.Tx) error {
		cl, err := c.client(tx)
		if err == nil {
			n, err = count(tx, cl)
		}
		return err
	})
	return object{"count": n}, err
}

func (c *call) clientSessions() (any, error) {
	return answerPage(c, func(tx storage.Tx, first, most int) ([]storage.Row[session.UserSession], error) {
		cl, err := c.client(tx)
		if err != nil {
			return nil, err
		}
		return session.UserSessions.PageBy(tx, c.Realm, "client", cl.ID, first, most)
	}, c.showOnline)
}

func (c *call) countClientSessions() (any, error) {
	return c.answerCount(func(tx storage.Tx, cl *client.Client) (int, error) {
		return session.UserSessions.Count(tx, c.Realm, "client", cl.ID)
	})
}

func (c *call) clientOffline() (any, error) {
	return answerPage(c, func(tx storage.Tx, first, most int) ([]storage.Row[session.ClientSession], error) {
		cl, err := c.client(tx)
		if err != nil {
			return nil, err
		}
		return session.PageOffline(tx, c.Realm, cl, first, most)
	}, c.showOffline)
}

// searchClientOffline looks for offline sessions of a client, by index, and looks
// at a bounded number of them for one answer: next says where the search goes on,
// "" at its end. Keycloak has no such call.
func (c *call) searchClientOffline() (any, error) {
	var f session.Filter
	var err error
	_, most, err := c.page()
	if err != nil {
		return nil, err
	}
	if most == 0 {
		return nil, bad("max", "want a whole number from 1 to %d", mostMax)
	}
	for name, at := range map[string]*time.Time{
		"issuedFrom": &f.IssuedFrom, "issuedTo": &f.IssuedTo, "lastRefreshFrom": &f.UsedFrom, "lastRefreshTo": &f.UsedTo,
	} {
		if *at, err = c.date(name, strings.HasSuffix(name, "To")); err != nil {
			return nil, err
		}
	}
	f.Address = strings.TrimSpace(c.query.Get("ipAddress"))
	var out object
	err = c.view(func(tx storage.Tx) error {
		cl, err := c.client(tx)
		if err != nil {
			return err
		}
		if f.User, err = c.userID(tx, strings.TrimSpace(c.query.Get("user"))); err != nil {
			return err
		}
		found, err := session.SearchOffline(tx, c.Realm, cl, f, c.query.Get("after"), most)
		if errors.Is(err, storage.ErrCursor) {
			return bad("after", "want what next said of this search")
		}
		if err != nil {
			return err
		}
		list := []object{}
		for i := range found.Sessions {
			o, err := c.showOffline(tx, &found.Sessions[i])
			if err != nil {
				return err
			}
			list = append(list, o)
		}
		out = object{"sessions": list, "searched": found.Looked, "next": found.Next}
		return nil
	})
	return out, err
}

// userID is the id of a user by username, mail address, or the id itself: who is
// deleted has no other.
func (c *call) userID(tx storage.Tx, name string) (string, error) {
	for _, index := range []string{"username", "email"} {
		row, err := user.Users.GetBy(tx, c.Realm, index, strings.ToLower(name))
		if err == nil {
			return row.ID, nil
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return "", err
		}
	}
	return name, nil
}

func (c *call) countClientOffline() (any, error) {
	return c.answerCount(func(tx storage.Tx, cl *client.Client) (int, error) { return session.CountOffline(tx, c.Realm, cl) })
}

// revokeClient ends all offline sessions of a client, however many, at once.
// Keycloak has no such call.
func (c *call) revokeClient() (any, error) {
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		cl, err := c.client(tx)
		if err != nil {
			return err
		}
		events, err := standing.RevokeClient(tx, c.Realm, cl, c.now)
		tell(events...)
		return err
	})
}

func (c *call) userSessions() (any, error) {
	return answerPage(c, func(tx storage.Tx, first, most int) ([]storage.Row[session.UserSession], error) {
		u, err := c.user(tx)
		if err != nil {
			return nil, err
		}
		return session.UserSessions.PageBy(tx, c.Realm, "user", u.ID, first, most)
	}, c.showOnline)
}

func (c *call) userOffline() (any, error) {
	return answerPage(c, func(tx storage.Tx, first, most int) ([]storage.Row[session.ClientSession], error) {
		u, err := c.user(tx)
		if err != nil {
			return nil, err
		}
		cl, err := c.client(tx)
		if err != nil {
			return nil, err
		}
		return session.PageOfflineOf(tx, c.Realm, u.ID, cl, first, most)
	}, c.showOffline)
}

// userOfflineAll answers the offline sessions of a user at all clients. Keycloak
// has no such call, nor those beside it.
func (c *call) userOfflineAll() (any, error) {
	first, most, err := c.page()
	if err != nil {
		return nil, err
	}
	var out []object
	err = c.view(func(tx storage.Tx) error {
		u, err := c.user(tx)
		if err != nil {
			return err
		}
		l := lister{c: c, tx: tx, user: u.ID, skip: first, most: most, out: []object{}}
		err = l.offline()
		out = l.out
		return err
	})
	return out, err
}

// countUserOffline answers how many they are, at one client or at all.
func (c *call) countUserOffline() (any, error) {
	n := 0
	err := c.view(func(tx storage.Tx) error {
		n = 0
		u, err := c.user(tx)
		if err != nil {
			return err
		}
		clients, err := session.OfflineClients(tx, c.Realm, u.ID)
		if err != nil {
			return err
		}
		for _, cl := range clients {
			if only := c.query.Get("client"); only != "" && only != cl.ID {
				continue
			}
			of, err := session.CountOfflineOf(tx, c.Realm, u.ID, cl)
			if err != nil {
				return err
			}
			n += of
		}
		return nil
	})
	return object{"count": n}, err
}

func (c *call) countUserSessions() (any, error) {
	n := 0
	err := c.view(func(tx storage.Tx) error {
		u, err := c.user(tx)
		if err == nil {
			n, err = session.UserSessions.Count(tx, c.Realm, "user", u.ID)
		}
		return err
	})
	return object{"count": n}, err
}

// revokeUser ends all offline sessions of a user, and leaves his logins and
// consents alone.
func (c *call) revokeUser() (any, error) {
	return nil, c.all(func(tx storage.Tx, tell audit.Tell, _ bool) (bool, error) {
		u, err := c.user(tx)
		if err != nil {
			return false, err
		}
		events, more, err := standing.RevokeUser(tx, c.Realm, u, c.now)
		tell(events...)
		return more, err
	})
}

// getSession answers one session. Keycloak has no such call.
func (c *call) getSession() (any, error) {
	isOffline, _, err := c.is("isOffline")
	if err != nil {
		return nil, err
	}
	var out object
	err = c.view(func(tx storage.Tx) error {
		id := c.id("session")
		if !isOffline {
			us, err := session.UserSessions.Get(tx, c.Realm, id)
			if us, err = found(us, err, "Session not found"); err != nil {
				return err
			}
			out, err = c.showOnline(tx, us)
			return err
		}
		cs, err := session.ClientSessions.Get(tx, c.Realm, id)
		if err == nil && (!cs.Offline || cs.Status != session.Working) {
			err = storage.ErrNotFound
		}
		if cs, err = found(cs, err, "Session not found"); err != nil {
			return err
		}
		out, err = c.showOffline(tx, cs)
		return err
	})
	return out, err
}

// deleteSession ends one session: a login with what was born in it, or with
// isOffline one offline session.
func (c *call) deleteSession() (any, error) {
	offline, _, err := c.is("isOffline")
	if err != nil {
		return nil, err
	}
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		id := c.id("session")
		if offline {
			events, err := standing.EndOffline(tx, c.Realm, id, c.now)
			if err == nil && len(events) == 0 {
				return missing("Session not found")
			}
			tell(events...)
			return err
		}
		us, err := session.UserSessions.Get(tx, c.Realm, id)
		if us, err = found(us, err, "Session not found"); err != nil {
			return err
		}
		u, err := c.owner(tx, us.User)
		if err != nil {
			return err
		}
		if _, err := session.EndUser(tx, c.Realm, us.ID); err != nil {
			return err
		}
		tell(event.Event{Time: c.now, Type: event.Logout, Realm: c.Realm, Subject: us.User, Username: u.Username, Session: us.ID})
		return nil
	})
}

// clientSessionStats answers the numbers of sessions of each client that has
// any. Keycloak writes them as texts.
func (c *call) clientSessionStats() (any, error) {
	var out []object
	err := c.view(func(tx storage.Tx) error {
		out = []object{}
		return c.eachCount(tx, func(cl *client.Client, active, offline int) (bool, error) {
			if active+offline > 0 {
				out = append(out, object{"id": cl.ID, "clientId": cl.ClientID, "active": fmt.Sprint(active), "offline": fmt.Sprint(offline)})
			}
			return len(out) < mostMax, nil
		})
	})
	return out, err
}

// eachCount calls fn with every client and the numbers of its sessions.
func (c *call) eachCount(tx storage.Tx, fn func(cl *client.Client, active, offline int) (more bool, err error)) error {
	var failed error
	err := each(tx, &client.Clients, c.Realm, "name", func(cl *client.Client) bool {
		var active, offline int
		if active, failed = session.UserSessions.Count(tx, c.Realm, "client", cl.ID); failed != nil {
			return false
		}
		if offline, failed = session.CountOffline(tx, c.Realm, cl); failed != nil {
			return false
		}
		var more bool
		more, failed = fn(cl, active, offline)
		return more && failed == nil
	})
	return errors.Join(err, failed)
}

// mostCounted is how many index rows one count reads.
const mostCounted = 10000

// countSessions answers how many logins the realm has, counted up to a bound, and
// how many offline sessions. Keycloak has no such call.
func (c *call) countSessions() (any, error) {
	logins, sessions := 0, 0
	err := c.view(func(tx storage.Tx) error {
		logins, sessions = 0, 0
		entries, err := session.UserSessions.Between(tx, c.Realm, "started", storage.Entry{}, last, mostCounted+1)
		if err != nil {
			return err
		}
		logins = len(entries)
		return c.eachCount(tx, func(_ *client.Client, _, n int) (bool, error) {
			sessions += n
			return true, nil
		})
	})
	return object{"regular": min(logins, mostCounted), "moreRegular": logins > mostCounted, "offline": sessions}, err
}

// Types of the sessions that the realm's list shows.
const (
	regular = "REGULAR"
	offline = "OFFLINE"
)

// listSessions answers the sessions of the realm, or of the user whom search
// names, or from the address that it is: logins first, then offline sessions by
// client.
func (c *call) listSessions() (any, error) {
	first, most, err := c.page()
	if err != nil {
		return nil, err
	}
	kind := c.query.Get("type")
	switch kind {
	case "", "ALL", regular, offline:
	default:
		return nil, bad("type", "want ALL, REGULAR or OFFLINE")
	}
	var out []object
	err = c.view(func(tx storage.Tx) error {
		l := lister{c: c, tx: tx, skip: first, most: most, out: []object{}}
		search := strings.TrimSpace(c.query.Get("search"))
		if search != "" {
			u, err := user.ByLogin(tx, c.Realm, search)
			switch {
			case err == nil:
				l.user = u.ID
			case !errors.Is(err, storage.ErrNotFound):
				return err
			case strings.ContainsFunc(search, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF.:*", r) }):
				out = l.out
				return nil
			default:
				l.address = search
			}
		}
		if kind != offline {
			if err := l.online(); err != nil {
				return err
			}
		}
		if kind != regular {
			if err := l.offline(); err != nil {
				return err
			}
		}
		out = l.out
		return nil
	})
	return out, err
}

// lister collects a page of sessions from several indexes, one after the other,
// skipping by the counters of those that end before the page.
type lister struct {
	c          *call
	tx         storage.Tx
	user       string // "": of everybody
	address    string // "": from anywhere; at most one of the two is given
	skip, most int
	out        []object
}

func (l *lister) full() bool { return len(l.out) >= l.most }

func (l *lister) online() error {
	if l.address != "" {
		return walk(l, regular, &session.UserSessions, func(after storage.Entry, limit int) ([]storage.Entry, error) {
			return session.LoginsAt(l.tx, l.c.Realm, l.address, after, limit)
		}, l.c.showOnline)
	}
	index, value := "all", session.All
	if l.user != "" {
		index, value = "user", l.user
	}
	n, err := session.UserSessions.Count(l.tx, l.c.Realm, index, value)
	if err != nil {
		return err
	}
	return add(l, n, regular, func(tx storage.Tx, first, most int) ([]storage.Row[session.UserSession], error) {
		return session.UserSessions.PageBy(tx, l.c.Realm, index, value, first, most)
	}, l.c.showOnline)
}

// walk takes what the page still needs from an index that has no counters: it reads
// the index rows before the page, not the records.
func walk[T any](l *lister, kind string, table *storage.Table[T], next func(after storage.Entry, limit int) ([]storage.Entry, error), show func(storage.Tx, *T) (object, error)) error {
	const page = 1000
	for after := (storage.Entry{}); !l.full(); {
		entries, err := next(after, page)
		if err != nil {
			return err
		}
		for _, e := range entries {
			after = e
			if l.skip > 0 {
				l.skip--
				continue
			}
			if l.full() {
				return nil
			}
			record, err := table.Get(l.tx, l.c.Realm, e.ID)
			if err != nil {
				return err
			}
			o, err := show(l.tx, record)
			if err != nil {
				return err
			}
			o["type"] = kind
			l.out = append(l.out, o)
		}
		if len(entries) < page {
			return nil
		}
	}
	return nil
}

func (l *lister) offline() error {
	if l.address != "" {
		var failed error
		err := each(l.tx, &client.Clients, l.c.Realm, "name", func(cl *client.Client) bool {
			failed = walk(l, offline, &session.ClientSessions, func(after storage.Entry, limit int) ([]storage.Entry, error) {
				return session.OfflineAt(l.tx, l.c.Realm, cl, l.address, after, limit)
			}, l.c.showOffline)
			return failed == nil && !l.full()
		})
		return errors.Join(err, failed)
	}
	if l.user == "" {
		return l.c.eachCount(l.tx, func(cl *client.Client, _, n int) (bool, error) {
			err := add(l, n, offline, func(tx storage.Tx, first, most int) ([]storage.Row[session.ClientSession], error) {
				return session.PageOffline(tx, l.c.Realm, cl, first, most)
			}, l.c.showOffline)
			return !l.full(), err
		})
	}
	clients, err := session.OfflineClients(l.tx, l.c.Realm, l.user)
	if err != nil {
		return err
	}
	for _, cl := range clients {
		n, err := session.CountOfflineOf(l.tx, l.c.Realm, l.user, cl)
		if err != nil {
			return err
		}
		err = add(l, n, offline, func(tx storage.Tx, first, most int) ([]storage.Row[session.ClientSession], error) {
			return session.PageOfflineOf(tx, l.c.Realm, l.user, cl, first, most)
		}, l.c.showOffline)
		if err != nil {
			return err
		}
	}
	return nil
}

// add takes what the page still needs of the n sessions that a pager reads.
func add[T any](l *lister, n int, kind string, page pager[T], show func(storage.Tx, *T) (object, error)) error {
	if l.full() {
		return nil
	}
	if l.skip >= n {
		l.skip -= n
		return nil
	}
	rows, err := page(l.tx, l.skip, l.most-len(l.out))
	if err != nil {
		return err
	}
	l.skip = 0
	for _, row := range rows {
		o, err := show(l.tx, row.Record)
		if err != nil {
			return err
		}
		o["type"] = kind
		l.out = append(l.out, o)
	}
	return nil
}
