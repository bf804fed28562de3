package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
)

func (e *env) has(scopes ...string) bool {
	e.t.Helper()
	has, err := e.vault.Has(context.Background(), "demo", vaulttest.ClientID, "sub-alice", scopes)
	if err != nil {
		e.t.Fatal(err)
	}
	return has
}

func TestA05_SavedMeansOnDisk(t *testing.T) {
	e := newEnv(t)
	mend := e.backend.broken(errors.New("no space left on device"))
	_, err := e.vault.Save(context.Background(), vault.Login{
		Provider: "demo", Client: vaulttest.ClientID, Sub: "sub-alice", RefreshToken: e.provider.Login("sub-alice", "alice", granted),
	})
	if err == nil || e.has() {
		t.Fatal("a login was saved although nothing can be written")
	}
	mend()
	e.login()
	e.restart()
	if !e.has("openid", "offline_access") || e.has("mail") {
		t.Error("the grant does not hold what was granted")
	}
}

func TestSaveRevokesTheReplacedTokenAfterwards(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.token(id)
	mend := e.backend.broken(errors.New("no space left on device"))
	login := vault.Login{
		Provider: "demo", Client: vaulttest.ClientID, Sub: "sub-alice", Username: "alice", Scopes: strings.Fields(granted),
		RefreshToken: e.provider.Login("sub-alice", "alice", granted),
	}
	if _, err := e.vault.Save(context.Background(), login); err == nil {
		t.Fatal("saved although nothing can be written")
	}
	mend()
	if got := e.provider.Revoked(); len(got) != 0 {
		t.Fatalf("revoked %q before the new token was on disk", got)
	}
	if _, err := e.vault.Save(context.Background(), login); err != nil {
		t.Fatal(err)
	}
	if got := e.provider.Revoked(); !slices.Equal(got, []string{"session-1"}) {
		t.Fatalf("revoked %q; want the first session", got)
	}
	// The same token again replaces nothing.
	if _, err := e.vault.Save(context.Background(), login); err != nil {
		t.Fatal(err)
	}
	if got := e.provider.Revoked(); len(got) != 1 {
		t.Fatalf("revoked %q", got)
	}
	e.token(id)
}

// TestReplacedTokenIsRevokedInTheEnd: a realm that does not answer, or does not
// take our client for now, is asked again with the next refresh.
func TestReplacedTokenIsRevokedInTheEnd(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	wrong := e.client()
	wrong.ClientSecret = "wrong"
	e.vault.Use(map[string]*vault.Provider{"demo": wrong})
	_, err := e.vault.Save(t.Context(), vault.Login{
		Provider: "demo", Client: vaulttest.ClientID, Sub: "sub-alice", Username: "alice", Scopes: strings.Fields(granted),
		RefreshToken: e.provider.Login("sub-alice", "alice", granted),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := e.provider.Revoked(); len(got) != 0 {
		t.Fatalf("revoked %q by a client that the realm does not take", got)
	}
	e.vault.Use(map[string]*vault.Provider{"demo": e.client()})
	e.token(id)
	if got := e.provider.Revoked(); !slices.Equal(got, []string{"session-1"}) {
		t.Errorf("revoked %q; want the first session", got)
	}
}

// TestScopesOnlyGrow: a login that holds less than the grant, without having asked
// for the rest, takes nothing away: the grant stays, the login's token goes.
func TestScopesOnlyGrow(t *testing.T) {
	for name, c := range map[string]struct {
		had, asked, got string
		suspended       bool
		lost            string
		replaced        bool
	}{
		"the same":                         {"openid mail", "openid mail", "openid mail", false, "", true},
		"more":                             {"openid", "openid mail", "openid mail", false, "", true},
		"less, not asked for":              {"openid mail files", "openid", "openid", false, "mail files", false},
		"another, not asked for":           {"openid mail", "openid files", "openid files", false, "mail", false},
		"less, asked for and denied":       {"openid mail", "openid mail", "openid", false, "", true},
		"less, but the grant is suspended": {"openid mail", "openid", "openid", true, "mail", true},
		"the provider leaves out its name": {"openid offline_access", "openid", "openid", false, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			save := func(asked, got string) []string {
				t.Helper()
				lost, err := e.vault.Save(context.Background(), vault.Login{
					Provider: "demo", Client: vaulttest.ClientID, Sub: "sub-alice", Username: "alice",
					Asked: strings.Fields(asked), Scopes: strings.Fields(got), RefreshToken: e.provider.Login("sub-alice", "alice", got),
				})
				if err != nil {
					t.Fatal(err)
				}
				return lost
			}
			save(c.had, c.had)
			if c.suspended {
				if err := e.vault.DropCached(context.Background(), "demo", "sub-alice", "", "user_disabled"); err != nil {
					t.Fatal(err)
				}
			}
			if lost := strings.Join(save(c.asked, c.got), " "); lost != c.lost {
				t.Errorf("lost %q; want %q", lost, c.lost)
			}
			want, revoked := c.had, "session-2"
			if c.replaced {
				want, revoked = c.got, "session-1"
			}
			if g := e.grant(); strings.Join(g.Scopes, " ") != want || g.State != vault.Active {
				t.Errorf("grant is %s and holds %q; want %q", g.State, g.Scopes, want)
			}
			if got := e.provider.Revoked(); !slices.Equal(got, []string{revoked}) {
				t.Errorf("revoked %q; want %s", got, revoked)
			}
			e.token(e.grant().ID)
		})
	}
}

func TestSaveLeavesForeignTokensAlone(t *testing.T) {
	e := newEnv(t)
	e.foreign()
	e.login()
	id := e.login()
	e.token(id)
	if got := e.provider.Revoked(); len(got) != 0 {
		t.Fatalf("revoked %q at a foreign provider", got)
	}
}

func TestSaveInParallelMakesOneGrant(t *testing.T) {
	e := newEnv(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { e.login() })
	}
	wg.Wait()
	e.token(e.grant().ID) // fails unless there is exactly one
	if got := e.provider.Revoked(); len(got) != 19 {
		t.Errorf("%d of the 19 replaced sessions were revoked", len(got))
	}
}

func TestSaveKeepsTheAccessTokenOfTheLogin(t *testing.T) {
	e := newEnv(t)
	_, err := e.vault.Save(context.Background(), vault.Login{
		Provider: "demo", Client: vaulttest.ClientID, Sub: "sub-alice", Scopes: []string{"openid", "profile"},
		RefreshToken: e.provider.Login("sub-alice", "alice", granted),
		AccessToken:  "first", AccessExpires: e.clock().Add(5 * time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.vault.Token(context.Background(), e.grant().ID, vault.Ask{Scopes: []string{"profile", "openid"}})
	if err != nil || got.AccessToken != "first" {
		t.Errorf("token %+v, %v", got, err)
	}
	e.counts(0, 0, 0)
}

func TestSaveNeedsAKnownClient(t *testing.T) {
	e := newEnv(t)
	_, err := e.vault.Save(context.Background(), vault.Login{Provider: "demo", Client: "other", Sub: "s", RefreshToken: "t"})
	if err == nil {
		t.Error("a grant of a client that is not configured was saved")
	}
}

func TestA08_DropCached(t *testing.T) {
	ctx := context.Background()
	t.Run("by offline session", func(t *testing.T) {
		e := newEnv(t)
		id := e.login()
		e.token(id)
		e.provider.SetStatus("sub-alice", "revoked")
		if err := e.vault.DropCached(ctx, "demo", "sub-alice", "session-other", "revoked"); err != nil {
			t.Fatal(err)
		}
		e.token(id) // somebody else's session: the cached token stays
		if err := e.vault.DropCached(ctx, "demo", "sub-alice", "session-1", "revoked"); err != nil {
			t.Fatal(err)
		}
		if e.has() {
			t.Error("an offline path would not ask for consent again")
		}
		e.refused(id, vault.ClassFinal, "revoked")
	})
	t.Run("by sub, wrongly", func(t *testing.T) {
		e := newEnv(t)
		id := e.login()
		first := e.token(id)
		if err := e.vault.DropCached(ctx, "demo", "sub-alice", "", "user_disabled"); err != nil {
			t.Fatal(err)
		}
		if got := e.token(id); got.AccessToken == first.AccessToken { // tried at once, the realm decides
			t.Error("a dropped token was handed out")
		}
		if !e.has() {
			t.Error("the suspension was not lifted")
		}
	})
	t.Run("while an answer is on its way", func(t *testing.T) {
		e := newEnv(t)
		id := e.login()
		release := e.provider.Hold()
		got := make(chan error)
		go func() {
			_, err := e.vault.Token(ctx, id, ask)
			got <- err
		}()
		<-e.provider.Arrived()
		e.provider.SetStatus("sub-alice", "revoked")
		if err := e.vault.DropCached(ctx, "demo", "sub-alice", "", "revoked"); err != nil {
			t.Fatal(err)
		}
		release()
		var failed *vault.Error
		if err := <-got; !errors.As(err, &failed) || failed.Status != "revoked" {
			t.Errorf("the token of before was handed out: %v", err)
		}
	})
}

// TestDropClient: what a realm says of all that a client has, or of all that it
// has itself, is in force at once for whatever number of grants.
func TestDropClient(t *testing.T) {
	ctx := context.Background()
	t.Run("what is handed out", func(t *testing.T) {
		e := newEnv(t)
		id := e.login()
		for name, c := range map[string]struct {
			provider, client string
			drops            bool
		}{
			"another client":   {"demo", "another", false},
			"another provider": {"another", "", false},
			"the client":       {"demo", vaulttest.ClientID, true},
			"the provider":     {"demo", "", true},
		} {
			first := e.token(id)
			if err := e.vault.DropClient(ctx, c.provider, c.client, ""); err != nil {
				t.Fatal(err)
			}
			if got := e.token(id); (got.AccessToken != first.AccessToken) != c.drops {
				t.Errorf("%s: dropped is %v", name, !c.drops)
			}
			if got := e.token(id); e.transactions(func() { e.token(id) }) != 0 || got != e.token(id) {
				t.Errorf("%s: the next token is not kept", name)
			}
		}
	})
	t.Run("a reason suspends until the realm is asked", func(t *testing.T) {
		e := newEnv(t)
		id := e.login()
		e.token(id)
		if err := e.vault.DropClient(ctx, "demo", "", "not_before"); err != nil {
			t.Fatal(err)
		}
		e.restart() // it is on disk
		if e.has() {
			t.Error("an offline path would not ask for consent again")
		}
		if g := e.grant(); g.State != vault.Suspended || g.Reason != "not_before" {
			t.Errorf("grant %+v", g)
		}
		e.token(id)
		if !e.has() {
			t.Error("the realm gave a token, and the grant is suspended")
		}
	})
	t.Run("both, in their order", func(t *testing.T) {
		e := newEnv(t)
		e.login()
		for _, d := range []struct{ client, reason string }{{"", "not_before"}, {vaulttest.ClientID, ""}} {
			if err := e.vault.DropClient(ctx, "demo", d.client, d.reason); err != nil {
				t.Fatal(err)
			}
		}
		if e.has() {
			t.Error("the later drop hides the earlier")
		}
	})
	t.Run("a login after it is not of before", func(t *testing.T) {
		e := newEnv(t)
		if err := e.vault.DropClient(ctx, "demo", "", "not_before"); err != nil {
			t.Fatal(err)
		}
		e.login()
		if !e.has() {
			t.Error("a new grant")
		}
		if err := e.vault.DropClient(ctx, "demo", "", "not_before"); err != nil {
			t.Fatal(err)
		}
		e.login()
		if !e.has() {
			t.Error("a grant that was given again")
		}
	})
	t.Run("while an answer is on its way", func(t *testing.T) {
		e := newEnv(t)
		id := e.login()
		release := e.provider.Hold()
		got := make(chan error)
		go func() {
			_, err := e.vault.Token(ctx, id, ask)
			got <- err
		}()
		<-e.provider.Arrived()
		e.provider.SetStatus("sub-alice", "revoked")
		if err := e.vault.DropClient(ctx, "demo", vaulttest.ClientID, "revoked"); err != nil {
			t.Fatal(err)
		}
		release()
		var failed *vault.Error
		if err := <-got; !errors.As(err, &failed) || failed.Status != "revoked" {
			t.Errorf("the token of before was handed out: %v", err)
		}
	})
	t.Run("a client that is taken again needs no patience", func(t *testing.T) {
		e := newEnv(t)
		id := e.login()
		e.provider.Fail(vaulttest.Fault{Status: http.StatusUnauthorized, Body: `{"error":"invalid_client"}`})
		if _, err := e.vault.Token(ctx, id, ask); err == nil {
			t.Fatal("the client was not refused")
		}
		if _, err := e.vault.Token(ctx, id, ask); err == nil {
			t.Fatal("the breaker is not open")
		}
		if err := e.vault.DropClient(ctx, "demo", vaulttest.ClientID, ""); err != nil {
			t.Fatal(err)
		}
		e.token(id)
	})
}

func TestRevoke(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	if err := e.vault.Revoke(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	if got := e.provider.Revoked(); len(got) != 1 {
		t.Errorf("revoked %q at the provider", got)
	}
	e.refused(id, vault.ClassFinal, "revoked")
	if err := e.vault.Revoke(context.Background(), "g_unknown"); !errors.Is(err, vault.ErrNoGrant) {
		t.Error(err)
	}
}

func TestRejectForcesOneRefreshAMinute(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	for range 3 {
		token := e.token(id).AccessToken
		g, err := e.vault.Owner(context.Background(), token)
		if err != nil || g.ID != id {
			t.Fatal(g, err)
		}
		if err := e.vault.Reject(context.Background(), id, token); err != nil {
			t.Fatal(err)
		}
	}
	e.counts(2, 2, 0)
	if _, err := e.vault.Owner(context.Background(), "nobody's"); !errors.Is(err, vault.ErrNoGrant) {
		t.Error(err)
	}
}

func TestUsesAndGroupsAreKept(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.provider.SetGroups("sub-alice", "staff")
	e.token(id)
	if g := e.grant(); !slices.Equal(g.Groups, []string{"staff"}) || !g.Uses["nightly-backup"].Equal(e.clock()) {
		t.Errorf("grant %+v", g)
	}
	e.provider.SetGroups("sub-alice")
	e.advance(time.Hour)
	e.token(id)
	if g := e.grant(); !slices.Equal(g.Groups, []string{"staff"}) {
		t.Error("a narrower scope's silence was taken for an empty group list")
	}
	if _, err := e.vault.Token(context.Background(), id, vault.Ask{}); err != nil {
		t.Fatal(err)
	}
	if g := e.grant(); len(g.Groups) != 0 {
		t.Errorf("groups %q after the person left them", g.Groups)
	}
	g := e.grant()
	if want := e.clock().Add(30 * 24 * time.Hour); !g.IdleAt().Equal(want) {
		t.Errorf("idle at %v; want %v", g.IdleAt(), want)
	}
}

func TestFindTrustsOnlyNamesThatNobodyCouldPick(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		foreign, verified bool
		byUser, byEmail   int
	}{
		"our realm":              {false, true, 1, 1},
		"our realm, unverified":  {false, false, 1, 0},
		"a foreign provider":     {true, true, 0, 1},
		"a foreign, unverified ": {true, false, 0, 0},
	} {
		e := newEnv(t)
		if c.foreign {
			e.foreign()
		}
		_, err := e.vault.Save(ctx, vault.Login{
			Provider: "demo", Client: vaulttest.ClientID, Sub: "s", Username: "Alice", Email: "Alice@example.com", EmailVerified: c.verified, RefreshToken: "t",
		})
		if err != nil {
			t.Fatal(err)
		}
		users, err1 := e.vault.Find(ctx, vault.Query{Provider: "demo", User: "alice"})
		emails, err2 := e.vault.Find(ctx, vault.Query{Provider: "demo", Email: "alice@EXAMPLE.com"})
		if err1 != nil || err2 != nil || len(users) != c.byUser || len(emails) != c.byEmail {
			t.Errorf("%s: %d by name, %d by address (%v, %v)", name, len(users), len(emails), err1, err2)
		}
		if others, err := e.vault.Find(ctx, vault.Query{Provider: "other", Sub: "s"}); err != nil || len(others) != 0 {
			t.Errorf("%s: found at another provider: %v, %v", name, others, err)
		}
		if none, err := e.vault.Find(ctx, vault.Query{Provider: "demo", Client: "other", Sub: "s"}); err != nil || len(none) != 0 {
			t.Errorf("%s: found for another client: %v, %v", name, none, err)
		}
	}
}

// TestFindAtOneOfManyClients: however many sites of a realm a person has grants at.
func TestFindAtOneOfManyClients(t *testing.T) {
	e := newEnv(t)
	var names []string
	for i := range 40 {
		p := e.client()
		p.ClientID = fmt.Sprintf("site-%d", i)
		names = append(names, p.ClientID)
		e.config.Providers["demo "+p.ClientID] = p
	}
	e.restart()
	for _, client := range names {
		if _, err := e.vault.Save(t.Context(), vault.Login{Provider: "demo", Client: client, Sub: "s", Username: "alice", RefreshToken: "t " + client}); err != nil {
			t.Fatal(err)
		}
	}
	for _, client := range names {
		found, err := e.vault.Find(t.Context(), vault.Query{Provider: "demo", Client: client, Sub: "s"})
		if err != nil || len(found) != 1 || found[0].Client != client {
			t.Errorf("at %s: %d grants, %v", client, len(found), err)
		}
	}
}
