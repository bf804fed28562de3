package provider_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/net/html"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/user"
)

// bracketed is a language in which every text stands between brackets.
func bracketed(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile("../page/messages/en.json")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]any{}
	if err := json.Unmarshal(raw, &texts); err != nil {
		t.Fatal(err)
	}
	for key, text := range texts {
		switch v := text.(type) {
		case string:
			texts[key] = "⟦" + v + "⟧"
		case map[string]any:
			for form := range v {
				v[form] = "⟦" + v[form].(string) + "⟧"
			}
		}
	}
	if raw, err = json.Marshal(texts); err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestConsolesSpeak: all that is read in the consoles comes out of the catalogue,
// but for names and values.
func TestConsolesSpeak(t *testing.T) {
	w := newWorld(t)
	w.folder = fstest.MapFS{"messages/de.json": {Data: bracketed(t)}}
	w.restart()
	w.editUser("carol", func(u *user.User) { u.Roles = append(u.Roles, "realm-admin") })
	w.editClient("reports", func(c *client.Client) { c.ConsentRequired = true })
	w.browser().grant("carol", "other", "openid offline_access")
	w.advance(time.Second)
	b := w.browser()
	b.language = "de"
	b.administer("carol")
	for base, least := range map[string]int{consoleURL: 100, accountURL: 8} {
		pages := b.crawl(base).pages
		if len(pages) < least {
			t.Errorf("the crawl of %s met %d pages", base, len(pages))
		}
		reported := map[string]bool{}
		for address, page := range pages {
			for _, text := range page.unsaid() {
				if !reported[text] {
					reported[text] = true
					t.Errorf("%s says %q by itself", strings.TrimPrefix(address, origin), text)
				}
			}
		}
	}
}

var (
	said  = regexp.MustCompile(`⟦[^⟦⟧]*⟧`)
	parts = regexp.MustCompile(`^[^⟦⟧]*⟧|⟦[^⟦⟧]*$`) // of a text that has an element in it
	word  = regexp.MustCompile(`[A-Z][a-z]+( [a-z]+)*|[a-z]+( [a-z]+)+`)
)

// unsaid are the texts of a page with words that are not between brackets.
func (r *reply) unsaid() (out []string) {
	r.t.Helper()
	root, err := html.Parse(strings.NewReader(r.body))
	if err != nil {
		r.t.Fatal(err)
	}
	for n := range root.Descendants() {
		text := n.Data
		switch {
		case n.Type == html.ElementNode:
			text = attribute(n, "aria-label") + attribute(n, "title") + attribute(n, "alt") + attribute(n, "placeholder")
		case n.Type != html.TextNode || n.Parent.Data == "code" || n.Parent.Data == "textarea":
			continue
		}
		whole := strings.TrimSpace(text)
		for said.MatchString(text) { // one text may stand in another
			text = said.ReplaceAllString(text, "")
		}
		text = parts.ReplaceAllString(text, "")
		if word.MatchString(text) && !recorded.MatchString(whole) {
			out = append(out, whole)
		}
	}
	return out
}

// recorded is what records hold, in whatever language they were written.
var recorded = regexp.MustCompile(`^(OpenID Connect (built-in )?scope.*|What every new user has|Admin console|Account console|Administration by command line|Alice Liddell|EdDSA)$`)
