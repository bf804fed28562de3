package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/storage"
)

// Record is one browser session. Records are never changed in place: whoever
// holds one may read it without a lock.
type Record struct {
	Identity Identity  `json:"identity"`
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"last_seen"`
	// Checked is when the provider was last asked to vouch for the claims, and did.
	Checked time.Time `json:"checked"`
	// Scopes that the last login with a page granted.
	Scopes []string `json:"scopes,omitempty"`
	// ProviderSession is the sid of the ID token.
	ProviderSession string `json:"provider_session,omitempty"`
	IDToken         string `json:"id_token,omitempty"` // hint for the provider's logout
	// RefreshToken is the session's own, never an offline token.
	RefreshToken string `json:"refresh_token,omitempty"`
	// AccessExpires is when the access token expires that came with it; zero: not told.
	AccessExpires time.Time `json:"access_expires,omitzero"`
	// Refused is why there is no background access, "" if nobody refused it;
	// Without tells that the person chose to go on without.
	Refused page.Text `json:"refused,omitempty"`
	Without bool      `json:"without,omitempty"`
	// Denied are scopes that were asked for and not granted although background
	// access was: asking again would go round in circles.
	Denied []string `json:"denied,omitempty"`
	// Granted is when background access was granted in this session, zero if
	// never.
	Granted time.Time `json:"granted,omitzero"`
	// Named are the jobs that the provider noted then, which may act for the person
	// in the background.
	Named []string `json:"named,omitempty"`
}

// Config of a Store.
type Config struct {
	Store  *storage.Store
	Sealer storage.Sealer
	Site   string // scope of the records
	// Behind names what the sessions of a provider hang on (see OfProvider): those
	// that it vouched for before its end are over. Default: nothing.
	Behind func(provider string) []string
	// Idle and Max end a session unused and at the latest.
	Idle, Max time.Duration
	// Bearers is the age at which an access token does not count any more, whatever
	// it says: what ended is remembered as long.
	Bearers time.Duration
	Now     func() time.Time
	Random  io.Reader
	Log     *slog.Logger
	// Shared: other processes write to the same store. Then sessions are kept in
	// memory only while Watch hears of them.
	Shared bool
}

// Store keeps the sessions of one site.
type Store struct {
	config Config
	table  storage.Table[Record]
	endsOf storage.Table[end]

	mu    sync.Mutex
	cache map[key]*Record
	deaf  bool // others write, and nobody tells of it: nothing is cached
	// ends by name (see ends.go), complete while endsHeard.
	ends      map[string]end
	endsHeard bool
	// gone counts what was forgotten: what was read from the store before may be
	// of the past and is not remembered.
	gone uint64
}

// maxCached bounds the cache; beyond it any other entry goes, to be read again.
const maxCached = 100_000

// NewStore makes a Store. It does no I/O.
func NewStore(c Config) *Store {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{config: c, cache: map[key]*Record{}, deaf: c.Shared, ends: map[string]end{}, endsOf: endsTable(), table: table(c.Sealer)}
}

// Indexed is the table of sessions, for Store.Index.
func Indexed(sealer storage.Sealer) storage.Indexed {
	t := table(sealer)
	return &t
}

func table(sealer storage.Sealer) storage.Table[Record] {
	return storage.Table[Record]{
		Name: "browser_session", Sealer: sealer,
		Indexes: map[string]storage.Index[Record]{
			"sub": {Counted: true, Values: func(r *Record) []string { return []string{r.Identity.Provider + "/" + r.Identity.Subject} }},
			"sid": {Values: func(r *Record) []string {
				if r.ProviderSession == "" {
					return nil
				}
				return []string{r.Identity.Provider + "/" + r.ProviderSession}
			}},
			"created": {Values: func(r *Record) []string { return []string{r.Created.UTC().Format(time.RFC3339)} }},
		},
	}
}

// key is the hash of a cookie: what a thief of the store does not get.
type key [sha256.Size]byte

func keyOf(cookie string) key {
	var buf [cookieLength]byte // []byte(cookie) would be on the heap
	return sha256.Sum256(append(buf[:0], cookie...))
}

// cookieLength of 32 random bytes in base64.
const cookieLength = 43

// id of the record in the store.
func (k key) id() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// parseID is the inverse of id.
func parseID(id string) (k key, ok bool) {
	n, err := base64.RawURLEncoding.Decode(k[:], []byte(id))
	return k, err == nil && n == len(k)
}

// Create writes a new session, synced, and returns the value of its cookie: 256
// random bits. The session of the former cookie, if any, ends with the same
// commit. Created is kept if it is set: a session of the same person that got a
// new id is not younger for that.
func (s *Store) Create(ctx context.Context, r Record, former string) (cookie string, err error) {
	random := s.config.Random
	if random == nil {
		random = rand.Reader
	}
	var raw [32]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fmt.Errorf("making session id: %w", err)
	}
	cookie = base64.RawURLEncoding.EncodeToString(raw[:])
	now := s.config.Now().UTC()
	if r.Created.IsZero() {
		r.Created = now
	}
	r.LastSeen, r.Checked = now, now
	before := s.epoch()
	err = s.config.Store.Update(ctx, func(tx storage.Tx) error {
		if former != "" {
			if err := s.table.Delete(tx, s.config.Site, keyOf(former).id()); err != nil {
				return err
			}
		}
		return s.table.Put(tx, s.config.Site, keyOf(cookie).id(), &r)
	})
	if err != nil {
		return "", fmt.Errorf("writing session: %w", err)
	}
	s.remember(keyOf(cookie), &r, before)
	s.forget(keyOf(former))
	return cookie, nil
}

// Get returns the session of a cookie, nil without one that lives. A session
// that is cached costs no storage access, but for a write when LastSeen has
// moved by a tenth of the idle limit.
func (s *Store) Get(ctx context.Context, cookie string) (*Record, error) {
	if len(cookie) != cookieLength {
		return nil, nil
	}
	id := keyOf(cookie)
	now := s.config.Now().UTC()
	r, before, over, err := s.cached(ctx, id)
	if err == nil && r == nil {
		r, err = s.read(ctx, id, before)
	}
	if err != nil || r == nil || over || ended(r, s.config.Idle, s.config.Max, now) {
		return nil, err
	}
	if now.Sub(r.LastSeen) > s.config.Idle/10 {
		seen := *r
		seen.LastSeen = now
		// At once in memory, so that only one request writes.
		s.remember(id, &seen, before)
		changed, err := s.Change(context.WithoutCancel(ctx), cookie, func(r *Record) { r.LastSeen = now })
		if err != nil {
			s.config.Log.WarnContext(ctx, "noting the use of a session", "err", err)
			return &seen, nil
		}
		return changed, nil // nil: it was ended meanwhile
	}
	return r, nil
}

// cached is what memory knows of a session, nil without it, and whether it is over by
// an end of many. It asks the store for ends alone, and only while it does not hear
// of them.
func (s *Store) cached(ctx context.Context, id key) (r *Record, before uint64, over bool, err error) {
	s.mu.Lock()
	r, before = s.cache[id], s.gone
	s.mu.Unlock()
	if r == nil {
		return nil, before, false, nil
	}
	found, heard := s.learned(r.Checked, s.behind(r))
	if found || heard || !s.config.Shared {
		return r, before, found, nil // what ended before it was read, the store said then
	}
	over, err = s.Ended(ctx, r.Checked, s.behind(r)...)
	return r, before, over, err
}

// read brings a session to memory, nil without one or if it is over.
func (s *Store) read(ctx context.Context, id key, before uint64) (r *Record, err error) {
	over := false
	err = s.config.Store.View(ctx, func(tx storage.Tx) error {
		if r, err = s.table.Get(tx, s.config.Site, id.id()); err != nil {
			return err
		}
		over, err = s.endedIn(tx, r.Checked, s.behind(r))
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading session: %w", err)
	}
	if over {
		return nil, nil // and it is not remembered, for in memory nobody may know of the end
	}
	s.remember(id, r, before)
	return r, nil
}

func (s *Store) behind(r *Record) []string {
	if s.config.Behind == nil {
		return nil
	}
	return s.config.Behind(r.Identity.Provider)
}

func ended(r *Record, idle, maximum time.Duration, now time.Time) bool {
	return !now.Before(r.LastSeen.Add(idle)) || !now.Before(r.Created.Add(maximum))
}

// Change writes a changed copy of a session and returns it, nil if the session
// has ended meanwhile.
func (s *Store) Change(ctx context.Context, cookie string, change func(*Record)) (*Record, error) {
	id := keyOf(cookie)
	before := s.epoch()
	var out *Record
	err := s.config.Store.Update(ctx, func(tx storage.Tx) error {
		out = nil
		r, err := s.table.Get(tx, s.config.Site, id.id())
		if err != nil {
			return err
		}
		change(r)
		out = r
		return s.table.Put(tx, s.config.Site, id.id(), r)
	})
	if errors.Is(err, storage.ErrNotFound) {
		s.forget(id)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("writing session: %w", err)
	}
	s.remember(id, out, before)
	return out, nil
}

// Reread is Get past the cache: what other nodes wrote a moment ago counts.
func (s *Store) Reread(ctx context.Context, cookie string) (*Record, error) {
	s.forget(keyOf(cookie))
	return s.Get(ctx, cookie)
}

// End ends the session of a cookie.
func (s *Store) End(ctx context.Context, cookie string) error {
	id := keyOf(cookie)
	err := s.config.Store.Update(ctx, func(tx storage.Tx) error { return s.table.Delete(tx, s.config.Site, id.id()) })
	s.forget(id)
	if err != nil {
		return fmt.Errorf("ending session: %w", err)
	}
	return nil
}

// Listed is a session and its name, a hash of its cookie: it opens nothing.
type Listed struct {
	ID   string
	Ends time.Time // at the latest, if nobody uses it from now on
	*Record
}

// List pages through the sessions that live, all or those of a subject at a
// provider, beginning behind after (""); next is "" behind the last page.
func (s *Store) List(ctx context.Context, provider, sub, after string, limit int) (out []Listed, next string, err error) {
	now := s.config.Now().UTC()
	err = s.config.Store.View(ctx, func(tx storage.Tx) error {
		var rows []storage.Row[Record]
		var err error
		if sub == "" {
			rows, err = s.table.List(tx, s.config.Site, after, limit)
		} else {
			rows, err = s.table.ListBy(tx, s.config.Site, "sub", provider+"/"+sub, after, limit)
		}
		out, next = nil, ""
		for _, row := range rows {
			ends := row.Record.LastSeen.Add(s.config.Idle)
			if latest := row.Record.Created.Add(s.config.Max); latest.Before(ends) {
				ends = latest
			}
			over, err := s.endedIn(tx, row.Record.Checked, s.behind(row.Record))
			if err != nil {
				return err
			}
			if !over && now.Before(ends) {
				out = append(out, Listed{row.ID, ends, row.Record})
			}
			if len(rows) == limit {
				next = row.ID
			}
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing sessions: %w", err)
	}
	return out, next, nil
}

// EndID ends the session with an id of List, and returns what it was, nil if it
// is none any more.
func (s *Store) EndID(ctx context.Context, id string) (ended *Record, err error) {
	err = s.config.Store.Update(ctx, func(tx storage.Tx) error {
		var err error
		if ended, err = s.table.Get(tx, s.config.Site, id); err != nil {
			ended = nil
			return err
		}
		return s.table.Delete(tx, s.config.Site, id)
	})
	s.forgetID(id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ending session: %w", err)
	}
	return ended, nil
}

// EndSubject ends all sessions of a subject at a provider, EndProviderSession
// those that were born in one provider session; and both what tokens were issued
// until then (see Ended), at once in this process even if it cannot be written. at is
// an instant of the clock that stamps those tokens, the provider's.
func (s *Store) EndSubject(ctx context.Context, provider, sub string, at time.Time) error {
	return s.endBy(ctx, "sub", provider+"/"+sub, OfSubject(provider, sub), at)
}

// EndProviderSession ends the sessions that a provider's session stands behind.
func (s *Store) EndProviderSession(ctx context.Context, provider, sid string, at time.Time) error {
	return s.endBy(ctx, "sid", provider+"/"+sid, OfProviderSession(provider, sid), at)
}

func (s *Store) endBy(ctx context.Context, index, value, name string, at time.Time) error {
	const batch = 200
	e := s.endAt(at.UTC())
	s.learnEnd(name, e)
	for first := true; ; first = false {
		var ids []string
		err := s.config.Store.Update(ctx, func(tx storage.Tx) error {
			var err error
			if first {
				if err := s.putEnd(tx, name, e); err != nil {
					return err
				}
			}
			if ids, err = s.table.IDsBy(tx, s.config.Site, index, value, "", batch); err != nil {
				return err
			}
			for _, id := range ids {
				if err := s.table.Delete(tx, s.config.Site, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("ending sessions: %w", err)
		}
		for _, id := range ids {
			s.forgetID(id)
		}
		if len(ids) < batch {
			return nil
		}
	}
}

// Sweep deletes sessions whose time is over by the limits of now.
func (s *Store) Sweep(ctx context.Context) error {
	const batch = 200
	now := s.config.Now().UTC()
	s.forgetEnds(now)
	if !s.config.Store.Alone(ctx, "sweep of site "+s.config.Site, 2*time.Minute) {
		return nil // another node does
	}
	after := storage.Entry{}
	for {
		var entries []storage.Entry
		var gone []string
		err := s.config.Store.Update(ctx, func(tx storage.Tx) error {
			gone = nil
			var err error
			entries, err = s.table.Between(tx, s.config.Site, "created", after, now.Add(-min(s.config.Idle, s.config.Max)).Format(time.RFC3339), batch)
			if err != nil {
				return err
			}
			for _, e := range entries {
				r, err := s.table.Get(tx, s.config.Site, e.ID)
				if err != nil {
					return err
				}
				if ended(r, s.config.Idle, s.config.Max, now) {
					gone = append(gone, e.ID)
					if err := s.table.Delete(tx, s.config.Site, e.ID); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("sweeping sessions: %w", err)
		}
		for _, id := range gone {
			s.forgetID(id)
		}
		if len(entries) < batch {
			return nil
		}
		after = entries[len(entries)-1]
	}
}

// Watch hears what other nodes change, until ctx ends. While it cannot, nothing is
// served from memory that they might have changed.
func (s *Store) Watch(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { s.again(ctx, "sessions", s.watchSessions) })
	both.Go(func() { s.again(ctx, "ends", s.watchEnds) })
	both.Wait()
}

// watchAgain is the pause before a watch begins again.
const watchAgain = 100 * time.Millisecond

func (s *Store) again(ctx context.Context, what string, watch func(context.Context) error) {
	for ctx.Err() == nil {
		err := watch(ctx)
		if ctx.Err() != nil || errors.Is(err, storage.ErrClosed) {
			return
		}
		s.config.Log.WarnContext(ctx, "watching "+what, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
}

func (s *Store) watchSessions(ctx context.Context) error {
	defer s.forgetAll(s.config.Shared)
	return s.config.Store.Watch(ctx, s.table.Prefix(s.config.Site), func() { s.forgetAll(false) }, func(keys [][]byte) {
		for _, key := range keys {
			if parts, err := storage.Parts(key); err == nil {
				s.forgetID(parts[len(parts)-1]) // read again at the next use
			}
		}
	})
}

// forgetAll drops all sessions from memory; deaf: until Watch hears again.
func (s *Store) forgetAll(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = deaf
	s.gone++
	clear(s.cache)
}

func (s *Store) epoch() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// remember caches what was read or written since the epoch before, unless
// something was forgotten in between: it could be this very session.
func (s *Store) remember(id key, r *Record, before uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != before || s.deaf {
		delete(s.cache, id)
		return
	}
	if len(s.cache) >= maxCached {
		for other := range s.cache {
			delete(s.cache, other)
			break
		}
	}
	s.cache[id] = r
}

func (s *Store) forget(id key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone++
	delete(s.cache, id)
}

func (s *Store) forgetID(id string) {
	if k, ok := parseID(id); ok {
		s.forget(k)
	}
}
