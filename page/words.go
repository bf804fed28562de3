package page

import (
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

// Text is a text that people read, in English, with the places of fmt.Sprintf for
// what changes. It is the key of the same text in other languages: whatever has
// this type has to stand in messages/en.json, which a test sees to.
type Text string

// Words are the texts of one language. What it lacks is said in English.
//
// A template says its texts by the functions t and n, a handler by the methods T
// and N of the words of its request (Look.Words):
//
//	{{t "Log in to %s" .Client}}     words.T("Log in to %s", client)
//	{{n .Count "%d job" "%d jobs"}}  words.N(count, "%d job", "%d jobs")
type Words struct {
	Tag     language.Tag
	texts   map[Text]string
	plurals map[Text]map[plural.Form]string
}

// English is what everything is written in.
var English = &Words{Tag: language.English}

// T says a text. Without values it is taken as it is, so that a text from a
// record, which may or may not be known, is safe to say.
func (w *Words) T(text Text, values ...any) string {
	return fill(w.one(text), values)
}

// N says a text about n things, which is its first value. English has two forms;
// other languages choose among theirs.
func (w *Words) N(n int, one, other Text, values ...any) string {
	return fill(w.many(n, one, other), append([]any{number(n)}, values...))
}

// Number is n in groups of three digits, as every language may read it: 1 000 000.
func Number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// number is what N fills in for %d.
type number int

// Format writes it as Number does, whatever the verb.
func (n number) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Number(int(n))) }

func (w *Words) one(text Text) string {
	if said, ok := w.texts[text]; ok {
		return said
	}
	return string(text)
}

func (w *Words) many(n int, one, other Text) string {
	if forms := w.plurals[one]; forms != nil {
		if said, ok := forms[plural.Cardinal.MatchPlural(w.Tag, abs(n), 0, 0, 0, 0)]; ok {
			return said
		}
		return forms[plural.Other]
	}
	if n == 1 {
		return string(one)
	}
	return string(other)
}

func abs(n int) int { return max(n, -n) }

func fill(text string, values []any) string {
	if len(values) == 0 {
		return text
	}
	return fmt.Sprintf(text, values...)
}

// Direction is that of the script, as the attribute dir has it.
func (w *Words) Direction() string {
	switch script, _ := w.Tag.Script(); script.String() {
	case "Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm":
		return "rtl"
	}
	return "ltr"
}

// functions are what templates say texts with. Values that are markup (strong,
// code, link, tab) stay so within a text; all else is escaped.
func (w *Words) functions() template.FuncMap {
	return template.FuncMap{
		"t": func(text string, values ...any) any { return markup(w.one(Text(text)), values) },
		"n": func(n int, one, other string, values ...any) any {
			return markup(w.many(n, Text(one), Text(other)), append([]any{number(n)}, values...))
		},
		"strong": func(v any) template.HTML { return "<strong>" + escaped(v) + "</strong>" },
		"code":   func(v any) template.HTML { return "<code>" + escaped(v) + "</code>" },
		"link":   func(url string, v any) template.HTML { return anchor("link", url, v) },
		"tab":    func(url string, v any) template.HTML { return anchor("tab", url, v) },
		"join":   func(names []string) string { return strings.Join(names, ", ") },
	}
}

// markup fills values in. Only a text with markup among its values is markup.
func markup(text string, values []any) any {
	marked := false
	for _, v := range values {
		_, is := v.(template.HTML)
		marked = marked || is
	}
	if !marked {
		return fill(text, values)
	}
	for i, v := range values {
		switch v.(type) {
		case int, number:
		default:
			values[i] = escaped(v)
		}
	}
	return template.HTML(fill(template.HTMLEscapeString(text), values))
}

func escaped(v any) template.HTML {
	if h, is := v.(template.HTML); is {
		return h
	}
	return template.HTML(template.HTMLEscaper(v))
}

// anchors lets html/template judge the addresses of links within texts.
var anchors = template.Must(template.New("").Parse(
	`{{define "link"}}<a href="{{.URL}}">{{.Text}}</a>{{end}}{{define "tab"}}<a href="{{.URL}}" target="_blank" rel="noopener">{{.Text}}</a>{{end}}`))

func anchor(kind, url string, v any) template.HTML {
	var b strings.Builder
	if err := anchors.ExecuteTemplate(&b, kind, struct{ URL, Text any }{url, v}); err != nil {
		return escaped(v)
	}
	return template.HTML(b.String())
}
