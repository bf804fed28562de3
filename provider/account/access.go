package account

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/storage"
)

// most grants that a page reads of one application; the realm's limit of
// offline sessions is no higher by default.
const most = 100

// holder is an application with the grants that it has from a person.
type holder struct {
	client *client.Client
	st     *standing.Standing
	live   []session.ClientSession // the last used first
	uses   map[string]map[string]time.Time
}

// holders reads the applications that may act for a person, ordered by name.
func (h *Handler) holders(v *visit) ([]holder, error) {
	var out []holder
	err := h.Store.View(v.r.Context(), func(tx storage.Tx) error {
		out = nil
		clients, err := session.OfflineClients(tx, h.Realm, v.user.ID)
		if err != nil {
			return err
		}
		for _, c := range clients {
			held, err := h.holder(tx, v, c)
			if err != nil {
				return err
			}
			if len(held.live) > 0 {
				out = append(out, held)
			}
		}
		return nil
	})
	slices.SortFunc(out, func(a, b holder) int { return compareNames(a.client, b.client) })
	for i := range out {
		h.ask(v, &out[i])
	}
	return out, err
}

// holder reads what one application has. Grants that have ended for good are no
// part of it, though the sweeper may not have met them yet.
func (h *Handler) holder(tx storage.Tx, v *visit, c *client.Client) (holder, error) {
	st, err := standing.Of(tx, h.Realm, c, v.user)
	if err != nil {
		return holder{}, err
	}
	rows, err := session.ListOfflineOf(tx, h.Realm, v.user.ID, c, "", most)
	if err != nil {
		return holder{}, err
	}
	held := holder{client: c, st: st}
	for _, row := range rows {
		if session.Check(st.Policy(), row.Record, nil, v.now) == session.Working {
			held.live = append(held.live, *row.Record)
		}
	}
	slices.SortStableFunc(held.live, func(a, b session.ClientSession) int { return b.LastUsed.Compare(a.LastUsed) })
	return held, nil
}

// ask finds out which jobs used the grants. Nothing hangs on it: without an
// answer the page says less.
func (h *Handler) ask(v *visit, held *holder) {
	if h.Uses == nil {
		return
	}
	held.uses = map[string]map[string]time.Time{}
	for _, cs := range held.live {
		uses, err := h.Uses(v.r.Context(), cs.ID)
		if err != nil {
			h.Log.WarnContext(v.r.Context(), "finding what jobs used", "err", err)
			return
		}
		held.uses[cs.ID] = uses
	}
}

// paused tells why grants do not work at present, "" if they do.
func (held holder) paused(now time.Time) page.Text {
	st := *held.st
	st.Session = &held.live[0]
	refusal, refused := standing.Refusal(st.Judge(st.Session.Created, now))
	switch {
	case !refused:
		return ""
	case refusal.GrantStatus == session.RoleMissing:
		return pausedRole
	}
	return pausedClient
}

// jobs that may use one grant or more, or have done so, by name, with the last
// time of each. Those that were consented to can be removed one by one.
func (held holder) jobs(v *visit, grants ...session.ClientSession) []Job {
	last, allowed := map[string]time.Time{}, map[string]oidc.OfflineJob{}
	for _, cs := range grants {
		for _, job := range consent.NeededJobs(cs.AuthorizationDetails, nil) {
			allowed[job.Job] = job
			if _, used := last[job.Job]; !used {
				last[job.Job] = time.Time{} // it may, and has not yet
			}
		}
		for name, at := range held.uses[cs.ID] {
			last[name] = latest(last[name], at)
		}
	}
	var out []Job
	for _, name := range slices.Sorted(maps.Keys(last)) {
		job := Job{Name: name, Used: !last[name].IsZero(), LastUsed: v.moment(last[name])}
		if consented, ok := allowed[name]; ok {
			job.Sees = scopeNames(v.words, held.st.Scopes, consented.Scopes())
			job.Remove = v.at("/remove", "application", held.client.ID, "job", name)
		}
		out = append(out, job)
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// grant describes one grant. A job that got a token which the login brought along
// has used it too.
func (held holder) grant(v *visit, cs session.ClientSession) Grant {
	policy := held.st.Policy()
	g := Grant{
		Granted: v.moment(cs.Created), Browser: v.words.Browser(cs.Browser), Address: cs.IP,
		Scopes: scopeNames(v.words, held.st.Scopes, cs.Scopes), Used: cs.LastUsed.After(cs.Created) || len(held.uses[cs.ID]) > 0,
		Unused: v.words.Span(policy.OfflineIdle), Jobs: held.jobs(v, cs),
		Remove: v.at("/remove", "grant", cs.ID),
	}
	last := cs.LastUsed
	for _, at := range held.uses[cs.ID] {
		last = latest(last, at)
	}
	g.LastUsed = v.moment(last)
	if end := policy.OfflineMaxEnd(&cs); !end.IsZero() {
		at := v.moment(end)
		g.Ends = &at
	}
	return g
}

// access shows the first page.
func (h *Handler) access(v *visit) error {
	held, err := h.holders(v)
	if err != nil {
		return err
	}
	view := Access{Notice: v.notice()}
	for _, one := range held {
		a := Application{
			Name: clientName(one.client), Description: one.client.Description, URL: link(one.client.BaseURL),
			Paused: v.words.T(one.paused(v.now)), Remove: v.at("/remove", "application", one.client.ID),
		}
		for _, cs := range one.live {
			a.Grants = append(a.Grants, one.grant(v, cs))
		}
		view.Applications = append(view.Applications, a)
	}
	h.Pages.access(v, view)
	return nil
}

// removal is what a person is about to take back: one grant, or (nil) all that
// an application was allowed.
type removal struct {
	holder
	grant *session.ClientSession
	job   string // alone; "": the access as a whole
	// whole: nothing is left to the application afterwards, so that its consent
	// goes too: it would make the next grant unseen.
	whole bool
}

// removal finds what the parameters name; errGone if it is not this person's, or
// has ended.
func (h *Handler) removal(tx storage.Tx, v *visit) (removal, error) {
	id, application := v.params.Get("grant"), v.params.Get("application")
	var r removal
	if id != "" {
		cs, err := session.ClientSessions.Get(tx, h.Realm, id)
		if errors.Is(err, storage.ErrNotFound) || err == nil && (!cs.Offline || cs.User != v.user.ID || cs.Status != session.Working) {
			return r, errGone
		}
		if err != nil {
			return r, err
		}
		r.grant, application = cs, cs.Client
	}
	c, err := client.Clients.Get(tx, h.Realm, application)
	if errors.Is(err, storage.ErrNotFound) {
		return r, errGone
	}
	if err != nil {
		return r, err
	}
	if r.holder, err = h.holder(tx, v, c); err != nil {
		return r, err
	}
	if r.job = v.params.Get("job"); r.job != "" {
		if !slices.ContainsFunc(r.jobs(v, r.live...), func(j Job) bool { return j.Name == r.job && j.Remove != "" }) {
			return r, errGone
		}
		return r, nil
	}
	r.whole = r.grant == nil || !slices.ContainsFunc(r.live, func(cs session.ClientSession) bool { return cs.ID != r.grant.ID })
	return r, nil
}

// askRemove says what a removal ends.
func (h *Handler) askRemove(v *visit) error {
	var r removal
	var consented bool
	err := h.Store.View(v.r.Context(), func(tx storage.Tx) (err error) {
		if r, err = h.removal(tx, v); err != nil {
			return err
		}
		consented, err = h.consented(tx, v, r.client)
		return err
	})
	if err == nil && r.grant == nil && len(r.live) == 0 && !consented {
		err = errGone
	}
	if err != nil {
		return err
	}
	h.ask(v, &r.holder)
	view := Remove{
		Form: h.form(v, "/remove"), Back: v.at(v.origin()), Application: clientName(r.client),
		Grants: len(r.live), Whole: r.whole, Within: v.words.Span(r.st.Policy().AccessLifespan),
	}
	ending := r.live
	if r.grant != nil {
		ending = []session.ClientSession{*r.grant}
		g := r.holder.grant(v, *r.grant)
		view.Grant, view.Form.Fields = &g, []Field{{"grant", r.grant.ID}}
	} else {
		view.Form.Fields = []Field{{"application", r.client.ID}}
	}
	if r.job != "" {
		view.Job = r.job
		view.Form.Fields = append(view.Form.Fields, Field{"job", r.job})
	}
	if from := v.params.Get("from"); from == fromApplications {
		view.Form.Fields = append(view.Form.Fields, Field{"from", from})
	}
	view.Jobs = r.jobs(v, ending...)
	h.Pages.remove(v, v.origin(), view)
	return nil
}

// remove ends it. What has ended meanwhile is fine.
func (h *Handler) remove(v *visit) error {
	err := h.change(v, func(tx storage.Tx, _ bool) ([]event.Event, bool, error) {
		r, err := h.removal(tx, v)
		if err != nil {
			return nil, false, err
		}
		if r.job != "" {
			events, err := standing.WithdrawJob(tx, h.Realm, v.user, r.client, r.job, v.now)
			return events, false, err
		}
		if r.whole {
			return standing.Withdraw(tx, h.Realm, v.user, r.client.ID, v.now)
		}
		events, err := standing.EndOffline(tx, h.Realm, r.grant.ID, v.now)
		return events, false, err
	})
	switch {
	case errors.Is(err, errGone):
		v.done(v.origin(), "gone")
	case err != nil:
		return err
	default:
		v.done(v.origin(), "removed")
	}
	return nil
}

// errGone: there is nothing of this person's under that id (any more).
var errGone = oidc.Errorf(oidc.CodeInvalidRequest, "there is no such access; it may have ended already").WithStatus(http.StatusNotFound)
