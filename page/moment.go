package page

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Moment is an instant in words. People see UTC: a page without scripts does not
// know where they are.
type Moment struct {
	ISO  string // for machines
	Text string
	Near string // seen from now
}

// At is t in words, seen from now.
func (w *Words) At(t, now time.Time) Moment {
	t = t.UTC()
	return Moment{
		ISO: t.Format(time.RFC3339), Near: w.near(t, now),
		Text: w.T("%[1]d %[2]s %[3]d, %[4]s UTC", t.Day(), w.T(months[t.Month()-1]), t.Year(), t.Format("15:04")),
	}
}

var months = [...]Text{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}

func (w *Words) near(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d <= -time.Minute:
		n, unit := largest(-d)
		return w.N(n, unit.in.one, unit.in.other)
	case d < time.Minute:
		return w.T("just now")
	default:
		n, unit := largest(d)
		return w.N(n, unit.ago.one, unit.ago.other)
	}
}

// Span is a duration in its largest unit, rounded down, e.g. "30 days".
func (w *Words) Span(d time.Duration) string {
	n, unit := largest(d)
	return w.N(n, unit.long.one, unit.long.other)
}

// counted are the two forms of a text about a number.
type counted struct{ one, other Text }

// unit of time. Whole texts, as other languages bend the unit after "in" and with
// "ago".
type unit struct {
	of            time.Duration
	long, in, ago counted
}

const day = 24 * time.Hour

var units = [...]unit{
	{day, counted{"%d day", "%d days"}, counted{"in %d day", "in %d days"}, counted{"%d day ago", "%d days ago"}},
	{time.Hour, counted{"%d hour", "%d hours"}, counted{"in %d hour", "in %d hours"}, counted{"%d hour ago", "%d hours ago"}},
	{time.Minute, counted{"%d minute", "%d minutes"}, counted{"in %d minute", "in %d minutes"}, counted{"%d minute ago", "%d minutes ago"}},
	{time.Second, counted{"%d second", "%d seconds"}, counted{"in %d second", "in %d seconds"}, counted{"%d second ago", "%d seconds ago"}},
}

// largest is the unit that a duration is told in: two of it or exactly one, so
// that 90 minutes are no hour.
func largest(d time.Duration) (int, unit) {
	for _, u := range units[:2] {
		if d >= 2*u.of || d == u.of {
			return int(d / u.of), u
		}
	}
	if u := units[2]; d >= u.of {
		return int(d / u.of), u
	}
	return max(int(d/time.Second), 1), units[3]
}

// Programs and systems by what their User-Agent has, the more special first.
var (
	programs = []known{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Chromium/", "Chromium"}, {"Safari/", "Safari"},
		{"curl/", "curl"}, {"Go-http-client/", "a program written in Go"}, {"python-", "a program written in Python"},
	}
	systems = []known{
		{"Android", "Android"}, {"iPhone", "an iPhone"}, {"iPad", "an iPad"}, {"Windows", "Windows"}, {"Mac OS X", "a Mac"},
		{"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

type known struct {
	sign string
	name Text
}

// Browser says in words what a User-Agent says.
func (w *Words) Browser(agent string) string {
	find := func(in []known) string {
		for _, k := range in {
			if strings.Contains(agent, k.sign) {
				return w.T(k.name)
			}
		}
		return ""
	}
	program, system := find(programs), find(systems)
	switch {
	case program != "" && system != "":
		return w.T("%s on %s", program, system)
	case program != "":
		first, size := utf8.DecodeRuneInString(program)
		return string(unicode.ToUpper(first)) + program[size:]
	case system != "":
		return w.T("A program on %s", system)
	}
	return w.T("An unknown program")
}
