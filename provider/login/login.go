package login

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
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

// Handler serves the login page. Every field is needed.
type Handler struct {
	Store   *storage.Store
	Realm   string
	Browser session.Browser
	Hasher  *user.Hasher
	Pages   *web.Pages
	Now     func() time.Time
	Random  io.Reader
	Log     *slog.Logger
	Audit   *audit.Log
}

// waiting is the request that a login is for.
type waiting struct {
	id       string
	request  *session.AuthorizationRequest
	client   *client.Client
	settings realm.Settings
	// Who is logged in already and has to prove it again; nil for nobody.
	session *session.UserSession
	user    *user.User
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !endpoint.Method(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	wait, err := h.waiting(r)
	if err == nil {
		r = page.WithLocales(r, wait.request.UILocales)
		err = h.serve(w, r, wait)
	}
	if err != nil {
		endpoint.Page(w, r, h.Log, h.Pages, err)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, wait *waiting) error {
	if r.Method != http.MethodPost {
		h.show(w, r, wait, wait.request.LoginHint, "")
		return nil
	}
	form, err := endpoint.Form(w, r)
	if err != nil {
		return err
	}
	name := form.Get("username")
	late, err := h.Browser.Proves(r, "login", wait.id, form.Get("csrf"), h.Now(), wait.settings.LoginActionTimeout)
	if err != nil {
		return err
	}
	if late {
		h.show(w, r, wait, name, "This page was open for too long. Please try again.")
		return nil
	}
	u, attempt, err := h.check(r, wait, name, form.Get("password"))
	if err != nil {
		return h.slowed(r, wait, name, err)
	}
	if u == nil {
		h.emit(r, wait, event.LoginError, name, "invalid_user_credentials")
		// One text for an unknown name, a wrong password and a disabled user.
		h.show(w, r, wait, name, "Username or password is wrong.")
		return nil
	}
	remembered := wait.settings.RememberMe && form.Get("rememberMe") != ""
	sid, cookie, err := h.start(r, wait, u, attempt, remembered)
	if err != nil {
		return h.slowed(r, wait, name, err)
	}
	var remember time.Duration
	if remembered {
		_, remember = session.PolicyOf(wait.settings, &client.Client{}).LoginLimits(true)
	}
	h.Browser.SetLogin(w, cookie, remember)
	h.Browser.SetKnown(w, r, u.ID, h.Random)
	h.Log.InfoContext(r.Context(), "user logged in", "client", wait.client.ClientID, "session", sid)
	endpoint.SeeOther(w, wait.settings.Action("continue", wait.id))
	return nil
}

// waiting reads the request that the login is for, of this very browser.
func (h *Handler) waiting(r *http.Request) (*waiting, error) {
	wait := &waiting{id: r.URL.Query().Get("request")}
	err := h.Store.View(r.Context(), func(tx storage.Tx) error {
		var err error
		if wait.request, err = session.AuthorizationRequests.Get(tx, h.Realm, wait.id); err != nil {
			return err
		}
		if wait.client, err = client.Clients.Get(tx, h.Realm, wait.request.Client); err != nil {
			return err
		}
		if wait.settings, err = realm.Get(tx, h.Realm); err != nil {
			return err
		}
		wait.session, wait.user, err = standing.LoggedIn(tx, wait.settings, h.Browser.Login(r), h.Now())
		return err
	})
	if errors.Is(err, storage.ErrNotFound) || (err == nil && !h.Browser.Began(r, wait.request)) {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "this login has ended or began in another browser; go back to the application and begin again")
	}
	return wait, err
}

// check returns the user with this name and password, nil if there is none. It
// takes as long for an unknown name. Who guesses has to wait: nothing is verified
// for him.
func (h *Handler) check(r *http.Request, wait *waiting, name, password string) (u *user.User, try guess.Attempt, err error) {
	ctx := r.Context()
	try = guess.Attempt{Realm: h.Realm, Policy: guess.PolicyOf(wait.settings), Name: name, Address: endpoint.ClientIP(r), Now: h.Now()}
	err = h.Store.View(ctx, func(tx storage.Tx) error {
		u, err = user.ByLogin(tx, h.Realm, name)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if err == nil {
			try.User, try.Browser = u.ID, h.Browser.Known(r, u.ID)
		}
		return guess.Slowed(try.Wait(tx))
	})
	if err != nil {
		return nil, try, err
	}
	if u == nil || u.PasswordHash == "" {
		err = h.Hasher.VerifyNobody(ctx, password)
		u = nil
	} else {
		var ok bool
		if ok, err = h.Hasher.Verify(ctx, u.PasswordHash, password); !ok || !u.Enabled {
			u = nil
		}
	}
	if err != nil && !errors.Is(err, user.ErrPasswordTooLong) || u != nil {
		return u, try, err
	}
	return nil, try, h.Store.Update(ctx, func(tx storage.Tx) error { return guess.Slowed(try.Wrong(tx)) })
}

// slowed tells of an attempt that has to wait.
func (h *Handler) slowed(r *http.Request, wait *waiting, name string, err error) error {
	var e *oidc.Error
	if errors.As(err, &e) && e.Code == oidc.CodeSlowDown {
		h.emit(r, wait, event.LoginError, name, "user_temporarily_disabled")
	}
	return err
}

// start writes the user session, synced, and notes in the request that the
// password was given for it. The same person's session goes on under its sid
// with a new secret; another one's ends.
func (h *Handler) start(r *http.Request, wait *waiting, u *user.User, try guess.Attempt, remembered bool) (sid, cookie string, err error) {
	now := h.Now().UTC()
	fresh, cookie, err := session.NewUser(h.Random, u.ID, endpoint.ClientIP(r), r.UserAgent(), now)
	if err != nil {
		return "", "", err
	}
	fresh.RememberMe = remembered
	same := wait.session != nil && wait.user.ID == u.ID
	if same {
		_, secret, _ := strings.Cut(cookie, ".")
		cookie = wait.session.ID + "." + secret
	}
	err = h.Audit.Update(r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		request, err := session.AuthorizationRequests.Get(tx, h.Realm, wait.id)
		if errors.Is(err, storage.ErrNotFound) {
			return oidc.Errorf(oidc.CodeInvalidRequest, "this login has ended; go back to the application and begin again")
		}
		if err == nil {
			err = guess.Slowed(try.Right(tx))
		}
		if err != nil {
			return err
		}
		us := fresh
		switch {
		case same:
			if kept, err := session.UserSessions.Get(tx, h.Realm, wait.session.ID); err == nil {
				us.ID, us.Started, us.Clients = kept.ID, kept.Started, kept.Clients
			} else if errors.Is(err, storage.ErrNotFound) {
				us.ID = wait.session.ID
			} else {
				return err
			}
		case wait.session != nil:
			tell(event.Event{
				Time: now, Type: event.Logout, Realm: h.Realm, Subject: wait.user.ID, Username: wait.user.Username,
				Session: wait.session.ID, IP: fresh.IP, Reason: "another_login",
			})
			if _, err := session.EndUser(tx, h.Realm, wait.session.ID); err != nil {
				return err
			}
		}
		sid = us.ID
		request.LoggedIn = true
		if err := session.AuthorizationRequests.Put(tx, h.Realm, wait.id, request); err != nil {
			return err
		}
		return session.StartUser(tx, h.Realm, us)
	})
	return sid, cookie, err
}

func (h *Handler) show(w http.ResponseWriter, r *http.Request, wait *waiting, name string, problem page.Text) {
	application := wait.client.Name
	if application == "" {
		application = wait.client.ClientID
	}
	h.Pages.Login(w, r, web.Login{
		Action: wait.settings.Action("authenticate", wait.id), CSRF: h.Browser.Proof(r, "login", wait.id, h.Now()),
		Client: application, Username: name, Problem: h.Pages.Words(r).T(problem),
		RememberMe: wait.settings.RememberMe,
	})
}

func (h *Handler) emit(r *http.Request, wait *waiting, kind event.Type, name, reason string) {
	h.Audit.Tell(r.Context(), event.Event{
		Time: h.Now().UTC(), Type: kind, Realm: h.Realm, Client: wait.client.ClientID, Username: name,
		IP: endpoint.ClientIP(r), Reason: reason,
	})
}
