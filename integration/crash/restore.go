package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// restoreRealm puts an old copy of the realm's store back after everybody's
// token went on by some generations, or by none. Each token that is ahead of its
// record must be taken for what it is, and nobody be revoked (O55).
func (h *harness) restoreRealm(ctx context.Context) error {
	ahead, err := h.restore(ctx, h.realm, realmRestored)
	if err != nil {
		return err
	}
	for _, p := range ahead {
		h.tally.restored(p.sub)
	}
	return h.everybody(ctx)
}

// restoreGateway does the same to the gateway's store, where a realm without
// single use promises that it does no harm.
func (h *harness) restoreGateway(ctx context.Context) error {
	h.proxy.ledger.close()
	lenient := strings.Replace(h.config, "revoke_refresh_token on", "revoke_refresh_token off", 1)
	err := h.realm.whileDown(func() error { return h.realm.configure(lenient) })
	if err != nil {
		return fmt.Errorf("turning single use off: %w", err)
	}
	if err := h.everybody(ctx); err != nil {
		return err
	}
	if _, err := h.restore(ctx, h.gateway, gatewayRestored); err != nil {
		return err
	}
	return h.everybody(ctx)
}

// restore copies a process's store, lets everybody refresh up to four times, and
// puts the copy back. It returns those who did.
func (h *harness) restore(ctx context.Context, p *process, f *fault) ([]*person, error) {
	now, old := filepath.Join(p.dir, "data"), filepath.Join(p.dir, "data.old")
	if err := p.whileDown(func() error { return exec.Command("cp", "-a", now, old).Run() }); err != nil {
		return nil, fmt.Errorf("copying the store of the %s: %w", p.name, err)
	}
	var ahead []*person
	for _, somebody := range h.people {
		n := h.random.IntN(5)
		for range n {
			h.ask(ctx, somebody)
		}
		if n > 0 && !somebody.lost {
			h.tally.fired(somebody.sub, f)
			ahead = append(ahead, somebody)
		}
	}
	err := p.whileDown(func() error {
		if err := os.RemoveAll(now); err != nil {
			return err
		}
		return os.Rename(old, now)
	})
	if err != nil {
		return nil, fmt.Errorf("putting back the store of the %s: %w", p.name, err)
	}
	return ahead, ctx.Err()
}

// everybody asks for two tokens of each person, one after the other: the second
// ask uses what the first one got.
func (h *harness) everybody(ctx context.Context) error {
	for _, p := range h.people {
		for range 2 {
			h.ask(ctx, p)
		}
	}
	return ctx.Err()
}
