package account

import (
	"errors"
	"net/mail"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// longest name or e-mail address, in bytes.
const longest = 255

// profileFields lists what a person may change of himself, by the JSON of
// user.User.
func profileFields(words *page.Words, u *user.User) []ProfileField {
	fixed := u.ReadOnly()
	return []ProfileField{
		{Name: "first_name", Label: words.T("First name"), Autocomplete: "given-name", Type: "text", Value: u.FirstName, Fixed: slices.Contains(fixed, "first_name")},
		{Name: "last_name", Label: words.T("Last name"), Autocomplete: "family-name", Type: "text", Value: u.LastName, Fixed: slices.Contains(fixed, "last_name")},
		{Name: "email", Label: words.T("Email address"), Autocomplete: "email", Type: "email", Value: u.Email, Fixed: slices.Contains(fixed, "email")},
	}
}

func (h *Handler) askProfile(v *visit) error {
	h.showProfile(v, profileFields(v.words, v.user), "")
	return nil
}

func (h *Handler) showProfile(v *visit, fields []ProfileField, problem page.Text) {
	view := Profile{Form: h.form(v, "/profile"), Notice: v.notice(), Problem: v.words.T(problem), Username: v.user.Username, Inputs: fields, Longest: longest}
	for _, f := range fields {
		view.Editable = view.Editable || !f.Fixed
		view.Fixed = view.Fixed || f.Fixed
	}
	h.Pages.profile(v, view)
}

// setProfile changes what the form may change; a field that the configuration
// declares stays, whatever the form says. A new e-mail address is not verified.
func (h *Handler) setProfile(v *visit) error {
	fields := profileFields(v.words, v.user)
	given := map[string]string{}
	for i, f := range fields {
		if f.Fixed {
			continue
		}
		value := cleaned(f.Name, v.params.Get(f.Name))
		given[f.Name], fields[i].Value = value, value
	}
	if problem := judgeProfile(given); problem != "" {
		h.showProfile(v, fields, problem)
		return nil
	}
	err := h.saveProfile(v, v.session.ID, func(*user.User) error { return nil }, given)
	switch {
	case errors.Is(err, storage.ErrTaken):
		h.showProfile(v, fields, problemTaken)
	case err != nil:
		return err
	default:
		v.done("/profile", "profile")
	}
	return nil
}

// profileOf finds what a person may change of himself.
func profileOf(u *user.User) map[string]*string {
	return map[string]*string{"first_name": &u.FirstName, "last_name": &u.LastName, "email": &u.Email}
}

// cleaned is a value as it is kept.
func cleaned(name, value string) string {
	value = strings.TrimSpace(value)
	if name == "email" {
		value = strings.ToLower(value)
	}
	return value
}

// saveProfile writes what the form, or a call, gives, but what the configuration
// declares, if judge agrees that it may be written over the user as he is. sid is
// the session that it comes from. storage.ErrTaken: the mail address is another's.
func (h *Handler) saveProfile(v *visit, sid string, judge func(*user.User) error, given map[string]string) error {
	return h.change(v, func(tx storage.Tx, _ bool) ([]event.Event, bool, error) {
		before, err := user.Users.Get(tx, h.Realm, v.user.ID)
		if err == nil {
			err = judge(before)
		}
		if err != nil {
			return nil, false, err
		}
		after := *before
		for name, into := range profileOf(&after) {
			if value, ok := given[name]; ok && !slices.Contains(before.ReadOnly(), name) {
				*into = value
			}
		}
		after.EmailVerified = before.EmailVerified && after.Email == before.Email
		if after.FirstName == before.FirstName && after.LastName == before.LastName && after.Email == before.Email {
			return nil, false, nil
		}
		e := event.Event{Time: v.now, Type: event.UpdateProfile, Realm: h.Realm, Subject: after.ID, Username: after.Username, Session: sid}
		return []event.Event{e}, false, user.Users.Put(tx, h.Realm, after.ID, &after)
	})
}

// judgeProfile tells what is wrong with the values, "" for nothing.
func judgeProfile(given map[string]string) page.Text {
	for _, value := range given {
		if len(value) > longest || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return problemValue
		}
	}
	if to := given["email"]; to != "" {
		if a, err := mail.ParseAddress(to); err != nil || a.Address != to {
			return problemAddress
		}
	}
	return ""
}
