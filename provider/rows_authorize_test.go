package provider_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// codes counts the authorization codes that were made.
func (w *world) codes() int {
	w.t.Helper()
	n := 0
	err := w.store.View(w.t.Context(), func(tx storage.Tx) error {
		rows, err := session.Codes.List(tx, "demo", "", 1000)
		n = len(rows)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// refused checks the error that came to the client.
func refused(t *testing.T, q url.Values, code, words string) {
	t.Helper()
	if q.Get("error") != code || !strings.Contains(q.Get("error_description"), words) || q.Get("code") != "" ||
		q.Get("state") != "st" || q.Get("iss") != issuer {
		t.Errorf("got %v, want %s that says %q", q, code, words)
	}
}

func TestO11_UserLacksTheRole(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	refused(t, b.authorize("bob", "reports", "openid offline_access"), "access_denied", "role offline_access")
	if w.codes() != 0 {
		t.Error("a code was made")
	}
	// Right after the login: bob is logged in, and may go on without.
	if q := b.authorize("", "reports", "openid"); q.Get("code") == "" {
		t.Errorf("an online request of the same browser: %v", q)
	}
	refused(t, b.authorize("", "reports", "openid offline_access"), "access_denied", "role offline_access")
	refused(t, b.authorize("", "reports", "openid offline_access", "prompt", "none"), "access_denied", "role offline_access")
	if got := w.password("reports", "bob", "openid offline_access").fails(400, "invalid_scope", "role_missing"); !strings.Contains(got.text("error_description"), "role offline_access") {
		t.Errorf("password grant: %v", got.json)
	}
	if q := w.browser().authorize("carol", "reports", "offline_access"); q.Get("code") == "" {
		t.Errorf("O13: by a composite: %v", q)
	}
	w.editUser("bob", func(u *user.User) { u.DefaultRoles = true })
	if q := b.authorize("", "reports", "offline_access"); q.Get("code") == "" {
		t.Errorf("with the default roles: %v", q)
	}
}

func TestO12_ClientScopeLacksTheRole(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.grant("alice", "reports", "openid")
	w.editClient("reports", func(c *client.Client) { c.FullScope = false })
	if q := b.authorize("", "reports", "offline_access"); q.Get("code") == "" {
		t.Errorf("the client scope carries the role: %v", q)
	}
	w.editScope("offline_access", func(s *client.Scope) { s.Roles = nil })
	made := w.codes()
	refused(t, b.authorize("", "reports", "offline_access"), "access_denied", "not in the scope of this client")
	if w.codes() != made {
		t.Error("a code was made")
	}
	if got := w.password("reports", "alice", "offline_access").fails(400, "invalid_scope", "role_missing"); !strings.Contains(got.text("error_description"), "not in the scope of this client") {
		t.Errorf("password grant: %v", got.json)
	}
	w.editClient("reports", func(c *client.Client) { c.ScopeRoles = []string{"offline_access"} })
	if q := b.authorize("", "reports", "offline_access"); q.Get("code") == "" {
		t.Errorf("with a role mapping: %v", q)
	}
}

func TestO14_Consent(t *testing.T) {
	const offline = "Offline access"
	allow, decline := url.Values{"accept": {"yes"}}, url.Values{"cancel": {"yes"}}

	t.Run("client that requires consent", func(t *testing.T) {
		w := newWorld(t)
		w.editClient("reports", func(c *client.Client) { c.ConsentRequired, c.Name = true, "The <Reports>" })
		b := w.browser()
		page, _ := b.open("GET", authURL("reports", "openid"), nil)
		page, _ = b.submit(page, "login", url.Values{"username": {"alice"}, "password": {"alice-pw"}})
		for _, words := range []string{"The &lt;Reports&gt;", "alice", "User profile", "Email address"} {
			if !strings.Contains(page.body, words) {
				t.Errorf("the page lacks %q", words)
			}
		}
		if strings.Contains(page.body, offline) {
			t.Error("offline access is listed although nobody asked for it")
		}
		_, left := b.submit(page, "consent", decline)
		refused(t, left.Query(), "access_denied", "declined")
		if w.codes() != 0 || w.count(event.ConsentDenied, "") != 1 {
			t.Error("declined: a code, or no event")
		}

		page, _ = b.open("GET", authURL("reports", "openid"), nil)
		if _, left = b.submit(page, "consent", allow); left.Query().Get("code") == "" {
			t.Fatalf("allowed: %v", left)
		}
		if q := b.authorize("", "reports", "openid"); q.Get("code") == "" {
			t.Errorf("not remembered: %v", q)
		}
		refused(t, w.browser().silently("reports", "openid"), "login_required", "")

		// More is asked for: the page comes again, and says so.
		page, _ = b.open("GET", authURL("reports", "openid offline_access"), nil)
		if !strings.Contains(page.body, offline) || !strings.Contains(page.body, "while you are away") {
			t.Error("offline access is not listed")
		}
		refused(t, b.silently("reports", "openid offline_access"), "consent_required", "")
		if _, left = b.submit(page, "consent", allow); left.Query().Get("code") == "" {
			t.Fatalf("allowed: %v", left)
		}
		if q := b.silently("reports", "openid offline_access"); q.Get("code") == "" {
			t.Errorf("not remembered: %v", q)
		}
		page, left = b.open("GET", authURL("reports", "openid offline_access", "prompt", "consent"), nil)
		if left != nil {
			t.Fatalf("prompt=consent showed no page: %v", left)
		}
		if _, left = b.submit(page, "consent", allow); left.Query().Get("code") == "" {
			t.Errorf("prompt=consent loops: %v", left)
		}
	})

	t.Run("client that the adapter made", func(t *testing.T) {
		w := newWorld(t)
		w.editClient("reports", func(c *client.Client) { c.ConsentOffline = true })
		b := w.browser()
		b.grant("alice", "reports", "openid") // asks nothing
		page, left := b.open("GET", authURL("reports", "openid offline_access"), nil)
		if left != nil {
			t.Fatalf("single sign-on made a grant unseen: %v", left)
		}
		if !strings.Contains(page.body, offline) {
			t.Error("offline access is not listed")
		}
		_, left = b.submit(page, "consent", allow)
		w.exchange("reports", left.Query().Get("code")).ok()
		if q := b.authorize("", "reports", "openid offline_access"); q.Get("code") == "" {
			t.Errorf("not remembered: %v", q)
		}
		// Remembered per user and client.
		w.editClient("other", func(c *client.Client) { c.ConsentOffline = true })
		if _, left := b.open("GET", authURL("other", "offline_access"), nil); left != nil {
			t.Errorf("another client: %v", left)
		}
		page, _ = w.browser().open("GET", authURL("reports", "openid offline_access"), nil)
		if page == nil || !strings.Contains(page.body, `id="login"`) {
			t.Fatal("another browser is not asked to log in")
		}
	})

	t.Run("the answer is bound to the page", func(t *testing.T) {
		w := newWorld(t)
		w.editClient("reports", func(c *client.Client) { c.ConsentOffline = true })
		b := w.browser()
		b.grant("alice", "reports", "openid")
		page, _ := b.open("GET", authURL("reports", "openid offline_access"), nil)
		for name, fill := range map[string]url.Values{
			"without proof": {"csrf": {""}, "accept": {"yes"}}, "with a wrong proof": {"csrf": {"x"}, "accept": {"yes"}},
		} {
			if got, left := b.submit(page, "consent", fill); left != nil || got.status != http.StatusForbidden {
				t.Errorf("%s: %v", name, left)
			}
		}
		stranger := w.browser()
		stranger.grant("alice", "reports", "openid")
		if got, left := stranger.submit(page, "consent", allow); left != nil || got.status != http.StatusBadRequest {
			t.Errorf("another browser of the same user: %v", left)
		}
		// What the page did not show is not consented to.
		w.editClient("reports", func(c *client.Client) { c.DefaultScopes = append(c.DefaultScopes, "phone") })
		if got, left := b.submit(page, "consent", allow); left != nil || got.status != http.StatusForbidden {
			t.Errorf("with more scopes than shown: %v", left)
		}
		w.editClient("reports", func(c *client.Client) { c.DefaultScopes = c.DefaultScopes[:len(c.DefaultScopes)-1] })
		if w.codes() != 1+1 { // of the two logins
			t.Errorf("%d codes", w.codes())
		}
		if _, left := b.submit(page, "consent", allow); left.Query().Get("code") == "" {
			t.Fatalf("the right answer: %v", left)
		}
		if got, left := b.submit(page, "consent", allow); left != nil || got.status != http.StatusBadRequest {
			t.Errorf("the right answer, twice: %v", left)
		}
	})
}

// silently asks with prompt=none.
func (b *browser) silently(clientID, scope string, more ...string) url.Values {
	b.t.Helper()
	return b.authorize("", clientID, scope, append([]string{"prompt", "none"}, more...)...)
}
