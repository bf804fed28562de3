package logout

import (
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
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/provider/web"
	"github.com/nightlatch/nightlatch/storage"
)

// Handler serves logout. Every field is needed.
type Handler struct {
	Store   *storage.Store
	Realm   string
	Ring    *keys.Ring
	Auth    client.Authenticator
	Browser session.Browser
	Pages   *web.Pages
	Now     func() time.Time
	Random  io.Reader
	Log     *slog.Logger
	Audit   *audit.Log
}

// request is a logout from a browser.
type request struct {
	settings realm.Settings
	session  *session.UserSession // nil: nobody is logged in
	user     *user.User
	hint     *token.ID // nil without a valid one
	redirect string    // "" unless it is registered for the client that asks
	state    string
}

// parameters of a logout, as the confirmation carries them on.
var parameters = []string{"client_id", "id_token_hint", "post_logout_redirect_uri", "state"}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var params url.Values
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		params, err = endpoint.Query(r)
	case http.MethodPost:
		params, err = endpoint.Form(w, r)
		switch {
		case err != nil:
		case params.Has("refresh_token"):
			if err := h.byToken(r, params); err != nil {
				endpoint.Error(w, r, h.Log, err)
				return
			}
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNoContent)
			return
		default:
			// A POST from another site carries no cookie of ours: as a GET it does.
			if err = endpoint.AsGet(w, params); err == nil {
				return
			}
		}
	default:
		endpoint.Method(w, r, http.MethodGet, http.MethodPost)
		return
	}
	var req *request
	if err == nil {
		req, err = h.read(r, params)
	}
	if err != nil {
		endpoint.Page(w, r, h.Log, h.Pages, err)
		return
	}
	switch {
	case req.session == nil:
		h.leave(w, r, req, false)
	case req.hint != nil && req.hint.Session == req.session.ID:
		if err := h.end(w, r, req); err != nil {
			endpoint.Page(w, r, h.Log, h.Pages, err)
			return
		}
		h.leave(w, r, req, false)
	default:
		// Anybody can link here: the user decides.
		h.Browser.Flow(w, r, h.Random)
		view := web.Logout{
			Action: req.settings.Action("logout", ""),
			CSRF:   h.Browser.Proof(r, "logout", req.session.ID, h.Now()), User: req.user.Username,
			Account: req.settings.Account(),
		}
		for _, name := range parameters {
			if params.Has(name) {
				view.Fields = append(view.Fields, web.Field{Name: name, Value: params.Get(name)})
			}
		}
		h.Pages.Logout(w, r, view)
	}
}

// Confirm takes the confirmation.
func (h *Handler) Confirm(w http.ResponseWriter, r *http.Request) {
	if !endpoint.Method(w, r, http.MethodPost) {
		return
	}
	form, err := endpoint.Form(w, r)
	var req *request
	if err == nil {
		req, err = h.read(r, form)
	}
	confirmed := false
	if err == nil && req.session != nil {
		if _, err = h.Browser.Proves(r, "logout", req.session.ID, form.Get("csrf"), h.Now(), 0); err == nil {
			confirmed, err = true, h.end(w, r, req)
		}
	}
	if err != nil {
		endpoint.Page(w, r, h.Log, h.Pages, err)
		return
	}
	h.leave(w, r, req, confirmed)
}

// read judges the parameters of a logout. An id_token_hint that is not ours
// counts as none: the user is asked.
func (h *Handler) read(r *http.Request, params url.Values) (*request, error) {
	req := &request{state: params.Get("state")}
	err := h.Store.View(r.Context(), func(tx storage.Tx) error {
		var err error
		if req.settings, err = realm.Get(tx, h.Realm); err != nil {
			return err
		}
		if req.session, req.user, err = standing.LoggedIn(tx, req.settings, h.Browser.Login(r), h.Now()); err != nil {
			return err
		}
		named := params.Get("client_id")
		if hint, err := token.OpenIDHint(h.Ring, req.settings.Issuer(), params.Get("id_token_hint")); err == nil {
			if named != "" && named != hint.ClientID {
				return oidc.Errorf(oidc.CodeInvalidRequest, "client_id is not the client of id_token_hint")
			}
			req.hint, named = &hint, hint.ClientID
		}
		c, err := client.ByName(tx, h.Realm, named)
		if errors.Is(err, storage.ErrNotFound) {
			req.hint = nil
			return nil
		}
		if err != nil {
			return err
		}
		if uri := params.Get("post_logout_redirect_uri"); uri != "" {
			if !client.MatchPostLogout(c, uri) {
				return oidc.Errorf(oidc.CodeInvalidRequest, "post_logout_redirect_uri is not registered for this application: it must equal a registered one, byte by byte")
			}
			req.redirect = uri
		}
		return nil
	})
	return req, err
}

// end ends the browser's session.
func (h *Handler) end(w http.ResponseWriter, r *http.Request, req *request) error {
	now := h.Now().UTC()
	err := h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		tell(event.Event{
			Time: now, Type: event.Logout, Realm: h.Realm, Subject: req.user.ID, Username: req.user.Username,
			Session: req.session.ID, IP: endpoint.ClientIP(r),
		})
		_, err := session.EndUser(tx, h.Realm, req.session.ID)
		return err
	})
	if err == nil {
		h.Browser.ClearLogin(w)
	}
	return err
}

// leave sends the browser back to the application, if a hint proves it or the
// user confirmed its logout, or tells that it is done.
func (h *Handler) leave(w http.ResponseWriter, r *http.Request, req *request, confirmed bool) {
	if req.redirect == "" || (req.hint == nil && !confirmed) {
		h.Pages.LoggedOut(w, r)
		return
	}
	params := url.Values{}
	if req.state != "" {
		params.Set("state", req.state)
	}
	endpoint.SeeOther(w, endpoint.WithQuery(req.redirect, params))
}

// byToken ends the session behind a refresh or offline token, as Keycloak does
// (O64). An online token ends its user session.
func (h *Handler) byToken(r *http.Request, form url.Values) error {
	cred, err := client.ParseCredentials(r, form)
	if err != nil {
		return err
	}
	c, settings, err := h.Auth.Authenticate(r.Context(), h.Store, h.Realm, cred, endpoint.ClientIP(r))
	if err != nil {
		return err
	}
	presented, err := token.OpenRefresh(h.Ring, settings.Issuer(), form.Get("refresh_token"))
	if err != nil {
		return oidc.Errorf(oidc.CodeInvalidGrant, "refresh token is invalid").WithCause(err)
	}
	if presented.ClientID != c.ClientID {
		return oidc.Errorf(oidc.CodeInvalidGrant, "refresh token was issued to another client")
	}
	now := h.Now().UTC()
	return h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		ended, err := session.End(tx, h.Realm, presented.ID, session.LoggedOut, now)
		if err != nil || ended == nil {
			return err
		}
		e := event.Event{
			Time: now, Type: event.Logout, Realm: h.Realm, Client: c.ClientID, Subject: ended.User, Session: ended.SID(),
			IP: endpoint.ClientIP(r),
		}
		if ended.Offline {
			e.OfflineSession = ended.ID
		}
		tell(e)
		if ended.Offline {
			e.Type, e.Reason = event.OfflineSessionEnd, session.LoggedOut
			tell(e)
			return nil
		}
		_, err = session.EndUser(tx, h.Realm, ended.UserSession)
		return err
	})
}
