package vault

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Limits of what a grant's record remembers.
const (
	minTTLDefault = time.Minute
	// probeEvery: how often a job's ask may try a suspended grant again.
	probeEvery = time.Minute
	// giveUpAfter: a grant that was refused for so long has ended.
	giveUpAfter = 30 * 24 * time.Hour
	// leaseGrace is how long a lease outlives the attempt that it was taken for.
	leaseGrace = 5 * time.Second
	// attemptTimeout is Config.AttemptTimeout by default.
	attemptTimeout = 10 * time.Second
	// useEvery: how exactly uses are remembered.
	useEvery = time.Minute
	// maxAccess cached tokens in a record, maxReplaced tokens to revoke.
	maxAccess, maxReplaced = 8, 4
	// lifetimeUnknown of an access token without expires_in (RFC 6749 §5.1).
	lifetimeUnknown = time.Minute
)

// finals are the words of our own realm that end a grant; everything else may
// pass.
var finals = []string{"revoked", "reuse_detected", "idle_expired", "max_expired", "user_deleted"}

// normal puts an ask in the form that caches compare.
func (a Ask) normal(granted []string) Ask {
	a.Scopes = slices.Clone(a.Scopes)
	if len(a.Scopes) == 0 {
		a.Scopes = slices.Clone(granted)
	}
	slices.Sort(a.Scopes)
	a.Scopes = slices.Compact(a.Scopes)
	if a.MinTTL <= 0 {
		a.MinTTL = minTTLDefault
	}
	return a
}

// all tells whether the ask is for everything that was granted.
func (a Ask) all(granted []string) bool {
	return !slices.ContainsFunc(granted, func(s string) bool { return !slices.Contains(a.Scopes, s) })
}

// cached returns the access token for an ask, if it lives long enough: the
// wanted time, but no more than half of its lifetime, or a job that asks for
// more than the provider ever issues would refresh each time.
func (h *handout) cached(a Ask, now time.Time) (Token, bool) {
	i := h.find(a)
	if h.State != Active || i < 0 {
		return Token{}, false
	}
	c := h.Access[i]
	want := min(a.MinTTL, c.ExpiresAt.Sub(c.IssuedAt)/2)
	return h.token(c), c.ExpiresAt.Sub(now) >= max(want, time.Second)
}

// living is cached for bad times: any token that has not ended.
func (h *handout) living(a Ask, now time.Time) (Token, bool) {
	i := h.find(a)
	if h.State != Active || i < 0 {
		return Token{}, false
	}
	return h.token(h.Access[i]), h.Access[i].ExpiresAt.Sub(now) >= time.Second
}

func (h *handout) find(a Ask) int {
	return slices.IndexFunc(h.Access, func(c access) bool {
		return c.Resource == a.Resource && slices.Equal(c.Scopes, a.Scopes)
	})
}

func (h *handout) token(c access) Token {
	return Token{AccessToken: c.Token, ExpiresAt: c.ExpiresAt, Scope: c.Granted, GrantID: h.ID}
}

// keep puts an access token into the record, in the place of the one for the
// same ask, dropping those that have ended and those that end first.
func (h *handout) keep(c access, now time.Time) {
	h.Access = slices.DeleteFunc(h.Access, func(o access) bool {
		return !o.ExpiresAt.After(now) || o.Resource == c.Resource && slices.Equal(o.Scopes, c.Scopes)
	})
	h.Access = append(h.Access, c)
	if len(h.Access) > maxAccess {
		slices.SortFunc(h.Access, func(a, b access) int { return a.ExpiresAt.Compare(b.ExpiresAt) })
		h.Access = h.Access[len(h.Access)-maxAccess:]
	}
}

// refusal is the answer for a grant that needs no request to be refused: one
// that has ended, or a suspended one that was tried within the last minute.
func (r *record) refusal(now time.Time) *Error {
	switch {
	case r.State == Ended:
		return &Error{Class: ClassFinal, Code: "invalid_grant", Status: r.Status()}
	case r.State == Suspended && now.Sub(r.ProbedAt) < probeEvery:
		return &Error{Class: ClassSuspended, Code: "invalid_grant", Status: r.Status()}
	}
	return nil
}

// refreshed takes an answer of the provider over: the new token if there is one
// (an absent refresh_token means unchanged, RFC 6749 §6), what it tells about
// the person and the limits. The intent is fulfilled, a suspension lifted. The
// access token is kept only if none was dropped since the epoch.
func (r *record) refreshed(a Ask, ans answer, epoch uint64, now time.Time) {
	if ans.RefreshToken != "" {
		r.RefreshToken = ans.RefreshToken
		if r.Local {
			if s := offlineSession(ans.RefreshToken); s != "" {
				r.OfflineSession = s
			}
		}
	}
	r.Intent, r.Lease = nil, r.Lease.Release()
	if r.State == Suspended {
		r.tell(Notice{Kind: EventRestored, At: now})
	}
	r.activate()
	r.resolve(epoch)
	r.limits(ans.IdleExpiresIn, ans.RefreshExpiresIn, now)
	r.RefreshedAt = now
	if ans.Jobs != nil && r.JobsAtProvider {
		r.Jobs = ans.Jobs // the provider keeps the consent
	}
	if ans.Identity != nil {
		r.identify(*ans.Identity, a.all(r.Scopes))
	}
	if epoch == r.Epoch && !a.background {
		r.keep(access{
			Scopes: a.Scopes, Resource: a.Resource, Granted: ans.Scope,
			Token: ans.AccessToken, IssuedAt: ans.SentAt, ExpiresAt: ans.SentAt.Add(ans.Lifetime),
		}, now)
	}
}

// activate makes the grant one that works.
func (r *record) activate() {
	r.State, r.Reason = Active, ""
	r.SuspendedAt, r.ProbedAt, r.Probes, r.Lapsed = time.Time{}, time.Time{}, 0, false
	r.Misses, r.RetryAt = 0, time.Time{}
}

// limits takes over what an answer tells of them. Whether an end moves with each
// refresh is seen at one that is not close upon the last.
func (r *record) limits(idle, max time.Duration, now time.Time) {
	if idle > 0 {
		r.IdleLimit = idle
	}
	before := r.MaxAt
	r.MaxAt = time.Time{}
	if max > 0 {
		r.MaxAt = now.Add(max)
	}
	if since := now.Sub(r.RefreshedAt); before.IsZero() || r.MaxAt.IsZero() {
		r.MaxFixed = false
	} else if since >= time.Minute {
		r.MaxFixed = r.MaxAt.Sub(before) < since/2
	}
}

// identify updates what the ID token says of the person. A claim that is absent
// says something only if everything granted was asked for: a narrower scope
// holds fewer claims.
func (r *record) identify(id identityClaims, complete bool) {
	if id.Username != "" {
		r.Username = id.Username
	}
	if id.Email != "" {
		r.Email, r.EmailVerified = id.Email, id.EmailVerified
	}
	if id.Groups != nil || complete {
		r.Groups = id.Groups
	}
}

// refused marks a grant that the provider refused for its newest token: ended
// if our own realm says that it is, or if it has been refused for 30 days, else
// suspended with its token kept.
func (r *record) refused(code, grantStatus string, now time.Time) *Error {
	r.Access, r.Lease = nil, r.Lease.Release()
	r.Reason = code
	if r.Local && grantStatus != "" {
		r.Reason = grantStatus
	}
	known := r.State == Suspended
	if !known {
		r.State, r.SuspendedAt, r.Probes = Suspended, now, 0
	}
	r.ProbedAt = now
	r.Probes++
	r.Misses, r.RetryAt = 0, time.Time{}
	if r.Local && slices.Contains(finals, grantStatus) || now.Sub(r.SuspendedAt) >= giveUpAfter {
		r.end(r.Reason, now)
		return r.refusal(now)
	}
	if !known {
		r.tell(Notice{Kind: EventSuspended, Reason: r.Reason, At: now})
	}
	return &Error{Class: ClassSuspended, Code: code, Status: r.Status()}
}

// dropped forgets the access tokens. With a reason the grant is suspended too,
// to be tried at the very next ask: the provider's own answer decides.
func (r *record) dropped(reason string, now time.Time) {
	r.Access = nil
	r.Epoch++
	if reason == "" || r.State == Ended {
		return
	}
	if r.State != Suspended {
		r.State, r.SuspendedAt, r.Probes = Suspended, now, 0
		r.tell(Notice{Kind: EventSuspended, Reason: reason, At: now})
	}
	r.Reason, r.ProbedAt, r.Lapsed = reason, time.Time{}, false
}

// doubt lets the provider be asked at once, though nobody wants a token: something
// of the person has changed, for better or worse.
func (r *record) doubt(now time.Time) {
	if r.State == Ended || r.Lapsed {
		return
	}
	r.DoubtedAt, r.ProbedAt = now, time.Time{}
	r.Misses, r.RetryAt = 0, time.Time{}
}

// resolve ends a doubt that the provider answered to, unless something has changed
// since it was asked.
func (r *record) resolve(epoch uint64) {
	switch {
	case r.DoubtedAt.IsZero():
	case epoch == r.Epoch:
		r.DoubtedAt = time.Time{}
	default:
		r.ProbedAt = time.Time{}
	}
}

// lapsed suspends a grant that was not kept alive because nobody used it. The
// provider has most likely ended it; what it really says is heard when a job
// asks.
func (r *record) lapsed(now time.Time) {
	r.Access = nil
	r.Epoch++
	r.State, r.Reason, r.Lapsed = Suspended, "idle_expired", true
	r.SuspendedAt, r.ProbedAt, r.Probes = now, time.Time{}, 0
	r.tell(Notice{Kind: EventLapsed, Reason: lapseUnused, At: now})
}

// end turns the record into a tombstone: what is secret goes, the reason stays.
func (r *record) end(reason string, now time.Time) {
	if kind := endKind(reason); !r.Lapsed || kind != EventLapsed { // that it lapsed has been told
		r.tell(Notice{Kind: kind, Reason: reason, At: now})
	}
	r.State, r.Reason = Ended, reason
	r.RefreshToken, r.Access, r.Intent, r.Jobs = "", nil, nil, nil
	r.Lease = r.Lease.Release()
	r.Epoch++
}

// unnoted tells whether a hand-out to a job is to be remembered.
func (g *Grant) unnoted(job string, now time.Time) bool {
	return job != "" && now.Sub(g.Uses[job]) >= useEvery
}

// used remembers a hand-out, to a minute, and tells whether anything changed.
func (r *record) used(job string, now time.Time) bool {
	if !r.unnoted(job, now) {
		return false
	}
	if r.Uses == nil {
		r.Uses = map[string]time.Time{}
	}
	r.Uses[job], r.LastUsedAt = now, now
	return true
}

// login takes a new login over and tells which scopes would be lost by it. A grant
// that works is not given up for less: then the login's token is to be revoked,
// else the one that it replaces; either only if it is of another offline session
// of our own realm, for a foreign provider may end every token of the client
// with it.
func (r *record) login(l Login, local bool, now time.Time) (lost []string) {
	lost = r.lost(l)
	session := ""
	if local {
		session = offlineSession(l.RefreshToken)
	}
	surplus := r.RefreshToken
	if r.State == Active && len(lost) > 0 {
		surplus = l.RefreshToken
	}
	if r.Local && local && surplus != "" && session != "" && r.OfflineSession != "" && session != r.OfflineSession {
		r.Replaced = append(r.Replaced, surplus)
		r.Replaced = r.Replaced[max(0, len(r.Replaced)-maxReplaced):]
	}
	if r.State == Active && len(lost) > 0 {
		return lost
	}
	if r.CreatedAt.IsZero() {
		r.CreatedAt = now
	}
	r.Provider, r.Client, r.Site, r.Local = l.Provider, l.Client, strings.TrimSuffix(l.Site, "/"), local
	r.Sub, r.Username, r.Email, r.EmailVerified = l.Sub, l.Username, l.Email, l.EmailVerified
	r.Groups, r.Scopes = slices.Clone(l.Groups), slices.Clone(l.Scopes)
	r.RefreshToken, r.OfflineSession = l.RefreshToken, session
	if r.JobsAtProvider = l.Jobs != nil; r.JobsAtProvider {
		r.Jobs = maps.Clone(l.Jobs)
	}
	r.Intent, r.DoubtedAt = nil, time.Time{}
	r.activate()
	r.GrantedAt, r.RefreshedAt = now, now
	r.IdleLimit, r.MaxAt = 0, time.Time{}
	r.limits(l.IdleExpiresIn, l.RefreshExpiresIn, now)
	r.Access = nil
	r.Epoch++
	r.Lease = r.Lease.Take("", now, 0).Release()
	if l.AccessToken != "" && l.AccessExpires.After(now) {
		r.keep(access{
			Scopes: Ask{}.normal(l.Scopes).Scopes, Granted: strings.Join(l.Scopes, " "),
			Token: l.AccessToken, IssuedAt: now, ExpiresAt: l.AccessExpires,
		}, now)
	}
	r.tell(Notice{Kind: EventSaved, At: now})
	return lost
}

// lost are the scopes of the grant that a login neither holds nor has asked for.
func (r *record) lost(l Login) (lost []string) {
	if r.State != Active && r.State != Suspended {
		return nil
	}
	for _, s := range r.Scopes {
		// A provider need not name offline_access, which is what a grant is.
		if s != "offline_access" && !slices.Contains(l.Scopes, s) && !slices.Contains(l.Asked, s) {
			lost = append(lost, s)
		}
	}
	return lost
}
