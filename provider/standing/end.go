package standing

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// What people and administrators end, each with all that hangs on it. The
// functions return the events of what they did, for the same transaction
// (audit.Log.Update); the caller adds who asked and from where. Records that are
// given were read in this transaction. Those that return more ended as many
// sessions as fit into one: the caller goes on in a new one until there are no
// more.

// Ended is the event of an offline session that has ended.
func Ended(tx storage.Tx, realmName string, cs *session.ClientSession, now time.Time) event.Event {
	e := event.Event{
		Time: now, Type: event.OfflineSessionEnd, Realm: realmName, Client: clientName(tx, realmName, cs.Client), Subject: cs.User,
		Session: cs.SID(), OfflineSession: cs.ID, Reason: cs.Status,
	}
	if u, err := user.Users.Shared(tx, realmName, cs.User); err == nil {
		e.Username = u.Username
	}
	return e
}

// clientName is a client's client_id, "" once it is deleted. A failure to read
// fails the transaction by itself.
func clientName(tx storage.Tx, realmName, id string) string {
	c, err := client.Clients.Shared(tx, realmName, id)
	if err != nil {
		return ""
	}
	return c.ClientID
}

// endAll ends the offline sessions of a user, at one client or ("") at all.
func endAll(tx storage.Tx, realmName, userID, clientID string, status session.Status, now time.Time) ([]event.Event, error) {
	ended, err := session.EndAll(tx, realmName, userID, clientID, status, now)
	if err != nil {
		return nil, err
	}
	events := make([]event.Event, 0, len(ended)+1)
	for i := range ended {
		events = append(events, Ended(tx, realmName, &ended[i], now))
	}
	return events, nil
}

// EndLogins ends the user sessions of a user, but one (except may be ""), and
// leaves the offline sessions alone.
func EndLogins(tx storage.Tx, realmName string, u *user.User, except string, now time.Time) (events []event.Event, more bool, err error) {
	ended, more, err := session.EndUsers(tx, realmName, u.ID, except)
	for _, us := range ended {
		events = append(events, loggedOut(realmName, u, us.ID, now))
	}
	return events, more, err
}

// EndLogin ends one user session of a user; offline sessions that were born in it
// live on.
func EndLogin(tx storage.Tx, realmName string, u *user.User, sid string, now time.Time) ([]event.Event, error) {
	if _, err := session.EndUser(tx, realmName, sid); err != nil {
		return nil, err
	}
	return []event.Event{loggedOut(realmName, u, sid, now)}, nil
}

func loggedOut(realmName string, u *user.User, sid string, now time.Time) event.Event {
	return event.Event{Time: now, Type: event.Logout, Realm: realmName, Subject: u.ID, Username: u.Username, Session: sid}
}

// EndOffline ends one offline session; nil if there is none that works.
func EndOffline(tx storage.Tx, realmName, id string, now time.Time) ([]event.Event, error) {
	cs, err := session.ClientSessions.Get(tx, realmName, id)
	if errors.Is(err, storage.ErrNotFound) || err == nil && !cs.Offline {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading client session: %w", err)
	}
	ended, err := session.End(tx, realmName, id, session.Revoked, now)
	if err != nil || ended == nil {
		return nil, err
	}
	return []event.Event{Ended(tx, realmName, ended, now)}, nil
}

// Withdraw takes back what a user allowed a client, and ends the client's
// offline sessions of that user (O65). There may be sessions without a consent;
// no event: there was neither.
func Withdraw(tx storage.Tx, realmName string, u *user.User, clientID string, now time.Time) (events []event.Event, more bool, err error) {
	had, err := consent.Withdraw(tx, realmName, u.ID, clientID)
	if err != nil {
		return nil, false, fmt.Errorf("withdrawing consent: %w", err)
	}
	if events, err = endAll(tx, realmName, u.ID, clientID, session.Revoked, now); err != nil {
		return nil, false, err
	}
	more = len(events) >= session.EndBatch
	if had || len(events) > 0 {
		name := clientName(tx, realmName, clientID)
		events = append(events, event.Event{
			Time: now, Type: event.RevokeGrant, Realm: realmName, Client: name, Subject: u.ID, Username: u.Username,
			Details: map[string]string{"revoked_client": name},
		})
	}
	return events, more, nil
}

// WithdrawJob takes one job out of what a user consented to at a client, and out of
// his offline sessions there; the others stay. A job that was not consented to is
// fine.
func WithdrawJob(tx storage.Tx, realmName string, u *user.User, c *client.Client, job string, now time.Time) ([]event.Event, error) {
	gone, err := consent.WithdrawJob(tx, realmName, u.ID, c.ID, job, now)
	if err != nil || !gone {
		return nil, err
	}
	err = session.WithdrawDetails(tx, realmName, u.ID, c.ID, func(d []json.RawMessage) []json.RawMessage {
		return consent.WithoutJob(d, job)
	})
	return []event.Event{{
		Time: now, Type: event.UpdateConsent, Realm: realmName, Client: c.ClientID, Subject: u.ID, Username: u.Username,
		Details: map[string]string{"removed_job": job},
	}}, err
}

// LogOut is an administrator's "log out all sessions" of a user: his logins end,
// and his not-before is now, so that offline sessions that exist are refused too
// (O31).
func LogOut(tx storage.Tx, realmName string, u *user.User, now time.Time) (events []event.Event, more bool, err error) {
	if events, more, err = EndLogins(tx, realmName, u, "", now); err != nil {
		return nil, false, err
	}
	changed := *u
	changed.NotBefore = max(u.NotBefore, now.UnixMilli())
	if err := user.Users.Put(tx, realmName, u.ID, &changed); err != nil {
		return nil, false, err
	}
	return append(events, UserChanged(realmName, u, session.IssuedBefore, now)), more, nil
}

// Reasons of UserChanged that are no grant status. The last two give something back
// and end nothing.
const (
	RolesTaken  = "roles"
	Groups      = "groups"
	RolesGiven  = "roles_given"
	UserEnabled = "user_enabled"
)

// UserChanged is the event of a change that may end what a user has, or bring it
// back.
func UserChanged(realmName string, u *user.User, reason string, now time.Time) event.Event {
	return event.Event{Time: now, Type: event.UserChanged, Realm: realmName, Subject: u.ID, Username: u.Username, Reason: reason}
}

// Reasons of ClientChanged that are no grant status.
const (
	ClientDisabled = "client_disabled"
	ClientEnabled  = "client_enabled"
	ClientDeleted  = "client_deleted"
)

// ClientChanged is the event of a change that may end what a client has, or bring
// it back.
func ClientChanged(realmName string, c *client.Client, reason string, now time.Time) event.Event {
	return event.Event{Time: now, Type: event.ClientChanged, Realm: realmName, Client: c.ClientID, Reason: reason}
}

// SetPassword gives a user a password, "" for none. Nothing ends, unless
// everywhere is ticked: then all logins end but the one in except, and all
// offline sessions (O40). A caller for whom there is more goes on with SignOut.
func SetPassword(tx storage.Tx, realmName string, u *user.User, hash string, everywhere bool, except string, now time.Time) (events []event.Event, more bool, err error) {
	changed := *u
	changed.PasswordHash = hash
	if err := user.Users.Put(tx, realmName, u.ID, &changed); err != nil {
		return nil, false, err
	}
	if everywhere {
		if events, more, err = SignOut(tx, realmName, u, except, now); err != nil {
			return nil, false, err
		}
	}
	return append(events, PasswordChanged(realmName, u, now)), more, nil
}

// PasswordChanged is the event of a new password.
func PasswordChanged(realmName string, u *user.User, now time.Time) event.Event {
	return event.Event{
		Time: now, Type: event.UpdateCredential, Realm: realmName, Subject: u.ID, Username: u.Username,
		Details: map[string]string{"credential_type": "password"},
	}
}

// SignOut ends all logins of a user but one (except may be ""), and all offline
// sessions.
func SignOut(tx storage.Tx, realmName string, u *user.User, except string, now time.Time) (events []event.Event, more bool, err error) {
	if events, more, err = EndLogins(tx, realmName, u, except, now); err != nil {
		return nil, false, err
	}
	offline, err := endAll(tx, realmName, u.ID, "", session.Revoked, now)
	if err != nil {
		return nil, false, err
	}
	return append(events, offline...), more || len(offline) >= session.EndBatch, nil
}

// RevokeUser ends all offline sessions of a user, and leaves the logins and the
// consents alone.
func RevokeUser(tx storage.Tx, realmName string, u *user.User, now time.Time) (events []event.Event, more bool, err error) {
	events, err = endAll(tx, realmName, u.ID, "", session.Revoked, now)
	return events, len(events) >= session.EndBatch, err
}

// RevokeClient ends all offline sessions of a client at once: one write, however
// many they are. The sweeper tells of each.
func RevokeClient(tx storage.Tx, realmName string, c *client.Client, now time.Time) ([]event.Event, error) {
	n, err := session.CountOffline(tx, realmName, c)
	if err != nil {
		return nil, fmt.Errorf("counting offline sessions: %w", err)
	}
	changed := *c
	changed.OfflineEpoch++
	if err := client.Clients.Put(tx, realmName, c.ID, &changed); err != nil {
		return nil, err
	}
	e := ClientChanged(realmName, c, session.Revoked, now)
	e.Details = map[string]string{"offline_sessions": strconv.Itoa(n)}
	return []event.Event{e}, nil
}

// DeleteUser deletes a user with his sessions and consents. Call it until there
// is no more: the user himself goes last, disabled from the first call on.
func DeleteUser(tx storage.Tx, realmName string, u *user.User, now time.Time) (events []event.Event, more bool, err error) {
	if events, more, err = EndLogins(tx, realmName, u, "", now); err != nil {
		return nil, false, err
	}
	offline, err := endAll(tx, realmName, u.ID, "", session.UserDeleted, now)
	if err != nil {
		return nil, false, err
	}
	consents, err := dropConsents(tx, realmName, "user", u.ID)
	if err != nil {
		return nil, false, err
	}
	if events = append(events, offline...); more || consents || len(offline) >= session.EndBatch {
		gone := *u
		gone.Enabled = false
		return events, true, user.Users.Put(tx, realmName, u.ID, &gone)
	}
	if err := user.Users.Delete(tx, realmName, u.ID); err != nil {
		return nil, false, err
	}
	return append(events, UserChanged(realmName, u, session.UserDeleted, now)), false, nil
}

// DeleteClient deletes a client with its service account and the consents to it
// (O39). Its sessions are dead with it; the sweeper deletes them.
func DeleteClient(tx storage.Tx, realmName string, c *client.Client, now time.Time) (events []event.Event, more bool, err error) {
	if more, err = dropConsents(tx, realmName, "client", c.ID); err != nil {
		return nil, false, err
	}
	if more {
		gone := *c
		gone.Enabled = false
		return nil, true, client.Clients.Put(tx, realmName, c.ID, &gone)
	}
	account, err := optional(user.ServiceAccount(tx, realmName, c.ID))
	if err != nil {
		return nil, false, err
	}
	if account != nil {
		if err := user.Users.Delete(tx, realmName, account.ID); err != nil {
			return nil, false, err
		}
	}
	if err := client.Clients.Delete(tx, realmName, c.ID); err != nil {
		return nil, false, err
	}
	return []event.Event{ClientChanged(realmName, c, ClientDeleted, now)}, false, nil
}

// dropConsents deletes consents of a user or to a client, and tells whether some
// may be left.
func dropConsents(tx storage.Tx, realmName, index, value string) (more bool, err error) {
	ids, err := consent.Table.IDsBy(tx, realmName, index, value, "", session.EndBatch)
	if err != nil {
		return false, fmt.Errorf("listing consents: %w", err)
	}
	for _, id := range ids {
		if err := consent.Table.Delete(tx, realmName, id); err != nil {
			return false, fmt.Errorf("deleting consent: %w", err)
		}
	}
	return len(ids) == session.EndBatch, nil
}
