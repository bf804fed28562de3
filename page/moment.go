package page

import (
	"fmt"
	"strings"
	"time"
)

// Moment is an instant in words. People see UTC: a page without scripts does not
// know where they are.
type Moment struct {
	ISO  string // for machines
	Text string
	Near string // seen from now
}

// At is t in words, seen from now.
func At(t, now time.Time) Moment {
	t = t.UTC()
	return Moment{ISO: t.Format(time.RFC3339), Text: t.Format("2 January 2006, 15:04 UTC"), Near: near(t, now)}
}

func near(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d <= -time.Minute:
		return "in " + Span(-d)
	case d < time.Minute:
		return "just now"
	default:
		return Span(d) + " ago"
	}
}

// Span is a duration in its largest unit, rounded down, e.g. "30 days".
func Span(d time.Duration) string {
	count := func(n time.Duration, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return fmt.Sprintf("%d %ss", n, unit)
	}
	const day = 24 * time.Hour
	switch {
	case d >= 2*day || d == day:
		return count(d/day, "day")
	case d >= 2*time.Hour || d == time.Hour:
		return count(d/time.Hour, "hour")
	case d >= time.Minute:
		return count(d/time.Minute, "minute")
	}
	return count(max(d/time.Second, 1), "second")
}

// Programs and systems by what their User-Agent has, the more special first.
var (
	programs = [][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Chromium/", "Chromium"}, {"Safari/", "Safari"},
		{"curl/", "curl"}, {"Go-http-client/", "a program written in Go"}, {"python-", "a program written in Python"},
	}
	systems = [][2]string{
		{"Android", "Android"}, {"iPhone", "an iPhone"}, {"iPad", "an iPad"}, {"Windows", "Windows"}, {"Mac OS X", "a Mac"},
		{"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// Browser says in words what a User-Agent says.
func Browser(agent string) string {
	find := func(in [][2]string) string {
		for _, known := range in {
			if strings.Contains(agent, known[0]) {
				return known[1]
			}
		}
		return ""
	}
	program, system := find(programs), find(systems)
	switch {
	case program != "" && system != "":
		return program + " on " + system
	case program != "":
		return strings.ToUpper(program[:1]) + program[1:]
	case system != "":
		return "A program on " + system
	}
	return "An unknown program"
}
