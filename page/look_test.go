package page

import (
	"bytes"
	"image"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

type hello struct {
	Name  string
	Items []struct{ Text string }
	More  *struct{ Hidden bool }
}

var (
	embedded = fstest.MapFS{"hello.html": {Data: []byte("<p>{{.Name}}</p>{{template \"item\" .}}\n")}, "_item.html": {Data: []byte("<b></b>\n")}}
	hellos   = Views{"hello": hello{}}
)

// TestFolder: a file of the folder takes the place of the program's, the rest
// stays.
func TestFolder(t *testing.T) {
	l := look(t, fstest.MapFS{
		"frame.html": {Data: []byte(`<i>{{.Title}}</i>{{template "content" .View}}{{template "foot"}}`)}, "_item.html": {Data: []byte("<u></u>")},
		"_foot.html": {Data: []byte("foot")}, "style.css": {Data: []byte("b { color: red }")}, "README.md": {Data: []byte("x")},
	})
	s, err := New(embedded, hellos, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Strangers(); err != nil {
		t.Error(err)
	}
	rec := httptest.NewRecorder()
	s.Write(rec, httptest.NewRequest(http.MethodGet, "/", nil), http.StatusOK, Page{Name: "hello", Title: "T", View: hello{Name: "<x>"}})
	if got := rec.Body.String(); got != "<i>T</i><p>&lt;x&gt;</p><u></u>foot" {
		t.Error(got)
	}
	rec = httptest.NewRecorder()
	if !l.Serve(rec, httptest.NewRequest(http.MethodGet, l.style, nil)) || rec.Body.String() != "b { color: red }" || l.style == look(t, nil).style {
		t.Errorf("%s: %s", l.style, rec.Body)
	}
}

// TestBadFolder: what is wrong with a template is told with its file and line
// before people see it, on whichever branch it is.
func TestBadFolder(t *testing.T) {
	for content, want := range map[string]string{
		"\n{{.Nam}}":                                                 "hello.html:2:",
		"{{if .Name}}{{else}}\n{{.Nam}}{{end}}":                      "hello.html:2:",
		"{{range .Items}}\n{{.Name}}{{end}}":                         "hello.html:2:",
		"{{range .Items}}{{else}}\n{{.X}}{{end}}":                    "hello.html:2:",
		"{{with .More}}{{if .Hidden}}{{else}}\n{{.X}}{{end}}{{end}}": "hello.html:2:",
		"{{if .More}}{{else}}\n\n{{.X}}{{end}}":                      "hello.html:3:",
		"\n{{template \"nothing\"}}":                                 "hello.html:2:",
		"\n{{":                                                       "hello.html:2:",
		"\n{{wrong .Name}}":                                          "hello.html:2:",
		"<a href=\"{{if .Name}}\">{{end}}":                           "hello.html:1:",
		"{{t \"%s\" .Items.Text}}":                                   "hello.html:1:",
	} {
		_, err := New(embedded, hellos, look(t, fstest.MapFS{"hello.html": {Data: []byte(content)}}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
	l := look(t, fstest.MapFS{"helo.html": {Data: []byte("x")}})
	if _, err := New(embedded, hellos, l); err != nil {
		t.Fatal(err)
	}
	if err := l.Strangers(); err == nil || !strings.Contains(err.Error(), "helo.html replaces no file") {
		t.Error(err)
	}
	if _, err := New(embedded, hellos, look(t, fstest.MapFS{"hello.html": {Data: []byte("")}})); err != nil {
		t.Errorf("an empty template: %v", err)
	}
	if _, err := New(embedded, Views{"other": hello{}}, look(t, nil)); err == nil {
		t.Error("a view without a template")
	}
}

func TestLogo(t *testing.T) {
	write := func(name string, content []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	var asPNG, asJPEG bytes.Buffer
	if err := png.Encode(&asPNG, image.NewGray(image.Rect(0, 0, 2, 2))); err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Encode(&asJPEG, image.NewGray(image.Rect(0, 0, 2, 2)), nil); err != nil {
		t.Fatal(err)
	}
	const svg = `<?xml version="1.0"?><!-- ours --><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`
	for kind, content := range map[string][]byte{
		"image/svg+xml": []byte(svg), "image/png": asPNG.Bytes(), "image/jpeg": asJPEG.Bytes(), "image/webp": []byte("RIFF\x24\x00\x00\x00WEBPVP8 "),
	} {
		logo, err := ReadLogo(write("logo.txt", content)) // whatever it is called
		if err != nil {
			t.Fatal(err)
		}
		l, err := NewLook(Config{Resources: "/there", Name: look(t, nil).config.Name, Logo: logo})
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		h := rec.Header()
		if !l.Serve(rec, httptest.NewRequest(http.MethodGet, l.logo, nil)) || h.Get("Content-Type") != kind || !bytes.Equal(rec.Body.Bytes(), content) ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") != "default-src 'none'; style-src 'unsafe-inline'" {
			t.Errorf("%s: %v", kind, h)
		}
		s, err := New(embedded, hellos, l)
		if err != nil {
			t.Fatal(err)
		}
		rec = httptest.NewRecorder()
		s.Write(rec, httptest.NewRequest(http.MethodGet, "/", nil), http.StatusOK, Page{Name: "hello", View: hello{}})
		if want := `<img class="logo" src="` + l.logo + `" alt="Logo of demo &amp; co">`; !strings.Contains(rec.Body.String(), want) {
			t.Errorf("no %s", want)
		}
		if !strings.Contains(rec.Header().Get("Content-Security-Policy"), "img-src 'self'") {
			t.Errorf("policy %v", rec.Header())
		}
	}
	for _, bad := range [][]byte{nil, []byte("<html><svg xmlns='http://www.w3.org/2000/svg'/></html>"), []byte("<svg/>"), []byte("GIF89a"), append(asPNG.Bytes(), make([]byte, maxLogo)...)} {
		if _, err := ReadLogo(write("logo.svg", bad)); err == nil || !strings.Contains(err.Error(), "logo.svg") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}
