package admin

import (
	"errors"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// finder says which users a request asks for.
type finder struct {
	username, email, id string // exact
	matches             []func(*user.User) bool
}

// finder reads the filters of a list of users, as Keycloak does: search begins a
// name or address, in each of its words; *x* is anywhere, "x" the whole. The
// others are anywhere, or the whole with exact.
func (c *call) finder() (f finder, err error) {
	exact, _, err := c.is("exact")
	if err != nil {
		return f, err
	}
	for name, of := range map[string]func(*user.User) string{
		"username":  func(u *user.User) string { return u.Username },
		"email":     func(u *user.User) string { return u.Email },
		"firstName": func(u *user.User) string { return u.FirstName },
		"lastName":  func(u *user.User) string { return u.LastName },
	} {
		want := strings.ToLower(c.query.Get(name))
		if want == "" {
			continue
		}
		f.matches = append(f.matches, func(u *user.User) bool {
			have := strings.ToLower(of(u))
			return have == want || !exact && strings.Contains(have, want)
		})
		if exact && name == "username" {
			f.username = want
		}
		if exact && name == "email" {
			f.email = want
		}
	}
	for name, of := range map[string]func(*user.User) bool{
		"enabled":       func(u *user.User) bool { return u.Enabled },
		"emailVerified": func(u *user.User) bool { return u.EmailVerified },
	} {
		want, set, err := c.is(name)
		if err != nil {
			return f, err
		}
		if set {
			f.matches = append(f.matches, func(u *user.User) bool { return of(u) == want })
		}
	}
	search := strings.TrimSpace(c.query.Get("search"))
	if id, ok := strings.CutPrefix(search, "id:"); ok {
		f.id = id
		return f, nil
	}
	for _, word := range user.Words(search) {
		f.matches = append(f.matches, word.Fits)
	}
	return f, nil
}

// find calls fn with the users that are asked for, by username, until it has
// enough.
func (f finder) find(tx storage.Tx, realmName string, fn func(*user.User) (more bool)) error {
	one := func(u *user.User, err error) error {
		if errors.Is(err, storage.ErrNotFound) || err == nil && (u.ServiceAccountOf != "" || !f.fits(u)) {
			return nil
		}
		if err == nil {
			fn(u)
		}
		return err
	}
	switch {
	case f.id != "":
		if len(f.id) > 255 {
			return nil
		}
		return one(user.Users.Get(tx, realmName, f.id))
	case f.username != "":
		row, err := user.Users.GetBy(tx, realmName, "username", f.username)
		return one(row.Record, err)
	case f.email != "":
		row, err := user.Users.GetBy(tx, realmName, "email", f.email)
		return one(row.Record, err)
	}
	return each(tx, &user.Users, realmName, "name", func(u *user.User) bool { return !f.fits(u) || fn(u) })
}

func (f finder) fits(u *user.User) bool {
	return !slices.ContainsFunc(f.matches, func(fits func(*user.User) bool) bool { return !fits(u) })
}

// everybody tells that nothing is asked for but all.
func (f finder) everybody() bool { return len(f.matches) == 0 && f.id == "" }

func (c *call) listUsers() (any, error) {
	first, most, err := c.page()
	if err != nil {
		return nil, err
	}
	f, err := c.finder()
	if err != nil {
		return nil, err
	}
	var out []object
	err = c.view(func(tx storage.Tx) error {
		out = []object{}
		skip, after := first, storage.Entry{}
		if f.everybody() {
			// Nobody need be read to be skipped.
			entries, err := user.Users.Between(tx, c.Realm, "name", after, last, first+most)
			if err != nil {
				return err
			}
			ids := []string{}
			for _, e := range entries[min(first, len(entries)):] {
				ids = append(ids, e.ID)
			}
			rows, err := user.Users.GetMany(tx, c.Realm, ids)
			for _, row := range rows {
				out = append(out, userMembers.show(&userView{User: *row.Record}))
			}
			return err
		}
		return f.find(tx, c.Realm, func(u *user.User) bool {
			if skip > 0 {
				skip--
				return true
			}
			if len(out) < most {
				out = append(out, userMembers.show(&userView{User: *u}))
			}
			return len(out) < most
		})
	})
	return out, err
}

func (c *call) countUsers() (any, error) {
	f, err := c.finder()
	if err != nil {
		return nil, err
	}
	n := 0
	err = c.view(func(tx storage.Tx) (err error) {
		n = 0
		if f.everybody() {
			n, err = user.Users.Count(tx, c.Realm, "people", user.People)
			return err
		}
		return f.find(tx, c.Realm, func(*user.User) bool { n++; return true })
	})
	return n, err
}

// searchUsers looks for people by index, and looks at a bounded number of them for
// one answer: next says where the search goes on, "" at its end. Keycloak has no
// such call.
func (c *call) searchUsers() (any, error) {
	_, most, err := c.page()
	if err != nil {
		return nil, err
	}
	if most == 0 {
		return nil, bad("max", "want a whole number from 1 to %d", mostMax)
	}
	var out object
	err = c.view(func(tx storage.Tx) error {
		found, err := user.Search(tx, c.Realm, user.Words(c.query.Get("search")), c.query.Get("after"), most)
		if errors.Is(err, storage.ErrCursor) {
			return bad("after", "want what next said of this search")
		}
		if err != nil {
			return err
		}
		users := []object{}
		for _, u := range found.Users {
			users = append(users, userMembers.show(&userView{User: *u}))
		}
		out = object{"users": users, "searched": found.Looked, "next": found.Next}
		return nil
	})
	return out, err
}
