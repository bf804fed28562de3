package account

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/provider/visitor"
	"github.com/nightlatch/nightlatch/storage"
)

// Keycloak's account REST lies at the addresses of the pages. A request is one of
// it if it brings an access token, or wants JSON and no page.

// object is a JSON object.
type object = map[string]any

// call is a request of the REST in somebody's name.
type call struct {
	*visit
	sid    string         // of the token
	client *client.Client // that it was issued to
}

// answerer answers a call; nil: 204.
type answerer func(*call) (any, error)

// mountREST serves the paths that have no page.
func (h *Handler) mountREST(mux *http.ServeMux, at string) {
	for path, by := range map[string]map[string]answerer{
		"/applications/{client}/consent": {
			http.MethodGet: h.getConsent, http.MethodPost: h.putConsent, http.MethodPut: h.putConsent, http.MethodDelete: h.deleteConsent,
		},
		"/sessions/{id}":    {http.MethodDelete: h.deleteSession},
		"/sessions/devices": {http.MethodGet: h.getDevices},
		"/credentials":      {http.MethodGet: h.getCredentials},
		"/groups":           {http.MethodGet: h.getGroups},
		"/linked-accounts":  {http.MethodGet: h.getLinkedAccounts},
	} {
		mux.HandleFunc(at+path, func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, by) })
	}
}

// wantsJSON tells a call from a person's browser.
func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ") // a page behind a proxy may bring a Basic one
	return strings.EqualFold(scheme, "Bearer") || r.Method == http.MethodOptions ||
		strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request, by map[string]answerer) {
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete}
	if r.Method == http.MethodOptions {
		endpoint.CORS(w, r, []string{"*"}, methods...) // a preflight has no token
		return
	}
	act := by[r.Method]
	if act == nil && r.Method == http.MethodHead {
		act = by[http.MethodGet]
	}
	if act == nil {
		endpoint.Method(w, r, slices.DeleteFunc(methods, func(m string) bool { return by[m] == nil })...)
		return
	}
	c, who, err := h.call(w, r)
	if who != nil {
		endpoint.CORS(w, r, client.Readers(who, r.Header.Get("Origin")), methods...)
	}
	var body any
	if err == nil {
		body, err = act(c)
	}
	var wrong *problem
	switch {
	case errors.As(err, &wrong):
		endpoint.JSON(w, wrong.status, wrong.body)
	case err != nil:
		endpoint.Error(w, r, h.Log, err)
	case body == nil:
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	default:
		endpoint.JSON(w, http.StatusOK, body)
	}
}

// call judges the access token: it has to work, to be a person's, and to be meant
// for the account (its audience). The client is returned as soon as it is known,
// for CORS.
func (h *Handler) call(w http.ResponseWriter, r *http.Request) (*call, *client.Client, error) {
	v := &visit{w: w, r: r, now: h.Now().UTC()}
	var err error
	if v.params, err = endpoint.Query(r); err != nil {
		return nil, nil, err
	}
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return nil, nil, errNoToken
	}
	scheme, raw, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, nil, errNoToken
	}
	err = h.Store.View(r.Context(), func(tx storage.Tx) (err error) {
		v.settings, err = realm.Get(tx, h.Realm)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	access, err := token.OpenAccess(h.Ring, v.settings.Issuer(), strings.TrimSpace(raw))
	if err != nil {
		return nil, nil, oidc.Errorf(oidc.CodeInvalidToken, "access token is invalid").WithCause(err)
	}
	var who *client.Client
	err = h.Store.View(r.Context(), func(tx storage.Tx) error {
		who = nil
		st, err := standing.Access(tx, h.Realm, access, v.now)
		if refusal, refused := standing.Refusal(err); refused {
			return oidc.Errorf(oidc.CodeInvalidToken, "%s", refusal.Description)
		}
		if err != nil {
			return err
		}
		who, v.user = st.Client, st.User
		console, err := client.ByName(tx, h.Realm, client.Account)
		switch {
		case ignoreNotFound(err) != nil:
			return err
		case err != nil || !console.Enabled:
			return visitor.ErrOff
		case !slices.Contains(access.Audience, client.Account):
			return oidc.Errorf(oidc.CodeInvalidToken, "access token is not meant for the account: its audience lacks %s", client.Account)
		case st.User.ServiceAccountOf != "":
			return oidc.Errorf(oidc.CodeInsufficientScope, "access token is a service account's: nobody has logged in")
		}
		return nil
	})
	return &call{visit: v, sid: access.Session, client: who}, who, err
}

var errNoToken = oidc.Errorf(oidc.CodeInvalidToken, "access token is missing")

func (h *Handler) getProfile(c *call) (any, error) {
	u := c.user
	return object{
		"id": u.ID, "username": u.Username, "firstName": u.FirstName, "lastName": u.LastName,
		"email": u.Email, "emailVerified": u.EmailVerified, "attributes": object{},
	}, nil
}

// getCredentials answers Keycloak's CredentialContainers: the password alone.
func (h *Handler) getCredentials(c *call) (any, error) {
	metadata := []object{}
	if c.user.PasswordHash != "" {
		metadata = append(metadata, object{"credential": object{"id": oidc.NamedID("credential", h.Realm, c.user.ID), "type": "password"}})
	}
	return []object{{
		"type": "password", "category": "basic-authentication", "displayName": "password-display-name", "helptext": "password-help-text",
		"updateAction": "UPDATE_PASSWORD", "removeable": false, "userCredentialMetadatas": metadata,
	}}, nil
}

// getSessions answers SessionRepresentations.
func (h *Handler) getSessions(c *call) (any, error) {
	out := []object{}
	err := h.eachLogin(c, func(_ *session.UserSession, said object) { out = append(out, said) }, func() { out = out[:0] })
	return out, err
}

// getDevices answers DeviceRepresentations: the sessions by the browser that they are
// in, the one used last first.
func (h *Handler) getDevices(c *call) (any, error) {
	out, by := []object{}, map[string]int{}
	err := h.eachLogin(c, func(us *session.UserSession, said object) {
		i, known := by[us.Browser]
		if !known {
			system, mobile := systemOf(us.Browser)
			i, by[us.Browser] = len(out), len(out)
			out = append(out, object{
				"os": system, "osVersion": "Unknown", "device": "Other", "mobile": mobile, "browser": said["browser"],
				"ipAddress": said["ipAddress"], "lastAccess": said["lastAccess"], "current": false, "sessions": []object{},
			})
		}
		out[i]["sessions"] = append(out[i]["sessions"].([]object), said)
		out[i]["current"] = out[i]["current"].(bool) || said["current"].(bool)
	}, func() { out = out[:0]; clear(by) })
	return out, err
}

// systemOf finds in a User-Agent what a device runs, in Keycloak's words.
func systemOf(agent string) (name string, mobile bool) {
	for _, s := range []struct {
		sign, name string
		mobile     bool
	}{
		{"Android", "Android", true}, {"iPhone", "iOS", true}, {"iPad", "iOS", true}, {"Windows", "Windows", false},
		{"Mac OS X", "Mac OS X", false}, {"CrOS", "Chrome OS", false}, {"Linux", "Linux", false},
	} {
		if strings.Contains(agent, s.sign) {
			return s.name, s.mobile
		}
	}
	return "Other", false
}

// eachLogin calls fn with the logins that work, the one used last first, each with its
// SessionRepresentation; times are Unix seconds. begin is called before, perhaps
// more than once.
func (h *Handler) eachLogin(c *call, fn func(*session.UserSession, object), begin func()) error {
	return h.Store.View(c.r.Context(), func(tx storage.Tx) error {
		begin()
		rows, err := session.UserSessions.ListBy(tx, h.Realm, "user", c.user.ID, "", most)
		if err != nil {
			return err
		}
		slices.SortStableFunc(rows, func(a, b storage.Row[session.UserSession]) int {
			return b.Record.LastAccess.Compare(a.Record.LastAccess)
		})
		policy := session.PolicyOf(c.settings, &client.Client{}).ForUser(c.user.NotBefore)
		for _, row := range rows {
			us := row.Record
			if session.CheckUser(policy, us, c.now) != session.Working {
				continue
			}
			clients := []object{}
			for _, id := range us.Clients {
				one, err := client.Clients.Shared(tx, h.Realm, id)
				if err = ignoreNotFound(err); err != nil {
					return err
				}
				if one != nil {
					clients = append(clients, object{"clientId": one.ClientID, "clientName": one.Name})
				}
			}
			_, life := policy.LoginLimits(us.RememberMe)
			fn(us, object{
				"id": us.ID, "ipAddress": us.IP, "started": us.Started.Unix(), "lastAccess": us.LastAccess.Unix(),
				"expires": us.Started.Add(life).Unix(), "clients": clients, "browser": page.English.Browser(us.Browser), "current": us.ID == c.sid,
			})
		}
		return nil
	})
}

// getGroups answers GroupRepresentations. A group is its name here.
func (h *Handler) getGroups(c *call) (any, error) {
	out := []object{}
	for _, name := range slices.Sorted(slices.Values(c.user.Groups)) {
		out = append(out, object{
			"id": oidc.NamedID("group", h.Realm, name), "name": name[strings.LastIndex(name, "/")+1:], "path": "/" + name,
		})
	}
	return out, nil
}

// getLinkedAccounts answers none: a realm has no other providers to log in by.
func (h *Handler) getLinkedAccounts(*call) (any, error) { return []object{}, nil }

// deleteSessions signs out everywhere else, with current=true here too.
func (h *Handler) deleteSessions(c *call) (any, error) {
	except := c.sid
	if c.params.Get("current") == "true" {
		except = ""
	}
	return nil, h.change(c.visit, func(tx storage.Tx, _ bool) ([]event.Event, bool, error) {
		return standing.EndLogins(tx, h.Realm, c.user, except, c.now)
	})
}

// deleteSession signs out one login. What has ended is fine, as in Keycloak; so is
// another person's, which is not looked at.
func (h *Handler) deleteSession(c *call) (any, error) {
	c.params = url.Values{"session": {c.r.PathValue("id")}}
	err := h.change(c.visit, func(tx storage.Tx, _ bool) ([]event.Event, bool, error) {
		us, err := h.named(tx, c.visit)
		if err != nil {
			return nil, false, err
		}
		events, err := standing.EndLogin(tx, h.Realm, c.user, us.ID, c.now)
		return events, false, err
	})
	if errors.Is(err, errGone) {
		err = nil
	}
	return nil, err
}

// consentOf answers a ConsentRepresentation, nil for none; times are Unix
// milliseconds.
func consentOf(given *consent.Consent, scopes map[string]*client.Scope) any {
	if given == nil {
		return nil
	}
	granted := []object{}
	for _, name := range given.Scopes {
		if s := scopes[name]; s != nil {
			granted = append(granted, object{"id": s.ID, "name": s.Name, "displayText": s.ConsentText})
		}
	}
	return object{"grantedScopes": granted, "createdDate": given.CreatedAt.UnixMilli(), "lastUpdatedDate": given.UpdatedAt.UnixMilli()}
}

// getApplications answers the clients that a person uses, allowed something, or
// gave background access; name looks for a part of theirs.
func (h *Handler) getApplications(c *call) (any, error) {
	var out []object
	err := h.Store.View(c.r.Context(), func(tx storage.Tx) error {
		out = []object{}
		used, offline, ids, err := h.related(tx, c.visit)
		if err != nil {
			return err
		}
		scopes, err := client.ScopeSet(tx, h.Realm)
		if err != nil {
			return err
		}
		for _, id := range ids {
			one, err := client.Clients.Shared(tx, h.Realm, id)
			if err = ignoreNotFound(err); err != nil {
				return err
			}
			wanted := strings.ToLower(c.params.Get("name"))
			if one == nil || !strings.Contains(strings.ToLower(one.Name), wanted) && !strings.Contains(strings.ToLower(one.ClientID), wanted) {
				continue
			}
			given, err := consent.Get(tx, h.Realm, c.user.ID, id)
			if err != nil {
				return err
			}
			entry := object{
				"clientId": one.ClientID, "clientName": one.Name, "description": one.Description, "userConsentRequired": one.ConsentRequired,
				"inUse": used[id], "offlineAccess": offline[id], "rootUrl": "", "baseUrl": one.BaseURL, "effectiveUrl": one.BaseURL,
				"logoUri": "", "policyUri": "", "tosUri": "",
			}
			if k := consentOf(given, scopes); k != nil {
				entry["consent"] = k
			}
			out = append(out, entry)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b object) int { return strings.Compare(a["clientId"].(string), b["clientId"].(string)) })
	return out, err
}

// related lists the clients that a person has to do with, and which of them are
// in a login or have background access.
func (h *Handler) related(tx storage.Tx, v *visit) (used, offline map[string]bool, ids []string, err error) {
	used, offline = map[string]bool{}, map[string]bool{}
	logins, err := session.UserSessions.ListBy(tx, h.Realm, "user", v.user.ID, "", most)
	if err != nil {
		return nil, nil, nil, err
	}
	policy := session.PolicyOf(v.settings, &client.Client{}).ForUser(v.user.NotBefore)
	for _, row := range logins {
		if session.CheckUser(policy, row.Record, v.now) == session.Working {
			for _, id := range row.Record.Clients {
				used[id] = true
			}
			ids = append(ids, row.Record.Clients...)
		}
	}
	holders, err := session.OfflineClients(tx, h.Realm, v.user.ID)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, c := range holders {
		held, err := h.holder(tx, v, c)
		if err != nil {
			return nil, nil, nil, err
		}
		if len(held.live) > 0 {
			offline[c.ID] = true
			ids = append(ids, c.ID)
		}
	}
	consents, err := consent.Table.ListBy(tx, h.Realm, "user", v.user.ID, "", 10*most)
	for _, row := range consents {
		ids = append(ids, row.Record.Client)
	}
	slices.Sort(ids)
	return used, offline, slices.Compact(ids), err
}

var errNoClient = oidc.Errorf(oidc.CodeInvalidRequest, "No client with clientId found").WithStatus(http.StatusNotFound)

// application is the client that the path names.
func (h *Handler) application(tx storage.Tx, c *call) (*client.Client, error) {
	one, err := client.ByName(tx, h.Realm, c.r.PathValue("client"))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errNoClient
	}
	return one, err
}

func (h *Handler) getConsent(c *call) (any, error) {
	var out any
	err := h.Store.View(c.r.Context(), func(tx storage.Tx) error {
		one, err := h.application(tx, c)
		if err != nil {
			return err
		}
		scopes, err := client.ScopeSet(tx, h.Realm)
		if err != nil {
			return err
		}
		given, err := consent.Get(tx, h.Realm, c.user.ID, one.ID)
		out = consentOf(given, scopes)
		return err
	})
	return out, err
}

// deleteConsent withdraws a consent and ends the client's offline sessions of the
// person (O65); there may have been neither.
func (h *Handler) deleteConsent(c *call) (any, error) {
	return nil, h.change(c.visit, func(tx storage.Tx, _ bool) ([]event.Event, bool, error) {
		one, err := h.application(tx, c)
		if err != nil {
			return nil, false, err
		}
		return standing.Withdraw(tx, h.Realm, c.user, one.ID, c.now)
	})
}
