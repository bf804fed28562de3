package integration

import (
	"errors"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/Nerzal/gocloak/v13"
)

// node runs a script of integration/clients.
func node(t *testing.T, script string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", append([]string{script}, args...)...)
	cmd.Dir = nodeModules(t, "clients")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// TestKeycloakAdminClient: Keycloak's own client for JavaScript drives the
// administrators' REST; what it left is seen by a Go client of somebody else.
func TestKeycloakAdminClient(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	base := g.URL("http://localhost:8080")
	if out := node(t, "admin.mjs", base); !strings.HasSuffix(out, "ok\n") {
		t.Fatalf("printed %s", out)
	}
	// Its last word was that every session ends, to the millisecond.
	kc := gocloak.NewClient(base)
	var token *gocloak.JWT
	g.await("a login after all were logged out", func() bool {
		var err error
		token, err = kc.LoginAdmin(t.Context(), "admin", "admin-demo", "demo")
		return err == nil
	})
	users, err := kc.GetUsers(t.Context(), token.AccessToken, "demo", gocloak.GetUsersParams{Username: gocloak.StringP("gina"), Exact: gocloak.BoolP(true)})
	if err != nil || len(users) != 1 || *users[0].Enabled || *users[0].LastName != "Torres" {
		t.Errorf("the user is %v, %v", users, err)
	}
	realm, err := kc.GetRealm(t.Context(), token.AccessToken, "demo")
	if err != nil || *realm.SsoSessionIdleTimeout != 1200 || *realm.DisplayName != "Demo" {
		t.Errorf("the realm is %v, %v", realm, err)
	}
	clients, err := kc.GetClients(t.Context(), token.AccessToken, "demo", gocloak.GetClientsParams{})
	if err != nil || len(clients) != 7 { // account, admin-cli, files, portal, public-demo, reports, security-admin-console
		t.Errorf("%d clients, %v", len(clients), err)
	}
	// What administrators set stays over a restart.
	g.Kill()
	g.Start()
	if realm, err = kc.GetRealm(t.Context(), token.AccessToken, "demo"); err != nil || *realm.SsoSessionIdleTimeout != 1200 {
		t.Errorf("after a restart the realm is %v, %v", realm, err)
	}
}

// TestGocloak drives the same REST from Go.
func TestGocloak(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	ctx := t.Context()
	kc := gocloak.NewClient(g.URL("http://localhost:8080"))
	str, yes := gocloak.StringP, gocloak.BoolP(true)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	status := func(err error, want int) {
		t.Helper()
		var e *gocloak.APIError
		if !errors.As(err, &e) || e.Code != want {
			t.Errorf("got %v, want %d", err, want)
		}
	}
	admin, err := kc.LoginAdmin(ctx, "admin", "admin-demo", "demo")
	check(err)
	token := admin.AccessToken
	_, err = kc.GetUsers(ctx, "garbage", "demo", gocloak.GetUsersParams{})
	status(err, http.StatusUnauthorized)
	alice, err := kc.Login(ctx, "reports", "reports-demo", "demo", "alice", "alice-demo")
	check(err)
	_, err = kc.GetUsers(ctx, alice.AccessToken, "demo", gocloak.GetUsersParams{})
	status(err, http.StatusForbidden)

	id, err := kc.CreateUser(ctx, token, "demo", gocloak.User{Username: str("gina"), Email: str("gina@example.com"), Enabled: yes})
	check(err)
	_, err = kc.CreateUser(ctx, token, "demo", gocloak.User{Username: str("gina")})
	status(err, http.StatusConflict)
	check(kc.SetPassword(ctx, token, id, "demo", "gina-1", false))
	user, err := kc.GetUserByID(ctx, token, "demo", id)
	check(err)
	user.FirstName = str("Gina")
	check(kc.UpdateUser(ctx, token, "demo", *user))
	count, err := kc.GetUserCount(ctx, token, "demo", gocloak.GetUsersParams{Search: str("gina")})
	check(err)
	if count != 1 {
		t.Errorf("%d users", count)
	}

	name, err := kc.CreateRealmRole(ctx, token, "demo", gocloak.Role{Name: str("archivist")})
	check(err)
	role, err := kc.GetRealmRole(ctx, token, "demo", name)
	check(err)
	offlineRole, err := kc.GetRealmRole(ctx, token, "demo", "offline_access")
	check(err)
	check(kc.AddRealmRoleComposite(ctx, token, "demo", name, []gocloak.Role{*offlineRole}))
	check(kc.AddRealmRoleToUser(ctx, token, "demo", id, []gocloak.Role{*role}))
	roles, err := kc.GetCompositeRealmRolesByUserID(ctx, token, "demo", id)
	check(err)
	if len(roles) != 3 {
		t.Errorf("%d roles of the user", len(roles))
	}

	client, err := kc.CreateClient(ctx, token, "demo", gocloak.Client{
		ClientID: str("files"), Secret: str("files-secret"), DirectAccessGrantsEnabled: yes, ServiceAccountsEnabled: yes,
		Attributes: &map[string]string{"access.token.lifespan": "60"},
	})
	check(err)
	full, err := kc.GetClient(ctx, token, "demo", client)
	check(err)
	full.Name = str("Files")
	check(kc.UpdateClient(ctx, token, "demo", *full))
	secret, err := kc.GetClientSecret(ctx, token, "demo", client)
	check(err)
	if *secret.Value != "files-secret" {
		t.Errorf("the secret is %s", *secret.Value)
	}
	account, err := kc.GetClientServiceAccount(ctx, token, "demo", client)
	check(err)
	if *account.Username != "service-account-files" {
		t.Errorf("the service account is %s", *account.Username)
	}

	person, err := kc.GetToken(ctx, "demo", gocloak.TokenOptions{
		ClientID: str("files"), ClientSecret: str("files-secret"), GrantType: str("password"), Username: str("gina"), Password: str("gina-1"),
		Scope: str("openid offline_access"),
	})
	check(err)
	if person.ExpiresIn != 60 {
		t.Errorf("the client's own lifespan: %d", person.ExpiresIn)
	}
	offline, err := kc.GetClientOfflineSessions(ctx, token, "demo", client)
	check(err)
	if len(offline) != 1 || *offline[0].Username != "gina" {
		t.Errorf("offline sessions: %v", offline)
	}
	mine, err := kc.GetUserOfflineSessionsForClient(ctx, token, "demo", id, client)
	check(err)
	if len(mine) != 1 {
		t.Errorf("%d offline sessions of the user", len(mine))
	}
	_, err = kc.RefreshToken(ctx, person.RefreshToken, "files", "files-secret", "demo")
	check(err)
	check(kc.LogoutAllSessions(ctx, token, "demo", id))
	_, err = kc.RefreshToken(ctx, person.RefreshToken, "files", "files-secret", "demo")
	status(err, http.StatusBadRequest)

	scopes, err := kc.GetClientScopes(ctx, token, "demo")
	check(err)
	if len(scopes) != 9 {
		t.Errorf("%d client scopes", len(scopes))
	}
	events, err := kc.GetEvents(ctx, token, "demo", gocloak.GetEventsParams{Client: str("files"), UserID: &id, Max: gocloak.Int32P(50)})
	check(err)
	if len(events) < 3 || *events[0].UserID != id {
		t.Errorf("events: %v", events)
	}
	check(kc.DeleteUser(ctx, token, "demo", id))
	_, err = kc.GetUserByID(ctx, token, "demo", id)
	status(err, http.StatusNotFound)
	check(kc.DeleteClient(ctx, token, "demo", client))
	check(kc.DeleteRealmRole(ctx, token, "demo", name))
}
