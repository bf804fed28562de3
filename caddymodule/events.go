package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
)

// hub is where the parts of a node hear of what happened: configurations come
// and go, what they keep in memory is told as long as it lives.
type hub struct {
	mu        sync.RWMutex
	listeners map[*listener]struct{}
}

// listener is one configuration.
type listener struct {
	// ended is told that sessions at a provider are over: of one user session
	// (sid), or of everything of a person (sub).
	ended func(ctx context.Context, provider, sub, sid string)
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

func (h *hub) ended(ctx context.Context, provider, sub, sid string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for l := range h.listeners {
		l.ended(ctx, provider, sub, sid)
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
		if err := s.lease.vault.DropCached(ctx, s.realm, drop.sub, drop.offlineSession, drop.reason); err != nil {
			s.app.log.Error("dropping cached tokens", "realm", s.realm, "error", err)
		}
	}
	switch {
	case e.Type == event.Logout && e.Session+e.Subject != "":
		s.lease.hub.ended(ctx, s.realm, e.Subject, e.Session)
	case e.Type == event.UserChanged && e.Subject != "":
		s.lease.hub.ended(ctx, s.realm, e.Subject, "")
	case e.OfflineSession != "" && (e.Type == event.OfflineSessionEnd || e.Type == event.RefreshTokenReplay):
		s.lease.hub.ended(ctx, s.realm, "", e.OfflineSession)
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

// drop says which cached tokens an event makes stale.
type drop struct{ sub, offlineSession, reason string }

// dropOf decides it. The realm's own answer to the next refresh has the last
// word, so a drop too many costs a refresh and nothing else.
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
		return drop{sub: e.Subject, reason: e.Reason}, e.Subject != ""
	}
	return drop{}, false
}
