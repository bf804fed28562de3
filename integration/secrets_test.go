package integration

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// secretForms is what no log line, metric or configuration dump may hold: the
// forms of tokens, codes and cookies of ours.
var secretForms = map[string]*regexp.Regexp{
	"a token":        regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`),
	"a code":         regexp.MustCompile(`code=[A-Za-z0-9_-]{20,}`),
	"a cookie":       regexp.MustCompile(`nightlatch_[a-z0-9_]+=[A-Za-z0-9_.-]{10,}`),
	"a password":     regexp.MustCompile(`alice-demo`),
	"a job's secret": regexp.MustCompile(`backup-demo`),
	"basic auth":     regexp.MustCompile(`Basic [A-Za-z0-9+/=]{10,}`),
}

// TestNoSecretIsLogged: after a whole round at debug level, with access logs on,
// neither the log nor the metrics hold a secret.
func TestNoSecretIsLogged(t *testing.T) {
	text := strings.Replace(example(t), "{\n\tdefault_bind", "{\n\tdebug\n\tmetrics\n\tdefault_bind", 1)
	for _, site := range []string{"http://localhost:8080 {\n", "http://localhost:8081 {\n"} {
		text = strings.Replace(text, "\n"+site, "\n"+site+"\tlog\n", 1)
	}
	g := newGateway(t, text)
	g.Start()
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8081/backup"))
	b.Login("alice", "wrong-password")
	b.Login("alice", "alice-demo")
	b.Click(`form#consent [name="accept"]`)
	b.Wants("alice")
	token := strings.TrimSpace(g.Token("alice").Stdout)
	whoami(t, g, token)
	get(t, g.URL("http://localhost:8081/api/whoami"), http.Header{"Authorization": {"Bearer " + token[:len(token)-3] + "xxx"}})
	if r := g.Run([]string{"NIGHTLATCH_JOB=nightly-backup", "NIGHTLATCH_SECRET=wrong-job-secret"}, "grants", "token", "--user", "alice"); r.Code != 78 {
		t.Errorf("a wrong secret: %+v", r)
	}
	b.Open(g.URL("http://localhost:8081/.nightlatch/logout"))
	b.Click(`form#logout button`)
	metrics := g.Admin("/metrics")
	g.Stop()
	if !strings.Contains(metrics, "caddy_http_requests_total") {
		t.Fatal("there are no metrics: the test would say nothing")
	}

	log := g.out.String()
	if !strings.Contains(log, `"level":"debug"`) || !strings.Contains(log, "http.log.access") {
		t.Fatal("the log is not at debug level with access logs: the test would say nothing")
	}
	for line := range strings.SplitSeq(log+"\n"+metrics, "\n") {
		for what, form := range secretForms {
			if hit := form.FindString(line); hit != "" {
				t.Errorf("%s is told:\n%s", what, line)
			}
		}
		for _, typed := range []string{"wrong-password", "wrong-job-secret"} {
			if strings.Contains(line, typed) {
				t.Errorf("what was typed as a secret is told:\n%s", line)
			}
		}
	}
}
