package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

var (
	//go:embed frame.html
	frame string
	//go:embed console.html
	console string
	//go:embed all:parts
	shared embed.FS
	//go:embed style.css
	style []byte
	// styleName changes with the stylesheet, which may be kept for ever.
	styleName = fmt.Sprintf("style.%.6x.css", sha256.Sum256(style))
)

// Set is all pages of a realm or a site. It is safe for concurrent use.
type Set struct {
	// StylePath is where Stylesheet has to be served.
	StylePath string
	owner     string
	templates map[string]*template.Template // by the name of their file, without .html
}

// New parses the templates *.html of files; _name.html is no page but a part that
// all pages can take in, as the template name (go:embed needs all: for it); those
// of parts/ are there on every page. owner is the name at the head of
// each page; the stylesheet is linked below resources, a path without a trailing
// slash.
func New(files fs.FS, resources, owner string) (*Set, error) {
	s := &Set{StylePath: resources + "/" + styleName, owner: owner, templates: map[string]*template.Template{}}
	base, err := template.New("frame").Funcs(words).Parse(frame)
	if err == nil {
		_, err = base.New("console").Parse(console)
	}
	if err != nil {
		return nil, fmt.Errorf("parsing frames: %w", err)
	}
	for _, from := range []struct {
		files fs.FS
		parts string
	}{{shared, "parts/_*.html"}, {files, "_*.html"}} {
		parts, err := fs.Glob(from.files, from.parts)
		if err != nil {
			return nil, fmt.Errorf("listing templates: %w", err)
		}
		for _, name := range parts {
			if err := parse(base, strings.TrimPrefix(stem(name), "_"), from.files, name); err != nil {
				return nil, err
			}
		}
	}
	pages, err := fs.Glob(files, "[^_]*.html")
	if err != nil {
		return nil, fmt.Errorf("listing templates: %w", err)
	}
	for _, name := range pages {
		t, err := base.Clone()
		if err == nil {
			err = parse(t, "content", files, name)
		}
		if err != nil {
			return nil, err
		}
		s.templates[stem(name)] = t
	}
	return s, nil
}

func stem(file string) string { return strings.TrimSuffix(path.Base(file), ".html") }

// parse adds a file to t under a name.
func parse(t *template.Template, name string, files fs.FS, file string) error {
	text, err := fs.ReadFile(files, file)
	if err == nil {
		_, err = t.New(name).Parse(strings.TrimSuffix(string(text), "\n"))
	}
	if err != nil {
		return fmt.Errorf("parsing template %s: %w", file, err)
	}
	return nil
}

// Page is one answer.
type Page struct {
	Name  string // of its template
	Title string
	View  any
	// Script is what the page's policy allows by its hash, "" for none.
	Script string
	// Console, if not nil, makes it a page of a console: wide, with a menu.
	Console *Console
}

// Console is what surrounds the pages of a console.
type Console struct {
	Name   string // of the console
	User   string // who is logged in
	Logout string // address of the realm's logout
	Wide   bool   // it has tables
	Menu   []Link
}

// Link is an entry of a menu.
type Link struct {
	Name, URL string
	Current   bool
}

// Write answers with a page. Its policy lets nothing in but the stylesheet.
//
// There is no form-action in the policy: Chromium holds it against every
// redirect that follows a form, and a login ends at the client's own address.
func (s *Set) Write(w http.ResponseWriter, r *http.Request, status int, p Page) {
	var buf bytes.Buffer
	around := "frame"
	if p.Console != nil {
		around = "console"
	}
	err := s.templates[p.Name].ExecuteTemplate(&buf, around, struct {
		Title, Owner, Style string
		Console             *Console
		View                any
	}{p.Title, s.owner, s.StylePath, p.Console, p.View})
	if err != nil {
		http.Error(w, "this page could not be shown", http.StatusInternalServerError)
		return
	}
	policy := "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
	if p.Script != "" {
		sum := sha256.Sum256([]byte(p.Script))
		policy += "; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(buf.Bytes())
	}
}

// Stylesheet answers with the stylesheet.
func Stylesheet(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(style)
}
