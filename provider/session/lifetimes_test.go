package session_test

import (
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
)

const day = 24 * time.Hour

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func TestPolicyOf(t *testing.T) {
	limited := realm.Settings{OfflineSessionMaxLimited: true, OfflineSessionMax: time.Hour, OfflineSessionIdle: 30 * time.Minute}
	tests := []struct {
		name     string
		settings realm.Settings
		client   client.Client
		want     session.Policy
	}{
		{"Keycloak's defaults", realm.Settings{}, client.Client{}, session.Policy{
			AccessLifespan: 5 * time.Minute, SSOIdle: 30 * time.Minute, SSOMax: 10 * time.Hour, OfflineIdle: 30 * day, Limit: 100}},
		{"max is 60 days when limited", realm.Settings{OfflineSessionMaxLimited: true}, client.Client{}, session.Policy{
			AccessLifespan: 5 * time.Minute, SSOIdle: 30 * time.Minute, SSOMax: 10 * time.Hour, OfflineIdle: 30 * day, OfflineMax: 60 * day, Limit: 100}},
		{"a client shortens", limited, client.Client{
			AccessTokenLifespan: ptr(time.Minute), OfflineSessionIdle: ptr(10 * time.Minute), OfflineSessionMax: ptr(20 * time.Minute),
			RevokeRefreshToken: ptr(true), RefreshTokenMaxReuse: ptr(2)}, session.Policy{
			AccessLifespan: time.Minute, SSOIdle: 30 * time.Minute, SSOMax: 10 * time.Hour,
			OfflineIdle: 10 * time.Minute, OfflineMax: 20 * time.Minute, SingleUse: true, MaxReuse: 2, Limit: 100}},
		{"a client does not lengthen", limited, client.Client{OfflineSessionIdle: ptr(day), OfflineSessionMax: ptr(day)}, session.Policy{
			AccessLifespan: 5 * time.Minute, SSOIdle: 30 * time.Minute, SSOMax: 10 * time.Hour,
			OfflineIdle: 30 * time.Minute, OfflineMax: time.Hour, Limit: 100}},
		{"a client's max needs the realm's switch", realm.Settings{}, client.Client{OfflineSessionMax: ptr(time.Hour)}, session.Policy{
			AccessLifespan: 5 * time.Minute, SSOIdle: 30 * time.Minute, SSOMax: 10 * time.Hour, OfflineIdle: 30 * day, Limit: 100}},
		{"O57 a client switches single use off", realm.Settings{RevokeRefreshToken: true, RefreshTokenMaxReuse: 3},
			client.Client{RevokeRefreshToken: ptr(false), RefreshTokenMaxReuse: ptr(0)}, session.Policy{
				AccessLifespan: 5 * time.Minute, SSOIdle: 30 * time.Minute, SSOMax: 10 * time.Hour, OfflineIdle: 30 * day, Limit: 100}},
		{"O63 the later not-before of realm and client", realm.Settings{NotBefore: 5}, client.Client{NotBefore: 7}, session.Policy{
			AccessLifespan: 5 * time.Minute, SSOIdle: 30 * time.Minute, SSOMax: 10 * time.Hour, OfflineIdle: 30 * day, Limit: 100, NotBefore: 7}},
	}
	// What of a login and a client's online sessions follows from which setting.
	def := session.PolicyOf(realm.Settings{}, &client.Client{})
	with := func(change func(*session.Policy)) session.Policy {
		p := def
		change(&p)
		return p
	}
	type row = struct {
		name     string
		settings realm.Settings
		client   client.Client
		want     session.Policy
	}
	remember := realm.Settings{RememberMe: true, SSOSessionIdleRememberMe: day, SSOSessionMaxRememberMe: 7 * day}
	off := remember
	off.RememberMe = false
	clients := realm.Settings{ClientSessionIdle: 10 * time.Minute, ClientSessionMax: time.Hour, ClientOfflineSessionIdle: day, ClientOfflineSessionMax: 2 * day}
	both := clients
	both.OfflineSessionMaxLimited = true
	tests = append(tests,
		row{"Remember Me", remember, client.Client{}, with(func(p *session.Policy) { p.RememberIdle, p.RememberMax = day, 7*day })},
		row{"Remember Me switched off", off, client.Client{}, def},
		row{"limits of all clients", clients, client.Client{}, with(func(p *session.Policy) {
			p.ClientIdle, p.ClientMax, p.OfflineIdle = 10*time.Minute, time.Hour, day
		})},
		row{"max of all clients, with the switch", both, client.Client{}, with(func(p *session.Policy) {
			p.ClientIdle, p.ClientMax, p.OfflineIdle, p.OfflineMax = 10*time.Minute, time.Hour, day, 2*day
		})},
		row{"a client's own instead, longer too", both, client.Client{
			ClientSessionIdle: ptr(20 * time.Minute), ClientSessionMax: ptr(2 * time.Hour), OfflineSessionIdle: ptr(3 * day), OfflineSessionMax: ptr(4 * day),
		}, with(func(p *session.Policy) {
			p.ClientIdle, p.ClientMax, p.OfflineIdle, p.OfflineMax = 20*time.Minute, 2*time.Hour, 3*day, 4*day
		})},
		row{"a client's zero inherits", clients, client.Client{ClientSessionIdle: ptr(time.Duration(0)), OfflineSessionIdle: ptr(time.Duration(0))}, with(func(p *session.Policy) {
			p.ClientIdle, p.ClientMax, p.OfflineIdle = 10*time.Minute, time.Hour, day
		})},
	)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := session.PolicyOf(tt.settings, &tt.client); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestNotBefore(t *testing.T) {
	for _, tt := range []struct {
		each []int64
		want int64
	}{{nil, 0}, {[]int64{0, 0, 0}, 0}, {[]int64{3, 9, 5}, 9}, {[]int64{9, 0, 0}, 9}, {[]int64{0, 0, 4}, 4}} {
		if got := session.NotBefore(tt.each...); got != tt.want {
			t.Errorf("NotBefore(%v) = %d, want %d", tt.each, got, tt.want)
		}
	}
	p := session.Policy{NotBefore: 5}
	if got := p.ForUser(8).NotBefore; got != 8 {
		t.Errorf("ForUser(8) = %d, want 8", got)
	}
	if got := p.ForUser(2).NotBefore; got != 5 {
		t.Errorf("ForUser(2) = %d, want 5", got)
	}
}

func TestCheck(t *testing.T) {
	offline := func(change func(*session.ClientSession)) *session.ClientSession {
		cs := &session.ClientSession{ID: "cs", Offline: true, UserSession: "sid", Created: t0, LastUsed: t0, RotatedAt: t0, Generation: 1}
		if change != nil {
			change(cs)
		}
		return cs
	}
	online := func() *session.ClientSession {
		cs := offline(nil)
		cs.Offline = false
		return cs
	}
	login := func(accessed time.Duration) *session.UserSession {
		return &session.UserSession{ID: "sid", Started: t0, AuthTime: t0, LastAccess: t0.Add(accessed)}
	}
	used := func(after time.Duration) *session.ClientSession {
		cs := online()
		cs.LastUsed = t0.Add(after)
		return cs
	}
	remembered := func(accessed time.Duration) *session.UserSession {
		us := login(accessed)
		us.RememberMe = true
		return us
	}
	def := session.PolicyOf(realm.Settings{}, &client.Client{})
	limited := session.PolicyOf(realm.Settings{OfflineSessionMaxLimited: true}, &client.Client{})
	remember := session.PolicyOf(realm.Settings{RememberMe: true, SSOSessionIdleRememberMe: day, SSOSessionMaxRememberMe: 7 * day}, &client.Client{})
	clients := session.PolicyOf(realm.Settings{ClientSessionIdle: 10 * time.Minute, ClientSessionMax: time.Hour}, &client.Client{})
	tests := []struct {
		name string
		p    session.Policy
		cs   *session.ClientSession
		us   *session.UserSession
		at   time.Duration
		want session.Status
	}{
		{"O30 offline outlives SSO idle and max", def, offline(nil), login(0), 20 * time.Hour, ""},
		{"O31 offline outlives its user session", def, offline(nil), nil, time.Hour, ""},
		{"O33 30 days minus a minute", def, offline(nil), nil, 30*day - time.Minute, ""},
		{"O33 30 days", def, offline(nil), nil, 30 * day, session.IdleExpired},
		{"O33 30 days plus a minute", def, offline(nil), nil, 30*day + time.Minute, session.IdleExpired},
		{"O33 a use moves it", def, offline(func(c *session.ClientSession) { c.LastUsed = t0.Add(29 * day) }), nil, 58 * day, ""},
		{"O34 off: no end by age", def, offline(func(c *session.ClientSession) { c.LastUsed = t0.Add(3650 * day) }), nil, 3660 * day, ""},
		{"O34 on: before 60 days", limited, offline(func(c *session.ClientSession) { c.LastUsed = t0.Add(59 * day) }), nil, 60*day - time.Second, ""},
		{"O34 on: at 60 days, however used", limited, offline(func(c *session.ClientSession) { c.LastUsed = t0.Add(60*day - time.Second) }), nil, 60 * day, session.MaxExpired},
		{"max from the offline login, not from an older one", limited, offline(func(c *session.ClientSession) {
			c.AuthTime, c.LastUsed = t0.Add(-9*time.Hour), t0.Add(59*day)
		}), nil, 60*day - time.Hour, ""},
		{"O36 lowered idle applies to what exists", session.Policy{OfflineIdle: time.Hour}, offline(nil), nil, 2 * time.Hour, session.IdleExpired},
		{"an ended one stays ended", def, offline(func(c *session.ClientSession) { c.Status = session.Revoked }), nil, 0, session.Revoked},
		{"the reason it ended for wins", def, offline(func(c *session.ClientSession) { c.Status = session.ReuseDetected }), nil, 90 * day, session.ReuseDetected},
		{"O63 a millisecond earlier than not-before", session.Policy{OfflineIdle: day, NotBefore: t0.UnixMilli() + 1}, offline(nil), nil, time.Minute, session.IssuedBefore},
		{"O63 in the millisecond of not-before", session.Policy{OfflineIdle: day, NotBefore: t0.UnixMilli()}, offline(nil), nil, time.Minute, session.IssuedBefore},
		{"O63 a millisecond later than not-before", session.Policy{OfflineIdle: day, NotBefore: t0.UnixMilli() - 1}, offline(nil), nil, time.Minute, ""},
		{"O63 rotated since", session.Policy{OfflineIdle: day, NotBefore: t0.UnixMilli() + 1}, offline(func(c *session.ClientSession) { c.RotatedAt = t0.Add(time.Second) }), nil, time.Minute, ""},

		{"online within its user session", def, online(), login(0), 29 * time.Minute, ""},
		{"online: SSO idle, no grace", def, online(), login(0), 30 * time.Minute, session.IdleExpired},
		{"online: SSO idle moves by access", def, used(20 * time.Minute), login(20 * time.Minute), 45 * time.Minute, ""},
		{"online: another client's use does not help", def, used(0), login(20 * time.Minute), 45 * time.Minute, session.IdleExpired},
		{"online: its own use does not help a login that is over", def, used(40 * time.Minute), login(0), 45 * time.Minute, session.IdleExpired},
		{"online: SSO max", def, online(), login(10*time.Hour - time.Minute), 10 * time.Hour, session.MaxExpired},
		{"online: a client's idle", clients, used(0), login(9 * time.Minute), 9 * time.Minute, ""},
		{"online: a client's idle is over", clients, used(0), login(9 * time.Minute), 10 * time.Minute, session.IdleExpired},
		{"online: a client's max", clients, used(59 * time.Minute), login(59 * time.Minute), time.Hour, session.MaxExpired},
		{"online: a client's longer limits are cut to the login's", session.Policy{SSOIdle: time.Hour, SSOMax: 2 * time.Hour, ClientIdle: day, ClientMax: day},
			used(0), login(0), time.Hour, session.IdleExpired},
		{"online: remembered", remember, used(0), remembered(0), 23 * time.Hour, ""},
		{"online: remembered idle", remember, used(0), remembered(0), 24 * time.Hour, session.IdleExpired},
		{"online: remembered max", remember, used(7*day - time.Hour), remembered(7*day - time.Hour), 7 * day, session.MaxExpired},
		{"online: not remembered", remember, used(0), login(0), 30 * time.Minute, session.IdleExpired},
		{"online: a shorter Remember Me does not shorten", session.Policy{SSOIdle: time.Hour, SSOMax: day, RememberIdle: time.Minute, RememberMax: time.Minute},
			used(0), remembered(0), 59 * time.Minute, ""},
		{"Remember Me is nothing to an offline session", remember, offline(nil), remembered(0), 30*day - time.Minute, ""},
		{"online: user session gone", def, online(), nil, 0, session.Revoked},
		{"online: another user session", def, online(), &session.UserSession{ID: "other", Started: t0, LastAccess: t0}, 0, session.Revoked},
		{"online without user session: idle by its own use", def, &session.ClientSession{Created: t0, LastUsed: t0, RotatedAt: t0}, nil, 31 * time.Minute, session.IdleExpired},
		{"online without user session: max by its own age", def, &session.ClientSession{Created: t0, LastUsed: t0.Add(10 * time.Hour), RotatedAt: t0}, nil, 10 * time.Hour, session.MaxExpired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := session.Check(tt.p, tt.cs, tt.us, t0.Add(tt.at)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCheckUser(t *testing.T) {
	p := session.PolicyOf(realm.Settings{}, &client.Client{})
	us := &session.UserSession{AuthTime: t0, Started: t0, LastAccess: t0.Add(9*time.Hour + 50*time.Minute)}
	for _, tt := range []struct {
		name string
		p    session.Policy
		at   time.Duration
		want session.Status
	}{
		{"lives", p, 9*time.Hour + 59*time.Minute, ""},
		{"max", p, 10 * time.Hour, session.MaxExpired},
		{"idle", session.Policy{SSOIdle: time.Minute, SSOMax: 10 * time.Hour}, 9*time.Hour + 51*time.Minute, session.IdleExpired},
		{"not before", p.ForUser(t0.UnixMilli() + 1), time.Minute, session.IssuedBefore},
		{"a client's limits are not the login's", session.Policy{SSOIdle: time.Hour, SSOMax: 10 * time.Hour, ClientIdle: time.Second, ClientMax: time.Second}, 9*time.Hour + 59*time.Minute, ""},
		{"Remember Me that was not asked for", session.Policy{SSOIdle: time.Hour, SSOMax: 10 * time.Hour, RememberIdle: day, RememberMax: day}, 10 * time.Hour, session.MaxExpired},
	} {
		if got := session.CheckUser(tt.p, us, t0.Add(tt.at)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRefreshExpiry(t *testing.T) {
	off := &session.ClientSession{Offline: true, Created: t0, LastUsed: t0}
	on := &session.ClientSession{UserSession: "sid", Created: t0, LastUsed: t0}
	us := &session.UserSession{ID: "sid", Started: t0.Add(-time.Hour), LastAccess: t0}
	short := session.Policy{SSOIdle: 30 * time.Minute, SSOMax: 10 * time.Hour, OfflineIdle: 30 * time.Second, OfflineMax: 60 * time.Second}
	for _, tt := range []struct {
		name   string
		p      session.Policy
		cs     *session.ClientSession
		us     *session.UserSession
		issued time.Duration
		want   time.Time
	}{
		{"O02 no exp while not limited", session.PolicyOf(realm.Settings{}, &client.Client{}), off, nil, 0, time.Time{}},
		{"O03 idle is earlier", short, off, nil, 0, t0.Add(30 * time.Second)},
		{"O03 max is earlier", short, off, nil, 40 * time.Second, t0.Add(60 * time.Second)},
		{"online: idle is earlier", short, on, us, 0, t0.Add(30 * time.Minute)},
		{"online: max is earlier", short, on, us, 8*time.Hour + 45*time.Minute, t0.Add(9 * time.Hour)},
		{"online without user session", short, on, nil, 0, t0.Add(30 * time.Minute)},
		{"online: a client's idle", session.Policy{SSOIdle: time.Hour, SSOMax: day, ClientIdle: time.Minute}, on, us, 0, t0.Add(time.Minute)},
		{"online: a client's longer idle", session.Policy{SSOIdle: time.Hour, SSOMax: day, ClientIdle: 2 * time.Hour}, on, us, 0, t0.Add(time.Hour)},
		{"online: a client's max", session.Policy{SSOIdle: time.Hour, SSOMax: day, ClientMax: 2 * time.Minute}, on, us, 0, t0.Add(2 * time.Minute)},
		{"online: remembered", session.Policy{SSOIdle: time.Hour, SSOMax: 10 * time.Hour, RememberIdle: 5 * time.Hour, RememberMax: day}, on,
			&session.UserSession{ID: "sid", Started: t0, LastAccess: t0, RememberMe: true}, 0, t0.Add(5 * time.Hour)},
	} {
		if got := tt.p.RefreshExpiry(tt.cs, tt.us, t0.Add(tt.issued)); !got.Equal(tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAccessExpiry(t *testing.T) {
	off := &session.ClientSession{Offline: true, Created: t0, LastUsed: t0}
	on := &session.ClientSession{UserSession: "sid", Created: t0, LastUsed: t0}
	us := &session.UserSession{ID: "sid", Started: t0, LastAccess: t0}
	p := session.Policy{AccessLifespan: 5 * time.Minute, SSOMax: 10 * time.Hour, OfflineIdle: time.Second}
	for _, tt := range []struct {
		name string
		max  time.Duration
		cs   *session.ClientSession
		at   time.Duration
		want time.Duration
	}{
		{"lifespan", 0, off, 0, 5 * time.Minute},
		{"cut to the offline max", time.Minute, off, 0, time.Minute},
		{"offline is not cut to SSO max", 0, off, 99 * time.Hour, 99*time.Hour + 5*time.Minute},
		{"online is cut to SSO max", 0, on, 10*time.Hour - time.Minute, 10 * time.Hour},
	} {
		p.OfflineMax = tt.max
		if got := p.AccessExpiry(tt.cs, us, t0.Add(tt.at)); !got.Equal(t0.Add(tt.want)) {
			t.Errorf("%s: got %v, want %v", tt.name, got, t0.Add(tt.want))
		}
	}
}

func TestGrantStatus(t *testing.T) {
	if got := session.GrantStatus(session.LoggedOut); got != session.Revoked {
		t.Errorf("logout is told as %q", got)
	}
	if got := session.GrantStatus(session.IdleExpired); got != session.IdleExpired {
		t.Errorf("idle_expired is told as %q", got)
	}
}
