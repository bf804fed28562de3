package caddymodule

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"
)

// processLog writes to whatever Caddy's default log is at that moment: what
// outlives a configuration must not keep the log of one.
type processLog struct {
	with func(slog.Handler) slog.Handler
}

func (p processLog) handler() slog.Handler {
	var h slog.Handler = zapslog.NewHandler(caddy.Log().Core(), zapslog.WithName("nightlatch"), zapslog.AddStacktraceAt(slog.Level(127)))
	if p.with != nil {
		h = p.with(h)
	}
	return h
}

func (p processLog) Enabled(ctx context.Context, l slog.Level) bool {
	return p.handler().Enabled(ctx, l)
}

func (p processLog) Handle(ctx context.Context, r slog.Record) error {
	return p.handler().Handle(ctx, r)
}

func (p processLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return processLog{func(h slog.Handler) slog.Handler { return p.apply(h).WithAttrs(attrs) }}
}

func (p processLog) WithGroup(name string) slog.Handler {
	return processLog{func(h slog.Handler) slog.Handler { return p.apply(h).WithGroup(name) }}
}

func (p processLog) apply(h slog.Handler) slog.Handler {
	if p.with == nil {
		return h
	}
	return p.with(h)
}
