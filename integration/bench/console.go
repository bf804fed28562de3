package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/nightlatch/nightlatch/integration/formlogin"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// persons and logins in the store of the group million.
const persons, logins = 100_000, 100_000

// someone is the i-th of the people; their offline sessions are those that
// offlineSession gives.
func someone(i int, now time.Time) *user.User {
	return &user.User{
		ID: personID(i), Username: fmt.Sprintf("p-%06d", i), Email: fmt.Sprintf("p-%06d@example.com", i), Enabled: true, DefaultRoles: true, CreatedAt: now,
		FirstName: fmt.Sprintf("First%d", i%1000), LastName: fmt.Sprintf("Last%d", i%777),
	}
}

func personID(i int) string { return fmt.Sprintf("user-%016x", uint64(i)*0x9e3779b97f4a7c15) }

// address of the i-th session, of some 60 000.
func address(i int) string { return fmt.Sprintf("10.%d.%d.%d", i%7, i/7%97, i/679%89) }

// writePeople writes people, each with a login at a client.
func writePeople(ctx context.Context, store *storage.Store, clientID string, now time.Time) error {
	const batch = 400
	for done := 0; done < max(persons, logins); done += batch {
		err := store.Update(ctx, func(tx storage.Tx) error {
			for i := done; i < done+batch; i++ {
				if i < persons {
					u := someone(i, now)
					if err := user.Users.Put(tx, "demo", u.ID, u); err != nil {
						return err
					}
				}
				if i < logins {
					us := session.UserSession{
						ID: fmt.Sprintf("%016x-login", uint64(i)*0x9e3779b97f4a7c15), User: personID(i % persons), IP: address(i), Clients: []string{clientID},
						AuthTime: now, Started: now.Add(-time.Duration(i%600) * time.Minute), LastAccess: now,
					}
					if err := session.UserSessions.Put(tx, "demo", us.ID, &us); err != nil {
						return err
					}
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

// consolePages opens the pages of the admin console that list something, as an
// administrator's browser does.
func (b *bench) consolePages(g *gateway, admin *administrator) error {
	at, err := admin.client("reports")
	if err != nil {
		return err
	}
	base := "http://" + g.realm + "/admin/demo/console/"
	cookies, err := formlogin.Login(context.Background(), base, "admin", "admin-demo")
	if err != nil {
		return fmt.Errorf("logging in to the console: %w", err)
	}
	now := time.Now().UTC()
	day := func(n int) string { return now.AddDate(0, 0, n).Format(time.DateOnly) }
	one := "users/" + personID(77)
	fmt.Printf("  pages of the console, with %d people and %d logins:\n", persons, logins)
	for _, page := range []struct{ name, path string }{
		{"overview", ""},
		{"clients", "clients"},
		{"clients, search", "clients?search=port"},
		{"a client's sessions", at + "/sessions"},
		{"a client's sessions, a page in the middle", fmt.Sprintf("%s/sessions?first=%d&offline=%d", at, logins/2, b.sessions/2)},
		{"offline access", at + "/offline"},
		{"offline access, a page in the middle", fmt.Sprintf("%s/offline?first=%d", at, b.sessions/2)},
		{"offline access of a user", at + "/offline?user=p-000077"},
		{"offline access from an address", at + "/offline?ipAddress=" + address(77)},
		{"offline access from a network", at + "/offline?ipAddress=10.3.*"},
		{"offline access by issue", at + "/offline?issuedFrom=" + day(-20) + "&issuedTo=" + day(-20)},
		{"offline access by last refresh", at + "/offline?lastRefreshFrom=" + day(-1)},
		{"offline access, nothing found in a part", at + "/offline?ipAddress=10.3.*&issuedFrom=" + day(-40) + "&issuedTo=" + day(-39)},
		{"users", "users"},
		{"users, a page in the middle", "users?after=" + behind(persons/2)},
		{"users, the last page", "users?after=" + behind(persons-10)},
		{"users, search by how a name begins", "users?search=p-0500"},
		{"users, search by a last name", "users?search=last776"},
		{"users, search by a part of a name", "users?search=*99999*"},
		{"users, search by two words", "users?search=first999+last776"},
		{"users, search by two words that never meet", "users?search=first+*nobody*"},
		{"users, search for nobody", "users?search=nobody"},
		{"a user's sessions", one + "/sessions"},
		{"a user's consents", one + "/consents"},
		{"sessions", "sessions"},
		{"sessions, a page in the middle", fmt.Sprintf("sessions?first=%d", (logins+b.sessions)/2)},
		{"regular sessions", "sessions?type=REGULAR"},
		{"regular sessions, a page in the middle", fmt.Sprintf("sessions?type=REGULAR&first=%d", logins/2)},
		{"offline sessions", "sessions?type=OFFLINE"},
		{"offline sessions, a page in the middle", fmt.Sprintf("sessions?type=OFFLINE&first=%d", b.sessions/2)},
		{"sessions of a user", "sessions?search=p-000077"},
		{"sessions from an address", "sessions?search=" + address(77)},
		{"sessions from a network, a page further on", "sessions?search=10.3.*&first=2000"},
	} {
		var took []float64
		for range b.rounds {
			ms, err := open(base+page.path, cookies)
			if err != nil {
				return fmt.Errorf("%s: %w", page.name, err)
			}
			took = append(took, ms)
		}
		over := ""
		for _, ms := range took {
			if ms >= 100 {
				over = "  over 100 ms"
			}
		}
		fmt.Printf("    %-45s %s ms%s\n", page.name, show(took, 1), over)
	}
	return nil
}

// behind is where the list of users goes on behind the i-th of the people.
func behind(i int) string {
	return storage.Entry{Value: fmt.Sprintf("p-%06d", i), ID: personID(i)}.String()
}

// open opens a page and tells how many milliseconds it took.
func open(address string, cookies []*http.Cookie) (float64, error) {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	for _, c := range cookies {
		req.AddCookie(c)
	}
	at := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	took := ms(time.Since(at))
	if err == nil && (resp.StatusCode != http.StatusOK || resp.Request.URL.String() != address) {
		err = fmt.Errorf("answered %d at %s:\n%.2000s", resp.StatusCode, resp.Request.URL, body)
	}
	return took, err
}
