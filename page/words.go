package page

import (
	"fmt"
	"html/template"
)

// words are what templates say their texts with. The English text is the key of
// a text in other languages.
//
//	{{t "Log in to %s" .Client}}
//	{{n .Count "%d session" "%d sessions"}}
var words = template.FuncMap{"t": say, "n": count}

func say(text string, args ...any) string {
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

func count(n int, one, other string) string {
	if n == 1 {
		return fmt.Sprintf(one, n)
	}
	return fmt.Sprintf(other, n)
}
