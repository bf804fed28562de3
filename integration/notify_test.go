package integration

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/integration/formlogin"
)

// TestAWebhookHearsOfARevocation: the whole way of a piece of news, from what a
// job does over the vault's record to an operator's program, the log and the
// metrics, each with the address where the person allows it again.
func TestAWebhookHearsOfARevocation(t *testing.T) {
	heard := make(chan map[string]any, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if json.NewDecoder(r.Body).Decode(&body) == nil && strings.HasPrefix(r.Header.Get("webhook-signature"), "v1,") {
			heard <- body
		}
	}))
	defer hook.Close()
	text := strings.Replace(example(t), "\t\t\tusers alice\n", "\t\t\tusers alice\n\t\t\tmay revoke\n", 1)
	text = strings.Replace(text, "\t\tjob nightly-backup {", "\t\tnotify {\n\t\t\twebhook "+hook.URL+"/hook {\n\t\t\t\tsecret sesame\n\t\t\t}\n\t\t}\n\t\tjob nightly-backup {", 1)
	g := newGateway(t, text)
	g.Start()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := formlogin.Login(ctx, g.URL("http://localhost:8081/backup"), "alice", "alice-demo"); err != nil {
		t.Fatal(err)
	}
	m := g.Admin("/metrics")
	if !strings.Contains(m, `nightlatch_grants{client="portal",provider="demo",state="active"} 1`) {
		t.Error("the gauge does not count the grant")
	}
	if !regexp.MustCompile(`(?m)^nightlatch_store_updates_total [1-9]`).MatchString(m) || !strings.Contains(m, "nightlatch_store_conflicts_total ") {
		t.Error("the metrics lack what the store counts")
	}
	req, err := http.NewRequest(http.MethodPost, g.URL("http://127.0.0.1:8082/revoke"), strings.NewReader(url.Values{"user": {"alice"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("nightly-backup", "backup-demo")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	link := g.URL("http://localhost:8081/backup")
	select {
	case body := <-heard:
		data, _ := body["data"].(map[string]any)
		if body["type"] != "grant_revoked" || data["user"] != "alice" || data["reconsent_uri"] != link {
			t.Errorf("heard %v", body)
		}
	case <-ctx.Done():
		t.Fatal("nothing was heard")
	}
	if m := g.Admin("/metrics"); !strings.Contains(m, `nightlatch_grant_events_total{event="grant_revoked",provider="demo"} 1`) {
		t.Error("the event was not counted")
	}
	g.Stop()
	for line := range strings.SplitSeq(g.out.String(), "\n") {
		if strings.Contains(line, `"event":"grant_revoked"`) {
			if !strings.Contains(line, `"level":"warn"`) || !strings.Contains(line, `"reconsent_uri":"`+link+`"`) {
				t.Errorf("log line %s", line)
			}
			return
		}
	}
	t.Error("there is no log line")
}
