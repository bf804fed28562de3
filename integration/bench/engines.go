package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightlatch/nightlatch/integration/formlogin"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/postgres"
	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// People of the group engines: each logs in and has a grant.
const (
	people   = 8
	password = "person-demo"
)

// engines: the same binary on Badger and on a PostgreSQL of its own, both synced,
// in turn in every round; then what PostgreSQL's conflicts cost where no two
// writers want the same. The CPU is the gateway's, without the database's.
func (b *bench) engines() error {
	server, err := postgrestest.Run(postgrestest.Config{Durable: true})
	if err != nil {
		return err
	}
	defer server.Remove()
	fmt.Println("both engines, synced: Badger, and PostgreSQL on this machine over a socket")
	err = b.onBoth(server, "logins", "", func(both []*gateway) error {
		for _, workers := range []int{1, 8, 64} {
			err := b.compare(both, "refresh, single use on", workers, func(g *gateway) (string, step, error) {
				do, err := g.refreshes(workers)
				return g.realm, do, err
			})
			if err != nil {
				return err
			}
		}
		for _, workers := range []int{1, people} {
			if err := b.compare(both, "login", workers, func(g *gateway) (string, step, error) { return g.app, g.logins, nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Tokens that live for a second are never served from the vault's cache.
	err = b.onBoth(server, "jobs", "access_token_lifespan 1s", func(both []*gateway) error {
		for _, g := range both {
			if err := g.grants(); err != nil {
				return err
			}
		}
		for _, workers := range []int{1, people} {
			if err := b.compare(both, "job token, uncached", workers, func(g *gateway) (string, step, error) { return g.jobs, g.jobTokens, nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.falseConflicts(server)
}

// onBoth runs fn with a gateway on each engine, Badger first; on PostgreSQL in a
// schema of its own.
func (b *bench) onBoth(server *postgrestest.Server, schema, realm string, fn func([]*gateway) error) error {
	key, err := seal.New()
	if err != nil {
		return err
	}
	raw, err := key.Marshal()
	if err != nil {
		return err
	}
	realm += "\n\t\t\trevoke_refresh_token on"
	for i := range people {
		realm += fmt.Sprintf("\n\t\t\tuser %s {\n\t\t\t\tpassword %s\n\t\t\t}", person(i), password)
	}
	var both []*gateway
	for _, s := range []setup{{realm: realm}, {
		realm: realm, store: "postgres {env.DATABASE_URL} {\n\t\t\tschema " + schema + "\n\t\t}\n\t\tkey {env.NIGHTLATCH_KEY}",
		env: []string{"DATABASE_URL=" + server.URL(), "NIGHTLATCH_KEY=" + string(raw)},
	}} {
		g, err := b.gateway(s)
		if err != nil {
			return err
		}
		defer g.stop()
		both = append(both, g)
	}
	return fn(both)
}

// compare loads a path of both gateways.
func (b *bench) compare(both []*gateway, what string, workers int, of func(*gateway) (addr string, do step, err error)) error {
	var paths []*path
	for i, g := range both {
		addr, do, err := of(g)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		name := what + []string{", Badger", ", PostgreSQL"}[i]
		paths = append(paths, &path{g: g, name: name, addr: addr, workers: workers, do: do, conflicts: i > 0})
	}
	return b.alternate(1, paths...)
}

// grants gives each person a grant. An ID token may end before it is verified,
// where tokens live for a second: then the person logs in again.
func (g *gateway) grants() error {
	for i := range people {
		var err error
		for range 20 {
			if _, err = formlogin.Login(context.Background(), "http://"+g.app+"/backup", person(i), password); err == nil {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("logging %s in: %w", person(i), err)
		}
	}
	return nil
}

func person(i int) string { return fmt.Sprint("person-", i) }

// logins is a step in which each worker logs a person of its own in at the app:
// from the app's page to the form, its answer, the code, and the exchange of the
// code by the app's side. It has connections of its own.
func (g *gateway) logins(i int, _ *conn) error {
	_, err := formlogin.Login(context.Background(), "http://"+g.app+"/x", person(i), password)
	return err
}

// jobTokens is a step in which each worker asks for a token of its own person's
// grant, which the vault has to refresh.
func (g *gateway) jobTokens(i int, c *conn) error {
	status, body, err := c.do(post(g.jobs, "/token", "user="+person(i), "authorization", basic("nightly-backup", "backup-demo")))
	if err == nil && (status != 200 || !strings.Contains(string(body), `"access_token"`)) {
		err = fmt.Errorf("status %d: %.200s", status, body)
	}
	return err
}

// falseConflicts: 64 writers on the engine alone, each on records of its own with
// random ids, so that every conflict is a false one or one of counters.
func (b *bench) falseConflicts(server *postgrestest.Server) error {
	ctx := context.Background()
	backend, err := postgres.Open(ctx, postgres.Options{URL: server.URL(), Schema: "alone"})
	if err != nil {
		return err
	}
	store := storage.New(storage.Config{Backend: backend, RetryFor: time.Minute})
	defer store.Close()
	now, records := time.Now().UTC(), max(storeWriters, min(b.sessions, 10_000)/storeWriters*storeWriters)
	reports := &client.Client{ID: storeClient}
	if err := writeSessions(ctx, store, 0, records, reports, now); err != nil {
		return err
	}
	fmt.Printf("  %d writers, PostgreSQL alone, %d sessions at first; none wants a record of another\n", storeWriters, records)
	var next atomic.Int64
	next.Store(int64(records))
	for _, of := range []struct {
		what string
		do   func(tx storage.Tx, now time.Time, own, fresh int) error
	}{
		{"rewriting one (a refresh)", func(tx storage.Tx, now time.Time, own, _ int) error {
			id := offlineSession(own, reports.ID, now).ID
			cs, err := session.ClientSessions.Get(tx, "demo", id)
			if err != nil {
				return err
			}
			cs.Generation++
			cs.RotatedAt = now
			return session.ClientSessions.Put(tx, "demo", id, cs)
		}},
		{"making one (a login)", func(tx storage.Tx, now time.Time, _, fresh int) error {
			cs := offlineSession(fresh, reports.ID, now)
			return session.ClientSessions.Put(tx, "demo", cs.ID, &cs)
		}},
	} {
		var rate, retries []float64
		for range b.rounds {
			before := store.Stats().Conflicts.Load()
			var done atomic.Int64
			errs := make(chan error, storeWriters)
			var writers sync.WaitGroup
			at := time.Now()
			for w := range storeWriters {
				writers.Go(func() {
					for time.Since(at) < b.each {
						now, own := time.Now().UTC(), w+storeWriters*rand.IntN(records/storeWriters)
						fresh := int(next.Add(3)) // of three in a row, which belong to one person
						if err := store.Update(ctx, func(tx storage.Tx) error { return of.do(tx, now, own, fresh) }); err != nil {
							errs <- err
							return
						}
						done.Add(1)
					}
				})
			}
			writers.Wait()
			if len(errs) > 0 {
				return <-errs
			}
			rate = append(rate, float64(done.Load())/time.Since(at).Seconds())
			retries = append(retries, 100*float64(store.Stats().Conflicts.Load()-before)/float64(done.Load()))
		}
		fmt.Printf("  %-34s %s/s  %s retries for 100 committed\n", of.what, show(rate, 0), show(retries, 2))
	}
	fmt.Println()
	return nil
}
