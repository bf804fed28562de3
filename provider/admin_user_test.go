package provider_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// A user from his making to his end.
func TestAdminUser(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	id := c.create("users", o{
		"username": "Dave", "enabled": true, "email": "Dave@Example.com", "emailVerified": true, "firstName": "Dave", "lastName": "Bowman",
		"groups": []string{"/crew"}, "credentials": []o{{"type": "password", "value": "dave-pw", "temporary": false}},
	})
	at := "users/" + id
	c.get(at).has("id", id).has("username", "dave").has("enabled", true).has("email", "dave@example.com").has("emailVerified", true).
		has("firstName", "Dave").has("createdTimestamp", w.clock().UnixMilli()).has("notBefore", 0).has("totp", false).has("groups", []string{"crew"})
	token := w.password("reports", "dave", "openid offline_access").ok() // by the default roles (O13)

	c.send("users", o{"username": "DAVE"}).refused(409, `{"errorMessage":"User exists with same username"}`)
	c.send("users", o{"username": "d2", "email": "DAVE@example.com"}).refused(409, `{"errorMessage":"User exists with same email"}`)
	c.send("users", o{"username": "dave@example.com"}).refused(409, "User exists with same email")
	c.put("users/"+c.create("users", o{"username": "d3"}), o{"email": "dave@example.com"}).refused(409, "same email")
	c.send("users", o{"email": "x@example.com"}).refused(400, `"field":"username"`)
	c.send("users", o{"username": "x", "email": "no address"}).refused(400, `"field":"email"`)
	c.send("users", o{"username": "service-account-x"}).refused(400, `"field":"username"`)
	c.put(at, o{"username": "hal"}).refused(400, "cannot be changed")
	c.put(at, o{"username": "DAVE"}).is(204)

	c.put(at, o{"enabled": false}).is(204) // O38
	w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "user_disabled")
	c.put(at, o{"enabled": true, "lastName": ""}).is(204)
	w.refresh("reports", token.refreshed()).ok()
	c.get(at).has("lastName", nil).has("firstName", "Dave")
	c.put(at, o{"email": "new@example.com"}).is(204)
	c.get(at).has("emailVerified", false)

	w.advance(time.Second)
	c.put(at, o{"notBefore": w.clock().Unix()}).is(204) // O63
	w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "not_before")
	c.put(at, o{"notBefore": 0}).is(204)
	w.refresh("reports", token.refreshed()).ok()

	t.Run("password", func(t *testing.T) { // O40
		login := func(password string) int {
			return w.post("token", "reports", "grant_type", "password", "username", "dave", "password", password, "scope", "openid").status
		}
		c.put(at+"/reset-password", o{"type": "password", "value": "second", "temporary": false}).is(204)
		if login("dave-pw") != 400 || login("second") != 200 {
			t.Error("the password was not changed")
		}
		c.put(at, o{"credentials": []o{{"value": "third"}}}).is(204)
		if login("second") != 400 || login("third") != 200 {
			t.Error("the password was not changed by PUT")
		}
		for _, body := range []any{o{"value": ""}, o{}, o{"value": "x", "temporary": true}, o{"value": "x", "type": "otp"}, o{"value": string(make([]byte, 5000))}} {
			c.put(at+"/reset-password", body).is(400)
		}
		if login("third") != 200 {
			t.Error("a refused password was taken")
		}
		w.refresh("reports", token.refreshed()).ok()
		if w.count(event.UpdateCredential, "") != 2 {
			t.Error("no event of the password")
		}
		if e := c.get("users/" + id); e.object()["credentials"] != nil || e.object()["password_hash"] != nil {
			t.Error("the password shows")
		}
	})

	t.Run("log out", func(t *testing.T) { // O31
		online := w.post("token", "reports", "grant_type", "password", "username", "dave", "password", "third", "scope", "openid").ok()
		if n := len(c.get(at + "/sessions").list()); n == 0 {
			t.Fatal("no session to end")
		}
		w.advance(time.Second)
		c.send(at+"/logout", nil).is(204)
		if n := len(c.get(at + "/sessions").list()); n != 0 {
			t.Errorf("%d sessions left", n)
		}
		w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "not_before")
		if w.refresh("reports", online.refreshed()).status != 400 {
			t.Error("the online session lives")
		}
	})

	c.delete(at).is(204)
	c.call("GET", at, nil).refused(404, "User not found")
	w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "user_deleted")
	c.create("users", o{"username": "dave"}) // the name is free again, what he had is not
	w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "user_deleted")
}

func TestAdminUserRoles(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	at := "users/" + c.create("users", o{"username": "dave", "enabled": true, "credentials": []o{{"value": "dave-pw"}}})
	token := w.password("reports", "dave", "openid offline_access").ok()
	roles := at + "/role-mappings/realm"
	c.get(roles).names("default-roles-demo")
	c.get(roles+"/composite").names("default-roles-demo", "offline_access")
	c.get(roles+"/available").names("keeper", "offline_access", "realm-admin")
	defaults := c.get(roles).list()[0]
	c.call("DELETE", roles, []o{defaults}).is(204) // O37
	w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "role_missing")
	if w.count(event.UserChanged, "roles") != 1 {
		t.Error("the vault does not hear of it")
	}
	c.get(roles).names()
	c.send(roles, []o{{"id": c.get("roles/keeper").object()["id"], "name": "keeper"}}).is(204)
	if w.count(event.UserChanged, "roles_given") != 1 {
		t.Error("the vault does not hear that a role was given back")
	}
	c.send(roles, []o{{"name": "keeper"}}).is(204)
	if w.count(event.UserChanged, "roles_given") != 1 {
		t.Error("an event of a role that was there already")
	}
	w.refresh("reports", token.refreshed()).ok() // by a composite (O13)
	c.send(roles, []o{{"name": "keeper"}, defaults}).is(204)
	c.get(roles).names("keeper", "default-roles-demo")
	c.get(at+"/role-mappings").has("realmMappings", c.get(roles).value)
	c.get(roles + "/available?first=1&max=1").names("realm-admin")
	for _, path := range []string{"", "/available", "/composite"} {
		c.get(at + "/role-mappings/clients/" + c.client("reports") + path).names()
	}
	c.call("GET", at+"/role-mappings/clients/none", nil).is(404)
	c.call("DELETE", roles, []o{{"name": "keeper"}, {"name": "none"}}).is(404)
	c.get(roles).names("keeper", "default-roles-demo") // all or nothing
}

// Roles, their composites, and who has them.
func TestAdminRoles(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	c.send("roles", o{"name": "auditor", "description": "looks"}).is(201)
	if at := c.send("roles", o{"name": "a b/c"}).is(201).header.Get("Location"); at != origin+"/admin/realms/demo/roles/a%20b%2Fc" {
		t.Errorf("Location %s", at)
	}
	role := c.get("roles/auditor").has("description", "looks").has("composite", false).has("clientRole", false).has("containerId", "demo").object()
	byID := "roles-by-id/" + role["id"].(string)
	if c.get(byID).raw != c.get("roles/auditor").raw {
		t.Error("by id it is another")
	}
	c.send("roles", o{"name": "auditor"}).refused(409, `{"errorMessage":"Role with name auditor already exists"}`)
	c.send("roles", o{"name": "default-roles-demo"}).is(409)
	c.send("roles", o{}).refused(400, `"field":"name"`)
	c.send("roles", o{"name": "x", "composites": o{"realm": []string{"none"}}}).refused(400, `"field":"composites.realm[0]"`)
	c.send("roles", o{"name": "x", "composites": o{"client": o{"y": []string{"z"}}}}).refused(400, `"field":"composites.client"`)
	c.put("roles/auditor", o{"name": "other"}).refused(400, "cannot be changed")
	c.put("roles/auditor", o{"name": "auditor", "description": "looks closely"}).is(204)
	c.put(byID, o{"description": "looks"}).is(204)
	c.get("roles?search=LOOK").names("auditor")
	c.get("roles?first=1&max=2").names("auditor", "default-roles-demo")

	c.send("roles/auditor/composites", []o{{"name": "keeper"}, {"name": "offline_access"}}).is(204)
	c.get("roles/auditor").has("composite", true)
	c.get("roles/auditor/composites").names("keeper", "offline_access")
	c.get(byID+"/composites/realm").names("keeper", "offline_access")
	c.get("roles/auditor/composites/clients/" + c.client("reports")).names()
	c.call("DELETE", byID+"/composites", []o{{"name": "keeper"}}).is(204)
	c.get("roles/auditor/composites").names("offline_access")
	c.send("roles/auditor/composites", []o{{"name": "auditor"}}).refused(400, "part of itself")

	// The default roles are a composite role, too.
	c.send("roles/default-roles-demo/composites", []o{{"name": "auditor"}}).is(204)
	dave := c.create("users", o{"username": "dave", "enabled": true})
	c.get("users/"+dave+"/role-mappings/realm/composite").names("default-roles-demo", "auditor", "offline_access")

	bob := "users/" + c.user("bob") + "/role-mappings/realm"
	c.send(bob, []o{{"name": "auditor"}}).is(204)
	if got := c.get("roles/auditor/users").each("username"); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("given to %v", got)
	}
	reports := "clients/" + c.client("reports") + "/scope-mappings/realm"
	c.send(reports, []o{{"name": "auditor"}}).is(204)
	token := w.password("reports", "bob", "openid offline_access").ok()
	c.delete("roles/auditor").is(204)
	c.call("GET", "roles/auditor", nil).is(404)
	c.call("GET", byID, nil).is(404)
	w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "role_missing")
	// One that is made under the same name is nobody's.
	c.send("roles", o{"name": "auditor", "composites": o{"realm": []string{"offline_access"}}}).is(201)
	c.get(bob).names()
	c.get(reports).names()
	c.get("roles/default-roles-demo/composites").names("offline_access")
	w.refresh("reports", token.refreshed()).fails(400, "invalid_grant", "role_missing")
}

// A role that more people have than one transaction changes.
func TestAdminRoleOfMany(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	c.send("roles", o{"name": "auditor"}).is(201)
	w.people(1200, func(u *user.User) { u.Roles = []string{"auditor"} })
	seen := map[string]bool{}
	for first := 0; first < 1200; first += 500 {
		for _, name := range c.get(fmt.Sprintf("roles/auditor/users?first=%d&max=500", first)).each("username") {
			seen[name] = true
		}
	}
	if len(seen) != 1200 {
		t.Errorf("%d have the role", len(seen))
	}
	c.delete("roles/auditor").is(204)
	c.send("roles", o{"name": "auditor"}).is(201)
	if got := c.get("roles/auditor/users").list(); len(got) != 0 {
		t.Errorf("%d have it still", len(got))
	}
	if n := len(c.get("admin-events?operationTypes=DELETE").list()); n != 1 {
		t.Errorf("%d events of one deletion", n)
	}
}

// people writes users with names that sort: p-00000 and so on.
func (w *world) people(n int, edit func(*user.User)) {
	w.t.Helper()
	for from := 0; from < n; from += 500 {
		w.update(func(tx storage.Tx) error {
			for i := from; i < min(from+500, n); i++ {
				u := user.User{ID: fmt.Sprintf("%08x-person", uint32(i)*2654435761), Username: fmt.Sprintf("p-%05d", i), Enabled: i%2 == 0, CreatedAt: w.now,
					Email: fmt.Sprintf("p-%05d@example.com", i), FirstName: "First", LastName: fmt.Sprintf("Last%d", i%10)}
				edit(&u)
				if err := user.Users.Put(tx, "demo", u.ID, &u); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func TestAdminUserList(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	w.people(3000, func(*user.User) {})
	if got := c.get("users").list(); len(got) != 100 {
		t.Errorf("%d users without max", len(got))
	}
	var all []string
	for first := 0; ; first += 700 {
		page := c.get(fmt.Sprintf("users?first=%d&max=700", first)).each("username")
		all = append(all, page...)
		if len(page) < 700 {
			break
		}
	}
	if len(all) != 3003 || !slices.IsSorted(all) || all[0] != "alice" || len(slices.Compact(all)) != 3003 {
		t.Errorf("%d users in pages, from %s on", len(all), all[0])
	}
	id := c.user("alice")
	for query, want := range map[string]int{
		"":                                   3003,
		"search=p-0001":                      10,
		"search=P-0001*":                     10,
		"search=0001":                        0,
		"search=*-0001":                      10,
		`search="p-00017"`:                   1,
		`search="p-0001"`:                    0,
		"search=first+last3":                 300,
		"search=liddell":                     1,
		"search=alice@example.com":           1,
		"search=nobody":                      0,
		"search=id:" + id:                    1,
		"search=id:none":                     0,
		"username=0001":                      11,
		"username=p-0001&exact=true":         0,
		"username=P-00017&exact=true":        1,
		"email=p-00017@example.com":          1,
		"email=ALICE@example.com&exact=true": 1,
		"lastName=last3":                     300,
		"lastName=Last3&exact=true":          300,
		"firstName=ali":                      1,
		"enabled=false":                      1500,
		"enabled=true&lastName=last3":        0,
		"enabled=false&lastName=last3":       300,
		"emailVerified=true":                 1,
	} {
		if got := c.get("users/count?" + query).value; got != float64(want) {
			t.Errorf("count of %s: %v, want %d", query, got, want)
		}
		if got := len(c.get("users?max=1000&" + query).list()); got != min(want, 1000) {
			t.Errorf("list of %s: %d, want %d", query, got, want)
		}
	}
	if got := c.get("users?search=p-0001&first=8&max=5").each("username"); !slices.Equal(got, []string{"p-00018", "p-00019"}) {
		t.Errorf("a page of what was found: %v", got)
	}
}

func TestAdminClientScope(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	id := c.create("client-scopes", o{"name": "reports.read", "description": "reads", "protocol": "openid-connect", "attributes": o{
		"include.in.token.scope": "true", "display.on.consent.screen": "true", "consent.screen.text": "Read reports",
	}})
	at := "client-scopes/" + id
	c.get(at).has("id", id).has("name", "reports.read").has("description", "reads").has("protocol", "openid-connect").has("attributes", o{
		"include.in.token.scope": "true", "display.on.consent.screen": "true", "consent.screen.text": "Read reports",
	})
	c.send("client-scopes", o{"name": "reports.read"}).refused(409, "Client Scope reports.read already exists")
	c.send("client-scopes", o{"name": "openid"}).is(409)
	for _, body := range []o{{}, {"name": "two words"}, {"name": "x", "protocol": "saml"}, {"name": "x", "attributes": o{"bogus": "1"}}} {
		c.send("client-scopes", body).is(400)
	}
	c.put(at, o{"name": "other"}).refused(400, "cannot be changed")
	c.put(at, o{"attributes": o{"display.on.consent.screen": "false"}}).is(204)
	c.get(at).has("attributes", o{"include.in.token.scope": "true", "display.on.consent.screen": "false"})
	c.put(at, o{"attributes": o{"display.on.consent.screen": "true"}}).is(204) // shows the name
	c.get(at).has("attributes", o{"include.in.token.scope": "true", "display.on.consent.screen": "true", "consent.screen.text": "reports.read"})

	client := "clients/" + c.create("clients", o{"clientId": "batch", "secret": "batch-secret", "directAccessGrantsEnabled": true})
	c.put(client+"/optional-client-scopes/"+id, nil).is(204)
	r := w.password("batch", "alice", "openid reports.read").ok()
	if !slices.Contains(r.scopes(), "reports.read") {
		t.Errorf("granted %v", r.scopes())
	}
	c.send(at+"/scope-mappings/realm", []o{{"name": "keeper"}}).is(204)
	c.get(at + "/scope-mappings/realm").names("keeper")
	c.delete(at).is(204)
	c.call("GET", at, nil).is(404)
	w.password("batch", "alice", "openid reports.read").fails(400, "invalid_scope", "")
	for _, s := range c.get("client-scopes").list() {
		if s["name"] == "offline_access" {
			c.delete("client-scopes/"+s["id"].(string)).refused(400, "built in")
		}
	}
}

// People are found by how their names begin, in parts that look at few of them.
func TestAdminUserSearch(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	w.people(3000, func(u *user.User) {
		if u.Username == "p-00007" {
			u.FirstName, u.LastName = "P-00007", "Seventh"
		}
	})
	find := func(query string) (names []string, looked int, next string) {
		t.Helper()
		got := c.get("users/search?" + query).object()
		for _, u := range got["users"].([]any) {
			names = append(names, u.(o)["username"].(string))
		}
		return names, int(got["searched"].(float64)), got["next"].(string)
	}
	for query, want := range map[string]string{
		"search=alice": "alice", "search=ALICE": "alice", "search=liddell": "alice", "search=alice+liddell": "alice", "search=alice+nobody": "",
		"search=p-00007": "p-00007", "search=%22p-0000%22": "", "search=%22p-00007%22": "p-00007", "search=seventh": "p-00007", "search=p-0000*+seventh": "p-00007",
		"search=nobody": "", "search=*lidd*": "alice", "search=p-00007@example.com": "p-00007", "search=p-0001&max=2": "p-00010 p-00011",
	} {
		if names, _, _ := find(query); strings.Join(names, " ") != want {
			t.Errorf("%s finds %v, want %s", query, names, want)
		}
	}
	// Everybody, once, in parts.
	for query, want := range map[string]int{"": 3003, "search=p-": 3000, "search=last": 2999, "search=*p-*": 3000, "search=first+last3": 300} {
		seen, after := map[string]bool{}, ""
		for parts := 0; ; parts++ {
			names, looked, next := find(query + "&max=700&after=" + after)
			for _, name := range names {
				if seen[name] {
					t.Fatalf("%s finds %s twice", query, name)
				}
				seen[name] = true
			}
			if looked > 10_000 || parts > 100 {
				t.Fatalf("%s looked at %d names in a part, the %d-th", query, looked, parts)
			}
			if after = next; after == "" {
				break
			}
		}
		if len(seen) != want {
			t.Errorf("%s finds %d, want %d", query, len(seen), want)
		}
	}
	// What few are like among many is not sought to the end in one part.
	if names, looked, next := find("search=last+*nobody*"); len(names) != 0 || looked > 500 || next == "" {
		t.Errorf("found %v, looked at %d, goes on at %q", names, looked, next)
	}
	for _, query := range []string{"max=0", "after=x", "search=alice&after=" + storage.Entry{Value: "bob", ID: "x"}.String(), "first=1", "exact=true"} {
		c.call("GET", "users/search?"+query, nil).is(400)
	}
	// Service accounts are found nowhere.
	w.post("token", "reports", "grant_type", "client_credentials").ok()
	if names, _, _ := find("search=service-account"); len(names) != 0 {
		t.Errorf("found %v", names)
	}
}
