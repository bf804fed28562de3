package adapter

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// begin sends the browser to the provider. f says where it comes back to and
// what is asked for; state, nonce, verifier and key are made here.
func (rp *RelyingParty) begin(w http.ResponseWriter, r *http.Request, f flow) {
	d, err := rp.discover(r.Context())
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	f.State, f.Nonce, f.Verifier, f.Key = rp.newID(), rp.newID(), rp.newID()+rp.newID(), rp.newID()
	f.Started, f.Provider = rp.config.Now().UTC(), rp.config.Provider.Name
	for _, s := range profileScopes {
		if d.supports(s) {
			f.Scopes = union(f.Scopes, []string{s})
		}
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(f.Verifier), oidc.Nonce(f.Nonce)}
	if f.Offline {
		params := rp.config.Provider.AuthParams
		for name, value := range params {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
		if len(params) > 0 && !d.supports(oidc.ScopeOfflineAccess) {
			// Its own parameters ask for it; the scope would be an error there (A10).
			f.Scopes = without(f.Scopes, oidc.ScopeOfflineAccess)
		}
		if details := rp.config.Jobs().Within(f.Scopes).Details(); d.namesJobs && len(details) > 0 {
			raw, err := json.Marshal(details)
			if err != nil {
				rp.unavailable(w, r, err)
				return
			}
			options = append(options, oauth2.SetAuthURLParam("authorization_details", string(raw)))
		}
		if f.Consent {
			options = append(options, oauth2.SetAuthURLParam("prompt", "consent"))
		}
	}
	if f.Silent {
		options = append(options, oauth2.SetAuthURLParam("prompt", "none"))
	}
	if err := rp.saveFlow(w, r, f); err != nil {
		rp.unavailable(w, r, err)
		return
	}
	rp.config.Log.DebugContext(r.Context(), "sending browser to the login", "offline", f.Offline, "silent", f.Silent)
	config := d.oauth
	config.Scopes = f.Scopes
	rp.redirect(w, r, config.AuthCodeURL(f.State, options...))
}

// redirect sends the browser on with a GET. Neither this address, which may hold
// a code, nor the answer is kept or told to the next site.
func (rp *RelyingParty) redirect(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// reserved parameters of an authorization request are the adapter's own.
var reserved = []string{
	"authorization_details", "client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge",
	"code_challenge_method", "request", "request_uri",
}

// CheckAuthParams refuses extra parameters of the authorization request that would
// break the protocol.
func CheckAuthParams(params map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if slices.Contains(reserved, name) {
			return fmt.Errorf("%q: the gateway sets this parameter itself", name)
		}
	}
	return nil
}
