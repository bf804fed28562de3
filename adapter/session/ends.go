package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// What has ended at the provider, a person's sessions or one session, also ends
// access tokens that were issued before. So does the end of all that a client or
// the whole provider had; that one ends browser sessions too, which are too many
// to be deleted one by one while somebody waits. The store remembers it for every node and
// for the next start; each node has it in memory while Watch runs, so that judging
// a token costs no storage read.

// end is the latest instant at which something ended.
type end struct {
	At time.Time `json:"at"`
	// Until is when nothing of before can count any more, and the end is forgotten.
	Until time.Time `json:"until,omitzero"`
}

// until is Until; rows of older versions do not say it.
func (e *end) until() time.Time {
	if e.Until.IsZero() {
		return e.At.Add(24 * time.Hour)
	}
	return e.Until
}

// endAt remembers an end as long as an access token or a session of before may
// count: an access token by its age, a session until nobody has used it for Idle.
func (s *Store) endAt(at time.Time) end {
	return end{At: at, Until: at.Add(max(s.config.Bearers, s.config.Idle))}
}

// putEnd writes an end, unless a later one is known.
func (s *Store) putEnd(tx storage.Tx, name string, e end) error {
	known, err := s.endsOf.Get(tx, s.config.Site, name)
	switch {
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("reading ends: %w", err)
	case err == nil && known.At.After(e.At):
		return nil
	}
	return s.endsOf.Put(tx, s.config.Site, name, &e)
}

func endsTable() storage.Table[end] {
	return storage.Table[end]{Name: "ended", Expires: (*end).until}
}

// OfSubject and OfProviderSession name what may end.
func OfSubject(provider, sub string) string { return keyOf("sub/" + provider + "/" + sub).id() }

// OfProviderSession names a session at a provider by its sid.
func OfProviderSession(provider, sid string) string { return keyOf("sid/" + provider + "/" + sid).id() }

// OfProvider, OfClient and OfOffline name all that a provider has, what one of its
// clients has, and the offline sessions of a client alone.
func OfProvider(provider string) string { return keyOf("all/" + provider).id() }

// OfClient names all that a client of a provider has.
func OfClient(provider, client string) string { return keyOf("client/" + provider + "/" + client).id() }

// OfOffline names the offline sessions of a client.
func OfOffline(provider, client string) string {
	return keyOf("offline/" + provider + "/" + client).id()
}

// OfToken names one access token by its jti.
func OfToken(provider, jti string) string { return keyOf("jti/" + provider + "/" + jti).id() }

// EndAll ends everything with this name (see OfProvider) that is of before, in one
// write.
func (s *Store) EndAll(ctx context.Context, name string) error {
	e := s.endAt(s.config.Now().UTC())
	s.learnEnd(name, e)
	err := s.config.Store.Update(ctx, func(tx storage.Tx) error {
		return s.putEnd(tx, name, e)
	})
	if err != nil {
		return fmt.Errorf("ending sessions: %w", err)
	}
	return nil
}

// Ended tells whether one of these (see OfSubject) ended at or after an instant:
// what was issued then is not valid any more. While Watch does not hear, it asks
// the store.
func (s *Store) Ended(ctx context.Context, issued time.Time, names ...string) (bool, error) {
	if found, heard := s.learned(issued, names); found || heard {
		return found, nil
	}
	found := false
	err := s.config.Store.View(ctx, func(tx storage.Tx) (err error) {
		found, err = s.endedIn(tx, issued, names)
		return err
	})
	return found, err
}

// learned is what is in memory of Ended; heard: that is all there is.
func (s *Store) learned(issued time.Time, names []string) (found, heard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if e, ok := s.ends[name]; ok && !issued.After(e.At) {
			return true, s.endsHeard
		}
	}
	return false, s.endsHeard
}

// endedIn is what the store says.
func (s *Store) endedIn(tx storage.Tx, issued time.Time, names []string) (bool, error) {
	for _, name := range names {
		e, err := s.endsOf.Get(tx, s.config.Site, name)
		switch {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return false, fmt.Errorf("reading ends: %w", err)
		case !issued.After(e.At):
			return true, nil
		}
	}
	return false, nil
}

// learnEnd notes an end in memory.
func (s *Store) learnEnd(name string, e end) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.At.After(s.ends[name].At) {
		s.ends[name] = e
	}
}

// hearEnds tells from when on the ends in memory are all there are.
func (s *Store) hearEnds(heard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endsHeard = heard
}

// watchEnds keeps the ends in memory complete until ctx ends or the store cannot
// tell any more.
func (s *Store) watchEnds(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer s.hearEnds(false)
	err := s.config.Store.Watch(ctx, s.endsOf.Prefix(s.config.Site), func() {
		if err := s.readEnds(ctx); err != nil {
			cancel(err)
			return
		}
		s.hearEnds(true)
	}, func(keys [][]byte) {
		if err := s.readEndsOf(ctx, keys); err != nil {
			s.hearEnds(false) // at once
			cancel(err)
		}
	})
	if cause := context.Cause(ctx); err == nil && cause != nil {
		return cause
	}
	return err
}

func (s *Store) readEnds(ctx context.Context) error {
	const page = 500
	return s.config.Store.View(ctx, func(tx storage.Tx) error {
		for after := ""; ; {
			rows, err := s.endsOf.List(tx, s.config.Site, after, page)
			if err != nil {
				return fmt.Errorf("reading ends: %w", err)
			}
			for _, row := range rows {
				s.learnEnd(row.ID, *row.Record)
			}
			if len(rows) < page {
				return nil
			}
			after = rows[len(rows)-1].ID
		}
	})
}

func (s *Store) readEndsOf(ctx context.Context, keys [][]byte) error {
	return s.config.Store.View(ctx, func(tx storage.Tx) error {
		for _, key := range keys {
			parts, err := storage.Parts(key)
			if err != nil {
				return err
			}
			name := parts[len(parts)-1]
			e, err := s.endsOf.Get(tx, s.config.Site, name)
			switch {
			case errors.Is(err, storage.ErrNotFound): // it was swept
			case err != nil:
				return fmt.Errorf("reading ends: %w", err)
			default:
				s.learnEnd(name, *e)
			}
		}
		return nil
	})
}

// forgetEnds lets go of ends before which nothing that counts can have begun.
func (s *Store) forgetEnds(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, e := range s.ends {
		if !now.Before(e.until()) {
			delete(s.ends, name)
		}
	}
}
