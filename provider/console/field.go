package console

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/nightlatch/nightlatch/page"
)

// field of a form is a member of a representation.
type field struct {
	// member by its path: name, or attributes.name, whose name may have dots.
	member string
	// declared is what the configuration calls it: when it declares it, the field
	// is locked.
	declared    string
	label, hint page.Text
	kind        kind
	options     []Option // of a choice
	required    bool
	fixed       bool // shown, never changed
}

// group of fields under a heading, "" for none.
type group struct {
	heading page.Text
	fields  []field
}

// kind of a field: how a value is shown in a form and read from one.
type kind int

const (
	line            kind = iota // a text
	area                        // a longer text, kept as one line
	lines                       // a list, one text a line
	number                      // a whole number
	numberOrInherit             // one; none inherits
	span                        // a time
	spanOrInherit               // a time; none inherits
	flag                        // a switch
	choice                      // one of options
	secret                      // a password: never shown
)

// Option of a choice.
type Option struct {
	Value    string
	Label    page.Text
	Selected bool
}

// same makes options that are called as they are.
func same(values ...string) (out []Option) {
	for _, v := range values {
		out = append(out, Option{Value: v, Label: page.Text(v)})
	}
	return out
}

// Input is a field as the page shows it.
type Input struct {
	ID, Name, Label, Hint string
	Kind                  string // line, area, lines, number, span, flag, choice; secret; date in a search
	Value                 string
	On                    bool     // a flag is
	Options               []Option // of a choice, or the units of a span
	Unit                  string   // name of the field with the unit of a span
	Required              bool
	Locked                string // where it is declared; "": it can be changed here
	Fixed                 bool   // it cannot be changed anywhere
	Said                  bool   // the head of the page says where, so the field does for screen readers alone
	Problem               string // why the value was refused, "" if it was not
}

var kinds = map[kind]string{
	line: "line", area: "area", lines: "lines", number: "number", numberOrInherit: "number", span: "span", spanOrInherit: "span", flag: "flag", choice: "choice", secret: "secret",
}

// units of a span, the largest first.
var units = []struct {
	name    string
	label   page.Text
	seconds int64
}{{"d", "Days", 86400}, {"h", "Hours", 3600}, {"m", "Minutes", 60}, {"s", "Seconds", 1}}

// attribute tells whether the member is in the map of attributes, where every
// value is a text.
func (f field) attribute() (name string, is bool) { return strings.CutPrefix(f.member, "attributes.") }

// of reads the member from a record.
func (f field) of(record object) any {
	if name, is := f.attribute(); is {
		attributes, _ := record["attributes"].(object)
		return attributes[name]
	}
	return record[f.member]
}

// put writes a value of the member into a request.
func (f field) put(into object, value any) {
	name, is := f.attribute()
	if !is {
		into[f.member] = value
		return
	}
	attributes, ok := into["attributes"].(object)
	if !ok {
		attributes = object{}
		into["attributes"] = attributes
	}
	attributes[name] = fmt.Sprint(value)
}

// input shows the field of a record.
func (f field) input(words *page.Words, record object) Input {
	id := strings.ReplaceAll(f.member, ".", "-")
	in := Input{ID: id, Name: f.member, Label: words.T(f.label), Hint: words.T(f.hint), Kind: kinds[f.kind], Required: f.required, Fixed: f.fixed}
	value := f.of(record)
	switch f.kind {
	case lines:
		var texts []string
		list, _ := value.([]any)
		for _, v := range list {
			texts = append(texts, fmt.Sprint(v))
		}
		if s, ok := value.(string); ok && s != "" {
			texts = strings.Split(s, "##") // Keycloak's lists in attributes
		}
		in.Value = strings.Join(texts, "\n")
	case flag:
		in.On = value == true || value == "true"
	case choice:
		in.Value = plain(value)
		in.Options = choose(words, f.options, in.Value)
	case span, spanOrInherit:
		in.Unit = f.member + ".unit"
		seconds, _ := strconv.ParseInt(plain(value), 10, 64)
		unit := "m"
		if seconds > 0 {
			for _, u := range units {
				if seconds%u.seconds == 0 {
					in.Value, unit = strconv.FormatInt(seconds/u.seconds, 10), u.name
					break
				}
			}
		}
		in.Options = choose(words, unitOptions(), unit)
	default:
		in.Value = plain(value)
	}
	return in
}

func unitOptions() (out []Option) {
	for _, u := range units {
		out = append(out, Option{Value: u.name, Label: u.label})
	}
	return out
}

// choose says the options and selects one.
func choose(words *page.Words, options []Option, value string) []Option {
	out := slices.Clone(options)
	for i := range out {
		out[i].Label, out[i].Selected = page.Text(words.T(out[i].Label)), out[i].Value == value
	}
	return out
}

// plain is a JSON value as a text; none is "".
func plain(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// read takes what the form says of the field into a request. The answer
// says what is wrong with it, "" for nothing.
func (f field) read(into object, form func(string) string) (problem page.Text) {
	text := strings.TrimSpace(form(f.member))
	if f.required && text == "" {
		return "Please fill this in."
	}
	switch f.kind {
	case lines:
		texts := []string{}
		for _, l := range strings.Split(text, "\n") {
			if l = strings.TrimSpace(l); l != "" {
				texts = append(texts, l)
			}
		}
		if _, is := f.attribute(); is {
			f.put(into, strings.Join(texts, "##"))
			return ""
		}
		f.put(into, texts)
	case flag:
		f.put(into, text != "")
	case number, numberOrInherit:
		if text == "" && f.kind == numberOrInherit {
			f.put(into, "")
			return ""
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return "This has to be a whole number."
		}
		f.put(into, n)
	case span, spanOrInherit:
		n, err := int64(0), error(nil)
		if text != "" || f.kind == span {
			n, err = strconv.ParseInt(text, 10, 32)
		}
		i := slices.IndexFunc(units, func(u struct {
			name    string
			label   page.Text
			seconds int64
		}) bool {
			return u.name == form(f.member+".unit")
		})
		if err != nil || n < 0 || i < 0 || n == 0 && f.kind == span {
			return "This has to be a time: a whole number above 0, and its unit."
		}
		if n > math.MaxInt32/units[i].seconds {
			return "This is too long: more than 68 years."
		}
		if _, is := f.attribute(); is && n == 0 {
			f.put(into, "")
			return ""
		}
		f.put(into, n*units[i].seconds)
	case secret:
		f.put(into, form(f.member)) // blanks are a part of it
	case choice:
		if !slices.ContainsFunc(f.options, func(o Option) bool { return o.Value == text }) {
			return "Please choose one of these."
		}
		f.put(into, text)
	default:
		f.put(into, strings.Join(strings.Fields(text), " "))
	}
	return ""
}

// raw is what the form said, to show it again beside a problem.
func (in Input) raw(form func(string) string) Input {
	switch in.Kind {
	case "secret":
	case "flag":
		in.On = form(in.Name) != ""
	case "choice":
		in.Options = choose(page.English, in.Options, form(in.Name))
	case "span":
		in.Value, in.Options = form(in.Name), choose(page.English, in.Options, form(in.Unit))
	default:
		in.Value = form(in.Name)
	}
	return in
}

// editor is a page that changes fields of one record.
type editor struct {
	page     Edit
	at       string // address of the page
	groups   []group
	record   object        // the representation now; empty for a new thing
	declared []string      // what the configuration declares of it
	where    string        // it does, e.g. "client reports"
	next     func() string // where to go on after the change; nil: to the page itself
	notice   string        // there; "": saved
	more     func(*Input)  // says more of an input; nil: nothing
	// ask says what the change will end, before it is made: the page asks once; nil,
	// or no words: nothing.
	ask func(given object) ([]string, error)
	// send makes the change.
	send func(given object) error
}

// editing is the page of an editor, which open makes for each request.
func editing(path, menu string, open func(*visit) (*editor, error)) route {
	return route{path, menu, func(v *visit) error {
		e, err := open(v)
		if err == nil {
			e.show(v)
		}
		return err
	}, func(v *visit) error {
		e, err := open(v)
		if err != nil {
			return err
		}
		return e.save(v)
	}}
}

// locked tells whether the configuration declares a field.
func (e *editor) locked(f field) bool {
	return f.declared != "" && slices.Contains(e.declared, f.declared)
}

// inputs of the page: as the record has them, or as the form has.
func (e *editor) inputs(words *page.Words, form func(string) string, problems map[string]string) {
	e.page.Groups = nil
	changeable := false
	for _, g := range e.groups {
		view := Group{Heading: words.T(g.heading)}
		for _, f := range g.fields {
			in := f.input(words, e.record)
			switch {
			case f.fixed:
			case e.locked(f):
				in.Locked, in.Said = e.where, e.page.Locked != ""
			default:
				changeable = true
				if form != nil {
					in = in.raw(form)
				}
			}
			in.Problem = problems[f.member]
			if e.more != nil {
				e.more(&in)
			}
			view.Inputs = append(view.Inputs, in)
		}
		e.page.Groups = append(e.page.Groups, view)
	}
	e.page.Fixed = !changeable
}

func (e *editor) show(v *visit) {
	e.inputs(v.words(), nil, nil)
	e.page.Form = v.form(e.at)
	v.render(http.StatusOK, "edit", e.page.Title, e.page)
}

// save reads the form, sends what can be changed, and goes on; what is
// refused is shown beside its field, with all that was typed.
func (e *editor) save(v *visit) error {
	given, problems := object{}, map[string]string{}
	for _, g := range e.groups {
		for _, f := range g.fields {
			if f.fixed || e.locked(f) {
				continue
			}
			if problem := f.read(given, v.Params.Get); problem != "" {
				problems[f.member] = v.words().T(problem)
			}
		}
	}
	if len(problems) == 0 && e.ask != nil {
		then, err := e.ask(given)
		if err != nil {
			return err
		}
		if of := digest(given); len(then) > 0 && v.Params.Get(sure) != of {
			e.page.Notice, e.page.Then = "", then
			e.inputs(v.words(), v.Params.Get, nil)
			e.page.Form = v.form(e.at, Field{sure, of})
			v.render(http.StatusOK, "edit", e.page.Title, e.page)
			return nil
		}
	}
	if len(problems) == 0 {
		err := e.send(given)
		var refused *Refused
		switch {
		case err == nil:
			to, notice := e.at, e.notice
			if e.next != nil {
				to = e.next()
			}
			if notice == "" {
				notice = "saved"
			}
			return v.done(to, notice)
		case !errors.As(err, &refused):
			return err
		}
		if member := e.fieldOf(refused.Field); member != "" {
			problems[member] = sentence(refused.Message)
		} else {
			e.page.Problem = sentence(refused.Error())
		}
	}
	if e.page.Problem == "" {
		e.page.Problem = v.words().T("Nothing is saved yet: please look at what is marked.")
	}
	e.page.Notice = ""
	e.inputs(v.words(), v.Params.Get, problems)
	e.page.Form = v.form(e.at)
	v.render(http.StatusBadRequest, "edit", e.page.Title, e.page)
	return nil
}

// sure is the parameter that says of which change the person was asked: another one
// is another question.
const sure = "sure"

func digest(change object) string {
	raw, err := json.Marshal(change)
	if err != nil {
		return "" // it cannot be sent either
	}
	return fmt.Sprintf("%.8x", sha256.Sum256(raw))
}

// fieldOf finds the field of the form that a refused member belongs to: an
// element of a list belongs to the list.
func (e *editor) fieldOf(member string) string {
	member, _, _ = strings.Cut(member, "[")
	for _, g := range e.groups {
		for _, f := range g.fields {
			if f.member == member && member != "" {
				return member
			}
		}
	}
	return ""
}

// sentence makes one of what the REST says.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	if what, ok := strings.CutPrefix(s, "want "); ok {
		s = "This has to be " + what
	}
	if first, _, _ := strings.Cut(s, " "); !strings.ContainsAny(first, "_[") {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	return strings.TrimSuffix(s, ".") + "."
}
