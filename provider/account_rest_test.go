package provider_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
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
