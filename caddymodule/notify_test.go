package caddymodule

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestNotifyIsChecked(t *testing.T) {
	mail := func(m Mail) *Notify { return &Notify{Mail: &m} }
	hook := func(hooks ...*Webhook) *Notify { return &Notify{Webhooks: hooks} }
	for name, c := range map[string]struct {
		n    *Notify
		says string // in the error; "": none
		many int
	}{
		"nobody":               {nil, "", 0},
		"a webhook":            {hook(&Webhook{URL: "https://ops.example.com/a"}, &Webhook{URL: "https://ops.example.com/b"}), "", 2},
		"on this machine":      {hook(&Webhook{URL: "http://127.0.0.1:9000"}), "", 1},
		"in the clear":         {hook(&Webhook{URL: "http://ops.example.com"}), "https", 0},
		"no address":           {hook(&Webhook{URL: "ops"}), "address", 0},
		"twice":                {hook(&Webhook{URL: "https://ops.example.com"}, &Webhook{URL: "https://ops.example.com"}), "twice", 0},
		"an unknown event":     {hook(&Webhook{URL: "https://ops.example.com", Events: []string{"login"}}), "grant_lapsing", 0},
		"a mail":               {mail(Mail{Server: "smtps://mail.example.com", From: "a@example.com"}), "", 1},
		"a mail, no sender":    {mail(Mail{Server: "smtps://mail.example.com"}), "from", 0},
		"a mail, no server":    {mail(Mail{From: "a@example.com"}), "smtps", 0},
		"a mail, odd event":    {mail(Mail{Server: "smtps://mail.example.com", From: "a@example.com", Events: []string{"x"}}), "events", 0},
		"a mail, half a login": {mail(Mail{Server: "smtps://mail.example.com", From: "a@example.com", Username: "u"}), "password", 0},
	} {
		tellers, err := c.n.tellers()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) || len(tellers) != c.many {
			t.Errorf("%s: %d tellers, %v", name, len(tellers), err)
		}
	}
}

func TestEventsOfGrantsAreCounted(t *testing.T) {
	to := prometheus.NewRegistry()
	m := newMetrics()
	if err := m.register(to); err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{"grant_lapsing", "grant_lapsing", "grant_saved", "grant_consent", "login", "provider_failing"} {
		m.count(event, map[string]any{"provider": "home", "user": "alice"})
	}
	err := testutil.GatherAndCompare(to, strings.NewReader(`
# HELP nightlatch_grant_events_total What happened to grants of background access, by event and provider.
# TYPE nightlatch_grant_events_total counter
nightlatch_grant_events_total{event="grant_lapsing",provider="home"} 2
nightlatch_grant_events_total{event="grant_saved",provider="home"} 1
# HELP nightlatch_provider_events_total Providers that stopped answering, or answer again, by event.
# TYPE nightlatch_provider_events_total counter
nightlatch_provider_events_total{event="provider_failing",provider="home"} 1
`))
	if err != nil {
		t.Error(err)
	}
}
