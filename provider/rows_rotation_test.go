package provider_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
)

func singleUse(maxReuse int) func(*realm.Settings) {
	return func(s *realm.Settings) { s.RevokeRefreshToken, s.RefreshTokenMaxReuse = true, maxReuse }
}

const key = "header:Idempotency-Key"

func TestO50_OffReusesTheToken(t *testing.T) {
	w := newWorld(t)
	r := w.password("reports", "alice", "offline_access").ok()
	var last *reply
	for range 5 {
		w.advance(time.Hour)
		last = w.refresh("reports", r.refreshed()).ok()
	}
	w.refresh("reports", last.refreshed()).ok()
	w.refresh("reports", r.refreshed()).ok()
	if w.count(event.RefreshTokenReplay, "reuse_detected") != 0 {
		t.Error("a replay although single use is off")
	}
}

func TestO51_SingleUse(t *testing.T) {
	w := newWorld(t, singleUse(0))
	for name, again := range map[string]int{"the first token": 0, "a middle one": 1} {
		t.Run(name, func(t *testing.T) {
			before := w.count(event.RefreshTokenReplay, "reuse_detected")
			tokens := []string{w.password("reports", "alice", "offline_access").ok().refreshed()}
			other := w.password("reports", "alice", "offline_access").ok()
			for i := range 3 {
				w.advance(time.Minute)
				next := w.refresh("reports", tokens[i]).ok()
				if next.refreshed() == tokens[i] {
					t.Fatal("the response does not hold the next token")
				}
				tokens = append(tokens, next.refreshed())
			}
			access := w.password("reports", "alice", "offline_access").ok().access()
			w.refresh("reports", tokens[again]).fails(400, "invalid_grant", "reuse_detected")
			w.refresh("reports", tokens[3]).fails(400, "invalid_grant", "reuse_detected")
			if w.active(tokens[3]) || !w.active(access) {
				t.Error("the replay ended too little or too much")
			}
			if n := w.count(event.RefreshTokenReplay, "reuse_detected") - before; n != 1 {
				t.Errorf("%d events of a replay, want 1", n)
			}
			w.refresh("reports", other.refreshed()).ok()
		})
	}
	t.Run("a rotated token is inactive", func(t *testing.T) {
		r := w.password("reports", "alice", "offline_access").ok()
		next := w.refresh("reports", r.refreshed()).ok()
		if w.active(r.refreshed()) || !w.active(next.refreshed()) {
			t.Error("introspection does not know what was rotated out")
		}
		w.refresh("reports", next.refreshed()).ok() // introspecting is no use
	})
	t.Run("online tokens too", func(t *testing.T) {
		r := w.password("reports", "alice", "openid").ok()
		next := w.refresh("reports", r.refreshed()).ok()
		w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "reuse_detected")
		w.refresh("reports", next.refreshed()).fails(400, "invalid_grant", "reuse_detected")
	})
	t.Run("per client, and nothing revives", func(t *testing.T) {
		r := w.password("other", "alice", "offline_access").ok()
		w.refresh("other", r.refreshed()).ok()
		w.refresh("other", r.refreshed()).fails(400, "invalid_grant", "reuse_detected")
		off := false
		w.editClient("other", func(c *client.Client) { c.RevokeRefreshToken = &off })
		w.refresh("other", r.refreshed()).fails(400, "invalid_grant", "reuse_detected")
		r = w.password("other", "alice", "offline_access").ok()
		for range 3 {
			w.refresh("other", r.refreshed()).ok()
		}
	})
}

func TestO52_MaxReuse(t *testing.T) {
	w := newWorld(t, singleUse(2))
	r := w.password("reports", "alice", "offline_access").ok()
	var next *reply
	for i := range 3 {
		got := w.refresh("reports", r.refreshed()).ok()
		if next != nil && got.refreshed() != next.refreshed() {
			t.Errorf("use %d answered another successor", i+1)
		}
		next = got
	}
	w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "reuse_detected")
	w.refresh("reports", next.refreshed()).fails(400, "invalid_grant", "reuse_detected")
}

func TestO53_OrderIsByGeneration(t *testing.T) {
	w := newWorld(t, singleUse(0))
	r := w.password("reports", "alice", "offline_access").ok()
	// Two rotations in the same instant.
	one := w.refresh("reports", r.refreshed()).ok()
	two := w.refresh("reports", one.refreshed()).ok()
	w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "reuse_detected")
	w.refresh("reports", two.refreshed()).fails(400, "invalid_grant", "reuse_detected")

	t.Run("the predecessor", func(t *testing.T) {
		r := w.password("reports", "alice", "offline_access").ok()
		one := w.refresh("reports", r.refreshed()).ok()
		two := w.refresh("reports", one.refreshed()).ok()
		if a, b := r.offlineToken(), two.offlineToken(); a["iat"] != b["iat"] || a["iat_ms"] != b["iat_ms"] {
			t.Fatalf("not the same instant: %v, %v", a, b)
		}
		w.refresh("reports", one.refreshed()).fails(400, "invalid_grant", "reuse_detected")
		w.refresh("reports", two.refreshed()).fails(400, "invalid_grant", "reuse_detected")
	})
	t.Run("a clock that goes back", func(t *testing.T) {
		tokens := []string{w.password("reports", "alice", "offline_access").ok().refreshed()}
		for i := range 3 {
			w.advance(-time.Hour)
			tokens = append(tokens, w.refresh("reports", tokens[i]).ok().refreshed())
		}
		// The oldest token has the latest iat.
		w.refresh("reports", tokens[0]).fails(400, "invalid_grant", "reuse_detected")
		w.refresh("reports", tokens[3]).fails(400, "invalid_grant", "reuse_detected")
	})
}

func TestO54_ParallelRefreshes(t *testing.T) {
	const parallel = 50
	for _, maxReuse := range []int{0, 3} {
		for _, keys := range []bool{false, true} {
			t.Run(fmt.Sprintf("reuse %d keys %v", maxReuse, keys), func(t *testing.T) {
				w := newWorld(t, singleUse(maxReuse))
				r := w.password("reports", "alice", "offline_access").ok()
				replies := make([]*reply, parallel)
				var gate, done sync.WaitGroup
				gate.Add(1)
				for i := range parallel {
					done.Go(func() {
						gate.Wait()
						var more []string
						if keys {
							more = []string{key, fmt.Sprintf("key-%d", i)}
						}
						replies[i] = w.refresh("reports", r.refreshed(), more...)
					})
				}
				gate.Done()
				done.Wait()
				won := map[string]int{}
				for _, got := range replies {
					switch got.status {
					case http.StatusOK:
						won[got.refreshed()]++
					case http.StatusBadRequest:
						got.fails(400, "invalid_grant", "reuse_detected")
					default:
						t.Errorf("answered %d %v", got.status, got.json)
					}
				}
				if len(won) != 1 {
					t.Fatalf("%d different successors", len(won))
				}
				for token, n := range won {
					if n != 1+maxReuse {
						t.Errorf("%d refreshes won, want %d", n, 1+maxReuse)
					}
					w.refresh("reports", token).fails(400, "invalid_grant", "reuse_detected")
				}
				if n := w.count(event.RefreshTokenReplay, "reuse_detected"); n != 1 {
					t.Errorf("%d events of a replay, want 1", n)
				}
			})
		}
	}
	t.Run("the same key", func(t *testing.T) {
		w := newWorld(t, singleUse(0))
		r := w.password("reports", "alice", "offline_access").ok()
		tokens := make([]string, parallel)
		var done sync.WaitGroup
		for i := range parallel {
			done.Go(func() { tokens[i] = w.refresh("reports", r.refreshed(), key, "k").refreshed() })
		}
		done.Wait()
		for _, token := range tokens {
			if token == "" || token != tokens[0] {
				t.Fatal("one request, sent often, had different answers")
			}
		}
		w.refresh("reports", tokens[0]).ok()
	})
}

func TestO55_TheSameRequestAgain(t *testing.T) {
	w := newWorld(t, singleUse(0))
	begin := func() string { return w.password("reports", "alice", "offline_access").ok().refreshed() }

	t.Run("as often and as late as needed", func(t *testing.T) {
		token := begin()
		next := w.refresh("reports", token, key, "k1").ok().refreshed()
		for range 5 {
			w.advance(5 * day)
			if again := w.refresh("reports", token, key, "k1").ok(); again.refreshed() != next {
				t.Fatal("another successor")
			}
		}
		w.restart()
		if again := w.refresh("reports", token, key, "k1").ok(); again.refreshed() != next {
			t.Fatal("another successor after a restart")
		}
		after := w.refresh("reports", next, key, "k2").ok().refreshed()
		// The successor was used: the old request is a late duplicate now.
		w.refresh("reports", token, key, "k1").fails(400, "invalid_grant", "")
		w.refresh("reports", after).ok()
	})
	t.Run("with an exp", func(t *testing.T) {
		w.edit(limited(0, 0))
		defer w.edit(func(s *realm.Settings) { s.OfflineSessionMaxLimited = false })
		token := begin()
		next := w.refresh("reports", token, key, "k1").ok().refreshed()
		w.advance(day)
		if w.refresh("reports", token, key, "k1").ok().refreshed() != next {
			t.Error("another successor")
		}
	})
	for name, more := range map[string][]string{"another key": {key, "k2"}, "no key": nil} {
		t.Run(name, func(t *testing.T) {
			token := begin()
			next := w.refresh("reports", token, key, "k1").ok().refreshed()
			w.refresh("reports", token, more...).fails(400, "invalid_grant", "reuse_detected")
			w.refresh("reports", next).fails(400, "invalid_grant", "reuse_detected")
		})
	}
	t.Run("late duplicates of older requests", func(t *testing.T) {
		tokens := []string{begin()}
		for i := range 4 {
			tokens = append(tokens, w.refresh("reports", tokens[i], key, fmt.Sprint("k", i)).ok().refreshed())
		}
		for i := range 3 {
			w.refresh("reports", tokens[i], key, fmt.Sprint("k", i)).fails(400, "invalid_grant", "")
		}
		w.refresh("reports", tokens[4]).ok()
	})
	t.Run("a key serves one token", func(t *testing.T) {
		token := begin()
		next := w.refresh("reports", token, key, "k").ok().refreshed()
		if w.refresh("reports", next, key, "k").ok().refreshed() == next {
			t.Error("a new token with an old key was taken for the old request")
		}
		w.refresh("reports", next, key, "k2").fails(400, "invalid_grant", "reuse_detected")

		token = begin()
		next = w.refresh("reports", token, key, "k").ok().refreshed()
		w.refresh("reports", next, key, "k2").ok()
		w.refresh("reports", next, key, "k").fails(400, "invalid_grant", "reuse_detected") // the key of another token
	})
	t.Run("malformed keys", func(t *testing.T) {
		token := begin()
		w.refresh("reports", token, key, "a", key, "b").fails(400, "invalid_request", "")
		w.refresh("reports", token, key, string(make([]byte, 300))).fails(400, "invalid_request", "")
		w.refresh("reports", token).ok()
	})
	t.Run("its own commit", func(t *testing.T) {
		for name, more := range map[string][]string{"without a key": nil, "with a key": {key, "k"}} {
			for _, maxReuse := range []int{0, 2} {
				w.edit(singleUse(maxReuse))
				token := begin()
				w.backend.again.Store(1)
				next := w.refresh("reports", token, more...).ok().refreshed()
				if w.backend.again.Load() >= 0 {
					t.Fatal("the transaction did not run again")
				}
				if got := decode(t, next, 1)["gen"]; got != 2.0 {
					t.Errorf("%s: generation %v, want 2", name, got)
				}
				for i := range maxReuse { // it was counted once
					if w.refresh("reports", token, key, fmt.Sprint("other", i)).ok().refreshed() != next {
						t.Errorf("%s: another successor", name)
					}
				}
				if maxReuse > 0 {
					w.refresh("reports", token, key, "one too many").fails(400, "invalid_grant", "reuse_detected")
				} else {
					w.refresh("reports", next).ok()
				}
			}
		}
		w.edit(singleUse(0))
	})
	t.Run("an answer that somebody else got", func(t *testing.T) {
		// Who has no answer on disk and yet is told that the token is not the
		// newest one knows that it was used by somebody else. Asked once more with
		// a new key the realm takes it for the replay that it is.
		token := begin()
		theft := w.refresh("reports", token, key, "k").ok().refreshed()
		theft = w.refresh("reports", theft).ok().refreshed()
		w.refresh("reports", token, key, "k").fails(400, "invalid_grant", "")
		w.refresh("reports", token, key, "new").fails(400, "invalid_grant", "reuse_detected")
		w.refresh("reports", theft).fails(400, "invalid_grant", "reuse_detected")
	})
	t.Run("a stolen key serves once", func(t *testing.T) {
		token := begin()
		next := w.refresh("reports", token, key, "k").ok().refreshed()
		theft := w.refresh("reports", token, key, "k").ok().refreshed() // the same successor for both
		theft = w.refresh("reports", theft, key, "k").ok().refreshed()
		w.refresh("reports", next, key, "k2").fails(400, "invalid_grant", "reuse_detected")
		w.refresh("reports", theft).fails(400, "invalid_grant", "reuse_detected")
	})
	t.Run("an online token", func(t *testing.T) {
		token := w.password("reports", "alice", "openid").ok().refreshed()
		next := w.refresh("reports", token, key, "k").ok().refreshed()
		w.advance(time.Minute)
		if w.refresh("reports", token, key, "k").ok().refreshed() != next {
			t.Error("another successor")
		}
		w.refresh("reports", next).ok()
		w.refresh("reports", token, key, "k").fails(400, "invalid_grant", "")
	})
	t.Run("what is refused consumes nothing", func(t *testing.T) {
		token := begin()
		w.refresh("reports", token, key, "k", "scope", "never-granted").fails(400, "invalid_scope", "")
		w.refresh("other", token, key, "k").fails(400, "invalid_grant", "")
		next := w.refresh("reports", token, key, "k2").ok().refreshed()
		w.refresh("reports", token, key, "k2", "scope", "never-granted").fails(400, "invalid_scope", "")
		w.refresh("reports", next).ok()
	})
}

// A power cut and kill -9 are tested in integration; here the store says that
// it does not know.
func TestO56_UnknownOutcomeIsNotAnswered(t *testing.T) {
	w := newWorld(t, singleUse(0))
	token := w.password("reports", "alice", "offline_access").ok().refreshed()
	for range 3 {
		w.backend.next.Store(1)
		got := w.refresh("reports", token, key, "k").fails(503, "temporarily_unavailable", "")
		if got.header.Get("Retry-After") == "" || got.refreshed() != "" {
			t.Errorf("answer: %v %v", got.header, got.json)
		}
	}
	next := w.refresh("reports", token, key, "k").ok()
	w.refresh("reports", next.refreshed()).ok()

	// The other writers of the endpoint do not answer either.
	w.backend.next.Store(1)
	w.password("reports", "alice", "offline_access").fails(503, "temporarily_unavailable", "")
	w.backend.next.Store(1)
	w.post("revoke", "reports", "token", token).fails(503, "temporarily_unavailable", "")

	// A replay is told to whoever listens, even if it is not known whether its
	// revocation happened: nobody would tell later.
	token = w.password("reports", "alice", "offline_access").ok().refreshed()
	w.refresh("reports", token).ok()
	w.backend.next.Store(1)
	w.refresh("reports", token).fails(503, "temporarily_unavailable", "")
	w.refresh("reports", token).fails(400, "invalid_grant", "reuse_detected")
	for _, kind := range []event.Type{event.RefreshTokenReplay, event.OfflineSessionEnd} {
		if n := w.count(kind, "reuse_detected"); n != 1 {
			t.Errorf("%d events %s, want 1", n, kind)
		}
	}
}
