package provider_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
)

const (
	inactive    = `200 {"active":false}`
	unknownCode = "400 invalid_grant: code is unknown or has expired"
	notClient   = `401 invalid_client: client authentication failed: the client is unknown or switched off, its secret is wrong, or it has to authenticate by another method | Basic realm="token endpoint", charset="UTF-8"`
)

// bearing asks UserInfo with a token.
func bearing(token string) string { return "GET userinfo\nAuthorization: Bearer " + token }

func TestBadInput13_CodeTwice(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	for name, scope := range map[string]string{"online": "openid", "offline": "openid offline_access"} {
		t.Run(name, func(t *testing.T) {
			code := b.code(t, "scope", scope)
			first := w.wire(redeeming(basicReports, code)).ok()
			w.wire(bearing(first.access())).ok()
			ended := "session has ended (revoked)"
			answers(t, w.wire, []exact{
				{"again", redeeming(basicReports, code), "400 invalid_grant: code was used before; what was issued for it is revoked"},
				{"UserInfo", bearing(first.access()), `401 invalid_token: session has ended | Bearer error="invalid_token", error_description="session has ended"`},
				{"introspection", asked("token/introspect", basicReports, first.access()), inactive},
				{"refresh", refreshing(basicReports, first.refreshed()), "400 invalid_grant: " + ended},
				{"a third time", redeeming(basicReports, code), "400 invalid_grant: code was used before; what was issued for it is revoked"},
			})
		})
	}
	t.Run("50 at once", func(t *testing.T) {
		const parallel = 50
		code := b.code(t)
		got := make([]*reply, parallel)
		var gate, done sync.WaitGroup
		gate.Add(1)
		for i := range parallel {
			done.Go(func() {
				gate.Wait()
				got[i] = w.wire(redeeming(basicReports, code))
			})
		}
		gate.Done()
		done.Wait()
		var won []*reply
		for _, r := range got {
			if r.status == http.StatusOK {
				won = append(won, r)
			} else if said := r.says(); said != "400 invalid_grant: code was used before; what was issued for it is revoked" {
				t.Errorf("answered %s", said)
			}
		}
		if len(won) != 1 {
			t.Fatalf("%d of %d got tokens, want 1", len(won), parallel)
		}
		// 49 of them were replays.
		w.refresh("reports", won[0].refreshed()).fails(400, "invalid_grant", "revoked")
		if w.userinfo(won[0].access()).status != http.StatusUnauthorized || w.active(won[0].refreshed()) {
			t.Error("what the replayed code gave lives")
		}
	})
}

func TestBadInput14_CodeOfAnother(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	code := b.code(t)
	answers(t, w.wire, []exact{
		{"another client", redeeming(basicOther, code), "400 invalid_grant: code was issued to another client"},
		{"another redirect URI", redeeming(basicReports, code, "redirect_uri", "https://app.test/other"), "400 invalid_grant: redirect_uri differs from the authorization request's"},
		{"no redirect URI", redeeming(basicReports, code, "redirect_uri", ""), "400 invalid_grant: redirect_uri differs from the authorization request's"},
		{"another code", redeeming(basicReports, code+"A"), unknownCode},
		{"no code", redeeming(basicReports, code, "code", ""), "400 invalid_request: code is missing"},
	})
	w.advance(59 * time.Second)
	w.wire(redeeming(basicReports, code)).ok() // none of it used the code
	code = b.code(t)
	w.advance(61 * time.Second)
	answers(t, w.wire, []exact{{"after 61 s", redeeming(basicReports, code), unknownCode}})
}

func TestBadInput15_PKCE(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	t.Run("at the token endpoint", func(t *testing.T) {
		code := b.code(t)
		answers(t, w.wire, []exact{
			{"no verifier", redeeming(basicReports, code, "code_verifier", ""), "400 invalid_grant: code_verifier is missing"},
			{"another verifier", redeeming(basicReports, code, "code_verifier", strings.Repeat("x", 43)), "400 invalid_grant: code_verifier does not match"},
			{"the challenge itself", redeeming(basicReports, code, "code_verifier", rfcChallenge), "400 invalid_grant: code_verifier does not match"},
			{"a verifier of 42", redeeming(basicReports, code, "code_verifier", rfcVerifier[1:]), "400 invalid_grant: code_verifier does not match"},
		})
		w.wire(redeeming(basicReports, code)).ok()
	})
	t.Run("downgrade", func(t *testing.T) {
		w.editClient("reports", func(c *client.Client) { c.RequirePKCE = false })
		defer w.editClient("reports", func(c *client.Client) { c.RequirePKCE = true })
		code := b.code(t, "code_challenge", "", "code_challenge_method", "")
		answers(t, w.wire, []exact{{"a verifier without a challenge", redeeming(basicReports, code), "400 invalid_grant: code_verifier without a code_challenge in the authorization request"}})
		w.wire(redeeming(basicReports, code, "code_verifier", "")).ok()
	})
	refused := func(why string) string {
		return "303 https://app.test/callback error=invalid_request error_description=" + why + " iss state=S1"
	}
	const required, bad = "code_challenge is required (PKCE, S256)", "code_challenge must be 43 characters of base64url without padding, the SHA-256 of the verifier"
	answers(t, b.wire, []exact{
		{"a public client without", asking("client_id", "spa", "code_challenge", "", "code_challenge_method", ""), refused(required)},
		{"a client that must, without", asking("code_challenge", "", "code_challenge_method", ""), refused(required)},
		{"plain", asking("code_challenge", rfcVerifier, "code_challenge_method", "plain"), refused("code_challenge_method must be S256")},
		{"plain by default", asking("code_challenge_method", ""), refused("code_challenge_method must be S256")},
		{"42 characters", asking("code_challenge", rfcChallenge[1:]), refused(bad)},
		{"129 characters", asking("code_challenge", strings.Repeat("A", 129)), refused(bad)},
		{"padding", asking("code_challenge", rfcChallenge+"="), refused(bad)},
		{"base64, not base64url", asking("code_challenge", strings.Replace(rfcChallenge, "-", "+", 1)), refused(bad)},
		{"a method alone", asking("code_challenge", ""), refused("code_challenge is missing")},
	})
}

func TestBadInput16_TypesOfResponseAndGrant(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	const only = "error=unsupported_response_type error_description=response_type must be code: tokens are handed out at the token endpoint alone iss state=S1"
	answers(t, b.wire, []exact{
		// Who asks for tokens reads the fragment (RFC 6749 §4.2.2.1).
		{"token", asking("response_type", "token"), "303 https://app.test/callback# " + only},
		{"id_token", asking("response_type", "id_token"), "303 https://app.test/callback# " + only},
		{"code token", asking("response_type", "code token"), "303 https://app.test/callback# " + only},
		{"token, by query", asking("response_type", "token", "response_mode", "query"), "303 https://app.test/callback " + only},
		{"code code", asking("response_type", "code code"), "303 https://app.test/callback " + only},
		{"missing", asking("response_type", ""), "303 https://app.test/callback error=invalid_request error_description=response_type is missing: want code iss state=S1"},
	})
	w.editClient("other", func(c *client.Client) {
		c.DirectAccessGrants, c.ServiceAccount, c.StandardFlow = false, false, false
	})
	answers(t, w.wire, []exact{
		{"password, not for this client", "POST token\n" + basicOther + "\n\ngrant_type=password&username=alice&password=alice-pw", "400 unauthorized_client: client may not use direct access grants"},
		{"client_credentials, not for this client", "POST token\n" + basicOther + "\n\ngrant_type=client_credentials", "400 unauthorized_client: client has no service account"},
		{"a code, not for this client", redeeming(basicOther, "x"), "400 unauthorized_client: client may not use the authorization code flow"},
		{"the flow, not for this client", asking("client_id", "other"), "303 https://app.test/callback error=unauthorized_client error_description=client may not use the authorization code flow iss state=S1"},
		{"implicit", "POST token\n" + basicReports + "\n\ngrant_type=implicit", "400 unsupported_grant_type: grant_type implicit is not supported"},
		{"none", "POST token\n" + basicReports + "\n\nscope=openid", "400 invalid_request: grant_type is missing"},
		{"a wrong password", "POST token\n" + basicReports + "\n\ngrant_type=password&username=alice&password=wrong", "400 invalid_grant: username or password is wrong"},
		{"nobody's password", "POST token\n" + basicReports + "\n\ngrant_type=password&username=nobody&password=wrong", "400 invalid_grant: username or password is wrong"},
	})
}

// RFC 6749 §3.1: no parameter more than once. What is wrong is told to the client
// if it can be known (§4.1.2.1).
func TestBadInput17_RepeatedParameters(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	client := func(name, more string) string {
		return strings.TrimSuffix("303 https://app.test/callback error=invalid_request error_description=parameter "+name+" is given more than once iss "+more, " ")
	}
	redirect := "&redirect_uri=" + url.QueryEscape(callback)
	answers(t, b.wire, []exact{
		{"client_id", asking() + "&client_id=other", "400 page: Parameter client_id is given more than once."},
		{"client_id, equal", asking() + "&client_id=reports", "400 page: Parameter client_id is given more than once."},
		{"redirect_uri", asking() + "&redirect_uri=https%3A%2F%2Fevil.test", "400 page: Parameter redirect_uri is given more than once."},
		{"redirect_uri, equal", asking() + redirect, "400 page: Parameter redirect_uri is given more than once."},
		{"scope", asking() + "&scope=email", client("scope", "state=S1")},
		{"scope, equal", asking("scope", "openid") + "&scope=openid", client("scope", "state=S1")},
		{"scope without a value", asking() + "&scope=", client("scope", "state=S1")},
		{"state", asking() + "&state=S2", client("state", "")},
		{"an unknown parameter", asking() + "&x=1&x=2", client("x", "state=S1")},
		{"by POST", "POST auth\n\n" + form(authorization()) + "&scope=email", client("scope", "state=S1")},
		{"in the URL and in the body", "POST auth?scope=email\n\n" + form(authorization()), "303 https://app.test/callback error=invalid_request error_description=parameter scope is in the URL and in the body iss state=S1"},
		{"a code in the URL", asking() + "&code_verifier=x", "303 https://app.test/callback error=invalid_request error_description=code_verifier must not be in the URL, where logs keep it: send it in the body of a POST iss state=S1"},
		{"resource", asking() + "&resource=https%3A%2F%2Fa.test&resource=https%3A%2F%2Fb.test", "303 https://app.test/callback code iss session_state state=S1"},
		{"half a character", asking() + "&x=%ff", "400 page: Parameters are malformed: want name=value pairs joined by &, percent-encoded UTF-8."},
		{"half an escape", asking() + "&x=%f", "400 page: Parameters are malformed: want name=value pairs joined by &, percent-encoded UTF-8."},
		{"201 parameters", asking() + strings.Repeat("&x=1", 201), "400 page: More than 200 parameters."},
	})
	code := b.code(t)
	answers(t, w.wire, []exact{
		{"grant_type", redeeming(basicReports, code) + "&grant_type=authorization_code", "400 invalid_request: parameter grant_type is given more than once"},
		{"code", redeeming(basicReports, code) + "&code=x", "400 invalid_request: parameter code is given more than once"},
		{"code in the URL too", strings.Replace(redeeming(basicReports, code), "POST token", "POST token?code="+code, 1), "400 invalid_request: parameter code is in the URL and in the body"},
		{"resource", "POST token\n" + basicReports + "\n\ngrant_type=client_credentials&resource=urn:a&resource=urn:b&resource=:", "400 invalid_target: resource must be an absolute URI without a fragment"},
		{"resources without end", "POST token\n" + basicReports + "\n\ngrant_type=client_credentials" + strings.Repeat("&resource=urn:"+strings.Repeat("a", 96), 41), "400 invalid_target: resource parameters are longer than 4096 bytes in all"},
		{"audience may repeat", redeeming(basicReports, "x") + "&audience=a&audience=b", unknownCode},
		{"token, introspected", asked("token/introspect", basicReports, "x") + "&token=y", "400 invalid_request: parameter token is given more than once"},
		{"token, revoked", asked("revoke", basicReports, "x") + "&token=y", "400 invalid_request: parameter token is given more than once"},
		{"logout", "GET logout?state=1&state=2", "400 page: Parameter state is given more than once."},
	})
	w.wire(redeeming(basicReports, code)).ok()
	two := w.wire("POST token\n" + basicReports + "\n\ngrant_type=client_credentials&resource=urn:a&resource=urn:b").ok()
	if aud, _ := two.claims()["aud"].([]any); len(aud) != 2 {
		t.Errorf("aud of two resources: %v", two.claims()["aud"])
	}
}

func TestBadInput18_TwoWaysToAuthenticate(t *testing.T) {
	w := strangers(t)
	const two = "400 invalid_request: more than one method of client authentication"
	body := "grant_type=client_credentials"
	assertion := "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=e30.e30.e30"
	answers(t, w.wire, []exact{
		{"another client_id", "POST token\n" + basicReports + "\n\n" + body + "&client_id=other", "400 invalid_request: client_id differs from the Authorization header"},
		{"a secret in the body too", "POST token\n" + basicReports + "\n\n" + body + "&client_id=reports&client_secret=reports-secret", two},
		{"an assertion too", "POST token\n" + basicReports + "\n\n" + body + assertion, two},
		{"a secret and an assertion", "POST token\n\n" + body + "&client_id=reports&client_secret=reports-secret" + assertion, two},
		{"a secret in the URL", "POST token?client_secret=reports-secret\n\n" + body + "&client_id=reports", "400 invalid_request: client_secret must not be in the URL, where logs keep it: send it in the body of a POST"},
		{"a secret in the URL, with the header", "POST token?client_secret=reports-secret\n" + basicReports + "\n\n" + body, "400 invalid_request: client_secret must not be in the URL, where logs keep it: send it in the body of a POST"},
		{"two headers", "POST token\n" + basicReports + "\n" + basicOther + "\n\n" + body, notClient},
		{"an assertion that is none", "POST token\n\n" + body + assertion, notClient},
		{"an assertion of another type", "POST token\n\n" + body + "&client_assertion_type=x&client_assertion=e30.e30.e30", notClient},
	})
	w.wire("POST token\n" + basicReports + "\n\n" + body + "&client_id=reports").ok()
}

func TestBadInput19_ClientAndForm(t *testing.T) {
	w := strangers(t)
	body := "grant_type=client_credentials"
	const media = "400 invalid_request: body must be application/x-www-form-urlencoded"
	answers(t, w.wire, []exact{
		{"a wrong secret", "POST token\n" + basicWrong + "\n\n" + body, notClient},
		{"an unknown client", "POST token\n" + basicNobody + "\n\n" + body, notClient},
		{"a wrong secret in the body", "POST token\n\n" + body + "&client_id=reports&client_secret=wrong", notClient},
		{"no secret", "POST token\n\n" + body + "&client_id=reports", notClient},
		{"a secret of a public client", "POST token\n\n" + body + "&client_id=spa&client_secret=x", notClient},
		{"nobody", "POST token\n\n" + body, notClient},
		{"a header that is no Base64", "POST token\nAuthorization: Basic %%%\n\n" + body, notClient},
		{"a header without a colon", "POST token\nAuthorization: Basic cmVwb3J0cw==\n\n" + body, notClient},
		{"GET", "GET token?grant_type=client_credentials\n" + basicReports, "405 invalid_request: method must be POST | POST"},
		{"PUT", "PUT token\n" + basicReports + "\n\n" + body, "405 invalid_request: method must be POST | POST"},
		{"JSON", "POST token\n" + basicReports + "\nContent-Type: application/json\n\n" + `{"grant_type":"client_credentials"}`, media},
		{"multipart", "POST token\n" + basicReports + "\nContent-Type: multipart/form-data; boundary=x\n\n--x\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nclient_credentials\r\n--x--", media},
		{"text", "POST token\n" + basicReports + "\nContent-Type: text/plain\n\n" + body, media},
		{"65 KiB", "POST token\n" + basicReports + "\n\n" + body + "&x=" + strings.Repeat("x", 65<<10), "413 invalid_request: body is larger than 65536 bytes"},
		{"introspection by GET", "GET token/introspect?x=1\n" + basicReports, "405 invalid_request: method must be POST | POST"},
		{"introspection, JSON", "POST token/introspect\n" + basicReports + "\nContent-Type: application/json\n\n{}", media},
		{"introspection without a token", "POST token/introspect\n" + basicReports + "\n\n", "400 invalid_request: token is missing"},
		{"revocation by GET", "GET revoke?x=1\n" + basicReports, "405 invalid_request: method must be POST | POST"},
		{"revocation, JSON", "POST revoke\n" + basicReports + "\nContent-Type: application/json\n\n{}", media},
		{"revocation without a token", "POST revoke\n" + basicReports + "\n\n", "400 invalid_request: token is missing"},
		{"revocation, a wrong secret", asked("revoke", basicWrong, "x"), notClient},
		{"UserInfo by PUT", "PUT userinfo", "405 invalid_request: method must be GET or POST | GET, POST"},
		{"a device by GET", "GET auth/device", "405 invalid_request: method must be POST | POST"},
		{"pushed requests are not there", "POST ext/par/request\n" + basicReports + "\n\n" + form(authorization()), "404 page: There is no such page here."},
	})
	if w.wire("GET /realms/demo/.well-known/openid-configuration").ok().json["pushed_authorization_request_endpoint"] != nil {
		t.Error("discovery names an endpoint for pushed requests")
	}
	// And what succeeds is not kept either.
	token := w.password("reports", "alice", "openid").ok()
	answers(t, func(text string) *reply { r := w.wire(text); r.ok().says(); return r }, []exact{
		{"revocation", asked("revoke", basicReports, "x"), "200"},
		{"introspection", asked("token/introspect", basicReports, "x"), inactive},
	})
	w.wire(bearing(token.access())).ok().says()
	token.says()
}

// Under Revoke Refresh Token; without it a token can be used again (O50).
func TestBadInput20_RotatedToken(t *testing.T) {
	w := newWorld(t, singleUse(0))
	const replay = "400 invalid_grant: refresh token was used before; its session is revoked (reuse_detected)"
	for _, scope := range []string{"openid", "openid offline_access"} {
		first := w.browser().grant("alice", "reports", scope)
		second := w.wire(refreshing(basicReports, first.refreshed())).ok()
		answers(t, w.wire, []exact{
			{scope + " the old one", refreshing(basicReports, first.refreshed()), replay},
			{scope + " the new one", refreshing(basicReports, second.refreshed()), "400 invalid_grant: session has ended (reuse_detected)"},
			{scope + " the first access token", bearing(first.access()), `401 invalid_token: session has ended | Bearer error="invalid_token", error_description="session has ended"`},
			{scope + " the second access token", asked("token/introspect", basicReports, second.access()), inactive},
		})
	}
	t.Run("20 at once", func(t *testing.T) {
		first := w.browser().grant("alice", "reports", "openid offline_access")
		got := make([]*reply, 20)
		var gate, done sync.WaitGroup
		gate.Add(1)
		for i := range got {
			done.Go(func() {
				gate.Wait()
				got[i] = w.wire(refreshing(basicReports, first.refreshed()))
			})
		}
		gate.Done()
		done.Wait()
		successors := map[string]bool{}
		for _, r := range got {
			if r.status == http.StatusOK {
				successors[r.refreshed()] = true
			}
		}
		if len(successors) != 1 {
			t.Errorf("%d descendants of one token", len(successors))
		}
		for token := range successors {
			answers(t, w.wire, []exact{{"the descendant", refreshing(basicReports, token), "400 invalid_grant: session has ended (reuse_detected)"}})
		}
	})
	t.Run("the same request again", func(t *testing.T) {
		first := w.browser().grant("alice", "reports", "openid offline_access")
		other := w.browser().grant("alice", "other", "openid offline_access")
		keyed := basicReports + "\nIdempotency-Key: k1"
		next := w.wire(refreshing(keyed, first.refreshed())).ok()
		if again := w.wire(refreshing(keyed, first.refreshed())).ok(); again.refreshed() != next.refreshed() {
			t.Error("another successor")
		}
		// The key serves its own client and token alone.
		w.wire(refreshing(basicOther+"\nIdempotency-Key: k1", other.refreshed())).ok()
		answers(t, w.wire, []exact{
			{"another client", refreshing(basicOther+"\nIdempotency-Key: k1", first.refreshed()), "400 invalid_grant: refresh token was issued to another client"},
			{"two keys", refreshing(keyed+"\nIdempotency-Key: k2", next.refreshed()), "400 invalid_request: Idempotency-Key must be given once, with at most 255 bytes"},
			{"another key", refreshing(basicReports+"\nIdempotency-Key: k2", first.refreshed()), replay},
		})
	})
}

// A password that changed ends nothing by itself (O40), a disabled client is told
// that it is (O39), and the rest is named by its grant status.
func TestBadInput21_RefreshRefused(t *testing.T) {
	w := strangers(t)
	token := w.browser().grant("alice", "reports", "openid offline_access").refreshed()
	refresh := refreshing(basicReports, token)
	answers(t, w.wire, []exact{
		{"another client", refreshing(basicOther, token), "400 invalid_grant: refresh token was issued to another client"},
		{"a public client", "POST token\n\n" + form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {"spa"}}), "400 invalid_grant: refresh token was issued to another client"},
		{"a scope never granted", refreshing(basicReports, token, "scope", "openid admin"), "400 invalid_scope: scope admin was not granted"},
		{"a scope that is none", refreshing(basicReports, token, "scope", `open"id`), "400 invalid_scope: scope has a character that is not allowed"},
		{"no token", refreshing(basicReports, token, "refresh_token", ""), "400 invalid_request: refresh_token is missing"},
		{"an opaque token", refreshing(basicReports, "opaque"), "400 invalid_grant: refresh token is invalid"},
	})
	for _, c := range []struct {
		name, want   string
		break_, mend func()
	}{
		{
			"the user is disabled", "400 invalid_grant: user is disabled (user_disabled)",
			func() { w.editUser("alice", func(u *user.User) { u.Enabled = false }) },
			func() { w.editUser("alice", func(u *user.User) { u.Enabled = true }) },
		},
		{
			"the client is disabled", notClient,
			func() { w.editClient("reports", disable) }, func() { w.editClient("reports", enable) },
		},
		{
			"not before now, the realm", "400 invalid_grant: session is not active: not_before (not_before)",
			func() { w.edit(func(s *realm.Settings) { s.NotBefore = w.clock().UnixMilli() + 1 }) },
			func() { w.edit(func(s *realm.Settings) { s.NotBefore = 0 }) },
		},
		{
			"not before now, the client", "400 invalid_grant: session is not active: not_before (not_before)",
			func() { w.editClient("reports", func(c *client.Client) { c.NotBefore = w.clock().UnixMilli() + 1 }) },
			func() { w.editClient("reports", func(c *client.Client) { c.NotBefore = 0 }) },
		},
		{
			"not before now, the user", "400 invalid_grant: session is not active: not_before (not_before)",
			func() { w.editUser("alice", func(u *user.User) { u.NotBefore = w.clock().UnixMilli() + 1 }) },
			func() { w.editUser("alice", func(u *user.User) { u.NotBefore = 0 }) },
		},
		{
			"the role is gone", "400 invalid_grant: offline access is not granted any more (role_missing)",
			func() { w.editUser("alice", func(u *user.User) { u.DefaultRoles = false }) },
			func() { w.editUser("alice", func(u *user.User) { u.DefaultRoles = true }) },
		},
	} {
		c.break_()
		answers(t, w.wire, []exact{{c.name, refresh, c.want}})
		c.mend()
		w.wire(refresh).ok()
	}
	w.editUser("alice", func(u *user.User) { u.PasswordHash = "" })
	w.wire(refresh).ok()
}

func TestBadInput22_LoggedOut(t *testing.T) {
	w := strangers(t)
	b := w.browser()
	online := b.grant("alice", "reports", "openid")
	offline := b.grant("", "reports", "openid offline_access")
	page, _ := b.open("GET", logoutURL(), nil)
	_, _ = b.submit(page, "logout", nil)
	answers(t, w.wire, []exact{{"an online token", refreshing(basicReports, online.refreshed()), "400 invalid_grant: session not found"}})
	w.wire(refreshing(basicReports, offline.refreshed())).ok()
	w.restart()
	w.wire(refreshing(basicReports, offline.refreshed())).ok()
	w.advance(30*day - time.Minute)
	w.wire(refreshing(basicReports, offline.refreshed())).ok()
	w.advance(30*day + time.Minute)
	answers(t, w.wire, []exact{{"30 days idle", refreshing(basicReports, offline.refreshed()), "400 invalid_grant: session is not active: idle_expired (idle_expired)"}})
	w.edit(limited(0, 60*day))
	second := w.password("reports", "alice", "offline_access").ok()
	for range 59 {
		w.advance(day)
		w.wire(refreshing(basicReports, second.refreshed())).ok()
	}
	w.advance(day)
	answers(t, w.wire, []exact{{"60 days old", refreshing(basicReports, second.refreshed()), "400 invalid_grant: session is not active: max_expired (max_expired)"}})
}

// O10 decides between the two answers that the line allows.
func TestBadInput23_OfflineAccessNotForThisClient(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	w.editClient("other", func(c *client.Client) { c.OptionalScopes = nil })
	const why = "scope offline_access is not available to this client"
	answers(t, b.wire, []exact{
		{"authorization", asking("client_id", "other"), "303 https://app.test/callback error=invalid_scope error_description=" + why + " iss state=S1"},
		{"password", "POST token\n" + basicOther + "\n\ngrant_type=password&username=alice&password=alice-pw&scope=openid+offline_access", "400 invalid_scope: " + why},
		{"client_credentials", "POST token\n" + basicOther + "\n\ngrant_type=client_credentials&scope=offline_access", "400 invalid_scope: " + why},
	})
	if got := b.grant("", "other", "openid"); got.offlineToken()["typ"] != "Refresh" {
		t.Errorf("without it: a token of type %v", got.offlineToken()["typ"])
	}
}

func TestBadInput24_Introspection(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	mine := b.grant("", "reports", "openid offline_access")
	rotated := b.grant("", "reports", "openid offline_access")
	revoked := b.grant("", "reports", "openid")
	w.wire(asked("revoke", basicReports, revoked.refreshed())).ok()
	const public = `401 invalid_client: a public client cannot introspect: it proves nothing | Basic realm="token endpoint", charset="UTF-8"`
	ask := func(header, token string, more ...string) string {
		return asked("token/introspect", header, token, more...)
	}
	answers(t, w.wire, []exact{
		{"nobody", "POST token/introspect\n\ntoken=x", notClient},
		{"a wrong secret", ask(basicWrong, mine.access()), notClient},
		{"a public client", "POST token/introspect\n\ntoken=" + mine.access() + "&client_id=spa", public},
		{"another client's access token", ask(basicOther, mine.access()), inactive},
		{"another client's offline token", ask(basicOther, mine.refreshed()), inactive},
		{"random", ask(basicReports, "AAAAAAAAAAAAAAAAAAAAAA"), inactive},
		{"1 MB", ask(basicReports, strings.Repeat("A", 1<<20)), inactive},
		{"1 MB of nobody", ask(basicWrong, strings.Repeat("A", 1<<20)), notClient},
		// Who asks is in what was not read.
		{"1 MB, the client in the body", "POST token/introspect\n\nclient_id=reports&client_secret=reports-secret&token=" + strings.Repeat("A", 1<<20), "413 invalid_request: body is larger than 65536 bytes"},
		{"ID token", ask(basicReports, mine.text("id_token")), inactive},
		{"code", ask(basicReports, b.code(t)), inactive},
		{"alg none", ask(basicReports, base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`))+"."+strings.Split(mine.access(), ".")[1]+"."), inactive},
		{"revoked", ask(basicReports, revoked.refreshed()), inactive},
		{"revoked with its session", ask(basicReports, revoked.access()), inactive},
		{"a wrong hint", ask(basicReports, revoked.access(), "token_type_hint", "garbage"), inactive},
	})
	w.wire(refreshing(basicReports, rotated.refreshed())).ok()
	for name, token := range map[string]string{"access": mine.access(), "offline": mine.refreshed()} {
		for _, hint := range []string{"", "access_token", "refresh_token", "garbage"} {
			if got := w.wire(ask(basicReports, token, "token_type_hint", hint)).ok(); got.json["active"] != true || got.text("client_id") != "reports" {
				t.Errorf("%s token with hint %q: %s", name, hint, got.body)
			}
		}
	}
	w.advance(5*time.Minute + time.Second)
	answers(t, w.wire, []exact{{"expired", ask(basicReports, mine.access()), inactive}})

	// Whom a token is meant for may ask about it: a client by its client_id, or as
	// the resource at its registered address.
	for _, c := range []struct {
		name, resource, base string
		want                 bool
	}{
		{"its address", "https://api.test/v1", "https://api.test/v1", true},
		{"its address, with a slash", "https://api.test/v1/", "https://api.test/v1", true},
		{"below its address", "https://api.test/v1/x", "https://api.test/v1", false},
		{"no address", "https://api.test/v1", "", false},
	} {
		w.editClient("other", func(k *client.Client) { k.BaseURL = c.base })
		got := w.wire("POST token\n" + basicReports + "\n\ngrant_type=client_credentials&" + form(url.Values{"resource": {c.resource}})).ok()
		if said := w.wire(ask(basicOther, got.access())).ok().json["active"]; said != c.want {
			t.Errorf("%s: active %v, want %v", c.name, said, c.want)
		}
	}
	w.editClient("other", func(k *client.Client) { k.ClientID = "https://other.test" })
	got := w.wire("POST token\n" + basicReports + "\n\ngrant_type=client_credentials&resource=https://other.test").ok()
	r := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("https%3A%2F%2Fother.test:other-secret"))
	if said := w.wire(ask(r, got.access())).ok().json["active"]; said != true {
		t.Errorf("by its client_id: active %v", said)
	}
}

// Introspection and UserInfo refuse at once. A resource server that verifies the
// JWT by itself does so until exp, as RFC 7009 §3 says of self-contained tokens.
func TestBadInput25_Revocation(t *testing.T) {
	w := strangers(t)
	b := w.alice()
	mine := b.grant("", "reports", "openid offline_access")
	const anothers = "400 invalid_request: token was issued to another client"
	answers(t, w.wire, []exact{
		{"another client's offline token", asked("revoke", basicOther, mine.refreshed()), anothers},
		{"another client's access token", asked("revoke", basicOther, mine.access()), anothers},
		{"a public client's try", "POST revoke\n\n" + form(url.Values{"token": {mine.refreshed()}, "client_id": {"spa"}}), anothers},
		{"unknown", asked("revoke", basicReports, "unknown"), "200"},
		{"an ID token", asked("revoke", basicReports, mine.text("id_token")), "200"},
	})
	w.wire(bearing(mine.access())).ok()
	mine = w.wire(refreshing(basicReports, mine.refreshed())).ok()

	t.Run("an access token alone", func(t *testing.T) {
		other := w.wire(refreshing(basicReports, mine.refreshed())).ok()
		answers(t, w.wire, []exact{
			{"revoked", asked("revoke", basicReports, other.access(), "token_type_hint", "garbage"), "200"},
			{"UserInfo", bearing(other.access()), `401 invalid_token: token was revoked | Bearer error="invalid_token", error_description="token was revoked"`},
			{"introspection", asked("token/introspect", basicReports, other.access()), inactive},
		})
		w.wire(bearing(mine.access())).ok()
		w.wire(refreshing(basicReports, mine.refreshed())).ok()
	})
	answers(t, w.wire, []exact{
		{"the offline token", asked("revoke", basicReports, mine.refreshed(), "token_type_hint", "garbage"), "200"},
		{"its refresh", refreshing(basicReports, mine.refreshed()), "400 invalid_grant: session has ended (revoked)"},
		{"its access token at UserInfo", bearing(mine.access()), `401 invalid_token: session has ended | Bearer error="invalid_token", error_description="session has ended"`},
		{"its access token, introspected", asked("token/introspect", basicReports, mine.access()), inactive},
		{"once more", asked("revoke", basicReports, mine.refreshed()), "200"},
	})
}

// DPoP is not there: nothing is bound, discovery does not name it, and a proof is
// no credential.
func TestBadInput26_UserInfo(t *testing.T) {
	w := strangers(t)
	mine := w.browser().grant("alice", "reports", "openid")
	service := w.wire("POST token\n" + basicReports + "\n\ngrant_type=client_credentials&scope=openid").ok().access()
	bare := w.wire("POST token\n" + basicReports + "\n\ngrant_type=password&username=alice&password=alice-pw&scope=email").ok().access()
	const (
		challenge = `401 {} | Bearer realm="demo"`
		leak      = `400 invalid_request: access_token must not be in the URL, where logs keep it: send it in the body of a POST | Bearer realm="demo", error="invalid_request"`
		double    = `400 invalid_request: more than one access token: send it in the Authorization header alone | Bearer realm="demo", error="invalid_request"`
	)
	invalid := func(why string) string {
		return "401 invalid_token: " + why + ` | Bearer error="invalid_token", error_description="` + why + `"`
	}
	narrow := func(why string) string {
		return "403 insufficient_scope: " + why + ` | Bearer error="insufficient_scope", error_description="` + why + `"`
	}
	answers(t, w.wire, []exact{
		{"no token", "GET userinfo", challenge},
		{"an empty token", "GET userinfo\nAuthorization: Bearer ", invalid("access token is invalid")},
		{"Basic", "GET userinfo\n" + basicReports, challenge},
		{"garbage", bearing("garbage"), invalid("access token is invalid")},
		{"an ID token", bearing(mine.text("id_token")), invalid("access token is invalid")},
		{"a refresh token", bearing(mine.refreshed()), invalid("access token is invalid")},
		{"without openid", bearing(bare), narrow("access token lacks the scope openid: ask for it in the authorization request")},
		{"a service account's", bearing(service), narrow("access token is a service account's: nobody has logged in")},
		{"in the URL", "GET userinfo?access_token=" + mine.access(), leak},
		{"in the URL, with the header", "GET userinfo?access_token=" + mine.access() + "\nAuthorization: Bearer " + mine.access(), leak},
		{"in the URL of a POST", "POST userinfo?access_token=" + mine.access() + "\n\n", leak},
		{"twice", "POST userinfo\nAuthorization: Bearer " + mine.access() + "\n\naccess_token=" + mine.access(), double},
		{"two headers", bearing(mine.access()) + "\nAuthorization: Bearer " + mine.access(), double},
		{"by DPoP", "GET userinfo\nAuthorization: DPoP " + mine.access() + "\nDPoP: e30.e30.e30", challenge},
	})
	config := w.wire("GET /realms/demo/.well-known/openid-configuration").ok()
	if config.json["dpop_signing_alg_values_supported"] != nil {
		t.Error("discovery names DPoP")
	}
	if got := w.wire("POST token\n" + basicReports + "\nDPoP: e30.e30.e30\n\ngrant_type=client_credentials").ok(); got.text("token_type") != "Bearer" {
		t.Errorf("token_type %s", got.text("token_type"))
	}
	w.wire("POST userinfo\n\naccess_token=" + mine.access()).ok()
	w.advance(5*time.Minute + time.Second)
	answers(t, w.wire, []exact{{"expired", bearing(mine.access()), invalid("token has expired")}})
}

func TestBadInput27_Device(t *testing.T) {
	w := deviceWorld(t)
	poll := func(header string, d *reply) string {
		return "POST token\n" + header + "\n\n" + form(url.Values{"grant_type": {deviceGrant}, "device_code": {d.text("device_code")}})
	}
	const (
		pending = "400 authorization_pending: the user has not answered yet"
		expired = "400 expired_token: device_code has expired; begin again"
	)
	d := w.device("reports", "openid")
	answers(t, w.wire, []exact{
		{"before the answer", poll(basicReports, d), pending},
		{"within a second", poll(basicReports, d), "400 slow_down: wait 10 seconds between requests"},
		{"another client", poll(basicOther, d), "400 invalid_grant: device_code was issued to another client"},
		{"an unknown code", strings.Replace(poll(basicReports, d), "device_code="+d.text("device_code"), "device_code=x", 1), "400 invalid_grant: device_code is invalid"},
	})
	w.advance(10 * time.Second)
	answers(t, w.wire, []exact{{"after the interval", poll(basicReports, d), pending}})
	w.advance(9*time.Minute + 50*time.Second)
	answers(t, w.wire, []exact{{"late", poll(basicReports, d), expired}})

	// The link fills the code in and no more. It does not even name the client: it
	// would tell whoever guesses which codes live, uncounted (RFC 8628 §5.1). The
	// page that comes next does, with the code to compare.
	b := w.alice()
	d = w.device("reports", "openid")
	page := b.wire("GET /realms/demo/device?user_code=" + d.text("user_code"))
	if said := page.says(); said != "200 page: Connect a device" || !strings.Contains(page.body, `value="`+d.text("user_code")+`"`) || strings.Contains(page.body, "reports") {
		t.Errorf("the link: %s\n%s", said, page.body)
	}
	answers(t, w.wire, []exact{{"nothing is granted by the link", poll(basicReports, d), pending}})
	page, _ = b.submit(page, "device", url.Values{"user_code": {d.text("user_code")}})
	if said := page.says(); said != "200 page: Allow access?" || !strings.Contains(page.body, "reports") || !strings.Contains(page.body, d.text("user_code")) {
		t.Errorf("after the POST: %s\n%s", said, page.body)
	}
	_, _ = b.submit(page, "consent", url.Values{"accept": {"yes"}})
	w.wire(poll(basicReports, d)).ok()
	answers(t, w.wire, []exact{{"after success", poll(basicReports, d), "400 invalid_grant: device_code was used before"}})

	d = w.device("reports", "openid")
	page = b.enter(d.text("user_code"))
	_, _ = b.submit(page, "consent", url.Values{"cancel": {"yes"}})
	answers(t, w.wire, []exact{{"denied", poll(basicReports, d), "400 access_denied: the user declined"}})

	d = w.device("reports", "openid")
	thief := w.browser()
	page, _ = thief.open("GET", issuer+"/device", nil)
	to, fields := thief.fields(page, "device")
	for range 20 {
		answers(t, thief.wire, []exact{{"a wrong code", "POST " + to + "\n\n" + form(fields, "user_code", "BBBB-BBBB"), "200 page: Connect a device"}})
	}
	answers(t, thief.wire, []exact{
		{"one more", "POST " + to + "\n\n" + form(fields, "user_code", "BBBB-BBBB"), "429 page: Too many attempts were wrong; try again in 10 minutes. | 600"},
		{"the right one", "POST " + to + "\n\n" + form(fields, "user_code", d.text("user_code")), "429 page: Too many attempts were wrong; try again in 10 minutes. | 600"},
	})
}

// Without the permission there is no exchange, and with it none for more than the
// subject token holds.
func TestBadInput28_TokenExchange(t *testing.T) {
	w := strangers(t)
	mine := w.password("reports", "alice", "openid").ok().access()
	ask := func(more ...string) string {
		q := url.Values{"grant_type": {grantExchange}, "subject_token": {mine}, "subject_token_type": {typeAccess}}
		for i := 0; i < len(more); i += 2 {
			q.Set(more[i], more[i+1])
		}
		return "POST token\n" + basicReports + "\n\n" + form(q)
	}
	answers(t, w.wire, []exact{{"without the permission", ask(), "400 unauthorized_client: client may not exchange tokens"}})
	w.editClient("reports", func(c *client.Client) { c.TokenExchange = true })
	answers(t, w.wire, []exact{
		{"a wider scope", ask("scope", "openid phone"), "400 invalid_scope: scope phone is not in subject_token"},
		{"a wider audience", ask("audience", "other"), "400 invalid_target: audience is not available to this client: other"},
		{"a wider resource", ask("resource", "https://elsewhere.test/"), "400 invalid_target: audience is not available to this client: https://elsewhere.test/"},
	})
	types, _ := w.wire("GET /realms/demo/.well-known/openid-configuration").ok().json["grant_types_supported"].([]any)
	if !slices.Contains(types, any(grantExchange)) {
		t.Errorf("discovery names %v", types)
	}
}
