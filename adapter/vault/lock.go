package vault

import (
	"context"
	"sync"
)

// locks holds one lock for each name in use. A waiter gives up with its context.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	turn  chan struct{} // holds one value while nobody has the lock
	users int
}

// acquire returns the function that gives the lock back.
func (l *locks) acquire(ctx context.Context, name string) (func(), error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	k := l.held[name]
	if k == nil {
		k = &lock{turn: make(chan struct{}, 1)}
		k.turn <- struct{}{}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		if k.users--; k.users == 0 {
			delete(l.held, name)
		}
		l.mu.Unlock()
	}
	select {
	case <-k.turn:
		return func() { k.turn <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

// running counts work that Close waits for. Unlike a sync.WaitGroup it may be
// entered while somebody waits.
type running struct {
	mu   sync.Mutex
	n    int
	done []chan struct{}
}

func (r *running) enter() {
	r.mu.Lock()
	r.n++
	r.mu.Unlock()
}

func (r *running) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.n == 0 {
		for _, c := range r.done {
			close(c)
		}
		r.done = nil
	}
}

// idle returns a channel that is closed once nothing runs.
func (r *running) idle() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := make(chan struct{})
	if r.n == 0 {
		close(c)
	} else {
		r.done = append(r.done, c)
	}
	return c
}
