package adapter

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// choosePath is where a person chooses a provider.
const choosePath = Prefix + "choose"

// Parties guard one site: a relying party for each provider that its people may
// choose from. They share the site's sessions, cookies, keys and pages; a session,
// a flow and a grant belong to the provider that they began with. With one provider
// there is nothing to choose, and each call is that party's.
type Parties struct{ all []*RelyingParty }

// NewParties makes a relying party of each config: all of one site, each of a
// provider of its own. It does no I/O.
func NewParties(configs ...Config) (*Parties, error) {
	if len(configs) == 0 {
		return nil, errors.New("a site needs a provider")
	}
	p := &Parties{}
	behind := map[string][]string{}
	for _, c := range configs {
		rp, err := New(c)
		if err != nil {
			return nil, err
		}
		if p.Of(c.Provider.Name) != nil {
			return nil, errors.New("provider " + c.Provider.Name + " is named twice")
		}
		behind[c.Provider.Name] = rp.behind()
		p.all = append(p.all, rp)
	}
	if len(p.all) > 1 {
		sessions := p.all[0].newSessions(func(provider string) []string { return behind[provider] })
		for _, rp := range p.all {
			rp.sessions, rp.parties = sessions, p
		}
	}
	return p, nil
}

// Of is the relying party of a provider, nil without one.
func (p *Parties) Of(provider string) *RelyingParty {
	for _, rp := range p.all {
		if rp.config.Provider.Name == provider {
			return rp
		}
	}
	return nil
}

// Own is RelyingParty.Own of the party that a request is for.
func (p *Parties) Own(w http.ResponseWriter, r *http.Request, original *url.URL) bool {
	first := p.all[0]
	if len(p.all) == 1 {
		return first.Own(w, r, original)
	}
	switch path := original.Path; {
	case !strings.HasPrefix(path, Prefix):
		return first.Own(w, r, original)
	case path == choosePath:
		first.headers.strip(r.Header)
		p.choose(w, r)
		return true
	case path == callbackPath:
		return p.ofFlow(r).Own(w, r, original)
	case path == backchannelPath:
		return p.backchannel(w, r, original)
	}
	return p.party(r).Own(w, r, original)
}

// Guard is RelyingParty.Guard of the party that a request is for.
func (p *Parties) Guard(w http.ResponseWriter, r *http.Request, original *url.URL) (*session.Identity, bool) {
	return p.party(r).Guard(w, r, original)
}

// Validate is RelyingParty.Validate of the party that a request is for.
func (p *Parties) Validate(r *http.Request, original *url.URL) (*session.Identity, error) {
	return p.party(r).Validate(r, original)
}

// Run keeps the parties tidy until ctx ends.
func (p *Parties) Run(ctx context.Context) {
	var all sync.WaitGroup
	for i, rp := range p.all {
		all.Go(func() { rp.run(ctx, i == 0) })
	}
	all.Wait()
}

// Sessions pages through the browser sessions of the site, all or those of a
// subject of a provider; see session.Store.List.
func (p *Parties) Sessions(ctx context.Context, provider, sub, after string, limit int) (_ []session.Listed, next string, _ error) {
	return p.all[0].sessions.List(ctx, provider, sub, after, limit)
}

// EndBrowserSession ends one of Sessions by its id, and returns what it was, nil
// if it is none any more.
func (p *Parties) EndBrowserSession(ctx context.Context, id string) (*session.Record, error) {
	return p.all[0].sessions.EndID(ctx, id)
}

// party is whose tokens a request carries, whose session, or whose login was
// chosen before; without any of that the first.
func (p *Parties) party(r *http.Request) *RelyingParty {
	if len(p.all) == 1 {
		return p.all[0]
	}
	if raw, ok := bearerToken(r); ok {
		if rp := p.issuerOf(raw); rp != nil {
			return rp
		}
	}
	for _, rp := range p.all {
		// A store that is away is told by the party itself.
		if _, record, err := rp.session(r); err != nil || record != nil {
			return rp
		}
	}
	if rp := p.remembered(r); rp != nil {
		return rp
	}
	return p.all[0]
}

// issuerOf finds the party that may judge a JWT. What it says is not proven yet.
func (p *Parties) issuerOf(raw string) *RelyingParty {
	_, claims, err := peek(raw)
	if err != nil {
		return nil
	}
	for _, rp := range p.all {
		if iss, _ := claims["iss"].(string); iss == rp.config.Provider.Issuer {
			return rp
		}
	}
	return nil
}

// ofFlow is the party that began the login which a callback ends; it compares the
// answer's issuer with its own (RFC 9207 §2.4).
func (p *Parties) ofFlow(r *http.Request) *RelyingParty {
	if f, ok := p.all[0].openFlow(r, r.URL.Query().Get("state")); ok {
		if rp := p.Of(f.Provider); rp != nil {
			return rp
		}
	}
	return p.all[0] // which refuses it
}

// backchannel passes a logout token on to the party of its issuer.
func (p *Parties) backchannel(w http.ResponseWriter, r *http.Request, original *url.URL) bool {
	first := p.all[0]
	if r.Method != http.MethodPost {
		return first.Own(w, r, original)
	}
	first.headers.strip(r.Header)
	form, ok := first.form(w, r)
	if !ok {
		return true
	}
	rp := p.issuerOf(form.Get("logout_token"))
	if rp == nil {
		rp = first
	}
	rp.endBy(w, r, form.Get("logout_token"))
	return true
}

// remembered is the party that was chosen last in this browser, nil without one.
func (p *Parties) remembered(r *http.Request) *RelyingParty {
	for _, c := range r.CookiesNamed(p.all[0].cookieName(chosenCookie)) {
		if name, err := url.QueryUnescape(c.Value); err == nil {
			if rp := p.Of(name); rp != nil {
				return rp
			}
		}
	}
	return nil
}

// chosenCookie remembers a provider's name; it proves nothing.
const (
	chosenCookie = "provider"
	chosenFor    = 365 * 24 * 60 * 60 // seconds
)

// ask leads to the page of choice, unless a provider is remembered that answers. f
// says where the login comes back to; it waits in a sealed cookie like a login's own.
func (p *Parties) ask(w http.ResponseWriter, r *http.Request, f flow) (asked bool) {
	if p == nil {
		return false
	}
	if rp := p.remembered(r); rp != nil && rp.ProviderState() != failing {
		return false
	}
	first := p.all[0]
	f.State, f.Started, f.Choice = first.newID(), first.config.Now().UTC(), true
	if err := first.saveFlow(w, r, f); err != nil {
		first.unavailable(w, r, err)
		return true
	}
	first.redirect(w, r, first.onSite(choosePath+"?state="+f.State))
	return true
}

type choicePage struct {
	State     string
	Providers []choice
}

type choice struct {
	Name     string
	Failing  bool // it does not answer at the moment
	Selected bool // it was chosen before
}

// choose shows the page, and takes what was chosen. The way back is the sealed
// flow's: no parameter names it.
func (p *Parties) choose(w http.ResponseWriter, r *http.Request) {
	first := p.all[0]
	if !first.method(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	if r.Method == http.MethodGet {
		f, ok := first.openFlow(r, r.URL.Query().Get("state"))
		if !ok || !f.Choice {
			p.forget(w)
			p.ask(w, withoutCookies(r), flow{Return: "/"})
			return
		}
		view := choicePage{State: f.State}
		before := p.remembered(r)
		for _, rp := range p.all {
			view.Providers = append(view.Providers, choice{rp.config.Provider.Name, rp.ProviderState() == failing, rp == before})
		}
		first.page(w, r, http.StatusOK, "choose", "Log in", view)
		return
	}
	form, ok := first.form(w, r)
	if !ok {
		return
	}
	f, known := first.openFlow(r, form.Get("state"))
	rp := p.Of(form.Get("provider"))
	switch origin := r.Header.Get("Origin"); {
	case !known || !f.Choice || origin != "" && origin != "null" && origin != first.config.Site.String():
		first.config.Refused("unknown_login")
		first.fail(w, r, http.StatusBadRequest, "invalid_request", "This login has ended or began in another browser. Go back to the page that you wanted and try again.")
		return
	case rp == nil:
		first.fail(w, r, http.StatusBadRequest, "invalid_request", "There is no such login provider here.")
		return
	}
	first.setCookie(w, flowKind(f.State), "", -1)
	first.setCookie(w, chosenCookie, url.QueryEscape(rp.config.Provider.Name), chosenFor)
	start := flow{Return: f.Return, ReturnID: f.ReturnID, Offline: f.Offline}
	if f.Offline {
		start.Scopes = union(rp.offlineScopes(nil), f.Scopes)
	}
	rp.begin(w, r, start)
}

// forget lets the next login choose anew.
func (p *Parties) forget(w http.ResponseWriter) {
	if p != nil {
		p.all[0].setCookie(w, chosenCookie, "", -1)
	}
}

// withoutCookies is a request of a browser that remembers nothing.
func withoutCookies(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Del("Cookie")
	return r
}

// began tells whether this party began a flow.
func (rp *RelyingParty) began(f flow) bool {
	return !f.Choice && (f.Provider == rp.config.Provider.Name || f.Provider == "" && rp.parties == nil)
}

// behind names what the sessions of this party's provider hang on.
func (rp *RelyingParty) behind() []string {
	p := rp.config.Provider
	return slices.Clip([]string{session.OfProvider(p.Name), session.OfClient(p.Name, p.ClientID)})
}
