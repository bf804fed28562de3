package adapter

import (
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// TestDueAt: claims are due by their age, and ahead of the access token's expiry.
func TestDueAt(t *testing.T) {
	const m = time.Minute
	checked := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		life    time.Duration // of the access token; 0: not told
		without bool          // a refresh token
		recheck time.Duration
		want    time.Duration
	}{
		"by age":                            {0, false, 5 * m, 5 * m},
		"expiry far off":                    {60 * m, false, 5 * m, 5 * m},
		"both at once":                      {5 * m, false, 5 * m, 4 * m},
		"a minute ahead":                    {3 * m, false, 5 * m, 2 * m},
		"a fifth of a long life ahead":      {60 * m, false, 24 * 60 * m, 48 * m},
		"not in the first half":             {m, false, 5 * m, 30 * time.Second},
		"a token of a second":               {time.Second, false, 5 * m, time.Second / 2},
		"without a refresh token":           {m, true, 5 * m, 5 * m},
		"a token that had expired by then":  {-m, false, 5 * m, -30 * time.Second},
		"recheck before the expiry's ahead": {5 * m, false, m, m},
	} {
		r := &session.Record{Checked: checked, RefreshToken: "r"}
		if c.without {
			r.RefreshToken = ""
		}
		if c.life != 0 {
			r.AccessExpires = checked.Add(c.life)
		}
		if got := dueAt(r, c.recheck).Sub(checked); got != c.want {
			t.Errorf("%s: after %v, want %v", name, got, c.want)
		}
	}
}
