package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("nightlatch", parseGlobal)
}

// parseGlobal reads the global option:
//
//	nightlatch {
//		store badger <folder> | postgres <url> { … }
//		key <sealing key>
//		realm <name> { … }
//		provider <name> <issuer> { … }
//		job <name> { … }
//		stop_after_unused <duration>|off
//		notify { webhook <url> { … }  mail <server> { … } }
//	}
//
// A second block adds to the first.
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(App)
	if prior, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(prior.Value, app); err != nil {
			return nil, d.Errf("reading the earlier nightlatch block: %w", err)
		}
	}
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "nightlatch", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads the global option; see parseGlobal.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if d.NextArg() {
			return d.Errf("nightlatch: unexpected %q: want a block", d.Val())
		}
		if err := appOptions.read(d, "nightlatch", a); err != nil {
			return err
		}
	}
	return nil
}

var appOptions = options[App]{
	"store":    readStore,
	"key":      text(func(a *App) *string { return &a.Key }),
	"realm":    named(func(a *App) *map[string]*Realm { return &a.Realms }, realmOptions),
	"provider": readForeign,
	"job":      named(func(a *App) *map[string]*Job { return &a.Jobs }, jobOptions),

	"notify":            readNotify,
	"stop_after_unused": spanOrOff(func(a *App) *Duration { return &a.StopAfterUnused }),
}

// readStore reads `store <engine> …`; the rest of the line is the engine's.
func readStore(d *caddyfile.Dispenser, a *App) error {
	if a.StoreRaw != nil {
		return d.Err("option store is given twice")
	}
	if !d.NextArg() {
		return d.Err("option store: want an engine: badger <folder>, or postgres <url>")
	}
	engine := d.Val()
	if _, err := caddy.GetModule("nightlatch.stores." + engine); err != nil {
		return d.Errf("option store: unknown engine %q: want badger <folder>, or postgres <url>", engine)
	}
	mod, err := caddyfile.UnmarshalModule(d, "nightlatch.stores."+engine)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(mod, "engine", engine, nil)
	return nil
}

// readForeign reads `provider <name> <issuer> { … }`.
func readForeign(d *caddyfile.Dispenser, a *App) error {
	var name, issuer string
	if !d.Args(&name, &issuer) {
		return d.Err("option provider: want a name and an issuer: provider google https://accounts.google.com")
	}
	if a.Providers[name] != nil {
		return d.Errf("provider %s is declared twice", name)
	}
	if a.Providers == nil {
		a.Providers = map[string]*Foreign{}
	}
	p := &Foreign{Issuer: issuer}
	a.Providers[name] = p
	return foreignOptions.read(d, "provider "+name, p)
}

var foreignOptions = options[Foreign]{
	"client_id":     text(func(p *Foreign) *string { return &p.ClientID }),
	"client_secret": text(func(p *Foreign) *string { return &p.ClientSecret }),
	"algorithms":    words(1, func(p *Foreign) *[]string { return &p.Algorithms }),
	"offline_idle":  span(func(p *Foreign) *Duration { return &p.OfflineIdle }),
	"offline_max":   span(func(p *Foreign) *Duration { return &p.OfflineMax }),
	"refresh_rate":  number(1, func(p *Foreign, n int) { p.RefreshRate = n }),
	"auth_param": func(d *caddyfile.Dispenser, p *Foreign) error {
		var name, value string
		if !d.Args(&name, &value) {
			return d.Err("option auth_param: want a name and a value: auth_param access_type offline")
		}
		if p.AuthParams == nil {
			p.AuthParams = map[string]string{}
		}
		p.AuthParams[name] = value
		return nil
	},
}

var jobOptions = options[Job]{
	"secret":   text(func(j *Job) *string { return &j.Secret }),
	"site":     text(func(j *Job) *string { return &j.Site }),
	"provider": text(func(j *Job) *string { return &j.Provider }),
	"users":    words(1, func(j *Job) *[]string { return &j.Users }),
	"scopes":   words(1, func(j *Job) *[]string { return &j.Scopes }),
	"may": func(d *caddyfile.Dispenser, j *Job) error {
		values := d.RemainingArgs()
		for _, v := range values {
			if v != "revoke" {
				return d.Errf("option may: %q: want revoke", v)
			}
		}
		if len(values) == 0 {
			return d.Err("option may: want revoke")
		}
		j.May = append(j.May, values...)
		return nil
	},
}
