package caddymodule

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
)

// hub is where the parts of a node hear of what happened: configurations come
// and go, what they keep in memory is told as long as it lives.
type hub struct {
	mu        sync.RWMutex
	listeners map[*listener]struct{}
}

// listener is one configuration.
type listener struct {
	// ended is told that something at a provider is over.
	ended func(ctx context.Context, provider string, o over)
	// emit takes events of the vault. Only the newest configuration gets them.
	emit   func(name string, data map[string]any)
	joined time.Time
}

func (h *hub) join(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = map[*listener]struct{}{}
	}
	l.joined = time.Now()
	h.listeners[l] = struct{}{}
}

func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
}

func (h *hub) ended(ctx context.Context, provider string, o over) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for l := range h.listeners {
		l.ended(ctx, provider, o)
	}
}

// emit passes an event of the vault on to the newest configuration.
func (h *hub) emit(name string, data map[string]any) {
	h.mu.RLock()
	var newest *listener
	for l := range h.listeners {
		if newest == nil || l.joined.After(newest.joined) {
			newest = l
		}
	}
	h.mu.RUnlock()
	if newest != nil {
		newest.emit(name, data)
	}
}

// sink takes the events of one realm: it drops at once what they make stale in
// this process, then passes them to Caddy's log and event listeners.
type sink struct {
	app   *App
	lease *lease
	realm string
}

// dropWithin bounds the write that makes cached tokens stale; the request whose
// event it is waits for it.
const dropWithin = 5 * time.Second

// Emit implements event.Sink. Endpoints call it after their commit.
func (s *sink) Emit(ctx context.Context, e event.Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWithin)
	defer cancel()
	if drop, ok := dropOf(e); ok {
		var err error
		if drop.sub+drop.offlineSession != "" {
			err = s.lease.vault.DropCached(ctx, s.realm, drop.sub, drop.offlineSession, drop.reason)
		} else {
			err = s.lease.vault.DropClient(ctx, s.realm, drop.client, drop.reason)
		}
		if err != nil {
			s.app.log.Error("dropping cached tokens", "realm", s.realm, "error", err)
		}
	}
	if job := e.Details["removed_job"]; job != "" && e.Type == event.UpdateConsent {
		if err := s.lease.vault.JobRemoved(ctx, s.realm, e.Client, e.Subject, job); err != nil {
			s.app.log.Error("removing job", "realm", s.realm, "error", err)
		}
	}
	if o, ok := overOf(e); ok {
		s.lease.hub.ended(ctx, s.realm, o)
	}
	data := map[string]any{"realm": e.Realm, "time": e.Time}
	for name, value := range map[string]string{
		"client": e.Client, "sub": e.Subject, "user": e.Username, "session": e.Session,
		"offline_session": e.OfflineSession, "ip": e.IP, "reason": e.Reason,
	} {
		if value != "" {
			data[name] = value
		}
	}
	for name, value := range e.Details {
		data[name] = value
	}
	s.app.emit(string(e.Type), data)
}

// over says what an event ends of the sites' sessions and of tokens that they have
// seen: one token by its jti, else what hangs on one session at the realm (sid: a
// login's, or one client's), else all of a person (sub),
// else all of a client, or its background access alone; all empty: everything.
type over struct {
	token, sid, sub, client string
	offline                 bool
}

// overOf decides it. What is merely changed is seen at the next recheck.
func overOf(e event.Event) (over, bool) {
	switch e.Type {
	case event.Logout:
		if e.OfflineSession != "" {
			return over{sid: e.OfflineSession}, true // the login that it was born in goes on
		}
		return over{sub: e.Subject, sid: e.Session}, e.Session+e.Subject != ""
	case event.RevokeGrant:
		if id := e.Details[event.ClientSession]; id != "" {
			return over{sid: id}, true
		}
		return over{token: e.Details["token_id"]}, e.Details["token_type"] == "Bearer" && e.Details["token_id"] != ""
	case event.UserChanged:
		switch e.Reason {
		case standing.RolesGiven, standing.UserEnabled:
			return over{}, false
		}
		return over{sub: e.Subject}, e.Subject != ""
	case event.OfflineSessionEnd, event.RefreshTokenReplay:
		sid := cmp.Or(e.OfflineSession, e.Details[event.ClientSession])
		return over{sid: sid}, sid != ""
	case event.ClientChanged:
		switch e.Reason {
		case standing.ClientDisabled, standing.ClientDeleted, session.IssuedBefore:
			return over{client: e.Client}, e.Client != ""
		case session.Revoked:
			return over{client: e.Client, offline: true}, e.Client != ""
		}
	case event.RealmChanged:
		return over{}, e.Reason == session.IssuedBefore
	}
	return over{}, false
}

// drop says which cached tokens an event makes stale: of an offline session, else
// of a person, else of a client, else all of the realm.
type drop struct{ offlineSession, sub, client, reason string }

// dropOf decides it. The realm's own answer to the next refresh has the last
// word, so a drop too many costs a refresh and nothing else. It passes no reason on
// but one that ends something: people and jobs are told of it.
func dropOf(e event.Event) (drop, bool) {
	switch e.Type {
	case event.OfflineSessionEnd, event.RefreshTokenReplay:
		if e.OfflineSession == "" {
			return drop{}, false
		}
		reason := e.Reason
		if reason == "" {
			reason = "revoked"
		}
		return drop{offlineSession: e.OfflineSession, reason: reason}, true
	case event.RevokeGrant:
		if e.OfflineSession != "" {
			return drop{offlineSession: e.OfflineSession, reason: e.Reason}, true
		}
		return drop{sub: e.Subject, reason: e.Reason}, e.Subject != ""
	case event.UserChanged:
		return drop{sub: e.Subject, reason: ending(e.Reason)}, e.Subject != ""
	case event.ClientChanged:
		return drop{client: e.Client, reason: ending(e.Reason)}, e.Client != ""
	case event.RealmChanged:
		return drop{reason: ending(e.Reason)}, true
	}
	return drop{}, false
}

// ending is a reason for which grants do not work any more, "" for others: a
// change may have taken something, or given.
func ending(reason string) string {
	switch reason {
	case session.Revoked, session.IssuedBefore, session.UserDisabled, session.UserDeleted:
		return reason
	}
	return ""
}
