package visitor

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// Reception of one console. Every field is needed.
type Reception struct {
	Store   *storage.Store
	Realm   string
	Browser session.Browser
	Now     func() time.Time
	Random  io.Reader
	// Client is the client_id by which people log in there. While it is disabled,
	// or deleted, nobody gets in.
	Client string
	// Step names the console in the proofs of its forms: one for another console
	// proves nothing here.
	Step string
}

// Visit is one request of somebody who is logged in.
type Visit struct {
	W        http.ResponseWriter
	R        *http.Request
	Params   url.Values // of the query, or of the form of a POST
	Now      time.Time
	Settings realm.Settings // of now, defaults filled in
	Session  *session.UserSession
	User     *user.User
	Client   *client.Client // of the console
}

// ErrOff is the answer while the console's client is disabled.
var ErrOff = oidc.Errorf(oidc.CodeAccessDenied, "this console is switched off here").WithStatus(http.StatusForbidden)

// Receive tells who asks. nil without an error: nobody is logged in, and the
// answer is on its way to the login. It costs one read transaction; a login page
// costs one write.
func (d Reception) Receive(w http.ResponseWriter, r *http.Request) (*Visit, error) {
	v := &Visit{W: w, R: r, Now: d.Now().UTC()}
	var err error
	if r.Method == http.MethodPost {
		v.Params, err = endpoint.Form(w, r)
	} else {
		v.Params, err = endpoint.Query(r)
	}
	if err != nil {
		return nil, err
	}
	err = d.Store.View(r.Context(), func(tx storage.Tx) error {
		var err error
		if v.Settings, err = realm.Get(tx, d.Realm); err != nil {
			return err
		}
		if v.Client, err = client.ByName(tx, d.Realm, d.Client); err != nil {
			return err
		}
		v.Session, v.User, err = standing.LoggedIn(tx, v.Settings, d.Browser.Login(r), v.Now)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) || err == nil && !v.Client.Enabled {
		return nil, ErrOff
	}
	if err != nil {
		return nil, err
	}
	if v.User == nil {
		return nil, d.logIn(v)
	}
	if r.Method == http.MethodPost {
		_, err = d.Browser.Proves(r, d.Step, v.Session.ID, v.Params.Get("csrf"), v.Now, 0)
	}
	return v, err
}

// logIn sends the browser to the realm's login page, which sends it back here; a
// form that came too late goes to the page that it was on.
func (d Reception) logIn(v *Visit) error {
	params := v.Params
	if v.R.Method == http.MethodPost {
		params = nil
	}
	to := endpoint.WithQuery(v.R.URL.EscapedPath(), params)
	id, flow := oidc.NewID(d.Random), session.HashFlow(d.Browser.Flow(v.W, v.R, d.Random))
	err := d.Store.Update(v.R.Context(), func(tx storage.Tx) error {
		return session.Await(tx, d.Realm, id, &session.AuthorizationRequest{
			Client: v.Client.ID, Page: to, Started: v.Now, Expires: v.Now.Add(v.Settings.LoginTimeout), Browser: flow,
		})
	})
	if err == nil {
		endpoint.SeeOther(v.W, v.Settings.Action("authenticate", id))
	}
	return err
}

// Proof is the CSRF token of a form of this console, for this browser and login.
func (d Reception) Proof(v *Visit) string {
	d.Browser.Flow(v.W, v.R, d.Random)
	return d.Browser.Proof(v.R, d.Step, v.Session.ID, v.Now)
}
