package adapter

import (
	"net/http"
	"strings"
)

// trusted are headers that apps take for proof of who is there. A client's own
// never reach the app, whether the site sets them or not; nor does anything that
// begins with Nightlatch-.
var trusted = []string{
	"Remote-User", "Remote-Email", "Remote-Groups", "Remote-Name", "X-Remote-User", "X-Webauth-User", "X-Authenticated-User",
	"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token",
	"X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Auth-Request-Preferred-Username", "X-Auth-Request-Access-Token",
}

// identityHeaders are canonical names.
type identityHeaders map[string]struct{}

func newIdentityHeaders(more []string) identityHeaders {
	set := identityHeaders{}
	for _, list := range [][]string{trusted, more} {
		for _, name := range list {
			set[spelled(name)] = struct{}{}
		}
	}
	return set
}

// spelled is the one spelling of all that an app's server may take for the same
// header: CGI and WSGI make X-User of X_User, others of X.User.
func spelled(name string) string {
	if strings.ContainsAny(name, "_.") {
		name = strings.NewReplacer("_", "-", ".", "-").Replace(name)
	}
	return http.CanonicalHeaderKey(name)
}

func (s identityHeaders) has(name string) bool {
	name = spelled(name)
	_, ok := s[name]
	return ok || strings.HasPrefix(name, "Nightlatch-")
}

// strip deletes what a client says about who it is. It takes the names out of
// Connection too: a proxy drops the headers listed there, ours with them
// (RFC 9110 §7.6.1).
func (s identityHeaders) strip(h http.Header) {
	for name := range h {
		if s.has(name) {
			delete(h, name)
		}
	}
	for i, line := range h["Connection"] {
		var kept []string
		for option := range strings.SplitSeq(line, ",") {
			if !s.has(strings.TrimSpace(option)) {
				kept = append(kept, option)
			}
		}
		h["Connection"][i] = strings.Join(kept, ",")
	}
}

// navigation tells a browser's top-level GET from everything else: from a
// program's request, a script's, a frame's, and from one that carries a body.
func navigation(r *http.Request) bool {
	h := r.Header
	switch {
	case r.Method != http.MethodGet, h.Get("X-Requested-With") != "", h.Get("Upgrade") != "":
		return false
	case strings.Contains(h.Get("Sec-Purpose")+h.Get("Purpose"), "prefetch"):
		return false // nobody has asked for the page yet
	}
	mode, dest := h.Get("Sec-Fetch-Mode"), h.Get("Sec-Fetch-Dest")
	if mode != "" || dest != "" {
		return mode == "navigate" && (dest == "document" || dest == "")
	}
	// Browsers without fetch metadata say text/html, programs do not.
	return strings.Contains(h.Get("Accept"), "text/html")
}
