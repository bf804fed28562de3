package provider_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// deviceWorld is a world whose clients may use the device grant.
func deviceWorld(t *testing.T) *world {
	w := newWorld(t)
	for _, name := range []string{"reports", "other", "spa"} {
		w.editClient(name, func(c *client.Client) { c.DeviceGrant = true })
	}
	return w
}

func (w *world) device(clientID, scope string, more ...string) *reply {
	w.t.Helper()
	return w.post("auth/device", clientID, append([]string{"scope", scope}, more...)...).ok()
}

func (w *world) poll(clientID string, d *reply, more ...string) *reply {
	w.t.Helper()
	return w.post("token", clientID, append([]string{"grant_type", deviceGrant, "device_code", d.text("device_code")}, more...)...)
}

// enter types a code on the device page.
func (b *browser) enter(userCode string) *reply {
	b.t.Helper()
	page, _ := b.open(http.MethodGet, issuer+"/device", nil)
	page, left := b.submit(page, "device", url.Values{"user_code": {userCode}})
	if left != nil {
		b.t.Fatalf("the browser left for %v", left)
	}
	return page
}

// letIn types the code, logs in if asked, and presses a button of the consent
// page, which always comes.
func (b *browser) letIn(name string, d *reply, button string) *reply {
	b.t.Helper()
	page := b.enter(d.text("user_code"))
	if name != "" {
		page, _ = b.submit(page, "login", credentials(name, name+"-pw"))
	}
	page, left := b.submit(page, "consent", url.Values{button: {"yes"}})
	if left != nil {
		b.t.Fatalf("the browser left for %v", left)
	}
	return page
}

func TestO17_DeviceGrant(t *testing.T) {
	w := deviceWorld(t)
	d := w.device("reports", "openid offline_access")
	if len(d.text("device_code")) < 43 || !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(d.text("user_code")) ||
		d.text("verification_uri") != issuer+"/device" || d.text("verification_uri_complete") != issuer+"/device?user_code="+d.text("user_code") ||
		d.number("expires_in") != 600 || d.number("interval") != 5 || d.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("answer: %s", d.body)
	}
	w.poll("reports", d).fails(400, "authorization_pending", "")

	b := w.browser()
	page, _ := b.open(http.MethodGet, d.text("verification_uri_complete"), nil)
	if !strings.Contains(page.body, `value="`+d.text("user_code")+`"`) || !strings.Contains(page.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("page: %s", page.body)
	}
	// Typed in another way than shown.
	page, _ = b.submit(page, "device", url.Values{"user_code": {strings.ToLower(strings.ReplaceAll(d.text("user_code"), "-", " "))}})
	page, _ = b.submit(page, "login", credentials("alice", "alice-pw"))
	for _, want := range []string{"reports", "alice", d.text("user_code"), "User profile", "Offline access", `name="accept"`, `name="cancel"`} {
		if !strings.Contains(page.body, want) {
			t.Errorf("consent page does not say %s: %s", want, page.body)
		}
	}
	w.advance(5 * time.Second)
	w.poll("reports", d).fails(400, "authorization_pending", "")
	page, _ = b.submit(page, "consent", url.Values{"accept": {"yes"}})
	if page.status != 200 || !strings.Contains(page.body, "is connected") {
		t.Fatalf("last page: %d %s", page.status, page.body)
	}

	w.advance(5 * time.Second)
	r := w.poll("reports", d).ok()
	if !slices.Contains(r.scopes(), "offline_access") || r.offlineToken()["typ"] != "Offline" || r.number("refresh_expires_in") != 0 {
		t.Errorf("no offline token: %v %v", r.scopes(), r.offlineToken())
	}
	if r.idClaims()["preferred_username"] != "alice" || r.claims()["offline_session"] == nil {
		t.Errorf("claims: %v", r.claims())
	}
	if w.count(event.DeviceAuth, "") != 1 || w.count(event.DeviceVerify, "") != 1 || w.count(event.DeviceToToken, "") != 1 ||
		w.count(event.OfflineSessionStart, "") != 1 || w.count(event.DeviceToTokenError, "authorization_pending") != 0 {
		t.Errorf("events: %v", w.events)
	}
	w.update(func(tx storage.Tx) error {
		cs, err := session.ClientSessions.Get(tx, "demo", r.claims()["offline_session"].(string))
		if err == nil && (!cs.Offline || cs.GrantType != deviceGrant || cs.UserSession != r.claims()["sid"]) {
			t.Errorf("session: %+v", cs)
		}
		return err
	})

	// Used is used, and ends nothing.
	w.poll("reports", d).fails(400, "invalid_grant", "")
	w.advance(20 * day)
	r = w.refresh("reports", r.refreshed()).ok()
	w.restart()
	w.refresh("reports", r.refreshed()).ok()
	w.refresh("other", r.refreshed()).fails(400, "invalid_grant", "")
}

func TestO17_DevicePolls(t *testing.T) {
	w := deviceWorld(t)
	t.Run("slow down", func(t *testing.T) {
		d := w.device("reports", "openid")
		w.poll("reports", d).fails(400, "authorization_pending", "")
		w.advance(3 * time.Second)
		w.poll("reports", d).fails(400, "slow_down", "")
		w.advance(5 * time.Second) // not enough any more
		w.poll("reports", d).fails(400, "slow_down", "")
		w.advance(15 * time.Second)
		w.poll("reports", d).fails(400, "authorization_pending", "")
		// Whoever is in gets its tokens, however fast it asks.
		w.browser().letIn("alice", d, "accept")
		w.poll("reports", d).ok()
	})
	t.Run("denied", func(t *testing.T) {
		d := w.device("reports", "openid offline_access")
		page := w.browser().letIn("alice", d, "cancel")
		if !strings.Contains(page.body, "is not connected") {
			t.Errorf("page: %s", page.body)
		}
		w.poll("reports", d).fails(400, "access_denied", "")
		if page := w.browser().enter(d.text("user_code")); !strings.Contains(page.body, "wrong or has expired") {
			t.Errorf("the code still leads somewhere: %s", page.body)
		}
	})
	t.Run("expired", func(t *testing.T) {
		d, granted := w.device("reports", "openid"), w.device("reports", "openid")
		w.browser().letIn("alice", granted, "accept")
		b := w.browser()
		login := b.enter(d.text("user_code"))
		w.advance(10*time.Minute - time.Second)
		w.poll("reports", d).fails(400, "authorization_pending", "")
		w.advance(time.Second)
		w.poll("reports", d).fails(400, "expired_token", "")
		w.poll("reports", granted).fails(400, "expired_token", "")
		if page := w.browser().enter(d.text("user_code")); !strings.Contains(page.body, "wrong or has expired") {
			t.Errorf("page: %s", page.body)
		}
		anew, _ := b.submit(login, "login", credentials("alice", "alice-pw")) // it was open for too long
		if page, left := b.submit(anew, "login", credentials("alice", "alice-pw")); left != nil || page.status != 400 {
			t.Errorf("after the code's time: %v %s", left, page.body)
		}
		w.poll("reports", d).fails(400, "expired_token", "")
		w.advance(10 * time.Minute)
		w.poll("reports", d).fails(400, "invalid_grant", "") // forgotten
	})
	t.Run("another client", func(t *testing.T) {
		d := w.device("reports", "openid")
		w.browser().letIn("alice", d, "accept")
		w.poll("other", d).fails(400, "invalid_grant", "")
		w.poll("spa", d).fails(400, "invalid_grant", "")
		w.poll("", d).fails(401, "invalid_client", "")
		w.poll("reports", d).ok()
	})
	t.Run("no such code", func(t *testing.T) {
		w.post("token", "reports", "grant_type", deviceGrant).fails(400, "invalid_request", "")
		w.post("token", "reports", "grant_type", deviceGrant, "device_code", "nonsense").fails(400, "invalid_grant", "")
	})
	t.Run("what happened meanwhile", func(t *testing.T) {
		d := w.device("reports", "openid offline_access")
		w.browser().letIn("alice", d, "accept")
		w.editUser("alice", func(u *user.User) { u.Enabled = false })
		w.poll("reports", d).fails(400, "invalid_grant", "user_disabled")
		w.editUser("alice", func(u *user.User) { u.Enabled, u.DefaultRoles = true, false })
		w.poll("reports", d).fails(400, "invalid_grant", "role_missing")
		w.editUser("alice", func(u *user.User) { u.DefaultRoles = true })
		w.editClient("reports", func(c *client.Client) { c.DeviceGrant = false })
		w.poll("reports", d).fails(400, "unauthorized_client", "")
		w.editClient("reports", func(c *client.Client) { c.DeviceGrant = true })
		w.poll("reports", d).ok()
	})
}

func TestO17_DeviceRequest(t *testing.T) {
	w := newWorld(t)
	w.post("auth/device", "reports").fails(400, "unauthorized_client", "") // off by default
	w.post("token", "reports", "grant_type", deviceGrant, "device_code", "x").fails(400, "unauthorized_client", "")
	for _, name := range []string{"reports", "spa"} {
		w.editClient(name, func(c *client.Client) { c.DeviceGrant = true })
	}
	w.post("auth/device", "", "client_id", "reports").fails(401, "invalid_client", "")
	w.post("auth/device", "", "client_id", "nobody").fails(401, "invalid_client", "")
	w.post("auth/device", "reports", "scope", "nonsense").fails(400, "invalid_scope", "")
	w.post("auth/device", "reports", "resource", "not a uri").fails(400, "invalid_target", "")
	w.post("auth/device", "reports", "code_challenge", verifier, "code_challenge_method", "plain").fails(400, "invalid_request", "")
	w.editClient("reports", func(c *client.Client) {
		c.OptionalScopes = slices.DeleteFunc(c.OptionalScopes, func(s string) bool { return s == "offline_access" })
	})
	w.post("auth/device", "reports", "scope", "offline_access").fails(400, "invalid_scope", "") // O10
	if got := w.do(httptest.NewRequest(http.MethodGet, issuer+"/protocol/openid-connect/auth/device", nil)); got.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", got.status)
	}
	read := w.post("auth/device", "spa", "header:Origin", "https://app.test").ok()
	if read.header.Get("Access-Control-Allow-Origin") != "https://app.test" {
		t.Error("no CORS for the client's own origin")
	}

	config := w.do(httptest.NewRequest(http.MethodGet, issuer+"/.well-known/openid-configuration", nil)).ok()
	if config.text("device_authorization_endpoint") != issuer+"/protocol/openid-connect/auth/device" ||
		!slices.Contains(config.json["grant_types_supported"].([]any), any(deviceGrant)) {
		t.Errorf("discovery: %v", config.json)
	}

	t.Run("public client with PKCE and a resource", func(t *testing.T) {
		sum := sha256.Sum256([]byte(verifier))
		d := w.device("spa", "openid offline_access", "code_challenge_method", "S256",
			"code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]), "resource", "https://api.test")
		w.poll("spa", d).fails(400, "invalid_grant", "")
		w.poll("spa", d, "code_verifier", verifier+"x").fails(400, "invalid_grant", "")
		w.browser().letIn("alice", d, "accept")
		w.poll("spa", d).fails(400, "invalid_grant", "")
		r := w.poll("spa", d, "code_verifier", verifier).ok()
		if r.claims()["aud"] != "https://api.test" {
			t.Errorf("aud = %v", r.claims()["aud"])
		}
		w.refresh("spa", r.refreshed()).ok()
		plain := w.device("spa", "openid")
		w.browser().letIn("alice", plain, "accept")
		w.poll("spa", plain).ok()
	})
}

// The page always asks, whoever is logged in and whatever was allowed before.
func TestO17_DeviceAlwaysAsks(t *testing.T) {
	w := deviceWorld(t)
	b := w.browser()
	b.grant("alice", "reports", "openid offline_access")
	for range 2 {
		d := w.device("reports", "openid offline_access")
		page := b.enter(d.text("user_code"))
		if !strings.Contains(page.body, `id="consent"`) {
			t.Fatalf("want consent: %s", page.body)
		}
		address := strings.Replace(page.header.Get("X-Address"), "consent", "continue", 1)
		if again, _ := b.open(http.MethodGet, address, nil); !strings.Contains(again.body, `id="consent"`) {
			t.Errorf("a reload went past the consent: %s", again.body)
		}
		w.poll("reports", d).fails(400, "authorization_pending", "")
		_, _ = b.submit(page, "consent", url.Values{"accept": {"yes"}})
		w.poll("reports", d).ok()
	}

	t.Run("no role", func(t *testing.T) {
		d := w.device("reports", "openid offline_access")
		b := w.browser()
		page, left := b.submit(b.enter(d.text("user_code")), "login", credentials("bob", "bob-pw"))
		if left != nil || page.status != 400 || !strings.Contains(page.body, "offline_access") {
			t.Errorf("page: %d %s", page.status, page.body)
		}
		got := w.poll("reports", d).fails(400, "access_denied", "")
		if !strings.Contains(got.text("error_description"), "offline_access") {
			t.Errorf("does not name the role: %s", got.body)
		}
	})
	t.Run("the first answer counts", func(t *testing.T) {
		d := w.device("reports", "openid")
		one, two := w.browser(), w.browser()
		first, _ := one.submit(one.enter(d.text("user_code")), "login", credentials("alice", "alice-pw"))
		second, _ := two.submit(two.enter(d.text("user_code")), "login", credentials("carol", "carol-pw"))
		_, _ = one.submit(first, "consent", url.Values{"accept": {"yes"}})
		for _, button := range []string{"accept", "cancel"} {
			if page, _ := two.submit(second, "consent", url.Values{button: {"yes"}}); page.status != 400 {
				t.Errorf("the second %s: %d %s", button, page.status, page.body)
			}
		}
		if r := w.poll("reports", d).ok(); r.idClaims()["preferred_username"] != "alice" {
			t.Errorf("claims: %v", r.idClaims())
		}
	})
}

func TestO17_DeviceSessions(t *testing.T) {
	w := deviceWorld(t)
	logout := func(b *browser, d *reply) (page *reply) {
		b.letIn("alice", d, "accept")
		page, _ = b.open(http.MethodGet, issuer+"/protocol/openid-connect/logout", nil)
		page, _ = b.submit(page, "logout", nil)
		return page
	}
	t.Run("offline, logged out before the device came", func(t *testing.T) {
		d := w.device("reports", "openid offline_access")
		logout(w.browser(), d)
		r := w.poll("reports", d).ok()
		if r.claims()["sid"] != r.claims()["offline_session"] {
			t.Errorf("claims: %v", r.claims())
		}
		w.advance(day)
		w.refresh("reports", r.refreshed()).ok()
	})
	t.Run("online, logged out before the device came", func(t *testing.T) {
		d := w.device("reports", "openid")
		logout(w.browser(), d)
		w.poll("reports", d).fails(400, "invalid_grant", "")
	})
	t.Run("online ends with its user session", func(t *testing.T) {
		b, d := w.browser(), w.device("reports", "openid")
		b.letIn("alice", d, "accept")
		r := w.poll("reports", d).ok()
		w.refresh("reports", r.refreshed()).ok()
		page, _ := b.open(http.MethodGet, issuer+"/protocol/openid-connect/logout", nil)
		_, _ = b.submit(page, "logout", nil)
		w.refresh("reports", r.refreshed()).fails(400, "invalid_grant", "")
	})
}

func TestO17_DeviceGuesses(t *testing.T) {
	w := deviceWorld(t)
	d := w.device("reports", "openid")
	thief, alice := w.browser(), w.browser()
	alice.grant("alice", "reports", "openid")
	for i := range 20 {
		// A cookie jar of its own for each changes nothing.
		page := w.browser().enter(fmt.Sprintf("BBBB-BB%02d", i))
		if page.status != 200 || !strings.Contains(page.body, "wrong or has expired") {
			t.Fatalf("try %d: %d %s", i, page.status, page.body)
		}
	}
	page := thief.enter(d.text("user_code"))
	if page.status != http.StatusTooManyRequests || page.header.Get("Retry-After") != "600" || strings.Contains(page.body, `id="login"`) {
		t.Fatalf("after 20 wrong codes: %d, Retry-After %s", page.status, page.header.Get("Retry-After"))
	}
	if w.count(event.DeviceVerifyError, "invalid_user_code") != 20 || w.count(event.DeviceVerifyError, "too_many_codes") != 1 {
		t.Error("events are missing")
	}
	// Her neighbour's guesses are not hers; her own count in every session.
	if page := alice.enter(d.text("user_code")); !strings.Contains(page.body, `id="consent"`) {
		t.Errorf("alice: %d %s", page.status, page.body)
	}
	for range 20 {
		alice.enter("BBBB-BBBB")
	}
	again := w.browser()
	again.grant("alice", "reports", "openid")
	if page := again.enter(d.text("user_code")); page.status != http.StatusTooManyRequests {
		t.Errorf("another session of alice: %d", page.status)
	}
	w.advance(10 * time.Minute)
	fresh := w.device("reports", "openid")
	if page := thief.enter(fresh.text("user_code")); page.status != 200 || !strings.Contains(page.body, `id="login"`) {
		t.Errorf("ten minutes later: %d", page.status)
	}
}

func TestO17_DevicePageIsBoundToItsBrowser(t *testing.T) {
	w := deviceWorld(t)
	d := w.device("reports", "openid")
	attacker, victim := w.browser(), w.browser()
	victim.grant("alice", "reports", "openid")
	theirs, _ := attacker.open(http.MethodGet, issuer+"/device", nil)
	if page, _ := victim.submit(theirs, "device", url.Values{"user_code": {d.text("user_code")}}); page.status != http.StatusForbidden {
		t.Errorf("a form of another browser: %d", page.status)
	}
	mine, _ := victim.open(http.MethodGet, issuer+"/device", nil)
	if page, _ := victim.submit(mine, "device", url.Values{"user_code": {d.text("user_code")}, "csrf": {""}}); page.status != http.StatusForbidden {
		t.Errorf("no proof: %d", page.status)
	}
	link := attacker.enter(d.text("user_code")).header.Get("X-Address")
	if page, _ := victim.open(http.MethodGet, link, nil); page.status != http.StatusBadRequest {
		t.Errorf("a link into the attacker's flow: %d", page.status)
	}
	page, _ := victim.open(http.MethodGet, issuer+"/device?user_code=%22%3E%3Cb%3E", nil)
	if strings.Contains(page.body, "<b>") {
		t.Errorf("the code is not escaped: %s", page.body)
	}
}
