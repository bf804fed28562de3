package endpoint_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/oidc"
)

const formType = "application/x-www-form-urlencoded"

func post(target, contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestForm(t *testing.T) {
	tests := []struct {
		name, target, contentType, body string
		want                            url.Values
		status                          int // of the error; 0: none
	}{
		{name: "plain", body: "a=1&b=x+y%2B", want: url.Values{"a": {"1"}, "b": {"x y+"}}},
		{name: "charset", contentType: formType + "; charset=UTF-8", body: "a=1", want: url.Values{"a": {"1"}}},
		{name: "empty", body: "", want: url.Values{}},
		{name: "no value is no parameter", body: "a=&b&c=1", want: url.Values{"c": {"1"}}},
		{name: "resource twice", body: "resource=a&resource=b&audience=c&audience=d", want: url.Values{"resource": {"a", "b"}, "audience": {"c", "d"}}},
		{name: "no media type", contentType: "-", body: "a=1", status: 400},
		{name: "JSON", contentType: "application/json", body: `{"a":1}`, status: 400},
		{name: "multipart", contentType: "multipart/form-data; boundary=x", body: "a=1", status: 400},
		{name: "repeated", body: "scope=a&scope=b", status: 400},
		{name: "repeated alike", body: "scope=a&scope=a", status: 400},
		{name: "repeated without a value", body: "scope=&scope=a", status: 400},
		{name: "repeated in the URL", target: "/?scope=a", body: "scope=a", status: 400},
		{name: "another parameter in the URL", target: "/?x=a", body: "scope=a", want: url.Values{"scope": {"a"}}},
		{name: "malformed", body: "a=%zz", status: 400},
		{name: "semicolon", body: "a=1;b=2", status: 400},
		{name: "no UTF-8", body: "state=%ff", status: 400},
		{name: "no UTF-8 in a name", body: "%ff=1", status: 400},
		{name: "zero byte", body: "a=%00", status: 400},
		{name: "malformed URL", target: "/?a=%zz", body: "", status: 400},
		{name: "secret in the URL", target: "/?client_secret=s", body: "a=1", status: 400},
		{name: "password in the URL", target: "/?password=s", body: "a=1", status: 400},
		{name: "refresh token in the URL", target: "/?refresh_token=s", body: "a=1", status: 400},
		{name: "at the limit", body: "a=" + strings.Repeat("x", endpoint.MaxBody-2), want: url.Values{"a": {strings.Repeat("x", endpoint.MaxBody-2)}}},
		{name: "over the limit", body: "a=" + strings.Repeat("x", endpoint.MaxBody-1), status: 413},
		{name: "too many", body: strings.Repeat("a&", 300), status: 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, contentType := tt.target, tt.contentType
			if target == "" {
				target = "/"
			}
			switch contentType {
			case "":
				contentType = formType
			case "-":
				contentType = ""
			}
			got, err := endpoint.Form(httptest.NewRecorder(), post(target, contentType, tt.body))
			check(t, err, tt.status)
			if tt.status == 0 && !cmp.Equal(got, tt.want) {
				t.Errorf("form (-want +got):\n%s", cmp.Diff(tt.want, got))
			}
		})
	}
}

func TestQuery(t *testing.T) {
	tests := []struct {
		name, query string
		want        url.Values
		status      int
	}{
		{"plain", "a=1&resource=x&resource=y", url.Values{"a": {"1"}, "resource": {"x", "y"}}, 0},
		{"none", "", url.Values{}, 0},
		{"repeated", "state=1&state=2", nil, 400},
		{"malformed", "a=%", nil, 400},
		{"secret", "client_id=a&client_secret=b", nil, 400},
		{"over the limit", "a=" + strings.Repeat("x", endpoint.MaxBody), nil, 414},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := endpoint.Query(httptest.NewRequest(http.MethodGet, "/?"+tt.query, nil))
			check(t, err, tt.status)
			if tt.status == 0 && !cmp.Equal(got, tt.want) {
				t.Errorf("query (-want +got):\n%s", cmp.Diff(tt.want, got))
			}
		})
	}
}

// check wants invalid_request with the status, 0 for no error. What was sent is
// not repeated in it.
func check(t *testing.T, err error, status int) {
	t.Helper()
	if status == 0 {
		if err != nil {
			t.Errorf("error: %v", err)
		}
		return
	}
	var e *oidc.Error
	if !errors.As(err, &e) || e.Code != oidc.CodeInvalidRequest || e.Status != status {
		t.Errorf("error is %v, want invalid_request with status %d", err, status)
	}
}

func TestMethod(t *testing.T) {
	w := httptest.NewRecorder()
	if !endpoint.Method(w, httptest.NewRequest(http.MethodPost, "/", nil), http.MethodGet, http.MethodPost) {
		t.Error("POST is refused")
	}
	if endpoint.Method(w, httptest.NewRequest(http.MethodPut, "/", nil), http.MethodGet, http.MethodPost) {
		t.Error("PUT passes")
	}
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, POST" {
		t.Errorf("answer is %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

func TestClientIP(t *testing.T) {
	for remote, want := range map[string]string{"192.0.2.1:1234": "192.0.2.1", "[2001:db8::1]:1": "2001:db8::1", "@": "@"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = remote
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		if got := endpoint.ClientIP(r); got != want {
			t.Errorf("ClientIP of %s = %s", remote, got)
		}
	}
}

func FuzzForm(f *testing.F) {
	for _, body := range []string{"", "a=1", "a=1&a=2", "resource=&resource=x", "%00", "=", "&&&", "a=%zz", "a;b"} {
		f.Add(body, "")
		f.Add("", body)
	}
	f.Fuzz(func(t *testing.T, body, query string) {
		r := post("/", formType, body)
		r.URL.RawQuery = query
		form, err := endpoint.Form(httptest.NewRecorder(), r)
		if err != nil {
			var e *oidc.Error
			if !errors.As(err, &e) || e.Status < 400 || e.Status > 499 {
				t.Errorf("error is %v", err)
			}
			return
		}
		for name, v := range form {
			if len(v) == 0 || (len(v) > 1 && name != "resource" && name != "audience") {
				t.Errorf("%q = %q", name, v)
			}
		}
	})
}
