package account

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// problem is an answer that says what is wrong with a change, in Keycloak's shape.
type problem struct {
	status int
	body   map[string]string
}

func (p *problem) Error() string { return p.body["errorMessage"] }

// wrong is about a member of the body; "" for all of it.
func wrong(status int, field, format string, args ...any) error {
	body := map[string]string{"errorMessage": fmt.Sprintf(format, args...)}
	if field != "" {
		body["field"] = field
	}
	return &problem{status, body}
}

// members reads a body that is an object of none but these members.
func (c *call) members(known ...string) (object, error) {
	v, err := endpoint.Body(c.w, c.r)
	if bad := (*endpoint.BodyError)(nil); errors.As(err, &bad) {
		return nil, wrong(bad.Status, "", "%s", bad.Reason)
	}
	if err != nil {
		return nil, err
	}
	o, ok := v.(object)
	if !ok {
		return nil, wrong(http.StatusBadRequest, "", "body: want an object")
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(known, name) {
			return nil, wrong(http.StatusBadRequest, name, "%q is no member that can be given", name)
		}
	}
	return o, nil
}

// profileMembers are Keycloak's names of what a person may change of himself.
var profileMembers = map[string]string{"firstName": "first_name", "lastName": "last_name", "email": "email"}

// postProfile changes a person's own names and mail address. An absent member stays,
// null and "" empty it. What the person may not change may be there as it is, since
// clients send back what they were given.
func (h *Handler) postProfile(c *call) (any, error) {
	o, err := c.members("id", "username", "firstName", "lastName", "email", "emailVerified", "attributes", "userProfileMetadata")
	if err != nil {
		return nil, err
	}
	given := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(profileMembers)) {
		v, there := o[name]
		text, ok := v.(string)
		if !there {
			continue
		}
		if v != nil && !ok {
			return nil, wrong(http.StatusBadRequest, name, "%s: want a text", name)
		}
		given[profileMembers[name]] = cleaned(profileMembers[name], text)
	}
	if attributes, there := o["attributes"]; there && attributes != nil {
		if all, ok := attributes.(object); !ok || len(all) > 0 {
			return nil, wrong(http.StatusBadRequest, "attributes", "attributes: this realm has none")
		}
	}
	if p := judgeProfile(given); p != "" {
		field := ""
		if p == problemAddress {
			field = "email"
		}
		return nil, wrong(http.StatusBadRequest, field, "%s", page.English.T(p))
	}
	err = h.saveProfile(c.visit, c.sid, func(u *user.User) error {
		for name, is := range map[string]any{"id": u.ID, "emailVerified": u.EmailVerified} {
			if v, there := o[name]; there && v != is {
				return wrong(http.StatusBadRequest, name, "%s cannot be changed", name)
			}
		}
		if v, there := o["username"]; there && !strings.EqualFold(fmt.Sprint(v), u.Username) {
			return wrong(http.StatusBadRequest, "username", "username cannot be changed")
		}
		for _, member := range slices.Sorted(maps.Keys(profileMembers)) {
			name := profileMembers[member]
			if value, ok := given[name]; ok && slices.Contains(u.ReadOnly(), name) && value != *profileOf(u)[name] {
				return wrong(http.StatusBadRequest, member, "%s is declared in the configuration of the realm: it cannot be changed here", member)
			}
		}
		return nil
	}, given)
	if errors.Is(err, storage.ErrTaken) {
		return nil, wrong(http.StatusConflict, "email", "%s", page.English.T(problemTaken))
	}
	return nil, err
}

// putConsent makes what a person allows a client that which the body lists. To allow
// less than before ends the client's background access, which may hold more
// (O65). Nobody allows something to himself: the client that brings the token is
// not the one that is allowed anything.
func (h *Handler) putConsent(c *call) (any, error) {
	o, err := c.members("grantedScopes", "createdDate", "lastUpdatedDate")
	if err != nil {
		return nil, err
	}
	listed, ok := o["grantedScopes"].([]any)
	if !ok {
		return nil, wrong(http.StatusBadRequest, "grantedScopes", "grantedScopes: want a list")
	}
	var out any
	err = h.change(c.visit, func(tx storage.Tx, again bool) ([]event.Event, bool, error) {
		one, err := h.application(tx, c)
		if err != nil {
			return nil, false, err
		}
		if one.ID == c.client.ID {
			return nil, false, wrong(http.StatusForbidden, "", "a client cannot allow something to itself")
		}
		scopes, err := client.ScopeSet(tx, h.Realm)
		if err != nil {
			return nil, false, err
		}
		names, err := scopesOf(listed, one, scopes)
		if err != nil {
			return nil, false, err
		}
		have, err := consent.Get(tx, h.Realm, c.user.ID, one.ID)
		if err != nil {
			return nil, false, err
		}
		var events []event.Event
		if again || have != nil && len(names.Missing(have.Scopes)) > 0 {
			ended, more, err := standing.Withdraw(tx, h.Realm, c.user, one.ID, c.now)
			if err != nil || more {
				return ended, more, err
			}
			events, have = ended, nil
		}
		if err := consent.Give(tx, h.Realm, c.user.ID, one.ID, names, nil, c.now); err != nil {
			return nil, false, err
		}
		given := event.Event{
			Time: c.now, Type: event.GrantConsent, Realm: h.Realm, Client: one.ClientID, Subject: c.user.ID, Username: c.user.Username, Session: c.sid,
			Details: map[string]string{"scope": names.String()},
		}
		if have != nil {
			given.Type = event.UpdateConsent
		}
		now, err := consent.Get(tx, h.Realm, c.user.ID, one.ID)
		out = consentOf(now, scopes)
		return append(events, given), false, err
	})
	return out, err
}

// scopesOf finds the scopes of ConsentScopeRepresentations, by their ids, or by name
// where there is none: such as the client has and people are asked for.
func scopesOf(listed []any, c *client.Client, scopes map[string]*client.Scope) (oidc.Scopes, error) {
	var names oidc.Scopes
	for i, v := range listed {
		at := fmt.Sprintf("grantedScopes[%d]", i)
		o, ok := v.(object)
		if !ok {
			return nil, wrong(http.StatusBadRequest, at, "%s: want an object", at)
		}
		name, _ := o["name"].(string)
		if id, there := o["id"]; there {
			name = ""
			for _, s := range scopes {
				if s.ID == id {
					name = s.Name
				}
			}
		}
		s := scopes[name]
		if s == nil || s.ConsentText == "" || !slices.Contains(c.DefaultScopes, name) && !slices.Contains(c.OptionalScopes, name) {
			return nil, wrong(http.StatusBadRequest, at, "%s: client %s has no such scope to be allowed", at, c.ClientID)
		}
		names = names.With(name)
	}
	return names, nil
}
