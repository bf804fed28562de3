package endpoint

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nightlatch/nightlatch/provider/oidc"
)

// Limits of a request.
const (
	MaxBody   = 64 << 10 // bytes of a form
	maxParams = 200
)

// repeatable parameters; any other that comes twice is invalid_request
// (RFC 6749 §3.1; RFC 8707 §2, RFC 8693 §2.1).
var repeatable = []string{"resource", "audience"}

// secrets never stand in a URL, where logs and histories keep them
// (RFC 6749 §2.3.1, RFC 9700 §4.3.2).
var secrets = []string{
	"access_token", "assertion", "client_assertion", "client_secret", "code_verifier", "password",
	"refresh_token", "token",
}

// Form reads the form in the body of a POST. A parameter without a value is as
// good as none (RFC 6749 §3.1). Errors are *oidc.Error: 413 for a body over
// MaxBody, invalid_request for another media type, for what is malformed or
// repeated, and for a secret in the URL. One about a parameter comes with the
// others; a repeated one is there without a value.
func Form(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "body must be application/x-www-form-urlencoded")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return nil, oidc.Errorf(oidc.CodeInvalidRequest, "body is larger than %d bytes", MaxBody).WithStatus(http.StatusRequestEntityTooLarge)
		}
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "body could not be read").WithCause(err)
	}
	form, err := parse(string(raw))
	query, qerr := Query(r)
	if err == nil {
		err = qerr
	}
	for name := range query {
		if form.Has(name) {
			form[name] = nil
			err = oidc.Errorf(oidc.CodeInvalidRequest, "parameter %s is in the URL and in the body", name)
		}
	}
	return form, err
}

// Query reads the parameters in the URL, by the same rules.
func Query(r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > MaxBody {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "query is larger than %d bytes", MaxBody).WithStatus(http.StatusRequestURITooLong)
	}
	query, err := parse(r.URL.RawQuery)
	if leak := noSecrets(query); err == nil {
		err = leak
	}
	return query, err
}

// noSecrets takes what must not be in a URL out of the parameters of one.
func noSecrets(query url.Values) (err error) {
	for _, name := range secrets {
		if query.Has(name) {
			delete(query, name)
			err = oidc.Errorf(oidc.CodeInvalidRequest, "%s must not be in the URL, where logs keep it: send it in the body of a POST", name)
		}
	}
	return err
}

func parse(raw string) (url.Values, error) {
	if strings.Count(raw, "&") >= maxParams {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "more than %d parameters", maxParams)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, malformed
	}
	var repeated []string
	for name, v := range values {
		if !text(name) || slices.ContainsFunc(v, func(s string) bool { return !text(s) }) {
			return nil, malformed
		}
		if len(v) > 1 && !slices.Contains(repeatable, name) {
			// Kept without a value: no default takes its place.
			repeated, values[name] = append(repeated, name), nil
			continue
		}
		if v = slices.DeleteFunc(v, func(s string) bool { return s == "" }); len(v) == 0 {
			delete(values, name)
		} else {
			values[name] = v
		}
	}
	if len(repeated) > 0 {
		return values, oidc.Errorf(oidc.CodeInvalidRequest, "parameter %s is given more than once", slices.Min(repeated))
	}
	return values, nil
}

var malformed = oidc.Errorf(oidc.CodeInvalidRequest, "parameters are malformed: want name=value pairs joined by &, percent-encoded UTF-8")

// text tells whether s survives a record, a page and an answer unchanged.
func text(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// Method lets the given methods pass; else it answers 405 and returns false.
func Method(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	JSON(w, http.StatusMethodNotAllowed, map[string]string{
		"error": oidc.CodeInvalidRequest, "error_description": "method must be " + strings.Join(methods, " or "),
	})
	return false
}

// ClientIP is the address of the browser or client. Who runs the server has
// resolved trusted proxies into RemoteAddr; no header is read here.
func ClientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
