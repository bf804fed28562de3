package provider_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
)

// TestRotationModel holds the token endpoint against a small model of DESIGN §7,
// over random histories of honest clients, thieves, duplicates on the wire, lost
// answers, commits in doubt, restarts, changed settings and time; and against
// three promises that know nothing of the model:
//
//   - one token never has two usable descendants under single use (O51, O54);
//   - an honest client that repeats its own request with its key keeps its grant
//     (O55, O56), however often answers are lost;
//   - a thief who consumed a token is found out when the honest client comes next.
func TestRotationModel(t *testing.T) {
	w := newWorld(t, singleUse(0))
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{T: rt, w: w, single: true}
		h.settings()
		for i := range rapid.IntRange(1, 3).Draw(rt, "grants") {
			h.grants = append(h.grants, h.begin(i))
		}
		replays := w.count(event.RefreshTokenReplay, session.ReuseDetected)
		rt.Repeat(map[string]func(*rapid.T){
			"":                    h.check,
			"refresh":             h.refresh,
			"refresh again":       h.refresh, // honest clients come most often
			"lost answer":         h.lostAnswer,
			"commit in doubt":     h.inDoubt,
			"duplicate":           h.duplicate,
			"steal":               h.steal,
			"steal along the key": h.stealKey,
			"thief":               h.thief,
			"time":                h.time,
			"restart":             h.restart,
			"settings":            h.settle,
		})
		var dead int
		for _, g := range h.grants {
			if g.dead {
				dead++
			}
		}
		if n := w.count(event.RefreshTokenReplay, session.ReuseDetected) - replays; n != dead {
			rt.Fatalf("%d events of a replay, %d grants revoked", n, dead)
		}
	})
}

// history is one run: a realm and some grants in it.
type history struct {
	*rapid.T
	w        *world
	grants   []*modelGrant
	single   bool
	maxReuse int
	keys     int // for keys that nobody had
}

// modelGrant is a grant as its parties and its model see it.
type modelGrant struct {
	client string
	keyed  bool // the honest client sends keys

	// The honest client.
	token   string
	pending *sent  // without an answer on its disk
	log     []sent // answered

	// The thief: tokens he has, and since when nothing but strict single use
	// helped him.
	loot     string
	lootKey  string
	strict   bool
	tried    bool // he has sent something
	consumed bool // he has consumed a token, strictly, and the honest client has not come since

	// The model. Token number i has the bytes tokens[i], "" if nobody saw it;
	// the newest is the last one.
	tokens  []string
	uses    map[int][]string // keys that consumed each token
	memory  []sent           // of consuming keys, the newest first
	answers map[string]map[string]bool
	dead    bool
	touched bool // since the last check
}

// sent is a request: a token and its key, "" for none.
type sent struct{ token, key string }

func (h *history) begin(i int) *modelGrant {
	g := &modelGrant{
		client: rapid.SampledFrom([]string{"reports", "other"}).Draw(h.T, "client"),
		keyed:  rapid.IntRange(0, 3).Draw(h.T, "keyed") > 0,
		uses:   map[int][]string{}, answers: map[string]map[string]bool{},
	}
	g.token = h.w.post("token", g.client, "grant_type", "client_credentials", "scope", "offline_access").refreshed()
	if g.token == "" {
		h.Fatalf("grant %d did not begin", i)
	}
	g.tokens = []string{g.token}
	return g
}

func (h *history) grant() *modelGrant {
	return rapid.SampledFrom(h.grants).Draw(h.T, "grant")
}

func (h *history) key() string {
	h.keys++
	return fmt.Sprintf("key-%d", h.keys)
}

// verdict of the model about a request.
type verdict int

const (
	refuse verdict = iota
	accept
	replay
	ended
)

// judge is the rules, in the words of DESIGN §7.
func (h *history) judge(g *modelGrant, s sent) verdict {
	i, newest := slices.Index(g.tokens, s.token), len(g.tokens)-1
	same := s.key != "" && slices.Contains(g.memory, s)
	switch {
	case g.dead:
		return ended
	case i == newest && !h.single:
		return accept // nothing advances
	case i == newest:
		g.tokens = append(g.tokens, "")
		h.consume(g, i, s)
		return accept
	case i == newest-1 && same:
		return accept // the same request again, not counted
	case !h.single || same:
		return refuse // merely old, or a late duplicate
	case i == newest-1 && len(g.uses[i]) > 0 && len(g.uses[i]) <= h.maxReuse:
		h.consume(g, i, s)
		return accept
	}
	g.dead = true
	return replay
}

func (h *history) consume(g *modelGrant, i int, s sent) {
	g.uses[i] = append(g.uses[i], s.key)
	g.memory = append([]sent{s}, g.memory...)
	g.memory = g.memory[:min(len(g.memory), 4+h.maxReuse)]
}

// send makes a request and holds the answer against the model's. It returns the
// answer's token, "" for none, and the verdict, of which doubt hides the answer.
func (h *history) send(g *modelGrant, s sent, doubt bool) (string, verdict) {
	h.Helper()
	want := h.judge(g, s)
	g.touched = true
	var more []string
	if s.key != "" {
		more = []string{key, s.key}
	}
	if doubt {
		h.w.backend.next.Store(1)
	}
	got := h.w.refresh(g.client, s.token, more...)
	h.w.backend.next.Store(0)
	status, why := got.text("error"), got.text("grant_status")
	switch {
	case doubt && (want == accept || want == replay):
		if got.status != http.StatusServiceUnavailable || got.refreshed() != "" {
			h.Fatalf("answered %d %s after a commit in doubt", got.status, status)
		}
		return "", want
	case want == accept:
		if got.status != http.StatusOK {
			h.Fatalf("answered %d %s %s, want a token (%d of %d, key %q)", got.status, status, why, slices.Index(g.tokens, s.token), len(g.tokens)-1, s.key)
		}
		return h.learn(g, s, got.refreshed()), want
	case got.status != http.StatusBadRequest || status != "invalid_grant":
		h.Fatalf("answered %d %s, want invalid_grant", got.status, status)
	case want == refuse && why != "", want != refuse && why != session.ReuseDetected:
		h.Fatalf("grant_status %q, verdict %d", why, want)
	}
	return "", want
}

// learn remembers the bytes of the newest token, which are always the same.
func (h *history) learn(g *modelGrant, s sent, token string) string {
	h.Helper()
	newest := len(g.tokens) - 1
	if g.tokens[newest] == "" && !slices.Contains(g.tokens, token) {
		g.tokens[newest] = token
	}
	if g.tokens[newest] != token {
		h.Fatalf("the newest token has other bytes than before")
	}
	if g.answers[s.token] == nil {
		g.answers[s.token] = map[string]bool{}
	}
	g.answers[s.token][token] = true
	return token
}

// ask is the honest client's next request: the one without an answer, if there
// is one.
func (h *history) ask(g *modelGrant) sent {
	if g.pending == nil {
		g.pending = &sent{token: g.token}
		if g.keyed {
			g.pending.key = h.key()
		}
	}
	return *g.pending
}

// come is a request of the honest client.
func (h *history) come(g *modelGrant, doubt, lost bool) {
	h.Helper()
	s := h.ask(g)
	token, got := h.send(g, s, doubt)
	if g.keyed && !g.tried && got != accept {
		h.Fatalf("the honest client lost its grant, and nobody else was there")
	}
	if g.consumed && got == refuse {
		h.Fatalf("the honest client came and the thief was not found out")
	}
	if g.consumed && !g.dead {
		h.Fatalf("the honest client came and the thief's chain lives")
	}
	if token != "" && !lost {
		g.token, g.pending, g.log = token, nil, append(g.log, s)
	}
}

func (h *history) refresh(t *rapid.T)    { h.come(h.grant(), false, false) }
func (h *history) lostAnswer(t *rapid.T) { h.come(h.grant(), false, true) }
func (h *history) inDoubt(t *rapid.T)    { h.come(h.grant(), true, true) }

// duplicate is an old request on the wire once more, whose answer nobody reads.
// It is one that consumed a token, as far back as the realm promises to know: a
// request from before single use was switched on consumed nothing, so that a
// copy of it would be the first to do so.
func (h *history) duplicate(t *rapid.T) {
	g := h.grant()
	var late []sent
	for _, s := range g.memory {
		if s.key != "" && (slices.Contains(g.log, s) || g.pending != nil && *g.pending == s) {
			late = append(late, s)
		}
	}
	if len(late) == 0 {
		t.Skip("nothing was sent")
	}
	s := rapid.SampledFrom(late).Draw(t, "late")
	if _, got := h.send(g, s, rapid.Bool().Draw(t, "doubt")); got == replay {
		h.Fatalf("a late duplicate revoked the grant")
	}
}

// steal copies the honest client's token, which does not hold the key.
func (h *history) steal(t *rapid.T) {
	g := h.grant()
	g.loot, g.lootKey, g.strict = g.token, "", h.strict()
}

// stealKey copies the honest client's disk, with the key of a request that is
// still without an answer.
func (h *history) stealKey(t *rapid.T) {
	g := h.grant()
	if g.pending == nil || !g.keyed {
		t.Skip("no request without an answer")
	}
	g.loot, g.lootKey, g.strict = g.token, g.pending.key, false
}

func (h *history) strict() bool { return h.single && h.maxReuse == 0 }

func (h *history) thief(t *rapid.T) {
	g := h.grant()
	if g.loot == "" {
		t.Skip("nothing was stolen")
	}
	s := sent{g.loot, g.lootKey}
	if s.key == "" && rapid.Bool().Draw(t, "own key") {
		s.key = h.key()
	}
	before := len(g.tokens)
	token, got := h.send(g, s, rapid.IntRange(0, 9).Draw(t, "doubt") == 0)
	g.tried = true
	if got == accept && g.strict && len(g.tokens) > before {
		g.consumed = true
	}
	if token != "" {
		g.loot, g.lootKey = token, ""
	}
}

// time passes; less than Offline Session Idle over a whole history.
func (h *history) time(t *rapid.T) {
	h.w.advance(time.Duration(rapid.SampledFrom([]int{1, 400, 31_000, 3_600_000, 30_000_000}).Draw(t, "ms")) * time.Millisecond)
}

func (h *history) restart(t *rapid.T) { h.w.restart() }

// settle changes the settings. Where several may use a token, nobody can tell a
// thief from them, then or by what he got then.
func (h *history) settle(t *rapid.T) {
	h.single = rapid.IntRange(0, 3).Draw(t, "single use") > 0
	h.maxReuse = rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "max reuse")
	h.settings()
	for _, g := range h.grants {
		g.touched = true
		if !h.strict() {
			g.strict, g.consumed = false, false
		}
	}
}

// settings writes the settings, for a restart too.
func (h *history) settings() {
	change := singleUse(h.maxReuse)
	change(&h.w.settings)
	h.w.settings.RevokeRefreshToken = h.single
	s := h.w.settings
	h.w.edit(func(r *realm.Settings) {
		r.RevokeRefreshToken, r.RefreshTokenMaxReuse = s.RevokeRefreshToken, s.RefreshTokenMaxReuse
	})
}

// check asks introspection about the tokens of what changed, which uses nothing.
func (h *history) check(t *rapid.T) {
	for _, g := range h.grants {
		if !g.touched {
			continue
		}
		g.touched = false
		newest := len(g.tokens) - 1
		active := map[string]bool{}
		for i := max(0, newest-3); i <= newest; i++ {
			if g.tokens[i] == "" {
				continue
			}
			usable := !g.dead && (i == newest || h.single && i == newest-1 && len(g.uses[i]) > 0 && len(g.uses[i]) <= h.maxReuse)
			active[g.tokens[i]] = h.w.active(g.tokens[i])
			if active[g.tokens[i]] != usable {
				t.Fatalf("token %d of %d: active %v, usable %v", i, newest, active[g.tokens[i]], usable)
			}
		}
		if h.strict() {
			n := 0
			for _, a := range active {
				if a {
					n++
				}
			}
			if n > 1 {
				t.Fatalf("%d usable tokens of one grant under single use", n)
			}
		}
		for token, next := range g.answers {
			n := 0
			for d := range next {
				if d != token && active[d] {
					n++
				}
			}
			if n > 1 {
				t.Fatalf("one token has %d usable successors", n)
			}
		}
	}
}
