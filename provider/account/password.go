package account

import (
	"time"
	"unicode/utf8"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/guess"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// shortest password that a person may choose, in characters (NIST SP 800-63B
// §5.1.1.1).
const shortest = 8

func (h *Handler) askPassword(v *visit) error {
	h.showPassword(v, "")
	return nil
}

func (h *Handler) showPassword(v *visit, problem page.Text) {
	h.Pages.password(v, Password{
		Form: h.form(v, "/password"), Notice: v.notice(), Problem: v.words.T(problem), Username: v.user.Username,
		Shortest: shortest, Longest: user.MaxPassword,
	})
}

// setPassword changes the password of who knows the present one: a browser that
// was left open is not enough.
func (h *Handler) setPassword(v *visit) error {
	problem, err := h.judgePassword(v)
	if err != nil {
		return err
	}
	if problem != "" {
		h.showPassword(v, problem)
		return nil
	}
	hash, err := h.Hasher.Hash(v.r.Context(), v.params.Get("password"))
	if err != nil {
		return err
	}
	everywhere, overtaken := v.params.Get("everywhere") != "", false
	err = h.change(v, func(tx storage.Tx, again bool) ([]event.Event, bool, error) {
		u, err := user.Users.Get(tx, h.Realm, v.user.ID)
		if err != nil {
			return nil, false, err
		}
		if again {
			return standing.SignOut(tx, h.Realm, u, v.session.ID, v.now)
		}
		if overtaken = u.PasswordHash != v.user.PasswordHash; overtaken {
			return nil, false, nil
		}
		return standing.SetPassword(tx, h.Realm, u, hash, everywhere, v.session.ID, v.now)
	})
	switch {
	case err != nil:
		return err
	case overtaken:
		h.showPassword(v, problemCurrent)
	case everywhere:
		v.done("/password", "password-everywhere")
	default:
		v.done("/password", "password")
	}
	return nil
}

// judgePassword tells what is wrong with the form, "" for nothing. Wrong present
// passwords are counted, as somebody at a browser that was left open would try
// some.
func (h *Handler) judgePassword(v *visit) (problem page.Text, err error) {
	current, fresh := v.params.Get("current"), v.params.Get("password")
	switch {
	case utf8.RuneCountInString(fresh) < shortest:
		return problemShort, nil
	case len(fresh) > user.MaxPassword:
		return problemLong, nil
	case fresh != v.params.Get("confirmation"):
		return problemDiffers, nil
	case fresh == current:
		return problemSame, nil
	}
	try := guess.Own{Realm: h.Realm, What: "password", User: v.user.ID, Life: 10 * time.Minute, Now: v.now}
	var wait time.Duration
	mayTry := func(tx storage.Tx) (err error) {
		wait, err = try.Wait(tx)
		return err
	}
	if err = h.Store.View(v.r.Context(), mayTry); err != nil {
		return "", err
	}
	if wait > 0 {
		return problemGuesses, nil
	}
	known := false
	if v.user.PasswordHash != "" {
		if known, err = h.Hasher.Verify(v.r.Context(), v.user.PasswordHash, current); err != nil {
			return "", err
		}
	}
	if known { // asked again: others may have been tried at the same time
		if err = h.Store.View(v.r.Context(), mayTry); err == nil && wait > 0 {
			problem = problemGuesses
		}
		return problem, err
	}
	e := event.Event{
		Time: v.now, Type: event.UpdateCredentialError, Realm: h.Realm, Subject: v.user.ID, Username: v.user.Username,
		Session: v.session.ID, IP: endpoint.ClientIP(v.r), Reason: "invalid_user_credentials",
		Details: map[string]string{"credential_type": "password"},
	}
	return problemCurrent, h.Audit.Update(v.r.Context(), func(tx storage.Tx, tell audit.Tell) error {
		tell(e)
		return try.Wrong(tx)
	})
}
