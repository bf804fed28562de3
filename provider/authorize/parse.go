package authorize

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/keys"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/storage"
)

// maxValue bounds state, nonce and login_hint: they are kept and sent back.
const maxValue = 4 << 10

// maxLocales bounds ui_locales; longer ones count as none.
const maxLocales = 255

// proveTarget finds the client and makes sure that the redirect URI is its own.
// Its errors are for a page.
func (h *Handler) proveTarget(tx storage.Tx, f *flow, params url.Values) error {
	id := params.Get("client_id")
	if id == "" {
		return oidc.Errorf(oidc.CodeInvalidRequest, "client_id is missing")
	}
	c, err := client.ByName(tx, h.Realm, id)
	if errors.Is(err, storage.ErrNotFound) {
		return oidc.Errorf(oidc.CodeUnauthorizedClient, "this application is not known here: no client has this client_id")
	}
	if err != nil {
		return err
	}
	if !c.Enabled {
		return oidc.Errorf(oidc.CodeUnauthorizedClient, "this application is switched off")
	}
	uri, given := params.Get("redirect_uri"), params.Has("redirect_uri")
	if !given && len(c.RedirectURIs) == 1 && client.MatchRedirect(c, c.RedirectURIs[0]) {
		uri = c.RedirectURIs[0] // RFC 6749 §3.1.2.3
	}
	if uri == "" {
		return oidc.Errorf(oidc.CodeInvalidRequest, "redirect_uri is missing, and this application has not exactly one registered")
	}
	if !client.MatchRedirect(c, uri) {
		return oidc.Errorf(oidc.CodeInvalidRequest, "redirect_uri is not registered for this application: it must equal a registered one, byte by byte")
	}
	f.client = c
	f.request = &session.AuthorizationRequest{
		Client: c.ID, RedirectURI: uri, RedirectGiven: given, Mode: oidc.ModeQuery, State: params.Get("state"),
	}
	return nil
}

// parse reads the rest of the request. Its errors go to the client.
func parse(f *flow, params url.Values, ring *keys.Ring) error {
	ar := f.request
	if len(ar.State) > maxValue || len(params.Get("nonce")) > maxValue || len(params.Get("login_hint")) > maxValue {
		if len(ar.State) > maxValue {
			ar.State = ""
		}
		return oidc.Errorf(oidc.CodeInvalidRequest, "state, nonce or login_hint is longer than %d bytes", maxValue)
	}
	mode, err := oidc.ParseResponseMode(params.Get("response_mode"))
	if err != nil {
		return err
	}
	ar.Mode = mode
	if types := strings.Fields(params.Get("response_type")); !params.Has("response_mode") && (slices.Contains(types, "token") || slices.Contains(types, "id_token")) {
		ar.Mode = oidc.ModeFragment // where such a client reads its errors (RFC 6749 §4.2.2.1)
	}
	switch {
	case params.Has("request"):
		return oidc.Errorf(oidc.CodeRequestNotSupported, "request is not supported")
	case params.Has("request_uri"):
		return oidc.Errorf(oidc.CodeRequestURINotSupported, "request_uri is not supported")
	case params.Get("response_type") == "":
		return oidc.Errorf(oidc.CodeInvalidRequest, "response_type is missing: want code")
	case params.Get("response_type") != "code":
		return oidc.Errorf(oidc.CodeUnsupportedResponseType, "response_type must be code: tokens are handed out at the token endpoint alone")
	case !f.client.StandardFlow:
		return oidc.Errorf(oidc.CodeUnauthorizedClient, "client may not use the authorization code flow")
	}
	scopes, err := oidc.ParseScopes(params.Get("scope"))
	if err != nil {
		return err
	}
	ar.Scopes = scopes
	// O10: what the client may not ask for is refused at once, whoever it is.
	if _, err := client.Evaluate(f.client, f.scopes, nil, scopes); err != nil && !errors.As(err, new(*client.RoleMissing)) {
		return err
	}
	prompts, err := oidc.ParsePrompt(params.Get("prompt"))
	if err != nil {
		return err
	}
	ar.Prompt = prompts
	if params.Has("max_age") {
		seconds, err := strconv.ParseUint(params.Get("max_age"), 10, 31)
		if err != nil {
			return oidc.Errorf(oidc.CodeInvalidRequest, "max_age must be a number of seconds")
		}
		age := time.Duration(seconds) * time.Second
		ar.MaxAge = &age
	}
	if locales := params.Get("ui_locales"); len(locales) <= maxLocales {
		ar.UILocales = locales // never an error (OpenID Connect Core §3.1.2.1)
	}
	ar.Nonce, ar.LoginHint, ar.Resource = params.Get("nonce"), params.Get("login_hint"), params["resource"]
	if ar.AuthorizationDetails, err = oidc.ParseDetails(params.Get("authorization_details"), ar.Scopes); err != nil {
		return err
	}
	if err := oidc.CheckResources(ar.Resource); err != nil {
		return err
	}
	if hint := params.Get("id_token_hint"); hint != "" {
		id, err := token.OpenIDHint(ring, f.settings.Issuer(), hint)
		if err != nil {
			return oidc.Errorf(oidc.CodeInvalidRequest, "id_token_hint is not an ID token of this realm").WithCause(err)
		}
		ar.Subject = id.Subject
	}
	return parseChallenge(f, params)
}

// parseChallenge reads PKCE: S256 only, required for public clients and for all
// that do not say otherwise (RFC 7636 §4.3, RFC 9700 §2.1.1).
func parseChallenge(f *flow, params url.Values) error {
	challenge := params.Get("code_challenge")
	if err := oidc.CheckChallenge(challenge, params.Get("code_challenge_method")); err != nil {
		return err
	}
	if challenge == "" && (f.client.Public || f.client.RequirePKCE) {
		return oidc.Errorf(oidc.CodeInvalidRequest, "code_challenge is required (PKCE, S256)")
	}
	f.request.Challenge = challenge
	return nil
}
