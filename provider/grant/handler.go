package grant

import (
	"context"
	"crypto/sha256"
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
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// Grant types (RFC 6749 §4, §6; RFC 8628 §3.4; RFC 8693 §2.1).
const (
	AuthorizationCode = "authorization_code"
	RefreshToken      = "refresh_token"
	Password          = "password"
	ClientCredentials = "client_credentials"
	DeviceCode        = "urn:ietf:params:oauth:grant-type:device_code"
	TokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// Types lists what the endpoint grants, for the discovery document.
func Types() []string {
	return []string{AuthorizationCode, RefreshToken, Password, ClientCredentials, DeviceCode, TokenExchange}
}

// Handler serves the token endpoint. Every field is needed but At.
type Handler struct {
	Store  *storage.Store
	Realm  string
	Ring   *keys.Ring
	Auth   client.Authenticator
	Hasher *user.Hasher
	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger
	Audit  *audit.Log
	// At is called at the steps of a refresh, for fault injection; nil: nobody.
	At func(step string)
}

// Steps of a refresh at which At is called.
const (
	StepCommitting = "committing" // decided, nothing on disk
	StepAnswering  = "answering"  // on disk, nothing answered
)

func (h *Handler) at(step string) {
	if h.At != nil {
		h.At(step)
	}
}

// request is a token request whose client is authenticated.
type request struct {
	form     url.Values
	grant    string
	client   *client.Client
	settings realm.Settings
	scopes   oidc.Scopes
	resource []string
	now      time.Time
	ip       string
	browser  string
	// key is the hash of the Idempotency-Key; random tells that the request had
	// none and got one at the door.
	key    []byte
	random bool
	jti    string // of the access token
	// event collects who it is about, for the success and for the failure.
	event event.Event
	ok    event.Type // of the success
}

type grantFunc func(*Handler, context.Context, *request) (*issue, error)

var grants = map[string]struct {
	run      grantFunc
	ok, fail event.Type
}{
	AuthorizationCode: {(*Handler).authorizationCode, event.CodeToToken, event.CodeToTokenError},
	RefreshToken:      {(*Handler).refreshToken, event.RefreshToken, event.RefreshTokenError},
	Password:          {(*Handler).password, event.Login, event.LoginError},
	ClientCredentials: {(*Handler).clientCredentials, event.ClientLogin, event.ClientLoginError},
	DeviceCode:        {(*Handler).deviceCode, event.DeviceToToken, event.DeviceToTokenError},
	TokenExchange:     {(*Handler).tokenExchange, event.TokenExchange, event.TokenExchangeError},
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		// A preflight names no client. The answer proper is readable for the
		// origins of the authenticated client alone.
		endpoint.CORS(w, r, []string{"*"})
		return
	}
	if !endpoint.Method(w, r, http.MethodPost) {
		return
	}
	req, err := h.accept(w, r)
	if err != nil {
		endpoint.Error(w, r, h.Log, err)
		return
	}
	endpoint.CORS(w, r, client.Readers(req.client, r.Header.Get("Origin")))
	kind := grants[req.grant]
	req.ok = kind.ok
	out, err := kind.run(h, r.Context(), req)
	if err == nil {
		var body *answer
		if body, err = h.mint(req, out); err == nil {
			if !out.told {
				h.Audit.Tell(r.Context(), req.told(out)...)
			}
			endpoint.JSON(w, http.StatusOK, body)
			return
		}
	}
	if why := reason(err); why != oidc.CodeAuthorizationPending && why != oidc.CodeSlowDown {
		h.Audit.Tell(r.Context(), req.tell(kind.fail, why))
	}
	endpoint.Error(w, r, h.Log, err)
}

// accept reads the form, authenticates the client and parses what every grant
// shares.
func (h *Handler) accept(w http.ResponseWriter, r *http.Request) (*request, error) {
	form, err := endpoint.Form(w, r)
	if err != nil {
		return nil, err
	}
	req := &request{form: form, grant: form.Get("grant_type"), now: h.Now().UTC().Truncate(time.Millisecond), ip: endpoint.ClientIP(r), browser: browser(r)}
	if req.grant == "" {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "grant_type is missing")
	}
	cred, err := client.ParseCredentials(r, form)
	if err != nil {
		return nil, err
	}
	req.jti = oidc.NewID(h.Random)
	req.event = event.Event{
		Time: req.now, Realm: h.Realm, Client: cred.ClientID, IP: req.ip,
		Details: map[string]string{"grant_type": req.grant, "client_auth_method": cred.Method},
	}
	if req.client, req.settings, err = h.Auth.Authenticate(r.Context(), h.Store, h.Realm, cred, endpoint.ClientIP(r)); err != nil {
		h.Audit.Tell(r.Context(), req.tell(event.ClientLoginError, reason(err)))
		return nil, err
	}
	if _, ok := grants[req.grant]; !ok {
		return nil, oidc.Errorf(oidc.CodeUnsupportedGrantType, "grant_type %s is not supported", req.grant)
	}
	if req.scopes, err = oidc.ParseScopes(form.Get("scope")); err != nil {
		return nil, err
	}
	req.resource = form["resource"]
	if err := oidc.CheckResources(req.resource); err != nil {
		return nil, err
	}
	return req, h.door(r, req)
}

// door gives every request an idempotency key: its own, or a random one by
// which a re-run of the transaction recognises itself (docs/decisions/0003).
func (h *Handler) door(r *http.Request, req *request) error {
	key := []byte(r.Header.Get("Idempotency-Key"))
	if len(r.Header.Values("Idempotency-Key")) > 1 || len(key) > 255 {
		return oidc.Errorf(oidc.CodeInvalidRequest, "Idempotency-Key must be given once, with at most 255 bytes")
	}
	if len(key) == 0 {
		req.random = true
		key = make([]byte, 32)
		if _, err := io.ReadFull(h.Random, key); err != nil {
			return oidc.Errorf(oidc.CodeServerError, "").WithCause(err)
		}
	}
	sum := sha256.Sum256(key)
	req.key = sum[:]
	return nil
}

// browser is the User-Agent, at most 256 bytes.
func browser(r *http.Request) string {
	ua := r.UserAgent()
	return ua[:min(len(ua), 256)]
}

// reason of a failure for an event: the grant status, else the OAuth error.
func reason(err error) string {
	var e *oidc.Error
	switch {
	case errors.As(err, &e) && e.GrantStatus != "":
		return e.GrantStatus
	case errors.As(err, &e):
		return e.Code
	case storage.Temporary(err):
		return oidc.CodeTemporarilyUnavailable
	}
	return oidc.CodeServerError
}
