package session_test

import (
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// TestAnEndIsRemembered: over days, sweeps and restarts, as long as a token of before
// may count, or a session may wait for its next use.
func TestAnEndIsRemembered(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct{ bearers, idle, want time.Duration }{
		"tokens of a day":   {day, 30 * time.Minute, day},
		"tokens of a month": {30 * day, 30 * time.Minute, 30 * day},
		"idle for a week":   {day, 7 * day, 7 * day},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.config.Bearers, e.config.Idle, e.config.Max = c.bearers, c.idle, 90*day
			e.config.Behind = func(string) []string { return []string{session.OfProvider("p")} }
			s := session.NewStore(e.config)
			e.sessions = s
			cookie := e.create(t, "alice", "sid-1", "")
			issued := e.clock()
			e.advance(time.Minute)
			if err := s.EndSubject(t.Context(), "p", "bob", e.clock()); err != nil {
				t.Fatal(err)
			}
			if err := s.EndAll(t.Context(), session.OfProvider("p")); err != nil {
				t.Fatal(err)
			}
			end := e.clock()
			for e.clock().Before(end.Add(c.want)) {
				for who, names := range map[string][]string{"bob": {session.OfSubject("p", "bob")}, "everybody": {session.OfProvider("p")}} {
					if over, err := s.Ended(t.Context(), issued, names...); err != nil || !over {
						t.Fatalf("the end of %s is forgotten after %v (%v)", who, e.clock().Sub(end), err)
					}
				}
				if e.lives(t, s, cookie) {
					t.Fatalf("the session lives after %v", e.clock().Sub(end))
				}
				if err := s.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := e.store.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				if e.clock().Sub(end) > c.want/2 {
					s = session.NewStore(e.config) // another process
				}
				e.advance(c.want/20 - time.Second)
			}
			e.advance(c.want / 10)
			if e.lives(t, s, cookie) {
				t.Error("the session lives after its end is forgotten")
			}
			if over, err := s.Ended(t.Context(), issued, session.OfSubject("p", "bob")); err != nil || over {
				t.Errorf("an end is remembered for longer than anything of before counts (%v)", err)
			}
		})
	}
}

// TestALaterEndStands: what a provider says late, of an instant long ago, does not
// bring back what has ended since.
func TestALaterEndStands(t *testing.T) {
	e := newEnv(t)
	now := e.clock()
	for _, at := range []time.Time{now, now.Add(-time.Hour)} {
		if err := e.sessions.EndSubject(t.Context(), "p", "bob", at); err != nil {
			t.Fatal(err)
		}
	}
	for name, s := range map[string]*session.Store{"in memory": e.sessions, "in the store": session.NewStore(e.config)} {
		if over, err := s.Ended(t.Context(), now.Add(-time.Minute), session.OfSubject("p", "bob")); err != nil || !over {
			t.Errorf("%s the earlier end took the place of the later one (%v)", name, err)
		}
	}
}
