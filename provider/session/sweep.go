package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// keepEnded is how long the record of an ended client session stays, to tell
// why it ended: as long as the vault of an adapter asks about a grant that does
// not work.
const keepEnded = 30 * 24 * time.Hour

// sweepBatch bounds one transaction of the sweeper.
const sweepBatch = 500

// Updater is Store.Update for a sweeper: ended hears of the offline sessions that
// the run which commits has ended, so that their events can be written with it.
type Updater func(ctx context.Context, fn func(tx storage.Tx, ended func(*ClientSession)) error) error

// Sweep ends offline sessions that have expired by the policy of now, and
// deletes user sessions, online client sessions and records of ended ones that
// are of no use any more. Sessions are judged at each use anyway: the sweeper
// makes counts and listings true and frees space. It reads the index rows of
// what may have expired, not of what lives, and runs in batches; call it every
// minute.
func Sweep(ctx context.Context, store *storage.Store, update Updater, realmName string, now time.Time) error {
	policies, err := policiesOf(ctx, store, realmName)
	if err != nil {
		return fmt.Errorf("sweeping sessions: %w", err)
	}
	s := sweeper{ctx: ctx, store: store, update: update, realm: realmName, now: now}
	for id, p := range policies.byClient {
		s.revoked(id, p)
		s.offline(id, p)
	}
	s.orphans(policies.byClient)
	s.users(policies.realm)
	s.online(policies.realm)
	s.ended()
	if s.err != nil {
		return fmt.Errorf("sweeping sessions: %w", s.err)
	}
	return nil
}

type policies struct {
	realm    Policy            // of a client without overrides
	byClient map[string]Policy // by client.Client.ID
}

// policiesOf reads the settings and the clients of now.
func policiesOf(ctx context.Context, store *storage.Store, realmName string) (policies, error) {
	const page = 200
	var out policies
	err := store.View(ctx, func(tx storage.Tx) error {
		settings, err := realm.Get(tx, realmName)
		if err != nil {
			return err
		}
		out = policies{realm: PolicyOf(settings, &client.Client{}), byClient: map[string]Policy{}}
		for after := ""; ; {
			rows, err := client.Clients.List(tx, realmName, after, page)
			if err != nil {
				return err
			}
			for _, row := range rows {
				out.byClient[row.ID] = PolicyOf(settings, row.Record)
			}
			if len(rows) < page {
				return nil
			}
			after = rows[len(rows)-1].ID
		}
	})
	return out, err
}

// sweeper carries the first error through the steps.
type sweeper struct {
	ctx    context.Context
	store  *storage.Store
	update Updater
	realm  string
	now    time.Time
	err    error
}

// offline ends the expired offline sessions of a client.
func (s *sweeper) offline(clientID string, p Policy) {
	expire := func(tx storage.Tx, cs *ClientSession, ended func(*ClientSession)) error {
		if err := end(tx, s.realm, cs, expired(s.now, p.OfflineIdleEnd(cs), p.OfflineMaxEnd(cs)), s.now); err != nil {
			return err
		}
		ended(cs)
		return nil
	}
	doomed := func(_ storage.Tx, cs *ClientSession) (bool, error) {
		return cs.Status == Working && expired(s.now, p.OfflineIdleEnd(cs), p.OfflineMaxEnd(cs)) != Working, nil
	}
	from := clientID + "/"
	sweep(s, &ClientSessions, "idle", from, from+hour(s.now.Add(-p.OfflineIdle)), doomed, expire)
	if p.OfflineMax > 0 {
		sweep(s, &ClientSessions, "created", from, from+hour(s.now.Add(-p.OfflineMax)), doomed, expire)
	}
}

// revoked ends the offline sessions of a client's earlier epochs.
func (s *sweeper) revoked(clientID string, p Policy) {
	if p.Epoch == 0 {
		return
	}
	finish := func(tx storage.Tx, cs *ClientSession, ended func(*ClientSession)) error {
		if err := end(tx, s.realm, cs, Revoked, s.now); err != nil {
			return err
		}
		ended(cs)
		return nil
	}
	doomed := func(_ storage.Tx, cs *ClientSession) (bool, error) {
		return cs.Status == Working && cs.Epoch < p.Epoch, nil
	}
	sweep(s, &ClientSessions, "offline_client", clientID+"/", ofClient(clientID, p.Epoch-1), doomed, finish)
}

// orphans deletes the offline sessions of clients that are deleted.
func (s *sweeper) orphans(known map[string]Policy) {
	var gone []string
	if s.err == nil {
		s.err = s.store.View(s.ctx, func(tx storage.Tx) error {
			gone = nil
			return distinct(tx, s.realm, "offline_client", "", func(id string) error {
				if _, ok := known[id]; ok {
					return nil
				}
				// It may have come since the policies were read.
				_, err := client.Clients.Shared(tx, s.realm, id)
				if errors.Is(err, storage.ErrNotFound) {
					gone, err = append(gone, id), nil
				}
				return err
			})
		})
	}
	always := func(storage.Tx, *ClientSession) (bool, error) { return true, nil }
	drop := func(tx storage.Tx, cs *ClientSession, ended func(*ClientSession)) error {
		cs.Status = Revoked
		ended(cs)
		return s.delete(tx, cs, nil)
	}
	for _, id := range gone {
		sweep(s, &ClientSessions, "offline_client", id+"/", id+"/"+beyond, always, drop)
	}
}

// users ends the expired user sessions, by idle and by max.
func (s *sweeper) users(p Policy) {
	doomed := func(_ storage.Tx, us *UserSession) (bool, error) {
		return expired(s.now, p.loginIdleEnd(us), p.loginMaxEnd(us)) != Working, nil
	}
	drop := func(tx storage.Tx, us *UserSession, _ func(*ClientSession)) error {
		_, err := EndUser(tx, s.realm, us.ID)
		return err
	}
	for _, remembered := range []bool{false, true} {
		from := memory(remembered)
		idle, most := p.LoginLimits(remembered)
		sweep(s, &UserSessions, "accessed", from, from+hour(s.now.Add(-idle)), doomed, drop)
		sweep(s, &UserSessions, "started", from, from+hour(s.now.Add(-most)), doomed, drop)
	}
}

// online deletes online client sessions that outlived every login of their time:
// those that were born without a user session, and those that EndUser left.
func (s *sweeper) online(p Policy) {
	doomed := func(tx storage.Tx, cs *ClientSession) (bool, error) {
		if cs.Offline || cs.Status != Working {
			return false, nil
		}
		var us *UserSession
		if cs.UserSession != "" {
			var err error
			us, err = UserSessions.Get(tx, s.realm, cs.UserSession)
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return false, err
			}
		}
		return Check(p, cs, us, s.now) != Working, nil
	}
	_, most := p.LoginLimits(true)
	sweep(s, &ClientSessions, "online", "", hour(s.now.Add(-most)), doomed, s.delete)
}

// ended deletes the records of ended client sessions in time.
func (s *sweeper) ended() {
	doomed := func(_ storage.Tx, cs *ClientSession) (bool, error) {
		return cs.Status != Working && !s.now.Before(cs.EndedAt.Add(keepEnded)), nil
	}
	sweep(s, &ClientSessions, "ended", "", hour(s.now.Add(-keepEnded)), doomed, s.delete)
}

func (s *sweeper) delete(tx storage.Tx, cs *ClientSession, _ func(*ClientSession)) error {
	if err := leave(tx, s.realm, cs); err != nil {
		return err
	}
	return ClientSessions.Delete(tx, s.realm, cs.ID)
}

// sweep pages through a range of an index and drops the doomed records. They
// are picked in a view, so that a round which finds none writes nothing, and
// judged again in the update.
func sweep[T any](s *sweeper, table *storage.Table[T], index, from, to string,
	doomed func(storage.Tx, *T) (bool, error), drop func(storage.Tx, *T, func(*ClientSession)) error) {
	after, more := storage.Entry{Value: from}, true
	for more && s.err == nil && s.ctx.Err() == nil {
		var picked []string
		var next storage.Entry
		each := func(tx storage.Tx, ids []string, do func(id string, record *T) error) error {
			for _, id := range ids {
				record, err := table.Get(tx, s.realm, id)
				if errors.Is(err, storage.ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				switch yes, err := doomed(tx, record); {
				case err != nil:
					return err
				case !yes:
					continue
				}
				if err := do(id, record); err != nil {
					return err
				}
			}
			return nil
		}
		s.err = s.store.View(s.ctx, func(tx storage.Tx) error {
			picked = nil
			entries, err := table.Between(tx, s.realm, index, after, to, sweepBatch)
			if err != nil {
				return err
			}
			ids := make([]string, 0, len(entries))
			for _, e := range entries {
				ids = append(ids, e.ID)
				next = e
			}
			more = len(entries) == sweepBatch
			return each(tx, ids, func(id string, _ *T) error { picked = append(picked, id); return nil })
		})
		if s.err == nil && len(picked) > 0 {
			s.err = s.update(s.ctx, func(tx storage.Tx, ended func(*ClientSession)) error {
				return each(tx, picked, func(_ string, record *T) error { return drop(tx, record, ended) })
			})
		}
		after = next
	}
}
