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
// refreshes, what a console asks for by REST, and its pages.
func (b *bench) million() error {
	// The logins that the console lists are there to the end.
	settings := setup{realm: "sso_session_idle 1d\n\t\t\tsso_session_max 7d\n\t\t\trevoke_refresh_token on\n\t\t\tclient many {\n\t\t\t\tsecret many-demo\n\t\t\t\tdirect_access_grants\n\t\t\t}"}
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
		idle = append(idle, g.memory().Resident)
		g.stop()
	}
	fmt.Printf("  ready %s ms; idle %s MiB\n", show(ready, 0), show(idle, 1))

	if g, err = start(b.binary, dir, b.upstream, settings); err != nil {
		return err
	}
	defer g.stop()
	admin, err := b.console(g)
	if err != nil {
		return err
	}
	if err := b.consolePages(g, admin); err != nil {
		return err
	}
	for _, workers := range []int{1, 8, 64} {
		do, err := g.refreshes(workers)
		if err != nil {
			return err
		}
		if err := b.alternate(0, &path{g: g, name: "refresh, single use on", addr: g.realm, workers: workers, do: do}); err != nil {
			return err
		}
	}
	after := g.memory()
	fmt.Printf("  resident afterwards %.0f MiB, of it private %.0f MiB\n", after.Resident, after.Private)
	if err := b.revokeByREST(g, admin); err != nil {
		return err
	}
	fmt.Println()
	return nil
}

// ask asks the realm's token endpoint.
func (g *gateway) ask(form url.Values) (status int, t token, err error) {
	resp, err := http.PostForm("http://"+g.realm+tokenPath, form)
	if err != nil {
		return 0, t, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, t, json.NewDecoder(resp.Body).Decode(&t)
}

// administrator asks the realm's REST by a token.
type administrator struct {
	g     *gateway
	token string
}

// do sends a request, reads the answer into what into points to, unless that is
// nil, and tells how many milliseconds it took.
func (a *administrator) do(method, path string, into any) (float64, error) {
	req, err := http.NewRequest(method, "http://"+a.g.realm+"/admin/realms/demo/"+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	at := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	took := ms(time.Since(at))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s answered %d %s", path, resp.StatusCode, body)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(body, into)
	}
	return took, err
}

// client is the path of a client.
func (a *administrator) client(name string) (string, error) {
	var clients []struct{ ID string }
	if _, err := a.do(http.MethodGet, "clients?clientId="+name, &clients); err != nil || len(clients) != 1 {
		return "", fmt.Errorf("looking for client %s: %d, %v", name, len(clients), err)
	}
	return "clients/" + clients[0].ID, nil
}

// count of a client's offline sessions.
func (a *administrator) count(at string) (n int, took float64, err error) {
	var answer struct{ Count int }
	took, err = a.do(http.MethodGet, at+"/offline-session-count", &answer)
	return answer.Count, took, err
}

// revokeByREST is what an administrator does about a client with a tenth as many
// sessions, one of which is in use. Once: there is one such client.
func (b *bench) revokeByREST(g *gateway, admin *administrator) error {
	const client = "client_id=many&client_secret=many-demo"
	form, err := url.ParseQuery(client + "&grant_type=password&username=alice&password=alice-demo&scope=openid+offline_access")
	if err != nil {
		return err
	}
	status, t, err := g.ask(form)
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("asking for an offline token: %d, %v", status, err)
	}
	at, err := admin.client("many")
	if err != nil {
		return err
	}
	n, _, err := admin.count(at)
	if err != nil || n < b.sessions/10+1 {
		return fmt.Errorf("counted %d before revoking: %v", n, err)
	}
	took, err := admin.do(http.MethodDelete, at+"/offline-sessions", nil)
	if err != nil {
		return err
	}
	form, err = url.ParseQuery(client + "&grant_type=refresh_token&refresh_token=" + t.Refresh)
	if err != nil {
		return err
	}
	asked := time.Now()
	if status, _, err = g.ask(form); err != nil || status != http.StatusBadRequest {
		return fmt.Errorf("a refresh after revoking all: %d, %v", status, err)
	}
	refused := ms(time.Since(asked))
	left, _, err := admin.count(at)
	if err != nil || left != 0 {
		return fmt.Errorf("%d are left after revoking all: %v", left, err)
	}
	fmt.Printf("  by REST: revoking all %d of a client %.1f ms; the next refresh refused, after %.1f ms\n", n, took, refused)
	return nil
}

// console asks by REST what an administrator's page of a client needs.
func (b *bench) console(g *gateway) (*administrator, error) {
	status, t, err := g.ask(url.Values{"client_id": {"admin-cli"}, "grant_type": {"password"}, "username": {"admin"}, "password": {"admin-demo"}})
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("logging an administrator in: %d, %v", status, err)
	}
	admin := &administrator{g, t.Access}
	at, err := admin.client("reports")
	if err != nil {
		return nil, err
	}
	var count, first, middle []float64
	for range b.rounds {
		n, took, err := admin.count(at)
		if err != nil || n < b.sessions {
			return nil, fmt.Errorf("counted %d: %v", n, err)
		}
		count = append(count, took)
		for from, times := range map[int]*[]float64{0: &first, b.sessions / 2: &middle} {
			var page []any
			took, err := admin.do(http.MethodGet, fmt.Sprintf("%s/offline-sessions?first=%d&max=100", at, from), &page)
			if err != nil || len(page) != 100 {
				return nil, fmt.Errorf("listed %d: %v", len(page), err)
			}
			*times = append(*times, took)
		}
	}
	fmt.Printf("  by REST: count %s ms, first page of 100 %s ms, a page in the middle %s ms\n", show(count, 1), show(first, 1), show(middle, 1))
	return admin, nil
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
	if err := writeSessions(ctx, store, 0, b.sessions, reports, now); err != nil {
		return err
	}
	if err := writePeople(ctx, store, reports.ID, now); err != nil {
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
	many, err := b.revokeAll(ctx, store, now)
	if err != nil {
		return err
	}
	return writeSessions(ctx, store, b.sessions*11/10, b.sessions*12/10, many, now) // for revokeByREST
}

// revokeAll: of another client, a tenth as big. It is in force when it answers;
// the sweeper ends the sessions in its own time.
func (b *bench) revokeAll(ctx context.Context, store *storage.Store, now time.Time) (many *client.Client, err error) {
	n := b.sessions / 10
	err = store.View(ctx, func(tx storage.Tx) error {
		many, err = client.ByName(tx, "demo", "many")
		return err
	})
	if err == nil {
		err = writeSessions(ctx, store, b.sessions, b.sessions+n, many, now)
	}
	if err != nil {
		return nil, err
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
		return nil, fmt.Errorf("%d sessions are left after revoking all: %v", left, err)
	}
	at, ended := time.Now(), 0
	update := func(ctx context.Context, fn func(storage.Tx, func(*session.ClientSession)) error) error {
		return store.Update(ctx, func(tx storage.Tx) error { return fn(tx, func(*session.ClientSession) { ended++ }) })
	}
	if err := session.Sweep(ctx, store, update, "demo", now); err != nil || ended < n {
		return nil, fmt.Errorf("swept %d of %d: %v", ended, n, err)
	}
	fmt.Printf("  revoking all %d of a client %.2f ms, in force at once; swept in %.1f s\n", n, ms(took), time.Since(at).Seconds())
	return many, nil
}

// writeSessions writes the sessions as the provider does, from one number to
// another.
func writeSessions(ctx context.Context, store *storage.Store, from, to int, c *client.Client, now time.Time) error {
	const batch = 400
	for done := from; done < to; done += batch {
		err := store.Update(ctx, func(tx storage.Tx) error {
			for i := done; i < min(done+batch, to); i++ {
				cs := offlineSession(i, c.ID, now)
				cs.Epoch = c.OfflineEpoch
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
		Offline: true, User: personID(i / 3), Client: clientID,
		GrantType: "authorization_code", Scopes: []string{"openid", "offline_access", "profile", "email"},
		AuthTime: now, Created: now.Add(-time.Duration(i%720) * time.Hour), LastUsed: now.Add(-time.Duration(i%48) * time.Hour), RotatedAt: now, Generation: 1, IP: address(i),
		Browser: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
	}
}
