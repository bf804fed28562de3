package vault_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/adapter/vault/vaulttest"
	"github.com/nightlatch/nightlatch/storage"
)

func TestErrorClasses(t *testing.T) {
	const day = 24 * time.Hour
	html := "<html>blocked</html>"
	for name, c := range map[string]struct {
		fault vaulttest.Fault
		class vault.Class
		tries int
	}{
		"invalid_grant":           {vaulttest.Fault{Status: 400, Body: `{"error":"invalid_grant"}`}, vault.ClassSuspended, 1},
		"consent_required":        {vaulttest.Fault{Status: 400, Body: `{"error":"consent_required"}`}, vault.ClassSuspended, 1},
		"interaction_required":    {vaulttest.Fault{Status: 400, Body: `{"error":"interaction_required"}`}, vault.ClassSuspended, 1},
		"login_required":          {vaulttest.Fault{Status: 400, Body: `{"error":"login_required"}`}, vault.ClassSuspended, 1},
		"invalid_client":          {vaulttest.Fault{Status: 401, Body: `{"error":"invalid_client"}`}, vault.ClassOperator, 1},
		"unauthorized_client":     {vaulttest.Fault{Status: 400, Body: `{"error":"unauthorized_client"}`}, vault.ClassOperator, 1},
		"invalid_request":         {vaulttest.Fault{Status: 400, Body: `{"error":"invalid_request"}`}, vault.ClassOperator, 1},
		"not found":               {vaulttest.Fault{Status: 404, Body: html}, vault.ClassOperator, 1},
		"redirect":                {vaulttest.Fault{Status: 302, Header: map[string]string{"Location": "/elsewhere"}}, vault.ClassOperator, 1},
		"redirect of the POST":    {vaulttest.Fault{Status: 307, Header: map[string]string{"Location": "/token"}}, vault.ClassOperator, 1},
		"invalid_scope":           {vaulttest.Fault{Status: 400, Body: `{"error":"invalid_scope"}`}, vault.ClassRequest, 1},
		"invalid_target":          {vaulttest.Fault{Status: 400, Body: `{"error":"invalid_target"}`}, vault.ClassRequest, 1},
		"server_error":            {vaulttest.Fault{Status: 400, Body: `{"error":"server_error"}`}, vault.ClassTransient, 3},
		"500":                     {vaulttest.Fault{Status: 500, Body: html}, vault.ClassTransient, 3},
		"503 with an OAuth error": {vaulttest.Fault{Status: 503, Body: `{"error":"invalid_grant"}`}, vault.ClassTransient, 3},
		"408":                     {vaulttest.Fault{Status: 408}, vault.ClassTransient, 3},
		"425":                     {vaulttest.Fault{Status: 425}, vault.ClassTransient, 3},
		"429":                     {vaulttest.Fault{Status: 429, Body: `{"error":"invalid_grant"}`}, vault.ClassTransient, 3},
		"a firewall's page":       {vaulttest.Fault{Status: 403, Body: html}, vault.ClassTransient, 3},
		"JSON of somebody else":   {vaulttest.Fault{Status: 400, Body: `{"message":"no"}`}, vault.ClassTransient, 3},
		"200 without JSON":        {vaulttest.Fault{Status: 200, Body: html}, vault.ClassTransient, 3},
		"200 without a token":     {vaulttest.Fault{Status: 200, Body: `{"token_type":"Bearer"}`}, vault.ClassTransient, 3},
		"a token of another type": {vaulttest.Fault{Status: 200, Body: `{"access_token":"x","token_type":"DPoP"}`}, vault.ClassTransient, 3},
		"lost":                    {vaulttest.Fault{Lose: true}, vault.ClassTransient, 3},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.foreign()
			id := e.login()
			e.token(id)
			e.advance(time.Hour)
			e.provider.Fail(c.fault, c.fault, c.fault)
			_, err := e.vault.Token(context.Background(), id, ask)
			var failed *vault.Error
			if !errors.As(err, &failed) || failed.Class != c.class {
				t.Fatalf("%v; want class %s", err, c.class)
			}
			if requests, _, _ := e.provider.Counts(); requests != 1+c.tries {
				t.Errorf("%d requests; want %d", requests-1, c.tries)
			}
			want := vault.Active
			if c.class == vault.ClassSuspended {
				want = vault.Suspended
			}
			if g := e.grant(); g.State != want {
				t.Errorf("grant is %s (%s); want %s", g.State, g.Reason, want)
			}
			// No error deletes a grant: when the provider is well again, so is the
			// grant, after a restart too.
			for range 3 - c.tries {
				e.advance(day)
				_, _ = e.vault.Token(context.Background(), id, ask)
			}
			e.advance(day)
			e.restart()
			e.token(id)
			if g := e.grant(); g.State != vault.Active {
				t.Errorf("grant is %s after the provider is well", g.State)
			}
		})
	}
}

func TestCachedTokenServesWhileTheProviderIsAway(t *testing.T) {
	for name, fault := range map[string]vaulttest.Fault{
		"transient": {Status: 503}, "operator": {Status: 401, Body: `{"error":"invalid_client"}`},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			id := e.login()
			first := e.token(id)
			e.advance(4*time.Minute + 30*time.Second)
			e.provider.Fail(fault)
			if got := e.token(id); got != first {
				t.Errorf("token %+v; want the one that lives on", got)
			}
			e.counts(2, 1, 0)
			e.advance(time.Minute)
			e.provider.Fail(vaulttest.Fault{Status: 503}, vaulttest.Fault{Status: 503}, vaulttest.Fault{Status: 503})
			e.refused(id, vault.ClassTransient, "")
		})
	}
}

func TestWrongClientSecretForTwoDaysLosesNothing(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	wrong := e.client()
	wrong.ClientSecret = "wrong"
	e.vault.Use(map[string]*vault.Provider{"demo": wrong})
	for range 48 {
		if got := e.refused(id, vault.ClassOperator, ""); got.RetryAfter == 0 {
			t.Error("no retry after")
		}
		e.advance(time.Hour)
	}
	e.vault.Use(map[string]*vault.Provider{"demo": e.client()})
	e.token(id)
	e.vault.Use(nil)
	e.advance(time.Hour)
	e.refused(id, vault.ClassOperator, "")
}

func TestA08_RevokedAtOurRealmIsFinal(t *testing.T) {
	for status, event := range map[string]string{
		"revoked": vault.EventRevoked, "reuse_detected": vault.EventReplayed, "user_deleted": vault.EventEnded,
		"idle_expired": vault.EventLapsed, "max_expired": vault.EventLapsed,
	} {
		t.Run(status, func(t *testing.T) {
			e := newEnv(t)
			id := e.login()
			e.provider.SetStatus("sub-alice", status)
			e.refused(id, vault.ClassFinal, status)
			e.advance(time.Hour)
			e.refused(id, vault.ClassFinal, status)
			e.counts(1, 0, 0) // a tombstone asks nobody
			if has, err := e.vault.Has(context.Background(), "demo", vaulttest.ClientID, "sub-alice", nil); has || err != nil {
				t.Errorf("has %v, %v", has, err)
			}
			if e.saw(event) != 1 {
				t.Error("no event")
			}
			if again := e.login(); again != id {
				t.Errorf("a new login made grant %s; want %s again", again, id)
			}
			e.token(id)
		})
	}
}

func TestA08_ForeignRefusalSuspends(t *testing.T) {
	e := newEnv(t)
	e.foreign()
	e.provider.TellsStatus = true // of a foreign provider it is not believed
	id := e.login()
	e.provider.SetStatus("sub-alice", "revoked")
	e.refused(id, vault.ClassSuspended, "suspended")
	e.provider.SetStatus("sub-alice", "")
	e.advance(time.Hour)
	e.token(id)
}

func TestSuspendedGrantComesBack(t *testing.T) {
	for _, status := range []string{"user_disabled", "role_missing", "not_before"} {
		t.Run(status, func(t *testing.T) {
			e := newEnv(t)
			id := e.login()
			told := status
			if status == "not_before" {
				told = "suspended"
			}
			e.provider.SetStatus("sub-alice", status)
			for range 5 {
				e.refused(id, vault.ClassSuspended, told)
			}
			e.counts(1, 0, 0) // at most once a minute
			e.advance(61 * time.Second)
			e.refused(id, vault.ClassSuspended, told)
			e.counts(2, 0, 0)
			if e.saw("grant_suspended") != 1 {
				t.Error("not exactly one event")
			}
			e.provider.SetStatus("sub-alice", "")
			e.advance(61 * time.Second)
			e.token(id)
			if e.saw("grant_restored") != 1 {
				t.Error("no event")
			}
		})
	}
}

func TestThirtyDaysSuspendedIsFinal(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	e.provider.SetStatus("sub-alice", "user_disabled")
	e.refused(id, vault.ClassSuspended, "user_disabled")
	e.advance(30*24*time.Hour - time.Minute)
	e.refused(id, vault.ClassSuspended, "user_disabled")
	e.advance(2 * time.Minute)
	e.refused(id, vault.ClassFinal, "user_disabled")
}

func TestAnswerAboutAnotherPersonIsNotKept(t *testing.T) {
	e := newEnv(t)
	id := e.save(e.provider.Login("sub-mallory", "mallory", granted))
	e.refused(id, vault.ClassOperator, "")
	if g := e.grant(); g.Username != "alice" || g.State != vault.Active {
		t.Errorf("grant %+v", g)
	}
}

// TestARecordOpensForItsPersonAlone: whoever can write to the store cannot make one
// person's grant act for another.
func TestARecordOpensForItsPersonAlone(t *testing.T) {
	e := newEnv(t)
	ids := e.people(2)
	key := func(id string) []byte { return storage.Key("grant", "vault", id) }
	var own storage.Item
	err := e.store.Update(context.Background(), func(tx storage.Tx) error {
		var err error
		if own, err = tx.Get(key(ids[1])); err != nil {
			return err
		}
		other, err := tx.Get(key(ids[0]))
		if err != nil {
			return err
		}
		own.Value = bytes.Clone(own.Value)
		return tx.Put(storage.Item{Key: key(ids[1]), Value: other.Value})
	})
	if err != nil {
		t.Fatal(err)
	}
	e.restart()
	if token, err := e.vault.Token(context.Background(), ids[1], ask); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("a record in the place of another gave %+v, %v", token, err)
	}
	e.token(ids[0])
	// Nothing was lost by it either.
	if err := e.store.Update(context.Background(), func(tx storage.Tx) error {
		return tx.Put(storage.Item{Key: key(ids[1]), Value: own.Value})
	}); err != nil {
		t.Fatal(err)
	}
	e.token(ids[1])
}

func TestNothingSecretIsWrittenDown(t *testing.T) {
	e := newEnv(t)
	id := e.login()
	access := e.token(id).AccessToken
	e.advance(time.Hour)
	e.provider.Fail(vaulttest.Fault{Lose: true}, vaulttest.Fault{Status: 500}, vaulttest.Fault{Status: 200, Body: `{"refresh_token":"e30.leak.c2ln"}`})
	failed := e.refused(id, vault.ClassTransient, "")
	store := e.dump()
	for _, secret := range []string{access, "e30.", "session-1", vaulttest.ClientSecret, "alice", "offline_access"} {
		if strings.Contains(store, secret) {
			t.Errorf("the store holds %q in the clear", secret)
		}
	}
	e.log.mu.Lock()
	said := e.log.String() + failed.Error()
	e.log.mu.Unlock()
	for _, secret := range []string{access, "e30.", vaulttest.ClientSecret} {
		if strings.Contains(said, secret) {
			t.Errorf("%q was said: %s", secret, said)
		}
	}
}
