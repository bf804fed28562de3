package jobs_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// users of a GET /grants answer, in its order, and its cursor.
func users(a answer) (out []string, next string) {
	list, _ := a.body["grants"].([]any)
	for _, one := range list {
		out = append(out, one.(map[string]any)["user"].(string))
	}
	return out, a.get("next")
}

func TestGrantsListsOnlyWhatTheRuleAllows(t *testing.T) {
	for rule, want := range map[string]string{
		"alice":               "alice",
		"*":                   "alice bob carol",
		"group=staff":         "bob",
		"carol sub=sub-alice": "alice carol",
		"alice group=staff":   "alice bob",
		"":                    "",
		"nobody":              "",
	} {
		job := nightly()
		job.Users = strings.Fields(rule)
		e := newEnv(t, job)
		e.login("alice")
		e.login("bob", "staff")
		e.login("carol")
		e.save(vault.Login{Provider: "google", Sub: "g", Username: "alice"}) // another site's
		a := e.get("/grants", "")
		got, next := users(a)
		slices.Sort(got)
		if a.status != 200 || strings.Join(got, " ") != want || next != "" {
			t.Errorf("users %q: %d %s; want %s", rule, a.status, a.raw, want)
		}
	}
}

func TestGrantsTellsStatusAndTimes(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	created := e.clock()
	e.advance(time.Hour)
	e.post("/token", form("user", "alice"))
	a := e.get("/grants", "")
	g, _ := a.body["grants"].([]any)[0].(map[string]any)
	for name, want := range map[string]any{
		"sub": "sub-alice", "user": "alice", "provider": "demo", "site": site, "scope": "openid profile offline_access", "status": "active",
		"created_at": float64(created.Unix()), "last_used_at": float64(e.clock().Unix()),
		"idle_at": float64(e.clock().Add(30 * 24 * time.Hour).Unix()), "max_at": nil,
	} {
		if g[name] != want {
			t.Errorf("%s is %v; want %v", name, g[name], want)
		}
	}
	if strings.Contains(a.raw, "token") {
		t.Errorf("a listing holds a token: %s", a.raw)
	}
	e.advance(time.Hour)
	e.provider.SetStatus("sub-alice", "user_disabled")
	e.post("/token", form("user", "alice"))
	if a := e.get("/grants", ""); !strings.Contains(a.raw, `"status":"user_disabled"`) {
		t.Error(a.raw)
	}
}

func TestGrantsPages(t *testing.T) {
	for _, rule := range []string{"*", "group=staff", "named"} {
		job := nightly()
		job.Users = []string{rule}
		if rule == "named" {
			job.Users = nil
		}
		for i := range 7 {
			if rule == "named" {
				job.Users = append(job.Users, fmt.Sprintf("user%d", i))
			}
		}
		e := newEnv(t, job)
		for i := range 7 {
			e.login(fmt.Sprintf("user%d", i), "staff")
		}
		e.save(vault.Login{Provider: "demo", Sub: "other", Username: "other"})
		seen, cursor, pages := map[string]bool{}, "", 0
		for {
			a := e.get("/grants", form("limit", "3", "cursor", cursor))
			got, next := users(a)
			for _, u := range got {
				if seen[u] {
					t.Errorf("%s: %s comes twice", rule, u)
				}
				seen[u] = true
			}
			if pages++; next == "" || pages > 5 {
				break
			}
			cursor = next
		}
		want := 7
		if rule == "*" {
			want = 8
		}
		if len(seen) != want || pages != 3 {
			t.Errorf("%s: %d grants on %d pages", rule, len(seen), pages)
		}
	}
}

func TestGrantsBadQueries(t *testing.T) {
	e := newEnv(t)
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "cursor=%zz"} {
		e.want(e.get("/grants", query), 400, "invalid_request")
	}
	e.want(e.post("/grants", ""), 405, "invalid_request")
}

func TestReject(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	first := e.post("/token", form("user", "alice")).get("access_token")
	if a := e.post("/reject", form("access_token", first)); a.status != 204 {
		t.Fatal(a.raw)
	}
	if second := e.post("/token", form("user", "alice")).get("access_token"); second == first || second == "" {
		t.Errorf("the rejected token came again")
	}
	if a := e.post("/reject", form("access_token", "nobody's")); a.status != 204 {
		t.Error(a.raw)
	}
	e.want(e.post("/reject", ""), 400, "invalid_request")
}

func TestRevokeNeedsMayRevoke(t *testing.T) {
	e := newEnv(t)
	e.login("alice")
	e.want(e.post("/revoke", form("user", "alice")), 403, "access_denied", "rule", "nightly-backup/may revoke")

	job := nightly()
	job.MayRevoke = true
	e = newEnv(t, job)
	e.login("alice")
	e.login("bob")
	e.want(e.post("/revoke", form("user", "bob")), 403, "access_denied", "rule", "nightly-backup/users")
	if a := e.post("/revoke", form("user", "alice")); a.status != 204 {
		t.Fatal(a.raw)
	}
	e.want(e.post("/token", form("user", "alice")), 400, "invalid_grant", "grant_status", "revoked")
	if got := e.provider.Revoked(); len(got) != 1 {
		t.Errorf("revoked at the provider: %q", got)
	}
	if has, err := e.vault.Has(context.Background(), "demo", "portal", "sub-bob", nil); !has || err != nil {
		t.Errorf("bob's grant: %v, %v", has, err)
	}
}
