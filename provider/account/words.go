package account

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/user"
)

// What the console says besides its templates stands here.

const consoleName = "Account"

// menu in the order in which it is shown.
var menu = []struct{ page, name string }{
	{"", "Background access"},
}

// notices by what was done.
var notices = map[string]string{
	"removed": "Removed. It has no background access any more.",
	"gone":    "That access had ended already.",
}

const (
	pausedRole   = "Does not work at present: an administrator has taken the role offline_access from you or from this application."
	pausedClient = "Does not work at present: an administrator has switched this application off."
)

func clientName(c *client.Client) string { return cmp.Or(c.Name, c.ClientID) }

func compareNames(a, b *client.Client) int {
	return strings.Compare(strings.ToLower(clientName(a)), strings.ToLower(clientName(b)))
}

func personName(u *user.User) string {
	return cmp.Or(strings.TrimSpace(u.FirstName+" "+u.LastName), u.Username)
}

// scopeNames says what scopes show or allow. offline_access is what the page is
// about.
func scopeNames(known map[string]*client.Scope, granted []string) []string {
	var out []string
	for _, name := range granted {
		switch s := known[name]; {
		case name == oidc.ScopeOpenID:
			out = append(out, "Who you are")
		case name == oidc.ScopeOfflineAccess, s == nil:
		case s.ConsentText != "":
			out = append(out, s.ConsentText)
		case s.InToken:
			out = append(out, name)
		}
	}
	return out
}

// link is an address of an application that a person can follow, "" for none.
func link(uri string) string {
	if strings.HasPrefix(uri, "https://") || strings.HasPrefix(uri, "http://") {
		return uri
	}
	return ""
}

// Moment is an instant in words. People see UTC: a page without scripts does not
// know where they are.
type Moment struct {
	ISO  string // for machines
	Text string
	Near string // seen from now
}

func moment(t, now time.Time) Moment {
	t = t.UTC()
	return Moment{ISO: t.Format(time.RFC3339), Text: t.Format("2 January 2006, 15:04 UTC"), Near: near(t, now)}
}

func near(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d <= -time.Minute:
		return "in " + span(-d)
	case d < time.Minute:
		return "just now"
	default:
		return span(d) + " ago"
	}
}

// span is a duration in its largest unit, rounded down.
func span(d time.Duration) string {
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

// browserName says in words what a User-Agent says.
func browserName(agent string) string {
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
