package device

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
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/web"
	"github.com/nightlatch/nightlatch/storage"
)

// Handler serves the device authorization endpoint and the page for user codes.
// Every field is needed.
type Handler struct {
	Store   *storage.Store
	Realm   string
	Auth    client.Authenticator
	Browser session.Browser
	Pages   *web.Pages
	Now     func() time.Time
	Random  io.Reader
	Log     *slog.Logger
	Audit   *audit.Log
}

// answer of the device authorization endpoint (RFC 8628 §3.2).
type answer struct {
	DeviceCode              string `json:"device_code"`
	UserCode                string `json:"user_code"`
	VerificationURI         string `json:"verification_uri"`
	VerificationURIComplete string `json:"verification_uri_complete"`
	ExpiresIn               int64  `json:"expires_in"` // seconds
	Interval                int64  `json:"interval"`   // seconds
}

// Authorize begins (RFC 8628 §3.1). It costs one View and one synced Update.
func (h *Handler) Authorize(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		endpoint.CORS(w, r, []string{"*"}) // a preflight names no client
		return
	}
	if !endpoint.Method(w, r, http.MethodPost) {
		return
	}
	body, err := h.authorize(w, r)
	if err != nil {
		endpoint.Error(w, r, h.Log, err)
		return
	}
	endpoint.JSON(w, http.StatusOK, body)
}

// request is a device authorization request whose client is authenticated.
type request struct {
	client   *client.Client
	settings realm.Settings
	device   session.DeviceAuthorization
}

func (h *Handler) authorize(w http.ResponseWriter, r *http.Request) (*answer, error) {
	form, err := endpoint.Form(w, r)
	if err != nil {
		return nil, err
	}
	cred, err := client.ParseCredentials(r, form)
	if err != nil {
		return nil, err
	}
	now := h.Now().UTC()
	e := event.Event{
		Time: now, Type: event.DeviceAuthError, Realm: h.Realm, Client: cred.ClientID, IP: endpoint.ClientIP(r),
		Details: map[string]string{"scope": form.Get("scope")},
	}
	req, err := h.read(r.Context(), cred, form, e.IP)
	if req.client != nil {
		endpoint.CORS(w, r, client.Readers(req.client, r.Header.Get("Origin")))
	}
	var refused *oidc.Error
	if errors.As(err, &refused) {
		e.Reason = refused.Code
		h.Audit.Tell(r.Context(), e)
	}
	if err != nil {
		return nil, err
	}
	e.Type = event.DeviceAuth
	raw := session.MakeCode(h.Random)
	var userCode string
	err = h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		tell(e)
		if cred.Method == client.MethodPrivateKey {
			if err := client.RememberAssertion(tx, h.Realm, cred); err != nil {
				return err
			}
		}
		var err error
		userCode, err = session.StartDevice(tx, h.Realm, raw, req.device, h.Random, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	page := req.settings.Issuer() + "/device"
	return &answer{
		DeviceCode: raw, UserCode: userCode,
		VerificationURI: page, VerificationURIComplete: page + "?" + url.Values{"user_code": {userCode}}.Encode(),
		ExpiresIn: int64(session.DeviceLifespan / time.Second), Interval: int64(session.DeviceInterval / time.Second),
	}, nil
}

// read authenticates the client and judges what it asks for. The request has the
// client as soon as it is proven, also with an error.
func (h *Handler) read(ctx context.Context, cred client.Credentials, form url.Values, address string) (request, error) {
	var req request
	err := h.Store.View(ctx, func(tx storage.Tx) error {
		var err error
		if req.settings, err = realm.Get(tx, h.Realm); err != nil {
			return err
		}
		if req.client, err = h.Auth.Identify(tx, req.settings, cred, address); err != nil {
			return err
		}
		if !req.client.DeviceGrant {
			return oidc.Errorf(oidc.CodeUnauthorizedClient, "client may not use the device authorization grant")
		}
		asked, err := oidc.ParseScopes(form.Get("scope"))
		if err != nil {
			return err
		}
		scopes, err := client.ScopeSet(tx, h.Realm)
		if err != nil {
			return err
		}
		// O10: what the client may not ask for is refused at once, whoever the user.
		if _, err := client.Evaluate(req.client, scopes, nil, asked); err != nil && !errors.As(err, new(*client.RoleMissing)) {
			return err
		}
		req.device = session.DeviceAuthorization{
			Client: req.client.ID, Scopes: asked, Challenge: form.Get("code_challenge"), Resource: form["resource"],
		}
		return nil
	})
	if err == nil {
		err = oidc.CheckChallenge(form.Get("code_challenge"), form.Get("code_challenge_method"))
	}
	if err == nil {
		err = oidc.CheckResources(req.device.Resource)
	}
	return req, err
}
