package page

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"golang.org/x/text/language"
)

// Config of a Look.
type Config struct {
	// Resources is the path below which Look.Serve answers, without a trailing
	// slash.
	Resources string
	// Name of the realm or the site, at the head of each page.
	Name func(context.Context) string
	// Folder has what takes the place of the program's own: messages/<tag>.json
	// for each language. nil: nothing.
	Folder fs.FS
}

// Look is what all pages of a realm or a site have in common. It is safe for
// concurrent use.
type Look struct {
	config    Config
	languages []*Words // English first
	matcher   language.Matcher
}

// NewLook reads the folder.
func NewLook(c Config) (*Look, error) {
	l := &Look{config: c}
	var err error
	if l.languages, err = languages(c.Folder); err != nil {
		return nil, err
	}
	var tags []language.Tag
	for _, w := range l.languages {
		tags = append(tags, w.Tag)
	}
	l.matcher = language.NewMatcher(tags)
	return l, nil
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

// Serve answers with the stylesheet if the path is its, and tells whether it did.
func (l *Look) Serve(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != l.stylePath() {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", "text/css; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(style)
	return true
}

// stylePath changes with the stylesheet, which may be kept for ever.
func (l *Look) stylePath() string { return fmt.Sprintf("%s/%s", l.config.Resources, styleName) }
