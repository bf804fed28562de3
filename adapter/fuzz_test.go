package adapter

import (
	"crypto/aes"
	"crypto/cipher"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// fixedSealer seals the same in every process of a fuzzing run.
type fixedSealer struct{ aead cipher.AEAD }

func newFixedSealer(f *testing.F) fixedSealer {
	f.Helper()
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		f.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		f.Fatal(err)
	}
	return fixedSealer{aead}
}

func (s fixedSealer) Seal(key, plain []byte) ([]byte, error) {
	return s.aead.Seal(nil, make([]byte, 12), plain, key), nil
}

func (s fixedSealer) Open(key, sealed []byte) ([]byte, error) {
	return s.aead.Open(nil, make([]byte, 12), sealed, key)
}

// FuzzOpenFlow: no Cookie header and no state that a client can send open a login
// but the one that was begun, and none makes a cookie that is not ours.
func FuzzOpenFlow(f *testing.F) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	rp := &RelyingParty{secure: true, suffix: "12345678"}
	rp.config.Sealer, rp.config.Now = newFixedSealer(f), func() time.Time { return now }
	begun := flow{State: "abcdefghijklmnopqrstuv", Nonce: "n", Verifier: "v", Started: now, Return: "/x?y=1"}
	w := httptest.NewRecorder()
	if err := rp.saveFlow(w, httptest.NewRequest(http.MethodGet, "/x", nil), begun); err != nil {
		f.Fatal(err)
	}
	cookie := w.Result().Cookies()[0]
	f.Add(cookie.String(), begun.State)
	f.Add(cookie.String(), begun.State[:8]+"00000000000000") // the same cookie, another login
	f.Add("a=b; "+cookie.Name+"=AAAA; "+cookie.Name+"="+cookie.Value, begun.State)
	f.Add(strings.Repeat(cookie.Name+"x="+cookie.Value+"; ", 9), "abcdefgh00000000000000")
	f.Fuzz(func(t *testing.T, header, state string) {
		r := httptest.NewRequest(http.MethodGet, "/.nightlatch/callback", nil)
		r.Header["Cookie"] = []string{header}
		if got, ok := rp.openFlow(r, state); ok && (state != begun.State || got.State != begun.State || got.Return != begun.Return || !strings.Contains(header, cookie.Name)) {
			t.Errorf("state %q with %q opens %+v", state, header, got)
		}
		w := httptest.NewRecorder()
		rp.dropOldFlows(w, r)
		for _, c := range w.Result().Cookies() {
			if c.MaxAge >= 0 || !ours(c.Name) {
				t.Errorf("%q made the cookie %v", header, c)
			}
		}
	})
}

// ourCookie is told apart in other words than the code's.
var ourCookie = regexp.MustCompile(`(?i)^(__host-)?(__secure-)?nightlatch_`)

// FuzzStripCookies: the app sees no cookie of ours, and of the others all.
func FuzzStripCookies(f *testing.F) {
	f.Fuzz(func(t *testing.T, header string) {
		h := http.Header{"Cookie": {header}}
		var want []string
		for part := range strings.SplitSeq(header, ";") {
			part = strings.TrimSpace(part)
			if name, _, _ := strings.Cut(part, "="); part != "" && !ourCookie.MatchString(strings.TrimSpace(name)) {
				want = append(want, part)
			}
		}
		stripCookies(h)
		var got []string
		for _, line := range h["Cookie"] {
			for part := range strings.SplitSeq(line, ";") {
				if part = strings.TrimSpace(part); part != "" {
					got = append(got, part)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q becomes %q, want %q", header, got, want)
		}
		for _, c := range (&http.Request{Header: h}).Cookies() {
			if ourCookie.MatchString(c.Name) {
				t.Errorf("%q leaves %s to the app", header, c.Name)
			}
		}
	})
}

// FuzzPeek: whatever is sent for a bearer token is no crash, and what is taken
// for an access token has its form.
func FuzzPeek(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw string) {
		header, claims, err := peek(raw)
		if err != nil {
			return
		}
		if strings.Count(raw, ".") != 2 {
			t.Errorf("%q is taken for a compact JWS", raw)
		}
		if _, err := accessTokenForm(header, claims); err != nil {
			return
		}
		if typ, ok := claims["typ"].(string); ok && typ != "Bearer" || claims["nonce"] != nil || claims["events"] != nil {
			t.Errorf("%v is taken for an access token", claims)
		}
	})
}

// FuzzScopeParameter: our parameter goes, everything else of the query stays byte
// by byte, and what is left holds it no more.
func FuzzScopeParameter(f *testing.F) {
	f.Fuzz(func(t *testing.T, query string) {
		asked, rest := splitScope(query)
		if asked == nil && rest != query {
			t.Errorf("%q became %q, and nothing was asked for", query, rest)
		}
		if again, same := splitScope(rest); again != nil || same != rest {
			t.Errorf("%q leaves %q, which asks for %q", query, rest, again)
		}
		// As the app will read it.
		if q, err := url.ParseQuery(rest); err == nil {
			for _, v := range q["scope"] {
				if slices.Contains(strings.Fields(v), "offline_access") {
					t.Errorf("%q leaves the app scope=%q", query, v)
				}
			}
		}
	})
}

// away is a provider of which only the discovery document is there.
type away struct{}

func (away) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/.well-known/openid-configuration" {
		_, _ = io.WriteString(w, `{"issuer":"https://op.test","authorization_endpoint":"https://op.test/auth","token_endpoint":"https://op.test/token","jwks_uri":"https://op.test/certs"}`)
	} else {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
	}
	return w.Result(), nil
}

type noGrants struct{ Grants }

// FuzzCallback: whatever a link or a form post brings to the callback, beside the cookie
// of a login that was begun, logs nobody in, leads nowhere but back or to the provider,
// and is no markup of ours.
func FuzzCallback(f *testing.F) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	site := &url.URL{Scheme: "https", Host: "app.example.com"}
	rp, err := New(Config{
		Site: site, Provider: Provider{Name: "op", Issuer: "https://op.test", ClientID: "c", HTTPClient: &http.Client{Transport: away{}}},
		Store: storagetest.New(f, func() time.Time { return now }), Sealer: newFixedSealer(f), Grants: noGrants{}, Now: func() time.Time { return now },
	})
	if err != nil {
		f.Fatal(err)
	}
	begun := flow{State: "abcdefghijklmnopqrstuv", Nonce: "n", Verifier: "v", Started: now, Return: "/x?y=1", Provider: "op", Offline: true}
	w := httptest.NewRecorder()
	if err := rp.saveFlow(w, httptest.NewRequest(http.MethodGet, "/x", nil), begun); err != nil {
		f.Fatal(err)
	}
	cookie := w.Result().Cookies()[0]
	for _, query := range []string{
		"code=c", "code=c&iss=https://op.test", "code=c&iss=https://evil.test", "error=access_denied", "error=%3Cb%3E&error_description=%3Cscript%3Ealert(1)%3C/script%3E",
		"error=temporarily_unavailable", "error=login_required&error_description=%0d%0aLocation:%20//evil.test", "code=a&code=b", "", "code=%ff&%zz",
	} {
		f.Add("state="+begun.State+"&"+query, cookie.Name+"="+cookie.Value, "GET")
		f.Add(query, "", "POST")
	}
	f.Fuzz(func(t *testing.T, query, cookies, method string) {
		r := &http.Request{
			Method: method, URL: &url.URL{Path: callbackPath, RawQuery: query}, Host: site.Host, Body: http.NoBody,
			Header: http.Header{"Cookie": {cookies}, "Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}},
		}
		w := httptest.NewRecorder()
		if !rp.Own(w, r.WithContext(t.Context()), r.URL) {
			t.Fatal("the callback is the app's")
		}
		if to := w.Header().Get("Location"); w.Code/100 == 2 || to != "" && !strings.HasPrefix(to, "https://op.test/auth?") && !strings.HasPrefix(to, site.String()+"/") {
			t.Errorf("%q: %d to %q", query, w.Code, to)
		}
		if strings.ContainsAny(w.Header().Get("Location"), "\r\n") {
			t.Errorf("%q: two headers", query)
		}
		for _, c := range w.Result().Cookies() {
			if strings.Contains(c.Name, "session") && c.MaxAge >= 0 {
				t.Errorf("%q logs somebody in: %v", query, c)
			}
		}
		if markup := strings.Count(w.Body.String(), "<"); strings.Contains(w.Body.String(), "<script") || markup > 60 {
			t.Errorf("%q: markup on the page:\n%s", query, w.Body)
		}
	})
}
