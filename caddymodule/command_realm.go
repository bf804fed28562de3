package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/nightlatch/nightlatch/provider"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/transfer"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "realm",
		Usage: "rotate-keys",
		Short: "Looks after a realm",
		Long: `Works on a realm of the gateway that runs, through Caddy's admin endpoint if that
is a unix socket, or on its store while the gateway is stopped.
` + operatorExits,
		CobraFunc: func(cmd *cobra.Command) {
			s := new(setup)
			s.flags(cmd)
			cmd.AddCommand(rotateKeysCommand(s))
			parentCommand(cmd)
		},
	})
}

func rotateKeysCommand(s *setup) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate-keys [--realm <name>] [--algorithm <name>,…] [--config <file>] [--address <admin endpoint>]",
		Short: "Gives a realm new signing keys",
		Long: `Makes a new key for each algorithm, or for those that are named (RS256, ES256,
EdDSA for tokens that others verify, HS512 for refresh and offline tokens). They
sign a few seconds later, when everybody knows them.

Nobody is logged out and no grant ends: HS512 keys verify for ever, the others for
as long as their tokens live; an old one goes with a rotation 30 days later.
` + operatorExits,
	}
	name := cmd.Flags().String("realm", "", "name of the realm; may be left out where there is only one")
	algs := cmd.Flags().StringSlice("algorithm", nil, "algorithms to rotate; default: all")
	return operatorCommand(cmd, 0, 0, func(ctx context.Context, _ []string) error {
		d, err := s.read()
		if err != nil {
			return err
		}
		if *name, err = d.realmNamed(*name); err != nil {
			return err
		}
		if i := slices.IndexFunc(*algs, func(alg string) bool { return !slices.Contains(keys.Algorithms(), alg) }); i >= 0 {
			return usage("--algorithm %s: want some of %s", (*algs)[i], strings.Join(keys.Algorithms(), ", "))
		}
		live, err := s.running(d)
		if err != nil {
			return err
		}
		var made []keys.Rotated
		if live != nil {
			made, err = live.rotateKeys(d.engine, *name, *algs)
		} else {
			made, err = d.rotateKeys(ctx, *name, *algs)
		}
		if err != nil {
			return err
		}
		var out strings.Builder
		for _, k := range made {
			fmt.Fprintf(&out, "%s\t%s\n", k.Alg, k.ID)
		}
		return written(fmt.Fprint(cmd.OutOrStdout(), out.String()))
	})
}

// realmNamed finds a realm; "" stands for the only one.
func (d *declared) realmNamed(name string) (string, error) {
	slices.Sort(d.realms)
	switch {
	case name == "" && len(d.realms) == 1:
		return d.realms[0], nil
	case len(d.realms) == 0:
		return "", fmt.Errorf("%w: no realm is declared", errConfig)
	case !slices.Contains(d.realms, name):
		return "", usage("--realm %q: want one of %s", name, strings.Join(d.realms, ", "))
	}
	return name, nil
}

func (g *running) rotateKeys(e engine, name string, algs []string) ([]keys.Rotated, error) {
	resp, err := g.ask(http.MethodPost, "realms/"+url.PathEscape(name)+"/rotate-keys?"+url.Values{"algorithm": algs}.Encode(), e)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var made []keys.Rotated
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil {
		return nil, fmt.Errorf("reading the gateway's answer: %w", err)
	}
	return made, nil
}

// rotateKeys works on the store itself.
func (d *declared) rotateKeys(ctx context.Context, name string, algs []string) (made []keys.Rotated, err error) {
	k, err := d.keyset()
	if err != nil {
		return nil, err
	}
	store, err := openStore(ctx, d.engine, time.Now(), beside)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := transfer.Whole(ctx, store.Store); err != nil {
		return nil, fmt.Errorf("store %s: %w", d.engine.name(), err)
	}
	live, err := seal.Open(ctx, store.Store, k, 0)
	if err == nil {
		ctx, err = store.attend(ctx, "nightlatch realm", live)
	}
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", d.engine.name(), err)
	}
	var settings realm.Settings
	err = store.View(ctx, func(tx storage.Tx) (err error) {
		settings, err = realm.Get(tx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	p, err := provider.New(provider.Config{Store: store.Store, Sealer: live, Realm: name, URL: settings.URL})
	if err != nil {
		return nil, err
	}
	return p.RotateKeys(ctx, algs...)
}
