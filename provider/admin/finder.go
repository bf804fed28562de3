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
	for _, word := range strings.Fields(strings.ToLower(search)) {
		f.matches = append(f.matches, func(u *user.User) bool {
			return slices.ContainsFunc([]string{u.Username, u.Email, u.FirstName, u.LastName}, func(have string) bool {
				return wordMatches(word, strings.ToLower(have))
			})
		})
	}
	return f, nil
}

func wordMatches(word, have string) bool {
	if whole, ok := strings.CutPrefix(word, `"`); ok && strings.HasSuffix(whole, `"`) {
		return have == strings.TrimSuffix(whole, `"`)
	}
	if anywhere, ok := strings.CutPrefix(word, "*"); ok {
		return strings.Contains(have, strings.TrimSuffix(anywhere, "*"))
	}
	return strings.HasPrefix(have, strings.TrimSuffix(word, "*"))
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
			for _, e := range entries[min(first, len(entries)):] {
				u, err := user.Users.Get(tx, c.Realm, e.ID)
				if err != nil {
					return err
				}
				out = append(out, userMembers.show(&userView{User: *u}))
			}
			return nil
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
