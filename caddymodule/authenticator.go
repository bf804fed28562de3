package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	caddy.RegisterModule(new(Authenticator))
	httpcaddyfile.RegisterHandlerDirective("nightlatch_validate", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		v := &Authenticator{Challenge: true}
		if err := v.UnmarshalCaddyfile(h.Dispenser); err != nil {
			return nil, err
		}
		return caddyauth.Authentication{ProvidersRaw: caddy.ModuleMap{"nightlatch": caddyconfig.JSON(v, nil)}}, nil
	})
	// Behind the site's own handler, which finds out the same.
	httpcaddyfile.RegisterDirectiveOrder("nightlatch_validate", httpcaddyfile.After, "basic_auth")
}

// Authenticator validates requests for Caddy's handler `authentication`: by the
// access token or the session with which a site that has nightlatch would let the
// request in. It sends nobody to a login, so that it can stand beside other
// providers, http_basic for one; it answers nothing but a challenge, if that is on.
//
// Whom the site's allow, deny and access rules leave out is not authenticated.
// The placeholders `{http.auth.user.*}` are those of nightlatch. From a request
// that is let in the session's cookie is taken; so a handler nightlatch of the same
// site has to stand before this one, not behind it. Browsers send the cookie to the
// host of the site alone.
type Authenticator struct {
	// The address of the site whose sessions and tokens count. May be left out
	// where only one has nightlatch.
	Site string `json:"site,omitempty"`
	// Whether a refusal asks for a bearer token (WWW-Authenticate). Default: off,
	// because beside other providers it would hide their challenges at random.
	Challenge bool `json:"challenge,omitempty"`

	app  *App
	site *Site // from Start on
}

// CaddyModule names the module.
func (*Authenticator) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.providers.nightlatch", New: func() caddy.Module { return new(Authenticator) }}
}

// UnmarshalCaddyfile reads the directive:
//
//	nightlatch_validate [<matcher>] [<public url of a site>]
func (v *Authenticator) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		v.Site = d.Val()
	}
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("nightlatch_validate: unexpected %q: want at most the address of a site that has nightlatch", d.Val())
	}
	return nil
}

// Provision makes it known to the app: the sites are known when all is provisioned.
func (v *Authenticator) Provision(ctx caddy.Context) error {
	if err := resolve(v); err != nil {
		return fmt.Errorf("nightlatch_validate: %w", err)
	}
	app, err := configured(ctx, "nightlatch_validate")
	if err != nil {
		return err
	}
	v.app, v.Site = app, strings.TrimSuffix(v.Site, "/")
	app.asking = append(app.asking, v)
	return nil
}

// find finds the site.
func (v *Authenticator) find() error {
	var declared []string
	for _, s := range v.app.sites {
		if s.URL == v.Site || v.Site == "" && len(v.app.sites) == 1 {
			v.site = s
			return nil
		}
		declared = append(declared, s.URL)
	}
	switch {
	case len(declared) == 0:
		return errors.New("nightlatch_validate: no site has nightlatch, whose sessions and tokens could count")
	case v.Site == "":
		return fmt.Errorf("nightlatch_validate: want the address of a site: one of %s", strings.Join(declared, ", "))
	}
	return fmt.Errorf("nightlatch_validate: %s has no nightlatch: want one of %s", v.Site, strings.Join(declared, ", "))
}

// Authenticate implements caddyauth.Authenticator.
func (v *Authenticator) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	if !v.app.enter(r.Context()) {
		return caddyauth.User{}, false, errors.New("starting or stopping")
	}
	defer v.app.leave()
	caller := callerOf(r)
	if caller.by != v.site { // else the site's handler has judged it already
		id, err := v.site.rp.Validate(r, originalURL(r))
		if err != nil {
			return caddyauth.User{}, false, err
		}
		if !id.Anonymous() {
			caller.Identity, caller.by = id, v.site
		}
	}
	if caller.by != v.site || caller.Anonymous() {
		if v.Challenge {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+v.site.url.Host+`"`)
		}
		return caddyauth.User{}, false, nil
	}
	return caddyauth.User{ID: caller.Subject}, true, nil
}

var (
	_ caddy.Provisioner       = (*Authenticator)(nil)
	_ caddyauth.Authenticator = (*Authenticator)(nil)
	_ caddyfile.Unmarshaler   = (*Authenticator)(nil)
)
