package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"syscall"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// tally is what happened, by fault, and what must not have.
type tally struct {
	mu       sync.Mutex
	rows     map[*fault]*row
	last     map[string]*fault // the fault that a user met last
	doomed   map[string]bool   // users whose tokens are replayed on purpose
	names    map[string]string // sub → user
	copies   []request         // to be delivered again, late
	failures []string          // for the report; holds no token

	kills, open               int  // all; between request sent and answer read
	realmKills, unanswered    int  // of the realm; before it had answered
	orderly                   int  // restarts in order
	smallDisks                bool // some of the full disks were real ones
	noRoom                    int  // times that a store found its disk full
	lostGrants, acceptedTwice int
	refusals                  int             // invalid_grant for the vault
	revocations               int             // that nobody asked for
	forgotten                 int             // commits that the realm had answered
	unhealthy                 int             // panics, starts that failed, harness errors
	replays, late, tokens     int             // what was tried: replays, late copies, tokens handed out
	behind                    map[string]bool // users whose record is older than their token
	rolled                    int             // such records that were brought forward
	restartFailed             chan error
}

type row struct{ times, lost, twice int }

func newTally() *tally {
	return &tally{
		rows: map[*fault]*row{}, last: map[string]*fault{}, doomed: map[string]bool{}, names: map[string]string{}, behind: map[string]bool{},
		restartFailed: make(chan error, 16),
	}
}

func (t *tally) row(sub string) *row {
	f := t.last[sub]
	if t.rows[f] == nil {
		t.rows[f] = &row{}
	}
	return t.rows[f]
}

// fail is called with the lock held.
func (t *tally) fail(count *int, sub, why string) {
	*count++
	fault := "no fault before"
	if f := t.last[sub]; f != nil {
		fault = "after: " + f.step + ", " + f.name
	}
	if len(t.failures) < 50 {
		t.failures = append(t.failures, fmt.Sprintf("%s: %s (%s)", t.names[sub], why, fault))
	}
}

func (t *tally) fired(sub string, f *fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last[sub] = f
	t.row(sub).times++
}

// hooked notes that a process is about to end itself at a step.
func (t *tally) hooked(sub string, f *fault) {
	t.fired(sub, f)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kills++
	if f.process != realmName {
		return
	}
	t.open++
	t.realmKills++
	t.unanswered++
}

// died is told of the end of a process that the harness did not kill: SIGKILL is
// its own doing at a step, the rest is a failure.
func (t *tally) died(p *process, err error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signal() == syscall.SIGKILL {
			return
		}
	}
	t.broken(fmt.Sprintf("the %s ended by itself: %v", p.name, err))
}

// restored notes that a user's record at the realm is older than the token.
func (t *tally) restored(sub string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.behind[sub] = true
}

func (t *tally) injected() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for f, r := range t.rows {
		if f != nil {
			n += r.times
		}
	}
	return n
}

// restart stops a process in order.
func (t *tally) restart(v *process) {
	t.back(v.restart())
	t.count(&t.orderly)
}

// back reports a start that fails.
func (t *tally) back(started <-chan error) {
	go func() {
		if err := <-started; err != nil {
			t.restartFailed <- err
		}
	}()
}

// kill ends a process; open tells that a request had left the gateway and its
// answer had not reached it, answered that the realm had given one.
func (t *tally) kill(v *process, open, answered bool) {
	t.back(v.kill())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kills++
	if open {
		t.open++
	}
	if v.name == realmName {
		t.realmKills++
		if !answered {
			t.unanswered++
		}
	}
}

func (t *tally) lost(sub, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row(sub).lost++
	t.fail(&t.lostGrants, sub, "grant lost: "+why)
}

func (t *tally) twice(sub, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row(sub).twice++
	t.fail(&t.acceptedTwice, sub, why)
}

// refused counts an invalid_grant for the vault, unless it was provoked.
func (t *tally) refused(sub, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.doomed[sub] {
		t.fail(&t.refusals, sub, why)
	}
}

func (t *tally) broken(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail(&t.unhealthy, "", why)
}

// doom says whether a user's session is meant to end.
func (t *tally) doom(sub string, yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doomed[sub] = yes
}

func (t *tally) later(req request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.copies = append(t.copies, req)
}

func (t *tally) takeCopies() []request {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.copies
	t.copies = nil
	return c
}

func (t *tally) count(n *int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*n++
}

// endings are the events of a grant or a session that is over or in doubt.
var endings = []string{
	"refresh_token_replay", "offline_session_end",
	vault.EventLapsing, vault.EventSuspended, vault.EventLapsed, vault.EventRevoked, vault.EventReplayed, vault.EventEnded,
}

// watch reads the log of both processes.
func (t *tally) watch(process string, l logLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case l.Level == "panic" || l.Level == "fatal":
		t.fail(&t.unhealthy, l.Sub, process+": "+l.Msg+" "+l.Error)
	case l.Msg == "the store takes no writes for now":
		t.noRoom++
	case l.Event == "refresh_token_forward" && t.behind[l.Sub]:
		delete(t.behind, l.Sub)
		t.rolled++
	case l.Event == "refresh_token_forward":
		t.fail(&t.forgotten, l.Sub, process+": a token ahead of the record, so an answered commit was forgotten")
	case t.doomed[l.Sub]:
	case slices.Contains(endings, l.Event):
		t.fail(&t.revocations, l.Sub, process+": "+l.Event+" "+l.Reason)
	}
}

// print writes the report and tells whether nothing failed.
func (t *tally) print(w io.Writer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(w, "\n| step | fault | times | grants lost | tokens accepted twice |\n|---|---|--:|--:|--:|")
	for _, f := range faults {
		r := t.rows[f]
		if r == nil {
			r = &row{}
		}
		fmt.Fprintf(w, "| %s | %s | %d | %d | %d |\n", f.step, f.name, r.times, r.lost, r.twice)
	}
	fmt.Fprintf(w, "\nkills %d, between request sent and answer read %d; of %d kills of the realm %d before it had answered; restarts in order %d\n", t.kills, t.open, t.realmKills, t.unanswered, t.orderly)
	fmt.Fprintf(w, "times that a store found its disk full and refused to write %d", t.noRoom)
	if t.smallDisks {
		fmt.Fprint(w, "; some of the disks were real ones")
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "tokens handed out to jobs %d; superseded tokens replayed %d, late copies delivered %d\n", t.tokens, t.replays, t.late)
	fmt.Fprintf(w, "grants lost %d, tokens accepted twice %d\n", t.lostGrants, t.acceptedTwice)
	fmt.Fprintf(w, "refusals of the vault's tokens %d, revocations nobody asked for %d, answered commits forgotten %d, other failures %d\n",
		t.refusals, t.revocations, t.forgotten, t.unhealthy)
	fmt.Fprintf(w, "records older than their token brought forward %d of %d\n", t.rolled, t.rolled+len(t.behind))
	for _, f := range slices.Compact(t.failures) {
		fmt.Fprintln(w, "  FAILED", f)
	}
	if t.kills > 0 && 2*t.open < t.kills {
		fmt.Fprintln(w, "  FAILED fewer than half of the kills fell between request and answer: the run says little")
		return false
	}
	return len(t.behind)+t.lostGrants+t.acceptedTwice+t.refusals+t.revocations+t.forgotten+t.unhealthy == 0
}
