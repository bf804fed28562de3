package client

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxURIs bounds each list of a client's URIs, maxURI one of them in bytes.
const (
	maxURIs = 200
	maxURI  = 2000
)

// Invalid says which field of a client cannot work, by its JSON name, and why.
type Invalid struct {
	Field string
	Index int // of the value in a list, -1 for none
	Why   string
}

func (e *Invalid) Error() string { return e.Field + ": " + e.Why }

// Validate reports the first thing about a client that cannot work, as *Invalid.
// Whether it has a secret is the caller's to judge.
func (c *Client) Validate() error {
	bad := func(field, format string, args ...any) error {
		return &Invalid{Field: field, Index: -1, Why: fmt.Sprintf(format, args...)}
	}
	switch {
	case c.ClientID == "":
		return bad("client_id", "must not be empty")
	case len(c.ClientID) > maxName:
		return bad("client_id", "must have at most %d bytes", maxName)
	case !printable(c.ClientID):
		return bad("client_id", "has a control character")
	case c.Public && c.ServiceAccount:
		return bad("service_account", "a public client has no service account")
	case c.Public && !c.RequirePKCE:
		return bad("require_pkce", "a public client cannot do without PKCE")
	case c.Public && c.JWKS != nil:
		return bad("jwks", "a public client does not authenticate")
	case c.AuthMethod == MethodPrivateKey && c.JWKS == nil:
		return bad("jwks", "private_key_jwt needs a key set")
	}
	for field, uris := range map[string][]string{
		"redirect_uris": c.RedirectURIs, "post_logout_redirect_uris": c.PostLogoutRedirectURIs, "web_origins": c.WebOrigins,
	} {
		if len(uris) > maxURIs {
			return bad(field, "must have at most %d values", maxURIs)
		}
		for i, uri := range uris {
			if err := validURI(field, uri); err != nil {
				return &Invalid{Field: field, Index: i, Why: err.Error()}
			}
		}
	}
	for field, uri := range map[string]string{"backchannel_logout_uri": c.BackchannelLogoutURI, "base_url": c.BaseURL} {
		if uri != "" && !web(uri) {
			return bad(field, "%q: want an absolute http or https URL without a fragment", uri)
		}
	}
	for _, name := range c.DefaultScopes {
		if slices.Contains(c.OptionalScopes, name) {
			return bad("optional_scopes", "scope %s is a default scope too", name)
		}
	}
	if n := c.RefreshTokenMaxReuse; n != nil && *n < 0 {
		return bad("refresh_token_max_reuse", "%d: want a number from 0 on", *n)
	}
	return nil
}

func validURI(field, uri string) error {
	switch {
	case len(uri) > maxURI:
		return fmt.Errorf("must have at most %d bytes", maxURI)
	case field == "redirect_uris":
		return ValidRedirect(uri)
	case uri == "+" || field == "web_origins" && uri == "*":
		return nil
	case field == "post_logout_redirect_uris":
		return ValidRedirect(uri)
	}
	return validOrigin(uri)
}

// validOrigin accepts scheme://host[:port]; the port of a loopback host may be *.
func validOrigin(origin string) error {
	plain := strings.TrimSuffix(origin, "/")
	if l, ok := splitLoopback(plain); ok && l.port == "*" && l.rest == "" {
		return nil
	}
	u, err := url.Parse(plain)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Scheme+"://"+u.Host != plain {
		return fmt.Errorf("%q: want an origin such as https://app.example.com, + or *", origin)
	}
	return nil
}

func web(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && len(uri) <= maxURI && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.Fragment == "" && printable(uri)
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' })
}
