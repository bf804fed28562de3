package caddymodule

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/storage"
)

// metrics are what happened in this process. They outlive configurations: each
// registers the same ones in the registry that Caddy makes for it, so that a reload
// sets nothing back. No label names a person, and none has a value that a stranger
// or a provider could choose.
type metrics struct {
	grants, providers *prometheus.CounterVec
	realms            *prometheus.CounterVec
	logins, refusals  *prometheus.CounterVec
	asks              *prometheus.CounterVec
	refreshes         *prometheus.CounterVec
	refreshSeconds    *prometheus.HistogramVec
	updateSeconds     *prometheus.HistogramVec
}

// counted is the only one, but in tests.
var counted = newMetrics()

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &metrics{
		grants:    counter("nightlatch_grant_events_total", "What happened to grants of background access, by event and provider.", "event", "provider"),
		providers: counter("nightlatch_provider_events_total", "Providers that stopped answering, or answer again, by event.", "event", "provider"),
		realms:    counter("nightlatch_realm_events_total", "What happened at realms, by event and the reason of a refusal.", "realm", "event", "reason"),
		logins:    counter("nightlatch_site_logins_total", "Logins at sites, by outcome: success, or why not.", "site", "provider", "outcome"),
		refusals:  counter("nightlatch_site_refusals_total", "Requests to sites that did not get what they asked for, by reason.", "site", "reason"),
		asks:      counter("nightlatch_job_asks_total", "Requests of jobs, by outcome: token, or the error.", "job", "outcome"),
		refreshes: counter("nightlatch_refreshes_total", "Refreshes of grants at their provider, by outcome: success, or the class of the error.", "provider", "client", "outcome"),
		refreshSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nightlatch_refresh_seconds", Help: "How long providers took for a refresh, all attempts together.", Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30},
		}, []string{"provider"}),
		updateSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nightlatch_store_update_seconds", Help: "How long writes to the store took, by outcome: committed, unknown, failed.",
			Buckets: []float64{.0003, .001, .003, .01, .03, .1, .3, 1, 3, 10},
		}, []string{"outcome"}),
	}
}

func (m *metrics) register(to prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.grants, m.providers, m.realms, m.logins, m.refusals, m.asks, m.refreshes, m.refreshSeconds, m.updateSeconds} {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// count takes the events of App.emit.
func (m *metrics) count(name string, data map[string]any) {
	text := func(key string) string { s, _ := data[key].(string); return s }
	switch provider := text("provider"); {
	case text("realm") != "":
		reason := ""
		if event.Type(strings.ToUpper(name)).Error() {
			reason = wordOf(text("reason"))
		}
		m.realms.WithLabelValues(text("realm"), name, reason).Inc()
	case slices.Contains(newsworthy, name) || slices.Contains(routine, name):
		m.grants.WithLabelValues(name, provider).Inc()
	case strings.HasPrefix(name, "provider_"):
		m.providers.WithLabelValues(name, provider).Inc()
	case name == "site_login":
		m.logins.WithLabelValues(text("site"), provider, "success").Inc()
	case name == "site_login_failed":
		m.logins.WithLabelValues(text("site"), provider, wordOf(text("error"))).Inc()
	case name == "job_token":
		m.asks.WithLabelValues(text("job"), "token").Inc()
	case name == "job_refused":
		m.asks.WithLabelValues(text("job"), wordOf(text("error"))).Inc()
	}
}

// labels are the words that were counted by so far: ours are few, and what is
// longer or beyond so many is nobody's word.
var labels = struct {
	sync.Mutex
	known map[string]bool
}{known: map[string]bool{}}

const maxLabels, longestLabel = 200, 40

// wordOf bounds the values of a label.
func wordOf(s string) string {
	labels.Lock()
	defer labels.Unlock()
	switch {
	case s == "" || labels.known[s]:
		return s
	case len(labels.known) >= maxLabels, len(s) > longestLabel, strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "":
		return "other"
	}
	labels.known[s] = true
	return s
}

func (m *metrics) refreshed(provider, client string, took time.Duration, failed *vault.Error) {
	outcome := "success"
	if failed != nil {
		outcome = string(failed.Class)
	}
	m.refreshes.WithLabelValues(provider, client, outcome).Inc()
	m.refreshSeconds.WithLabelValues(provider).Observe(took.Seconds())
}

func (m *metrics) updated(took time.Duration, err error) {
	outcome := "failed"
	switch {
	case err == nil:
		outcome = "committed"
	case errors.Is(err, storage.ErrUnknown):
		outcome = "unknown"
	}
	m.updateSeconds.WithLabelValues(outcome).Observe(took.Seconds())
}

// routine are the events of grants that are nobody's business.
var routine = []string{vault.EventSaved, vault.EventRefreshed, vault.EventRestored, vault.EventJobsAllowed, vault.EventJobRemoved}

// gauge counts the grants of this configuration's clients when it is asked, tells
// how their providers do, and what the store has counted since it was opened.
type gauge struct {
	app                               *App
	of, open, lag, updates, conflicts *prometheus.Desc
}

func newGauge(a *App) *gauge {
	return &gauge{
		app:       a,
		of:        prometheus.NewDesc("nightlatch_grants", "Grants of background access, by state.", []string{"provider", "client", "state"}, nil),
		open:      prometheus.NewDesc("nightlatch_provider_breaker_open", "1 while nothing is sent to a provider for a client, because it is away or does not take the client.", []string{"provider", "client"}, nil),
		lag:       prometheus.NewDesc("nightlatch_keepalive_lag_seconds", "How long the grant that has waited longest is overdue for what keeps it alive.", []string{"provider", "client"}, nil),
		updates:   prometheus.NewDesc("nightlatch_store_updates_total", "Transactions that were to write to the store.", nil, nil),
		conflicts: prometheus.NewDesc("nightlatch_store_conflicts_total", "Transactions that ran once more because of a conflict.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *gauge) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.of, g.open, g.lag, g.updates, g.conflicts} {
		to <- d
	}
}

// countWithin bounds the reads of one collection.
const countWithin = 2 * time.Second

// Collect implements prometheus.Collector. It reads counters, never grants.
func (g *gauge) Collect(to chan<- prometheus.Metric) {
	select {
	case <-g.app.ready:
	default:
		return
	}
	l := g.app.lease
	if !l.hold() {
		return
	}
	defer l.release()
	stats := l.store.Stats()
	to <- prometheus.MustNewConstMetric(g.updates, prometheus.CounterValue, float64(stats.Updates.Load()))
	to <- prometheus.MustNewConstMetric(g.conflicts, prometheus.CounterValue, float64(stats.Conflicts.Load()))
	ctx, cancel := context.WithTimeout(context.Background(), countWithin)
	defer cancel()
	for _, p := range g.app.vaults {
		open := 0.0
		if l.vault.Failing(p.Name, p.ClientID) {
			open = 1
		}
		to <- prometheus.MustNewConstMetric(g.open, prometheus.GaugeValue, open, p.Name, p.ClientID)
		lag, err := l.vault.Lag(ctx, p.Name, p.ClientID)
		if err != nil {
			return
		}
		to <- prometheus.MustNewConstMetric(g.lag, prometheus.GaugeValue, lag.Seconds(), p.Name, p.ClientID)
		for _, state := range []vault.State{vault.Active, vault.Suspended, vault.Ended} {
			n, err := l.vault.Count(ctx, p.Name, p.ClientID, state)
			if err != nil {
				return
			}
			to <- prometheus.MustNewConstMetric(g.of, prometheus.GaugeValue, float64(n), p.Name, p.ClientID, string(state))
		}
	}
}
