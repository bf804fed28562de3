package caddymodule

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/nightlatch/nightlatch/page"
)

// Look changes the pages of a realm or a site (docs/pages.md). Paths count from
// where the server was started.
type Look struct {
	// A folder with what takes the place of the program's own: templates,
	// style.css, and messages/<language tag>.json.
	Templates string `json:"templates,omitempty"`
	// An image that stands before the name: SVG, PNG, JPEG or WebP, at most 256 KiB.
	Logo string `json:"logo,omitempty"`

	folder fs.FS
	logo   *page.Logo
}

// load reads both, and has the folder's templates tried: a bad one never gets
// before people.
func (l *Look) load(try func(fs.FS) error) error {
	var err error
	if l.Logo != "" {
		if l.logo, err = page.ReadLogo(l.Logo); err != nil {
			return fmt.Errorf("option logo: %w", err)
		}
	}
	if l.Templates == "" {
		return nil
	}
	if _, err := os.ReadDir(l.Templates); err != nil {
		return fmt.Errorf("option templates: %w", err)
	}
	l.folder = os.DirFS(l.Templates)
	if err := try(l.folder); err != nil {
		return fmt.Errorf("option templates: %s: %w", l.Templates, err)
	}
	return nil
}
