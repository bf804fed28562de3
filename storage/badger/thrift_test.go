package badger

import (
	"runtime/debug"
	"testing"
)

func percent() int {
	p := debug.SetGCPercent(100)
	debug.SetGCPercent(p)
	return p
}

func TestBeThrifty(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for _, c := range []struct{ usual, during int }{{100, thriftyPercent}, {10, 10}, {-1, -1}} {
		debug.SetGCPercent(c.usual)
		one, other := beThrifty(), beThrifty()
		one()
		if got := percent(); got != c.during {
			t.Errorf("usual %d: %d while another compaction runs", c.usual, got)
		}
		other()
		if got := percent(); got != c.usual {
			t.Errorf("usual %d: %d afterwards", c.usual, got)
		}
	}
}
