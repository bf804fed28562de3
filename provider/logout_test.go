package provider_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
)

const loggedOut = "https://app.test/bye"

func logoutURL(params ...string) string {
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	return issuer + "/protocol/openid-connect/logout?" + q.Encode()
}

func newLogoutWorld(t *testing.T) *world {
	w := newWorld(t)
	w.editClient("reports", func(c *client.Client) { c.PostLogoutRedirectURIs = []string{loggedOut} })
	return w
}

// gone checks that the browser and the online tokens are logged out.
func gone(t *testing.T, b *browser, online *reply) {
	t.Helper()
	refused(t, b.silently("reports", "openid"), "login_required", "")
	b.refresh("reports", online.refreshed()).fails(400, "invalid_grant", "")
	if b.active(online.access()) {
		t.Error("the access token lives")
	}
	if b.cookie("sso") != nil {
		t.Error("the cookie is still there")
	}
}

func TestLogoutWithHint(t *testing.T) {
	w := newLogoutWorld(t)
	b := w.browser()
	online := b.grant("alice", "reports", "openid")
	offline := b.grant("", "reports", "openid offline_access")
	w.advance(day / 3) // the hint has expired: accepted all the same

	_, left := b.open("GET", logoutURL("id_token_hint", online.text("id_token"), "post_logout_redirect_uri", loggedOut, "state", "a b"), nil)
	if left == nil {
		// Idle for 8 hours: nobody is logged in, the hint still leads back.
		t.Fatal("did not come back")
	}
	if left.String() != loggedOut+"?state=a+b" {
		t.Errorf("came back to %s", left)
	}
	w.refresh("reports", offline.refreshed()).ok() // O31

	b = w.browser()
	online = b.grant("alice", "reports", "openid")
	other := w.browser()
	others := other.grant("alice", "reports", "openid")
	if _, left = b.open("GET", logoutURL("id_token_hint", online.text("id_token"), "post_logout_redirect_uri", loggedOut), nil); left == nil || left.String() != loggedOut {
		t.Errorf("came back to %v", left)
	}
	gone(t, b, online)
	w.refresh("reports", others.refreshed()).ok() // the other browser is not logged out
	if w.count(event.Logout, "") != 1 {
		t.Error("no event")
	}
}

// Without a hint of this very session anybody could have made the link.
func TestLogoutAsks(t *testing.T) {
	w := newLogoutWorld(t)
	b := w.browser()
	online := b.grant("alice", "reports", "openid")
	stranger := w.browser().grant("carol", "reports", "openid").text("id_token")
	for name, address := range map[string]string{
		"nothing":                    logoutURL(),
		"a redirect alone":           logoutURL("post_logout_redirect_uri", loggedOut),
		"a client":                   logoutURL("client_id", "reports", "post_logout_redirect_uri", loggedOut),
		"an unknown client":          logoutURL("client_id", "nobody", "post_logout_redirect_uri", "https://evil.test/"),
		"garbage for a hint":         logoutURL("id_token_hint", "garbage", "post_logout_redirect_uri", loggedOut),
		"an access token for a hint": logoutURL("id_token_hint", online.access(), "post_logout_redirect_uri", loggedOut),
		"another person's hint":      logoutURL("id_token_hint", stranger, "post_logout_redirect_uri", loggedOut),
	} {
		page, left := b.open("GET", address, nil)
		if left != nil || page.status != http.StatusOK || !strings.Contains(page.body, `id="logout"`) || !strings.Contains(page.body, "alice") {
			t.Errorf("%s: %v", name, left)
		}
		if q := b.silently("reports", "openid"); q.Get("code") == "" {
			t.Fatalf("%s: logged out unasked", name)
		}
	}
	for name, address := range map[string]string{
		"unregistered":   logoutURL("id_token_hint", online.text("id_token"), "post_logout_redirect_uri", loggedOut+"/x"),
		"another client": logoutURL("id_token_hint", online.text("id_token"), "client_id", "other"),
		"repeated":       logoutURL("state", "a") + "&state=b",
	} {
		if page, left := b.open("GET", address, nil); left != nil || page.status != http.StatusBadRequest {
			t.Errorf("%s: %v", name, left)
		}
	}

	page, _ := b.open("GET", logoutURL("client_id", "reports", "post_logout_redirect_uri", loggedOut, "state", `"><b>`), nil)
	if strings.Contains(page.body, `"><b>`) {
		t.Error("state is not escaped")
	}
	if got, left := b.submit(page, "logout", url.Values{"csrf": {"x"}}); left != nil || got.status != http.StatusForbidden {
		t.Errorf("without proof: %v", left)
	}
	_, left := b.submit(page, "logout", nil)
	if left == nil || left.Query().Get("state") != `"><b>` || !strings.HasPrefix(left.String(), loggedOut) {
		t.Errorf("confirmed: came back to %v", left)
	}
	gone(t, b, online)
	if got, left := b.submit(page, "logout", nil); left != nil || got.status != http.StatusOK {
		t.Errorf("confirmed twice: %v", left)
	}

	// Nobody is logged in: no redirect without a hint.
	if got, left := b.open("GET", logoutURL("client_id", "reports", "post_logout_redirect_uri", loggedOut), nil); left != nil || !strings.Contains(got.body, "logged out") {
		t.Errorf("nobody logged in: %v", left)
	}
}

func TestLogoutByPOST(t *testing.T) {
	w := newLogoutWorld(t)
	b := w.browser()
	online := b.grant("alice", "reports", "openid")
	_, left := b.open("POST", issuer+"/protocol/openid-connect/logout", url.Values{
		"id_token_hint": {online.text("id_token")}, "post_logout_redirect_uri": {loggedOut},
	})
	if left == nil || left.String() != loggedOut {
		t.Errorf("came back to %v", left)
	}
	gone(t, b, online)
}

// As Keycloak has it, for clients without a browser.
func TestLogoutByToken(t *testing.T) {
	w := newLogoutWorld(t)
	b := w.browser()
	online := b.grant("alice", "reports", "openid")
	sibling := b.grant("", "other", "openid")
	offline := b.grant("", "reports", "openid offline_access")

	w.post("logout", "other", "refresh_token", online.refreshed()).fails(400, "invalid_grant", "")
	w.post("logout", "reports", "refresh_token", "garbage").fails(400, "invalid_grant", "")
	w.post("logout", "", "refresh_token", online.refreshed()).fails(401, "invalid_client", "")
	w.refresh("reports", online.refreshed()).ok()

	if got := w.post("logout", "reports", "refresh_token", offline.refreshed()); got.status != http.StatusNoContent {
		t.Fatalf("offline: %d %v", got.status, got.json)
	}
	w.refresh("reports", offline.refreshed()).fails(400, "invalid_grant", "revoked")
	if w.count(event.OfflineSessionEnd, "logout") != 1 {
		t.Error("no event")
	}
	w.refresh("reports", online.refreshed()).ok() // the login goes on

	if got := w.post("logout", "reports", "refresh_token", online.refreshed()); got.status != http.StatusNoContent {
		t.Fatalf("online: %d %v", got.status, got.json)
	}
	refused(t, b.silently("reports", "openid"), "login_required", "")
	w.refresh("reports", online.refreshed()).fails(400, "invalid_grant", "revoked")
	w.refresh("other", sibling.refreshed()).fails(400, "invalid_grant", "") // single log-out
	if got := w.post("logout", "reports", "refresh_token", online.refreshed()); got.status != http.StatusNoContent {
		t.Errorf("again: %d", got.status)
	}
}
