package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/nightlatch/nightlatch/storage"
)

// Telling people. News that somebody should hear of is kept in the grant's own
// record, written with the change that it tells of, until every teller (a
// webhook, a mail) has taken it: a crash loses none, and the repetition after one
// has the same id. News that is out of date by then is not told.

// Teller passes a notice on. It is called again, with the same notice, after an
// error. ctx has a deadline.
type Teller struct {
	// Name tells tellers apart across restarts.
	Name string
	Tell func(context.Context, News) error
}

// News is a notice as people are told of it.
type News struct {
	// ID is the same whenever the notice is told again.
	ID string
	Notice
	Grant        Grant
	ReconsentURI string
}

const (
	// maxNotices of a grant wait; the oldest go.
	maxNotices = 8
	// tellPatience is how long a suspension must have lasted before people hear of
	// it: somebody may be disabled and enabled again.
	tellPatience = 5 * time.Minute
	// tellFirst and tellLast bound the pauses after a failure, tellFor how long a
	// notice is tried at all.
	tellFirst, tellLast, tellFor = time.Minute, 6 * time.Hour, 3 * 24 * time.Hour
	// tellTimeout bounds one attempt, in real time; tellRate is how many a second.
	tellTimeout, tellRate = 30 * time.Second, 10
)

// notable are the kinds that people are told of.
var notable = []string{EventLapsing, EventSuspended, EventLapsed, EventRevoked, EventReplayed, EventEnded}

// outbox of a grant.
type outbox struct {
	Notices []pending `json:"notices,omitempty"`
	Tries   int       `json:"tries,omitempty"` // that failed, of the first notice
	At      time.Time `json:"at,omitzero"`     // when the first one is told; zero: nothing waits
}

type pending struct {
	Notice
	Told []string `json:"told,omitempty"` // names of tellers
}

// post puts the news of a change into the outbox. A suspension that is over, one
// way or the other, keeps what comes after it waiting no longer.
func (r *record) post() {
	if r.State != Suspended {
		n := len(r.Outbox.Notices)
		r.Outbox.Notices = slices.DeleteFunc(r.Outbox.Notices, func(p pending) bool { return p.Kind == EventSuspended })
		if len(r.Outbox.Notices) < n {
			r.Outbox.Tries = 0
		}
	}
	for _, n := range r.news {
		if slices.Contains(notable, n.Kind) {
			r.Outbox.Notices = append(r.Outbox.Notices, pending{Notice: n})
		}
	}
	r.Outbox.Notices = r.Outbox.Notices[max(0, len(r.Outbox.Notices)-maxNotices):]
	r.Outbox.plan()
}

// plan sets when the first notice is told.
func (o *outbox) plan() {
	if len(o.Notices) == 0 {
		*o = outbox{}
		return
	}
	if o.Tries > 0 {
		return
	}
	o.At = o.Notices[0].At
	if o.Notices[0].Kind == EventSuspended {
		o.At = o.At.Add(tellPatience)
	}
}

// outdated tells that a notice is not so any more.
func (r *record) outdated(n Notice, p policy, now time.Time) bool {
	switch n.Kind {
	case EventSuspended:
		return r.State != Suspended
	case EventLapsing:
		l, ok := r.lapse(p, now)
		return r.State != Active || !ok || l.reason != n.Reason || (warned{n.LapseAt, 1}).times(l) == 0
	}
	return false
}

// took notes what became of the first notice: told by these tellers, by all of
// them perhaps.
func (o *outbox) took(told []string, all bool, now time.Time) {
	if len(o.Notices) == 0 {
		return
	}
	first := &o.Notices[0]
	first.Told = told
	if all || now.Sub(first.At) >= tellFor {
		o.Notices, o.Tries = o.Notices[1:], 0
	} else {
		o.At = now.Add(min(tellFirst<<min(o.Tries, 10), tellLast))
		o.Tries++
	}
	o.plan()
}

// id of a notice of a grant.
func (n Notice) id(grant string) string {
	return "n_" + hash(grant, n.Kind, n.At.UTC().Format(time.RFC3339Nano))[:22]
}

// NotifyBy sets who tells people; nobody at first, and then nothing waits to be
// told.
func (v *Vault) NotifyBy(tellers ...Teller) { v.tellers.Store(&tellers) }

func (v *Vault) tells() []Teller {
	if t := v.tellers.Load(); t != nil {
		return *t
	}
	return nil
}

// deliver tells what is due, the oldest first. A failure of one grant's notice
// does not keep others waiting, but for its own time.
func (v *Vault) deliver(ctx context.Context) error {
	if len(v.tells()) == 0 {
		return nil
	}
	limit := rate.NewLimiter(tellRate, 1)
	now := v.c.Now()
	var after storage.Entry
	for {
		var due []storage.Entry
		err := v.c.Store.View(ctx, func(tx storage.Tx) (err error) {
			due, err = v.grants.Between(tx, scope, byNotice, after, instant(now), attendPage)
			return err
		})
		if err != nil {
			return fmt.Errorf("reading what is to be told: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		after = due[len(due)-1]
		for _, e := range due {
			if err := limit.Wait(ctx); err != nil {
				return err
			}
			if err := v.tellOne(ctx, e.ID); err != nil {
				return err
			}
		}
		if !v.mine(ctx) {
			return nil
		}
	}
}

// tellOne tells the first notice of a grant.
func (v *Vault) tellOne(ctx context.Context, id string) error {
	r, err := v.read(ctx, id)
	if errors.Is(err, ErrNoGrant) {
		return nil
	}
	if err != nil {
		return err
	}
	now := v.c.Now()
	if len(r.Outbox.Notices) == 0 || r.Outbox.At.After(now) {
		return nil
	}
	first := r.Outbox.Notices[0]
	told, all := first.Told, true
	if !r.outdated(first.Notice, v.policy(&r.Grant), now) {
		news := News{ID: first.id(r.ID), Notice: first.Notice, Grant: r.Grant, ReconsentURI: v.consentURI(&r.Grant)}
		for _, t := range v.tells() {
			if slices.Contains(told, t.Name) {
				continue
			}
			one, cancel := context.WithTimeout(ctx, tellTimeout)
			err := t.Tell(one, news)
			cancel()
			if err != nil {
				all = false
				v.c.Logger.Warn("telling of grant", "by", t.Name, "grant_id", r.ID, "kind", first.Kind, "error", err)
				continue
			}
			told = append(told, t.Name)
		}
	}
	_, err = v.change(ctx, id, func(r *record) error {
		if len(r.Outbox.Notices) == 0 || r.Outbox.Notices[0].id(r.ID) != first.id(id) {
			return errServed // the outbox has overflown meanwhile
		}
		r.Outbox.took(told, all, now)
		return nil
	})
	if errors.Is(err, errServed) || errors.Is(err, ErrNoGrant) {
		return nil
	}
	return err
}
