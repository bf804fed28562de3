package caddymodule

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterDirective("nightlatch", parseSite)
	// After whatever rewrites the request, before whatever answers it: rules are
	// judged on the path that the app will see.
	httpcaddyfile.RegisterDirectiveOrder("nightlatch", httpcaddyfile.Before, "basic_auth")
}

// parseSite reads the directive:
//
//	nightlatch [<matcher>] <public url of the site> {
//		provider <realm or provider> [<another...>]
//		client_id <name>
//		name <text>
//		logo <file>
//		templates <folder>
//		request_scopes <scope...>
//		public <path or @matcher...>
//		offline <path or @matcher...> [{
//			optional
//		}]
//		allow|deny any | provider <name...> | user <name...> | role <role...> | group <group...> | email <address...> | email_domain <domain...> | claim <name> <value...>
//		access <path or @matcher...> {
//			allow|deny …
//		}
//		bearer_audience <aud...>
//		assertion [on|off]
//		header_up <header> <value>
//		session_idle <duration>
//		session_max <duration>
//		session_recheck <duration>
//		bearer_max <duration>
//	}
//
// The matcher says what needs a login. It is part of the handler and not of the
// route: the handler's own paths, and the deletion of identity headers that a
// client sent, hold for every request of the site.
func parseSite(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	match, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next()
	s := &siteBlock{Site: new(Site), h: h}
	if match != nil {
		s.MatchRaw = caddyhttp.RawMatcherSets{match}
	}
	if !h.NextArg() {
		return nil, h.Err("nightlatch: want the site's own public address: nightlatch https://app.example.com")
	}
	s.URL = h.Val()
	if h.NextArg() {
		return nil, h.Errf("nightlatch: unexpected %q behind the site's address", h.Val())
	}
	if err := siteOptions.read(h.Dispenser, "nightlatch", s); err != nil {
		return nil, err
	}
	return h.NewRoute(nil, s.Site), nil
}

// siteBlock is a Site while it is read: matchers that an option names are
// defined in the Caddyfile around it.
type siteBlock struct {
	*Site
	h httpcaddyfile.Helper
}

var siteOptions = options[siteBlock]{
	"provider": func(d *caddyfile.Dispenser, s *siteBlock) error {
		names := d.RemainingArgs()
		switch {
		case len(names) == 0:
			return d.Err("option provider: want the name of a realm or provider, or several")
		case s.Provider != "" || len(s.Providers) > 0:
			return d.Err("option provider is given twice: name several on one line")
		case len(names) == 1:
			s.Provider = names[0]
		default:
			s.Providers = names
		}
		return nil
	},
	"client_id":       text(func(s *siteBlock) *string { return &s.ClientID }),
	"name":            text(func(s *siteBlock) *string { return &s.Name }),
	"logo":            text(func(s *siteBlock) *string { return &s.Logo }),
	"templates":       text(func(s *siteBlock) *string { return &s.Templates }),
	"request_scopes":  words(1, func(s *siteBlock) *[]string { return &s.RequestScopes }),
	"bearer_audience": words(1, func(s *siteBlock) *[]string { return &s.BearerAudience }),
	"session_idle":    span(func(s *siteBlock) *Duration { return &s.SessionIdle }),
	"session_max":     span(func(s *siteBlock) *Duration { return &s.SessionMax }),
	"session_recheck": span(func(s *siteBlock) *Duration { return &s.SessionRecheck }),
	"bearer_max":      span(func(s *siteBlock) *Duration { return &s.BearerMax }),
	"assertion":       onOff(func(s *siteBlock, on bool) { s.Assertion = on }),
	"allow":           readWho(func(s *siteBlock) **Who { return &s.Allow }),
	"deny":            readWho(func(s *siteBlock) **Who { return &s.Deny }),
	"access": func(d *caddyfile.Dispenser, s *siteBlock) error {
		sets, err := s.matchers("access")
		if err != nil {
			return err
		}
		p := &PathAccess{MatchRaw: sets}
		if err := accessOptions.read(d, "access", p); err != nil {
			return err
		}
		if p.Allow == nil && p.Deny == nil {
			return d.Err("option access: want a block with allow or deny")
		}
		s.PathAccess = append(s.PathAccess, p)
		return nil
	},
	"public": func(d *caddyfile.Dispenser, s *siteBlock) error {
		sets, err := s.matchers("public")
		s.PublicRaw = append(s.PublicRaw, sets...)
		return err
	},
	"offline": func(d *caddyfile.Dispenser, s *siteBlock) error {
		sets, err := s.matchers("offline")
		if err != nil {
			return err
		}
		var o struct{ optional bool }
		if err := (options[struct{ optional bool }]{
			"optional": onOff(func(o *struct{ optional bool }, on bool) { o.optional = on }),
		}).read(d, "offline", &o); err != nil {
			return err
		}
		if o.optional {
			s.OfflineOptionalRaw = append(s.OfflineOptionalRaw, sets...)
		} else {
			s.OfflineRaw = append(s.OfflineRaw, sets...)
		}
		return nil
	},
	"header_up": func(d *caddyfile.Dispenser, s *siteBlock) error {
		var name, value string
		if !d.Args(&name, &value) {
			return d.Err("option header_up: want a header and a value: header_up X-User {http.auth.user.name}")
		}
		if s.HeaderUp == nil {
			s.HeaderUp = map[string]string{}
		}
		if s.HeaderUp[name] != "" {
			return d.Errf("option header_up %s is given twice", name)
		}
		s.HeaderUp[name] = value
		return nil
	},
}

// matchers reads the rest of a line: paths, which become one matcher, and named
// matchers.
func (s *siteBlock) matchers(option string) (caddyhttp.RawMatcherSets, error) {
	var sets caddyhttp.RawMatcherSets
	var paths caddyhttp.MatchPath
	for s.h.NextArg() {
		token := s.h.Val()
		if strings.HasPrefix(token, "/") {
			paths = append(paths, token)
			continue
		}
		s.h.Prev()
		set, ok, err := s.h.MatcherToken()
		if err != nil {
			return nil, s.h.WrapErr(err)
		}
		if !ok {
			return nil, s.h.Errf("option %s: %q: want paths such as /backup/*, or @matchers", option, token)
		}
		if set == nil { // "*"
			set = caddy.ModuleMap{}
		}
		sets = append(sets, set)
	}
	if len(paths) > 0 {
		raw, err := json.Marshal(paths)
		if err != nil {
			return nil, err
		}
		sets = append(sets, caddy.ModuleMap{"path": raw})
	}
	if len(sets) == 0 {
		return nil, s.h.Errf("option %s: want paths such as /backup/*, or @matchers", option)
	}
	return sets, nil
}

var accessOptions = options[PathAccess]{
	"allow": readWho(func(p *PathAccess) **Who { return &p.Allow }),
	"deny":  readWho(func(p *PathAccess) **Who { return &p.Deny }),
}

// readWho reads `allow <kind> <value...>` or `deny …`; more lines add up.
func readWho[T any](field func(*T) **Who) func(*caddyfile.Dispenser, *T) error {
	return func(d *caddyfile.Dispenser, into *T) error {
		const want = "any, provider, user, role, group, email, email_domain or claim"
		option, who := d.Val(), field(into)
		if !d.NextArg() {
			return d.Errf("option %s: want %s", option, want)
		}
		if *who == nil {
			*who = new(Who)
		}
		kind, w := d.Val(), *who
		if kind == "any" {
			w.Any = true
			return nil
		}
		claim := ""
		if kind == "claim" {
			if !d.NextArg() {
				return d.Errf("option %s claim: want the claim's name and values", option)
			}
			claim = d.Val()
		}
		values := d.RemainingArgs()
		lists := map[string]*[]string{
			"provider": &w.Providers, "user": &w.Users, "role": &w.Roles, "group": &w.Groups, "email": &w.Emails, "email_domain": &w.EmailDomains,
		}
		switch list := lists[kind]; {
		case list == nil && kind != "claim":
			return d.Errf("option %s: %q: want %s", option, kind, want)
		case len(values) == 0:
			return d.Errf("option %s %s: want at least one value", option, kind)
		case kind == "claim":
			if w.Claims == nil {
				w.Claims = map[string][]string{}
			}
			w.Claims[claim] = append(w.Claims[claim], values...)
		default:
			*list = append(*list, values...)
		}
		return nil
	}
}
