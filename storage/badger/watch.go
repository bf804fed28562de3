package badger

import (
	"bytes"
	"context"
	"sync"

	"github.com/nightlatch/nightlatch/storage"
)

// watchers passes committed keys to whoever watches. One process holds the
// folder, so what it commits is all that changes.
type watchers struct {
	mu     sync.Mutex
	all    map[*watcher]struct{}
	closed bool
}

type watcher struct {
	prefix []byte
	wake   chan struct{} // buffered: keys wait
	mu     sync.Mutex
	keys   map[string]struct{} // changed and not told yet: a slow watcher costs no more than its keys
	closed bool
}

// Watch calls fn with changed keys below prefix until ctx ends.
func (b *Backend) Watch(ctx context.Context, prefix []byte, ready func(), fn func(keys [][]byte)) error {
	w := &watcher{prefix: bytes.Clone(prefix), wake: make(chan struct{}, 1)}
	if !b.watchers.add(w) {
		return storage.ErrClosed
	}
	defer b.watchers.remove(w)
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
		changed, closed := w.keys, w.closed
		w.keys = nil
		w.mu.Unlock()
		if len(changed) > 0 {
			keys := make([][]byte, 0, len(changed))
			for k := range changed {
				keys = append(keys, []byte(k))
			}
			fn(keys)
		}
		if closed {
			return storage.ErrClosed
		}
	}
}

func (ws *watchers) add(w *watcher) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return false
	}
	if ws.all == nil {
		ws.all = map[*watcher]struct{}{}
	}
	ws.all[w] = struct{}{}
	return true
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
}

func (ws *watchers) closeAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for w := range ws.all {
		w.mu.Lock()
		w.closed = true
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

// tell never waits for a watcher.
func (ws *watchers) tell(changed [][]byte) {
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
