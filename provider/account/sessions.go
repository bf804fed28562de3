package account

import (
	"errors"
	"slices"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/storage"
)

// logins reads where a person is logged in: this browser, then the others, the
// last used first. more tells that there are others still.
func (h *Handler) logins(tx storage.Tx, v *visit) (out []Login, more bool, err error) {
	rows, err := session.UserSessions.ListBy(tx, h.Realm, "user", v.user.ID, "", most+1)
	if err != nil {
		return nil, false, err
	}
	policy := session.PolicyOf(v.settings, &client.Client{}).ForUser(v.user.NotBefore)
	live := make([]*session.UserSession, 0, len(rows))
	for _, row := range rows {
		if session.CheckUser(policy, row.Record, v.now) == session.Working {
			live = append(live, row.Record)
		}
	}
	slices.SortStableFunc(live, func(a, b *session.UserSession) int {
		switch v.session.ID {
		case a.ID:
			return -1
		case b.ID:
			return 1
		}
		return b.LastAccess.Compare(a.LastAccess)
	})
	for _, us := range live {
		l, err := h.login(tx, v, us)
		if err != nil {
			return nil, false, err
		}
		out = append(out, l)
	}
	return out, len(rows) > most, nil
}

// login describes one.
func (h *Handler) login(tx storage.Tx, v *visit, us *session.UserSession) (Login, error) {
	l := Login{
		Here: us.ID == v.session.ID, Browser: v.words.Browser(us.Browser), Address: us.IP,
		Started: v.moment(us.Started), LastAccess: v.moment(us.LastAccess),
		SignOut: v.at("/sign-out", "session", us.ID),
	}
	for _, id := range us.Clients {
		c, err := client.Clients.Shared(tx, h.Realm, id)
		if err = ignoreNotFound(err); err != nil {
			return l, err
		}
		if c != nil {
			l.Applications = append(l.Applications, clientName(c))
		}
	}
	return l, nil
}

func (h *Handler) sessions(v *visit) error {
	view := Sessions{Notice: v.notice(), Everywhere: v.at("/sign-out")}
	err := h.Store.View(v.r.Context(), func(tx storage.Tx) (err error) {
		view.Logins, view.More, err = h.logins(tx, v)
		return err
	})
	if err == nil {
		h.Pages.sessions(v, view)
	}
	return err
}

// named reads the login that the parameters name, nil for all; errGone if it is
// not this person's, or has ended.
func (h *Handler) named(tx storage.Tx, v *visit) (*session.UserSession, error) {
	id := v.params.Get("session")
	if id == "" {
		return nil, nil
	}
	us, err := session.UserSessions.Get(tx, h.Realm, id)
	if err = ignoreNotFound(err); err != nil {
		return nil, err
	}
	if us == nil || us.User != v.user.ID {
		return nil, errGone
	}
	return us, nil
}

// bornIn lists the grants that were given in a login, nil: in any.
func (h *Handler) bornIn(tx storage.Tx, v *visit, us *session.UserSession) (ids, applications []string, err error) {
	clients, err := session.OfflineClients(tx, h.Realm, v.user.ID)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range clients {
		held, err := h.holder(tx, v, c)
		if err != nil {
			return nil, nil, err
		}
		before := len(ids)
		for _, cs := range held.live {
			if us == nil || cs.UserSession == us.ID {
				ids = append(ids, cs.ID)
			}
		}
		if len(ids) > before {
			applications = append(applications, clientName(c))
		}
	}
	return ids, applications, nil
}

// askSignOut says what a sign-out ends.
func (h *Handler) askSignOut(v *visit) error {
	view := SignOut{Form: h.form(v, "/sign-out"), Back: v.at("/sessions")}
	err := h.Store.View(v.r.Context(), func(tx storage.Tx) error {
		us, err := h.named(tx, v)
		if err != nil {
			return err
		}
		if us != nil {
			l, err := h.login(tx, v, us)
			if err != nil {
				return err
			}
			view.Login, view.Form.Fields = &l, []Field{{"session", us.ID}}
		}
		ids, applications, err := h.bornIn(tx, v, us)
		view.Grants, view.Applications = len(ids), applications
		return err
	})
	if err == nil {
		h.Pages.signOut(v, view)
	}
	return err
}

// signOut ends one login or all, and what background access was given there if
// that is ticked. Who signs out this very browser sees the realm's word that
// nobody is logged in.
func (h *Handler) signOut(v *visit) error {
	id, offline := v.params.Get("session"), v.params.Get("offline") != ""
	err := h.change(v, func(tx storage.Tx, _ bool) (events []event.Event, more bool, err error) {
		us, err := h.named(tx, v)
		switch {
		case err != nil:
			return nil, false, err
		case us == nil && offline:
			return standing.SignOut(tx, h.Realm, v.user, "", v.now)
		case us == nil:
			return standing.EndLogins(tx, h.Realm, v.user, "", v.now)
		case offline:
			ids, _, err := h.bornIn(tx, v, us)
			if err != nil {
				return nil, false, err
			}
			for _, id := range ids[:min(len(ids), session.EndBatch)] {
				ended, err := standing.EndOffline(tx, h.Realm, id, v.now)
				if err != nil {
					return nil, false, err
				}
				events = append(events, ended...)
			}
			if len(ids) > session.EndBatch {
				return events, true, nil // the login goes last
			}
		}
		ended, err := standing.EndLogin(tx, h.Realm, v.user, us.ID, v.now)
		return append(events, ended...), false, err
	})
	switch {
	case errors.Is(err, errGone):
		v.done("/sessions", "signed-out")
	case err != nil:
		return err
	case id == "" || id == v.session.ID:
		h.Browser.ClearLogin(v.w)
		v.leave()
	default:
		v.done("/sessions", "signed-out")
	}
	return nil
}
