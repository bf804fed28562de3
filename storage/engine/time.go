package engine

import (
	"math"
	"time"
)

// Nano is an instant as it is stored, in Unix nanoseconds: 0 for never, else at
// least 1.
func Nano(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() >= 2262: // beyond int64 nanoseconds
		return math.MaxInt64
	case t.Year() < 1970:
		return 1
	}
	return max(t.UnixNano(), 1)
}

// Instant is the inverse of Nano.
func Instant(nano int64) time.Time {
	if nano == 0 {
		return time.Time{}
	}
	return time.Unix(0, nano).UTC()
}
