package session

import (
	"bytes"
	"testing"
	"time"
)

func TestO17_Poll(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }
	waiting := DeviceAuthorization{Interval: DeviceInterval, Expires: at(600)}
	polled := waiting
	polled.Polled = t0
	denied := polled
	denied.Denied = "the user declined"
	granted := polled
	granted.Granted = &Code{}
	used := polled
	used.Granted = &Code{Used: true}
	for _, tt := range []struct {
		name     string
		d        DeviceAuthorization
		now      time.Time
		want     DevicePoll
		interval time.Duration
	}{
		{"first", waiting, at(0), DevicePending, 5 * time.Second},
		{"in time", polled, at(5), DevicePending, 5 * time.Second},
		{"nearly in time: the network", polled, at(4), DevicePending, 5 * time.Second},
		{"too fast", polled, at(3.999), DeviceSlowDown, 10 * time.Second},
		{"the last moment", polled, at(599.999), DevicePending, 5 * time.Second},
		{"expired", polled, at(600), DeviceExpired, 5 * time.Second},
		{"denied", denied, at(1), DeviceDenied, 5 * time.Second},
		{"denied and expired", denied, at(600), DeviceExpired, 5 * time.Second},
		{"granted, however fast", granted, at(1), DeviceGranted, 5 * time.Second},
		{"granted and expired", granted, at(600), DeviceExpired, 5 * time.Second},
		{"used", used, at(5), DeviceUsed, 5 * time.Second},
		{"used and expired", used, at(600), DeviceUsed, 5 * time.Second},
	} {
		next, got := tt.d.Poll(tt.now)
		if got != tt.want || next.Interval != tt.interval {
			t.Errorf("%s: got %d, interval %s; want %d, %s", tt.name, got, next.Interval, tt.want, tt.interval)
		}
		if wrote := got == DevicePending || got == DeviceSlowDown; wrote != next.Polled.Equal(tt.now) {
			t.Errorf("%s: polled %s", tt.name, next.Polled)
		}
	}
}

func TestUserCode(t *testing.T) {
	// Bytes that would favour some letters are drawn again.
	code, err := makeUserCode(bytes.NewReader([]byte{255, 0, 1, 240, 19, 20, 39, 239, 2, 3}))
	if err != nil || code != "BCZBZZDF" {
		t.Errorf("got %s, %v", code, err)
	}
	if _, err := makeUserCode(bytes.NewReader(nil)); err == nil {
		t.Error("no randomness, and a code")
	}
	for typed, want := range map[string]string{"BCDF-GHJK": "BCDFGHJK", " bcdf ghjk\t": "BCDFGHJK", "b.c_d-fghjk": "BCDFGHJK", "": ""} {
		if got := parseUserCode(typed); got != want {
			t.Errorf("%q is %q", typed, got)
		}
	}
	if got := FormatUserCode("BCDFGHJK"); got != "BCDF-GHJK" {
		t.Errorf("got %s", got)
	}
}
