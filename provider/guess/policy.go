package guess

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
)

// Policy is how wrong guesses are slowed.
type Policy struct {
	Factor    int           // so many wrong ones cost nothing; 0: none ever does
	Increment time.Duration // above 0: the wait after these, and so much more after each further one
	Max       time.Duration // the longest wait
	Forget    time.Duration // a count begins anew so long after its last wrong one
}

// PolicyOf a realm, with defaults filled in (realm.Get).
func PolicyOf(s realm.Settings) Policy {
	if s.BruteForceProtected != nil && !*s.BruteForceProtected {
		return Policy{}
	}
	return Policy{Factor: s.FailureFactor, Increment: s.WaitIncrement, Max: s.MaxFailureWait, Forget: s.MaxDeltaTime}
}

// times is the policy for who is many people at once.
func (p Policy) times(n int) Policy {
	p.Factor *= n
	return p
}

// Count of wrong guesses.
type Count struct {
	Wrong int       `json:"wrong,omitempty"`
	Last  time.Time `json:"last,omitzero"` // of the last one
}

// Wait is how long the next guess has to wait, 0 for not at all.
func (p Policy) Wait(c Count, now time.Time) time.Duration {
	steps := time.Duration(c.Wrong - p.Factor + 1)
	if p.Factor == 0 || steps <= 0 || p.forgets(c, now) {
		return 0
	}
	wait := p.Max
	if steps < p.Max/p.Increment {
		wait = steps * p.Increment
	}
	return max(0, wait-now.Sub(c.Last))
}

// Add counts one more.
func (p Policy) Add(c Count, now time.Time) Count {
	if p.forgets(c, now) {
		c = Count{}
	}
	return Count{Wrong: c.Wrong + 1, Last: now.UTC()}
}

func (p Policy) forgets(c Count, now time.Time) bool { return now.Sub(c.Last) >= p.Forget }

// Slow is the answer to who has to wait.
func Slow(wait time.Duration) *oidc.Error {
	in := "a minute"
	if minutes := int((wait + time.Minute - 1) / time.Minute); minutes > 1 {
		in = strconv.Itoa(minutes) + " minutes"
	}
	return oidc.Errorf(oidc.CodeSlowDown, "too many attempts were wrong; try again in %s", in).WithRetryAfter(wait)
}

// Slowed makes it an error.
func Slowed(wait time.Duration, err error) error {
	if err == nil && wait > 0 {
		return Slow(wait)
	}
	return err
}

// network is whose an address is: of IPv6 one customer has a whole /64.
func network(ip string) string {
	if addr, err := netip.ParseAddr(ip); err == nil && addr.Is6() && !addr.Is4In6() {
		if prefix, err := addr.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return ip
}
