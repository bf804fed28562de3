package adapter

import (
	"iter"
	"net/http"
	"strings"
)

// cookieName of ours: __Host- on https, and a hash of the site's public URL.
func (rp *RelyingParty) cookieName(kind string) string {
	name := "nightlatch_" + kind + "_" + rp.suffix
	if rp.secure {
		return "__Host-" + name
	}
	return name
}

func (rp *RelyingParty) setCookie(w http.ResponseWriter, kind, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: rp.cookieName(kind), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: rp.secure, SameSite: http.SameSiteLaxMode,
	})
}

// cookies are the pairs of a Cookie header as the browser sent them
// (RFC 6265 §4.2.1), without a copy.
func cookies(h http.Header) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, line := range h["Cookie"] {
			for part := range strings.SplitSeq(line, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
				if (name != "" || value != "") && !yield(name, value) {
					return
				}
			}
		}
	}
}

// stripCookies keeps every cookie of ours, the provider's too, from the app. The
// others stay as the browser sent them.
func stripCookies(h http.Header) {
	found := false
	for name := range cookies(h) {
		found = found || ours(name)
	}
	if !found {
		return
	}
	var kept []string
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.TrimSpace(part)
			name, _, _ := strings.Cut(part, "=")
			if part != "" && !ours(name) {
				kept = append(kept, part)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = []string{strings.Join(kept, "; ")}
}

func ours(cookie string) bool {
	name := strings.ToLower(strings.TrimSpace(cookie))
	name = strings.TrimPrefix(strings.TrimPrefix(name, "__host-"), "__secure-")
	return strings.HasPrefix(name, "nightlatch_")
}
