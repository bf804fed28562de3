package client_test

import (
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/nightlatch/nightlatch/provider/client"
)

// Whatever matches a wildcard port goes, by Go's own reading of the URI, to the
// loopback host and path that were registered.
func FuzzMatchRedirect(f *testing.F) {
	c := &client.Client{Public: true, RedirectURIs: []string{"http://localhost:*/callback"}}
	f.Fuzz(func(t *testing.T, uri string) {
		if !client.MatchRedirect(c, uri) {
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.Scheme != "http" || u.Hostname() != "localhost" || u.RequestURI() != "/callback" || u.User != nil || u.Fragment != "" {
			t.Errorf("%q matches: %v, %v", uri, u, err)
		}
		if err := client.ValidRedirect(uri); err != nil {
			t.Errorf("matches, but could not be registered: %v", err)
		}
	})
}

// Malformed credentials are refused, and what is read has one method and a name.
func FuzzParseCredentials(f *testing.F) {
	f.Fuzz(func(t *testing.T, authorization, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		r := httptest.NewRequest("POST", "/token", nil)
		r.Header.Set("Authorization", authorization)
		got, err := client.ParseCredentials(r, form)
		if err == nil && (got.ClientID == "" || got.Method == "" || (got.Secret != "") == (got.Method == "none" || got.Method == "private_key_jwt")) {
			t.Errorf("got %+v", got)
		}
	})
}
