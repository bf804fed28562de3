package admin

import (
	"errors"
	"slices"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
)

// scopeList is a list of names of client scopes: of a client or of the realm.
type scopeList struct {
	of func(*client.Client) *[]string
	// other is the list that a scope may not be in at the same time.
	other func(*client.Client) *[]string
}

var (
	defaultScopes  = scopeList{func(c *client.Client) *[]string { return &c.DefaultScopes }, func(c *client.Client) *[]string { return &c.OptionalScopes }}
	optionalScopes = scopeList{func(c *client.Client) *[]string { return &c.OptionalScopes }, func(c *client.Client) *[]string { return &c.DefaultScopes }}
)

func (l scopeList) list(c *call) (any, error) {
	var out []object
	err := c.view(func(tx storage.Tx) error {
		cl, err := c.client(tx)
		if err == nil {
			out, err = c.scopesByName(tx, *l.of(cl))
		}
		return err
	})
	return out, err
}

func (c *call) scopesByName(tx storage.Tx, names []string) ([]object, error) {
	out := []object{}
	for _, name := range names {
		s, err := client.Scopes.Shared(tx, c.Realm, name)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, object{"id": s.ID, "name": s.Name})
	}
	return out, nil
}

// add gives the client a scope; one that it has in the other list stays there,
// as in Keycloak.
func (l scopeList) add(c *call) (any, error) {
	return l.edit(c, func(cl *client.Client, name string) {
		if !slices.Contains(*l.of(cl), name) && !slices.Contains(*l.other(cl), name) {
			*l.of(cl) = append(slices.Clone(*l.of(cl)), name)
		}
	})
}

func (l scopeList) remove(c *call) (any, error) {
	return l.edit(c, func(cl *client.Client, name string) {
		*l.of(cl) = slices.DeleteFunc(slices.Clone(*l.of(cl)), func(n string) bool { return n == name })
	})
}

func (l scopeList) edit(c *call, edit func(*client.Client, string)) (any, error) {
	return nil, c.change(func(tx storage.Tx, tell audit.Tell) error {
		before, err := c.client(tx)
		if err != nil {
			return err
		}
		s, err := c.scope(tx)
		if err != nil {
			return err
		}
		after := clientView{Client: *before}
		edit(&after.Client, s.Name)
		return c.putClient(tx, tell, before, &after)
	})
}

// realmScopes is the same for the lists that new clients begin with.
type realmScopes struct {
	of, other func(*realm.Settings) *[]string
}

var (
	realmDefaultScopes = realmScopes{
		func(s *realm.Settings) *[]string { return &s.DefaultClientScopes }, func(s *realm.Settings) *[]string { return &s.OptionalClientScopes }}
	realmOptionalScopes = realmScopes{
		func(s *realm.Settings) *[]string { return &s.OptionalClientScopes }, func(s *realm.Settings) *[]string { return &s.DefaultClientScopes }}
)

func (l realmScopes) list(c *call) (any, error) {
	var out []object
	err := c.view(func(tx storage.Tx) (err error) {
		out, err = c.scopesByName(tx, *l.of(&c.settings))
		return err
	})
	return out, err
}

func (l realmScopes) add(c *call) (any, error) {
	return l.edit(c, func(s *realm.Settings, name string) {
		if !slices.Contains(*l.of(s), name) && !slices.Contains(*l.other(s), name) {
			*l.of(s) = append(slices.Clone(*l.of(s)), name)
		}
	})
}

func (l realmScopes) remove(c *call) (any, error) {
	return l.edit(c, func(s *realm.Settings, name string) {
		*l.of(s) = slices.DeleteFunc(slices.Clone(*l.of(s)), func(n string) bool { return n == name })
	})
}

func (l realmScopes) edit(c *call, edit func(*realm.Settings, string)) (any, error) {
	return nil, c.change(func(tx storage.Tx, _ audit.Tell) error {
		before, err := realm.Table.Get(tx, c.Realm, c.Realm)
		if err != nil {
			return err
		}
		s, err := c.scope(tx)
		if err != nil {
			return err
		}
		full, after := before.Resolve(), *before
		edit(&full, s.Name)
		*l.of(&after) = list(*l.of(&full))
		if err := c.undeclared("this realm", before, &after, before.Declared); err != nil {
			return err
		}
		return realm.Table.Put(tx, c.Realm, c.Realm, &after)
	})
}
