package integration

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nightlatch/nightlatch/integration/formlogin"
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

// TestLostCodeExchange: the answer to a code exchange is lost after the realm has
// committed it, or the realm has no time for it, and the person is logged in without
// doing anything. So with a grant as with a plain login.
func TestLostCodeExchange(t *testing.T) {
	public := freePort(t) // where the realm is to be found: the proxy's
	app := newGateway(t, `{
	default_bind 127.0.0.1
	nightlatch {
		store badger ./nightlatch-data
		provider elsewhere http://localhost:`+public+`/realms/demo {
			client_id files
			client_secret files-demo
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
`)
	realm := newGateway(t, `{
	default_bind 127.0.0.1
	nightlatch {
		store badger ./nightlatch-data
		realm demo {
			url http://localhost:`+public+`
			revoke_refresh_token on
			user alice {
				password alice-demo
			}
			client files {
				secret files-demo
				redirect_uri `+app.URL("http://localhost:8081")+`/.nightlatch/callback
			}
		}
	}
}

http://localhost:8080 {
	nightlatch_provider
}
`)
	realm.StartSites("8080")
	var exchanges, faults atomic.Int64
	var fault atomic.Value // what becomes of the exchanges that are left in faults
	to := &url.URL{Scheme: "http", Host: "127.0.0.1:" + realm.ports["8080"]}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ModifyResponse: func(resp *http.Response) error {
			if resp.Request.Method == http.MethodPost && strings.HasSuffix(resp.Request.URL.Path, "/token") {
				exchanges.Add(1)
				if resp.StatusCode != http.StatusOK {
					t.Errorf("the realm answers %d to an exchange", resp.StatusCode)
				}
				if faults.Add(-1) >= 0 && fault.Load() == "lost" {
					panic(http.ErrAbortHandler) // what the realm did is on its disk
				}
			}
			return nil
		},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+public)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") && fault.Load() == "busy" && faults.Add(-1) >= 0 {
			exchanges.Add(1)
			w.Header().Set("Retry-After", "0")
			http.Error(w, `{"error":"temporarily_unavailable"}`, http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }() // until Close
	defer server.Close()
	app.StartSites("8081")

	for _, kind := range []string{"lost", "busy"} {
		for _, path := range []string{"/", "/backup"} {
			fault.Store(kind)
			faults.Store(2)
			exchanges.Store(0)
			cookies, err := formlogin.Login(t.Context(), app.URL("http://localhost:8081")+path, "alice", "alice-demo")
			if err != nil {
				t.Fatalf("%s, %s: %v", kind, path, err)
			}
			var session []string
			for _, c := range cookies {
				session = append(session, c.String())
			}
			resp, body := get(t, app.URL("http://localhost:8081")+path, http.Header{"Cookie": {strings.Join(session, "; ")}})
			if resp.StatusCode != http.StatusOK || body != "hello alice" {
				t.Errorf("%s, %s: %d %s", kind, path, resp.StatusCode, body)
			}
			if n := exchanges.Load(); n != 3 {
				t.Errorf("%s, %s: %d exchanges of one code", kind, path, n)
			}
		}
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
