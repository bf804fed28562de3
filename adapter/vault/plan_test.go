package vault

import (
	"fmt"
	"testing"
	"time"
)

const (
	hour = time.Hour
	day  = 24 * hour
)

var (
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	plain = policy{idle: 7 * day, stopAfter: 90 * day}
)

// active is a grant that was given and last refreshed so long before noon.
func active(idle, granted, refreshed time.Duration) *record {
	r := &record{handout: handout{Grant: Grant{
		ID: "g_1", State: Active, Local: true, IdleLimit: idle, GrantedAt: noon.Add(-granted), RefreshedAt: noon.Add(-refreshed),
	}}}
	return r
}

func with(r *record, change func(*record)) *record {
	change(r)
	return r
}

func TestA09_WhenTheBackgroundLooks(t *testing.T) {
	for name, c := range map[string]struct {
		r        *record
		p        policy
		from, to time.Duration // after noon; both 0: never
	}{
		"active":                                {active(30*day, 0, 0), plain, 9*day - 3*hour, 15 * day},
		"active, the provider does not tell":    {active(0, 0, 0), plain, 2 * day, 84 * hour},
		"active, the end of another provider's": {with(active(0, 0, 0), func(r *record) { r.Local, r.MaxAt = false, noon.Add(day) }), plain, 7 * hour, 12 * hour},
		"active, a short limit":                 {active(10*time.Minute, 0, 0), plain, 177 * time.Second, 300 * time.Second},
		"active, unused for long":               {active(30*day, 85*day, 0), plain, 0, time.Second}, // to warn, for it is less than two weeks
		"active, unused, warned": {with(active(30*day, 85*day, 0), func(r *record) { r.Warned = warned{noon.Add(5 * day), 1} }),
			plain, 5 * day, 5 * day}, // to stop
		"active, unused, kept for ever":       {active(30*day, 850*day, 0), policy{idle: day}, 9*day - 3*hour, 15 * day},
		"active, missed":                      {with(active(30*day, 0, 20*day), func(r *record) { r.Misses, r.RetryAt, r.Warned = 3, noon.Add(hour), warned{noon.Add(10 * day), 1} }), plain, hour, hour},
		"active, the realm ends it in a week": {with(active(30*day, 53*day, 0), func(r *record) { r.MaxAt, r.Warned = noon.Add(7*day), warned{noon.Add(7 * day), 1} }), plain, 4 * day, 4 * day},
		"suspended by an event":               {with(active(0, 0, 0), func(r *record) { r.State, r.SuspendedAt = Suspended, noon }), plain, 48 * time.Second, 72 * time.Second},
		"suspended just now":                  {with(active(0, 0, 0), func(r *record) { r.State, r.ProbedAt, r.Probes = Suspended, noon, 1 }), plain, 48 * time.Minute, 72 * time.Minute},
		"suspended, refused 3 times":          {with(active(0, 0, 0), func(r *record) { r.State, r.ProbedAt, r.Probes = Suspended, noon, 3 }), plain, 192 * time.Minute, 288 * time.Minute},
		"suspended, refused for long":         {with(active(0, 0, 0), func(r *record) { r.State, r.ProbedAt, r.Probes = Suspended, noon, 500 }), plain, 19 * hour, 29 * hour},
		"suspended, nobody answers": {with(active(0, 0, 0), func(r *record) {
			r.State, r.ProbedAt, r.Probes, r.Misses, r.RetryAt = Suspended, noon, 1, 4, noon.Add(5*hour)
		}), plain, 5 * hour, 5 * hour},
		"suspended because nobody used it": {with(active(0, 0, 0), func(r *record) { r.State, r.SuspendedAt, r.Lapsed = Suspended, noon, true }), plain, 0, 0},
		"ended":                            {with(active(day, 0, 0), func(r *record) { r.State = Ended }), plain, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[time.Time]bool{}
			for i := range 100 {
				c.r.ID = fmt.Sprintf("g_%d", i)
				due := c.r.due(c.p, noon)
				if c.to == 0 {
					if !due.IsZero() {
						t.Fatalf("due %v; want never", due)
					}
					continue
				}
				if d := due.Sub(noon); c.from > 0 && d < c.from || d > c.to {
					t.Fatalf("due after %v; want %v to %v", d, c.from, c.to)
				}
				seen[due] = true
			}
			if c.to-c.from > time.Second && len(seen) < 50 {
				t.Errorf("100 grants are due at %d instants", len(seen))
			}
		})
	}
}

func TestA09_WhatTheBackgroundDoes(t *testing.T) {
	missed := func(r *record) { r.Misses, r.RetryAt = 2, noon }
	for name, c := range map[string]struct {
		r    *record
		p    policy
		want chore
	}{
		"fresh":                         {active(30*day, 20*day, 8*day), plain, wait},
		"at half of the limit":          {active(30*day, 20*day, 15*day), plain, renew},
		"beyond the limit":              {active(30*day, 80*day, 60*day), plain, renew}, // after a long sleep of the gateway
		"unused, a warning is due":      {active(30*day, 80*day, day), plain, note},
		"unused, to be refreshed too":   {active(30*day, 80*day, 20*day), plain, renew},
		"unused for too long":           {active(30*day, 90*day, day), plain, wait},
		"unused for too long, late":     {active(30*day, 90*day, 17*day), plain, note},
		"unused for too long, and rest": {active(30*day, 120*day, 30*day), plain, giveUp},
		"used lately":                   {with(active(30*day, 120*day, 20*day), func(r *record) { r.LastUsedAt = noon.Add(-21 * day) }), plain, renew},
		"kept for ever":                 {active(30*day, 1200*day, 20*day), policy{idle: day}, renew},
		"missed":                        {with(active(30*day, 20*day, 20*day), missed), plain, renew},
		"missed just now":               {with(active(30*day, 14*day, 14*day), func(r *record) { r.Misses, r.RetryAt = 2, noon.Add(time.Minute) }), plain, wait},
		"missed, and near the end":      {with(active(30*day, 20*day, 20*day), func(r *record) { r.Misses, r.RetryAt = 2, noon.Add(time.Minute) }), plain, note},
		"suspended, due":                {with(active(0, 0, 0), func(r *record) { r.State, r.ProbedAt, r.Probes = Suspended, noon.Add(-2*hour), 1 }), plain, renew},
		"suspended":                     {with(active(0, 0, 0), func(r *record) { r.State, r.ProbedAt, r.Probes = Suspended, noon.Add(-hour/2), 1 }), plain, wait},
		"ended":                         {with(active(0, 0, 90*day), func(r *record) { r.State = Ended }), plain, wait},
	} {
		if got := c.r.chore(c.p, noon); got != c.want {
			t.Errorf("%s: chore %d; want %d", name, got, c.want)
		}
	}
}

// TestToldOfALapse plays a grant through time, an hour a step.
func TestToldOfALapse(t *testing.T) {
	type told struct {
		day  int
		kind string
		why  string
	}
	for name, c := range map[string]struct {
		r    *record
		each func(r *record, now time.Time) // what else happens
		want []told
	}{
		"nobody uses it": {active(30*day, 0, 0), nil,
			[]told{{76, EventLapsing, lapseUnused}, {100, EventLapsing, lapseUnused}, {111, EventLapsing, lapseUnused}, {113, EventLapsing, lapseUnused}, {114, EventLapsed, lapseUnused}}},
		"used now and then": {active(30*day, 0, 0), func(r *record, now time.Time) {
			if int(now.Sub(noon)/hour)%(70*24) == 0 {
				r.LastUsedAt = now
			}
		}, nil},
		"the realm ends it": {with(active(30*day, 0, 0), func(r *record) { r.MaxAt = noon.Add(60 * day) }), func(r *record, now time.Time) {
			r.LastUsedAt = now
			if now.After(noon.Add(60 * day)) {
				r.State = Ended
			}
		}, []told{{46, EventLapsing, lapseMax}, {57, EventLapsing, lapseMax}, {59, EventLapsing, lapseMax}}},
		"the provider is away for long": {active(30*day, 0, 0), func(r *record, now time.Time) {
			r.LastUsedAt = noon
			if r.Misses == 0 && now.After(noon.Add(15*day)) {
				r.Misses, r.RetryAt = 1, now.Add(1000*day)
			}
		}, []told{{25, EventLapsing, lapseUnreachable}, {36, EventLapsing, lapseUnreachable}, {38, EventLapsing, lapseUnreachable}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []told
			for now := noon; now.Before(noon.Add(150 * day)); now = now.Add(hour) {
				if c.each != nil {
					c.each(c.r, now)
				}
				if c.r.chore(plain, now) == renew && c.r.Misses == 0 && c.r.State == Active {
					c.r.activate()
					c.r.RefreshedAt = now
				}
				if c.r.Misses > 0 && now.After(noon.Add(60*day)) {
					break
				}
				c.r.tend(plain, now)
				for _, n := range c.r.news {
					got = append(got, told{int(now.Sub(noon) / day), n.Kind, n.Reason})
				}
				c.r.news = nil
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("told %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestMissesAreSpreadAndBounded(t *testing.T) {
	for _, idle := range []time.Duration{10 * time.Minute, 30 * day} {
		r := active(idle, 0, 0)
		last := time.Duration(0)
		for range 20 {
			r.missed(plain, noon)
			pause := r.RetryAt.Sub(noon)
			if pause < last || pause > missLast*12/10 || pause > idle/40 {
				t.Fatalf("a pause of %v after one of %v with a limit of %v", pause, last, idle)
			}
			last = pause
		}
	}
}

func TestBreaker(t *testing.T) {
	wrong := &Error{Class: ClassOperator, Code: "invalid_client", RetryAfter: time.Minute}
	odd := &Error{Class: ClassOperator, Code: "invalid_request", RetryAfter: time.Minute}
	away := &Error{Class: ClassTransient, Code: "temporarily_unavailable"}
	no := &Error{Class: ClassSuspended, Code: "invalid_grant"}
	for name, c := range map[string]struct {
		reports []*Error
		open    bool
	}{
		"at first":                                {nil, false},
		"a success":                               {[]*Error{nil}, false},
		"our client is not accepted":              {[]*Error{wrong}, true},
		"one request is odd":                      {[]*Error{odd, odd, odd, odd, odd, odd}, false},
		"it is away for a moment":                 {[]*Error{away, away, away, away}, false},
		"it is away":                              {[]*Error{away, away, away, away, away}, true},
		"it answers in between":                   {[]*Error{away, away, away, away, no, away, away, away, away}, false},
		"it knows us again":                       {[]*Error{wrong, nil}, false},
		"it refuses a grant, so it knows us":      {[]*Error{wrong, no}, false},
		"once away, one failure is enough":        {[]*Error{away, away, away, away, away, away}, true},
		"away, and an odd request in between":     {[]*Error{away, away, odd, away, away, away}, true},
		"our client is refused, then it was away": {[]*Error{wrong, away}, true},
	} {
		var b breaker
		for i, r := range c.reports {
			b.report(r, noon.Add(time.Duration(i)*time.Second))
		}
		refused := b.admit(noon.Add(time.Duration(len(c.reports)-1) * time.Second))
		if open := refused != nil; open != c.open {
			t.Errorf("%s: open %v", name, open)
		}
		if refused != nil && refused.RetryAfter <= 0 {
			t.Errorf("%s: no retry after", name)
		}
	}
}

func TestBreakerLetsOneTry(t *testing.T) {
	away := &Error{Class: ClassTransient, Code: "temporarily_unavailable"}
	var b breaker
	now, last := noon, time.Duration(0)
	for range 3 * breakAfter { // within a restart it stays closed
		b.report(away, now)
	}
	if b.admit(now) != nil {
		t.Fatal("open at once")
	}
	now = now.Add(breakPatience)
	b.report(away, now)
	for range 12 {
		open := b.until.Sub(now)
		if open < last || open > breakLast {
			t.Fatalf("open for %v after %v", open, last)
		}
		last = open
		now = b.until
		if b.admit(now) != nil {
			t.Fatal("nobody may try")
		}
		if b.admit(now) == nil {
			t.Fatal("two may try at once")
		}
		if opened, closed := b.report(away, now); opened || closed {
			t.Fatal("told anew")
		}
	}
	if _, closed := b.report(nil, now); !closed || b.admit(now) != nil {
		t.Error("a success does not close it")
	}
}

// TestAnEndThatStands: the end that another provider tells is one if its refreshes do
// not move it, or if the operator knows it. People are told before, and it is not
// refreshed more and more often towards it.
func TestAnEndThatStands(t *testing.T) {
	const end = 60 * day
	for name, c := range map[string]struct {
		p        policy
		local    bool
		told     func(at time.Duration) time.Duration // refresh_expires_in, so long after the login
		warnings int
	}{
		"each refresh moves it":            {policy{idle: 7 * day}, false, func(time.Duration) time.Duration { return end }, 0},
		"it stands":                        {policy{idle: 7 * day}, false, func(at time.Duration) time.Duration { return end - at }, 3},
		"not told":                         {policy{idle: 7 * day}, false, func(time.Duration) time.Duration { return 0 }, 0},
		"not told, but known":              {policy{idle: 7 * day, max: end}, false, func(time.Duration) time.Duration { return 0 }, 3},
		"our realm's":                      {policy{idle: 7 * day}, true, func(at time.Duration) time.Duration { return end - at }, 3},
		"our realm has a shorter one now":  {policy{idle: 7 * day, max: end}, true, func(at time.Duration) time.Duration { return 90*day - at }, 3},
		"our realm has one since a moment": {policy{idle: 7 * day, max: end}, true, func(time.Duration) time.Duration { return 0 }, 3},
	} {
		r := active(0, 0, 0)
		r.Local, r.RefreshedAt, r.GrantedAt = c.local, noon, noon
		r.limits(0, c.told(0), noon)
		refreshes := 0
		var days []int
		for now := noon; now.Before(noon.Add(end)); now = now.Add(hour) {
			at := now.Sub(noon)
			if r.chore(c.p, now) == renew {
				refreshes++
				r.refreshed(Ask{background: true}, answer{RefreshExpiresIn: c.told(at)}, r.Epoch, now)
				// A job's ask right behind it says nothing about the end.
				r.refreshed(Ask{background: true}, answer{RefreshExpiresIn: c.told(at)}, r.Epoch, now.Add(time.Second))
			}
			r.tend(c.p, now)
			for _, n := range r.news {
				if n.Kind != EventLapsing || n.Reason != lapseMax || n.LapseAt.Sub(noon.Add(end)).Abs() > hour {
					t.Errorf("%s: told %+v", name, n)
				}
				days = append(days, int(at/day))
			}
			r.news = nil
		}
		if want := []int{46, 57, 59}[:c.warnings]; fmt.Sprint(days) != fmt.Sprint(want) {
			t.Errorf("%s: told on days %v; want %v", name, days, want)
		}
		if refreshes > 30 {
			t.Errorf("%s: %d refreshes", name, refreshes)
		}
	}
}
