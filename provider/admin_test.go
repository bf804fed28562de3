package provider_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
)

const (
	unauthorized = `{"error":"HTTP 401 Unauthorized"}`
	forbidden    = `{"error":"HTTP 403 Forbidden"}`
)

// Who may call is judged by the records of now, not by what a token says.
func TestAdminAuthentication(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	ask := func(token string) *result { return w.rest("GET", "realms/demo/users", token, nil) }
	expect := func(name string, r *result, status int, body string) {
		t.Helper()
		if r.status != status || body != "" && r.raw != body {
			t.Errorf("%s: %d %s, want %d", name, r.status, r.raw, status)
		}
	}
	root := w.cli("carol")
	expect("an administrator", ask(root), 200, "")
	if r := ask(""); r.header.Get("WWW-Authenticate") != `Bearer realm="demo"` || r.raw != unauthorized {
		t.Errorf("without a token: %v %s", r.header, r.raw)
	}
	expect("garbage", ask("garbage"), 401, unauthorized)
	expect("a token that was cut", ask(root[:len(root)-4]), 401, unauthorized)
	forged := strings.Split(root, ".")
	forged[1] = base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"` + issuer + `","typ":"Bearer","realm_access":{"roles":["realm-admin"]}}`))
	expect("forged claims", ask(strings.Join(forged, ".")), 401, unauthorized)
	expect("no administrator", ask(w.cli("alice")), 403, forbidden)
	own := w.password("reports", "carol", "openid offline_access").ok()
	expect("by another client", ask(own.access()), 200, "")
	expect("an ID token", ask(own.text("id_token")), 401, unauthorized)
	expect("a refresh token", ask(own.refreshed()), 401, unauthorized)
	expect("in the query", w.rest("GET", "realms/demo/users?access_token="+root, "", nil), 401, unauthorized)
	expect("Basic", w.rest("GET", "realms/demo/users", "", nil, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("carol:carol-pw"))), 401, unauthorized)

	t.Run("the client's scope lacks the role", func(t *testing.T) {
		w.editClient("reports", func(c *client.Client) { c.FullScope = false })
		expect("full scope off", ask(own.access()), 403, forbidden)
		w.editClient("reports", func(c *client.Client) { c.ScopeRoles = []string{"realm-admin"} })
		expect("with a mapping", ask(own.access()), 200, "")
		w.editClient("reports", func(c *client.Client) { c.FullScope, c.ScopeRoles = true, nil })
	})
	t.Run("a service account", func(t *testing.T) {
		token := w.post("token", "other", "grant_type", "client_credentials").ok().access()
		expect("without the role", ask(token), 403, forbidden)
		id := c.get("clients/" + c.client("other") + "/service-account-user").object()["id"].(string)
		c.send("users/"+id+"/role-mappings/realm", []o{{"name": "realm-admin"}}).is(204)
		expect("with the role", ask(token), 200, "") // the token is older than the role
		c.call("DELETE", "users/"+id+"/role-mappings/realm", []o{{"name": "realm-admin"}}).is(204)
		expect("the role taken away", ask(token), 403, forbidden)
	})
	t.Run("the role is taken away", func(t *testing.T) {
		w.editUser("carol", func(u *user.User) { u.Roles = []string{"keeper"} })
		expect("with a token that still names it", ask(root), 403, forbidden)
		w.editUser("carol", func(u *user.User) { u.Roles = []string{"keeper", "realm-admin"} })
		expect("given back", ask(root), 200, "")
	})
	t.Run("by a composite role", func(t *testing.T) {
		c.send("roles", o{"name": "boss", "composites": o{"realm": []string{"realm-admin"}}}).is(201)
		token := w.cli("alice")
		c.send("users/"+c.user("alice")+"/role-mappings/realm", []o{{"name": "boss"}}).is(204)
		expect("alice", ask(token), 200, "")
	})
	t.Run("disabled", func(t *testing.T) {
		w.editUser("carol", func(u *user.User) { u.Enabled = false })
		expect("the user", ask(root), 401, unauthorized)
		w.editUser("carol", func(u *user.User) { u.Enabled = true })
		w.editClient("admin-cli", disable)
		expect("the client", ask(root), 401, unauthorized)
		w.editClient("admin-cli", enable)
		expect("enabled again", ask(root), 200, "")
	})
	t.Run("expired", func(t *testing.T) {
		w.advance(6 * time.Minute)
		expect("after its time", ask(root), 401, unauthorized)
		expect("from an offline session", ask(w.refresh("reports", own.refreshed()).ok().access()), 200, "")
	})
}

// §4 line 52: an administrator of one realm is nobody in another.
func TestAdminOfAnotherRealm(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	other, err := provider.New(provider.Config{Store: w.store, Sealer: w.keyset, Realm: "b", URL: "http://b.test", Now: w.clock, Events: w})
	if err != nil {
		t.Fatal(err)
	}
	err = other.Declare(t.Context(), provider.Declaration{
		Settings: realm.Settings{SigningAlgorithm: "ES256"}, Users: []provider.DeclaredUser{{Username: "carol", Password: "carol-pw", Admin: true}},
	})
	if err == nil {
		err = other.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	root := w.cli("carol")
	atB := &world{t: t, provider: other, store: w.store, keyset: w.keyset, now: w.now}
	for _, tt := range []struct {
		name, path, token string
		at                *world
		status            int
	}{
		{"the other realm's path at our address", "realms/b/users", root, w, 403},
		{"a realm that does not exist", "realms/c/users", root, w, 403},
		{"without a token", "realms/b/users", "", w, 401},
		{"our token at the other realm's address", "realms/b/users", root, atB, 403},
		{"our token at our path of the other address", "realms/demo/users", root, atB, 403},
		{"garbage there", "realms/b/users", "x.y.z", atB, 401},
		{"a token that names our issuer, forged", "realms/b/users", "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`"}`)) + ".", atB, 401},
		{"our user's id there", "realms/b/users/" + c.user("alice"), root, atB, 403},
	} {
		if r := tt.at.rest("GET", tt.path, tt.token, nil); r.status != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, r.status, r.raw, tt.status)
		}
	}
	// Ids are the realm's own.
	rootOfB := atB.do(newForm("http://b.test/realms/b/protocol/openid-connect/token",
		"client_id", "admin-cli", "grant_type", "password", "username", "carol", "password", "carol-pw")).ok().access()
	role := c.get("roles/keeper").object()["id"].(string)
	scope := c.get("client-scopes").list()[0]["id"].(string)
	for _, path := range []string{
		"users/" + c.user("alice"), "clients/" + c.client("reports"), "roles-by-id/" + role, "client-scopes/" + scope,
		"clients/" + c.client("admin-cli") + "/offline-sessions", "users/" + c.user("alice") + "/consents",
	} {
		if r := atB.rest("GET", "realms/b/"+path, rootOfB, nil); r.status != 404 {
			t.Errorf("%s of another realm: %d %s", path, r.status, r.raw)
		}
	}
}

// What is there and what is not, with the wrong method too.
func TestAdminRouting(t *testing.T) {
	c := newWorld(t).console()
	alice, reports := c.user("alice"), c.client("reports")
	for _, tt := range []struct {
		method, path string
		status       int
		words        string
	}{
		{"GET", "nothing", 404, "HTTP 404 Not Found"},
		{"GET", "users/" + alice + "/nothing", 404, "HTTP 404 Not Found"},
		{"GET", "users/none", 404, "User not found"},
		{"GET", "users/" + strings.Repeat("x", 300), 404, "User not found"},
		{"GET", "clients/none", 404, "Could not find client"},
		{"GET", "roles/none", 404, "Could not find role"},
		{"GET", "roles-by-id/none", 404, "Could not find role with id"},
		{"GET", "client-scopes/none", 404, "Could not find client scope"},
		{"DELETE", "sessions/none", 404, "Session not found"},
		{"DELETE", "sessions/none?isOffline=true", 404, "Session not found"},
		{"GET", "users/" + alice + "/offline-sessions/none", 404, "Could not find client"},
		{"DELETE", "users/" + alice + "/consents/none", 404, "Client not found"},
		{"DELETE", "users/" + alice + "/consents/reports", 404, "Consent nor offline token not found"},
		{"PUT", "clients/" + reports + "/default-client-scopes/none", 404, "Could not find client scope"},
		{"PATCH", "users", 405, "HTTP 405 Method Not Allowed"},
		{"DELETE", "users", 405, "HTTP 405 Method Not Allowed"},
		{"POST", "users/" + alice, 405, "HTTP 405 Method Not Allowed"},
		{"HEAD", "users", 200, ""},
		{"GET", "users/", 200, "alice"},
		{"GET", "clients/" + reports + "/", 200, "reports"},
		{"GET", "users?max=1001", 400, "max"},
		{"GET", "users?max=-1", 400, "max"},
		{"GET", "users?first=x", 400, "first"},
		{"GET", "users?first=1&first=2", 400, "repeated"},
		{"GET", "users?q=a:b", 400, "q: this parameter is not known"},
		{"GET", "users?enabled=maybe", 400, "want true or false"},
		{"GET", "users?search=%zz", 400, "malformed"},
		{"GET", "events?type=NONE", 400, "NONE"},
		{"GET", "events?dateFrom=yesterday", 400, "dateFrom"},
		{"GET", "events?direction=asc", 400, "direction"},
		{"GET", "admin-events?operationTypes=NONE", 400, "CREATE"},
		{"GET", "ui-ext/sessions?type=NONE", 400, "ALL"},
		{"GET", "users?search=" + strings.Repeat("x", 70<<10), 414, ""},
	} {
		r := c.call(tt.method, tt.path, nil)
		if r.status != tt.status || !strings.Contains(r.raw, tt.words) {
			t.Errorf("%s %.60s: %d %s, want %d %s", tt.method, tt.path, r.status, r.raw, tt.status, tt.words)
		}
		if r.status == 405 && !strings.Contains(r.header.Get("Allow"), "GET") {
			t.Errorf("%s %s: Allow %q", tt.method, tt.path, r.header.Get("Allow"))
		}
		if r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %.60s may be cached", tt.method, tt.path)
		}
	}
	// Who is no administrator cannot tell what exists.
	if r := c.rest("GET", "realms/demo/nothing", "", nil); r.raw != unauthorized {
		t.Errorf("without a token: %d %s", r.status, r.raw)
	}
}

// What a body may be, on one route for all.
func TestAdminBodies(t *testing.T) {
	c := newWorld(t).console()
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for name, tt := range map[string]struct {
		body   string
		status int
		words  string
	}{
		"no JSON":           {"{", 400, "not JSON"},
		"empty":             {"", 400, "not JSON"},
		"two values":        {`{} {}`, 400, "something follows"},
		"a list":            {`[]`, 400, "want an object"},
		"null":              {`null`, 400, "want an object"},
		"10 000 deep":       {deep(10000), 400, "nested deeper than 32"},
		"just too deep":     {deep(34), 400, "nested deeper than 32"},
		"a member twice":    {`{"username":"x","username":"y"}`, 400, `member \"username\" is there twice`},
		"NUL":               {`{"username":"a\u0000b"}`, 400, "NUL"},
		"no UTF-8":          {"{\"username\":\"\xff\"}", 400, "UTF-8"},
		"too large":         {`{"username":"` + strings.Repeat("x", 257<<10) + `"}`, 413, "larger than"},
		"unknown":           {`{"username":"x","roles":["realm-admin"]}`, 400, `"field":"roles"`},
		"another case":      {`{"userName":"x"}`, 400, `"field":"userName"`},
		"wrong type":        {`{"username":5}`, 400, "username: want a text"},
		"wrong type, flag":  {`{"username":"x","enabled":"true"}`, 400, "enabled: want true or false"},
		"control character": {`{"username":"a\nb"}`, 400, "control character"},
		"too long":          {`{"username":"` + strings.Repeat("x", 256) + `"}`, 400, "at most 255"},
		"no effect here":    {`{"username":"x","attributes":{"phone":["1"]}}`, 400, `"field":"attributes"`},
		"an action":         {`{"username":"x","requiredActions":["VERIFY_EMAIL"]}`, 400, `"field":"requiredActions"`},
		"roles by the back": {`{"username":"x","realmRoles":["realm-admin"]}`, 400, `"field":"realmRoles"`},
		"temporary":         {`{"username":"x","credentials":[{"type":"password","value":"p","temporary":true}]}`, 400, `"field":"credentials[0].temporary"`},
		"no value":          {`{"username":"x","credentials":[{"type":"password"}]}`, 400, `"field":"credentials[0].value"`},
		"another kind":      {`{"username":"x","credentials":[{"type":"otp","value":"p"}]}`, 400, `"field":"credentials[0].type"`},
	} {
		if r := c.send("users", tt.body); r.status != tt.status || !strings.Contains(r.raw, tt.words) {
			t.Errorf("%s: %d %s, want %d %s", name, r.status, r.raw, tt.status, tt.words)
		}
	}
	if r := c.rest("POST", "realms/demo/users", c.token, "username=x", "Content-Type", "application/x-www-form-urlencoded"); r.status != 415 {
		t.Errorf("a form: %d %s", r.status, r.raw)
	}
	for body, words := range map[string]string{
		`{"name":"x"}`: "want a list", `["x"]`: "[0]", `[{"name":"none"}]`: "Role not found", `[{}]`: "[0]: want a role",
		`[{"name":"keeper","bogus":1}]`: "[0].bogus", `[{"id":"none","name":"keeper"}]`: "Role not found",
	} {
		r := c.send("users/"+c.user("alice")+"/role-mappings/realm", body)
		if (r.status != 400 && r.status != 404) || !strings.Contains(r.raw, words) {
			t.Errorf("roles %s: %d %s, want %s", body, r.status, r.raw, words)
		}
	}
	if n := len(c.get("users").list()); n != 3 {
		t.Errorf("%d users after refusals", n)
	}
}

// CORS goes by the web origins of the token's client.
func TestAdminCORS(t *testing.T) {
	w := newWorld(t)
	w.console()
	token := w.password("reports", "carol", "openid").ok().access()
	const app = "https://app.test" // the origin of the redirect URI
	for name, tt := range map[string]struct {
		origin, token, want string
	}{
		"the client's": {app, token, app}, "another": {"https://evil.test", token, ""},
		"a client without origins": {app, w.cli("carol"), ""}, "nobody": {app, "", ""},
	} {
		r := w.rest("GET", "realms/demo/users", tt.token, nil, "Origin", tt.origin)
		if got := r.header.Get("Access-Control-Allow-Origin"); got != tt.want || r.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: allowed %q, want %q", name, got, tt.want)
		}
	}
	r := w.rest("OPTIONS", "realms/demo/users/x", "", nil, "Origin", app, "Access-Control-Request-Method", "DELETE")
	if r.status != 204 || r.header.Get("Access-Control-Allow-Methods") != "GET, POST, PUT, DELETE, OPTIONS" {
		t.Errorf("preflight: %d %v", r.status, r.header)
	}
	made := w.rest("POST", "realms/demo/roles", token, o{"name": "x"}, "Origin", app).is(201)
	if !strings.Contains(made.header.Get("Access-Control-Expose-Headers"), "Location") {
		t.Error("a script cannot read the Location")
	}
}

// Every change is an event: who did what to which thing, from where.
func TestAdminEvents(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	id := c.create("users", o{"username": "dave", "enabled": true})
	c.put("users/"+id, o{"enabled": false}).is(204)
	c.send("users/"+id+"/logout", nil).is(204)
	c.send("roles", o{"name": "auditor"}).is(201)
	c.send("users/"+id+"/role-mappings/realm", []o{{"name": "auditor"}}).is(204)
	c.delete("users/" + id).is(204)
	c.put("users/"+id, o{"enabled": true}).is(404) // what was refused is no event
	c.put("", o{"notBefore": 5}).is(204)
	want := []string{
		"UPDATE REALM ", "DELETE USER users/" + id, "ACTION REALM_ROLE_MAPPING users/" + id + "/role-mappings/realm",
		"CREATE REALM_ROLE roles/auditor", "ACTION USER_SESSION users/" + id + "/logout", "UPDATE USER users/" + id, "CREATE USER users/" + id,
	}
	got := c.get("admin-events").list()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d: %v", len(got), len(want), got)
	}
	for i, e := range got {
		if line := fmt.Sprint(e["operationType"], " ", e["resourceType"], " ", e["resourcePath"]); line != want[i] {
			t.Errorf("event %d: %q, want %q", i, line, want[i])
		}
		who := e["authDetails"].(o)
		if who["username"] != "carol" || who["clientId"] != "admin-cli" || who["ipAddress"] != "192.0.2.9" || e["time"] != float64(w.clock().UnixMilli()) {
			t.Errorf("event %d: %v", i, e)
		}
	}
	if n := len(c.get("admin-events?operationTypes=CREATE&operationTypes=DELETE").list()); n != 3 {
		t.Errorf("%d by operation", n)
	}
	if n := len(c.get("admin-events?max=2&first=1").list()); n != 2 {
		t.Errorf("%d on a page", n)
	}
	if w.count(event.AdminCreate, "") != 2 || w.count(event.UserChanged, "user_disabled") != 1 || w.count(event.UserChanged, "user_deleted") != 1 {
		t.Error("the sink did not hear of it")
	}

	t.Run("users' events", func(t *testing.T) {
		w.post("token", "reports", "grant_type", "password", "username", "alice", "password", "wrong").fails(400, "invalid_grant", "")
		w.password("reports", "alice", "openid").ok()
		got := c.get("events?type=LOGIN&type=LOGIN_ERROR&client=reports").list()
		if len(got) != 2 || got[0]["type"] != "LOGIN" || got[1]["type"] != "LOGIN_ERROR" || got[1]["error"] != "invalid_grant" ||
			got[0]["userId"] != c.user("alice") || got[0]["details"].(o)["username"] != "alice" || got[0]["ipAddress"] != "192.0.2.1" {
			t.Errorf("got %v", got)
		}
		day := w.clock().Format(time.DateOnly)
		for path, n := range map[string]int{
			"events?client=reports&dateFrom=" + day + "&dateTo=" + day:           2,
			"events?client=reports&dateTo=2026-02-28":                            0,
			fmt.Sprint("events?client=reports&dateFrom=", w.clock().UnixMilli()): 2,
			"events?user=" + c.user("alice") + "&client=reports":                 1,
			"events?client=reports&ipAddress=192.0.2.8":                          0,
			"events?client=reports&max=1":                                        1,
			"events?client=reports&first=1&max=5&direction=desc":                 1,
		} {
			if got := len(c.get(path).list()); got != n {
				t.Errorf("%s: %d, want %d", path, got, n)
			}
		}
	})
	t.Run("config", func(t *testing.T) {
		c.get("events/config").has("eventsEnabled", true).has("eventsExpiration", 7776000).has("adminEventsEnabled", true)
		c.put("events/config", o{"enabledEventTypes": []string{"LOGIN"}, "eventsExpiration": 60}).is(204)
		c.put("events/config", o{"enabledEventTypes": []string{"NONE"}}).refused(400, "enabledEventTypes[0]")
		c.put("events/config", o{"accessTokenLifespan": 5}).refused(400, "accessTokenLifespan")
		c.get("events/config").has("enabledEventTypes", []string{"LOGIN"}).has("eventsExpiration", 60)
		c.get("").has("eventsExpiration", 60)
	})
	t.Run("delete", func(t *testing.T) {
		c.delete("events").is(204)
		if n := len(c.get("events").list()); n != 0 {
			t.Errorf("%d left", n)
		}
		c.delete("admin-events").is(204)
		if got := c.get("admin-events").list(); len(got) != 1 || got[0]["resourcePath"] != "admin-events" {
			t.Errorf("who cleared the administrators' events: %v", got)
		}
	})
}

func TestAdminServer(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	c.get("")
	info := w.rest("GET", "serverinfo", c.token, nil).is(200).object()
	if v, _ := info["systemInfo"].(o)["version"].(string); !strings.HasPrefix(v, "nightlatch") {
		t.Errorf("%v", info)
	}
	realms := w.rest("GET", "realms/", c.token, nil).is(200).list()
	if len(realms) != 1 || realms[0]["realm"] != "demo" {
		t.Errorf("%v", realms)
	}
	for _, path := range []string{"serverinfo", "realms", "realms/"} {
		if r := w.rest("GET", path, "", nil); r.status != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", path, r.status)
		}
	}
}
