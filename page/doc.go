// Package page is what all HTML pages of the program have in common: the document
// around them, the stylesheet, the security headers, and their texts in the
// languages that there are.
//
// It owns: frame.html (a card in the middle), console.html (a menu beside wide
// pages), style.css, the policy of a page, and messages/en.json, the catalogue of
// every text. It does not own any page: provider/web, the consoles and adapter
// bring theirs as a Set of templates, with a view for each.
//
// A Look belongs to a realm or a site: its name, its languages. A template says
// its texts by {{t "…"}} and {{n …}}, a handler by Look.Words; the English text is
// the key of the others. "go generate ./page" writes the catalogue anew.
//
// A page needs no script; the one line that submits a form is allowed by its hash.
package page
