package provider_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

// TestRotationModel holds the token endpoint against the rules of
// docs/idempotent-refresh.md, over random histories of honest clients, thieves,
// duplicates on the wire, lost answers, commits in doubt, parallel requests,
// restarts, restored records, settings of the realm and of clients that change,
// and time; and against three promises that know nothing of the rules:
//
//   - one token never has two usable descendants under single use (O51, O54);
//   - an honest client that repeats its own request with its key keeps its grant
//     (O55, O56), however often answers are lost or the store is restored;
//   - a thief who consumed a token is found out when the honest client comes next.
func TestRotationModel(t *testing.T) {
	w := newWorld(t, singleUse(0))
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{T: rt, w: w, overrides: map[string]override{}}
		h.realm.single = true
		h.settle()
		for i := range rapid.IntRange(1, 3).Draw(rt, "grants") {
			h.grants = append(h.grants, h.begin(i))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"":                    h.check,
			"refresh":             h.refresh,
			"refresh again":       h.refresh, // honest clients come most often
			"lost answer":         h.lostAnswer,
			"commit in doubt":     h.inDoubt,
			"duplicate":           h.duplicate,
			"parallel":            h.parallel,
			"steal":               h.steal,
			"steal along the key": h.stealKey,
			"thief":               h.thief,
			"time":                h.time,
			"restart":             func(*rapid.T) { w.restart(); h.settle() },
			"copy":                h.copy,
			"restore":             h.restore,
			"settings":            h.settings,
			"client settings":     h.clientSettings,
		})
	})
}

// rules are single use and how often beyond once a token may be used.
type rules struct {
	single   bool
	maxReuse int
}

func (r rules) strict() bool { return r.single && r.maxReuse == 0 }

// request is a token, by the number of refreshes that led to it, and the key that
// comes with it, "" for none.
type request struct {
	token int
	key   string
}

// record is what the realm has to know of a grant to follow the rules.
type record struct {
	newest int
	uses   int       // of the token before it
	keys   []request // that consumed a token, the newest first, as far back as the realm promises to know
	dead   bool
}

func (r record) equal(o record) bool {
	return r.newest == o.newest && r.uses == o.uses && r.dead == o.dead && slices.Equal(r.keys, o.keys)
}

type verdict string

const (
	isRefused  verdict = "refused"
	isAccepted verdict = "accepted"
	isReplayed verdict = "replayed" // or was before
)

// told are the events that requests draw.
type told struct{ replays, forwards int }

// judge is the table of docs/idempotent-refresh.md. The record that it returns
// shares nothing with the one that it was given.
func (r rules) judge(had record, q request) (got verdict, is record, due told) {
	is = had
	is.keys = slices.Clone(had.keys)
	known := q.key != "" && slices.Contains(had.keys, q)
	consume := func() {
		most := 4 + r.maxReuse
		is.keys = append([]request{q}, is.keys...)
		is.keys = is.keys[:min(len(is.keys), most)]
	}
	switch {
	case had.dead:
		return isReplayed, is, due

	case q.token >= had.newest: // the newest, or ahead of a restored record
		if q.token > had.newest {
			is.newest, is.uses, due.forwards = q.token, 0, 1
		}
		if r.single {
			is.newest, is.uses = q.token+1, 1
			consume()
		}
		return isAccepted, is, due

	case q.token == had.newest-1 && known: // the same request again
		return isAccepted, is, due

	case !r.single || known: // merely old; a late duplicate on the wire
		return isRefused, is, due

	case q.token == had.newest-1 && had.uses > 0 && had.uses <= r.maxReuse:
		is.uses++
		consume()
		return isAccepted, is, due
	}
	is.dead, due.replays = true, 1
	return isReplayed, is, due
}

// usable tells whether a token works for somebody who has no key.
func (r rules) usable(had record, token int) bool {
	got, _, _ := r.judge(had, request{token: token})
	return got == isAccepted
}

// history is one run: a realm and some grants in it.
type history struct {
	*rapid.T
	w         *world
	grants    []*grant
	realm     rules
	overrides map[string]override // by client
	keys      int                 // for keys that nobody had
}

// override is what a client has instead of the realm's settings.
type override struct {
	single   *bool
	maxReuse *int
}

// grant is a grant as its parties and the rules see it.
type grant struct {
	client string
	keyed  bool // the honest client sends keys
	id     string

	// The honest client.
	token   string
	pending *sent  // without an answer on its disk
	log     []sent // answered

	// The thief: the token that he has, and whether nothing but strict single use
	// has helped him since he took it.
	loot     string
	lootKey  string
	strict   bool
	tried    bool // he has sent something
	consumed bool // he has consumed a token, strictly, and the honest client has not come since

	// The realm: what its record may be (after parallel requests nobody knows
	// their order), the numbers of all tokens that were seen, and the bytes that a
	// number has now. A restored record gives a number other bytes.
	records []record
	numbers map[string]int
	bytes   map[int]string
	// Successors that were answered for a token.
	answers map[int]map[int]bool
	touched bool // since the last check

	backup *backup
}

type backup struct {
	record  session.ClientSession
	records []record
	bytes   map[int]string
}

// sent is a request in bytes.
type sent struct{ token, key string }

func (h *history) begin(i int) *grant {
	g := &grant{
		client:  rapid.SampledFrom([]string{"reports", "other"}).Draw(h.T, "client"),
		keyed:   rapid.IntRange(0, 3).Draw(h.T, "keyed") > 0,
		records: []record{{}}, numbers: map[string]int{}, bytes: map[int]string{}, answers: map[int]map[int]bool{},
	}
	g.token = h.w.post("token", g.client, "grant_type", "client_credentials", "scope", "offline_access").refreshed()
	if g.token == "" {
		h.Fatalf("grant %d did not begin", i)
	}
	g.numbers[g.token], g.bytes[0] = 0, g.token
	g.id = decode(h.w.t, g.token, 1)["offline_session"].(string)
	return g
}

func (h *history) grant() *grant { return rapid.SampledFrom(h.grants).Draw(h.T, "grant") }

func (h *history) key() string {
	h.keys++
	return fmt.Sprintf("key-%d", h.keys)
}

// rules of a grant now.
func (h *history) rules(g *grant) rules {
	r := h.realm
	if o := h.overrides[g.client]; o.single != nil {
		r.single = *o.single
	}
	if o := h.overrides[g.client]; o.maxReuse != nil {
		r.maxReuse = *o.maxReuse
	}
	return r
}

// answer is what came of a request: a token with its number, or a verdict alone;
// "" for neither.
type answer struct {
	verdict
	token  string
	number int
}

// post sends a request over HTTP.
func (h *history) post(g *grant, s sent) answer {
	var more []string
	if s.key != "" {
		more = []string{key, s.key}
	}
	got := h.w.refresh(g.client, s.token, more...)
	code, why := got.text("error"), got.text("grant_status")
	switch {
	case got.status == http.StatusOK && got.refreshed() != "":
		gen, _ := got.offlineToken()["gen"].(float64) // from 1
		return answer{isAccepted, got.refreshed(), int(gen) - 1}
	case got.status == http.StatusServiceUnavailable && got.refreshed() == "":
		return answer{}
	case got.status == http.StatusBadRequest && code == "invalid_grant" && why == "":
		return answer{verdict: isRefused}
	case got.status == http.StatusBadRequest && code == "invalid_grant" && why == session.ReuseDetected:
		return answer{verdict: isReplayed}
	}
	h.w.t.Errorf("answered %d %s %s", got.status, code, why)
	return answer{verdict: "nonsense"}
}

// listen begins to count events.
func (h *history) listen() (heard func() told) {
	count := func() told {
		return told{h.w.count(event.RefreshTokenReplay, session.ReuseDetected), h.w.count(event.RefreshTokenForward, "")}
	}
	before := count()
	return func() told {
		now := count()
		return told{now.replays - before.replays, now.forwards - before.forwards}
	}
}

// explain holds the answers to some requests, in the order given, and their
// events against the rules, and returns what the record may be afterwards: none
// if no record that may have been explains them.
func (h *history) explain(g *grant, requests []sent, answers []answer, heard told) (is []record) {
	follow := func(r record) (record, bool) {
		var due told
		for i, s := range requests {
			want, next, more := h.rules(g).judge(r, request{g.numbers[s.token], s.key})
			if want != answers[i].verdict {
				return r, false
			}
			if want == isAccepted && answers[i].number != next.newest {
				return r, false
			}
			r, due = next, told{due.replays + more.replays, due.forwards + more.forwards}
		}
		return r, due == heard
	}
	for _, r := range g.records {
		if next, ok := follow(r); ok {
			is = append(is, next)
		}
	}
	return is
}

// learn takes over what the record may be now, and which tokens there are.
func (h *history) learn(g *grant, is []record, requests []sent, answers []answer) {
	h.Helper()
	g.records, g.touched = is, true
	for i, a := range answers {
		if a.token == "" {
			continue
		}
		n := a.number
		g.numbers[a.token] = n
		if g.bytes[n] == "" {
			g.bytes[n] = a.token
		}
		if g.bytes[n] != a.token {
			h.Fatalf("token %d has other bytes than before", n)
		}
		if from := g.numbers[requests[i].token]; n != from {
			if g.answers[from] == nil {
				g.answers[from] = map[int]bool{}
			}
			g.answers[from][n] = true
		}
	}
}

// send makes a request and holds the answer against the rules.
func (h *history) send(g *grant, s sent) answer {
	h.Helper()
	heard := h.listen()
	got := h.post(g, s)
	requests, answers := []sent{s}, []answer{got}
	is := h.explain(g, requests, answers, heard())
	if len(is) == 0 {
		h.Fatalf("%q and events %+v for token %d with key %q; rules %+v, record %+v", got.verdict, heard(), g.numbers[s.token], s.key, h.rules(g), g.records)
	}
	h.learn(g, is, requests, answers)
	return got
}

// sendInDoubt makes a request of which the realm does not know whether its commit
// happened. Only what writes nothing has an answer. What may have happened is told
// of at once, and again by whoever finds it not done.
func (h *history) sendInDoubt(g *grant, s sent) answer {
	h.Helper()
	if len(g.records) > 1 {
		h.Skip("which record it is will be known later")
	}
	had := g.records[0]
	want, is, due := h.rules(g).judge(had, request{g.numbers[s.token], s.key})
	happens := rapid.Bool().Draw(h.T, "commit happens")
	doubt := &h.w.backend.lost
	if happens {
		doubt = &h.w.backend.next
	}
	heard := h.listen()
	doubt.Store(1)
	got := h.post(g, s)
	doubt.Store(0)
	answered := want
	if want == isAccepted || want == isReplayed && !had.dead {
		answered = ""
	}
	if got.verdict != answered || heard() != due {
		h.Fatalf("%q and events %+v for token %d with key %q in doubt; rules %+v, record %+v", got.verdict, heard(), g.numbers[s.token], s.key, h.rules(g), had)
	}
	if happens {
		g.records = []record{is}
	}
	g.touched = true
	return answer{verdict: want}
}

// ask is the honest client's next request: the one without an answer, if there
// is one.
func (h *history) ask(g *grant) sent {
	if g.pending == nil {
		g.pending = &sent{token: g.token}
		if g.keyed {
			g.pending.key = h.key()
		}
	}
	return *g.pending
}

// came is the end of a request of the honest client; lost says that it has no
// answer on its disk.
func (h *history) came(g *grant, s sent, got answer, lost bool) {
	h.Helper()
	if g.keyed && !g.tried && got.verdict != isAccepted {
		h.Fatalf("the honest client lost its grant, and nobody else was there")
	}
	if g.consumed && got.verdict == isRefused {
		h.Fatalf("the honest client came and the thief was not found out")
	}
	if g.consumed && !lost && !g.records[0].dead {
		h.Fatalf("the honest client came and the thief's chain lives")
	}
	if got.token != "" && !lost {
		g.token, g.pending, g.log = got.token, nil, append(g.log, s)
	}
}

func (h *history) refresh(*rapid.T) {
	g := h.grant()
	s := h.ask(g)
	h.came(g, s, h.send(g, s), false)
}

func (h *history) lostAnswer(*rapid.T) {
	g := h.grant()
	s := h.ask(g)
	h.came(g, s, h.send(g, s), true)
}

func (h *history) inDoubt(*rapid.T) {
	g := h.grant()
	s := h.ask(g)
	h.came(g, s, h.sendInDoubt(g, s), true)
}

// late are requests of the honest client that consumed a token, as far back as
// the realm promises to know: a request from before single use was switched on
// consumed nothing, so that a copy of it would be the first to do so.
func (g *grant) late() []sent {
	sure := func(q request) bool {
		return !slices.ContainsFunc(g.records, func(r record) bool { return !slices.Contains(r.keys, q) })
	}
	var out []sent
	for _, s := range append(slices.Clone(g.log), sent{}) {
		if s == (sent{}) && g.pending != nil {
			s = *g.pending
		}
		if s.key != "" && sure(request{g.numbers[s.token], s.key}) {
			out = append(out, s)
		}
	}
	return out
}

// duplicate is an old request on the wire once more, whose answer nobody reads.
func (h *history) duplicate(t *rapid.T) {
	g := h.grant()
	late := g.late()
	if len(late) == 0 {
		t.Skip("nothing was sent")
	}
	s := rapid.SampledFrom(late).Draw(t, "late")
	dead, send := g.records[0].dead, h.send
	if rapid.Bool().Draw(t, "doubt") {
		send = h.sendInDoubt
	}
	if got := send(g, s); got.verdict == isReplayed && !dead {
		h.Fatalf("a late duplicate revoked the grant")
	}
}

// parallel sends the honest client's request several times at once, with an old
// one and the thief's among them, perhaps. Some order of them explains the
// answers.
func (h *history) parallel(t *rapid.T) {
	g := h.grant()
	mine := h.ask(g)
	requests := []sent{mine, mine}
	if rapid.Bool().Draw(t, "keys of their own") { // as of several processes
		for i := range requests {
			requests[i].key = h.key()
		}
		g.tried = true // which is what a thief would look like
	}
	if late := g.late(); len(late) > 0 && rapid.Bool().Draw(t, "late one") {
		requests = append(requests, rapid.SampledFrom(late).Draw(t, "late"))
	}
	if g.loot != "" && rapid.Bool().Draw(t, "thief") {
		g.tried, g.strict, g.consumed = true, false, false
		requests = append(requests, sent{g.loot, g.lootKey})
	}
	answers := make([]answer, len(requests))
	heard := h.listen()
	var gate, done sync.WaitGroup
	gate.Add(1)
	for i := range requests {
		done.Go(func() {
			gate.Wait()
			answers[i] = h.post(g, requests[i])
		})
	}
	gate.Done()
	done.Wait()
	events := heard()
	var is []record
	permute(len(requests), func(order []int) {
		var rs []sent
		var as []answer
		for _, i := range order {
			rs, as = append(rs, requests[i]), append(as, answers[i])
		}
		for _, r := range h.explain(g, rs, as, events) {
			if !slices.ContainsFunc(is, r.equal) { // else they multiply with each step
				is = append(is, r)
			}
		}
	})
	if len(is) == 0 {
		h.Fatalf("no order explains %+v and events %+v for %+v; rules %+v, record %+v", answers, events, requests, h.rules(g), g.records)
	}
	h.learn(g, is, requests, answers)
	for i, s := range requests[:2] {
		if s == mine {
			h.came(g, s, answers[i], false)
		}
	}
}

// permute calls do with each order of n.
func permute(n int, do func(order []int)) {
	var step func(order []int)
	step = func(order []int) {
		if len(order) == n {
			do(order)
			return
		}
		for i := range n {
			if !slices.Contains(order, i) {
				step(append(slices.Clone(order), i))
			}
		}
	}
	step(nil)
}

// steal copies the honest client's token, which does not hold the key.
func (h *history) steal(*rapid.T) {
	g := h.grant()
	g.loot, g.lootKey, g.strict = g.token, "", h.rules(g).strict()
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

func (h *history) thief(t *rapid.T) {
	g := h.grant()
	if g.loot == "" {
		t.Skip("nothing was stolen")
	}
	s := sent{g.loot, g.lootKey}
	if s.key == "" {
		keys := []string{"", h.key()}
		for _, old := range g.log { // of another token: it says nothing about this one
			if old.token != s.token && old.key != "" {
				keys = append(keys, old.key)
			}
		}
		s.key = rapid.SampledFrom(keys).Draw(t, "key")
	}
	before, send := g.records[0].newest, h.send
	if rapid.IntRange(0, 9).Draw(t, "doubt") == 0 {
		send = h.sendInDoubt
	}
	got := send(g, s)
	g.tried = true
	if got.verdict == isAccepted && g.strict && g.records[0].newest > before {
		g.consumed = true
	}
	if got.token != "" {
		g.loot, g.lootKey = got.token, ""
	}
}

// time passes; less than Offline Session Idle over a whole history.
func (h *history) time(t *rapid.T) {
	h.w.advance(time.Duration(rapid.SampledFrom([]int{1, 400, 31_000, 3_600_000, 30_000_000}).Draw(t, "ms")) * time.Millisecond)
}

// copy keeps the record of a grant for restore.
func (h *history) copy(*rapid.T) {
	g := h.grant()
	g.backup = &backup{records: g.records, bytes: maps.Clone(g.bytes)}
	err := h.w.store.View(h.w.t.Context(), func(tx storage.Tx) error {
		cs, err := session.ClientSessions.Get(tx, "demo", g.id)
		if err == nil {
			g.backup.record = *cs
		}
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
}

// restore brings the record back as it was. Whoever used a token since then is
// forgotten, a thief too.
func (h *history) restore(t *rapid.T) {
	g := h.grant()
	if g.backup == nil {
		t.Skip("there is no copy")
	}
	h.w.update(func(tx storage.Tx) error { return session.ClientSessions.Put(tx, "demo", g.id, &g.backup.record) })
	g.records, g.bytes, g.touched = g.backup.records, maps.Clone(g.backup.bytes), true
	g.strict, g.consumed = false, false
}

// settings changes what the realm says, clientSettings what a client says instead
// of it.
func (h *history) settings(t *rapid.T) {
	h.realm = rules{rapid.IntRange(0, 3).Draw(t, "single use") > 0, rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "max reuse")}
	h.settle()
}

func (h *history) clientSettings(t *rapid.T) {
	on, off, none, two := true, false, 0, 2
	h.overrides[rapid.SampledFrom([]string{"reports", "other"}).Draw(t, "client")] = override{
		rapid.SampledFrom([]*bool{nil, nil, &on, &off}).Draw(t, "single use"),
		rapid.SampledFrom([]*int{nil, nil, &none, &two}).Draw(t, "max reuse"),
	}
	h.settle()
}

// settle writes all settings. Where several may use a token, nobody can tell a
// thief from them, then or by what he got then.
func (h *history) settle() {
	h.w.edit(func(s *realm.Settings) {
		s.RevokeRefreshToken, s.RefreshTokenMaxReuse = h.realm.single, h.realm.maxReuse
	})
	for _, name := range []string{"reports", "other"} {
		o := h.overrides[name]
		h.w.editClient(name, func(c *client.Client) { c.RevokeRefreshToken, c.RefreshTokenMaxReuse = o.single, o.maxReuse })
	}
	for _, g := range h.grants {
		g.touched = true
		if !h.rules(g).strict() {
			g.strict, g.consumed = false, false
		}
	}
}

// check asks introspection about the tokens of what changed, which uses nothing.
func (h *history) check(t *rapid.T) {
	for _, g := range h.grants {
		if !g.touched {
			continue
		}
		g.touched = false
		active, ahead := map[int]bool{}, false
		for token, n := range g.numbers {
			if n < g.records[0].newest-3 {
				continue
			}
			is := h.w.active(token)
			if was, asked := active[n]; asked && was != is {
				t.Fatalf("token %d is active or not, depending on its bytes", n)
			}
			active[n] = is
			ahead = ahead || n > g.records[0].newest
			g.records = slices.DeleteFunc(g.records, func(r record) bool { return h.rules(g).usable(r, n) != is })
			if len(g.records) == 0 {
				t.Fatalf("token %d is active: %v; rules %+v", n, is, h.rules(g))
			}
		}
		if ahead {
			continue // of a record that was restored: its chain is known when somebody comes
		}
		usable := func(tokens map[int]bool) (n int) {
			for token := range tokens {
				if active[token] {
					n++
				}
			}
			return n
		}
		if h.rules(g).strict() && usable(active) > 1 {
			t.Fatalf("%d usable tokens of one grant under single use", usable(active))
		}
		for token, next := range g.answers {
			if usable(next) > 1 {
				t.Fatalf("token %d has %d usable successors", token, usable(next))
			}
		}
	}
}
