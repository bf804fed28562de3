package caddymodule

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// metrics of one configuration, in Caddy's registry. No label names a person.
type metrics struct {
	grants    *prometheus.CounterVec
	providers *prometheus.CounterVec
}

func newMetrics(to prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		grants: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nightlatch_grant_events_total", Help: "What happened to grants of background access, by event and provider.",
		}, []string{"event", "provider"}),
		providers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nightlatch_provider_events_total", Help: "Providers that stopped answering, or answer again, by event.",
		}, []string{"event", "provider"}),
	}
	for _, c := range []prometheus.Collector{m.grants, m.providers} {
		if err := to.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) count(event string, data map[string]any) {
	if m == nil {
		return
	}
	provider, _ := data["provider"].(string)
	switch {
	case strings.HasPrefix(event, "grant_") && (slices.Contains(newsworthy, event) || slices.Contains(routine, event)):
		m.grants.WithLabelValues(event, provider).Inc()
	case strings.HasPrefix(event, "provider_"):
		m.providers.WithLabelValues(event, provider).Inc()
	}
}

// routine are the events of grants that are nobody's business.
var routine = []string{vault.EventSaved, vault.EventRefreshed, vault.EventRestored}

// gauge counts the grants of this configuration's clients when it is asked, and
// tells what the store has counted since it was opened.
type gauge struct {
	app                    *App
	of, updates, conflicts *prometheus.Desc
}

func newGauge(a *App) *gauge {
	return &gauge{
		app:       a,
		of:        prometheus.NewDesc("nightlatch_grants", "Grants of background access, by state.", []string{"provider", "client", "state"}, nil),
		updates:   prometheus.NewDesc("nightlatch_store_updates_total", "Transactions that were to write to the store.", nil, nil),
		conflicts: prometheus.NewDesc("nightlatch_store_conflicts_total", "Transactions that ran once more because of a conflict.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *gauge) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.of, g.updates, g.conflicts} {
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
		for _, state := range []vault.State{vault.Active, vault.Suspended, vault.Ended} {
			n, err := l.vault.Count(ctx, p.Name, p.ClientID, state)
			if err != nil {
				return
			}
			to <- prometheus.MustNewConstMetric(g.of, prometheus.GaugeValue, float64(n), p.Name, p.ClientID, string(state))
		}
	}
}
