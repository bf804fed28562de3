package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

// own are the files that this package brings.
//
//go:embed frame.html console.html style.css all:parts
var own embed.FS

// Set is pages that one package brings, in every language of a Look. It is safe
// for concurrent use.
type Set struct {
	*Look
	templates map[*Words]map[string]*template.Template // by the name of their file, without .html
}

// New parses the templates *.html of files; _name.html is no page but a part that
// all pages can take in, as the template name (go:embed needs all: for it); those
// of parts/ are there on every page. A file of the Look's folder takes the place
// of the one with its name; then each page is tried with its view, so that none
// fails before people.
func New(files fs.FS, views Views, look *Look) (*Set, error) {
	s := &Set{Look: look, templates: map[*Words]map[string]*template.Template{}}
	for _, words := range look.languages {
		var err error
		if s.templates[words], err = look.parse(files, words); err != nil {
			return nil, err
		}
	}
	plain, err := new(Look).parse(files, English)
	if err != nil {
		return nil, err
	}
	for i, name := range slices.Sorted(maps.Keys(views)) {
		if plain[name] == nil {
			return nil, fmt.Errorf("page %s has no template", name)
		}
		for _, words := range look.languages {
			if !look.hasTemplates() {
				break
			}
			t := trial{s.templates[words][name], plain[name]}
			err := t.page(views[name])
			if err == nil && i == 0 {
				err = t.frames(views[name])
			}
			if err != nil {
				return nil, fmt.Errorf("trying page %s: %w", name, err)
			}
		}
	}
	return s, nil
}

// parse parses all templates in one language: their functions are bound then.
func (l *Look) parse(files fs.FS, words *Words) (map[string]*template.Template, error) {
	base := template.New("").Funcs(words.functions())
	for _, name := range []string{"frame.html", "console.html"} {
		if err := l.file(base, stem(name), own, name); err != nil {
			return nil, err
		}
	}
	parts := []struct {
		files fs.FS
		found string
	}{{own, "parts/_*.html"}, {files, "_*.html"}}
	if l.config.Folder != nil {
		parts = append(parts, parts[0])
		parts[2].files, parts[2].found = l.config.Folder, "_*.html"
	}
	for _, from := range parts {
		found, err := fs.Glob(from.files, from.found)
		if err != nil {
			return nil, fmt.Errorf("listing templates: %w", err)
		}
		for _, name := range found {
			if err := l.file(base, strings.TrimPrefix(stem(name), "_"), from.files, name); err != nil {
				return nil, err
			}
		}
	}
	pages, err := fs.Glob(files, "[^_]*.html")
	if err != nil {
		return nil, fmt.Errorf("listing templates: %w", err)
	}
	out := map[string]*template.Template{}
	for _, name := range pages {
		t, err := base.Clone()
		if err == nil {
			err = l.file(t, "content", files, name)
		}
		if err != nil {
			return nil, err
		}
		out[stem(name)] = t
	}
	return out, nil
}

func stem(file string) string { return strings.TrimSuffix(path.Base(file), ".html") }

// file adds a template under a name, the folder's own if it has one. Errors of the
// template name its file and line.
func (l *Look) file(t *template.Template, name string, files fs.FS, file string) error {
	raw, err := l.read(files, file)
	if err != nil {
		return fmt.Errorf("reading template %s: %w", file, err)
	}
	parsed, err := t.New(path.Base(file)).Parse(strings.TrimSuffix(string(raw), "\n"))
	if err == nil {
		_, err = t.AddParseTree(name, parsed.Tree)
	}
	if err != nil {
		return fmt.Errorf("parsing a template: %w", err)
	}
	return nil
}

// Page is one answer.
type Page struct {
	Name  string // of its template
	Title string // in the words of the request
	View  any
	// Script is what the page's policy allows by its hash, "" for none.
	Script string
	// Console, if not nil, makes it a page of a console: wide, with a menu.
	Console *Console
}

// Frame is the view of frame.html and console.html, which surround every page.
type Frame struct {
	Title     string
	Owner     string   // name of the realm or the site
	Style     string   // address of the stylesheet
	Logo      string   // address of the logo, "" for none
	Language  string   // its tag, for the attribute lang
	Direction string   // of its script: ltr or rtl
	Console   *Console // nil in frame.html
	View      any      // of the page, which is the template content
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
	words := s.Words(r)
	err := s.templates[words][p.Name].ExecuteTemplate(&buf, around, Frame{
		Title: p.Title, Owner: s.config.Name(r.Context()), Style: s.style, Logo: s.logo,
		Language: words.Tag.String(), Direction: words.Direction(), Console: p.Console, View: p.View,
	})
	if err != nil {
		http.Error(w, "this page could not be shown", http.StatusInternalServerError)
		return
	}
	policy := "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
	if p.Script != "" {
		sum := sha256.Sum256([]byte(p.Script))
		policy += "; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", words.Tag.String())
	h.Add("Vary", "Accept-Language")
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
