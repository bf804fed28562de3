package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

const (
	// evictable is how long an offline session must have been unused before
	// the limit may end it (O19).
	evictable = 7 * 24 * time.Hour
	// EndBatch bounds the client sessions that one transaction ends,
	// EndUsersBatch the user sessions.
	EndBatch      = 500
	EndUsersBatch = 100
)

// Start writes a new client session. The instants that are not set are taken
// from Created, which must be set, as must ID, User and Client.
//
// Beyond the limit of offline sessions per user and client the longest unused
// ones end with status "revoked", never one that was used within 7 days before
// Created; they are returned for their events. The limit is a broom, not an
// invariant: it may be exceeded for a while.
func Start(tx storage.Tx, realm string, p Policy, cs ClientSession) (evicted []ClientSession, err error) {
	cs.Created = instant(cs.Created)
	if cs.LastUsed.IsZero() {
		cs.LastUsed = cs.Created
	}
	if cs.RotatedAt.IsZero() {
		cs.RotatedAt = cs.Created
	}
	if cs.Generation == 0 {
		cs.Generation = 1
	}
	if !cs.AuthTime.IsZero() {
		cs.AuthTime = instant(cs.AuthTime)
	}
	cs.Browser = clip(cs.Browser)
	if cs.Offline {
		cs.Epoch = p.Epoch
	}
	if cs.Offline && p.Limit > 0 {
		if evicted, err = evict(tx, realm, p, cs); err != nil {
			return nil, fmt.Errorf("evicting offline sessions: %w", err)
		}
	}
	if err := ClientSessions.Put(tx, realm, cs.ID, &cs); err != nil {
		return nil, fmt.Errorf("writing client session: %w", err)
	}
	if !cs.Offline {
		if err := join(tx, realm, cs); err != nil {
			return nil, fmt.Errorf("writing user session: %w", err)
		}
	}
	return evicted, nil
}

// join notes a client in the user session of its online client session.
func join(tx storage.Tx, realm string, cs ClientSession) error {
	us, err := UserSessions.Get(tx, realm, cs.UserSession)
	if errors.Is(err, storage.ErrNotFound) || err == nil && slices.Contains(us.Clients, cs.Client) {
		return nil
	}
	if err != nil {
		return err
	}
	us.Clients = append(us.Clients, cs.Client)
	return UserSessions.Put(tx, realm, us.ID, us)
}

// leave takes the client out of the user session again when the last of its
// online client sessions has ended. Of very many it looks at some: what is left
// in goes with the user session.
func leave(tx storage.Tx, realm string, cs *ClientSession) error {
	if cs.Offline || cs.UserSession == "" {
		return nil
	}
	us, err := UserSessions.Get(tx, realm, cs.UserSession)
	if errors.Is(err, storage.ErrNotFound) || err == nil && !slices.Contains(us.Clients, cs.Client) {
		return nil
	}
	if err != nil {
		return err
	}
	rows, err := ClientSessions.ListBy(tx, realm, "user_session", us.ID, "", EndBatch)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.ID != cs.ID && row.Record.Client == cs.Client {
			return nil
		}
	}
	us.Clients = slices.DeleteFunc(us.Clients, func(id string) bool { return id == cs.Client })
	return UserSessions.Put(tx, realm, us.ID, us)
}

// Keep writes what Rotate decided about a session.
func Keep(tx storage.Tx, realm string, cs *ClientSession) error {
	if err := ClientSessions.Put(tx, realm, cs.ID, cs); err != nil {
		return fmt.Errorf("writing client session: %w", err)
	}
	if cs.Status == Working {
		return nil
	}
	return leave(tx, realm, cs)
}

// evict ends what is too much before cs comes in. The index "unused" orders by
// the hour of last use, so that the candidates come first however many there
// are; within them the record decides.
func evict(tx storage.Tx, realm string, p Policy, cs ClientSession) ([]ClientSession, error) {
	owner := cs.User + "/" + cs.Client
	count, err := ClientSessions.Count(tx, realm, "offline_user_client", ofUserAtClient(cs.User, cs.Client, cs.Epoch))
	if err != nil {
		return nil, err
	}
	excess := min(count+1-p.Limit, EndBatch)
	if excess <= 0 {
		return nil, nil
	}
	oldest := cs.Created.Add(-evictable)
	entries, err := ClientSessions.Between(tx, realm, "unused", storage.Entry{Value: owner + "/"}, owner+"/"+hour(oldest), excess+EndBatch)
	if err != nil {
		return nil, err
	}
	var candidates []ClientSession
	for _, e := range entries {
		c, err := ClientSessions.Get(tx, realm, e.ID)
		if err != nil {
			return nil, err
		}
		if !c.LastUsed.After(oldest) && c.Epoch == cs.Epoch {
			candidates = append(candidates, *c)
		}
	}
	slices.SortStableFunc(candidates, func(a, b ClientSession) int { return a.LastUsed.Compare(b.LastUsed) })
	candidates = candidates[:min(excess, len(candidates))]
	for i := range candidates {
		if err := end(tx, realm, &candidates[i], Revoked, cs.Created); err != nil {
			return nil, err
		}
	}
	return candidates, nil
}

// Find reads a client session and its user session, nil if that is gone or
// never was; storage.ErrNotFound if there is no client session.
func Find(tx storage.Tx, realm, id string) (*ClientSession, *UserSession, error) {
	cs, err := ClientSessions.Get(tx, realm, id)
	if err != nil {
		return nil, nil, err
	}
	if cs.Offline || cs.UserSession == "" {
		return cs, nil, nil // an offline session is not judged by the login it was born in
	}
	us, err := UserSessions.Get(tx, realm, cs.UserSession)
	if errors.Is(err, storage.ErrNotFound) {
		return cs, nil, nil
	}
	return cs, us, err
}

// End ends a client session with a status and returns it; nil if it does not
// exist or has ended before, which is fine.
func End(tx storage.Tx, realm, id string, status Status, now time.Time) (*ClientSession, error) {
	cs, err := ClientSessions.Get(tx, realm, id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading client session: %w", err)
	}
	if cs.Status != Working {
		return nil, nil
	}
	return cs, end(tx, realm, cs, status, now)
}

// EndAll ends the offline sessions of a user, at one client or ("") at all. It
// ends at most EndBatch and returns them; a caller that may meet more repeats in
// a new transaction until fewer come.
func EndAll(tx storage.Tx, realm, user, client string, status Status, now time.Time) ([]ClientSession, error) {
	ids, err := offlineIDs(tx, realm, user, client)
	if err != nil {
		return nil, fmt.Errorf("listing offline sessions: %w", err)
	}
	ended := make([]ClientSession, 0, len(ids))
	for _, id := range ids {
		cs, err := End(tx, realm, id, status, now)
		if err != nil {
			return nil, err
		}
		if cs != nil {
			ended = append(ended, *cs)
		}
	}
	return ended, nil
}

// offlineIDs lists offline sessions of every epoch.
func offlineIDs(tx storage.Tx, realm, user, client string) ([]string, error) {
	if user == "" {
		return nil, errors.New("no user given")
	}
	if client == "" {
		return ClientSessions.IDsBy(tx, realm, "offline_user", user, "", EndBatch)
	}
	owner := user + "/" + client + "/"
	entries, err := ClientSessions.Between(tx, realm, "offline_user_client", storage.Entry{Value: owner}, owner+beyond, EndBatch)
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	return ids, err
}

// end keeps the record, so that a refresh can be told why, out of every index
// but the sweeper's.
func end(tx storage.Tx, realm string, cs *ClientSession, status Status, now time.Time) error {
	cs.Status, cs.EndedAt = status, instant(now)
	return Keep(tx, realm, cs)
}

// clip bounds a User-Agent as records keep it, in whole runes.
func clip(browser string) string {
	const most = 256 // bytes
	if len(browser) <= most {
		return browser
	}
	n := most
	for n > 0 && browser[n]&0xc0 == 0x80 {
		n--
	}
	return browser[:n]
}
