package provider_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
)

// A client from its making to its end.
func TestAdminClient(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	id := c.create("clients", o{
		"clientId": "batch", "name": "Batch", "secret": "batch-secret", "serviceAccountsEnabled": true, "directAccessGrantsEnabled": true,
		"redirectUris": []string{callback}, "webOrigins": []string{"+"},
	})
	at := "clients/" + id
	c.get(at).has("clientId", "batch").has("name", "Batch").has("enabled", true).has("publicClient", false).has("secret", "**********").
		has("standardFlowEnabled", true).has("fullScopeAllowed", true).has("consentRequired", false).has("protocol", "openid-connect").
		has("clientAuthenticatorType", "client-secret").has("redirectUris", []string{callback}).has("notBefore", 0).has("protocolMappers", []any{})
	token := w.password("batch", "alice", "openid offline_access").ok()
	w.browser().grant("alice", "batch", "openid")

	c.send("clients", o{"clientId": "batch"}).refused(409, `{"errorMessage":"Client batch already exists"}`)
	c.send("clients", o{"clientId": "other-id", "id": id}).refused(409, "already exists")
	c.put(at, o{"clientId": "reports"}).refused(409, "Client reports already exists")
	if own := c.create("clients", o{"clientId": "own-id", "id": "4f2a-own"}); own != "4f2a-own" {
		t.Errorf("made as %s", own)
	}

	c.put(at, o{"enabled": false}).is(204) // O39
	w.refresh("batch", token.refreshed()).fails(401, "invalid_client", "")
	c.put(at, o{"enabled": true}).is(204)
	w.refresh("batch", token.refreshed()).ok()
	w.advance(time.Second)
	c.put(at, o{"notBefore": w.clock().Unix()}).is(204) // O63
	w.refresh("batch", token.refreshed()).fails(400, "invalid_grant", "not_before")
	c.get(at).has("notBefore", w.clock().Unix())
	c.put(at, o{"notBefore": 0}).is(204)
	w.refresh("batch", token.refreshed()).ok()
	c.send(at+"/push-revocation", nil).is(200).has("successRequests", []string{})

	c.put(at, o{"attributes": o{"client.offline.session.idle.timeout": "60"}}).is(204) // O35
	w.advance(2 * time.Minute)
	w.refresh("batch", token.refreshed()).fails(400, "invalid_grant", "idle_expired")
	c.put(at, o{"attributes": o{"client.offline.session.idle.timeout": ""}}).is(204)
	w.refresh("batch", token.refreshed()).ok()
	c.put(at, o{"attributes": o{"revoke.refresh.token": "true", "refresh.token.max.reuse": "1"}}).is(204) // O57
	c.get(at).has("attributes", o{
		"revoke.refresh.token": "true", "refresh.token.max.reuse": "1", "pkce.code.challenge.method": "S256", "use.refresh.tokens": "true",
		"oauth2.device.authorization.grant.enabled": "false", "consent.offline.access": "false",
	})

	c.delete(at).is(204)
	c.call("GET", at, nil).refused(404, "Could not find client")
	c.delete(at).is(404)
	c.create("clients", o{"clientId": "batch", "secret": "batch-secret"})
	// Gone for good, though another one has its name.
	if r := w.refresh("batch", token.refreshed()); r.status != 400 || r.text("error") != "invalid_grant" {
		t.Errorf("after the deletion: %d %v", r.status, r.json)
	}
}

func TestAdminClientRefused(t *testing.T) {
	c := newWorld(t).console()
	for name, tt := range map[string]struct {
		body  o
		field string
	}{
		"no name":            {o{}, "clientId"},
		"empty name":         {o{"clientId": ""}, "clientId"},
		"unknown":            {o{"clientId": "x", "bogus": true}, "bogus"},
		"SAML":               {o{"clientId": "x", "protocol": "saml"}, "protocol"},
		"implicit":           {o{"clientId": "x", "implicitFlowEnabled": true}, "implicitFlowEnabled"},
		"redirect URI":       {o{"clientId": "x", "redirectUris": []string{callback, "javascript:alert(1)"}}, "redirectUris[1]"},
		"wildcard":           {o{"clientId": "x", "redirectUris": []string{"https://a.test/*"}}, "redirectUris[0]"},
		"twice":              {o{"clientId": "x", "redirectUris": []string{callback, callback}}, "redirectUris[1]"},
		"origin":             {o{"clientId": "x", "webOrigins": []string{"https://a.test/path"}}, "webOrigins[0]"},
		"service account":    {o{"clientId": "x", "publicClient": true, "serviceAccountsEnabled": true}, "serviceAccountsEnabled"},
		"public, no PKCE":    {o{"clientId": "x", "publicClient": true, "attributes": o{"pkce.code.challenge.method": ""}}, "attributes.pkce.code.challenge.method"},
		"plain PKCE":         {o{"clientId": "x", "attributes": o{"pkce.code.challenge.method": "plain"}}, "attributes.pkce.code.challenge.method"},
		"unknown attribute":  {o{"clientId": "x", "attributes": o{"bogus": "1"}}, "attributes.bogus"},
		"attribute's type":   {o{"clientId": "x", "attributes": o{"access.token.lifespan": 60}}, "attributes.access.token.lifespan"},
		"attribute's value":  {o{"clientId": "x", "attributes": o{"access.token.lifespan": "soon"}}, "attributes.access.token.lifespan"},
		"max reuse -1":       {o{"clientId": "x", "attributes": o{"refresh.token.max.reuse": "-1"}}, "attributes.refresh.token.max.reuse"},
		"max reuse abc":      {o{"clientId": "x", "attributes": o{"refresh.token.max.reuse": "abc"}}, "attributes.refresh.token.max.reuse"},
		"DPoP":               {o{"clientId": "x", "attributes": o{"dpop.bound.access.tokens": "true"}}, "attributes.dpop.bound.access.tokens"},
		"no refresh tokens":  {o{"clientId": "x", "attributes": o{"use.refresh.tokens": "false"}}, "attributes.use.refresh.tokens"},
		"back channel":       {o{"clientId": "x", "attributes": o{"backchannel.logout.url": "ftp://x"}}, "attributes.backchannel.logout.url"},
		"post logout":        {o{"clientId": "x", "attributes": o{"post.logout.redirect.uris": "https://a.test/##javascript:x"}}, "attributes.post.logout.redirect.uris[1]"},
		"algorithm":          {o{"clientId": "x", "attributes": o{"access.token.signed.response.alg": "none"}}, "attributes.access.token.signed.response.alg"},
		"two algorithms":     {o{"clientId": "x", "attributes": o{"access.token.signed.response.alg": "ES256", "id.token.signed.response.alg": "EdDSA"}}, "attributes.id.token.signed.response.alg"},
		"key set":            {o{"clientId": "x", "attributes": o{"jwks.string": "{}"}}, "attributes.jwks.string"},
		"symmetric key":      {o{"clientId": "x", "attributes": o{"jwks.string": `{"keys":[{"kty":"oct","k":"AAAA"}]}`}}, "attributes.jwks.string"},
		"JWT without keys":   {o{"clientId": "x", "clientAuthenticatorType": "client-jwt"}, "attributes.jwks.string"},
		"authenticator":      {o{"clientId": "x", "clientAuthenticatorType": "client-x509"}, "clientAuthenticatorType"},
		"scope":              {o{"clientId": "x", "optionalClientScopes": []string{"none"}}, "optionalClientScopes[0]"},
		"scope in two lists": {o{"clientId": "x", "optionalClientScopes": []string{"email"}}, "optionalClientScopes"},
		"mappers":            {o{"clientId": "x", "protocolMappers": []o{{"name": "x"}}}, "protocolMappers"},
		"admin URL":          {o{"clientId": "x", "adminUrl": "https://a.test"}, "adminUrl"},
		"id":                 {o{"clientId": "x", "id": "a/b"}, "id"},
		"long":               {o{"clientId": strings.Repeat("x", 256)}, "clientId"},
	} {
		r := c.send("clients", tt.body)
		if r.status != 400 || r.object()["field"] != tt.field {
			t.Errorf("%s: %d %s, want field %s", name, r.status, r.raw, tt.field)
		}
	}
	if got := c.get("clients?clientId=x").list(); len(got) != 0 {
		t.Errorf("made %v", got)
	}
}

// A secret can be read for an hour after an administrator has set it; after that
// the store has its hash alone.
func TestAdminClientSecret(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	made := c.create("clients", o{"clientId": "made", "serviceAccountsEnabled": true})
	given := c.create("clients", o{"clientId": "given", "secret": "given-secret", "serviceAccountsEnabled": true})
	works := func(name, secret string) bool {
		t.Helper()
		r := newForm(issuer+"/protocol/openid-connect/token", "grant_type", "client_credentials")
		r.SetBasicAuth(name, secret)
		return w.do(r).status == 200
	}
	read := func(id string) string {
		t.Helper()
		s, _ := c.get("clients/"+id+"/client-secret").has("type", "secret").object()["value"].(string)
		return s
	}
	secret := read(made)
	if len(secret) < 32 || !works("made", secret) || read(given) != "given-secret" {
		t.Fatalf("secrets %q and %q", secret, read(given))
	}
	next, _ := c.send("clients/"+made+"/client-secret", nil).is(200).object()["value"].(string)
	if next == secret || works("made", secret) || !works("made", next) || read(made) != next {
		t.Error("a new secret was asked for")
	}
	c.put("clients/"+given, o{"secret": "**********", "name": "x"}).is(204) // as a GET shows it
	if !works("given", "given-secret") {
		t.Error("a masked secret changed it")
	}
	c.put("clients/"+given, o{"secret": "another"}).is(204)
	if works("given", "given-secret") || !works("given", "another") {
		t.Error("a secret was not changed")
	}
	if got := c.get("clients/" + c.client("reports") + "/client-secret").object(); got["value"] != nil {
		t.Errorf("a declared secret: %v", got)
	}
	w.advance(61 * time.Minute)
	if read(made) != "" || read(given) != "" || !works("made", next) {
		t.Error("after an hour it can be read, or does not work")
	}

	t.Run("public", func(t *testing.T) {
		id := c.create("clients", o{"clientId": "pub", "publicClient": true})
		c.send("clients/"+id+"/client-secret", nil).refused(400, "public client")
		c.put("clients/"+id, o{"secret": "x"}).refused(400, `"field":"secret"`)
		c.put("clients/"+id, o{"publicClient": false, "serviceAccountsEnabled": true}).is(204) // gets a secret
		if !works("pub", read(id)) {
			t.Error("confidential without a secret")
		}
		c.put("clients/"+id, o{"publicClient": true, "serviceAccountsEnabled": false}).is(204)
		w.editClient("pub", func(c *client.Client) {
			if c.SecretHash != nil {
				t.Error("a public client has a secret")
			}
		})
	})
}

func TestAdminClientScopes(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	at := "clients/" + c.create("clients", o{"clientId": "batch", "secret": "batch-secret", "directAccessGrantsEnabled": true})
	ids := map[string]string{}
	for _, s := range c.get("client-scopes").list() {
		ids[s["name"].(string)] = s["id"].(string)
	}
	token := w.password("batch", "alice", "openid offline_access").ok()
	c.get(at+"/optional-client-scopes").names("offline_access", "address", "phone")
	c.delete(at + "/optional-client-scopes/" + ids["offline_access"]).is(204) // O10, O37
	w.password("batch", "alice", "openid offline_access").fails(400, "invalid_scope", "")
	w.refresh("batch", token.refreshed()).fails(400, "invalid_grant", "role_missing")
	c.put(at+"/optional-client-scopes/"+ids["offline_access"], nil).is(204)
	w.refresh("batch", token.refreshed()).ok()
	c.put(at+"/default-client-scopes/"+ids["phone"], nil).is(204) // stays where it is
	c.get(at+"/default-client-scopes").names("basic", "profile", "email", "roles", "web-origins", "acr")
	c.delete(at + "/optional-client-scopes/" + ids["phone"]).is(204)
	c.put(at+"/default-client-scopes/"+ids["phone"], nil).is(204)
	c.get(at+"/default-client-scopes").names("basic", "profile", "email", "roles", "web-origins", "acr", "phone")

	t.Run("scope mappings", func(t *testing.T) { // O12
		c.put(at, o{"fullScopeAllowed": false}).is(204)
		w.refresh("batch", token.refreshed()).ok() // by the client scope's own mapping
		scope := "client-scopes/" + ids["offline_access"] + "/scope-mappings"
		c.get(scope + "/realm").names("offline_access")
		c.call("DELETE", scope+"/realm", []o{{"name": "offline_access"}}).is(204)
		c.get(scope + "/realm").names()
		w.refresh("batch", token.refreshed()).fails(400, "invalid_grant", "role_missing")
		c.get(at + "/scope-mappings/realm").names()
		c.send(at+"/scope-mappings/realm", []o{{"name": "keeper"}}).is(204)
		c.get(at + "/scope-mappings/realm").names("keeper")
		c.get(at+"/scope-mappings/realm/composite").names("keeper", "offline_access")
		c.get(at+"/scope-mappings/realm/available").names("default-roles-demo", "offline_access", "realm-admin")
		c.get(at+"/scope-mappings").has("realmMappings", c.get(at+"/scope-mappings/realm").value)
		c.send(at+"/scope-mappings/realm", []o{{"name": "offline_access"}}).is(204)
		w.refresh("batch", token.refreshed()).ok()
		c.get(at + "/scope-mappings/clients/" + c.client("reports")).names()
	})
	t.Run("roles of a client", func(t *testing.T) {
		c.get(at + "/roles").names()
		c.send(at+"/roles", o{"name": "x"}).refused(400, "roles are the realm's")
	})
	t.Run("service account", func(t *testing.T) {
		c.call("GET", at+"/service-account-user", nil).refused(400, "Service account not enabled for the client 'batch'")
		c.put(at, o{"serviceAccountsEnabled": true}).is(204)
		u := c.get(at+"/service-account-user").has("username", "service-account-batch").has("serviceAccountClientId", "batch").object()
		c.delete("users/"+u["id"].(string)).refused(400, "goes with its client")
		c.put("users/"+u["id"].(string)+"/reset-password", o{"value": "x"}).refused(400, "no password")
		if got := c.get("users?search=service-account").list(); len(got) != 0 {
			t.Errorf("listed among people: %v", got)
		}
		c.delete(at).is(204)
		c.call("GET", "users/"+u["id"].(string), nil).is(404)
	})
}

func TestAdminClientList(t *testing.T) {
	w := newWorld(t)
	c := w.console()
	for i := range 120 {
		c.create("clients", o{"clientId": fmt.Sprintf("app-%03d", i), "publicClient": true})
	}
	if got := c.get("clients").list(); len(got) != 100 {
		t.Errorf("%d clients without max", len(got))
	}
	var all []string
	for first := 0; ; first += 50 {
		page := c.get(fmt.Sprintf("clients?first=%d&max=50", first)).each("clientId")
		all = append(all, page...)
		if len(page) < 50 {
			break
		}
	}
	if len(all) != 126 || !slices.IsSorted(all) {
		t.Errorf("%d clients in pages", len(all))
	}
	if got := c.get("clients?clientId=APP-01&search=true").list(); len(got) != 10 {
		t.Errorf("%d found", len(got))
	}
	if got := c.get("clients?clientId=app-01").list(); len(got) != 0 {
		t.Errorf("%d by a name that is none", len(got))
	}
	if got := c.get("clients?max=0").list(); len(got) != 0 {
		t.Errorf("%d with max=0", len(got))
	}
}
