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

// cookieParts are the parts of a Cookie header as the browser sent them
// (RFC 6265 §4.2.1), without a copy.
func cookieParts(h http.Header) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h["Cookie"] {
			for part := range strings.SplitSeq(line, ";") {
				if part = strings.TrimSpace(part); part != "" && !yield(part) {
					return
				}
			}
		}
	}
}

// cookies are their names and values.
func cookies(h http.Header) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for part := range cookieParts(h) {
			if name, value, _ := strings.Cut(part, "="); !yield(name, value) {
				return
			}
		}
	}
}

// stripCookies keeps every cookie of ours, the provider's too, from the app. The
// others stay as the browser sent them. Where all are ours, or none, nothing is copied.
func stripCookies(h http.Header) {
	mine, others := 0, 0
	for part := range cookieParts(h) {
		if ours(part) {
			mine++
		} else {
			others++
		}
	}
	switch {
	case mine == 0:
		return
	case others == 0:
		delete(h, "Cookie")
		return
	}
	kept := make([]string, 0, others)
	for part := range cookieParts(h) {
		if !ours(part) {
			kept = append(kept, part)
		}
	}
	h["Cookie"] = []string{strings.Join(kept, "; ")}
}

// ours tells whether a part of a Cookie header is of this name, by any spelling that an
// app could take for it.
func ours(part string) bool {
	if strings.HasPrefix(part, "nightlatch_") {
		return true // as we spell it
	}
	name := part
	for _, prefix := range []string{"__host-", "__secure-"} {
		if hasPrefixFold(name, prefix) {
			name = name[len(prefix):]
		}
	}
	return hasPrefixFold(name, "nightlatch_")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
