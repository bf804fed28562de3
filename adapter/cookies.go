package adapter

import (
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

// stripCookies keeps every cookie of ours, the provider's too, from the app. The
// others stay as the browser sent them.
func stripCookies(h http.Header) {
	lines := h.Values("Cookie")
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.TrimSpace(part)
			name, _, _ := strings.Cut(part, "=")
			if part != "" && !ours(name) {
				kept = append(kept, part)
			}
		}
	}
	if len(kept) == 0 {
		h.Del("Cookie")
		return
	}
	h["Cookie"] = []string{strings.Join(kept, "; ")}
}

func ours(cookie string) bool {
	name := strings.ToLower(strings.TrimSpace(cookie))
	name = strings.TrimPrefix(strings.TrimPrefix(name, "__host-"), "__secure-")
	return strings.HasPrefix(name, "nightlatch_")
}
