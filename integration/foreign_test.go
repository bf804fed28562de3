package integration

import (
	"net/http"
	"strings"
	"testing"
)

// TestA10_ForeignProvider: the adapter and the vault work the same with an OpenID
// Provider in another process, found by discovery (A10). The other process is a
// Nightlatch realm, reached over the network as any provider would be.
func TestA10_ForeignProvider(t *testing.T) {
	sites := `{
	default_bind 127.0.0.1
	nightlatch {
		store badger ./nightlatch-data
		provider elsewhere http://localhost:8080/realms/demo {
			client_id files
			client_secret files-demo
		}
		job nightly-backup {
			secret backup-demo
			users *
			scopes openid profile
		}
	}
}

http://localhost:8081 {
	nightlatch http://localhost:8081 {
		provider elsewhere
		allow any
		offline /backup
	}
	respond "hello {http.auth.user.name}"
}

http://127.0.0.1:8082 {
	nightlatch_tokens
}
`
	app := newGateway(t, sites)
	realm := newGateway(t, `{
	default_bind 127.0.0.1
	nightlatch {
		store badger ./nightlatch-data
		realm demo {
			url http://localhost:8080
			revoke_refresh_token on
			user alice {
				password alice-demo
				email alice@example.com
			}
			client files {
				secret files-demo
				redirect_uri `+app.URL("http://localhost:8081")+`/.nightlatch/callback
				consent_required
			}
		}
	}
}

http://localhost:8080 {
	nightlatch_provider
}
`)
	// The app's gateway starts first: a provider that is down does not stop it.
	app.ports["8080"] = realm.ports["8080"]
	app.WriteConfig(sites)
	app.StartSites("8081", "8082")
	if resp, _ := get(t, app.URL("http://localhost:8081/"), http.Header{"Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}}); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("with its provider down the app answers %d", resp.StatusCode)
	}
	realm.Start()

	b := newBrowser(t)
	// Discovery is retried: nothing has to be restarted.
	app.await("the login", func() bool {
		resp, _ := get(t, app.URL("http://localhost:8081/"), http.Header{"Accept": {"text/html"}})
		return resp.StatusCode == http.StatusSeeOther
	})
	b.Open(app.URL("http://localhost:8081/backup"))
	b.Login("alice", "alice-demo")
	b.Wants("Offline")
	b.Click(`form#consent [name="accept"]`)
	b.Wants("hello alice")

	// A foreign provider's user is named by a verified mail address or sub; the
	// list tells the job which grants it may use.
	list := app.Run(backup, "grants", "list", "--format", "json")
	id := between(list.Stdout, `"grant_id":"`, `"`)
	if id == "" {
		id = between(list.Stdout, `"grant_id": "`, `"`)
	}
	if list.Code != 0 || id == "" {
		t.Fatalf("grants list: %+v", list)
	}
	for range 3 { // each refresh rotates the offline token
		if r := app.Run(backup, "grants", "token", "--grant", id, "--min-ttl", "2m"); r.Code != 0 {
			t.Fatalf("grants token: %+v", r)
		}
		app.Kill()
		app.StartSites("8081", "8082")
	}
}

func between(s, from, to string) string {
	_, s, ok := strings.Cut(s, from)
	if !ok {
		return ""
	}
	s, _, _ = strings.Cut(s, to)
	return s
}
