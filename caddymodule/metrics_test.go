package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/storage"
)

// metric is the value of a line of Caddy's metrics, 0 without one.
func (g *gateway) metric(line string) float64 {
	g.t.Helper()
	_, body := answerOf(g.t, http.MethodGet, "http://"+g.admin+"/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(line) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

// TestMetrics: what happens is counted where docs/operators.md says, over a reload,
// and with nobody's name.
func TestMetrics(t *testing.T) {
	g := newGateway(t)
	g.admin = freeAddr(t)
	tokens := freeAddr(t)
	run := func(lifespan string) {
		t.Helper()
		err := g.load("access_token_lifespan "+lifespan+"\nuser alice {\n\tpassword alice-demo\n}\nuser mallory {\n\tpassword mallory-demo\n}\n}\njob nightly {\n\tsecret nightly-secret\n\tusers *\n\tscopes openid\n",
			"nightlatch http://"+g.site+" {\n\toffline /backup\n\tdeny user mallory\n}\nrespond hello\n}\nhttp://"+tokens+" {\n\tnightlatch_tokens")
		if err != nil {
			t.Fatal(err)
		}
	}
	ask := func(secret, user string) {
		t.Helper()
		form := strings.NewReader(url.Values{"user": {user}, "scope": {"openid"}}.Encode())
		req, err := http.NewRequest(http.MethodPost, "http://"+tokens+"/token", form)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("nightly", secret)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	run("5m")
	lines := map[string]float64{ // and by how much each goes up
		`nightlatch_site_logins_total{outcome="success",provider="demo",site="http://` + g.site + `"}`:   2,
		`nightlatch_site_logins_total{outcome="declined",provider="demo",site="http://` + g.site + `"}`:  1,
		`nightlatch_site_refusals_total{reason="unauthorized",site="http://` + g.site + `"}`:             1,
		`nightlatch_site_refusals_total{reason="invalid_token",site="http://` + g.site + `"}`:            1,
		`nightlatch_site_refusals_total{reason="forbidden",site="http://` + g.site + `"}`:                1,
		`nightlatch_site_refusals_total{reason="unknown_login",site="http://` + g.site + `"}`:            1,
		`nightlatch_realm_events_total{event="login",realm="demo",reason=""}`:                            2,
		`nightlatch_realm_events_total{event="client_login_error",realm="demo",reason="invalid_client"}`: 1,
		`nightlatch_job_asks_total{job="nightly",outcome="token"}`:                                       1,
		`nightlatch_job_asks_total{job="nightly",outcome="no_grant"}`:                                    1,
		`nightlatch_job_asks_total{job="",outcome="invalid_client"}`:                                     1,
		`nightlatch_grants{client="localhost",provider="demo",state="active"}`:                           1,
		`nightlatch_grant_events_total{event="grant_saved",provider="demo"}`:                             1,
		`nightlatch_refreshes_total{client="localhost",outcome="success",provider="demo"}`:               1,
		`nightlatch_refresh_seconds_count{provider="demo"}`:                                              1,
	}
	before := map[string]float64{}
	for line := range lines {
		before[line] = g.metric(line)
	}
	g.login("alice", "/backup")
	g.login("mallory", "/")
	answerOf(t, http.MethodGet, "http://"+g.site+"/")
	answerOf(t, http.MethodGet, "http://"+g.site+"/", "Authorization", "Bearer x")
	answerOf(t, http.MethodGet, "http://"+g.site+"/.nightlatch/callback?state=x&code=y")
	declined(t, g)
	if resp, err := http.PostForm("http://"+g.realm+"/realms/demo/protocol/openid-connect/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"reports"}, "client_secret": {"wrong"},
	}); err != nil || resp.Body.Close() != nil {
		t.Fatal(err)
	}
	ask("nightly-secret", "alice")
	ask("nightly-secret", "mallory")
	ask("wrong", "alice")
	for round, lifespan := range []string{"", "4m"} {
		if round > 0 {
			run(lifespan)
		}
		for line, want := range lines {
			if got := g.metric(line) - before[line]; got != want {
				t.Errorf("round %d: %s went up by %v, want %v", round, line, got, want)
			}
		}
		for _, line := range []string{`nightlatch_store_update_seconds_count{outcome="committed"}`, "nightlatch_store_updates_total"} {
			if g.metric(line) == 0 {
				t.Errorf("round %d: %s is not there", round, line)
			}
		}
		_, all := answerOf(t, http.MethodGet, "http://"+g.admin+"/metrics")
		for _, line := range []string{`nightlatch_provider_breaker_open{client="localhost",provider="demo"} 0`, `nightlatch_keepalive_lag_seconds{client="localhost",provider="demo"} 0`} {
			if !strings.Contains(all, line+"\n") {
				t.Errorf("round %d: no %s", round, line)
			}
		}
		if strings.Contains(all, "alice") || strings.Contains(all, "mallory") || strings.Contains(all, "nightly-secret") {
			t.Error("a person or a secret is in the metrics")
		}
	}
}

// TestMetricsAreDocumented: docs/operators.md has every metric that there is.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/operators.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`"(nightlatch_[a-z_]+)"`).FindAllStringSubmatch(string(code), -1)
	if len(names) < 12 {
		t.Fatalf("read only %d names", len(names))
	}
	for _, name := range names {
		if !strings.Contains(string(page), "`"+name[1]+"`") {
			t.Errorf("docs/operators.md lacks %s", name[1])
		}
	}
}

// declined is a login at which the provider's page is left with an error.
func declined(t *testing.T, g *gateway) {
	t.Helper()
	resp, _ := answerOf(t, http.MethodGet, "http://"+g.site+"/", "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d: %v", resp.StatusCode, err)
	}
	back := url.Values{"state": {to.Query().Get("state")}, "error": {"access_denied"}, "iss": {"http://" + g.realm + "/realms/demo"}}
	var cookie []string
	for _, c := range resp.Cookies() {
		cookie = append(cookie, c.Name+"="+c.Value)
	}
	answerOf(t, http.MethodGet, "http://"+g.site+"/.nightlatch/callback?"+back.Encode(), "Cookie", strings.Join(cookie, "; "))
}

// TestLabelsAreBounded: what providers and strangers say is no label.
func TestLabelsAreBounded(t *testing.T) {
	m, to := newMetrics(), prometheus.NewRegistry()
	if err := m.register(to); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxLabels {
		m.count("login_error", map[string]any{"realm": "demo", "reason": strings.Repeat("a", i%50) + strings.Repeat("b", i/50)})
		m.count("login", map[string]any{"realm": "demo", "reason": strconv.Itoa(i)})
		m.count("job_refused", map[string]any{"error": "Error No. " + strconv.Itoa(i)})
	}
	if n, err := testutil.GatherAndCount(to); err != nil || n > maxLabels+3 {
		t.Errorf("%d series, %v", n, err)
	}
	m.refreshed("p", "c", time.Second, &vault.Error{Class: vault.ClassTransient, Code: "timeout"})
	m.updated(time.Second, storage.ErrUnknown)
	m.updated(time.Second, errors.New("disk"))
	for name, c := range map[string]prometheus.Collector{"refreshes": m.refreshes.WithLabelValues("p", "c", "transient")} {
		if got := testutil.ToFloat64(c); got != 1 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if n := testutil.CollectAndCount(m.updateSeconds); n != 2 {
		t.Errorf("%d outcomes of updates", n)
	}
}

// TestHealth: ready with the store and the keys; a provider that is away is told and
// makes nothing unready.
func TestHealth(t *testing.T) {
	g := newGateway(t)
	g.admin = freeAddr(t)
	at, second := freeAddr(t), freeAddr(t)
	more := "\n}\nprovider dead http://" + freeAddr(t) + " {\n\tclient_id x\n"
	if err := g.load(more, g.guarded()+"\n}\nhttp://"+second+" {\n\tnightlatch http://"+second+" {\n\t\tprovider dead\n\t\tallow any\n\t}\n}\nhttp://"+at+" {\n\tnightlatch_health"); err == nil {
		t.Fatal("two providers, and the first site names none")
	}
	first := strings.Replace(g.guarded(), "nightlatch http://"+g.site, "nightlatch http://"+g.site+" {\n\tprovider demo\n}", 1)
	if err := g.load(more, first+"\n}\nhttp://"+second+" {\n\tnightlatch http://"+second+" {\n\t\tprovider dead\n\t\tallow any\n\t}\n}\nhttp://"+at+" {\n\tnightlatch_health"); err != nil {
		t.Fatal(err)
	}
	check := func(status int, want health) {
		t.Helper()
		for _, address := range []string{at, g.admin + "/nightlatch/health"} {
			resp, body := answerOf(t, http.MethodGet, "http://"+address)
			var got health
			if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != status || got.Status != want.Status || got.Store != want.Store ||
				got.Realms["demo"] != want.Realms["demo"] || got.Providers["dead"] != want.Providers["dead"] {
				t.Errorf("%s: %d %s, want %d %+v", address, resp.StatusCode, body, status, want)
			}
		}
	}
	check(200, health{"ready", "ok", map[string]string{"demo": "ok"}, map[string]string{"dead": "unknown"}})
	page := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	if resp, _ := answerOf(t, http.MethodGet, "http://"+second, page...); resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a login at a dead provider: %d", resp.StatusCode)
	}
	check(200, health{"ready", "ok", map[string]string{"demo": "ok"}, map[string]string{"dead": "failing"}})
	if resp, _ := answerOf(t, http.MethodPost, "http://"+at); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") == "" {
		t.Errorf("POST: %d", resp.StatusCode)
	}
	app, err := caddy.ActiveContext().AppIfConfigured("nightlatch")
	if err != nil {
		t.Fatal(err)
	}
	if err := app.(*App).lease.store.Close(); err != nil {
		t.Fatal(err)
	}
	check(503, health{"unready", "away", map[string]string{"demo": "ok"}, map[string]string{"dead": "failing"}})
}
