package engine

import "sync"

// Gate lets calls in until it is closed, and the one who closes it wait for
// those inside.
type Gate struct {
	mu     sync.Mutex // guards the closing of closed, and inside.Add before it
	closed chan struct{}
	inside sync.WaitGroup
}

// NewGate returns an open gate.
func NewGate() *Gate { return &Gate{closed: make(chan struct{})} }

// Enter lets a call in; false if the gate is closed. Whoever was let in calls
// Leave.
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isClosed() {
		return false
	}
	g.inside.Add(1)
	return true
}

// Leave ends a call that Enter let in.
func (g *Gate) Leave() { g.inside.Done() }

// Closed is closed with the gate.
func (g *Gate) Closed() <-chan struct{} { return g.closed }

func (g *Gate) isClosed() bool {
	select {
	case <-g.closed:
		return true
	default:
		return false
	}
}

// Close lets nobody in any more; false if that was so already.
func (g *Gate) Close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isClosed() {
		return false
	}
	close(g.closed)
	return true
}

// Wait waits until the last call has left.
func (g *Gate) Wait() { g.inside.Wait() }
