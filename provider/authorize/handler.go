package authorize

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/provider/web"
	"github.com/nightlatch/nightlatch/storage"
)

// Handler serves the authorization endpoint. Every field is needed.
type Handler struct {
	Store   *storage.Store
	Realm   string
	Ring    *keys.Ring
	Browser session.Browser
	Pages   *web.Pages
	Now     func() time.Time
	Random  io.Reader
	Log     *slog.Logger
	Audit   *audit.Log
}

// flow is what one hop of a request knows.
type flow struct {
	settings realm.Settings
	client   *client.Client
	scopes   map[string]*client.Scope
	request  *session.AuthorizationRequest
	device   *session.DeviceAuthorization // that the answer is for; nil: the client's redirect URI
	id       string                       // of the kept request; "" before it is kept

	// Who is logged in; nil for nobody.
	session *session.UserSession
	user    *user.User
	roles   []string
	consent *consent.Consent
}

func (f *flow) target() endpoint.Target {
	return endpoint.Target{URI: f.request.RedirectURI, Mode: f.request.Mode, State: f.request.State, Issuer: f.settings.Issuer()}
}

// Authorize begins a request. It costs one View; a request that waits for its
// user costs one synced Update, and one that gets its code another.
func (h *Handler) Authorize(w http.ResponseWriter, r *http.Request) {
	var params url.Values
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		params, err = endpoint.Query(r)
	case http.MethodPost:
		// A POST from another site carries no cookie of ours: as a GET it does
		// (OpenID Connect Core §3.1.2.1 wants both methods).
		if params, err = endpoint.Form(w, r); err == nil {
			if err = endpoint.AsGet(w, params); err == nil {
				return
			}
		}
	default:
		endpoint.Method(w, r, http.MethodGet, http.MethodPost)
		return
	}
	f := &flow{}
	unproven := h.Store.View(r.Context(), func(tx storage.Tx) error {
		if err := h.proveTarget(tx, f, params); err != nil {
			return err
		}
		return h.who(tx, f, r)
	})
	if unproven != nil {
		// Until the redirect URI is proven nothing goes there. What is wrong with
		// the parameters explains the rest.
		if err == nil {
			err = unproven
		}
		endpoint.Page(w, r, h.Log, h.Pages, err)
		return
	}
	if invalid := parse(f, params, h.Ring); err == nil {
		err = invalid
	}
	if err != nil {
		h.refuse(w, r, f, err)
		return
	}
	h.advance(w, r, f)
}

// Continue goes on with a kept request, after a login.
func (h *Handler) Continue(w http.ResponseWriter, r *http.Request) {
	if !endpoint.Method(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	f, err := h.resume(r)
	if err != nil {
		endpoint.Page(w, r, h.Log, h.Pages, err)
		return
	}
	h.advance(w, r, f)
}

// Consent takes the answer of the consent page.
func (h *Handler) Consent(w http.ResponseWriter, r *http.Request) {
	if !endpoint.Method(w, r, http.MethodPost) {
		return
	}
	f, err := h.consent(w, r)
	if err != nil {
		endpoint.Page(w, r, h.Log, h.Pages, err)
		return
	}
	if f != nil {
		h.advance(w, r, f)
	}
}

// consent records a yes and returns the flow to go on with; a no is answered at
// once.
func (h *Handler) consent(w http.ResponseWriter, r *http.Request) (*flow, error) {
	// The request's id is in the URL, its proof in the body.
	form, err := endpoint.Form(w, r)
	if err != nil {
		return nil, err
	}
	f, err := h.resume(r)
	if err != nil {
		return nil, err
	}
	if f.session == nil {
		return f, nil // logged out meanwhile: the login comes first
	}
	granted, err := f.evaluate()
	if err != nil {
		return f, nil // a role was taken away meanwhile: advance says so
	}
	late, err := h.Browser.Proves(r, consentStep(f, granted.Scopes), f.id, form.Get("csrf"), h.Now(), f.settings.LoginActionTimeout)
	if err != nil {
		return nil, err
	}
	if late {
		return f, nil // the page is shown anew
	}
	asked := f.ask(granted.Scopes)
	if !form.Has("accept") {
		if err := h.forget(r.Context(), f, errDeclined, h.event(r, f, event.ConsentDenied, "")); err != nil {
			return nil, err
		}
		h.refuse(w, r, f, errDeclined)
		return nil, nil
	}
	now := h.Now().UTC()
	given := h.event(r, f, event.GrantConsent, "")
	if f.consent != nil {
		given.Type = event.UpdateConsent
	}
	err = h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		tell(given)
		if err := consent.Give(tx, h.Realm, f.user.ID, f.client.ID, asked, f.request.AuthorizationDetails, now); err != nil {
			return err
		}
		// prompt=consent is answered.
		kept, err := session.AuthorizationRequests.Get(tx, h.Realm, f.id)
		if errors.Is(err, storage.ErrNotFound) {
			return errEnded // answered twice
		}
		if err != nil {
			return err
		}
		kept.Prompt = without(kept.Prompt, oidc.PromptConsent)
		return session.AuthorizationRequests.Put(tx, h.Realm, f.id, kept)
	})
	if err != nil {
		return nil, err
	}
	return h.resume(r)
}

var errDeclined = oidc.Errorf(oidc.CodeAccessDenied, "the user declined")

var errEnded = oidc.Errorf(oidc.CodeInvalidRequest, "this login has ended or began in another browser; go back to the application and begin again")

// resume reads a kept request of this browser.
func (h *Handler) resume(r *http.Request) (*flow, error) {
	f := &flow{id: r.URL.Query().Get("request")}
	err := h.Store.View(r.Context(), func(tx storage.Tx) error {
		var err error
		if f.request, err = session.AuthorizationRequests.Get(tx, h.Realm, f.id); err != nil {
			return err
		}
		if f.client, err = client.Clients.Get(tx, h.Realm, f.request.Client); err != nil {
			return err
		}
		if f.request.Device != "" {
			if f.device, err = session.WaitingDevice(tx, h.Realm, f.request.Device, h.Now()); err != nil {
				return err
			}
		}
		return h.who(tx, f, r)
	})
	switch {
	case errors.Is(err, storage.ErrNotFound) || (err == nil && !h.Browser.Began(r, f.request)):
		return nil, errEnded
	case err != nil:
		return nil, err
	case !f.client.Enabled, f.device != nil && !f.client.DeviceGrant:
		return nil, oidc.Errorf(oidc.CodeUnauthorizedClient, "this application is switched off")
	}
	return f, nil
}

// who reads the settings and whoever is logged in.
func (h *Handler) who(tx storage.Tx, f *flow, r *http.Request) error {
	var err error
	if f.settings, err = realm.Get(tx, h.Realm); err != nil {
		return err
	}
	if f.scopes, err = client.ScopeSet(tx, h.Realm); err != nil {
		return err
	}
	f.session, f.user, err = standing.LoggedIn(tx, f.settings, h.Browser.Login(r), h.Now())
	if err != nil || f.session == nil {
		return err
	}
	if f.roles, err = user.EffectiveRoles(tx, f.settings, f.user); err != nil {
		return err
	}
	f.consent, err = consent.Get(tx, h.Realm, f.user.ID, f.client.ID)
	return err
}

// refuse sends an error to the client; a device has it already (see forget).
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, f *flow, err error) {
	var e *oidc.Error
	if errors.As(err, &e) {
		h.Audit.Tell(r.Context(), h.event(r, f, event.LoginError, e.Code))
	}
	switch {
	case f.device == nil:
		endpoint.RedirectError(w, r, h.Log, h.Pages, f.target(), err)
	case errors.Is(err, errDeclined):
		h.Pages.DeviceDone(w, r, web.DeviceDone{Client: name(f.client)})
	default:
		endpoint.Page(w, r, h.Log, h.Pages, err)
	}
}

// forget removes a kept request that is refused, so that its pages lead nowhere
// any more, and tells the device that waits for it.
func (h *Handler) forget(ctx context.Context, f *flow, refused *oidc.Error, told ...event.Event) error {
	if f.id == "" {
		return nil
	}
	return h.Audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
		tell(told...)
		if f.device != nil {
			err := session.DenyDevice(tx, h.Realm, f.request.Device, refused.Description, h.Now())
			if err != nil && !errors.Is(err, storage.ErrNotFound) { // decided or expired meanwhile
				return err
			}
		}
		return session.AuthorizationRequests.Delete(tx, h.Realm, f.id)
	})
}

// event is about what a flow has come to.
func (h *Handler) event(r *http.Request, f *flow, kind event.Type, reason string) event.Event {
	e := event.Event{
		Time: h.Now().UTC(), Type: kind, Realm: h.Realm, Client: f.client.ClientID, IP: endpoint.ClientIP(r), Reason: reason,
		Details: map[string]string{"auth_method": "openid-connect"},
	}
	if f.request != nil {
		e.Details["scope"] = oidc.Scopes(f.request.Scopes).String()
		if f.request.RedirectURI != "" {
			e.Details["redirect_uri"] = f.request.RedirectURI
		}
	}
	if f.user != nil {
		e.Subject, e.Username = f.user.ID, f.user.Username
	}
	if f.session != nil {
		e.Session = f.session.ID
	}
	return e
}

func without(list []string, value string) []string {
	var out []string
	for _, v := range list {
		if v != value {
			out = append(out, v)
		}
	}
	return out
}
