package engine

import (
	"bytes"
	"context"
	"sync"

	"github.com/nightlatch/nightlatch/storage"
)

// Watchers passes changed keys to whoever watches. The zero value hears of all
// changes by Tell; an engine that learns of some from elsewhere says by Deaf and
// Hear when it cannot.
type Watchers struct {
	mu     sync.Mutex
	all    map[*watcher]struct{}
	deaf   chan struct{} // closed when it hears again; nil while it hears
	closed bool
}

type watcher struct {
	prefix []byte
	wake   chan struct{} // buffered: keys wait, or the end
	mu     sync.Mutex
	keys   map[string]struct{} // changed and not told yet: a slow watcher costs no more than its keys
	err    error               // why it ends
}

// Watch is that of storage.Backend. While the engine is deaf it waits, and calls
// ready only then.
func (ws *Watchers) Watch(ctx context.Context, prefix []byte, ready func(), fn func(keys [][]byte)) error {
	w := &watcher{prefix: bytes.Clone(prefix), wake: make(chan struct{}, 1)}
	for added := false; !added; {
		deaf, err := ws.add(w)
		switch {
		case err != nil:
			return err
		case deaf == nil:
			added = true
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-deaf:
		}
	}
	defer ws.remove(w)
	if ready != nil {
		ready()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
		w.mu.Lock()
		changed, err := w.keys, w.err
		w.keys = nil
		w.mu.Unlock()
		if len(changed) > 0 {
			keys := make([][]byte, 0, len(changed))
			for k := range changed {
				keys = append(keys, []byte(k))
			}
			fn(keys)
		}
		if err != nil {
			return err
		}
	}
}

// add returns what to wait for while the engine is deaf.
func (ws *Watchers) add(w *watcher) (deaf <-chan struct{}, err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch {
	case ws.closed:
		return nil, storage.ErrClosed
	case ws.deaf != nil:
		return ws.deaf, nil
	}
	if ws.all == nil {
		ws.all = map[*watcher]struct{}{}
	}
	ws.all[w] = struct{}{}
	return nil, nil
}

func (ws *Watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
}

// Close ends all who watch with storage.ErrClosed.
func (ws *Watchers) Close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	if ws.deaf != nil {
		close(ws.deaf)
		ws.deaf = nil
	}
	ws.end(storage.ErrClosed)
}

// Deaf tells that changes may be missed from now on: it ends all who watch with
// the error, and lets nobody begin until Hear.
func (ws *Watchers) Deaf(err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed || ws.deaf != nil {
		return
	}
	ws.deaf = make(chan struct{})
	ws.end(err)
}

// Hear tells that every change from now on will be told.
func (ws *Watchers) Hear() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.deaf != nil {
		close(ws.deaf)
		ws.deaf = nil
	}
}

func (ws *Watchers) end(err error) {
	for w := range ws.all {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
		w.signal()
	}
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Tell passes keys on that were changed. It never waits for a watcher.
func (ws *Watchers) Tell(changed [][]byte) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		w.mu.Lock()
		more := false
		for _, k := range changed {
			if bytes.HasPrefix(k, w.prefix) {
				if w.keys == nil {
					w.keys = map[string]struct{}{}
				}
				w.keys[string(k)], more = struct{}{}, true
			}
		}
		w.mu.Unlock()
		if more {
			w.signal()
		}
	}
}
