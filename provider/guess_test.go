package provider_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
)

// guessing lets so many wrong guesses pass; then a minute, two, three at the most.
func guessing(factor int) func(*realm.Settings) {
	return func(s *realm.Settings) {
		s.FailureFactor, s.WaitIncrement, s.MaxFailureWait, s.MaxDeltaTime = factor, time.Minute, 3*time.Minute, time.Hour
	}
}

// at is a browser at an address, of which all requests come from now on.
func (b *browser) at(address string) *browser {
	b.address = address
	return b
}

// login tries a password; in tells that it was let in.
func (b *browser) login(name, password string) (page *reply, in bool) {
	b.t.Helper()
	page, left := b.open(http.MethodGet, authURL("reports", "openid", "prompt", "login"), nil)
	if left != nil {
		b.t.Fatalf("no login page, but %s", left)
	}
	page, left = b.submit(page, "login", credentials(name, password))
	return page, left != nil
}

// allocated is how many bytes fn takes.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

var typedName = regexp.MustCompile(`value="[^"]*"`)

// TestGuessesAreSlowed: after some wrong passwords nothing is verified for a while,
// which grows; nobody learns whether there is such a user.
func TestGuessesAreSlowed(t *testing.T) {
	w := newWorld(t, guessing(3))
	wrong := func(name string) string {
		t.Helper()
		page, in := w.browser().login(name, "wrong")
		if in || page.status != 200 || !strings.Contains(page.body, "Username or password is wrong") {
			t.Fatalf("%s: %d %s", name, page.status, page.body)
		}
		return typedName.ReplaceAllString(page.body, "")
	}
	refused := func(name, password, after string) string {
		t.Helper()
		page, in := w.browser().login(name, password)
		if in || page.status != http.StatusTooManyRequests || page.header.Get("Retry-After") != after {
			t.Fatalf("%s: %v %d, Retry-After %s, want %s", name, in, page.status, page.header.Get("Retry-After"), after)
		}
		return page.body
	}
	for _, name := range []string{"alice", "nobody"} {
		w.address = map[string]string{"alice": "192.0.2.1", "nobody": "192.0.2.2"}[name]
		for range 3 {
			wrong(name)
		}
	}
	if a, n := refused("alice", "alice-pw", "60"), refused("nobody", "x", "60"); a != n {
		t.Errorf("the answers differ:\n%s\n%s", a, n)
	}
	// A password costs 19 MiB to verify: nothing is verified for who has to wait.
	if one, none := allocated(func() { w.browser().login("bob", "wrong") }), allocated(func() { refused("alice", "alice-pw", "60") }); one < 19<<20 || none > 10<<20 {
		t.Errorf("a password took %d bytes, none %d", one, none)
	}
	w.restart() // another process on the same store
	w.advance(59 * time.Second)
	refused(" Alice ", "alice-pw", "1")
	w.advance(time.Second)
	for _, after := range []string{"120", "180", "180"} {
		wrong("alice")
		refused("alice", "alice-pw", after)
		w.advance(3 * time.Minute)
	}
	if _, in := w.browser().login("alice", "alice-pw"); !in {
		t.Error("after the wait alice cannot log in")
	}
	if w.count(event.LoginError, "user_temporarily_disabled") < 5 {
		t.Error("events are missing")
	}
	// The realm may do without.
	off := false
	w.edit(func(s *realm.Settings) { s.BruteForceProtected = &off })
	for range 5 {
		wrong("bob")
	}
}

// TestStrangersLockNobodyOut: whoever guesses at somebody's password keeps those out
// whom nobody knows, and not the one who has logged in before, from his browser
// wherever it is, or with another where he was.
func TestStrangersLockNobodyOut(t *testing.T) {
	w := newWorld(t, guessing(3))
	const home, cafe, elsewhere = "2001:db8:1:2::1", "192.0.2.20", "192.0.2.30"
	hers := w.browser()
	if _, in := hers.at(home).login("alice", "alice-pw"); !in {
		t.Fatal("the first login")
	}
	for i := range 3 {
		w.browser().at(fmt.Sprintf("198.51.100.%d", i)).login("alice", "wrong")
	}
	enters := func(what string, b *browser, name string, want bool) {
		t.Helper()
		if page, in := b.login(name, name+"-pw"); in != want || !in && page.status != http.StatusTooManyRequests {
			t.Errorf("%s: logged in %v, want %v", what, in, want)
		}
	}
	enters("a browser that nobody knows", w.browser().at(elsewhere), "alice", false)
	enters("her browser elsewhere", hers.at(cafe), "alice", true)
	enters("another browser at home", w.browser().at("2001:db8:1:2::99"), "alice", true)
	enters("somebody else at her browser", hers.at(elsewhere), "bob", true)
	enters("somebody else", w.browser().at("198.51.100.0"), "carol", true)
	enters("her browser was lent", hers.at(elsewhere), "alice", false)

	// Who guesses at home is slowed there, with a count of its own.
	for range 3 {
		w.browser().at(home).login("alice", "wrong")
	}
	enters("at home, after guesses there", w.browser().at(home), "alice", false)
	w.advance(time.Minute)
	enters("at home, a minute later", w.browser().at(home), "alice", true)
	for range 2 {
		w.browser().at(home).login("alice", "wrong")
	}
	enters("a right one begins the count anew", w.browser().at(home), "alice", true)

	// A cookie that somebody made proves nothing.
	forged := w.browser().at("203.0.113.77")
	known := hers.cookie("known")
	u, _ := url.Parse(origin)
	for _, value := range []string{known.Value[:len(known.Value)-2] + "xx", strings.Repeat("A", 22) + ".", "", known.Value} { // the last one is bob's
		forged.jar.SetCookies(u, []*http.Cookie{{Name: known.Name, Value: value, Path: "/"}})
		for range 3 {
			forged.login("alice", "wrong")
		}
		enters("a forged cookie", forged, "alice", false)
	}
}

// TestGuessesFromOneNetwork: many names are no way around, and cost the neighbours
// nothing who have logged in there.
func TestGuessesFromOneNetwork(t *testing.T) {
	w := newWorld(t, guessing(1))
	neighbour := w.browser()
	neighbour.at("192.0.2.1").login("alice", "alice-pw")
	for i := range 10 {
		w.browser().at("192.0.2.1").login(fmt.Sprint("name", i), "wrong")
	}
	if page, in := w.browser().at("192.0.2.1").login("bob", "bob-pw"); in || page.status != http.StatusTooManyRequests {
		t.Errorf("one more name: %v %d", in, page.status)
	}
	if _, in := w.browser().at("192.0.2.1").login("alice", "alice-pw"); !in {
		t.Error("the neighbour is kept out")
	}
	if _, in := w.browser().at("192.0.2.2").login("bob", "bob-pw"); !in {
		t.Error("another network is kept out")
	}
}

// TestGuessesAtTheTokenEndpoint share the counts of the login page, and a hundred at
// a time are no more than one after the other.
func TestGuessesAtTheTokenEndpoint(t *testing.T) {
	w := newWorld(t, guessing(3))
	w.password("reports", "bob", "").ok()
	try := func(name, password string) *reply {
		return w.post("token", "reports", "grant_type", "password", "username", name, "password", password)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	for i := range 20 {
		all.Go(func() {
			r := try("alice", fmt.Sprint("wrong", i))
			mu.Lock()
			defer mu.Unlock()
			answers[r.status]++
		})
	}
	all.Wait()
	if answers[400] != 3 || answers[429] != 17 {
		t.Errorf("answers to 20 guesses at a time: %v", answers)
	}
	r := try("alice", "alice-pw").fails(429, "slow_down", "")
	if r.header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	if page, in := w.browser().login("alice", "alice-pw"); in || page.status != http.StatusTooManyRequests {
		t.Errorf("the login page: %v %d", in, page.status)
	}
	w.password("reports", "bob", "").ok()
	w.advance(time.Minute)
	try("alice", "alice-pw").ok()
}

// TestClientSecretGuesses: they are slowed by client and address, at every endpoint
// that asks for a secret. The same wrong secret again is no guess.
func TestClientSecretGuesses(t *testing.T) {
	w := newWorld(t, guessing(3))
	try := func(endpoint, id, secret string) *reply {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, issuer+"/protocol/openid-connect/"+endpoint, strings.NewReader("grant_type=client_credentials&token=x"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(id, secret)
		return w.do(r)
	}
	w.address = "192.0.2.1"
	for range 10 {
		try("token", "reports", "the old one").fails(401, "invalid_client", "")
	}
	try("token", "reports", "reports-secret").ok()
	for _, id := range []string{"reports", "nobody"} {
		for i, endpoint := range []string{"token", "introspect", "revoke"} {
			if endpoint == "introspect" {
				endpoint = "token/introspect"
			}
			try(endpoint, id, fmt.Sprint("wrong", i)).fails(401, "invalid_client", "")
		}
		for _, endpoint := range []string{"token", "token/introspect", "revoke", "auth/device"} {
			r := try(endpoint, id, "reports-secret").fails(429, "slow_down", "")
			if r.header.Get("Retry-After") != "60" {
				t.Errorf("%s: Retry-After %q", endpoint, r.header.Get("Retry-After"))
			}
		}
	}
	try("token", "other", "other-secret").ok()
	w.address = "192.0.2.2"
	try("token", "reports", "reports-secret").ok()
	w.address = "192.0.2.1"
	w.advance(time.Minute)
	try("token", "reports", "reports-secret").ok()
	try("token", "reports", "wrong").fails(401, "invalid_client", "")
	try("token", "reports", "reports-secret").ok()
}
