package provider_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

const (
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeRefresh   = "urn:ietf:params:oauth:token-type:refresh_token"
)

// newExchangeWorld lets the client other exchange tokens that are meant for it.
func newExchangeWorld(t *testing.T) *world {
	w := newWorld(t)
	w.editClient("other", func(c *client.Client) {
		c.TokenExchange, c.TokenExchangeAudiences = true, []string{"https://api.test/", "reports"}
	})
	return w
}

func (w *world) swap(clientID, subject string, more ...string) *reply {
	w.t.Helper()
	return w.post("token", clientID, append([]string{
		"grant_type", grantExchange, "subject_token", subject, "subject_token_type", typeAccess,
	}, more...)...)
}

func (w *world) sessions() (online, offline int) {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(tx storage.Tx) error {
		rows, err := session.ClientSessions.List(tx, "demo", "", 1000)
		online, offline = 0, 0
		for _, r := range rows {
			switch {
			case r.Record.Status != session.Working:
			case r.Record.Offline:
				offline++
			default:
				online++
			}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return online, offline
}

func TestTokenExchange(t *testing.T) {
	w := newExchangeWorld(t)
	own := w.password("other", "alice", "openid email").ok()
	r := w.swap("other", own.access()).ok()
	c := r.claims()
	if r.json["issued_token_type"] != typeAccess || r.text("token_type") != "Bearer" || r.text("refresh_token") != "" || r.text("id_token") != "" {
		t.Errorf("answer %v", r.json)
	}
	if c["sub"] != own.claims()["sub"] || c["sid"] != own.claims()["sid"] || c["azp"] != "other" || c["aud"] != "other" || c["jti"] == own.claims()["jti"] {
		t.Errorf("claims %v", c)
	}
	if got := r.scopes(); !slices.Equal(got, own.scopes()) {
		t.Errorf("scope %v, of %v", got, own.scopes())
	}
	if !w.active(r.access()) || w.userinfo(r.access()).status != 200 {
		t.Error("the token does not work")
	}
	w.advance(time.Second)

	t.Run("less, and for somebody else", func(t *testing.T) {
		r := w.swap("other", own.access(), "scope", "email", "audience", "https://api.test/", "audience", "reports").ok()
		if got := r.scopes(); !slices.Equal(got, []string{"email"}) {
			t.Errorf("scope %v", got)
		}
		if aud, _ := r.claims()["aud"].([]any); len(aud) != 2 {
			t.Errorf("audience %v", r.claims()["aud"])
		}
		if r := w.swap("other", own.access(), "resource", "https://api.test/").ok(); r.claims()["aud"] != "https://api.test/" {
			t.Errorf("audience %v", r.claims()["aud"])
		}
		if r := w.swap("other", own.access(), "scope", "openid").ok(); r.text("id_token") == "" {
			t.Error("openid was asked for: no ID token")
		}
	})
	t.Run("another client's token that is meant for it", func(t *testing.T) {
		token := w.password("reports", "alice", "openid").ok().access()
		w.swap("other", token).fails(403, "access_denied", "")
		w.editClient("reports", func(c *client.Client) { c.TokenExchange, c.TokenExchangeAudiences = true, []string{"other"} })
		chain := w.swap("reports", token, "audience", "other").ok()
		r := w.swap("other", chain.access()).ok()
		if c := r.claims(); c["azp"] != "other" || c["aud"] != "other" || c["sub"] != own.claims()["sub"] {
			t.Errorf("claims %v", c)
		}
		if got := w.introspect(r.access()); got["client_id"] != "other" || got["username"] != "alice" {
			t.Errorf("introspection %v", got)
		}
		if got := w.userinfo(r.access()); got.status != 200 {
			t.Errorf("UserInfo answers %d %v", got.status, got.json)
		}
		// It dies with the session of the first.
		w.post("revoke", "reports", "token", w.password("reports", "alice", "openid").ok().refreshed()).ok()
		if !w.active(r.access()) {
			t.Error("another session's end ended it")
		}
		w.editClient("other", disable)
		if w.userinfo(r.access()).status != 401 {
			t.Error("works although its client is disabled")
		}
		w.editClient("other", enable)
		w.editClient("reports", disable)
		if w.userinfo(r.access()).status != 401 {
			t.Error("works although the client that logged in is disabled")
		}
		w.editClient("reports", enable)
		w.editClient("other", func(c *client.Client) { c.NotBefore = w.clock().UnixMilli() + 1 })
		if w.userinfo(r.access()).status != 401 {
			t.Error("works although it was issued before the not-before of its client")
		}
		w.editClient("other", func(c *client.Client) { c.NotBefore = 0 })
	})
	t.Run("it ends with the login", func(t *testing.T) {
		online := w.password("other", "alice", "openid").ok()
		r := w.swap("other", online.access()).ok()
		w.post("logout", "other", "refresh_token", online.refreshed())
		if w.active(r.access()) || w.userinfo(r.access()).status != 401 {
			t.Error("it outlived the login")
		}
		w.swap("other", online.access()).fails(400, "invalid_request", "")
	})
	t.Run("refused", func(t *testing.T) {
		for _, tt := range []struct {
			name, clientID, code string
			status               int
			more                 []string
		}{
			{"not switched on", "reports2", "unauthorized_client", 400, nil},
			{"a public client", "spa", "unauthorized_client", 400, nil},
			{"a wider scope", "other", "invalid_scope", 400, []string{"scope", "openid phone"}},
			{"an unknown scope", "other", "invalid_scope", 400, []string{"scope", "nonsense"}},
			{"another audience", "other", "invalid_target", 400, []string{"audience", "https://elsewhere.test/"}},
			{"another resource", "other", "invalid_target", 400, []string{"resource", "https://elsewhere.test/"}},
			{"a resource that is none", "other", "invalid_target", 400, []string{"resource", "nonsense"}},
			{"a refresh token, not switched on", "other", "invalid_request", 400, []string{"requested_token_type", typeRefresh}},
			{"a type that there is not", "other", "invalid_request", 400, []string{"requested_token_type", "urn:ietf:params:oauth:token-type:saml2"}},
			{"delegation", "other", "invalid_request", 400, []string{"actor_token", own.access(), "actor_token_type", typeAccess}},
			{"impersonation", "other", "invalid_request", 400, []string{"requested_subject", "bob"}},
		} {
			if tt.clientID == "reports2" {
				w.editClient("reports", func(c *client.Client) { c.TokenExchange = false })
				tt.clientID = "reports"
			}
			if got := w.swap(tt.clientID, own.access(), tt.more...); got.status != tt.status || got.text("error") != tt.code {
				t.Errorf("%s: %d %v", tt.name, got.status, got.json)
			}
		}
		for name, subject := range map[string]string{
			"garbage": "garbage", "a refresh token": own.refreshed(), "an ID token": own.text("id_token"), "nothing": "",
		} {
			if got := w.swap("other", subject); got.status != 400 || got.text("error") != "invalid_request" {
				t.Errorf("%s: %d %v", name, got.status, got.json)
			}
		}
		if got := w.post("token", "other", "grant_type", grantExchange, "subject_token", own.access()); got.text("error") != "invalid_request" {
			t.Errorf("without a type: %v", got.json)
		}
		w.editClient("reports", disable)
		if got := w.swap("other", own.access(), "audience", "reports"); got.text("error") != "invalid_target" {
			t.Errorf("a disabled audience: %v", got.json)
		}
		w.editClient("reports", enable)
		w.editClient("other", func(c *client.Client) { c.ConsentRequired = true })
		if got := w.swap("other", own.access()); got.text("error") != "invalid_scope" {
			t.Errorf("without consent: %v", got.json)
		}
		w.editClient("other", func(c *client.Client) { c.ConsentRequired = false })
		w.advance(6 * time.Minute)
		if got := w.swap("other", own.access()); got.text("error") != "invalid_request" {
			t.Errorf("an expired token: %v", got.json)
		}
	})
	if got := w.kept(audit.Query{Types: []event.Type{event.TokenExchange}, Client: "other", Max: 1}); len(got) != 1 ||
		got[0].Details["subject_token_client_id"] != "other" || got[0].Details["requested_token_type"] != typeAccess || got[0].Username != "alice" {
		t.Errorf("event %+v", got)
	}
	if len(w.kept(audit.Query{Types: []event.Type{event.TokenExchangeError}})) < 10 {
		t.Error("refusals are no events")
	}
}

// A refresh token of an exchange lives in the login of the exchanged token, keeps
// scope and audience, and ends with what it came of.
func TestTokenExchangeRefresh(t *testing.T) {
	w := newExchangeWorld(t)
	w.editClient("other", func(c *client.Client) { c.TokenExchangeRefresh = true })
	own := w.password("other", "alice", "openid email").ok()
	ask := func() *reply {
		return w.swap("other", own.access(), "requested_token_type", typeRefresh, "scope", "email", "audience", "https://api.test/").ok()
	}
	r := ask()
	if r.json["issued_token_type"] != typeRefresh || r.offlineToken()["typ"] != "Refresh" || r.claims()["sid"] != own.claims()["sid"] {
		t.Errorf("answer %v", r.json)
	}
	for range 2 {
		r = w.refresh("other", r.refreshed()).ok()
		if !slices.Equal(r.scopes(), []string{"email"}) || r.claims()["aud"] != "https://api.test/" {
			t.Errorf("after a refresh: scope %v, audience %v", r.scopes(), r.claims()["aud"])
		}
	}
	w.refresh("other", r.refreshed(), "scope", "openid").fails(400, "invalid_scope", "")
	second := ask()
	w.post("revoke", "other", "token", own.refreshed()).ok()
	w.refresh("other", r.refreshed()).fails(400, "invalid_grant", "revoked")
	w.refresh("other", second.refreshed()).fails(400, "invalid_grant", "revoked")
	if w.active(r.access()) {
		t.Error("the access token outlived what it came of")
	}

	own = w.password("other", "alice", "openid email").ok()
	r = ask()
	w.post("revoke", "other", "token", r.refreshed()).ok()
	w.refresh("other", own.refreshed()).ok() // its end is not that of the first
	r = ask()
	w.advance(31 * time.Minute)
	w.refresh("other", r.refreshed()).fails(400, "invalid_grant", "idle_expired")
	// A service account has no login.
	service := w.post("token", "other", "grant_type", "client_credentials").ok()
	w.swap("other", service.access(), "requested_token_type", typeRefresh).fails(400, "invalid_request", "")
	w.swap("other", service.access()).ok()
}

func TestO20_NoOfflineTokenByExchange(t *testing.T) {
	w := newExchangeWorld(t)
	w.editClient("other", func(c *client.Client) { c.TokenExchangeRefresh = true })
	online := w.password("other", "alice", "openid").ok()
	offline := w.password("other", "alice", "openid offline_access").ok()
	on, off := w.sessions()
	for _, more := range [][]string{nil, {"requested_token_type", typeRefresh}} {
		for name, subject := range map[string]*reply{"online": online, "offline": offline} {
			if got := w.swap("other", subject.access(), append([]string{"scope", "openid offline_access"}, more...)...); got.status != 400 || got.text("error") != "invalid_request" {
				t.Errorf("%s, %v: %d %v", name, more, got.status, got.json)
			}
		}
	}
	// Of an offline session an access token can be had, without the scope.
	r := w.swap("other", offline.access()).ok()
	if slices.Contains(r.scopes(), "offline_access") || r.text("refresh_token") != "" || r.claims()["offline_session"] != offline.claims()["offline_session"] {
		t.Errorf("scope %v, claims %v", r.scopes(), r.claims())
	}
	if !w.active(r.access()) || w.userinfo(r.access()).status != 200 {
		t.Error("the access token does not work")
	}
	w.swap("other", offline.access(), "requested_token_type", typeRefresh).fails(400, "invalid_request", "")
	if on2, off2 := w.sessions(); on2 != on || off2 != off {
		t.Errorf("sessions: %d online and %d offline before, %d and %d after", on, off, on2, off2)
	}
	w.post("revoke", "other", "token", offline.refreshed()).ok()
	if w.active(r.access()) || w.userinfo(r.access()).status != 401 {
		t.Error("the access token outlived the offline session")
	}
}
