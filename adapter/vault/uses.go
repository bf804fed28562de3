package vault

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// maxBehind bounds the uses that are being written behind their answers;
	// beyond it an ask waits for its own.
	maxBehind = 256
	// useRetry is the real time after which a use that could not be written may
	// be tried again.
	useRetry = time.Second
)

// uses are hand-outs of cached tokens that are being written down.
type uses struct {
	mu      sync.Mutex
	writing map[use]struct{}
}

type use struct{ grant, job string }

// claim tells whether the caller is the one to write a use, and whether it has
// to be done before the answer.
func (u *uses) claim(k use) (mine, now bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, busy := u.writing[k]; busy {
		return false, false
	}
	if len(u.writing) >= maxBehind {
		return true, true
	}
	if u.writing == nil {
		u.writing = map[use]struct{}{}
	}
	u.writing[k] = struct{}{}
	return true, false
}

func (u *uses) done(k use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.writing, k)
}

// noteUse writes the use of a cached token down, at most once a minute for each
// job, behind the answer. A use that cannot be written is no reason to withhold
// the token. Close waits for what is being written.
func (v *Vault) noteUse(g *Grant, job string) {
	now := v.c.Now()
	if !g.unnoted(job, now) {
		return
	}
	select {
	case <-v.closing:
		return // the store may be closed already
	default:
	}
	k := use{g.ID, job}
	mine, atOnce := v.uses.claim(k)
	switch {
	case !mine:
	case atOnce:
		_ = v.writeUse(k, now)
	default:
		v.running.enter()
		go func() {
			defer v.running.leave()
			err := v.writeUse(k, now)
			if err == nil {
				v.uses.done(k)
				return
			}
			time.AfterFunc(useRetry, func() { v.uses.done(k) })
		}()
	}
}

func (v *Vault) writeUse(k use, now time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), v.c.FlightTimeout)
	defer cancel()
	_, err := v.change(ctx, k.grant, func(r *record) error {
		if !r.used(k.job, now) {
			return errServed // somebody else has noted it
		}
		return nil
	})
	if err != nil && !errors.Is(err, errServed) {
		v.c.Logger.Warn("noting use of grant", "grant_id", k.grant, "error", err)
		return err
	}
	return nil
}
