package endpoint_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

func get() *http.Request { return httptest.NewRequest(http.MethodGet, "/realms/demo/x", nil) }

// logged returns a logger of every level and what it wrote.
func logged() (*slog.Logger, *bytes.Buffer) {
	var buf bytes.Buffer
	return slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug})), &buf
}

func TestError(t *testing.T) {
	tests := []struct {
		name         string
		err          error
		status       int
		body         map[string]string
		authenticate string
		retry        string
	}{
		{
			"a refusal", oidc.Errorf(oidc.CodeInvalidGrant, "session has ended").WithGrantStatus("revoked").WithCause(errors.New("inner")), 400,
			map[string]string{"error": "invalid_grant", "error_description": "session has ended", "grant_status": "revoked"}, "", "",
		},
		{
			"a wrapped refusal", fmt.Errorf("reading: %w", oidc.Errorf(oidc.CodeInvalidScope, "")), 400,
			map[string]string{"error": "invalid_scope"}, "", "",
		},
		{
			"the client", oidc.Errorf(oidc.CodeInvalidClient, "no"), 401,
			map[string]string{"error": "invalid_client", "error_description": "no"}, `Basic realm="token endpoint", charset="UTF-8"`, "",
		},
		{
			"a bearer token", oidc.Errorf(oidc.CodeInvalidToken, `"old"`), 401,
			map[string]string{"error": "invalid_token", "error_description": "'old'"}, `Bearer error="invalid_token", error_description="'old'"`, "",
		},
		{
			"a scope", oidc.Errorf(oidc.CodeInsufficientScope, "openid"), 403,
			map[string]string{"error": "insufficient_scope", "error_description": "openid"}, `Bearer error="insufficient_scope", error_description="openid"`, "",
		},
		{
			"an unknown outcome", fmt.Errorf("updating: %w", storage.ErrUnknown), 503,
			map[string]string{"error": "temporarily_unavailable", "error_description": "the request could not be completed; send the same again"}, "", "1",
		},
		{
			"a conflict", storage.ErrConflict, 503,
			map[string]string{"error": "temporarily_unavailable", "error_description": "the request could not be completed; send the same again"}, "", "1",
		},
		{
			"a deadline inside a server error", oidc.Errorf(oidc.CodeServerError, "").WithCause(context.DeadlineExceeded), 503,
			map[string]string{"error": "temporarily_unavailable", "error_description": "the request could not be completed; send the same again"}, "", "1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log, _ := logged()
			w := httptest.NewRecorder()
			endpoint.Error(w, get(), log, tt.err)
			if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != tt.authenticate || w.Header().Get("Retry-After") != tt.retry {
				t.Errorf("answer is %d %v", w.Code, w.Header())
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("headers are %v", w.Header())
			}
			if diff := cmp.Diff(tt.body, decode(t, w)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func decode(t *testing.T, w *httptest.ResponseRecorder) (body map[string]string) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%v in %q", err, w.Body)
	}
	return body
}

// The cause of an unknown error is in the log, under an id that the client gets.
func TestErrorHidesTheCause(t *testing.T) {
	const cause = "disk of rack 7 is on fire"
	for name, err := range map[string]error{
		"any":      errors.New(cause),
		"protocol": oidc.Errorf(oidc.CodeServerError, "said too much: "+cause).WithCause(errors.New(cause)),
	} {
		t.Run(name, func(t *testing.T) {
			log, written := logged()
			w := httptest.NewRecorder()
			endpoint.Error(w, get(), log, err)
			body := decode(t, w)
			id, ok := strings.CutPrefix(body["error_description"], "request id ")
			if w.Code != http.StatusInternalServerError || body["error"] != "server_error" || !ok {
				t.Errorf("answer is %d %v", w.Code, body)
			}
			if strings.Contains(w.Body.String(), "fire") {
				t.Error("the client is told the cause")
			}
			if !strings.Contains(written.String(), cause) || !strings.Contains(written.String(), id) {
				t.Errorf("log is %q, want cause and id %s", written, id)
			}
		})
	}
	log, written := logged()
	w := httptest.NewRecorder()
	endpoint.Error(w, get(), log, oidc.Errorf(oidc.CodeInvalidGrant, "no").WithCause(errors.New(cause)))
	if strings.Contains(w.Body.String(), "fire") || !strings.Contains(written.String(), cause) {
		t.Errorf("answer %q, log %q", w.Body, written)
	}
}

// Who goes away is no reason to warn the operator.
func TestErrorOfAClientThatLeft(t *testing.T) {
	log, written := logged()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	endpoint.Error(httptest.NewRecorder(), get().WithContext(ctx), log, fmt.Errorf("reading: %w", ctx.Err()))
	if strings.Contains(written.String(), "WARN") || strings.Contains(written.String(), "ERROR") {
		t.Errorf("log is %q", written)
	}
}

// pages remembers what it was to show.
type pages struct {
	status                int
	code, description, id string
	uri                   string
	params                url.Values
}

func (p *pages) Error(w http.ResponseWriter, _ *http.Request, status int, code, description, id string) {
	p.status, p.code, p.description, p.id = status, code, description, id
	w.WriteHeader(status)
}

func (p *pages) FormPost(_ http.ResponseWriter, _ *http.Request, uri string, params url.Values) {
	p.uri, p.params = uri, params
}

func TestPage(t *testing.T) {
	log, written := logged()
	var p pages
	w := httptest.NewRecorder()
	endpoint.Page(w, get(), log, &p, oidc.Errorf(oidc.CodeInvalidRequest, "redirect_uri is not registered"))
	if p.status != 400 || p.code != oidc.CodeInvalidRequest || p.description != "redirect_uri is not registered" || p.id != "" {
		t.Errorf("page is %+v", p)
	}
	endpoint.Page(w, get(), log, &p, errors.New("why"))
	if p.status != 500 || p.code != oidc.CodeServerError || p.id == "" || !strings.Contains(written.String(), p.id) {
		t.Errorf("page is %+v, log %q", p, written)
	}
	endpoint.Page(w, get(), log, &p, storage.ErrUnknown)
	if p.status != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("page is %+v, headers %v", p, w.Header())
	}
}

func TestRedirect(t *testing.T) {
	const issuer = "http://localhost:8080/realms/demo"
	code := url.Values{"code": {"a b"}}
	tests := []struct {
		name   string
		target endpoint.Target
		params url.Values
		want   string // Location; "" for a form_post page
	}{
		{
			"query", endpoint.Target{URI: "https://app/cb", State: "s&1", Issuer: issuer}, code,
			"https://app/cb?code=a+b&iss=http%3A%2F%2Flocalhost%3A8080%2Frealms%2Fdemo&state=s%261",
		},
		{
			"query after a query", endpoint.Target{URI: "https://app/cb?x=1", Mode: oidc.ModeQuery, Issuer: issuer}, code,
			"https://app/cb?x=1&code=a+b&iss=http%3A%2F%2Flocalhost%3A8080%2Frealms%2Fdemo",
		},
		{
			"fragment", endpoint.Target{URI: "com.example.app:/cb?x=1", Mode: oidc.ModeFragment, State: "s", Issuer: issuer}, code,
			"com.example.app:/cb?x=1#code=a+b&iss=http%3A%2F%2Flocalhost%3A8080%2Frealms%2Fdemo&state=s",
		},
		{"form_post", endpoint.Target{URI: "https://app/cb", Mode: oidc.ModeFormPost, State: "s", Issuer: issuer}, code, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pages
			w := httptest.NewRecorder()
			endpoint.Redirect(w, get(), &p, tt.target, tt.params)
			if tt.want == "" {
				want := url.Values{"code": {"a b"}, "state": {"s"}, "iss": {issuer}}
				if p.uri != tt.target.URI || !cmp.Equal(p.params, want) {
					t.Errorf("form_post to %s: %v", p.uri, p.params)
				}
				return
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("headers are %v", w.Header())
			}
			if w.Code != http.StatusSeeOther || w.Header().Get("Location") != tt.want {
				t.Errorf("answer is %d %s, want %s", w.Code, w.Header().Get("Location"), tt.want)
			}
		})
	}
	if len(code) != 1 {
		t.Errorf("the caller's parameters became %v", code)
	}
}

func TestRedirectError(t *testing.T) {
	log, written := logged()
	target := endpoint.Target{URI: "https://app/cb", State: "s", Issuer: "https://op"}
	w := httptest.NewRecorder()
	endpoint.RedirectError(w, get(), log, &pages{}, target, oidc.Errorf(oidc.CodeAccessDenied, "the role offline_access is missing"))
	location, err := url.Parse(w.Header().Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"error": {"access_denied"}, "error_description": {"the role offline_access is missing"}, "state": {"s"}, "iss": {"https://op"}}
	if diff := cmp.Diff(want, location.Query()); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	w = httptest.NewRecorder()
	endpoint.RedirectError(w, get(), log, &pages{}, target, errors.New("why"))
	if l := w.Header().Get("Location"); !strings.Contains(l, "error=server_error") || strings.Contains(l, "why") || !strings.Contains(written.String(), "why") {
		t.Errorf("Location %s, log %q", l, written)
	}
}

func TestCORS(t *testing.T) {
	tests := []struct {
		name, method, origin string
		origins              []string
		handled              bool
		allow                string
	}{
		{"no browser", "POST", "", []string{"https://app"}, false, ""},
		{"an origin of the client", "POST", "https://app", []string{"https://app"}, false, "https://app"},
		{"another origin", "POST", "https://evil", []string{"https://app"}, false, ""},
		{"the beginning of an origin", "POST", "https://app.evil", []string{"https://app"}, false, ""},
		{"opaque", "POST", "null", []string{"https://app"}, false, ""},
		{"none", "POST", "https://app", nil, false, ""},
		{"any", "GET", "https://x", []string{"*"}, false, "https://x"},
		{"preflight", "OPTIONS", "https://x", []string{"*"}, true, "https://x"},
		{"preflight of another", "OPTIONS", "https://evil", []string{"https://app"}, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(tt.method, "/", nil)
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			if handled := endpoint.CORS(w, r, tt.origins); handled != tt.handled {
				t.Errorf("handled = %v", handled)
			}
			h := w.Header()
			if h.Get("Access-Control-Allow-Origin") != tt.allow || h.Get("Vary") != "Origin" || h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("headers are %v", h)
			}
			if preflight := tt.handled && tt.allow != ""; preflight != (h.Get("Access-Control-Allow-Methods") != "") {
				t.Errorf("headers are %v", h)
			}
			if tt.handled && w.Code != http.StatusNoContent {
				t.Errorf("status is %d", w.Code)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	w := httptest.NewRecorder()
	endpoint.JSON(w, http.StatusOK, func() {})
	if w.Code != http.StatusInternalServerError || decode(t, w)["error"] != oidc.CodeServerError {
		t.Errorf("answer is %d %s", w.Code, w.Body)
	}
}
