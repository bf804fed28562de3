package adapter

import (
	"net/http"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// begin sends the browser to the provider. f says where it comes back to and
// what is asked for; state, nonce and verifier are made here.
func (rp *RelyingParty) begin(w http.ResponseWriter, r *http.Request, f flow) {
	d, err := rp.discover(r.Context())
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	f.State, f.Nonce, f.Verifier = rp.newID(), rp.newID(), rp.newID()+rp.newID()
	f.Started = rp.config.Now().UTC()
	if len(f.Scopes) == 0 {
		f.Scopes = []string{"openid", "profile", "email"}
	}
	for _, s := range []string{"profile", "email"} {
		if !slices.Contains(f.Scopes, s) {
			f.Scopes = append(f.Scopes, s) // who is there, for the app
		}
	}
	if err := rp.saveFlow(w, r, f); err != nil {
		rp.unavailable(w, r, err)
		return
	}
	config := d.oauth
	config.Scopes = f.Scopes
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(f.Verifier), oidc.Nonce(f.Nonce)}
	if f.Offline {
		for name, value := range rp.config.Provider.AuthParams {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
		if !d.offline && len(rp.config.Provider.AuthParams) > 0 {
			// Its own parameters ask for it; the scope would be an error there (A10).
			config.Scopes = slices.DeleteFunc(slices.Clone(f.Scopes), func(s string) bool { return s == oidc.ScopeOfflineAccess })
		}
	}
	if f.Silent {
		options = append(options, oauth2.SetAuthURLParam("prompt", "none"))
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, config.AuthCodeURL(f.State, options...), http.StatusSeeOther)
}
