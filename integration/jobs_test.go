package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"
)

// report is the environment of a second job.
var report = []string{"NIGHTLATCH_JOB=report", "NIGHTLATCH_SECRET=report-demo"}

const reportJob = `job report {
			secret report-demo
			users *
			scopes openid email
		}
		job nightly-backup {`

// TestRemoveOneJob: a person takes back one of two jobs in the account console. It
// gets nothing from that moment on, though its token was good and is in memory; the
// other one and the grant live on, also after kill -9.
func TestRemoveOneJob(t *testing.T) {
	g := newGateway(t, strings.Replace(example(t), "job nightly-backup {", reportJob, 1))
	g.Start()
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8081/backup"))
	b.Login("alice", "alice-demo")
	b.Wants("nightly-backup")
	b.Wants("report")
	b.Click(`form#consent [name="accept"]`)
	other := func() result { return g.Run(report, "grants", "token", "--user", "alice") }
	if r, o := g.Token("alice"), other(); r.Code != 0 || o.Code != 0 {
		t.Fatalf("before: %+v, %+v", r, o)
	}
	b.Open(g.URL("http://localhost:8080/realms/demo/account"))
	b.Click(`a[href*="job=nightly-backup"]`)
	b.Wants("Remove the job nightly-backup?")
	if r := g.Token("alice"); r.Code != 0 {
		t.Errorf("while the question is asked: %+v", r)
	}
	b.Click(`form#remove button[type="submit"]`)
	for _, when := range []string{"at once", "after a power cut"} {
		if r := g.Token("alice"); r.Code != 4 || r.Stdout != "" {
			t.Errorf("%s the job gets %+v", when, r)
		}
		if r := other(); r.Code != 0 {
			t.Errorf("%s the other job gets %+v", when, r)
		}
		list := g.Run(report, "grants", "list", "--format", "json")
		if !strings.Contains(strings.ReplaceAll(list.Stdout, `": "`, `":"`), `"status":"active"`) {
			t.Errorf("%s the grant is %+v", when, list)
		}
		g.Kill()
		g.Start()
	}
	// The person is asked again, for that job alone.
	b.Open(g.URL("http://localhost:8081/backup"))
	b.Wants("nightly-backup")
	b.Click(`form#consent [name="accept"]`)
	if r, o := g.Token("alice"), other(); r.Code != 0 || o.Code != 0 {
		t.Errorf("once it is allowed again: %+v, %+v", r, o)
	}
}

// TestJobsPage: where the provider's consent page names no jobs, the site's own asks
// for them, shows them later, and takes one back.
func TestJobsPage(t *testing.T) {
	public := freePort(t) // the realm, through a proxy that keeps silent of RFC 9396
	sites := `{
	default_bind 127.0.0.1
	nightlatch {
		store badger ./nightlatch-data
		provider elsewhere http://localhost:` + public + `/realms/demo {
			client_id files
			client_secret files-demo
		}
		` + reportJob + `
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
			url http://localhost:`+public+`
			user alice {
				password alice-demo
				email alice@example.com
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
	to := &url.URL{Scheme: "http", Host: "127.0.0.1:" + realm.ports["8080"]}
	silent := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: func(resp *http.Response) error {
			if !strings.HasSuffix(resp.Request.URL.Path, "/openid-configuration") {
				return nil
			}
			var said map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
				return err
			}
			if _, says := said["authorization_details_types_supported"]; !says {
				t.Error("the realm itself does not name jobs: the proxy does nothing")
			}
			delete(said, "authorization_details_types_supported")
			raw, err := json.Marshal(said)
			resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
			resp.Header.Del("Content-Length")
			return err
		},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+public)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: silent}
	go func() { _ = server.Serve(listener) }() // until Close
	defer server.Close()
	app.StartSites("8081", "8082")

	b := newBrowser(t)
	b.Open(app.URL("http://localhost:8081/backup"))
	b.Login("alice", "alice-demo")
	if b.Has(`form#consent`) && !strings.Contains(b.URL(), "/.nightlatch/jobs") && !b.Has(`form#consent[action="/.nightlatch/jobs"]`) {
		b.Click(`form#consent [name="accept"]`) // the realm's own: offline access
	}
	b.Wants("Allow background access?")
	b.Wants("nightly-backup may act for you while you are away")
	b.fits("jobs-ask")
	b.Click(`form#consent [name="accept"]`)
	b.Wants("hello alice")
	list := app.Run(backup, "grants", "list", "--format", "json")
	id := between(strings.ReplaceAll(list.Stdout, `": "`, `":"`), `"grant_id":"`, `"`)
	token := func(job []string) result { return app.Run(job, "grants", "token", "--grant", id) }
	if r, o := token(backup), token(report); r.Code != 0 || o.Code != 0 {
		t.Fatalf("allowed: %+v, %+v", r, o)
	}
	b.Open(app.URL("http://localhost:8081/.nightlatch/jobs"))
	b.Wants("Last used on")
	b.fits("jobs")
	b.Click(`button[name="remove"][value="nightly-backup"]`)
	b.Wants("report may act for you")
	if b.Has(`button[value="nightly-backup"]`) {
		t.Error("the job is still there")
	}
	if r := token(backup); r.Code != 4 || r.Stdout != "" {
		t.Errorf("the job afterwards: %+v", r)
	}
	if r := token(report); r.Code != 0 {
		t.Errorf("the other job afterwards: %+v", r)
	}
	b.Click(`button[name="remove"][value="report"]`)
	b.Wants("Nothing may act for you")
	b.fits("jobs-none")
}

// TestRoleTakenShowsInTheGrant: a role that an administrator takes away, or gives
// back, is seen in the grant within two seconds at every node, though no job asks for
// a token.
func TestRoleTakenShowsInTheGrant(t *testing.T) {
	c := newCluster(t)
	c.login("alice", "alice-demo", func() {})
	var users []struct{ ID string }
	if err := json.Unmarshal([]byte(c.administer(http.MethodGet, "/users?username=alice&exact=true", "")), &users); err != nil || len(users) != 1 {
		t.Fatalf("users %v, %v", users, err)
	}
	roles := "/users/" + users[0].ID + "/role-mappings/realm"
	given := c.administer(http.MethodGet, roles, "")
	shows := func(want string) {
		t.Helper()
		since := time.Now()
		for node := range c.nodes {
			for {
				status, _, body, err := c.at(node, "8085", http.MethodGet, "http://127.0.0.1:8082/grants", nil, basic("nightly-backup", "backup-demo"))
				if err != nil || status != http.StatusOK {
					t.Fatalf("grants at node %d: %d %v %s", node, status, err, body)
				}
				got := between(body, `"status":"`, `"`)
				if got == want {
					break
				}
				if time.Since(since) > 2*time.Second {
					t.Fatalf("after two seconds the grant at node %d is %s, want %s", node, got, want)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	shows("active")
	for range 2 {
		c.administer(http.MethodDelete, roles, given)
		shows("role_missing")
		c.administer(http.MethodPost, roles, given)
		shows("active")
	}
	if r := c.Token("alice"); r.Code != 0 {
		t.Errorf("the job afterwards: %+v", r)
	}
}
