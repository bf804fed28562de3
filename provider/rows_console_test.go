package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
)

// Client → Offline Access: count and pages of who, from where, since when and
// last when, with revoke for one and for all.
func TestO62_OfflineAccess(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	at := "clients/" + c.client("reports")
	b.admin(at+"/offline").on(at+"/offline", 200).shows("0 offline sessions", "Nobody has given this application background access.").hides("revoke-all")

	w.address = "198.51.100.7"
	first := w.password("reports", "alice", "openid offline_access").ok()
	w.advance(3 * time.Hour)
	w.address = "198.51.100.8"
	second := w.password("reports", "alice", "openid offline_access").ok()
	elsewhere := w.password("other", "alice", "openid offline_access").ok()
	w.advance(2 * time.Hour)
	w.refresh("reports", first.refreshed()).ok()
	w.address = ""
	w.offline(40, c.user("carol"), c.client("reports"))

	// The count, and pages with each session once.
	page := b.admin(at+"/offline").on(at+"/offline", 200).shows("42 offline sessions")
	revoke := regexp.MustCompile(`/offline/revoke\?offline=true&amp;session=([\w-]+)"`)
	seen := map[string]bool{}
	all := ""
	for pages := 1; ; pages++ {
		for _, m := range revoke.FindAllStringSubmatch(page.body, -1) {
			seen[m[1]] = true
		}
		all += page.body
		next := regexp.MustCompile(`rel="next" href="/admin/demo/console/([^"]+)"`).FindStringSubmatch(page.body)
		if next == nil {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
		page = b.admin(strings.ReplaceAll(next[1], "&amp;", "&"))
	}
	if len(seen) != 42 || seen[fmt.Sprint(elsewhere.claims()["offline_session"])] {
		t.Fatalf("%d sessions on all pages", len(seen))
	}
	for _, text := range []string{"198.51.100.7", "198.51.100.8", "1 March 2026, 12:00 UTC", "1 March 2026, 15:00 UTC", "1 March 2026, 17:00 UTC", ">alice</a>", ">carol</a>"} {
		if !strings.Contains(all, text) {
			t.Errorf("the pages lack %q", text)
		}
	}

	// Searches.
	for query, want := range map[string]int{
		"user=alice": 2, "user=nobody": 0, "ipAddress=198.51.100.7": 1, "ipAddress=198.51.100.*": 2, "issuedFrom=2026-03-01": 20, "issuedFrom=2026-03-02": 0,
		"user=alice&issuedTo=2026-03-01": 2, "lastRefreshTo=2026-02-28": 0, "user=carol": 20,
	} {
		page := b.admin(at+"/offline?"+query).on(at+"/offline?"+query, 200)
		if n := len(revoke.FindAllString(page.body, -1)); n != want {
			t.Errorf("%s: %d rows, want %d", query, n, want)
		}
	}
	for _, bad := range []string{"issuedFrom=tomorrow", "lastRefreshTo=2026-13-01"} {
		name, value, _ := strings.Cut(bad, "=")
		b.admin(at+"/offline?user=alice&"+bad).on(at+"/offline?user=alice&"+bad, 400).shows(`id="`+name+`-problem"`, `value="`+value+`"`, `value="alice"`)
	}

	// One: it is asked about first, its next refresh fails, and others live on.
	id := fmt.Sprint(first.claims()["offline_session"])
	ask := b.admin(at+"/offline/revoke?offline=true&session="+id).shows("198.51.100.7", "1 offline session")
	w.refresh("reports", first.refreshed()).ok()
	b.send(ask, "confirm").on(at+"/offline?done=revoked", 200).shows("41 offline sessions")
	w.refresh("reports", first.refreshed()).fails(400, "invalid_grant", "revoked")
	w.refresh("reports", second.refreshed()).ok()
	b.send(ask, "confirm").on(at+"/offline?done=gone", 200)

	// All of them.
	ask = b.admin(at + "/offline/revoke-all").shows("41 offline sessions end at once")
	w.refresh("reports", second.refreshed()).ok()
	b.send(ask, "confirm").on(at+"/offline?done=revoked-all", 200).shows("0 offline sessions")
	w.refresh("reports", second.refreshed()).fails(400, "invalid_grant", "revoked")
	w.refresh("other", elsewhere.refreshed()).ok()
	for _, query := range []string{"user=alice", "ipAddress=198.51.100.8", "issuedFrom=2026-03-01", "lastRefreshFrom=2026-03-01"} {
		b.admin(at + "/offline?" + query).shows("No offline session is like this.").hides("198.51.100.8</")
	}
	if n := w.count(event.AdminDelete, ""); n != 2 {
		t.Errorf("%d events of two revocations by an administrator", n)
	}
}

// The three not-befores, each from its page: a client's is set to now and cleared.
func TestConsoleClientRevocation(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	at := "clients/" + c.client("reports")
	token := w.password("reports", "alice", "openid offline_access").ok().refreshed()
	b.admin(at+"/revocation").on(at+"/revocation", 200).shows("None", at+"/revocation/set", at+"/revocation/push").hides(at + "/revocation/clear")
	w.advance(time.Second)
	ask := b.admin(at + "/revocation/set").shows("1 offline session of reports is refused from then on")
	w.refresh("reports", token).ok()
	b.send(ask, "confirm").on(at+"/revocation?done=not-before-set", 200).shows("1 March 2026, 12:00 UTC")
	w.refresh("reports", token).fails(400, "invalid_grant", "not_before")
	b.admin(at + "/offline").shows("Refused: before Not before")
	ask = b.admin(at + "/revocation/push")
	b.send(ask, "confirm").on(at+"/revocation?done=pushed", 200)
	ask = b.admin(at + "/revocation/clear")
	b.send(ask, "confirm").on(at+"/revocation?done=not-before-cleared", 200)
	w.refresh("reports", token).ok()
}

// Client → Sessions: logins and offline sessions side by side, ended one by one.
func TestConsoleClientSessions(t *testing.T) {
	w := newWorld(t)
	c, b := w.console(), w.browser()
	at := "clients/" + c.client("reports")
	online := w.browser().grant("alice", "reports", "openid")
	b.admin(at+"/sessions").on(at+"/sessions", 200).shows("1 active session", "0 offline sessions", ">alice</a>")
	w.offline(23, c.user("alice"), c.client("reports"))
	page := b.admin(at+"/sessions").shows("23 offline sessions", at+"/sessions?offline=20")
	b.admin(at + "/sessions?offline=20").shows(at + `/sessions"`)
	sid := fmt.Sprint(online.claims()["sid"])
	page.shows("session=" + sid)
	ask := b.admin(at + "/sessions/end?session=" + sid)
	b.send(ask, "confirm").on(at+"/sessions?done=signed-out", 200).shows("0 active sessions", "23 offline sessions")
	w.refresh("reports", online.refreshed()).fails(400, "invalid_grant", "")
	elsewhere := fmt.Sprint(w.password("other", "alice", "openid offline_access").ok().claims()["offline_session"])
	b.admin(at+"/offline/revoke?offline=true&session="+elsewhere).on(at+"/offline/revoke?offline=true&session="+elsewhere, 404)
	for _, bad := range []string{"/sessions/end", "/sessions/end?session=nothing", "/offline/revoke?offline=true&session=" + sid, "/sessions?first=x", "/sessions?offline=-1"} {
		if got := b.admin(at + bad); got.status != 404 && got.status != 400 {
			t.Errorf("%s answered %d", bad, got.status)
		}
	}
}
