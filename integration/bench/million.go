package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
)

// million: the same with many offline sessions in the store: start-up, memory,
// refreshes, and what a console asks for.
func (b *bench) million() error {
	settings := setup{realm: "revoke_refresh_token on"}
	g, err := b.gateway(settings) // declares realm and clients
	if err != nil {
		return err
	}
	dir := g.dir
	g.stop()
	fmt.Printf("with %d offline sessions\n", b.sessions)
	if err := b.fill(dir); err != nil {
		return err
	}
	var ready, idle []float64
	for range b.rounds {
		if g, err = start(b.binary, dir, b.upstream, settings); err != nil {
			return err
		}
		ready = append(ready, ms(g.ready))
		time.Sleep(3 * time.Second)
		idle = append(idle, g.rss())
		g.stop()
	}
	fmt.Printf("  ready %s ms; idle %s MiB\n", show(ready, 0), show(idle, 1))

	if g, err = start(b.binary, dir, b.upstream, settings); err != nil {
		return err
	}
	defer g.stop()
	if err := b.console(g); err != nil {
		return err
	}
	for _, workers := range []int{1, 8, 64} {
		do, err := g.refreshes(workers)
		if err != nil {
			return err
		}
		if err := b.alternate(&path{g: g, name: "refresh, single use on", addr: g.realm, workers: workers, do: do}); err != nil {
			return err
		}
	}
	fmt.Printf("  resident afterwards %.0f MiB\n\n", g.rss())
	return nil
}

// console asks by REST what an administrator's page of a client needs.
func (b *bench) console(g *gateway) error {
	resp, err := http.PostForm("http://"+g.realm+"/realms/demo/protocol/openid-connect/token", url.Values{
		"client_id": {"admin-cli"}, "grant_type": {"password"}, "username": {"admin"}, "password": {"admin-demo"},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil {
		return err
	}
	get := func(path string, into any) (float64, error) {
		req, err := http.NewRequest(http.MethodGet, "http://"+g.realm+"/admin/realms/demo/"+path, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		at := time.Now()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		took := ms(time.Since(at))
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s answered %d %s", path, resp.StatusCode, body)
		}
		if err == nil {
			err = json.Unmarshal(body, into)
		}
		return took, err
	}
	var clients []struct{ ID string }
	if _, err := get("clients?clientId=reports", &clients); err != nil || len(clients) != 1 {
		return fmt.Errorf("looking for a client: %d, %v", len(clients), err)
	}
	at := "clients/" + clients[0].ID
	var count, first, middle []float64
	for range b.rounds {
		var n struct{ Count int }
		took, err := get(at+"/offline-session-count", &n)
		if err != nil || n.Count < b.sessions {
			return fmt.Errorf("counted %d: %v", n.Count, err)
		}
		count = append(count, took)
		for from, times := range map[int]*[]float64{0: &first, b.sessions / 2: &middle} {
			var page []any
			took, err := get(fmt.Sprintf("%s/offline-sessions?first=%d&max=100", at, from), &page)
			if err != nil || len(page) != 100 {
				return fmt.Errorf("listed %d: %v", len(page), err)
			}
			*times = append(*times, took)
		}
	}
	fmt.Printf("  by REST: count %s ms, first page of 100 %s ms, a page in the middle %s ms\n", show(count, 1), show(first, 1), show(middle, 1))
	return nil
}

// fill writes the sessions, then reads what a console's page of a client needs.
func (b *bench) fill(dir string) error {
	backend, err := badger.Open(badger.Options{Dir: filepath.Join(dir, "data")})
	if err != nil {
		return err
	}
	store := storage.New(storage.Config{Backend: backend})
	defer store.Close()
	ctx := context.Background()
	var reports *client.Client
	err = store.View(ctx, func(tx storage.Tx) error {
		reports, err = client.ByName(tx, "demo", "reports")
		return err
	})
	if err != nil {
		return err
	}
	at, now := time.Now(), time.Now().UTC()
	if err := writeSessions(ctx, store, 0, b.sessions, reports.ID, now); err != nil {
		return err
	}
	fmt.Printf("  written in %.0f s\n", time.Since(at).Seconds())

	var count, first, middle []float64
	for range b.rounds {
		err := store.View(ctx, func(tx storage.Tx) error {
			at := time.Now()
			n, err := session.CountOffline(tx, "demo", reports)
			if err != nil || n < b.sessions {
				return fmt.Errorf("counted %d: %v", n, err)
			}
			count = append(count, ms(time.Since(at)))
			at = time.Now()
			rows, err := session.PageOffline(tx, "demo", reports, 0, 100)
			if err != nil || len(rows) != 100 {
				return fmt.Errorf("listed %d: %v", len(rows), err)
			}
			first = append(first, ms(time.Since(at)))
			at = time.Now()
			if rows, err = session.PageOffline(tx, "demo", reports, b.sessions/2, 100); err != nil || len(rows) != 100 {
				return fmt.Errorf("listed %d in the middle: %v", len(rows), err)
			}
			middle = append(middle, ms(time.Since(at)))
			return nil
		})
		if err != nil {
			return err
		}
	}
	fmt.Printf("  of one client: count %s ms, first page of 100 %s ms, a page in the middle %s ms\n", show(count, 2), show(first, 2), show(middle, 2))
	return b.revokeAll(ctx, store, now)
}

// revokeAll: of another client, a tenth as big. It is in force when it answers;
// the sweeper ends the sessions in its own time.
func (b *bench) revokeAll(ctx context.Context, store *storage.Store, now time.Time) error {
	many := &client.Client{ID: "client-of-many", ClientID: "many", Enabled: true}
	n := b.sessions / 10
	err := store.Update(ctx, func(tx storage.Tx) error { return client.Clients.Put(tx, "demo", many.ID, many) })
	if err == nil {
		err = writeSessions(ctx, store, b.sessions, b.sessions+n, many.ID, now)
	}
	if err != nil {
		return err
	}
	at := time.Now()
	err = store.Update(ctx, func(tx storage.Tx) error {
		_, err := standing.RevokeClient(tx, "demo", many, now)
		return err
	})
	took := time.Since(at)
	left := 0
	if err == nil {
		err = store.View(ctx, func(tx storage.Tx) (err error) {
			if many, err = client.ByName(tx, "demo", "many"); err == nil {
				left, err = session.CountOffline(tx, "demo", many)
			}
			return err
		})
	}
	if err != nil || left != 0 {
		return fmt.Errorf("%d sessions are left after revoking all: %v", left, err)
	}
	at, ended := time.Now(), 0
	update := func(ctx context.Context, fn func(storage.Tx, func(*session.ClientSession)) error) error {
		return store.Update(ctx, func(tx storage.Tx) error { return fn(tx, func(*session.ClientSession) { ended++ }) })
	}
	if err := session.Sweep(ctx, store, update, "demo", now); err != nil || ended < n {
		return fmt.Errorf("swept %d of %d: %v", ended, n, err)
	}
	fmt.Printf("  revoking all %d of a client %.2f ms, in force at once; swept in %.1f s\n", n, ms(took), time.Since(at).Seconds())
	return nil
}

// writeSessions writes the sessions as the provider does, from one number to
// another.
func writeSessions(ctx context.Context, store *storage.Store, from, to int, clientID string, now time.Time) error {
	const batch = 400
	for done := from; done < to; done += batch {
		err := store.Update(ctx, func(tx storage.Tx) error {
			for i := done; i < min(done+batch, to); i++ {
				cs := offlineSession(i, clientID, now)
				if err := session.ClientSessions.Put(tx, "demo", cs.ID, &cs); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// offlineSession is the i-th of many; three belong to one person.
func offlineSession(i int, clientID string, now time.Time) session.ClientSession {
	return session.ClientSession{
		ID:      fmt.Sprintf("%016x%06x", uint64(i)*0x9e3779b97f4a7c15, i), // spread as random ones are
		Offline: true, User: fmt.Sprintf("user-%016x", uint64(i/3)*0x9e3779b97f4a7c15), Client: clientID,
		GrantType: "authorization_code", Scopes: []string{"openid", "offline_access", "profile", "email"},
		AuthTime: now, Created: now, LastUsed: now, RotatedAt: now, Generation: 1, IP: "192.0.2.1",
		Browser: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
	}
}
