package client

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// MatchRedirect tells whether a redirect URI of a request is one of the
// client's: equal byte by byte (RFC 9700 §2.1), but for the port of
// http://localhost:*/… (any loopback host), and for the port of a registered
// loopback address of a public client (RFC 8252 §7.3).
func MatchRedirect(c *Client, uri string) bool {
	return matchAny(c.RedirectURIs, uri, c.Public)
}

// MatchPostLogout is MatchRedirect for post_logout_redirect_uri; a registered
// "+" stands for the redirect URIs.
func MatchPostLogout(c *Client, uri string) bool {
	return matchAny(c.PostLogoutRedirectURIs, uri, false) ||
		(slices.Contains(c.PostLogoutRedirectURIs, "+") && MatchRedirect(c, uri))
}

func matchAny(registered []string, uri string, native bool) bool {
	for _, r := range registered {
		if r == uri && !strings.Contains(r, "*") && r != "+" {
			return true
		}
		reg, ok := splitLoopback(r)
		if !ok || (reg.port != "*" && (!native || reg.host == "localhost")) {
			continue
		}
		if req, ok := splitLoopback(uri); ok && req.host == reg.host && req.rest == reg.rest && validPort(req.port) {
			return true
		}
	}
	return false
}

// loopback is an http URI to this very machine, taken apart without decoding
// anything, so that the comparison stays one of bytes.
type loopback struct{ host, port, rest string }

func splitLoopback(uri string) (loopback, bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return loopback{}, false
	}
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
		rest, ok := strings.CutPrefix(after, host)
		if !ok {
			continue
		}
		var port string
		if p, isPort := strings.CutPrefix(rest, ":"); isPort {
			end := strings.IndexAny(p, "/?#")
			if end < 0 {
				end = len(p)
			}
			if port, rest = p[:end], p[end:]; port == "" {
				return loopback{}, false
			}
		}
		if rest != "" && rest[0] != '/' && rest[0] != '?' {
			return loopback{}, false
		}
		return loopback{host, port, rest}, true
	}
	return loopback{}, false
}

// validPort accepts no port, or a number in its shortest form.
func validPort(p string) bool {
	if p == "" {
		return true
	}
	n, err := strconv.ParseUint(p, 10, 16)
	return err == nil && n > 0 && p == strconv.FormatUint(n, 10)
}

// ValidRedirect reports why a URI cannot be registered as a redirect URI:
// absolute http(s), or a private-use scheme with a dot (RFC 8252 §7.1); no
// fragment (RFC 6749 §3.1.2), no user name, no wildcard but the port of a
// loopback host.
func ValidRedirect(uri string) error {
	bad := func(why string) error { return fmt.Errorf("%q: %s", uri, why) }
	for i := range len(uri) {
		if c := uri[i]; c <= 0x20 || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return bad("has a character that a URI may not have")
		}
	}
	plain := uri
	if l, ok := splitLoopback(uri); ok && l.port == "*" {
		plain = "http://" + l.host + l.rest
	}
	if strings.Contains(plain, "*") {
		return bad("a * is allowed only as the port of http://localhost, 127.0.0.1 or [::1]")
	}
	u, err := url.Parse(plain)
	switch {
	case err != nil:
		return bad("not a URI")
	case u.Scheme == "":
		return bad("not absolute")
	case strings.Contains(uri, "#"):
		return bad("has a fragment")
	case u.User != nil:
		return bad("has a user name")
	case u.Scheme == "http" || u.Scheme == "https":
		if u.Hostname() == "" {
			return bad("has no host")
		}
		if !validPort(u.Port()) || strings.HasSuffix(u.Host, ":") {
			return bad("has a bad port")
		}
	case !strings.Contains(u.Scheme, "."):
		return bad("want http, https, or a private scheme that begins with a reversed domain name (com.example.app:/…)")
	}
	return nil
}

// AllowedOrigins returns the web origins that may read answers for the client
// across origins: WebOrigins, with "+" replaced by the origins of the redirect
// URIs. "*" stays, as does the port in http://localhost:*; see MatchOrigin.
func AllowedOrigins(c *Client) []string {
	var out []string
	add := func(origin string) {
		if !slices.Contains(out, origin) {
			out = append(out, origin)
		}
	}
	for _, o := range c.WebOrigins {
		if o != "+" {
			add(strings.TrimSuffix(o, "/"))
			continue
		}
		for _, r := range c.RedirectURIs {
			if l, ok := splitLoopback(r); ok && l.port == "*" {
				add("http://" + l.host + ":*")
			} else if u, err := url.Parse(r); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
				add(u.Scheme + "://" + u.Host)
			}
		}
	}
	return out
}

// MatchOrigin tells whether an Origin header is one of the allowed origins.
func MatchOrigin(allowed []string, origin string) bool {
	if origin == "" || origin == "null" {
		return false
	}
	return slices.Contains(allowed, "*") || matchAny(allowed, origin, false)
}
