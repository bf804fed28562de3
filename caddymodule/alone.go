package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// An engine for one process locks its folder. In one that many share, gateways
// note that they are there, and a command that needs the store alone holds a
// lease: each writes its own before it looks for the other's, so never do both go
// on.
const (
	commandLease = "command"
	presentFor   = time.Minute
	presentEvery = presentFor / 4
)

// errInUse: a gateway or another command has the store.
var errInUse = errors.New("store is in use")

// appear notes that a node uses a store that others may use, until ctx ends, and
// refuses to while a command has it alone.
func appear(ctx context.Context, s *storage.Store, me string, warn func(error), loops *sync.WaitGroup) error {
	if err := s.Appear(ctx, me, presentFor); err != nil {
		return err
	}
	leave := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Vanish(ctx, me); err != nil {
			warn(err)
		}
	}
	held, err := s.Held(ctx, commandLease)
	if err == nil && held {
		err = fmt.Errorf("%w: a command (copy, rekey, restore) works on it: start again when it has ended", errInUse)
	}
	if err != nil {
		leave()
		return err
	}
	loops.Go(func() {
		defer leave()
		every(ctx, func() {
			if err := s.Appear(ctx, me, presentFor); err != nil && ctx.Err() == nil {
				warn(err)
			}
		})
	})
	return nil
}

// every calls fn again and again until ctx ends.
func every(ctx context.Context, fn func()) {
	tick := time.NewTicker(presentEvery)
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
	if err == nil && present {
		err = fmt.Errorf("%w: a gateway uses it, or was killed less than a minute ago", errInUse)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	renews.Go(func() {
		every(ctx, func() {
			if err := hold(); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	})
	return ctx, done, nil
}
