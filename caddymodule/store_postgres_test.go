package caddymodule

import (
	"net/url"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// TestPostgresStore: the gateway runs on PostgreSQL, and a reload with a wrong
// address, user, password, database, schema or key says what is wrong, without the
// password, and leaves the running configuration alone.
func TestPostgresStore(t *testing.T) {
	server, schema := postgrestest.Shared(t), postgrestest.Name()
	key := func() string {
		raw, err := storagetest.Keyset(t).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	own, foreign := key(), key()
	address := func(change func(*url.URL)) string {
		u, err := url.Parse(server.TCP())
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	_, guest := server.Role(t, "")
	newer, nobody := postgrestest.Name(), freeAddr(t)
	server.Exec(t, "CREATE SCHEMA "+newer+"; CREATE TABLE "+newer+".versions (name text, version bigint); INSERT INTO "+newer+".versions VALUES ('schema', 99)")

	g := newGateway(t)
	load := func(address, schema, key, more, inRealm string) error {
		t.Setenv("DATABASE_URL", address)
		t.Setenv("NIGHTLATCH_TEST_KEY", key)
		g.store = "store postgres {env.DATABASE_URL} {\n\t\t\tschema " + schema + "\n\t\t\t" + more + "\n\t\t}"
		if key != "" {
			g.store += "\n\t\tkey {env.NIGHTLATCH_TEST_KEY}"
		}
		return g.load(inRealm, g.guarded())
	}
	if err := load(server.TCP(), schema, own, "", ""); err != nil {
		t.Fatal(err)
	}
	if got := g.lifespan(); got != 300 {
		t.Fatalf("a token lives %d s", got)
	}
	for name, c := range map[string]struct {
		address, schema, key string
		want                 []string
	}{
		"address":  {address(func(u *url.URL) { u.Host = nobody }), schema, own, []string{"cannot be reached", "nightlatch@" + nobody}},
		"user":     {address(func(u *url.URL) { u.User = url.UserPassword("stranger", "s3cret") }), schema, own, []string{"refuses user or password", "stranger"}},
		"password": {address(func(u *url.URL) { u.User = url.UserPassword(postgrestest.Role, "s3cret") }), schema, own, []string{"refuses user or password", server.Address()}},
		"database": {address(func(u *url.URL) { u.Path = "/nothing" }), schema, own, []string{"no such database", "nothing"}},
		"schema":   {guest, "forbidden", own, []string{"may not use or make the schema", "schema forbidden"}},
		"version":  {server.TCP(), newer, own, []string{"version 99", "schema " + newer}},
		"syntax":   {"postgres://nightlatch:s3cret@[::1/x", schema, own, []string{"address of the database cannot be read"}},
		"no key":   {server.TCP(), schema, "", []string{"option key is missing", "new-key"}},
		"key":      {server.TCP(), schema, foreign, []string{"schema " + schema, "key"}},
	} {
		t.Run("wrong "+name, func(t *testing.T) {
			err := load(c.address, c.schema, c.key, "", "access_token_lifespan 1m")
			if err == nil {
				t.Fatal("loaded")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			for _, secret := range []string{"s3cret", postgrestest.Password, own, foreign} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q tells a secret", err)
				}
			}
			if got := g.lifespan(); got != 300 {
				t.Errorf("after a failed reload a token lives %d s", got)
			}
		})
	}
	// New options connect anew, on the same records.
	if err := load(server.TCP(), schema, own, "max_conns 4", "access_token_lifespan 2m"); err != nil {
		t.Fatal(err)
	}
	if got := g.lifespan(); got != 120 {
		t.Errorf("after a reload a token lives %d s", got)
	}
}
