package caddymodule

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/realm"
)

// TestLongTokensAreWarnedAbout: those that a site would refuse before they expire.
func TestLongTokensAreWarnedAbout(t *testing.T) {
	for _, c := range []struct {
		life, most time.Duration
		want       bool
	}{
		{0, 0, false}, {24 * time.Hour, 0, false}, {25 * time.Hour, 0, true},
		{25 * time.Hour, 48 * time.Hour, false}, {2 * time.Hour, time.Hour, true},
	} {
		var log strings.Builder
		r := &runningRealm{declared: provider.Declaration{Settings: realm.Settings{AccessTokenLifespan: c.life}}}
		s := &Site{app: &App{log: slog.New(slog.NewTextHandler(&log, nil))}, bearerMax: c.most, providers: []*siteProvider{{name: "demo", realm: r}, {name: "elsewhere"}}}
		s.warnOfLongTokens()
		if got := strings.Contains(log.String(), "bearer_max"); got != c.want {
			t.Errorf("tokens of %v, bearer_max %v: %s", c.life, c.most, log.String())
		}
	}
}
