package page

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

//go:embed messages/en.json
var english []byte

// forms of CLDR's plural rules by name.
var forms = map[string]plural.Form{
	"zero": plural.Zero, "one": plural.One, "two": plural.Two, "few": plural.Few, "many": plural.Many, "other": plural.Other,
}

// message is a text in one language: alone, or a text for each form.
type message struct {
	text  string
	forms map[string]string // nil: text
}

func (m *message) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(raw, []byte("{")) {
		return json.Unmarshal(raw, &m.forms)
	}
	if !bytes.HasPrefix(raw, []byte(`"`)) {
		return errors.New("a text is a string, or an object with a string for each form")
	}
	return json.Unmarshal(raw, &m.text)
}

func (m message) MarshalJSON() ([]byte, error) {
	if m.forms != nil {
		return json.Marshal(m.forms)
	}
	return json.Marshal(m.text)
}

// languages reads messages/*.json of a folder: English first, which such a file
// may word anew, then the others by name.
func languages(folder fs.FS) ([]*Words, error) {
	known, err := parseMessages(english)
	if err != nil {
		return nil, fmt.Errorf("reading the English texts: %w", err)
	}
	all := []*Words{English}
	if folder == nil {
		return all, nil
	}
	files, err := fs.Glob(folder, "messages/*.json")
	if err != nil {
		return nil, fmt.Errorf("listing languages: %w", err)
	}
	for _, file := range files {
		raw, err := fs.ReadFile(folder, file)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		w, err := newWords(strings.TrimSuffix(path.Base(file), ".json"), raw, known)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		if w.Tag == language.English {
			all[0] = w
		} else {
			all = append(all, w)
		}
	}
	return all, nil
}

func parseMessages(raw []byte) (map[Text]message, error) {
	var out map[Text]message
	if err := json.Unmarshal(raw, &out); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(raw[:syntax.Offset], []byte("\n")), err)
		}
		return nil, err
	}
	return out, nil
}

// newWords makes the words of a language from its file. A text that nothing says,
// or with other places for values than the English one, is an error.
func newWords(tag string, raw []byte, known map[Text]message) (*Words, error) {
	t, err := language.Parse(tag)
	if err != nil {
		return nil, fmt.Errorf("%q is no language tag: %w", tag, err)
	}
	given, err := parseMessages(raw)
	if err != nil {
		return nil, err
	}
	w := &Words{Tag: t, texts: map[Text]string{}, plurals: map[Text]map[plural.Form]string{}}
	for _, text := range slices.Sorted(maps.Keys(given)) {
		m := given[text]
		in, ok := known[text]
		switch {
		case !ok:
			return nil, fmt.Errorf("text %q is none of this program", text)
		case in.forms == nil && m.forms != nil:
			return nil, fmt.Errorf("text %q counts nothing: it is one string", text)
		case in.forms != nil && m.forms == nil:
			return nil, fmt.Errorf(`text %q counts: it needs an object with "other" and what other forms the language has`, text)
		case in.forms != nil && m.forms["other"] == "":
			return nil, fmt.Errorf(`text %q lacks the form "other"`, text)
		}
		if m.forms == nil {
			if err := samePlaces(string(text), m.text); err != nil {
				return nil, fmt.Errorf("text %q: %w", text, err)
			}
			w.texts[text] = m.text
			continue
		}
		w.plurals[text] = map[plural.Form]string{}
		for _, name := range slices.Sorted(maps.Keys(m.forms)) {
			form, ok := forms[name]
			if !ok {
				return nil, fmt.Errorf("text %q: %q is no form of a plural", text, name)
			}
			if err := samePlaces(string(text), m.forms[name]); err != nil {
				return nil, fmt.Errorf("text %q, form %s: %w", text, name, err)
			}
			w.plurals[text][form] = m.forms[name]
		}
	}
	return w, nil
}

// samePlaces tells whether a translation takes the values of its English text:
// each of them once, in any order (%[2]s %[1]s).
func samePlaces(english, said string) error {
	want, err := places(english)
	if err != nil {
		return err
	}
	have, err := places(said)
	if err != nil {
		return err
	}
	if !maps.Equal(want, have) {
		return fmt.Errorf("%q has not the same places for values (%%…)", said)
	}
	return nil
}

// places are the verbs of a format by the number of their value.
func places(format string) (map[int]rune, error) {
	out := map[int]rune{}
	next := 1
	for rest := format; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			return out, nil
		}
		rest = after
		if strings.HasPrefix(rest, "%") {
			rest = rest[1:]
			continue
		}
		if strings.HasPrefix(rest, "[") {
			n := 0
			if _, err := fmt.Sscanf(rest, "[%d]", &n); err != nil || n < 1 {
				return nil, fmt.Errorf("%q: a place with a number looks like %%[1]s", format)
			}
			_, rest, _ = strings.Cut(rest, "]")
			next = n
		}
		if rest == "" || (rest[0] != 's' && rest[0] != 'd') {
			return nil, fmt.Errorf("%q: a place is %%s or %%d, a percent sign %%%%", format)
		}
		if _, twice := out[next]; twice {
			return nil, fmt.Errorf("%q has the place of value %d twice", format, next)
		}
		out[next] = rune(rest[0])
		rest = rest[1:]
		next++
	}
}
