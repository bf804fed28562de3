package provider_test

import (
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

const consoleURL = origin + "/admin/demo/console/"

// admin opens a page of the admin console as carol, who logs in if need be.
func (b *browser) admin(page string) *reply {
	b.t.Helper()
	got, left := b.open("GET", consoleURL+page, nil)
	if left != nil {
		b.t.Fatalf("%s led away to %s", page, left)
	}
	if strings.Contains(got.body, `id="login"`) {
		if got, left = b.submit(got, "login", url.Values{"username": {"carol"}, "password": {"carol-pw"}}); left != nil {
			b.t.Fatalf("the login led away to %s", left)
		}
	}
	return got
}

// on fails unless the page is the one below the console, and answers with a status.
func (r *reply) on(page string, status int) *reply {
	r.t.Helper()
	if got := strings.TrimPrefix(r.header.Get("X-Address"), consoleURL); got != page || r.status != status {
		r.t.Fatalf("want %d at %s, got %d at %s:\n%s", status, page, r.status, got, r.body)
	}
	return r
}

// filled is what a browser would send of a form of a page as it stands.
type filled struct {
	method, action string
	values         url.Values
}

// form finds the one with an id, or whose action ends so.
func (r *reply) form(name string) filled {
	r.t.Helper()
	root, err := html.Parse(strings.NewReader(r.body))
	if err != nil {
		r.t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Data != "form" || attribute(n, "id") != name && !strings.HasSuffix(attribute(n, "action"), name) {
			continue
		}
		f := filled{method: strings.ToUpper(attribute(n, "method")), action: attribute(n, "action"), values: url.Values{}}
		for in := range n.Descendants() {
			field := attribute(in, "name")
			if field == "" || has(in, "disabled") {
				continue
			}
			switch {
			case in.Data == "textarea":
				f.values.Set(field, text(in))
			case in.Data == "select":
				for o := range in.Descendants() {
					if o.Data == "option" && (has(o, "selected") || !f.values.Has(field)) {
						f.values.Set(field, attribute(o, "value"))
					}
				}
			case in.Data == "input" && (attribute(in, "type") != "checkbox" || has(in, "checked")):
				f.values.Set(field, attribute(in, "value"))
			}
		}
		return f
	}
	r.t.Fatalf("there is no form %s on this page (%d):\n%s", name, r.status, r.body)
	return filled{}
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) (s string) {
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			s += d.Data
		}
	}
	return s
}

// send fills fields of a form, in pairs, and sends it; a switch that is to be off
// gets "".
func (b *browser) send(page *reply, name string, more ...string) *reply {
	b.t.Helper()
	f := page.form(name)
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == "" {
			f.values.Del(more[i])
		} else {
			f.values.Set(more[i], more[i+1])
		}
	}
	at, err := url.Parse(page.header.Get("X-Address"))
	if err != nil {
		b.t.Fatal(err)
	}
	to, err := at.Parse(f.action)
	if err != nil {
		b.t.Fatal(err)
	}
	values := f.values
	if f.method == http.MethodGet {
		to.RawQuery, values = values.Encode(), nil
	}
	got, left := b.open(f.method, to.String(), values)
	if left != nil {
		b.t.Fatalf("form %s led away to %s", name, left)
	}
	return got
}

// field is what an input of the page holds.
func (r *reply) field(form, name string) string {
	r.t.Helper()
	return r.form(form).values.Get(name)
}
