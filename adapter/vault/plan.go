package vault

import "time"

// What the background does about a grant, and when. All of it are functions of
// (policy, record, now); attend.go carries it out.

const (
	// keepAliveAt is the part of the idle limit after which a grant is refreshed
	// that nobody uses, give or take keepAliveJitter.
	keepAliveAt, keepAliveJitter = 0.4, 0.1
	// grain is the part of the idle limit to which that is exact: a busy grant
	// does not move its place in the index with each refresh.
	grain = 256
	// probeSoon is when a grant is probed that an event suspended; probeFirst and
	// probeLast bound the pauses after a refusal, missFirst and missLast those
	// after a failure that was not the grant's.
	probeSoon             = time.Minute
	probeFirst, probeLast = time.Hour, 24 * time.Hour
	missFirst, missLast   = 5 * time.Minute, 6 * time.Hour
	// pauseJitter is the part by which these pauses differ from grant to grant.
	pauseJitter = 0.2
)

// policy is what the configuration of now says about keeping grants.
type policy struct {
	// idle is how long a provider lets a token rest that does not tell.
	idle time.Duration
	// limit is how long a realm of this process lets a token rest as of now; 0: what
	// it told with the last answer holds. A longer one is heard with the next answer.
	limit time.Duration
	// max is how long after the login the provider ends a grant: by the settings of
	// now of a realm of this process, or of one that does not tell. 0: not known.
	max time.Duration
	// stopAfter: what nobody used for so long is not kept any more. 0: always kept.
	stopAfter time.Duration
}

// chore is what the background does to a grant.
type chore int

const (
	wait   chore = iota // nothing yet
	renew               // refresh it: to keep it alive, or to see whether a suspension is over
	note                // tell people of a lapse that is near
	giveUp              // it was not kept alive, and has lapsed
)

// chore decides what is due.
func (r *record) chore(p policy, now time.Time) chore {
	due := r.due(p, now)
	switch {
	case due.IsZero(), now.Before(due):
		return wait
	case r.State == Suspended:
		return renew
	case !r.abandoned(p, now) && !now.Before(r.renewAt(p)):
		return renew
	case r.abandoned(p, now) && !now.Before(r.RefreshedAt.Add(r.rest(p))):
		return giveUp
	}
	return note
}

// due is when the background should look at the grant next; zero: never.
func (r *record) due(p policy, now time.Time) time.Time {
	switch r.State {
	case Active:
		at := r.renewAt(p)
		switch {
		case r.abandoned(p, now):
			at = r.RefreshedAt.Add(r.rest(p))
		case p.stopAfter > 0:
			at = earlier(at, r.lastUse().Add(p.stopAfter))
		}
		if l, ok := r.lapse(p, now); ok {
			at = earlier(at, r.nextWarning(l))
		}
		return at
	case Suspended:
		return r.probeAt()
	}
	return time.Time{}
}

// rest is how long the provider lets the grant rest.
func (r *record) rest(p policy) time.Duration {
	idle := r.IdleLimit
	if idle <= 0 {
		idle = p.idle
	}
	if p.limit > 0 {
		idle = min(idle, p.limit)
	}
	// What another provider tells as the end may be one that each refresh moves.
	if !r.Local && !r.MaxFixed && r.MaxAt.After(r.RefreshedAt) {
		idle = min(idle, r.MaxAt.Sub(r.RefreshedAt))
	}
	return idle
}

// renewAt is when an active grant is refreshed that nobody uses, or whose standing
// is in doubt.
func (r *record) renewAt(p policy) time.Time {
	switch {
	case r.Misses > 0:
		return r.RetryAt
	case !r.DoubtedAt.IsZero():
		return r.DoubtedAt
	}
	idle := r.rest(p)
	part := keepAliveAt + keepAliveJitter*r.jitter()
	return r.RefreshedAt.Truncate(idle / grain).Add(time.Duration(part * float64(idle)))
}

// probeAt is when a suspended grant is tried again; zero: only when a job asks.
func (r *record) probeAt() time.Time {
	var at time.Time
	switch {
	case r.Lapsed:
		return at
	case !r.DoubtedAt.IsZero():
		at = r.DoubtedAt
	case r.ProbedAt.IsZero():
		at = r.SuspendedAt.Add(r.jittered(probeSoon))
	default:
		at = r.ProbedAt.Add(r.jittered(min(probeFirst<<min(max(r.Probes-1, 0), 8), probeLast)))
	}
	if r.Misses > 0 && r.RetryAt.After(at) {
		at = r.RetryAt
	}
	return at
}

// missed notes that the background could not try the grant, or got no answer.
func (r *record) missed(p policy, now time.Time) {
	pause := min(missFirst<<min(r.Misses, 8), missLast, max(r.rest(p)/50, time.Second))
	r.Misses++
	r.RetryAt = now.Add(r.jittered(pause))
}

// lastUse is when a person or a job last had something of the grant.
func (r *record) lastUse() time.Time {
	if r.LastUsedAt.After(r.GrantedAt) {
		return r.LastUsedAt
	}
	return r.GrantedAt
}

// abandoned tells that nobody used the grant for so long that it is not kept
// alive any more.
func (r *record) abandoned(p policy, now time.Time) bool {
	return p.stopAfter > 0 && now.Sub(r.lastUse()) >= p.stopAfter
}

// Why a grant is about to lapse.
const (
	lapseUnused      = "unused"      // nobody uses it: it is not kept alive any more
	lapseMax         = "max_expired" // the provider ends it, however often it is used
	lapseUnreachable = "unreachable" // the provider does not answer
)

// lapse is the end that an active grant is heading for if nobody does anything.
type lapse struct {
	at     time.Time
	reason string
	leads  []time.Duration // how long before it people are told
}

// leads before the end of a span of time: two weeks, three days and a day, or
// less where the whole span is not much longer.
func leads(span time.Duration) []time.Duration {
	const day = 24 * time.Hour
	return []time.Duration{min(14*day, span/2), min(3*day, span/4), min(day, span/8)}
}

// maxAt is when the grant ends however often it is used; zero: never, or nobody
// knows. The end that another provider tells is none while each refresh moves it.
func (r *record) maxAt(p policy) time.Time {
	switch {
	case r.MaxFixed && !r.Local:
		return r.MaxAt
	case r.Local && p.max > 0:
		return earlier(r.MaxAt, r.GrantedAt.Add(p.max))
	case r.Local:
		return r.MaxAt
	case p.max > 0:
		return r.GrantedAt.Add(p.max)
	}
	return time.Time{}
}

// lapse finds the earliest end in sight.
func (r *record) lapse(p policy, now time.Time) (first lapse, ok bool) {
	idleAt := r.RefreshedAt.Add(r.rest(p))
	see := func(l lapse) {
		if !ok || l.at.Before(first.at) {
			first, ok = l, true
		}
	}
	if at := r.maxAt(p); !at.IsZero() {
		see(lapse{at, lapseMax, leads(at.Sub(r.GrantedAt))})
	}
	switch {
	case r.abandoned(p, now):
		see(lapse{idleAt, lapseUnused, leads(r.rest(p))})
	case p.stopAfter > 0:
		see(lapse{r.lastUse().Add(p.stopAfter), lapseUnused, leads(p.stopAfter)[:1]})
	}
	if r.Misses > 0 && !r.abandoned(p, now) {
		see(lapse{idleAt, lapseUnreachable, leads(r.rest(p))})
	}
	return first, ok
}

// warned remembers of which lapse people were told, and how often.
type warned struct {
	At    time.Time `json:"at,omitzero"`
	Times int       `json:"times,omitempty"`
}

// times people were told of a lapse. Ends that are told in seconds from now
// differ a little from refresh to refresh.
func (w warned) times(l lapse) int {
	if w.At.Sub(l.at).Abs() > l.leads[len(l.leads)-1]/2 {
		return 0
	}
	return w.Times
}

// nextWarning is when people are told of a lapse the next time; zero: they know.
func (r *record) nextWarning(l lapse) time.Time {
	n := r.Warned.times(l)
	if n >= len(l.leads) {
		return time.Time{}
	}
	return l.at.Add(-l.leads[n])
}

// tend does what needs no request: it tells of a lapse that is near, and takes
// notice of one that has come.
func (r *record) tend(p policy, now time.Time) {
	if r.State != Active {
		return
	}
	if r.chore(p, now) == giveUp {
		r.lapsed(now)
		return
	}
	l, ok := r.lapse(p, now)
	if !ok {
		return
	}
	reached := 0
	for i, lead := range l.leads {
		if !now.Before(l.at.Add(-lead)) {
			reached = i + 1
		}
	}
	if reached <= r.Warned.times(l) {
		return
	}
	r.Warned = warned{l.at, reached}
	r.tell(Notice{Kind: EventLapsing, Reason: l.reason, At: now, LapseAt: l.at})
}

// earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// jitter of a grant, fixed, in [-1,1).
func (r *record) jitter() float64 { return 2*spread(r.ID) - 1 }

func (r *record) jittered(d time.Duration) time.Duration {
	return d + time.Duration(pauseJitter*r.jitter()*float64(d))
}
