package guess

import (
	"strconv"
	"testing"
	"time"
)

func TestWait(t *testing.T) {
	p := Policy{Factor: 3, Increment: time.Minute, Max: 3 * time.Minute, Forget: time.Hour}
	last := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		policy Policy
		wrong  int
		after  time.Duration // since the last one
		want   time.Duration
	}{
		{"none", p, 0, 0, 0},
		{"one less", p, 2, 0, 0},
		{"as many as cost nothing", p, 3, 0, time.Minute},
		{"a part has passed", p, 3, 40 * time.Second, 20 * time.Second},
		{"it has passed", p, 3, time.Minute, 0},
		{"one more", p, 4, 0, 2 * time.Minute},
		{"the longest", p, 5, 0, 3 * time.Minute},
		{"no longer", p, 1 << 40, time.Second, 3*time.Minute - time.Second},
		{"forgotten", p, 100, time.Hour, 0},
		{"off", Policy{}, 100, 0, 0},
		{"a crowd", p.times(10), 29, 0, 0},
		{"too many in a crowd", p.times(10), 30, 0, time.Minute},
		{"longer than it is remembered", Policy{Factor: 1, Increment: time.Hour, Max: time.Hour, Forget: time.Minute}, 1, time.Minute, 0},
		{"steps that do not add up to the longest", Policy{Factor: 1, Increment: 2 * time.Minute, Max: 5 * time.Minute, Forget: time.Hour}, 3, 0, 5 * time.Minute},
	} {
		if got := tt.policy.Wait(Count{Wrong: tt.wrong, Last: last}, last.Add(tt.after)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	c := p.Add(Count{Wrong: 7, Last: last}, last.Add(59*time.Minute))
	if c.Wrong != 8 {
		t.Errorf("one more than 7 is %d", c.Wrong)
	}
	if c = p.Add(c, c.Last.Add(time.Hour)); c.Wrong != 1 {
		t.Errorf("an hour later it begins with %d", c.Wrong)
	}
}

func TestNetwork(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "2001:db8:1:2::9%eth0": "2001:db8:1:2::/64", "::ffff:192.0.2.7": "::ffff:192.0.2.7", "@": "@", "": "",
	} {
		if got := network(ip); got != want {
			t.Errorf("%s is of %s, want %s", ip, got, want)
		}
	}
}

// TestMemoryIsBounded: whoever makes clients and addresses up fills no memory.
func TestMemoryIsBounded(t *testing.T) {
	m, now := NewMemory(), time.Now()
	p := Policy{Factor: 1, Increment: time.Minute, Max: time.Minute, Forget: time.Hour}
	for i := range 2 * maxCounts {
		m.Wrong(p, strconv.Itoa(i), "192.0.2.7", "x", now)
	}
	if n := len(m.counts); n > maxCounts {
		t.Errorf("%d counts", n)
	}
	if m.Wait(p, strconv.Itoa(2*maxCounts-1), "192.0.2.7", now) == 0 {
		t.Error("the last one is forgotten")
	}
	for i := range 100 {
		m.Wrong(p, "client", "192.0.2.7", strconv.Itoa(i), now)
	}
	if s := m.counts[pair("client", "192.0.2.7")]; s.Wrong != 100 || len(s.recent) > maxRecent {
		t.Errorf("%d wrong, %d kept", s.Wrong, len(s.recent))
	}
}
