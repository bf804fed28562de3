package provider_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// accountToken is an access token whose audience is account.
func (w *world) accountToken(name string) string {
	w.t.Helper()
	w.editClient(client.Account, func(c *client.Client) { c.DirectAccessGrants, c.WebOrigins = true, []string{"https://app.test"} })
	return w.post("token", "", "client_id", client.Account, "grant_type", "password", "username", name, "password", name+"-pw", "scope", "openid").ok().access()
}

// account sends a request to the account REST; into, if not nil, takes the answer.
func (w *world) account(method, path, token string, status int, into any) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, accountURL+path, nil)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Origin", "https://app.test")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	w.provider.ServeHTTP(rec, r)
	if rec.Code != status {
		w.t.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
	}
	if into != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, rec.Body)
		}
	}
	return rec
}

// Keycloak's account REST: the same that the pages show and end.
func TestAccountREST(t *testing.T) {
	w := newWorld(t)
	w.editClient("reports", func(c *client.Client) { c.ConsentRequired, c.Name = true, "The reports" })
	b := w.browser()
	page, _ := b.open("GET", authURL("reports", "openid offline_access"), nil)
	page = b.press(page, "login", "username", "alice", "password", "alice-pw")
	_, left := b.submit(page, "consent", url.Values{"accept": {"yes"}})
	offline := w.exchange("reports", left.Query().Get("code")).ok()
	w.advance(time.Second)
	online := b.grant("", "spa", "openid")
	hers := w.browser().grant("carol", "other", "openid")
	token := w.accountToken("alice")

	var profile map[string]any
	rec := w.account("GET", "/", token, 200, &profile)
	if profile["username"] != "alice" || profile["firstName"] != "Alice" || profile["email"] != "alice@example.com" || profile["emailVerified"] != true || len(profile) != 7 {
		t.Errorf("profile %v", profile)
	}
	if rec.Header().Get("Access-Control-Allow-Origin") != "https://app.test" || rec.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", rec.Header())
	}

	type application struct {
		ClientID, ClientName string
		InUse, OfflineAccess bool
		UserConsentRequired  bool
		Consent              *struct {
			GrantedScopes            []struct{ ID, Name, DisplayText string }
			CreatedDate, LastUpdated int64
		}
	}
	var apps []application
	w.account("GET", "/applications", token, 200, &apps)
	if len(apps) == 3 && apps[0].ClientID == client.Account { // the token's own login
		apps = apps[1:]
	}
	if len(apps) != 2 || apps[0].ClientID != "reports" || apps[0].ClientName != "The reports" || !apps[0].OfflineAccess || apps[0].InUse || apps[0].Consent == nil ||
		apps[0].Consent.CreatedDate != 1772366400000 || apps[1].ClientID != "spa" || !apps[1].InUse || apps[1].OfflineAccess || apps[1].Consent != nil {
		t.Errorf("applications %+v", apps)
	}
	w.account("GET", "/applications?name=REPOR", token, 200, &apps)
	if len(apps) != 1 {
		t.Errorf("by name: %+v", apps)
	}

	var sessions []struct {
		ID, IPAddress       string
		Started, LastAccess int64
		Expires             int64
		Current             bool
		Clients             []struct{ ClientID string }
	}
	w.account("GET", "/sessions", token, 200, &sessions)
	if len(sessions) == 2 && sessions[0].Current {
		sessions = sessions[1:]
	}
	if len(sessions) != 1 || sessions[0].IPAddress != "192.0.2.1" || sessions[0].Started != 1772366400 || sessions[0].Expires != 1772366400+36000 ||
		sessions[0].Current || len(sessions[0].Clients) != 1 || sessions[0].Clients[0].ClientID != "spa" {
		t.Errorf("sessions %+v", sessions)
	}
	var credentials []struct {
		Type                    string
		UserCredentialMetadatas []any
	}
	w.account("GET", "/credentials", token, 200, &credentials)
	if len(credentials) != 1 || credentials[0].Type != "password" || len(credentials[0].UserCredentialMetadatas) != 1 {
		t.Errorf("credentials %+v", credentials)
	}
	if body := w.account("GET", "/credentials", token, 200, nil).Body.String(); strings.Contains(body, "argon2") {
		t.Error("the hash is told")
	}

	// Another person's session stays, one's own goes.
	w.account("DELETE", "/sessions/"+hers.claims()["sid"].(string), token, 204, nil)
	w.refresh("other", hers.refreshed()).ok()
	w.account("DELETE", "/sessions/"+sessions[0].ID, token, 204, nil)
	w.refresh("spa", online.refreshed()).fails(400, "invalid_grant", "")
	offline = w.refresh("reports", offline.refreshed()).ok()
	again := w.browser().grant("alice", "spa", "openid")
	w.account("DELETE", "/sessions", token, 204, nil)
	w.refresh("spa", again.refreshed()).fails(400, "invalid_grant", "")

	// O65: the consent takes the grants along.
	w.account("GET", "/applications/reports/consent", token, 200, nil)
	w.account("GET", "/applications/nobody/consent", token, 404, nil)
	w.account("DELETE", "/applications/nobody/consent", token, 404, nil)
	w.account("DELETE", "/applications/reports/consent", token, 204, nil)
	w.dead("reports", offline, "revoked")
	w.account("GET", "/applications/reports/consent", token, 204, nil)
	w.account("DELETE", "/applications/reports/consent", token, 204, nil)
	if n := w.count(event.RevokeGrant, ""); n != 1 {
		t.Errorf("%d withdrawals are told of", n)
	}
}

// A token has to be a person's, to work, and to be meant for the account; a
// browser's cookie opens nothing here.
func TestAccountRESTRefuses(t *testing.T) {
	w := newWorld(t)
	token := w.accountToken("alice")
	for name, bad := range map[string]string{
		"none": "", "garbage": "garbage",
		"another audience":  w.password("reports", "alice", "openid").ok().access(),
		"a service account": w.post("token", "reports", "grant_type", "client_credentials", "scope", "openid").ok().access(),
		"a refresh token":   w.password("reports", "alice", "openid").ok().refreshed(),
	} {
		for _, path := range []string{"/", "/applications", "/sessions", "/credentials", "/applications/reports/consent"} {
			rec := w.account("GET", path, bad, 401, nil)
			if !strings.HasPrefix(rec.Header().Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s at %s: %v", name, path, rec.Header())
			}
		}
		w.account("DELETE", "/sessions", bad, 401, nil)
	}

	b := w.browser()
	b.visit("alice", "")
	r := httptest.NewRequest("GET", accountURL+"/applications", nil)
	r.Header.Set("Accept", "application/json")
	r.AddCookie(b.cookie("sso"))
	if got := w.do(r); got.status != http.StatusUnauthorized {
		t.Errorf("a cookie: %d", got.status)
	}
	r = httptest.NewRequest("GET", accountURL+"/sessions", nil) // a page behind a proxy with a password
	r.Header.Set("Authorization", "Basic eDp5")
	if got := w.do(r); got.status != http.StatusSeeOther {
		t.Errorf("a browser: %d", got.status)
	}
	w.account("POST", "/sessions", token, 405, nil)
	if rec := w.account("OPTIONS", "/sessions", "", 204, nil); !strings.Contains(rec.Header().Get("Access-Control-Allow-Methods"), "DELETE") {
		t.Errorf("preflight %v", rec.Header())
	}
	w.account("GET", "/", token, 200, nil)
	w.editClient(client.Account, disable)
	w.account("GET", "/", token, 401, nil)
}

// accountSends sends a JSON body to the account REST.
func (w *world) accountSends(method, path, token, body string, status int) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, accountURL+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "https://app.test")
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	w.provider.ServeHTTP(rec, r)
	if rec.Code != status {
		w.t.Errorf("%s %s %s: %d %s, want %d", method, path, body, rec.Code, rec.Body, status)
	}
	return rec
}

func TestAccountRESTProfile(t *testing.T) {
	w := newWorld(t)
	token := w.accountToken("alice")
	carol := w.accountToken("carol")
	w.editUser("alice", func(u *user.User) { u.Declared = nil })
	w.editUser("carol", func(u *user.User) { u.Email, u.Declared = "carol@example.com", []string{"email"} })
	var profile map[string]any
	shows := func(want map[string]any) {
		t.Helper()
		w.account("GET", "/", token, 200, &profile)
		for name, v := range want {
			if profile[name] != v {
				t.Errorf("%s is %v, want %v", name, profile[name], v)
			}
		}
	}
	// What a client was given it may send back.
	raw := w.account("GET", "/", token, 200, nil).Body.String()
	if rec := w.accountSends("POST", "/", token, raw, 204); rec.Header().Get("Access-Control-Allow-Origin") != "https://app.test" {
		t.Errorf("headers %v", rec.Header())
	}
	if n := w.count(event.UpdateProfile, ""); n != 0 {
		t.Errorf("%d events of a change that is none", n)
	}
	w.accountSends("POST", "/", token, `{"firstName":" Alicia ","email":"New@Example.com","username":"ALICE"}`, 204)
	shows(map[string]any{"firstName": "Alicia", "lastName": "Liddell", "email": "new@example.com", "emailVerified": false, "username": "alice"})
	w.accountSends("POST", "/", token, `{"lastName":null,"firstName":""}`, 204)
	shows(map[string]any{"firstName": "", "lastName": "", "email": "new@example.com"})
	if n := w.count(event.UpdateProfile, ""); n != 2 {
		t.Errorf("%d events of 2 changes", n)
	}

	// Nothing of a refused one is done.
	w.accountSends("POST", "/", token, `{"firstName":"Alice","lastName":"Liddell","email":"alice@example.com"}`, 204)
	for name, c := range map[string]struct {
		body, says string
		status     int
	}{
		"no JSON":             {`{"firstName":`, "not JSON", 400},
		"no object":           {`[]`, "want an object", 400},
		"nothing":             {``, "not JSON", 400},
		"more":                {`{"firstName":"x"}{}`, "something follows", 400},
		"twice":               {`{"firstName":"x","firstName":"y"}`, "there twice", 400},
		"not UTF-8":           {"{\"firstName\":\"\xff\"}", "UTF-8", 400},
		"large":               {`{"firstName":"` + strings.Repeat("x", 300<<10) + `"}`, "larger than", 413},
		"a list for a text":   {`{"firstName":["x"]}`, `"field":"firstName"`, 400},
		"a number":            {`{"lastName":1}`, `"field":"lastName"`, 400},
		"long":                {`{"firstName":"` + strings.Repeat("x", 256) + `"}`, "too long", 400},
		"a line break":        {`{"firstName":"a\nb"}`, "cannot be shown", 400},
		"NUL":                 {`{"firstName":"a\u0000b"}`, "NUL", 400},
		"no address":          {`{"firstName":"x","email":"nobody"}`, `"field":"email"`, 400},
		"another's address":   {`{"firstName":"x","email":"CAROL@example.com"}`, `"field":"email"`, 409},
		"another name":        {`{"firstName":"x","username":"admin"}`, `"field":"username"`, 400},
		"another id":          {`{"firstName":"x","id":"y"}`, `"field":"id"`, 400},
		"verified by himself": {`{"firstName":"x","email":"x@example.com","emailVerified":true}`, `"field":"emailVerified"`, 400},
		"roles":               {`{"firstName":"x","realmRoles":["realm-admin"]}`, `"field":"realmRoles"`, 400},
		"enabled":             {`{"enabled":true}`, `"field":"enabled"`, 400},
		"attributes":          {`{"firstName":"x","attributes":{"admin":["true"]}}`, `"field":"attributes"`, 400},
	} {
		rec := w.accountSends("POST", "/", token, c.body, c.status)
		if !strings.Contains(rec.Body.String(), c.says) {
			t.Errorf("%s: %s lacks %s", name, rec.Body, c.says)
		}
		shows(map[string]any{"firstName": "Alice", "lastName": "Liddell", "email": "alice@example.com"})
	}
	r := httptest.NewRequest("POST", accountURL+"/", strings.NewReader("firstName=x"))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded") // what a foreign page's form would send
	if got := w.do(r); got.status != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d", got.status)
	}
	for name, bad := range map[string]string{"no token": "", "another audience": w.password("reports", "alice", "openid").ok().access()} {
		if rec := w.accountSends("POST", "/", bad, `{"firstName":"x"}`, 401); rec.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %v", name, rec.Header())
		}
	}

	// What the configuration declares is locked.
	rec := w.accountSends("POST", "/", carol, `{"firstName":"Caroline","email":"c@example.com"}`, 400)
	if !strings.Contains(rec.Body.String(), `"field":"email"`) || !strings.Contains(rec.Body.String(), "declared") {
		t.Errorf("a declared member: %s", rec.Body)
	}
	w.accountSends("POST", "/", carol, `{"firstName":"Caroline","email":"carol@example.com"}`, 204)
}

func TestAccountRESTConsent(t *testing.T) {
	w := newWorld(t)
	w.editClient("reports", func(c *client.Client) { c.ConsentRequired = true })
	token := w.accountToken("alice")
	ids := map[string]string{}
	w.view(func(tx storage.Tx) {
		scopes, err := client.ScopeSet(tx, "demo")
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range scopes {
			ids[name] = s.ID
		}
	})
	const at = "/applications/reports/consent"
	body := func(names ...string) string {
		list := []map[string]string{}
		for _, n := range names {
			list = append(list, map[string]string{"id": ids[n], "name": n})
		}
		raw, err := json.Marshal(map[string]any{"grantedScopes": list})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	granted := func(rec *httptest.ResponseRecorder) (names []string) {
		var k struct {
			GrantedScopes            []struct{ ID, Name string }
			CreatedDate, LastUpdated int64
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &k); err != nil || k.CreatedDate == 0 {
			t.Errorf("%v: %s", err, rec.Body)
		}
		for _, s := range k.GrantedScopes {
			names = append(names, s.Name)
		}
		slices.Sort(names)
		return names
	}

	if got := granted(w.accountSends("POST", at, token, body("profile", "email"), 200)); !slices.Equal(got, []string{"email", "profile"}) {
		t.Errorf("allowed %v", got)
	}
	if got := granted(w.accountSends("PUT", at, token, body("profile", "email", "roles", "offline_access"), 200)); len(got) != 4 {
		t.Errorf("more: %v", got)
	}
	if got := granted(w.account("GET", at, token, 200, nil)); len(got) != 4 {
		t.Errorf("kept %v", got)
	}
	if w.count(event.GrantConsent, "") != 1 || w.count(event.UpdateConsent, "") != 1 || w.count(event.RevokeGrant, "") != 0 {
		t.Error("events of what was allowed, then more")
	}
	// It is what the consent page would have written: nobody is asked.
	b := w.browser()
	grant := b.grant("alice", "reports", "openid offline_access")
	// What the client was told it may send back.
	w.accountSends("PUT", at, token, w.account("GET", at, token, 200, nil).Body.String(), 200)
	// Less than before ends what may hold more.
	if got := granted(w.accountSends("PUT", at, token, body("profile", "email"), 200)); len(got) != 2 {
		t.Errorf("less: %v", got)
	}
	w.dead("reports", grant, "revoked")
	if w.count(event.RevokeGrant, "") != 1 {
		t.Error("an event of what was taken back")
	}

	for name, c := range map[string]struct {
		path, body string
		status     int
		says       string
	}{
		"no such client":   {"/applications/nobody/consent", body("profile"), 404, ""},
		"its own client":   {"/applications/account/consent", body("profile"), 403, "itself"},
		"no JSON":          {at, `{`, 400, "not JSON"},
		"no object":        {at, `"x"`, 400, "want an object"},
		"no list":          {at, `{}`, 400, "grantedScopes"},
		"null":             {at, `{"grantedScopes":null}`, 400, "grantedScopes"},
		"a text":           {at, `{"grantedScopes":["profile"]}`, 400, "grantedScopes[0]"},
		"an unknown id":    {at, `{"grantedScopes":[{"id":"x","name":"profile"}]}`, 400, "grantedScopes[0]"},
		"an unknown name":  {at, `{"grantedScopes":[{"name":"profile"},{"name":"x"}]}`, 400, "grantedScopes[1]"},
		"nobody is asked":  {at, `{"grantedScopes":[{"name":"basic"}]}`, 400, "grantedScopes[0]"},
		"a number":         {at, `{"grantedScopes":[{"id":1}]}`, 400, "grantedScopes[0]"},
		"something more":   {at, `{"grantedScopes":[],"user":"carol"}`, 400, `"field":"user"`},
		"jobs by the way":  {at, `{"grantedScopes":[],"authorizationDetails":[]}`, 400, `"field":"authorizationDetails"`},
		"openid, no scope": {at, `{"grantedScopes":[{"name":"openid"}]}`, 400, "grantedScopes[0]"},
	} {
		for _, method := range []string{"POST", "PUT"} {
			if rec := w.accountSends(method, c.path, token, c.body, c.status); !strings.Contains(rec.Body.String(), c.says) {
				t.Errorf("%s: %s", name, rec.Body)
			}
		}
		if got := granted(w.account("GET", at, token, 200, nil)); len(got) != 2 {
			t.Errorf("%s changed it: %v", name, got)
		}
	}
	w.editClient("reports", func(c *client.Client) { c.OptionalScopes = nil })
	w.accountSends("PUT", at, token, body("profile", "email", "offline_access"), 400)
	w.accountSends("PUT", at, "", body("profile"), 401)
	if got := granted(w.accountSends("PUT", at, token, body(), 200)); len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
}

func TestAccountRESTLists(t *testing.T) {
	w := newWorld(t)
	w.editUser("alice", func(u *user.User) { u.Groups = []string{"staff", "dept/reports"} })
	b := w.browser()
	b.grant("alice", "spa", "openid")
	token := w.accountToken("alice")
	var groups []struct{ ID, Name, Path string }
	w.account("GET", "/groups", token, 200, &groups)
	if len(groups) != 2 || groups[0].Name != "reports" || groups[0].Path != "/dept/reports" || groups[1].Path != "/staff" || groups[0].ID == "" || groups[0].ID == groups[1].ID {
		t.Errorf("groups %+v", groups)
	}
	if got := w.account("GET", "/linked-accounts", token, 200, nil).Body.String(); strings.TrimSpace(got) != "[]" {
		t.Errorf("linked accounts %s", got)
	}
	var devices []struct {
		OS, OSVersion, Device, Browser, IPAddress string
		Mobile, Current                           bool
		LastAccess                                int64
		Sessions                                  []struct {
			ID      string
			Current bool
		}
	}
	var sessions []struct{ ID string }
	w.account("GET", "/sessions", token, 200, &sessions)
	w.account("GET", "/sessions/devices", token, 200, &devices)
	n, current := 0, 0
	for _, d := range devices {
		n += len(d.Sessions)
		if d.Current {
			current++
		}
		if d.OS == "" || d.OSVersion == "" || d.Device == "" || d.Browser == "" || d.LastAccess == 0 || len(d.Sessions) == 0 {
			t.Errorf("device %+v", d)
		}
	}
	if n == 0 || n != len(sessions) {
		t.Errorf("%d sessions, on devices %d", len(sessions), n)
	}
	if current != 1 {
		t.Errorf("%d devices are the one that asks", current)
	}
	for _, path := range []string{"/groups", "/linked-accounts", "/sessions/devices"} {
		w.account("GET", path, "", 401, nil)
		w.account("DELETE", path, token, 405, nil)
	}
}
