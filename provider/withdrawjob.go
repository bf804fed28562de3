package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// WithdrawJob takes one job out of what a user (by sub) consented to at a client (by
// client_id), and out of his offline sessions there; the others stay. A job that
// was not consented to is fine.
func (p *Provider) WithdrawJob(ctx context.Context, sub, clientID, job string) error {
	now := p.config.Now().UTC()
	err := p.audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
		c, err := client.ByName(tx, p.config.Realm, clientID)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		u, err := user.Users.Shared(tx, p.config.Realm, sub)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		events, err := standing.WithdrawJob(tx, p.config.Realm, u, c, job, now)
		tell(events...)
		return err
	})
	if err != nil {
		return fmt.Errorf("withdrawing job: %w", err)
	}
	return nil
}
