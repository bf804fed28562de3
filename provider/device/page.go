package device

import (
	"errors"
	"net/http"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/guess"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/provider/web"
	"github.com/nightlatch/nightlatch/storage"
)

// step of the page's form in its CSRF proof.
const step = "device"

// Page asks for the user code. A link with the code fills it in and no more: who
// follows it has to say himself that it is the device before him (RFC 8628
// §3.3.1, §5.4).
func (h *Handler) Page(w http.ResponseWriter, r *http.Request) {
	if !endpoint.Method(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	var err error
	if r.Method == http.MethodPost {
		err = h.enter(w, r)
	} else {
		err = h.show(w, r, r.URL.Query().Get("user_code"), "")
	}
	if err != nil {
		endpoint.Page(w, r, h.Log, h.Pages, err)
	}
}

func (h *Handler) show(w http.ResponseWriter, r *http.Request, userCode string, problem page.Text) error {
	var s realm.Settings
	err := h.Store.View(r.Context(), func(tx storage.Tx) error {
		var err error
		s, err = realm.Get(tx, h.Realm)
		return err
	})
	if err != nil {
		return err
	}
	h.Browser.Flow(w, r, h.Random)
	h.Pages.Device(w, r, web.Device{
		Action: s.Path() + "/device", CSRF: h.Browser.Proof(r, step, "", h.Now()), UserCode: userCode, Problem: h.Pages.Words(r).T(problem),
	})
	return nil
}

// enter takes a code. A right one becomes an authorization request, with its
// login and its consent.
func (h *Handler) enter(w http.ResponseWriter, r *http.Request) error {
	form, err := endpoint.Form(w, r)
	if err != nil {
		return err
	}
	if _, err := h.Browser.Proves(r, step, "", form.Get("csrf"), h.Now(), 0); err != nil {
		return err
	}
	now := h.Now().UTC()
	id, typed := oidc.NewID(h.Random), form.Get("user_code")
	flow := session.HashFlow(h.Browser.Flow(w, r, h.Random))

	var settings realm.Settings
	var c *client.Client
	var u *user.User
	var wait time.Duration // somebody guesses
	ip := endpoint.ClientIP(r)
	err = h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		c = nil
		e := event.Event{Time: now, Type: event.DeviceVerifyError, Realm: h.Realm, IP: ip}
		var err error
		if settings, err = realm.Get(tx, h.Realm); err != nil {
			return err
		}
		if _, u, err = standing.LoggedIn(tx, settings, h.Browser.Login(r), now); err != nil {
			return err
		}
		if u != nil {
			e.Subject, e.Username = u.ID, u.Username
		}
		try := guess.Own{Realm: h.Realm, What: "code", User: e.Subject, Address: ip, Life: session.DeviceLifespan, Now: now}
		if wait, err = try.Wait(tx); err != nil || wait > 0 {
			return err
		}
		device, d, err := session.DeviceByUserCode(tx, h.Realm, typed, now)
		if err == nil {
			c, err = client.Clients.Get(tx, h.Realm, d.Client)
		}
		if errors.Is(err, storage.ErrNotFound) {
			e.Reason = "invalid_user_code"
			tell(e)
			return try.Wrong(tx)
		}
		if err != nil {
			return err
		}
		e.Type, e.Client = event.DeviceVerify, c.ClientID
		tell(e)
		return session.Await(tx, h.Realm, id, &session.AuthorizationRequest{
			Client: d.Client, Device: device, Scopes: d.Scopes, Resource: d.Resource, Prompt: []string{oidc.PromptConsent},
			Started: now, Expires: now.Add(settings.LoginTimeout), Browser: flow,
		})
	})
	if err != nil {
		return err
	}
	switch {
	case wait > 0:
		e := event.Event{Time: now, Type: event.DeviceVerifyError, Realm: h.Realm, IP: ip, Reason: "too_many_codes"}
		if u != nil {
			e.Subject, e.Username = u.ID, u.Username
		}
		h.Audit.Tell(r.Context(), e)
		return guess.Slow(wait)
	case c == nil:
		return h.show(w, r, typed, "This code is wrong or has expired.")
	}
	endpoint.SeeOther(w, settings.Action("continue", id))
	return nil
}
