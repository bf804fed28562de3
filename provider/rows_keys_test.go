package provider_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/realm"
)

// published lists the kids of the realm's public keys.
func published(t *testing.T, p *provider.Provider) []string {
	t.Helper()
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, httptest.NewRequest("GET", issuer+"/protocol/openid-connect/certs", nil))
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	var kids []string
	for _, k := range set.Keys {
		kids = append(kids, k.Kid)
	}
	return kids
}

// run runs a provider until the test ends, and its key watch is at work.
func run(t *testing.T, p *provider.Provider) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

// hears waits until a node has heard of a key.
func hears(t *testing.T, p *provider.Provider, kid string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !slices.Contains(published(t, p), kid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the node never hears of key %s", kid)
		}
	}
}

// kidOf is the key that signed a token.
func kidOf(t *testing.T, token string) string {
	t.Helper()
	kid, _ := decode(t, token, 0)["kid"].(string)
	return kid
}

// TestO02_KeysVerifyForEver: rotation after rotation an offline token of the
// first key stays good; asymmetric keys verify for as long as their tokens live,
// and go in the end.
func TestO02_KeysVerifyForEver(t *testing.T) {
	w := newWorld(t, func(s *realm.Settings) { s.SigningAlgorithm = "ES256" })
	run(t, w.provider)
	first := w.password("reports", "alice", "openid offline_access").ok()
	signer := kidOf(t, first.refreshed())
	for range 8 {
		before := w.refresh("reports", first.refreshed()).ok()
		made, err := w.provider.RotateKeys(t.Context(), "ES256", "HS512")
		if err != nil || len(made) != 2 {
			t.Fatalf("%v, %v", made, err)
		}
		kids := map[string]string{}
		for _, k := range made {
			kids[k.Alg] = k.ID
		}
		hears(t, w.provider, kids["ES256"])
		if again := w.refresh("reports", first.refreshed()).ok(); kidOf(t, again.refreshed()) != kidOf(t, before.refreshed()) {
			t.Error("a new key signs before others can know it")
		}
		w.advance(time.Minute)
		if !w.active(before.access()) || w.userinfo(before.access()).ok().text("sub") == "" {
			t.Error("an access token of before does not live on")
		}
		after := w.refresh("reports", first.refreshed()).ok()
		if kidOf(t, after.refreshed()) != kids["HS512"] || kidOf(t, after.access()) != kids["ES256"] || kidOf(t, after.text("id_token")) != kids["ES256"] {
			t.Error("the new keys do not sign")
		}
		if !w.active(after.access()) {
			t.Error("an access token of the new key is not active")
		}
		w.advance(20 * day)
	}
	w.restart()
	w.refresh("reports", first.refreshed()).ok()
	if kid := kidOf(t, first.refreshed()); kid != signer {
		t.Errorf("the token changed its key from %s to %s", signer, kid)
	}
	// 8 rotations in 20 days each: those of the last 30 days and what they replaced.
	if n := len(published(t, w.provider)) - 2; n != 3 { // without RS256 and EdDSA
		t.Errorf("%d public ES256 keys are left", n)
	}
	if n := w.count(event.KeysRotated, ""); n != 8 {
		t.Errorf("%d events", n)
	}
}

// TestRotationOnAnotherNode: whichever node a token comes from, every other one
// takes it, at any time around a rotation.
func TestRotationOnAnotherNode(t *testing.T) {
	w := newWorld(t)
	here := w.provider
	w.restart()
	there := w.provider // on the same store
	run(t, there)
	on := func(p *provider.Provider) { w.provider = p }
	on(here)
	token := w.password("reports", "alice", "openid offline_access").ok().refreshed()
	made, err := here.RotateKeys(t.Context(), "HS512", "ES256")
	if err != nil || len(made) != 2 {
		t.Fatalf("%v, %v", made, err)
	}
	run(t, here)
	hears(t, here, made[1].ID)
	mixed := func() {
		t.Helper()
		for range 4 {
			on(here)
			r := w.refresh("reports", token).ok()
			on(there)
			if !w.active(r.access()) {
				t.Error("an access token of the other node is not active")
			}
			token = w.refresh("reports", r.refreshed()).ok().refreshed()
		}
	}
	mixed()
	hears(t, there, made[1].ID)
	w.advance(time.Minute)
	mixed()
	if kidOf(t, token) != made[0].ID {
		t.Error("the new key does not sign")
	}
	if _, err := here.RotateKeys(t.Context(), "RS512"); err == nil {
		t.Error("a key of an unknown algorithm was made")
	}
}
