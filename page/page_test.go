package page

import (
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func look(t *testing.T, folder fs.FS) *Look {
	t.Helper()
	l, err := NewLook(Config{Resources: "/there", Name: func(context.Context) string { return "demo & co" }, Folder: folder})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func set(t *testing.T) *Set {
	t.Helper()
	s, err := New(fstest.MapFS{"hello.html": {Data: []byte("<p>{{.}}</p>\n")}}, nil, look(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWrite: the frame is around the page, nothing in a view is markup, and the
// policy lets in the stylesheet and the one script.
func TestWrite(t *testing.T) {
	s := set(t)
	w := httptest.NewRecorder()
	s.Write(w, httptest.NewRequest(http.MethodGet, "/", nil), http.StatusTeapot, Page{Name: "hello", Title: "Hello", View: "<b>", Script: "x()"})
	body, h := w.Body.String(), w.Header()
	for _, want := range []string{"<title>Hello · demo &amp; co</title>", `href="` + s.style + `"`, "<p>&lt;b&gt;</p>\n</main>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s:\n%s", want, body)
		}
	}
	if w.Code != http.StatusTeapot || h.Get("X-Frame-Options") != "DENY" || h.Get("X-Content-Type-Options") != "nosniff" ||
		h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, h)
	}
	const hash = "'sha256-D6IGS8VMvCoyaR/l0h9tERrBTATY01CoPS7l6xDv0kI='" // of x()
	csp := h.Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'; style-src 'self';") || !strings.Contains(csp, "frame-ancestors 'none'") || !strings.HasSuffix(csp, "; script-src "+hash) {
		t.Errorf("policy %q", csp)
	}

	w = httptest.NewRecorder()
	s.Write(w, httptest.NewRequest(http.MethodHead, "/", nil), http.StatusOK, Page{Name: "hello"})
	if w.Body.Len() > 0 || strings.Contains(w.Header().Get("Content-Security-Policy"), "script-src") {
		t.Errorf("HEAD: %v %q", w.Header(), w.Body)
	}
}

func TestStylesheet(t *testing.T) {
	l := look(t, nil)
	path := l.style
	if !strings.HasPrefix(path, "/there/style.") || !strings.HasSuffix(path, ".css") {
		t.Error(path)
	}
	w := httptest.NewRecorder()
	if !l.Serve(w, httptest.NewRequest(http.MethodGet, path, nil)) || w.Header().Get("Content-Type") != "text/css; charset=utf-8" ||
		!strings.Contains(w.Body.String(), "prefers-color-scheme: dark") {
		t.Errorf("%v", w.Header())
	}
	if l.Serve(w, httptest.NewRequest(http.MethodGet, "/there/style.css", nil)) {
		t.Error("what is not there is served")
	}
}

func TestBrokenTemplate(t *testing.T) {
	if _, err := New(fstest.MapFS{"bad.html": {Data: []byte("{{")}}, nil, look(t, nil)); err == nil || !strings.Contains(err.Error(), "bad.html") {
		t.Errorf("%v", err)
	}
}
