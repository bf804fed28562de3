// Package page is the frame around every HTML page of the program: the document,
// the stylesheet, the security headers, and what goes between for each page.
//
// It owns: frame.html (a card in the middle), console.html (a menu beside wide
// pages), style.css and the policy of a page. It does not own any
// page: provider/web and adapter bring theirs as templates, with a view for each.
//
// A page needs no script; the one line that submits a form is allowed by its hash.
package page
