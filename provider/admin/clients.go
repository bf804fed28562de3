package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// client reads the client that the path names by its uuid, to be changed.
func (c *call) client(tx storage.Tx) (*client.Client, error) { return c.clientBy(tx, c.id("client")) }

func (c *call) clientBy(tx storage.Tx, uuid string) (*client.Client, error) {
	cl, err := client.Clients.Get(tx, c.Realm, uuid)
	return found(cl, err, "Could not find client")
}

func (c *call) listClients() (any, error) {
	first, most, err := c.page()
	if err != nil {
		return nil, err
	}
	contains, _, err := c.is("search")
	if err != nil {
		return nil, err
	}
	name := c.query.Get("clientId")
	out := []object{}
	err = c.view(func(tx storage.Tx) error {
		out = []object{}
		if name != "" && !contains {
			cl, err := client.ByName(tx, c.Realm, name)
			if errors.Is(err, storage.ErrNotFound) || err == nil && first > 0 || most == 0 {
				return nil
			}
			if err != nil {
				return err
			}
			out = append(out, clientMembers.show(&clientView{Client: *cl}))
			return nil
		}
		name = strings.ToLower(name)
		return each(tx, &client.Clients, c.Realm, "name", func(cl *client.Client) (more bool) {
			if name != "" && !strings.Contains(strings.ToLower(cl.ClientID), name) {
				return true
			}
			if first > 0 {
				first--
				return true
			}
			if len(out) < most {
				out = append(out, clientMembers.show(&clientView{Client: *cl}))
			}
			return len(out) < most
		})
	})
	return out, err
}

// each reads the records of a realm in the order of an index, until fn has
// enough.
func each[T any](tx storage.Tx, table *storage.Table[T], realmName, index string, fn func(*T) (more bool)) error {
	const page = 200
	for after := (storage.Entry{}); ; {
		entries, err := table.Between(tx, realmName, index, after, last, page)
		if err != nil {
			return err
		}
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i], after = e.ID, e
		}
		rows, err := table.GetMany(tx, realmName, ids)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if !fn(row.Record) {
				return nil
			}
		}
		if len(entries) < page {
			return nil
		}
	}
}

// last is greater than every text.
const last = "\xff"

func (c *call) getClient() (any, error) {
	var out object
	err := c.view(func(tx storage.Tx) error {
		cl, err := c.client(tx)
		if err == nil {
			out = clientMembers.show(&clientView{Client: *cl})
		}
		return err
	})
	return out, err
}

// clientView is a client with the secret that a request sets, in plain.
type clientView struct {
	client.Client
	Secret string
}

func (c *call) createClient() (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	now := clientView{Client: *client.New(c.settings, oidc.NewID(c.Random), "", c.now)}
	now.StandardFlow = true
	now.Declared = nil
	v := now
	if id, ok := given["id"].(string); ok && id != "" {
		if !validID(id) {
			return nil, bad("id", "want at most 64 letters, digits, - and _")
		}
		v.ID = id
	}
	if err := clientMembers.apply(&v, &now, given); err != nil {
		return nil, err
	}
	if v.Public {
		v.Secret = ""
	} else if v.Secret == "" && v.JWKS == nil {
		if v.Secret, err = client.NewSecret(c.Random); err != nil {
			return nil, err
		}
	}
	c.made = "clients/" + v.ID
	err = c.change(func(tx storage.Tx, tell audit.Tell) error {
		v := v
		if _, err := client.Clients.Get(tx, c.Realm, v.ID); err == nil {
			return taken("Client with id %s already exists", v.ID)
		} else if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		return c.putClient(tx, tell, &client.Client{}, &v)
	})
	if err != nil {
		return nil, err
	}
	return created{c.made}, nil
}

// validID accepts what may become part of keys and paths.
func validID(id string) bool {
	return len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool {
		return !(r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	})
}

func (c *call) putClientBody() (any, error) {
	given, err := c.members()
	if err != nil {
		return nil, err
	}
	fresh, err := client.NewSecret(c.Random)
	if err != nil {
		return nil, err
	}
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		before, err := c.client(tx)
		if err != nil {
			return err
		}
		after, now := clientView{Client: *before}, clientView{Client: *before}
		if err := clientMembers.apply(&after, &now, given); err != nil {
			return err
		}
		if before.Public && !after.Public && after.Secret == "" && after.JWKS == nil {
			after.Secret = fresh
		}
		return c.putClient(tx, tell, before, &after)
	})
}

// clientFields maps the fields of a client that Validate names to the members
// that they come from.
var clientFields = map[string]string{
	"client_id": "clientId", "service_account": "serviceAccountsEnabled", "require_pkce": "attributes.pkce.code.challenge.method",
	"jwks": "attributes.jwks.string", "redirect_uris": "redirectUris", "post_logout_redirect_uris": "attributes.post.logout.redirect.uris",
	"web_origins": "webOrigins", "backchannel_logout_uri": "attributes.backchannel.logout.url", "base_url": "baseUrl",
	"optional_scopes": "optionalClientScopes",
}

// putClient judges a changed client and writes it. before is empty for a new one.
func (c *call) putClient(tx storage.Tx, tell audit.Tell, before *client.Client, v *clientView) error {
	after := &v.Client
	if err := after.Validate(); err != nil {
		var invalid *client.Invalid
		if !errors.As(err, &invalid) {
			return err
		}
		path := clientFields[invalid.Field]
		if invalid.Index >= 0 {
			path += fmt.Sprintf("[%d]", invalid.Index)
		}
		return bad(path, "%s", invalid.Why)
	}
	if before.ClientID != after.ClientID && client.BuiltIn(before.ClientID) {
		return bad("clientId", "%s is built in", before.ClientID)
	}
	switch {
	case v.Secret != "" && after.Public:
		return bad("secret", "a public client has no secret")
	case v.Secret != "":
		if err := client.NewSecrets(c.Sealer).Set(tx, c.Realm, after, c.SecretKey, v.Secret, c.now); err != nil {
			return err
		}
	case after.Public:
		after.SecretHash = nil
	case len(after.SecretHash) == 0 && after.JWKS == nil:
		return bad("secret", "a confidential client needs one")
	}
	if err := c.undeclared("client "+before.ClientID, before, after, before.ReadOnly()); err != nil {
		return err
	}
	if err := c.scopesExist(tx, "defaultClientScopes", after.DefaultScopes, before.DefaultScopes); err != nil {
		return err
	}
	if err := c.scopesExist(tx, "optionalClientScopes", after.OptionalScopes, before.OptionalScopes); err != nil {
		return err
	}
	err := client.Clients.Put(tx, c.Realm, after.ID, after)
	if errors.Is(err, storage.ErrTaken) {
		return taken("Client %s already exists", after.ClientID)
	}
	if reason := changed(before, after); err == nil && before.ID != "" && reason != "" {
		tell(standing.ClientChanged(c.Realm, after, reason, c.now))
	}
	return err
}

// changed tells why a change may end what the client was given before, or bring it
// back; "" if it does neither.
func changed(before, after *client.Client) string {
	switch {
	case before.Enabled && !after.Enabled:
		return standing.ClientDisabled
	case !before.Enabled && after.Enabled:
		return standing.ClientEnabled
	case after.NotBefore > before.NotBefore:
		return session.IssuedBefore
	case !slices.Equal(before.DefaultScopes, after.DefaultScopes) || !slices.Equal(before.OptionalScopes, after.OptionalScopes) ||
		!slices.Equal(before.ScopeRoles, after.ScopeRoles) || before.FullScope && !after.FullScope:
		return "changed"
	}
	return ""
}

func (c *call) deleteClient() (any, error) {
	return nil, c.all(func(tx storage.Tx, tell audit.Tell, _ bool) (bool, error) {
		cl, err := c.client(tx)
		if err != nil {
			return false, err
		}
		if client.BuiltIn(cl.ClientID) {
			return false, bad("", "client %s is built in; it can be disabled", cl.ClientID)
		}
		if err := c.notDeclared("client "+cl.ClientID, cl.ReadOnly()); err != nil {
			return false, err
		}
		events, more, err := standing.DeleteClient(tx, c.Realm, cl, c.now)
		tell(events...)
		return more, err
	})
}

// getSecret shows the secret of a client for an hour after it was set by an
// administrator. The store has no more than its hash then, and no value is
// answered.
func (c *call) getSecret() (any, error) {
	var out object
	err := c.view(func(tx storage.Tx) error {
		cl, err := c.client(tx)
		if err != nil {
			return err
		}
		secret, err := client.NewSecrets(c.Sealer).Show(tx, c.Realm, cl)
		out = credential(secret)
		return err
	})
	return out, err
}

func credential(secret string) object {
	out := object{"type": "secret"}
	if secret != "" {
		out["value"] = secret
	}
	return out
}

func (c *call) newSecret() (any, error) {
	secret, err := client.NewSecret(c.Random)
	if err != nil {
		return nil, err
	}
	err = c.change(func(tx storage.Tx, tell audit.Tell) error {
		before, err := c.client(tx)
		if err != nil {
			return err
		}
		if before.Public {
			return bad("", "a public client has no secret")
		}
		return c.putClient(tx, tell, before, &clientView{Client: *before, Secret: secret})
	})
	return credential(secret), err
}

func (c *call) pushClientRevocation() (any, error) {
	return pushed(), c.change(func(tx storage.Tx, _ audit.Tell) error {
		_, err := c.client(tx)
		return err
	})
}

func (c *call) serviceAccount() (any, error) {
	id := oidc.NewID(c.Random)
	var out object
	// Reading makes it, as in Keycloak: it exists from when the client may use it.
	err := c.Store.Update(c.r.Context(), func(tx storage.Tx) error {
		cl, err := c.client(tx)
		if err != nil {
			return err
		}
		if !cl.ServiceAccount {
			return bad("", "Service account not enabled for the client '%s'", cl.ClientID)
		}
		u, err := user.EnsureServiceAccount(tx, c.Realm, id, cl.ID, cl.ClientID, c.now)
		if err == nil {
			out = userMembers.show(&userView{User: *u, client: cl.ClientID})
		}
		return err
	})
	return out, err
}

// clientRoles answers for the roles of a client: realms here have none.
func (c *call) clientRoles() (any, error) {
	return []object{}, c.view(func(tx storage.Tx) error {
		_, err := c.client(tx)
		return err
	})
}

func (c *call) refuseClientRole() (any, error) {
	return nil, bad("", "roles are the realm's here; a client has none of its own")
}
