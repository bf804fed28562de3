package page

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// TestTexts: nothing in a value is markup but what a template makes so, and what
// a link leads to is judged.
func TestTexts(t *testing.T) {
	const evil = `<b>"&`
	for template, want := range map[string]string{
		`{{t "%s of %s" .A "x"}}`:                                 `&lt;b&gt;&#34;&amp; of x`,
		`{{t "<%s> %s" (strong .A) .A}}`:                          `&lt;<strong>&lt;b&gt;&#34;&amp;</strong>&gt; &lt;b&gt;&#34;&amp;`,
		`{{t "go to %s" (link "/a?b=c&d" (t "%s's" .A))}}`:        `go to <a href="/a?b=c&amp;d">&lt;b&gt;&#34;&amp;&#39;s</a>`,
		`{{t "go to %s" (tab "javascript:alert(1)" "x")}}`:        `go to <a href="#ZgotmplZ" target="_blank" rel="noopener">x</a>`,
		`{{n 1 "%d %s" "%ds %s" (code .A)}}{{n 2 "%d" "%ds"}}`:    `1 <code>&lt;b&gt;&#34;&amp;</code>2s`,
		`<a title="{{t "%s and %s" (strong .A) .A}}">{{join .B}}`: `<a title="&lt;b&gt;&#34;&amp; and &lt;b&gt;&#34;&amp;">a, &lt;`,
	} {
		s, err := New(fstest.MapFS{"x.html": {Data: []byte(template)}}, nil, look(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		s.Write(rec, httptest.NewRequest(http.MethodGet, "/", nil), http.StatusOK, Page{Name: "x", View: struct {
			A string
			B []string
		}{evil, []string{"a", "<"}}})
		_, body, _ := strings.Cut(rec.Body.String(), "</header>\n")
		if body, _, _ = strings.Cut(body, "\n</main>"); body != want {
			t.Errorf("%s:\n%s\nwant\n%s", template, body, want)
		}
	}
}

// TestNegotiation: ui_locales come before the browser's languages, and what there
// is not is English.
func TestNegotiation(t *testing.T) {
	l := look(t, fstest.MapFS{"messages/de.json": {Data: []byte(`{"Log out": "Abmelden"}`)}, "messages/ar.json": {Data: []byte(`{}`)}})
	s, err := New(fstest.MapFS{"x.html": {Data: []byte(`{{t "Log out"}}`)}}, nil, l)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ locales, accept, want, dir string }{
		{"", "", "en", "ltr"}, {"", "de-AT,en;q=0.5", "de", "ltr"}, {"", "fr", "en", "ltr"}, {"", "en-GB,de;q=0.9", "en", "ltr"},
		{"de", "en", "de", "ltr"}, {"fr de-CH", "en", "de", "ltr"}, {"en", "de", "en", "ltr"}, {"fr", "de", "de", "ltr"},
		{"!! %", "ar-EG", "ar", "rtl"}, {"", "!!,;q=x", "en", "ltr"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", c.accept)
		rec := httptest.NewRecorder()
		s.Write(rec, WithLocales(r, c.locales), http.StatusOK, Page{Name: "x"})
		if got := rec.Header().Get("Content-Language"); got != c.want || rec.Header().Get("Vary") != "Accept-Language" {
			t.Errorf("%v: %s", c, got)
		}
		if want := `<html lang="` + c.want + `" dir="` + c.dir + `">`; !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%v: no %s", c, want)
		}
		if strings.Contains(rec.Body.String(), "Abmelden") != (c.want == "de") {
			t.Errorf("%v: %s", c, rec.Body)
		}
	}
}
