package provider

import (
	"context"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

func (p *Provider) keys() keys.Config {
	c := p.config
	return keys.Config{Store: c.Store, Sealer: c.Sealer, Realm: c.Realm, Now: c.Now, Random: c.Random}
}

// verifyFor is how long an asymmetric key verifies at least after another one
// took its place; longer where the realm's tokens live longer.
const verifyFor = 30 * 24 * time.Hour

// RotateKeys gives the realm a new signing key for each of the algorithms (none:
// for all), on every node, and returns them. It needs no Start. Tokens of the
// keys before stay valid: see keys.Rotate.
func (p *Provider) RotateKeys(ctx context.Context, algs ...string) ([]keys.Rotated, error) {
	var s realm.Settings
	err := p.config.Store.View(ctx, func(tx storage.Tx) (err error) {
		s, err = realm.Get(tx, p.config.Realm)
		return err
	})
	if err != nil {
		return nil, err
	}
	made, err := keys.Rotate(ctx, p.keys(), max(verifyFor, s.AccessTokenLifespan, s.SSOSessionMax, s.SSOSessionMaxRememberMe), algs...)
	if err != nil {
		return nil, err
	}
	e := event.Event{Time: p.config.Now().UTC(), Type: event.KeysRotated, Realm: p.config.Realm, Details: map[string]string{}}
	for _, k := range made {
		e.Details[strings.ToLower(k.Alg)] = k.ID
	}
	p.audit.Tell(ctx, e)
	return made, nil
}

// followKeys opens the realm's keys again whenever a node has rotated them. Until
// it has, the keys of before sign: a new one waits.
func (p *Provider) followKeys(ctx context.Context) {
	reopen := func() {
		if err := p.Start(ctx); err != nil && ctx.Err() == nil {
			p.config.Logger.Error("opening keys after a rotation", "realm", p.config.Realm, "err", err)
		}
	}
	for ctx.Err() == nil {
		err := keys.Watch(ctx, p.keys(), reopen)
		if ctx.Err() != nil {
			return
		}
		p.config.Logger.Warn("watching keys", "realm", p.config.Realm, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
