package standing

import (
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// LoggedIn returns the user session that a single sign-on cookie names and its
// user, both nil if the cookie logs nobody in: the session has ended, or the
// user is disabled or gone.
func LoggedIn(tx storage.Tx, s realm.Settings, cookie string, now time.Time) (*session.UserSession, *user.User, error) {
	us, err := optional(session.FindUser(tx, s.Name, cookie))
	if err != nil || us == nil {
		return nil, nil, err
	}
	u, err := optional(user.Users.Shared(tx, s.Name, us.User))
	if err != nil {
		return nil, nil, fmt.Errorf("reading user: %w", err)
	}
	if u == nil || !u.Enabled {
		return nil, nil, nil
	}
	// No client's not-before: single sign-on is the realm's and the user's.
	policy := session.PolicyOf(s, &client.Client{}).ForUser(u.NotBefore)
	if session.CheckUser(policy, us, now) != session.Working {
		return nil, nil, nil
	}
	return us, u, nil
}
