package caddymodule

import (
	"errors"
	"html"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/nightlatch/nightlatch/adapter"
)

// failed answers a person who did not get what was asked for: by the error routes
// of the server (handle_errors), and where none of them answers by our own page.
//
// The routes are run from here. An error that is returned would be written to Caddy's
// log with the address of the request, which on our own paths holds codes.
func (s *Site) failed(w http.ResponseWriter, r *http.Request, f adapter.Failure) {
	own := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		f.Page(w, r)
		return nil
	})
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok || s.server == nil || s.server.Errors == nil {
		f.Page(w, r)
		return
	}
	say(repl, f)
	// What a provider or a person calls itself is no markup, wherever a page puts it.
	err := caddyhttp.Error(f.Status, errors.New(html.EscapeString(f.Text)))
	rec := caddyhttp.NewResponseRecorder(w, nil, nil)
	asked := s.server.Errors.WithError(asItCame(r), err)
	if err := endingWith(own, s.server.Errors.Routes).ServeHTTP(rec, asked); err != nil {
		s.app.log.Error("handling an error", "site", s.URL, "status", f.Status, "err", err)
		if rec.Status() == 0 {
			f.Page(w, r)
		}
	}
}

// say sets the placeholders of a failure.
func say(repl *caddy.Replacer, f adapter.Failure) {
	logout := ""
	if f.Logout {
		logout = adapter.LogoutPath
	}
	for name, text := range map[string]string{"code": f.Code, "title": f.Heading, "again": f.Again, "logout": logout} {
		repl.Set("http.nightlatch.error."+name, html.EscapeString(text))
	}
}

// endingWith compiles error routes so that last answers what none of them does.
// Where a site ends (terminal, which Caddy answers with an empty body), the others
// are passed over by belonging to one group.
func endingWith(last caddyhttp.Handler, routes caddyhttp.RouteList) caddyhttp.Handler {
	routes = slices.Clone(routes)
	for i := range routes {
		if routes[i].Terminal {
			routes[i].Terminal, routes[i].Group = false, "nightlatch.errors"
		}
	}
	return routes.Compile(last)
}

// asItCame is a request before it was rewritten, as Caddy gives it to error routes.
func asItCame(r *http.Request) *http.Request {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return r
	}
	back := new(http.Request)
	*back = *r
	back.Method, back.RemoteAddr, back.RequestURI, back.URL = original.Method, original.RemoteAddr, original.RequestURI, new(url.URL)
	*back.URL = *original.URL
	return back
}
