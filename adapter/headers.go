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

// identityHeaders are the names, canonical, and the letters that they begin with: most
// headers of a request begin with none of these, and need no closer look.
type identityHeaders struct {
	names    map[string]struct{}
	initials [256]bool
}

func newIdentityHeaders(more []string) *identityHeaders {
	s := &identityHeaders{names: map[string]struct{}{}}
	for _, c := range []byte("-_.") { // one letter, by how they are spelled
		s.initials[lower(c)] = true
	}
	for _, list := range [][]string{trusted, more, {ownHeaders}} {
		for _, name := range list {
			s.names[spelled(name)] = struct{}{}
			if name != "" {
				s.initials[lower(name[0])] = true
			}
		}
	}
	return s
}

// ownHeaders is how all of ours begin.
const ownHeaders = "Nightlatch-"

func lower(c byte) byte { return c | 0x20 }

// spelled is the one spelling of all that an app's server may take for the same
// header: CGI and WSGI make X-User of X_User, others of X.User.
func spelled(name string) string {
	if strings.ContainsAny(name, "_.") {
		name = strings.NewReplacer("_", "-", ".", "-").Replace(name)
	}
	return http.CanonicalHeaderKey(name)
}

func (s *identityHeaders) has(name string) bool {
	if name == "" || !s.initials[lower(name[0])] {
		return false
	}
	name = spelled(name)
	_, ok := s.names[name]
	return ok || strings.HasPrefix(name, ownHeaders)
}

// strip deletes what a client says about who it is. It takes the names out of
// Connection too: a proxy drops the headers listed there, ours with them
// (RFC 9110 §7.6.1).
func (s *identityHeaders) strip(h http.Header) {
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
	case r.Method != http.MethodGet, first(h, "X-Requested-With") != "", first(h, "Upgrade") != "":
		return false
	case strings.Contains(first(h, "Sec-Purpose"), "prefetch"), strings.Contains(first(h, "Purpose"), "prefetch"):
		return false // nobody has asked for the page yet
	}
	mode, dest := first(h, "Sec-Fetch-Mode"), first(h, "Sec-Fetch-Dest")
	if mode != "" || dest != "" {
		return mode == "navigate" && (dest == "document" || dest == "")
	}
	// Browsers without fetch metadata say text/html, programs do not.
	return strings.Contains(first(h, "Accept"), "text/html")
}

// first is the first value of a header by its canonical name, which Header.Get would
// spell anew for every request.
func first(h http.Header, canonical string) string {
	if values := h[canonical]; len(values) > 0 {
		return values[0]
	}
	return ""
}
