package authorize

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/web"
	"github.com/nightlatch/nightlatch/storage"
)

// step is what stands between a request and its code.
type step int

const (
	askLogin step = iota
	askConsent
	giveCode
	openPage
)

// advance takes the next step: only here is decided where a request goes.
func (h *Handler) advance(w http.ResponseWriter, r *http.Request, f *flow) {
	r = page.WithLocales(r, f.request.UILocales)
	silent := oidc.Prompts(f.request.Prompt).Has(oidc.PromptNone)
	next, granted, err := f.next(h.Now())
	switch {
	case err == nil && next == giveCode:
		err = h.giveCode(w, r, f, granted)
		if err == nil {
			return
		}
	case err == nil && next == openPage:
		if err = h.openPage(w, r, f); err == nil {
			return
		}
	case err == nil && silent && next == askLogin:
		err = oidc.Errorf(oidc.CodeLoginRequired, "nobody is logged in")
	case err == nil && silent:
		err = oidc.Errorf(oidc.CodeConsentRequired, "the user has not consented")
	case err == nil:
		if err = h.keep(w, r, f); err != nil {
			break
		}
		if next == askLogin {
			endpoint.SeeOther(w, f.settings.Action("authenticate", f.id))
			return
		}
		h.showConsent(w, r, f, granted.Scopes)
		return
	}
	var e *oidc.Error
	if !errors.As(err, &e) {
		// Ours, not the client's: nothing is lost, the page can be tried again.
		endpoint.Page(w, r, h.Log, h.Pages, err)
		return
	}
	if ferr := h.forget(r.Context(), f, e); ferr != nil {
		endpoint.Page(w, r, h.Log, h.Pages, ferr)
		return
	}
	h.refuse(w, r, f, err)
}

// next decides; it is a function of the flow and the time.
func (f *flow) next(now time.Time) (step, client.Granted, error) {
	if f.needsLogin(now) {
		if f.session != nil && f.request.LoggedIn {
			return 0, client.Granted{}, oidc.Errorf(oidc.CodeAccessDenied, "another user logged in than the id_token_hint names")
		}
		return askLogin, client.Granted{}, nil
	}
	if f.request.Page != "" {
		return openPage, client.Granted{}, nil
	}
	// O11, O12: the missing role is told right after the login, before any code.
	granted, err := f.evaluate()
	if err != nil {
		return 0, client.Granted{}, err
	}
	if len(f.ask(granted.Scopes)) > 0 || len(f.askJobs()) > 0 || oidc.Prompts(f.request.Prompt).Has(oidc.PromptConsent) {
		return askConsent, granted, nil
	}
	return giveCode, granted, nil
}

// needsLogin tells whether the user has to prove who he is, now.
func (f *flow) needsLogin(now time.Time) bool {
	ar := f.request
	switch {
	case f.session == nil:
		return true
	case ar.Subject != "" && ar.Subject != f.user.ID:
		return true
	case ar.LoggedIn:
		return false
	case oidc.Prompts(ar.Prompt).Has(oidc.PromptLogin), oidc.Prompts(ar.Prompt).Has(oidc.PromptSelectAccount):
		return true
	case ar.MaxAge != nil && now.Sub(f.session.AuthTime) >= *ar.MaxAge:
		return true
	}
	return false
}

// evaluate decides what the user can grant the client.
func (f *flow) evaluate() (client.Granted, error) {
	granted, err := client.Evaluate(f.client, f.scopes, f.roles, f.request.Scopes)
	var missing *client.RoleMissing
	if errors.As(err, &missing) {
		err = oidc.Errorf(oidc.CodeAccessDenied, "%s", missing.Error())
	}
	return granted, err
}

// ask returns the scopes that the consent page has to ask for.
func (f *flow) ask(granted oidc.Scopes) oidc.Scopes {
	have := f.consent
	if oidc.Prompts(f.request.Prompt).Has(oidc.PromptConsent) {
		have = nil
	}
	return consent.Needed(f.client, f.scopes, granted, have)
}

// askJobs returns the jobs that the person has not consented to by name: whoever
// asks for them, no job acts for a person unseen.
func (f *flow) askJobs() []oidc.OfflineJob {
	have := f.consent
	if oidc.Prompts(f.request.Prompt).Has(oidc.PromptConsent) {
		have = nil
	}
	return consent.NeededJobs(f.request.AuthorizationDetails, have)
}

// keep stores a request that has to wait for its user.
func (h *Handler) keep(w http.ResponseWriter, r *http.Request, f *flow) error {
	if f.id != "" {
		return nil
	}
	now := h.Now().UTC()
	f.id = oidc.NewID(h.Random)
	f.request.Browser = session.HashFlow(h.Browser.Flow(w, r, h.Random))
	f.request.Started, f.request.Expires = now, now.Add(f.settings.LoginTimeout)
	return h.Store.Update(r.Context(), func(tx storage.Tx) error {
		return session.Await(tx, h.Realm, f.id, f.request)
	})
}

// showConsent asks for all that the client gets, not only for what is new.
func (h *Handler) showConsent(w http.ResponseWriter, r *http.Request, f *flow, granted oidc.Scopes) {
	words := h.Pages.Words(r)
	view := web.Consent{
		Action: f.settings.Action("consent", f.id), CSRF: h.Browser.Proof(r, consentStep(f, granted), f.id, h.Now()),
		Client: name(f.client), User: f.user.Username, Account: f.settings.Account(),
	}
	for _, scope := range granted {
		switch s := f.scopes[scope]; {
		case scope == oidc.ScopeOfflineAccess:
			view.Offline = true
		case s != nil && s.ConsentText != "":
			view.Scopes = append(view.Scopes, words.T(page.Text(s.ConsentText)))
		}
	}
	for _, j := range oidc.Jobs(f.request.AuthorizationDetails) {
		view.Jobs = append(view.Jobs, web.Job{Name: j.Job, May: inWords(words, j.Scopes(), f.scopes)})
	}
	if f.device != nil {
		view.UserCode = session.FormatUserCode(f.device.UserCode)
	}
	h.Pages.Consent(w, r, view)
}

// consentStep names the answer to one page: by this person, about these scopes
// and jobs.
func consentStep(f *flow, granted oidc.Scopes) string {
	step := "consent:" + f.session.ID + ":" + granted.String()
	for _, d := range f.request.AuthorizationDetails {
		step += ":" + string(d)
	}
	return step
}

// verbs say what scopes let a job do.
var verbs = map[string]page.Text{
	"openid": "know who you are", "profile": "read your profile", "email": "read your mail address",
	"address": "read your postal address", "phone": "read your phone number",
}

// inWords says what a job may do. A scope without words has its consent text, else
// its name.
func inWords(words *page.Words, names oidc.Scopes, scopes map[string]*client.Scope) string {
	var out []string
	for _, name := range names {
		verb, s := verbs[name], scopes[name]
		switch {
		case name == oidc.ScopeOfflineAccess:
		case verb != "":
			out = append(out, words.T(verb))
		case s != nil && s.ConsentText != "":
			out = append(out, words.T(page.Text(s.ConsentText)))
		default:
			out = append(out, words.T("use %s", name))
		}
	}
	if len(out) == 0 {
		return words.T("nothing yet")
	}
	return strings.Join(out, ", ")
}

func name(c *client.Client) string {
	if c.Name != "" {
		return c.Name
	}
	return c.ClientID
}

// giveCode writes the code, synced, and sends it to the client, or into the
// record of the device that waits for it.
func (h *Handler) giveCode(w http.ResponseWriter, r *http.Request, f *flow, granted client.Granted) error {
	now := h.Now().UTC()
	raw := session.MakeCode(h.Random)
	policy := session.PolicyOf(f.settings, f.client).ForUser(f.user.NotBefore)
	browser := r.UserAgent()
	login := h.event(r, f, event.Login, "")
	err := h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		tell(login)
		us, err := h.use(tx, f, policy, now)
		if errors.Is(err, storage.ErrNotFound) {
			return oidc.Errorf(oidc.CodeLoginRequired, "the user has logged out")
		}
		if err != nil {
			return err
		}
		code := session.Code{
			Client: f.client.ID, RedirectURI: f.request.RedirectURI, RedirectGiven: f.request.RedirectGiven,
			Scopes: granted.Scopes, Nonce: f.request.Nonce, Challenge: f.request.Challenge, Resource: f.request.Resource,
			AuthorizationDetails: f.request.AuthorizationDetails,
			ACR:                  "1", User: f.user.ID, UserSession: us.ID, AuthTime: us.AuthTime,
			IP: endpoint.ClientIP(r), Browser: browser, IssuedAt: now,
		}
		if f.device != nil {
			err := session.GrantDevice(tx, h.Realm, f.request.Device, code, now)
			if errors.Is(err, storage.ErrNotFound) {
				return oidc.Errorf(oidc.CodeInvalidRequest, "the device's code has expired or was answered before")
			}
			return err
		}
		return session.NewCode(tx, h.Realm, raw, code, f.settings.CodeLifespan)
	})
	if err != nil {
		return err
	}
	if f.device != nil {
		h.Pages.DeviceDone(w, r, web.DeviceDone{Client: name(f.client), Connected: true})
		return nil
	}
	endpoint.Redirect(w, r, h.Pages, f.target(), url.Values{"code": {raw}, "session_state": {f.session.ID}})
	return nil
}

// use is a login that served a request, which is done with; storage.ErrNotFound
// if the user has logged out meanwhile.
func (h *Handler) use(tx storage.Tx, f *flow, policy session.Policy, now time.Time) (*session.UserSession, error) {
	us, err := session.UserSessions.Get(tx, h.Realm, f.session.ID)
	if err != nil {
		return nil, err
	}
	if err := session.Touch(tx, h.Realm, policy, us, now); err != nil {
		return nil, err
	}
	if f.id == "" {
		return us, nil
	}
	return us, session.AuthorizationRequests.Delete(tx, h.Realm, f.id)
}

// openPage sends the browser to the page of the realm that asked for the login.
// It asks again if the user has logged out meanwhile.
func (h *Handler) openPage(w http.ResponseWriter, r *http.Request, f *flow) error {
	now := h.Now().UTC()
	policy := session.PolicyOf(f.settings, f.client).ForUser(f.user.NotBefore)
	login := h.event(r, f, event.Login, "")
	err := h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		_, err := h.use(tx, f, policy, now)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		tell(login)
		return err
	})
	if err != nil {
		return err
	}
	endpoint.SeeOther(w, f.request.Page)
	return nil
}
