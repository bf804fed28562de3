package admin

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// scopeView is a client scope with what a request says beside the record.
type scopeView struct {
	client.Scope
	isNew bool
}

// scopeMembers is Keycloak's ClientScopeRepresentation.
var scopeMembers = table[scopeView]{
	"id": shown(func(v *scopeView) any { return v.ID }),
	"name": {
		show: func(v *scopeView) any { return v.Name },
		set: func(into, _ *scopeView, v any) error {
			if !into.isNew {
				return errors.New("cannot be changed") // what was granted is known by the name
			}
			s, err := asText(v, 255)
			if err != nil {
				return err
			}
			if parsed, err := oidc.ParseScopes(s); err != nil || len(parsed) != 1 || parsed[0] != s {
				return errors.New("want a scope token (RFC 6749 §3.3)")
			}
			into.Name = s
			return nil
		},
	},
	"description":     line(func(v *scopeView) *string { return &v.Description }),
	"protocol":        fixed[scopeView]("openid-connect"),
	"protocolMappers": fixed[scopeView]([]any{}),
	"attributes": attributes(table[scopeView]{
		"include.in.token.scope": flagText(func(v *scopeView) *bool { return &v.InToken }),
		"display.on.consent.screen": {
			show: func(v *scopeView) any { return fmt.Sprint(v.ConsentText != "") },
			set: func(into, _ *scopeView, v any) error {
				switch {
				case v == "false":
					into.ConsentText = ""
				case v == "true" && into.ConsentText == "":
					into.ConsentText = into.Name
				case v != "true":
					return errors.New(`want "true" or "false"`)
				}
				return nil
			},
		},
		"consent.screen.text": {
			show: line(func(v *scopeView) *string { return &v.ConsentText }).show,
			set: func(into, _ *scopeView, v any) error {
				s, err := asText(v, 255)
				if s == "" && into.ConsentText != "" {
					s = into.Name
				}
				into.ConsentText = s
				return err
			},
		},
		"gui.order":                           inert[scopeView](""),
		"include.in.openid.provider.metadata": inert[scopeView]("true"),
	}),
}

// scope reads the client scope that the path names by its id, to be changed.
func (c *call) scope(tx storage.Tx) (*client.Scope, error) {
	id := c.id("scope")
	if id == "" {
		return nil, missing("Could not find client scope")
	}
	row, err := client.Scopes.GetBy(tx, c.Realm, "id", id)
	return found(row.Record, err, "Could not find client scope")
}

func (c *call) listScopes() (any, error) {
	out := []object{}
	err := c.view(func(tx storage.Tx) error {
		out = []object{}
		set, err := client.ScopeSet(tx, c.Realm)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(set)) {
			out = append(out, scopeMembers.show(&scopeView{Scope: *set[name]}))
		}
		return nil
	})
	return out, err
}

func (c *call) getScope() (any, error) {
	var out object
	err := c.view(func(tx storage.Tx) error {
		s, err := c.scope(tx)
		if err == nil {
			out = scopeMembers.show(&scopeView{Scope: *s})
		}
		return err
	})
	return out, err
}

func (c *call) createScope() (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	now := scopeView{isNew: true, Scope: client.Scope{InToken: true}}
	v := now
	name, _ := given["name"].(string)
	v.Name, v.ConsentText = name, name // shown, unless the request says otherwise
	if err := scopeMembers.apply(&v, &now, given); err != nil {
		return nil, err
	}
	if v.Name == "" {
		return nil, bad("name", "is missing")
	}
	v.ID = client.NewScope(c.Realm, v.Name).ID
	c.made = "client-scopes/" + v.ID
	err = c.change(func(tx storage.Tx, tell audit.Tell) error {
		if _, err := client.Scopes.Get(tx, c.Realm, v.Name); err == nil || v.Name == oidc.ScopeOpenID {
			return taken("Client Scope %s already exists", v.Name)
		} else if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		return client.Scopes.Put(tx, c.Realm, v.Name, &v.Scope)
	})
	if err != nil {
		return nil, err
	}
	return created{c.made}, nil
}

func (c *call) putScopeBody() (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		s, err := c.scope(tx)
		if err != nil {
			return err
		}
		after, now := scopeView{Scope: *s}, scopeView{Scope: *s}
		if err := scopeMembers.apply(&after, &now, given); err != nil {
			return err
		}
		return c.putScope(tx, tell, &after.Scope)
	})
}

func (c *call) putScope(tx storage.Tx, tell audit.Tell, s *client.Scope) error {
	tell(event.Event{Time: c.now, Type: event.RealmChanged, Realm: c.Realm, Reason: "client_scopes"})
	return client.Scopes.Put(tx, c.Realm, s.Name, s)
}

// deleteScope takes a client scope from the realm and all its clients.
func (c *call) deleteScope() (any, error) {
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		s, err := c.scope(tx)
		if err != nil {
			return err
		}
		if s.Name == oidc.ScopeOfflineAccess {
			return bad("", "client scope %s is built in; it can be taken from clients", s.Name)
		}
		before, err := realm.Table.Get(tx, c.Realm, c.Realm)
		if err != nil {
			return err
		}
		after, full := *before, before.Resolve()
		for _, l := range []realmScopes{realmDefaultScopes, realmOptionalScopes} {
			if slices.Contains(*l.of(&full), s.Name) {
				*l.of(&after) = slices.DeleteFunc(slices.Clone(*l.of(&full)), func(n string) bool { return n == s.Name })
			}
		}
		if err := c.undeclared("this realm", before, &after, before.Declared); err != nil {
			return err
		}
		if err := realm.Table.Put(tx, c.Realm, c.Realm, &after); err != nil {
			return err
		}
		err = c.editClients(tx, func(cl *client.Client) bool {
			had := slices.Contains(cl.DefaultScopes, s.Name) || slices.Contains(cl.OptionalScopes, s.Name)
			cl.DefaultScopes, cl.OptionalScopes = without(cl.DefaultScopes, s.Name), without(cl.OptionalScopes, s.Name)
			return had
		})
		if err != nil {
			return err
		}
		tell(event.Event{Time: c.now, Type: event.RealmChanged, Realm: c.Realm, Reason: "client_scopes"})
		return client.Scopes.Delete(tx, c.Realm, s.Name)
	})
}
