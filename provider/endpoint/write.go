package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

// JSON answers with v; it is never cached.
func JSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// errorBody is RFC 6749 §5.2's, with the realm's grant_status.
type errorBody struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	GrantStatus string `json:"grant_status,omitempty"`
}

// Error answers with an error as JSON. What is no *oidc.Error becomes
// temporarily_unavailable if the store could not answer, else server_error with
// an id that the log has too; its text is for the log alone.
func Error(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	e := protocol(r, log, err)
	h := w.Header()
	switch {
	case e.Status == http.StatusUnauthorized && e.Code == oidc.CodeInvalidClient:
		h.Set("WWW-Authenticate", `Basic realm="token endpoint", charset="UTF-8"`)
	case e.Code == oidc.CodeInvalidToken || e.Code == oidc.CodeInsufficientScope:
		h.Set("WWW-Authenticate", `Bearer error="`+e.Code+`", error_description="`+e.Description+`"`) // RFC 6750 §3
	}
	retryAfter(h, e)
	JSON(w, e.Status, errorBody{e.Code, e.Description, e.GrantStatus})
}

// retryAfter tells when to try again, in whole seconds (RFC 9110 §10.2.3).
func retryAfter(h http.Header, e *oidc.Error) {
	switch {
	case e.RetryAfter > 0:
		h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	case e.Status == http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
}

// Pages is what this package needs of the provider's pages.
type Pages interface {
	// Error shows a page with the status. id is "" unless the log has it too.
	Error(w http.ResponseWriter, r *http.Request, status int, code, description, id string)
	// FormPost sends parameters to a client by a form that submits itself.
	FormPost(w http.ResponseWriter, r *http.Request, uri string, params url.Values)
}

// Page answers with an error as a page, for what must not be sent to a redirect
// URI.
func Page(w http.ResponseWriter, r *http.Request, log *slog.Logger, pages Pages, err error) {
	e := protocol(r, log, err)
	retryAfter(w.Header(), e)
	pages.Error(w, r, e.Status, e.Code, e.Description, requestID(e))
}

// Target is where an authorization response goes: a redirect URI that was
// proven to be the client's.
type Target struct {
	URI    string
	Mode   oidc.ResponseMode
	State  string
	Issuer string // RFC 9207
}

// Redirect sends an authorization response to the target.
func Redirect(w http.ResponseWriter, r *http.Request, pages Pages, t Target, params url.Values) {
	if params = maps.Clone(params); params == nil {
		params = url.Values{}
	}
	if t.State != "" {
		params.Set("state", t.State)
	}
	params.Set("iss", t.Issuer)
	switch t.Mode {
	case oidc.ModeFormPost:
		pages.FormPost(w, r, t.URI, params)
	case oidc.ModeFragment:
		SeeOther(w, t.URI+"#"+params.Encode())
	default:
		SeeOther(w, WithQuery(t.URI, params))
	}
}

// WithQuery adds parameters to a URI. The query that it has stays as it is
// (RFC 6749 §3.1.2).
func WithQuery(uri string, params url.Values) string {
	switch {
	case len(params) == 0:
		return uri
	case strings.Contains(uri, "?"):
		return uri + "&" + params.Encode()
	}
	return uri + "?" + params.Encode()
}

// SeeOther sends a browser to an address, by GET: never 307, which would repeat
// a password there (RFC 9700 §4.12).
func SeeOther(w http.ResponseWriter, to string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// AsGet turns a POST into a GET of the same address: a POST from another site
// carries no cookie of ours, a GET does (SameSite=Lax). If a parameter must not
// be in a URL that is an error, and nothing has been answered.
func AsGet(w http.ResponseWriter, params url.Values) error {
	if err := noSecrets(params); err != nil {
		return err
	}
	SeeOther(w, "?"+params.Encode())
	return nil
}

// RedirectError sends an error to the target.
func RedirectError(w http.ResponseWriter, r *http.Request, log *slog.Logger, pages Pages, t Target, err error) {
	e := protocol(r, log, err)
	params := url.Values{"error": {e.Code}}
	if e.Description != "" {
		params.Set("error_description", e.Description)
	}
	Redirect(w, r, pages, t, params)
}

// protocol is the one place where an error becomes what a client may see.
func protocol(r *http.Request, log *slog.Logger, err error) *oidc.Error {
	var e *oidc.Error
	if errors.As(err, &e) && e.Code != oidc.CodeServerError {
		if cause := errors.Unwrap(e); cause != nil {
			log.DebugContext(r.Context(), "request refused", "path", r.URL.Path, "code", e.Code, "err", cause)
		}
		return e
	}
	if unavailable(err) {
		level := slog.LevelWarn
		if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
			level = slog.LevelDebug // the client has gone
		}
		log.Log(r.Context(), level, "request failed for now", "path", r.URL.Path, "err", err)
		return oidc.Errorf(oidc.CodeTemporarilyUnavailable, "the request could not be completed; send the same again")
	}
	id := oidc.NewID(nil)
	log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "request_id", id, "err", err)
	return oidc.Errorf(oidc.CodeServerError, "%s%s", requestPrefix, id)
}

func unavailable(err error) bool {
	return storage.Temporary(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

const requestPrefix = "request id "

func requestID(e *oidc.Error) string {
	if e.Code != oidc.CodeServerError {
		return ""
	}
	return strings.TrimPrefix(e.Description, requestPrefix)
}

// CORS answers a preflight (then it returns true) and lets the given origins
// read the answer. "*" stands for every origin. Cookies are never part of it.
// methods are what a preflight may ask for, GET and POST if none are given.
func CORS(w http.ResponseWriter, r *http.Request, origins []string, methods ...string) (handled bool) {
	origin := r.Header.Get("Origin")
	h := w.Header()
	h.Add("Vary", "Origin")
	if origin != "" && (slices.Contains(origins, "*") || slices.Contains(origins, origin)) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, Location")
		if r.Method == http.MethodOptions {
			if len(methods) == 0 {
				methods = []string{http.MethodGet, http.MethodPost}
			}
			h.Set("Access-Control-Allow-Methods", strings.Join(slices.Concat(methods, []string{http.MethodOptions}), ", "))
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key")
			h.Set("Access-Control-Max-Age", "600")
		}
	}
	if r.Method != http.MethodOptions {
		return false
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
