package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/nightlatch/nightlatch/adapter"
	"github.com/nightlatch/nightlatch/adapter/session"
)

// Access says who of those who logged in may make a request: whoever fits the
// allow list, if there is one, and does not fit the deny list. Nobody anonymous
// ever may.
type Access struct {
	Allow *Who `json:"allow,omitempty"`
	Deny  *Who `json:"deny,omitempty"`
}

func (a Access) permits(id session.Identity) bool {
	return !id.Anonymous() && (a.Allow == nil || a.Allow.allows(id)) && (a.Deny == nil || !a.Deny.means(id))
}

// check refuses a list of nobody, which lets nobody in and keeps nobody out.
func (a Access) check() error {
	for option, w := range map[string]*Who{"allow": a.Allow, "deny": a.Deny} {
		if w != nil && reflect.ValueOf(*w).IsZero() {
			return fmt.Errorf("option %s: want any, providers, users, roles, groups, emails, email_domains or claims", option)
		}
	}
	return nil
}

// PathAccess is a rule for some requests of a site. It narrows what holds for
// the site: everything that fits a request has to permit it.
type PathAccess struct {
	MatchRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`
	Access

	match caddyhttp.MatcherSets
}

func (p *PathAccess) provision(ctx caddy.Context) error {
	if err := p.Access.check(); err != nil {
		return fmt.Errorf("option access: %w", err)
	}
	if p.Allow == nil && p.Deny == nil {
		return errors.New("option access: want allow or deny")
	}
	return loadMatchers(ctx, p, "MatchRaw", "option access", &p.match)
}

// permits judges a request by all rules that hold for it: every one if nobody
// knows its path, or a matcher fails.
func (s *Site) permits(r *http.Request, id session.Identity) bool {
	if !s.Access.permits(id) {
		return false
	}
	for _, p := range s.PathAccess {
		fits, err := p.match.AnyMatchWithError(r)
		if (fits || err != nil || r.URL.Path == adapter.AuthPath) && !p.Access.permits(id) {
			return false
		}
	}
	return true
}

// Who is a group of people: everybody who fits one of its values.
type Who struct {
	Any          bool                `json:"any,omitempty"`
	Providers    []string            `json:"providers,omitempty"` // whoever logged in there
	Users        []string            `json:"users,omitempty"`     // preferred_username, or sub=…
	Roles        []string            `json:"roles,omitempty"`
	Groups       []string            `json:"groups,omitempty"`
	Emails       []string            `json:"emails,omitempty"`
	EmailDomains []string            `json:"email_domains,omitempty"`
	Claims       map[string][]string `json:"claims,omitempty"`
}

// allows tells whether the identity proves to be one of them: an address counts
// if it is verified.
func (w *Who) allows(id session.Identity) bool {
	if !id.EmailVerified {
		id.Email = ""
	}
	return w.means(id)
}

// means tells whether the identity is one of them by all that it says.
func (w *Who) means(id session.Identity) bool {
	switch {
	case w.Any, slices.Contains(w.Providers, id.Provider), slices.Contains(w.Users, id.Name), slices.Contains(w.Users, "sub="+id.Subject):
		return true
	case overlap(w.Roles, id.Roles), overlap(w.Groups, id.Groups):
		return true
	}
	if _, domain, ok := strings.Cut(id.Email, "@"); ok && (containsFold(w.Emails, id.Email) || containsFold(w.EmailDomains, domain)) {
		return true
	}
	for name, values := range w.Claims {
		if overlap(values, claimValues(id.Claims[name])) {
			return true
		}
	}
	return false
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func containsFold(list []string, s string) bool {
	return s != "" && slices.ContainsFunc(list, func(e string) bool { return strings.EqualFold(e, s) })
}

// loadMatchers loads the matchers that a field of a module holds, of an option.
func loadMatchers(ctx caddy.Context, of any, field, option string, into *caddyhttp.MatcherSets) error {
	loaded, err := ctx.LoadModule(of, field)
	if err == nil {
		err = into.FromInterface(loaded)
	}
	if err != nil {
		return fmt.Errorf("%s: loading matchers: %w", option, err)
	}
	return nil
}

// untwinned returns the patterns /x/* of matchers that leave /x itself out: most
// apps answer both alike, so one of them would be unguarded.
func untwinned(sets caddyhttp.RawMatcherSets) []string {
	var all, out []string
	for _, set := range sets {
		var paths []string
		if len(set) == 1 && json.Unmarshal(set["path"], &paths) == nil {
			all = append(all, paths...)
		}
	}
	for _, p := range all {
		bare, wild := strings.CutSuffix(p, "/*")
		if wild && bare != "" && !strings.Contains(bare, "*") && !slices.Contains(all, bare) && !slices.Contains(all, bare+"*") {
			out = append(out, p)
		}
	}
	return out
}
