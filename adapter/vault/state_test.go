package vault

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestKeepBoundsWhatARecordRemembers(t *testing.T) {
	r := record{handout: handout{Grant: Grant{State: Active}}}
	for i := range 3 * maxAccess {
		r.keep(access{Resource: fmt.Sprint(i), Token: fmt.Sprint(i), IssuedAt: noon, ExpiresAt: noon.Add(time.Duration(i+1) * time.Minute)}, noon)
	}
	if len(r.Access) != maxAccess || r.Access[0].Token != fmt.Sprint(2*maxAccess) {
		t.Errorf("kept %d, first %s", len(r.Access), r.Access[0].Token)
	}
	r.keep(access{Token: "new", ExpiresAt: noon.Add(48 * time.Hour)}, noon.Add(24*time.Hour))
	if len(r.Access) != 1 {
		t.Errorf("ended tokens are still there: %d", len(r.Access))
	}
}

// Whatever answers come in whatever order, only our own realm's final word or
// 30 days of refusals take the refresh token out of a record.
func TestNoErrorDropsTheToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		local := rapid.Bool().Draw(t, "local")
		r := record{handout: handout{Grant: Grant{ID: "g_1"}}}
		now := noon
		r.login(Login{Provider: "p", Client: "c", Sub: "s", RefreshToken: "first", Scopes: []string{"openid"}}, local, now)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(10*24*time.Hour)).Draw(t, "pause")))
			refusedFor := time.Duration(0)
			if r.State == Suspended {
				refusedFor = now.Sub(r.SuspendedAt)
			}
			final := false
			switch rapid.IntRange(0, 2).Draw(t, "answer") {
			case 0:
				status := rapid.SampledFrom(append(slices.Clone(finals), "", "user_disabled", "role_missing", "not_before")).Draw(t, "status")
				final = local && slices.Contains(finals, status) || refusedFor >= giveUpAfter
				r.refused("invalid_grant", status, now)
			case 1:
				r.dropped(rapid.SampledFrom([]string{"", "revoked", "user_disabled"}).Draw(t, "reason"), now)
			case 2:
				r.refreshed(Ask{}.normal(r.Scopes), answer{AccessToken: "a", RefreshToken: "next", SentAt: now, Lifetime: time.Minute}, r.Epoch, now)
				if r.State != Active || r.Reason != "" || len(r.Access) != 1 {
					t.Fatalf("a success left the grant %s (%s)", r.State, r.Reason)
				}
			}
			if final != (r.State == Ended) || final != (r.RefreshToken == "") {
				t.Fatalf("final %v, but state %s (%s), token kept %v", final, r.State, r.Reason, r.RefreshToken != "")
			}
			if final {
				return
			}
		}
	})
}

func TestAskNormal(t *testing.T) {
	a := Ask{Scopes: []string{"b", "a", "b"}}.normal(nil)
	if strings.Join(a.Scopes, " ") != "a b" || a.MinTTL != time.Minute {
		t.Errorf("%+v", a)
	}
	given := []string{"b", "a"}
	Ask{}.normal(given)
	if given[0] != "b" {
		t.Error("the grant's scopes were sorted in place")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","token_type":"Bearer","expires_in":"300","id_token":"e30.e30.x"}`))
	f.Add([]byte(`{"access_token":"a","token_type":"bearer","expires_in":1e300,"refresh_expires_in":-1}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		ans, err := parse(body, Ask{}, noon)
		if err == nil && (ans.AccessToken == "" || ans.Lifetime <= 0) {
			t.Errorf("%+v", ans)
		}
		if ans.Identity != nil {
			ans.Identity.proves(&Provider{}, "")
		}
		offlineSession(string(body))
	})
}
