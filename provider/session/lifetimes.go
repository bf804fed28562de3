package session

import (
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
)

// Status tells why a session does not work, in the words of the member
// grant_status; "" means that it works.
type Status = string

// Statuses. The first six are what ClientSession.Status can hold; the others are
// judged anew each time, and what lifts them brings the session back.
const (
	Working       Status = ""
	Revoked       Status = "revoked" // by user, administrator, client, limit, or with its user session
	ReuseDetected Status = "reuse_detected"
	IdleExpired   Status = "idle_expired"
	MaxExpired    Status = "max_expired"
	LoggedOut     Status = "logout" // by the logout endpoint with the refresh token itself
	UserDeleted   Status = "user_deleted"

	IssuedBefore Status = "not_before"
	UserDisabled Status = "user_disabled"
	RoleMissing  Status = "role_missing"
)

// GrantStatus is what a client is told about a status: a logout is a
// revocation to it.
func GrantStatus(s Status) string {
	if s == LoggedOut {
		return Revoked
	}
	return s
}

// Policy is what governs the sessions of one client in a realm now.
type Policy struct {
	AccessLifespan  time.Duration
	SSOIdle, SSOMax time.Duration
	// Of logins with Remember Me, if longer; 0 while the realm has it switched off.
	RememberIdle, RememberMax time.Duration
	// Of the client's online sessions; 0: those of the login.
	ClientIdle, ClientMax time.Duration
	OfflineIdle           time.Duration
	OfflineMax            time.Duration // 0: never ends by age
	SingleUse             bool          // Revoke Refresh Token
	MaxReuse              int           // further uses of a token under SingleUse
	Limit                 int           // offline sessions per user and client
	Epoch                 uint64        // offline sessions of an earlier one are revoked
	NotBefore             int64         // Unix ms; what was issued then or earlier is refused: see Barred
}

// PolicyOf makes the policy of a client from the settings of now. A client's
// own offline limits (else the realm's for all clients) can shorten the realm's,
// never lengthen them, and its max counts only while the realm's is switched on:
// as in Keycloak, where the realm's limits end the user session above the
// client's.
func PolicyOf(s realm.Settings, c *client.Client) Policy {
	s = s.Resolve()
	p := Policy{
		AccessLifespan: s.AccessTokenLifespan,
		SSOIdle:        s.SSOSessionIdle,
		SSOMax:         s.SSOSessionMax,
		ClientIdle:     own(c.ClientSessionIdle, s.ClientSessionIdle),
		ClientMax:      own(c.ClientSessionMax, s.ClientSessionMax),
		OfflineIdle:    shorter(s.OfflineSessionIdle, own(c.OfflineSessionIdle, s.ClientOfflineSessionIdle)),
		SingleUse:      s.RevokeRefreshToken,
		MaxReuse:       s.RefreshTokenMaxReuse,
		Limit:          s.OfflineSessionLimit,
		Epoch:          c.OfflineEpoch,
		NotBefore:      NotBefore(s.NotBefore, c.NotBefore),
	}
	if s.RememberMe {
		p.RememberIdle, p.RememberMax = s.SSOSessionIdleRememberMe, s.SSOSessionMaxRememberMe
	}
	if s.OfflineSessionMaxLimited {
		p.OfflineMax = shorter(s.OfflineSessionMax, own(c.OfflineSessionMax, s.ClientOfflineSessionMax))
	}
	if c.AccessTokenLifespan != nil && *c.AccessTokenLifespan > 0 {
		p.AccessLifespan = *c.AccessTokenLifespan
	}
	if c.RevokeRefreshToken != nil {
		p.SingleUse = *c.RevokeRefreshToken
	}
	if c.RefreshTokenMaxReuse != nil {
		p.MaxReuse = *c.RefreshTokenMaxReuse
	}
	return p
}

// own is a client's limit, else the realm's for clients; 0: neither has one.
func own(client *time.Duration, realm time.Duration) time.Duration {
	if client != nil && *client > 0 {
		return *client
	}
	return max(realm, 0)
}

// shorter cuts a limit to another one, if there is another.
func shorter(limit, other time.Duration) time.Duration {
	if other > 0 {
		return min(limit, other)
	}
	return limit
}

// ForUser adds the not-before of a user (Unix ms).
func (p Policy) ForUser(notBefore int64) Policy {
	p.NotBefore = NotBefore(p.NotBefore, notBefore)
	return p
}

// NotBefore returns the latest of several (realm, client, user; Unix ms). The
// latest decides (O63): whoever sets one wants everything older gone.
func NotBefore(each ...int64) int64 {
	var latest int64
	for _, nb := range each {
		latest = max(latest, nb)
	}
	return latest
}

// Check judges a client session by the policy of now. us is its user session,
// nil if that is gone; an offline session does not need one, and neither does
// an online one that was born without (direct access grants), whose own
// instants stand for it.
func Check(p Policy, cs *ClientSession, us *UserSession, now time.Time) Status {
	if cs.Status != Working {
		return cs.Status
	}
	if cs.Offline && cs.Epoch < p.Epoch {
		return Revoked
	}
	if !cs.Offline && cs.UserSession != "" && (us == nil || us.ID != cs.UserSession) {
		return Revoked
	}
	// Compared with the record, not with a token's iat, which has whole
	// seconds: what was issued in the same second, but before, is refused.
	if Barred(cs.RotatedAt, p.NotBefore) {
		return IssuedBefore
	}
	return expired(now, p.IdleEnd(cs, us), p.MaxEnd(cs, us))
}

// CheckUser judges a user session, that is whether its cookie logs in.
func CheckUser(p Policy, us *UserSession, now time.Time) Status {
	if Barred(us.AuthTime, p.NotBefore) {
		return IssuedBefore
	}
	return expired(now, p.loginIdleEnd(us), p.loginMaxEnd(us))
}

// Barred tells whether a not-before (Unix ms; 0: off) refuses what was issued at
// an instant. The millisecond itself is refused: what was issued in it may have
// been issued before.
func Barred(issued time.Time, notBefore int64) bool {
	return notBefore > 0 && issued.UnixMilli() <= notBefore
}

// expired judges the ends of a session; a zero max is none.
func expired(now, idle, max time.Time) Status {
	switch {
	case !max.IsZero() && !now.Before(max):
		return MaxExpired
	case !now.Before(idle):
		return IdleExpired
	}
	return Working
}

// LoginLimits are SSO Session Idle and Max of a login; remembered: with Remember
// Me, the longer of each pair.
func (p Policy) LoginLimits(remembered bool) (idle, most time.Duration) {
	if remembered {
		return max(p.SSOIdle, p.RememberIdle), max(p.SSOMax, p.RememberMax)
	}
	return p.SSOIdle, p.SSOMax
}

func (p Policy) loginIdleEnd(us *UserSession) time.Time {
	idle, _ := p.LoginLimits(us.RememberMe)
	return us.LastAccess.Add(idle)
}

func (p Policy) loginMaxEnd(us *UserSession) time.Time {
	_, most := p.LoginLimits(us.RememberMe)
	return us.Started.Add(most)
}

// clientLimits are those of an online client session in itself; us may be nil.
func (p Policy) clientLimits(us *UserSession) (idle, most time.Duration) {
	idle, most = p.LoginLimits(us != nil && us.RememberMe)
	if p.ClientIdle > 0 {
		idle = p.ClientIdle
	}
	if p.ClientMax > 0 {
		most = p.ClientMax
	}
	return idle, most
}

// IdleEnd is when a client session ends unless it is used before. An online one
// has its own use to live by and its login's, whichever ends first: a client
// that was left alone has to come back by single sign-on, as in Keycloak.
func (p Policy) IdleEnd(cs *ClientSession, us *UserSession) time.Time {
	if cs.Offline {
		return p.OfflineIdleEnd(cs)
	}
	idle, _ := p.clientLimits(us)
	end := cs.LastUsed.Add(idle)
	if us != nil {
		end = earlier(end, p.loginIdleEnd(us))
	}
	return end
}

// MaxEnd is when a client session ends however often it is used; zero: never.
func (p Policy) MaxEnd(cs *ClientSession, us *UserSession) time.Time {
	if cs.Offline {
		return p.OfflineMaxEnd(cs)
	}
	_, most := p.clientLimits(us)
	end := cs.Created.Add(most)
	if us != nil {
		end = earlier(end, p.loginMaxEnd(us))
	}
	return end
}

// OfflineIdleEnd is when an offline session ends unless it is used before.
func (p Policy) OfflineIdleEnd(cs *ClientSession) time.Time { return cs.LastUsed.Add(p.OfflineIdle) }

// OfflineMaxEnd is when an offline session ends however often it is used; zero:
// never. It counts from the offline login itself, not from an older login that
// single sign-on built on: a grant is never dead when it is made.
func (p Policy) OfflineMaxEnd(cs *ClientSession) time.Time {
	if p.OfflineMax <= 0 {
		return time.Time{}
	}
	return cs.Created.Add(p.OfflineMax)
}

// RefreshExpiry is the exp of a refresh token issued at an instant (the
// session's RotatedAt under single use), a hint to the client alone. Zero, for
// no exp: an offline token without a max (O02); else the earlier of both limits
// (O03).
func (p Policy) RefreshExpiry(cs *ClientSession, us *UserSession, issued time.Time) time.Time {
	end := p.MaxEnd(cs, us)
	if cs.Offline {
		if end.IsZero() {
			return time.Time{}
		}
		return earlier(issued.Add(p.OfflineIdle), end)
	}
	idle, _ := p.clientLimits(us)
	if us != nil {
		login, _ := p.LoginLimits(us.RememberMe)
		idle = min(idle, login)
	}
	return earlier(issued.Add(idle), end)
}

// AccessExpiry is the exp of an access token issued now: its lifespan, cut to
// the end of the session it belongs to.
func (p Policy) AccessExpiry(cs *ClientSession, us *UserSession, now time.Time) time.Time {
	exp := now.Add(p.AccessLifespan)
	if end := p.MaxEnd(cs, us); !end.IsZero() {
		exp = earlier(exp, end)
	}
	return exp
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// used returns the later instant if it moved by enough to be worth a write:
// more than 1/1000 of the idle limit, at least 1 s, at most 30 s. A busy job
// thus does not write for every refresh, and no session ends noticeably early.
func used(last, now time.Time, idle time.Duration) (time.Time, bool) {
	step := min(max(idle/1000, time.Second), 30*time.Second)
	if now.Sub(last) > step {
		return instant(now), true
	}
	return last, false
}

// instant is a time as records keep it: it survives JSON unchanged, which
// derived tokens rely on, and compares in milliseconds with a not-before.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
