package provider_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

// What people are logged in at, as administrators see and end it.
func TestAdminSessions(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	alice, reports, other := "users/"+c.user("alice"), "clients/"+c.client("reports"), "clients/"+c.client("other")
	b := w.browser()
	online := b.grant("alice", "reports", "openid")
	b.grant("alice", "reports", "openid") // a second tab
	b.grant("alice", "other", "openid")   // single sign-on
	offline := w.password("reports", "alice", "openid offline_access").ok()
	second := w.password("reports", "alice", "openid offline_access").ok()
	w.password("reports", "carol", "openid offline_access").ok()

	got := c.get(alice + "/sessions").list()
	if len(got) != 1 {
		t.Fatalf("%d logins of alice, want the browser's", len(got))
	}
	sid := got[0]["id"].(string)
	if got[0]["username"] != "alice" || got[0]["ipAddress"] != "192.0.2.1" || got[0]["start"] != float64(w.clock().UnixMilli()) ||
		got[0]["lastAccess"] != float64(w.clock().UnixMilli()) || len(got[0]["clients"].(o)) != 2 || sid != online.claims()["sid"] {
		t.Errorf("shown as %v", got[0])
	}
	for path, want := range map[string]int{reports: 1, other: 1, "clients/" + c.client("spa"): 0} {
		if n := len(c.get(path + "/user-sessions").list()); n != want {
			t.Errorf("%s: %d sessions, want %d", path, n, want)
		}
		c.get(path+"/session-count").has("count", want)
	}
	c.get(reports+"/offline-session-count").has("count", 3)
	list := c.get(alice + "/offline-sessions/" + c.client("reports")).list()
	if len(list) != 2 || fmt.Sprint(list[0]["clients"]) != fmt.Sprint(o{c.client("reports"): "reports"}) {
		t.Fatalf("offline: %v", list)
	}
	if n := len(c.get(reports + "/offline-sessions").list()); n != 3 {
		t.Errorf("%d offline sessions of the client", n)
	}
	stats := map[string]string{}
	for _, s := range c.get("client-session-stats").list() {
		stats[s["clientId"].(string)] = fmt.Sprint(s["active"], "/", s["offline"])
	}
	if fmt.Sprint(stats) != "map[admin-cli:1/0 other:1/0 reports:1/3]" {
		t.Errorf("stats %v", stats)
	}
	for query, want := range map[string]int{
		"": 5, "type=ALL": 5, "type=REGULAR": 2, "type=OFFLINE": 3, "search=alice": 3, "search=alice&type=OFFLINE": 2,
		"search=alice@example.com&type=REGULAR": 1, "search=nobody": 0,
		"search=192.0.2.1": 5, "search=192.0.2.*": 5, "search=192.0.2.*&type=OFFLINE": 3, "search=192.0.2.1&type=REGULAR": 2, "search=192.0.2": 0, "search=192.0.2.*&first=1&max=3": 3, "search=192.0.2.*&first=4": 1, "first=1&max=3": 3, "first=4": 1, "first=5": 0, "max=0": 0,
	} {
		if n := len(c.get("ui-ext/sessions?" + query).list()); n != want {
			t.Errorf("sessions by %q: %d, want %d", query, n, want)
		}
	}
	c.get("ui-ext/sessions/count").has("regular", 2).has("moreRegular", false).has("offline", 3)
	var kinds []string
	for first := range 5 { // page by page they are the same
		kinds = append(kinds, c.get(fmt.Sprintf("ui-ext/sessions?max=1&first=%d", first)).each("type")...)
	}
	if !slices.Equal(kinds, []string{"REGULAR", "REGULAR", "OFFLINE", "OFFLINE", "OFFLINE"}) {
		t.Errorf("in pages: %v", kinds)
	}

	// One offline session ends alone (O19).
	id := offline.claims()["offline_session"].(string)
	c.delete("sessions/" + id).is(404)
	c.delete("sessions/" + sid + "?isOffline=true").is(404)
	c.delete("sessions/" + id + "?isOffline=true").is(204)
	c.delete("sessions/" + id + "?isOffline=true").is(404)
	w.refresh("reports", offline.refreshed()).fails(400, "invalid_grant", "revoked")
	w.refresh("reports", second.refreshed()).ok()
	c.get(reports+"/offline-session-count").has("count", 2)
	if w.count(event.OfflineSessionEnd, "revoked") != 1 {
		t.Error("no event of its end")
	}
	// A login ends with what was born in it; offline sessions live on (O31).
	c.delete("sessions/" + sid + "?isOffline=false").is(204)
	if w.refresh("reports", online.refreshed()).status != 400 || w.active(online.access()) {
		t.Error("the login lives")
	}
	w.refresh("reports", second.refreshed()).ok()
	c.get(reports+"/session-count").has("count", 0)
	if w.count(event.Logout, "") != 1 {
		t.Error("no event of the logout")
	}
}

// A client whose refresh token was revoked is in the login no more.
func TestAdminSessionCountFollowsClients(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	reports := "clients/" + c.client("reports")
	b := w.browser()
	first, second := b.grant("alice", "reports", "openid"), b.grant("alice", "reports", "openid")
	b.grant("alice", "other", "openid")
	w.post("revoke", "reports", "token", first.refreshed()).ok()
	c.get(reports+"/session-count").has("count", 1)
	w.post("revoke", "reports", "token", second.refreshed()).ok()
	c.get(reports+"/session-count").has("count", 0)
	c.get("clients/"+c.client("other")+"/session-count").has("count", 1)
	b.grant("alice", "reports", "openid") // by single sign-on
	c.get(reports+"/session-count").has("count", 1)
}

// O61, O65: consents, with what offline sessions add to them.
func TestAdminConsents(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	alice := "users/" + c.user("alice")
	id := c.create("clients", o{"clientId": "asks", "secret": "asks-secret", "consentRequired": true, "redirectUris": []string{callback}})
	if got := c.get(alice + "/consents").list(); len(got) != 0 {
		t.Errorf("before: %v", got)
	}
	b := w.browser()
	page, _ := b.open("GET", authURL("asks", "openid offline_access"), nil)
	page, _ = b.submit(page, "login", map[string][]string{"username": {"alice"}, "password": {"alice-pw"}})
	_, left := b.submit(page, "consent", map[string][]string{"accept": {"yes"}})
	token := b.exchange("asks", left.Query().Get("code")).ok()
	w.password("reports", "alice", "offline_access").ok() // a client that asks nothing
	at := w.clock().UnixMilli()

	got := map[string]o{}
	for _, k := range c.get(alice + "/consents").list() {
		got[k["clientId"].(string)] = k
	}
	k := got["asks"]
	if len(got) != 2 || fmt.Sprint(k["grantedClientScopes"]) == "[]" || k["createdDate"] != float64(at) || k["lastUpdatedDate"] != float64(at) ||
		fmt.Sprint(k["additionalGrants"]) != fmt.Sprint([]any{o{"client": id, "key": "Offline Token"}}) {
		t.Errorf("consents %v", got)
	}
	if k := got["reports"]; fmt.Sprint(k["grantedClientScopes"]) != "[]" || k["createdDate"] != nil || len(k["additionalGrants"].([]any)) != 1 {
		t.Errorf("a client without a consent: %v", k)
	}
	c.delete(alice + "/consents/asks").is(204)
	w.refresh("asks", token.refreshed()).fails(400, "invalid_grant", "revoked")
	c.delete(alice+"/consents/asks").refused(404, "Consent nor offline token not found")
	c.delete(alice + "/consents/reports").is(204) // the offline token alone
	if got := c.get(alice + "/consents").list(); len(got) != 0 {
		t.Errorf("after: %v", got)
	}
	if w.count(event.RevokeGrant, "") != 2 {
		t.Errorf("%d events", w.count(event.RevokeGrant, ""))
	}
}

// Pages far into many offline sessions, each exactly once.
func TestAdminOfflineSessionPages(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	reports, user := c.client("reports"), c.user("alice")
	const n = 5000
	w.offline(n, user, reports)
	at := "clients/" + reports
	c.get(at+"/offline-session-count").has("count", n)
	if got := c.get(at + "/offline-sessions").list(); len(got) != 100 {
		t.Errorf("%d without max", len(got))
	}
	seen := map[string]bool{}
	for first := 0; ; first += 999 {
		page := c.get(fmt.Sprintf("%s/offline-sessions?first=%d&max=999", at, first)).each("id")
		for _, id := range page {
			seen[id] = true
		}
		if len(page) < 999 {
			break
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d in pages", len(seen), n)
	}
	last := c.get(fmt.Sprintf("%s/offline-sessions?first=%d&max=10", at, n-3)).list()
	if len(last) != 3 || last[0]["username"] != "alice" {
		t.Errorf("the last page: %v", last)
	}
	if got := c.get(fmt.Sprintf("%s/offline-sessions?first=%d", at, n)).list(); len(got) != 0 {
		t.Errorf("beyond the end: %d", len(got))
	}
	// All at once, by one write (O62).
	token := w.password("reports", "carol", "openid offline_access").ok()
	c.delete(at + "/offline-sessions").is(204)
	w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "revoked")
	c.get(at+"/offline-session-count").has("count", 0)
	if got := c.get(at + "/offline-sessions").list(); len(got) != 0 {
		t.Errorf("%d are listed after they were revoked", len(got))
	}
	if got := c.get("ui-ext/sessions?type=OFFLINE&search=alice").list(); len(got) != 0 {
		t.Errorf("%d of alice", len(got))
	}
	w.refresh("reports", w.password("reports", "carol", "openid offline_access").ok().refreshed()).ok()
}

// As many as a user has, in as many transactions as it takes.
func TestAdminConsentOfMany(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	user, at := c.user("alice"), "clients/"+c.client("reports")
	w.offline(1200, user, c.client("reports"))
	c.delete("users/" + user + "/consents/reports").is(204)
	c.get(at+"/offline-session-count").has("count", 0)
	if n := len(c.get("admin-events?operationTypes=DELETE").list()); n != 1 {
		t.Errorf("%d events of one withdrawal", n)
	}
}

// offline writes offline sessions of a user at a client.
func (w *world) offline(n int, user, client string) {
	w.t.Helper()
	for from := 0; from < n; from += 500 {
		ids := make([]string, min(500, n-from))
		for i := range ids {
			ids[i] = oidc.NewID(nil)
		}
		w.update(func(tx storage.Tx) error {
			for i, id := range ids {
				cs := session.ClientSession{ID: id, Offline: true, User: user, Client: client, Created: w.now, LastUsed: w.now.Add(time.Duration(i) * time.Second),
					Scopes: []string{"offline_access"}, GrantType: "password"}
				if _, err := session.Start(tx, "demo", session.Policy{}, cs); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// Offline sessions of a client are found by whom, from where and when, by index;
// what one answer leaves the next goes on with.
func TestAdminOfflineSearch(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	at := "clients/" + c.client("reports") + "/offline-sessions/search"
	put := func(id, name, client, ip string, created, used time.Time, more ...func(*session.ClientSession)) {
		cs := session.ClientSession{ID: id, Offline: true, User: c.user(name), Client: c.client(client), IP: ip, Created: created, LastUsed: used, GrantType: "password"}
		w.update(func(tx storage.Tx) error {
			for _, m := range more {
				m(&cs)
			}
			return session.ClientSessions.Put(tx, "demo", id, &cs)
		})
	}
	now := w.clock()
	put("a1", "alice", "reports", "192.0.2.7", now.AddDate(0, 0, -9), now.AddDate(0, 0, -1))
	put("a2", "alice", "reports", "192.0.2.77", now.AddDate(0, 0, -3), now.AddDate(0, 0, -3))
	put("b1", "bob", "reports", "2001:db8::7", now.AddDate(0, 0, -3).Add(30*time.Minute), now)
	put("o1", "alice", "other", "192.0.2.7", now, now)
	put("e1", "alice", "reports", "192.0.2.7", now, now, func(cs *session.ClientSession) { cs.Status, cs.EndedAt = session.Revoked, now })
	day := func(n int) string { return now.AddDate(0, 0, n).Format(time.DateOnly) }
	ms := func(t time.Time) string { return fmt.Sprint(t.UnixMilli()) }
	for query, want := range map[string]string{
		"": "a1 a2 b1", "user=alice": "a1 a2", "user=ALICE@example.com": "a1 a2", "user=" + c.user("bob"): "b1", "user=nobody": "",
		"ipAddress=192.0.2.7": "a1", "ipAddress=192.0.2.*": "a1 a2", "ipAddress=2001:db8:*": "b1", "ipAddress=192.0.2.": "", "ipAddress=*": "a1 a2 b1",
		"issuedFrom=" + day(-3): "a2 b1", "issuedTo=" + day(-4): "a1", "issuedFrom=" + day(-9) + "&issuedTo=" + day(-9): "a1",
		"issuedFrom=" + ms(now.AddDate(0, 0, -3).Add(time.Minute)): "b1", // within an hour of the index
		"lastRefreshFrom=" + day(-1):                               "a1 b1", "lastRefreshTo=" + day(-1): "a1 a2", "lastRefreshTo=" + ms(now.AddDate(0, 0, -1).Add(-1)): "a2",
		"user=alice&ipAddress=192.0.2.77": "a2", "user=alice&ipAddress=2001:db8::7": "", "user=bob&lastRefreshTo=" + day(-1): "",
		"ipAddress=192.0.2.*&issuedFrom=" + day(-4): "a2", "issuedFrom=" + day(-4) + "&lastRefreshTo=" + day(-2): "a2",
	} {
		got := c.get(at + "?" + query).object()
		var ids []string
		for _, s := range got["sessions"].([]any) {
			ids = append(ids, s.(o)["id"].(string))
		}
		slices.Sort(ids)
		if strings.Join(ids, " ") != want || got["next"] != "" {
			t.Errorf("%s: %v (next %v), want %s", query, ids, got["next"], want)
		}
	}
	for _, query := range []string{"issuedFrom=yesterday", "max=0", "max=x", "after=x", "after=" + "YQpi", "ip=1", "user=a&user=b", "lastRefreshTo=-1"} {
		c.call("GET", at+"?"+query, nil).is(400)
	}
	c.call("GET", "clients/nobody/offline-sessions/search", nil).is(404)

	// A cursor of another client's list leads nowhere.
	other := c.get("clients/" + c.client("other") + "/offline-sessions/search").object()
	if other["next"] != "" || len(other["sessions"].([]any)) != 1 {
		t.Errorf("other has %v", other)
	}

	// Of many, each answer looks at some and the cursor goes on; all of them come once.
	w.offline(2300, c.user("alice"), c.client("reports"))
	seen, searched, after := map[string]bool{}, 0, ""
	for answers := 0; ; answers++ {
		got := c.get(at + "?max=400&user=alice&issuedFrom=" + day(0) + "&after=" + after).object()
		for _, s := range got["sessions"].([]any) {
			seen[s.(o)["id"].(string)] = true
		}
		searched += int(got["searched"].(float64))
		if after = got["next"].(string); after == "" || answers > 20 {
			break
		}
	}
	if len(seen) != 2300 || searched != 2302 {
		t.Errorf("%d of 2300 found, %d looked at", len(seen), searched)
	}
	got := c.get(at + "?user=alice&ipAddress=192.0.2.7").object()
	if got["next"] == "" || got["searched"] != 500.0 {
		t.Errorf("a search for one of many looked at %v and goes on at %v", got["searched"], got["next"])
	}

	// Those of an epoch that is over are not found by any index, though the sweeper
	// has not come yet.
	cursor := c.get(at + "?max=1&issuedFrom=" + day(-30)).object()["next"].(string)
	c.delete("clients/" + c.client("reports") + "/offline-sessions").is(204)
	put("new", "alice", "reports", "192.0.2.7", now, now, func(cs *session.ClientSession) { cs.Epoch = 1 })
	for _, query := range []string{"", "user=alice", "ipAddress=192.0.2.*", "issuedFrom=" + day(-30), "lastRefreshFrom=" + day(-30), "issuedFrom=" + day(-30) + "&after=" + cursor} {
		found := 0
		for after := ""; ; {
			got := c.get(at + "?" + query + after).object()
			for _, s := range got["sessions"].([]any) {
				if found++; s.(o)["id"] != "new" {
					t.Fatalf("%s finds %v, which is revoked", query, s)
				}
			}
			next := got["next"].(string)
			if next == "" {
				break
			}
			query, _, _ = strings.Cut(query, "&after=")
			after = "&after=" + next
		}
		if found != 1 {
			t.Errorf("%s finds %d, want the new one", query, found)
		}
	}
}
