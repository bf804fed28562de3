package adapter

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
)

// profileScopes say who is there, for the app. Every login asks for them.
var profileScopes = []string{oidc.ScopeOpenID, "profile", "email"}

// scopeParameter tells whether one part of a query is our parameter: a scope
// that contains offline_access (A03). Any other scope is the app's.
func scopeParameter(part string) (scopes []string, mine bool) {
	name, value, _ := strings.Cut(part, "=")
	if n, err := url.QueryUnescape(name); err != nil || n != "scope" {
		return nil, false
	}
	v, err := url.QueryUnescape(value)
	if err != nil {
		return nil, false
	}
	scopes = strings.Fields(v)
	return scopes, slices.Contains(scopes, oidc.ScopeOfflineAccess)
}

// splitScope takes our parameter out of a query. It returns the scopes asked
// for, nil without the parameter, and the rest, byte by byte as it was.
func splitScope(query string) (asked []string, rest string) {
	if !strings.Contains(query, "offline") && !strings.Contains(query, "%") {
		return nil, query
	}
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if scopes, mine := scopeParameter(part); mine {
			asked = union(asked, scopes)
		} else {
			kept = append(kept, part)
		}
	}
	return asked, strings.Join(kept, "&")
}

// allowedScopes refuses what an address may not ask for: whoever makes a link
// must not choose what a person is asked to grant.
func allowedScopes(asked, allowed []string) error {
	for _, s := range asked {
		if s != oidc.ScopeOfflineAccess && !slices.Contains(profileScopes, s) && !slices.Contains(allowed, s) {
			return errors.New("scope " + printable(s) + " is not allowed")
		}
	}
	return nil
}

// withoutParameter is a request URI without our parameter.
func withoutParameter(uri string) string {
	path, query, _ := strings.Cut(uri, "?")
	if _, rest := splitScope(query); rest != "" {
		return path + "?" + rest
	}
	return path
}

func requestURI(u *url.URL) string {
	uri := u.EscapedPath()
	if u.RawQuery != "" {
		uri += "?" + u.RawQuery
	}
	return uri
}

// offlineScopes is what an offline login asks for: what jobs may need, so that
// one consent is enough, and what the address named.
func (rp *RelyingParty) offlineScopes(asked []string) []string {
	return union([]string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess}, rp.config.JobScopes(), asked)
}

// union of lists in their order, each value once.
func union(lists ...[]string) []string {
	var out []string
	for _, s := range slices.Concat(lists...) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// without returns the values of a that b has not.
func without(a []string, b ...string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// printable makes a short, harmless text of what somebody else sent.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x21 || r > 0x7e {
			return '?'
		}
		return r
	}, s[:min(64, len(s))])
}
