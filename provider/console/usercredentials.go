package console

import "net/http"

// credentials is the page on which an administrator gives a user a password.
func (v *visit) credentials() (*editor, error) {
	p, err := v.subject()
	if err != nil {
		return nil, err
	}
	var has []struct {
		Origin string `json:"origin"`
	}
	if err := v.get(&has, path("users", p.ID, "credentials")); err != nil {
		return nil, err
	}
	at := path("users", p.ID, "credentials")
	e := &editor{page: Edit{Head: v.userHead(p, "credentials")}, at: at, record: object{}, notice: "password-set"}
	user := path("users", p.ID)
	e.send = func(given object) error {
		if given["value"] != given["confirmation"] {
			return &Refused{Status: http.StatusBadRequest, Field: "confirmation", Message: v.T("The two new passwords differ.")}
		}
		err := v.send(http.MethodPut, user+"/reset-password", object{"type": "password", "value": given["value"]})
		if err == nil && given["everywhere"] == true {
			err = v.send(http.MethodPost, user+"/logout", nil)
		}
		return err
	}
	if p.ServiceAccount != "" {
		e.page.Facts = []Fact{{v.T("Password"), Cell{Text: v.T("None: a service account logs in as its client.")}}}
		return e, nil
	}
	state := Cell{Text: v.T("None: nobody can log in as %s.", p.Username)}
	hint := v.T("Nothing ends by a new password alone: whoever is logged in stays, and background access lives on.")
	if len(has) > 0 {
		state.Text = v.T("There is one.")
		if has[0].Origin != "" {
			e.page.Locked = p.where()
			state.More = []string{v.T("One that is set here stays until the one in the Caddyfile changes.")}
		}
	}
	e.page.Facts, e.page.Hint, e.page.Button = []Fact{{v.T("Password"), state}}, hint, v.T("Set password")
	n, err := v.holdings(p)
	if err != nil {
		return nil, err
	}
	e.groups = []group{{"Set password", []field{
		{member: "value", label: "New password", kind: secret, required: true},
		{member: "confirmation", label: "New password again", kind: secret, required: true},
		{member: "everywhere", label: "Log out everywhere and end background access", kind: flag},
	}}}
	e.more = func(in *Input) {
		if in.Name == "everywhere" {
			in.Hint = v.N(n.sessions, "%d session ends.", "%d sessions end.") + " " +
				v.N(n.offline, "%d offline session is refused from then on.", "%d offline sessions are refused from then on.")
			if v.self(p) {
				in.Hint += " " + v.T("This is your own account: you are logged out here too.")
			}
		}
	}
	return e, nil
}
