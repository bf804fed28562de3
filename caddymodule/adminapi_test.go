package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/nightlatch/nightlatch/adapter/jobs"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

// adminGateway runs with people, an offline path and an admin endpoint; call asks
// that, and looks at every answer for what must not be in any.
func adminGateway(t *testing.T, more string) (g *gateway, call func(method, path string, header ...string) (*http.Response, string)) {
	t.Helper()
	g = newGateway(t)
	g.admin = freeAddr(t)
	t.Cleanup(func() { _ = caddy.Stop() })
	if err := g.load("user alice {\n\tpassword alice-demo\n}\nuser bob {\n\tpassword bob-demo\n}",
		"nightlatch http://"+g.site+" {\n\toffline /backup\n}\nrespond \"hello {http.auth.user.id}\""+more); err != nil {
		t.Fatal(err)
	}
	return g, func(method, path string, header ...string) (*http.Response, string) {
		t.Helper()
		resp, body := answerOf(t, method, "http://"+g.admin+"/nightlatch/"+path, header...)
		if resp.StatusCode != http.StatusNoContent {
			if kind := resp.Header.Get("Content-Type"); kind != "application/json" || !json.Valid([]byte(body)) {
				t.Errorf("%s %s answers %s: %q", method, path, kind, body)
			}
		}
		if strings.Contains(body, "eyJ") || strings.Contains(strings.ToLower(body), "token\"") || strings.Contains(body, "secret") {
			t.Errorf("%s %s answers with a secret: %s", method, path, body)
		}
		return resp, body
	}
}

type listedSessions struct {
	Sessions []sessionView `json:"sessions"`
	Next     string        `json:"next"`
}

func read[T any](t *testing.T, resp *http.Response, body string) (out T) {
	t.Helper()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAdminSessions: sessions are listed page by page and ended, one or all of a
// person's, and no answer opens one.
func TestAdminSessions(t *testing.T) {
	g, call := adminGateway(t, "")
	cookies := map[string]string{"first": g.login("alice", "/"), "second": g.login("alice", "/"), "bob": g.login("bob", "/")}
	in := func(who string) (status int, sub string) {
		resp, body := answerOf(t, http.MethodGet, "http://"+g.site+"/", "Cookie", cookies[who])
		return resp.StatusCode, strings.TrimPrefix(body, "hello ")
	}
	_, alice := in("first")
	_, bob := in("bob")

	all, cursor := []sessionView{}, ""
	for range 4 {
		resp, body := call(http.MethodGet, "sessions?limit=1&cursor="+cursor)
		for _, cookie := range cookies {
			for pair := range strings.SplitSeq(cookie, "; ") {
				if _, value, _ := strings.Cut(pair, "="); strings.Contains(body, value) {
					t.Errorf("a cookie's value is in %s", body)
				}
			}
		}
		page := read[listedSessions](t, resp, body)
		if len(page.Sessions) > 1 {
			t.Errorf("limit 1 gives %d", len(page.Sessions))
		}
		all, cursor = append(all, page.Sessions...), page.Next
		if cursor == "" {
			break
		}
	}
	if len(all) != 3 || cursor != "" {
		t.Fatalf("%d sessions, cursor %q: %+v", len(all), cursor, all)
	}
	ids := map[string]bool{}
	for _, s := range all {
		ids[s.ID] = true
		if s.Provider != "demo" || s.User == "" || s.CreatedAt == 0 || s.EndsAt <= s.LastSeenAt || s.Offline {
			t.Errorf("%+v", s)
		}
		// A name of a session is no session.
		if resp, _ := answerOf(t, http.MethodGet, "http://"+g.site+"/", "Cookie", strings.Split(cookies["bob"], "=")[0]+"="+s.ID); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("the id of a session as its cookie: %d", resp.StatusCode)
		}
	}
	resp, body := call(http.MethodGet, "sessions?sub="+alice+"&site=http://"+g.site)
	hers := read[listedSessions](t, resp, body).Sessions
	if len(hers) != 2 || len(ids) != 3 || hers[0].Sub != alice || hers[1].Sub != alice {
		t.Fatalf("alice has %+v", hers)
	}

	for range 2 {
		resp, _ = call(http.MethodDelete, "sessions/"+hers[0].ID)
	}
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("ending a session twice: %d", resp.StatusCode)
	}
	first, _ := in("first")
	second, _ := in("second")
	if first+second != 200+401 {
		t.Errorf("of two sessions one was ended: %d, %d", first, second)
	}
	if resp, _ := call(http.MethodDelete, "sessions?sub="+alice); resp.StatusCode != http.StatusNoContent {
		t.Errorf("ending all of alice: %d", resp.StatusCode)
	}
	for who, want := range map[string]int{"first": 401, "second": 401, "bob": 200} {
		if got, _ := in(who); got != want {
			t.Errorf("%s: %d, want %d", who, got, want)
		}
	}
	resp, body = call(http.MethodGet, "sessions")
	if left := read[listedSessions](t, resp, body).Sessions; len(left) != 1 || left[0].Sub != bob {
		t.Errorf("left: %+v", left)
	}
}

// TestAdminGrants: grants are listed and revoked, and no answer holds a token.
func TestAdminGrants(t *testing.T) {
	g, call := adminGateway(t, "")
	g.login("alice", "/backup")
	g.login("bob", "/backup")
	list := func(query string) (out struct {
		Grants []jobs.View `json:"grants"`
		Next   string      `json:"next"`
	}) {
		t.Helper()
		resp, body := call(http.MethodGet, "grants?"+query)
		if err := json.Unmarshal([]byte(body), &out); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		return out
	}
	first := list("limit=1")
	second := list("limit=1&cursor=" + first.Next)
	if len(first.Grants) != 1 || len(second.Grants) != 1 || first.Grants[0].GrantID == second.Grants[0].GrantID {
		t.Fatalf("pages: %+v, %+v", first, second)
	}
	grant := first.Grants[0]
	if grant.Status != "active" || grant.User == "" || grant.Site != "http://"+g.site || !strings.Contains(grant.Scope, "offline_access") {
		t.Errorf("%+v", grant)
	}
	if resp, _ := call(http.MethodDelete, "grants/"+grant.GrantID); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("revoking: %d", resp.StatusCode)
	}
	if got := list("sub=" + grant.Sub).Grants; len(got) != 1 || got[0].Status != "revoked" {
		t.Errorf("after revoking: %+v", got)
	}
	if got := list("sub=" + second.Grants[0].Sub).Grants; len(got) != 1 || got[0].Status != "active" {
		t.Errorf("the other's: %+v", got)
	}
	if got := list("limit=1&sub=" + grant.Sub + "&cursor=" + grant.GrantID); len(got.Grants) > 0 || got.Next != "" {
		t.Errorf("behind the last of a person's: %+v", got)
	}
}

func TestPageOf(t *testing.T) {
	all := []vault.Grant{{ID: "g_c"}, {ID: "g_a"}, {ID: "g_b"}}
	for _, c := range []struct {
		cursor string
		limit  int
		want   string
	}{{"", 5, "g_a g_b g_c|"}, {"", 3, "g_a g_b g_c|"}, {"", 2, "g_a g_b|g_b"}, {"g_b", 2, "g_c|"}, {"g_a", 1, "g_b|g_b"}, {"g_c", 1, "|"}, {"g_aa", 1, "g_b|g_b"}} {
		page, next := pageOf(all, c.cursor, c.limit)
		var ids []string
		for _, g := range page {
			ids = append(ids, g.ID)
		}
		if got := strings.Join(ids, " ") + "|" + next; got != c.want {
			t.Errorf("behind %q, %d: %s, want %s", c.cursor, c.limit, got, c.want)
		}
	}
}

// TestAdminBadRequests: each is refused with what is wrong, and nothing happens.
func TestAdminBadRequests(t *testing.T) {
	other := freeAddr(t)
	g, call := adminGateway(t, "\n}\nhttp://"+other+" {\n\tnightlatch http://"+other+" {\n\t\tclient_id other\n\t}")
	cookie := g.login("alice", "/backup")
	site := "site=" + url.QueryEscape("http://"+g.site)
	for name, c := range map[string]struct {
		method, path string
		header       []string
		status       int
		want         string
	}{
		"which site":          {"GET", "sessions", nil, 400, "want the parameter site: one of "},
		"no such site":        {"GET", "sessions?site=https://elsewhere.example.com", nil, 404, "elsewhere.example.com"},
		"no grants there":     {"GET", "grants?site=http://elsewhere.example.com", nil, 404, "elsewhere.example.com"},
		"unknown parameter":   {"GET", "sessions?user=alice&" + site, nil, 400, "unknown parameter \\\"user\\\""},
		"twice":               {"DELETE", "sessions?sub=a&sub=b&" + site, nil, 400, "sub is given twice"},
		"of nobody":           {"DELETE", "sessions?" + site, nil, 400, "want the parameter sub"},
		"of nobody either":    {"DELETE", "sessions?sub=&" + site, nil, 400, "want the parameter sub"},
		"limit zero":          {"GET", "sessions?limit=0&" + site, nil, 400, "from 1 to 1000"},
		"limit too large":     {"GET", "grants?limit=1001&" + site, nil, 400, "from 1 to 1000"},
		"limit no number":     {"GET", "grants?limit=ten&" + site, nil, 400, "from 1 to 1000"},
		"broken query":        {"GET", "grants?limit=%zz&" + site, nil, 400, "cannot be read"},
		"no such session":     {"DELETE", "sessions/nobody?" + site, nil, 404, "no such session"},
		"strange id":          {"DELETE", "sessions/%00%ff?" + site, nil, 404, "no such session"},
		"another site's":      {"DELETE", "sessions/" + strings.Repeat("A", 43) + "?site=http://" + other, nil, 404, "no such session"},
		"no such grant":       {"DELETE", "grants/g_nobody?" + site, nil, 404, "no such grant"},
		"method":              {"POST", "sessions?" + site, nil, 405, "want DELETE, GET"},
		"method of a grant":   {"GET", "grants/g_1?" + site, nil, 405, "want DELETE"},
		"a token is not here": {"POST", "token", nil, 404, ""},
		"secrets over TCP":    {"GET", "store/backup", nil, 403, "unix socket"},
		"a page's script":     {"DELETE", "sessions?sub=x&" + site, []string{"Origin", "https://evil.test"}, 403, "origin"},
		"a page's form":       {"GET", "sessions?" + site, []string{"Sec-Fetch-Mode", "navigate"}, 403, "origin"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "a token is not here" { // Caddy's own answer is a text
				if resp, _ := answerOf(t, c.method, "http://"+g.admin+"/nightlatch/"+c.path); resp.StatusCode != c.status {
					t.Errorf("%d", resp.StatusCode)
				}
				return
			}
			resp, body := call(c.method, c.path, c.header...)
			if resp.StatusCode != c.status || !strings.Contains(body, c.want) {
				t.Errorf("%d %s, want %d with %q", resp.StatusCode, body, c.status, c.want)
			}
			if c.status == http.StatusMethodNotAllowed && resp.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	t.Run("another host", func(t *testing.T) {
		req, err := http.NewRequest(http.MethodGet, "http://"+g.admin+"/nightlatch/sessions?"+site, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "evil.test"
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%d", resp.StatusCode)
		}
	})
	if resp, _ := answerOf(t, http.MethodGet, "http://"+g.site+"/", "Cookie", cookie); resp.StatusCode != http.StatusOK {
		t.Errorf("alice's session after all that: %d", resp.StatusCode)
	}
}
