package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
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
		gone, err := consent.WithdrawJob(tx, p.config.Realm, sub, c.ID, job, now)
		if err != nil || !gone {
			return err
		}
		tell(event.Event{
			Time: now, Type: event.UpdateConsent, Realm: p.config.Realm, Client: clientID, Subject: sub,
			Details: map[string]string{"removed_job": job},
		})
		return session.WithdrawDetails(tx, p.config.Realm, sub, c.ID, func(d []json.RawMessage) []json.RawMessage {
			return consent.WithoutJob(d, job)
		})
	})
	if err != nil {
		return fmt.Errorf("withdrawing job: %w", err)
	}
	return nil
}
