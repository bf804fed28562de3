package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// An engine for one process locks its folder. In one that many share, gateways
// note that they are there, and a command that needs the store alone holds a
// lease: each writes its own before it looks for the other's, so never do both go
// on.
const (
	commandLease = "command"
	presentFor   = time.Minute
	presentEvery = presentFor / 4
	// sealsFor is how long after it was heard of a node seals anything. What it had
	// sealed by then is written, or its transaction is ended by the server, before it
	// counts as gone.
	sealsFor = presentFor / 2
	// followEvery is how often a node looks which key seals.
	followEvery = time.Second
)

// attendant is somebody who uses a store that others may use too.
type attendant struct {
	store *storage.Store
	me    string     // among those who use it
	is    string     // the same for people
	live  *seal.Live // nil: it seals nothing
	last  time.Time
}

// attend makes the attendant of this process.
func attend(s *storage.Store, what string, live *seal.Live) *attendant {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return &attendant{store: s, me: rand.Text(), is: fmt.Sprintf("%s (%s, process %d)", host, what, os.Getpid()), live: live}
}

// say notes that it is there, and which keys it opens: those of given, which it is
// about to learn, if that is not nil.
func (a *attendant) say(ctx context.Context, given *seal.Keyset) error {
	if a.live == nil {
		return seal.StandBy(ctx, a.store, a.me, a.is, presentFor)
	}
	return a.live.Appear(ctx, a.store, a.me, a.is, presentFor, given)
}

// keep follows the key that seals, and says again what it said before that is
// forgotten.
func (a *attendant) keep(ctx context.Context) error {
	turned := false
	if a.live != nil {
		var err error
		if turned, err = a.live.Follow(ctx, a.store); err != nil {
			return err
		}
	}
	if !turned && time.Since(a.last) < presentEvery {
		return nil
	}
	at := time.Now()
	if err := a.say(ctx, nil); err != nil {
		return err
	}
	a.last = at
	return nil
}

// errInUse: a gateway or another command has the store.
var errInUse = errors.New("store is in use")

// appear notes that somebody uses a store that others may use, until ctx ends, and
// refuses to while a command has it alone. Once it has returned, what it seals is
// sealed with the key of now.
func (a *attendant) appear(ctx context.Context, warn func(error), loops *sync.WaitGroup) error {
	if err := a.say(ctx, nil); err != nil {
		return err
	}
	leave := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := a.store.Vanish(ctx, a.me); err != nil {
			warn(err)
		}
	}
	held, err := a.store.Held(ctx, commandLease)
	if err == nil && held {
		err = fmt.Errorf("%w: a command (copy, restore) works on it: start again when it has ended", errInUse)
	}
	if err == nil {
		err = a.keep(ctx)
	}
	if err != nil {
		leave()
		return err
	}
	loops.Go(func() {
		defer leave()
		every(ctx, followEvery, func() {
			if err := a.keep(ctx); err != nil && ctx.Err() == nil {
				warn(err)
			}
		})
	})
	return nil
}

// every calls fn again and again until ctx ends.
func every(ctx context.Context, d time.Duration, fn func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			fn()
		}
	}
}

// alone makes sure that nobody else has the store while a command works on it.
// The context ends when that cannot be promised any more; done gives the store
// back.
func alone(ctx context.Context, s *storage.Store) (_ context.Context, done func(), err error) {
	me := rand.Text()
	hold := func() error {
		_, err := s.Hold(ctx, commandLease, me, presentFor)
		return err
	}
	if err := hold(); errors.Is(err, storage.ErrHeld) {
		return nil, nil, fmt.Errorf("%w: another command works on it, or was killed less than a minute ago", errInUse)
	} else if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var renews sync.WaitGroup
	done = func() {
		cancel(nil)
		renews.Wait()
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		_ = s.LetGo(ctx, commandLease, me) // else it ends by itself
	}
	present, err := s.Present(ctx)
	if err == nil && len(present) > 0 {
		err = fmt.Errorf("%w: a gateway uses it, or was killed less than a minute ago", errInUse)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	renews.Go(func() {
		every(ctx, presentEvery, func() {
			if err := hold(); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	})
	return ctx, done, nil
}
