package caddymodule

import (
	"errors"
	"html"
	"net/http"
	"net/url"
	"slices"

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
	if s.server == nil || s.server.Errors == nil {
		f.Page(w, r)
		return
	}
	callerOf(r).failure = &f
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

// said is a placeholder of a failure, "" without one: the error is another handler's.
func said(f *adapter.Failure, name string) string {
	switch {
	case f == nil:
	case name == "code":
		return html.EscapeString(f.Code)
	case name == "title":
		return html.EscapeString(f.Heading)
	case name == "again":
		return html.EscapeString(f.Again)
	case name == "logout" && f.Logout:
		return adapter.LogoutPath
	}
	return ""
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
