package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// Config of a Look.
type Config struct {
	// Resources is the path below which Look.Serve answers, without a trailing
	// slash.
	Resources string
	// Name of the realm or the site, at the head of each page. It is asked for each
	// page.
	Name func(context.Context) string
	// Folder has what takes the place of the program's own: a template, a part or
	// style.css of the same name, and messages/<tag>.json for each language. Further
	// parts, _*.html, are there for its templates. nil: nothing.
	Folder fs.FS
	// Logo stands before the name. nil: the program's own mark.
	Logo *Logo
}

// Look is what all pages of a realm or a site have in common. It is safe for
// concurrent use.
type Look struct {
	config    Config
	languages []*Words // English first
	matcher   language.Matcher
	served    map[string]resource // by path
	style     string              // path of the stylesheet
	logo      string              // path of the logo, "" for none
	known     []string            // files that a folder may have
}

type resource struct {
	kind, policy string
	content      []byte
}

// NewLook reads the folder's languages and stylesheet.
func NewLook(c Config) (*Look, error) {
	l := &Look{config: c, served: map[string]resource{}}
	var err error
	if l.languages, err = languages(c.Folder); err != nil {
		return nil, err
	}
	var tags []language.Tag
	for _, w := range l.languages {
		tags = append(tags, w.Tag)
	}
	l.matcher = language.NewMatcher(tags)
	style, err := l.read(own, "style.css")
	if err != nil {
		return nil, fmt.Errorf("reading the stylesheet: %w", err)
	}
	l.style = l.serve("style", ".css", resource{kind: "text/css; charset=utf-8", content: style})
	if c.Logo != nil {
		// An image that is opened by itself may be a document: it gets no right but
		// to look as it does.
		l.logo = l.serve("logo", logoKinds[c.Logo.kind], resource{
			kind: c.Logo.kind, policy: "default-src 'none'; style-src 'unsafe-inline'", content: c.Logo.content,
		})
	}
	return l, nil
}

// serve gives a resource a path that changes with it, so that it may be kept for
// ever.
func (l *Look) serve(name, ext string, r resource) string {
	at := fmt.Sprintf("%s/%s.%.6x%s", l.config.Resources, name, sha256.Sum256(r.content), ext)
	l.served[at] = r
	return at
}

// Serve answers with the stylesheet or the logo if the path is theirs, and tells
// whether it did.
func (l *Look) Serve(w http.ResponseWriter, r *http.Request) bool {
	found, ok := l.served[r.URL.Path]
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", found.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	if found.policy != "" {
		h.Set("Content-Security-Policy", found.policy)
	}
	_, _ = w.Write(found.content)
	return true
}

// Words are those of the language that a request asks for: by WithLocales, else
// by Accept-Language.
func (l *Look) Words(r *http.Request) *Words {
	if len(l.languages) == 1 {
		return l.languages[0]
	}
	locales, _ := r.Context().Value(localesKey{}).(string)
	_, i := language.MatchStrings(l.matcher, append(strings.Fields(locales), r.Header.Get("Accept-Language"))...)
	return l.languages[i]
}

type localesKey struct{}

// WithLocales prefers the languages of ui_locales (OpenID Connect Core §3.1.2.1)
// to those of the browser.
func WithLocales(r *http.Request, locales string) *http.Request {
	if locales == "" {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), localesKey{}, locales))
}

// Strangers tells of templates and stylesheets in the folder that replace nothing,
// once every Set is made: their names are mistyped, or of another version.
func (l *Look) Strangers() error {
	if l.config.Folder == nil {
		return nil
	}
	entries, err := fs.ReadDir(l.config.Folder, ".")
	if err != nil {
		return fmt.Errorf("reading the folder of templates: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if ext := path.Ext(name); ext != ".html" && ext != ".css" || strings.HasPrefix(name, "_") || slices.Contains(l.known, name) {
			continue
		}
		return fmt.Errorf("%s replaces no file of these pages: docs/pages.md lists them; the name of a further part begins with _", name)
	}
	return nil
}

// hasTemplates tells whether the folder replaces any.
func (l *Look) hasTemplates() bool {
	if l.config.Folder == nil {
		return false
	}
	found, err := fs.Glob(l.config.Folder, "*.html")
	return err != nil || len(found) > 0
}

// read reads a file of the program, or what the folder has in its place.
func (l *Look) read(files fs.FS, file string) ([]byte, error) {
	base := path.Base(file)
	l.known = append(l.known, base)
	if l.config.Folder != nil {
		if content, err := fs.ReadFile(l.config.Folder, base); !errors.Is(err, fs.ErrNotExist) {
			return content, err
		}
	}
	return fs.ReadFile(files, file)
}

// Logo is an image.
type Logo struct {
	kind    string // its media type
	content []byte
}

// maxLogo bounds a logo, in bytes: it is sent to everybody who logs in.
const maxLogo = 256 << 10

// logoKinds are the media types of a logo, with what their names end with.
var logoKinds = map[string]string{"image/svg+xml": ".svg", "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}

// ReadLogo reads an image: SVG, PNG, JPEG or WebP by its content, whatever the
// file is called, of at most 256 KiB.
func ReadLogo(file string) (*Logo, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading the logo: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxLogo+1))
	if err != nil {
		return nil, fmt.Errorf("reading the logo: %w", err)
	}
	if len(content) > maxLogo {
		return nil, fmt.Errorf("logo %s is larger than %d KiB", file, maxLogo>>10)
	}
	kind := http.DetectContentType(content)
	if isSVG(content) {
		kind = "image/svg+xml"
	}
	if logoKinds[kind] == "" {
		return nil, fmt.Errorf("logo %s is no image that browsers show: want SVG, PNG, JPEG or WebP", file)
	}
	return &Logo{kind, content}, nil
}

// isSVG tells whether a document's root is an image.
func isSVG(content []byte) bool {
	d := xml.NewDecoder(bytes.NewReader(content))
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if root, ok := token.(xml.StartElement); ok {
			return root.Name.Local == "svg" && root.Name.Space == "http://www.w3.org/2000/svg"
		}
	}
}
