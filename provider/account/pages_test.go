package account

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/page/pagetest"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/provider/user"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Every page, as it is, in testdata: a change is seen in review.
func TestPages(t *testing.T) {
	p, err := NewPages(pagetest.Look(t, "/realms/demo/resources"))
	if err != nil {
		t.Fatal(err)
	}
	const evil = pagetest.Evil
	ends := page.English.At(t0.Add(60*24*time.Hour), t0)
	form := Form{Action: "/realms/demo/account/x", CSRF: "proof", Fields: []Field{{"grant", evil}}}
	used := Grant{
		Granted: page.English.At(t0.Add(-49*time.Hour), t0), Browser: "Firefox on Linux", Address: "192.0.2.7", Scopes: []string{"Who you are", "User profile"},
		LastUsed: page.English.At(t0.Add(-2*time.Hour), t0), Used: true, Unused: "30 days", Ends: &ends,
		Jobs: []Job{{Name: "nightly-backup", Used: true, LastUsed: page.English.At(t0.Add(-2*time.Hour), t0)}, {Name: evil, Sees: []string{evil}, Remove: "/realms/demo/account/remove?application=1&job=x"}}, Remove: "/realms/demo/account/remove?grant=a&b",
	}
	fresh := Grant{Granted: page.English.At(t0, t0), Browser: evil, Address: "2001:db8::1", Unused: "30 days", Remove: "/realms/demo/account/remove?grant=b"}
	here := Login{Here: true, Browser: "Firefox on Linux", Address: "192.0.2.7", Started: used.LastUsed, LastAccess: page.English.At(t0, t0), Applications: []string{"Account console", evil}, SignOut: "/realms/demo/account/sign-out?session=1"}
	there := Login{Browser: evil, Address: evil, Started: used.Granted, LastAccess: used.LastUsed, SignOut: "/realms/demo/account/sign-out?session=2"}
	for name, show := range map[string]func(*visit){
		"access_none": func(v *visit) { p.access(v, Access{Notice: string(notices["removed"])}) },
		"access": func(v *visit) {
			p.access(v, Access{Applications: []Application{
				{Name: evil, Description: evil, URL: "javascript:alert(1)", Grants: []Grant{used, fresh}, Remove: "/realms/demo/account/remove?application=1"},
				{Name: "Portal", URL: "https://portal.test/", Paused: string(pausedRole), Grants: []Grant{fresh}, Remove: "/realms/demo/account/remove?application=2"},
			}})
		},
		"remove_grant": func(v *visit) {
			p.remove(v, "", Remove{Form: form, Back: "/realms/demo/account", Application: evil, Grant: &used, Grants: 2, Jobs: used.Jobs, Within: "5 minutes"})
		},
		"remove_application": func(v *visit) {
			p.remove(v, "", Remove{Form: form, Back: "/realms/demo/account", Application: "Portal", Grants: 3, Whole: true, Within: "5 minutes"})
		},
		"remove_job": func(v *visit) {
			p.remove(v, "", Remove{Form: form, Back: "/realms/demo/account", Application: evil, Job: evil, Grants: 1, Within: "5 minutes"})
		},
		"remove_consent": func(v *visit) {
			p.remove(v, "/applications", Remove{Form: form, Back: "/realms/demo/account/applications", Application: "Portal", Whole: true})
		},
		"sessions": func(v *visit) {
			p.sessions(v, Sessions{Notice: string(notices["signed-out"]), Logins: []Login{here, there}, More: true, Everywhere: "/realms/demo/account/sign-out"})
		},
		"signout": func(v *visit) {
			p.signOut(v, SignOut{Form: form, Back: "/realms/demo/account/sessions", Login: &there, Grants: 2, Applications: []string{"Portal", evil}})
		},
		"signout_here": func(v *visit) { p.signOut(v, SignOut{Form: form, Back: "/realms/demo/account/sessions", Login: &here}) },
		"signout_everywhere": func(v *visit) {
			p.signOut(v, SignOut{Form: form, Back: "/realms/demo/account/sessions", Grants: 1, Applications: []string{"Portal"}})
		},
		"applications_none": func(v *visit) { p.applications(v, Applications{}) },
		"applications": func(v *visit) {
			p.applications(v, Applications{Consents: []Consent{
				{Name: evil, Description: evil, URL: "https://portal.test/", Scopes: []string{"Who you are", evil}, Background: true, Given: used.Granted, Changed: &used.LastUsed, Remove: "/realms/demo/account/remove?application=1"},
				{Name: "Reports", Given: used.Granted, Remove: "/realms/demo/account/remove?application=2"},
			}})
		},
		"password": func(v *visit) { p.password(v, Password{Form: form, Username: evil, Shortest: 8, Longest: 4096}) },
		"password_failed": func(v *visit) {
			p.password(v, Password{Form: form, Problem: string(problemCurrent), Username: "alice", Shortest: 8, Longest: 4096})
		},
		"profile": func(v *visit) {
			p.profile(v, Profile{Form: form, Notice: string(notices["profile"]), Username: "alice", Longest: 255, Editable: true, Fixed: true, Inputs: []ProfileField{
				{Name: "first_name", Label: "First name", Type: "text", Autocomplete: "given-name", Value: evil},
				{Name: "email", Label: "Email address", Type: "email", Autocomplete: "email", Value: "alice@example.com", Fixed: true},
			}})
		},
		"activity_none": func(v *visit) { p.activity(v, Activity{Newest: "/realms/demo/account/activity"}) },
		"activity": func(v *visit) {
			p.activity(v, Activity{First: true, Older: "/realms/demo/account/activity?after=a", Entries: []Entry{
				{At: page.English.At(t0, t0), Text: "Access used", Application: evil, Address: "192.0.2.7", Times: 12, Since: used.Granted},
				{At: used.LastUsed, Text: "Changing the password was refused", Reason: evil, Address: evil, Refused: true, Times: 1},
				{At: used.Granted, Text: "Logged in", Application: "Portal", Times: 1},
			}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			show(&visit{
				w: rec, r: httptest.NewRequest(http.MethodGet, "/", nil), now: t0, words: page.English,
				settings: realm.Settings{Name: "demo", URL: "http://id.test"}, user: &user.User{Username: "alice", FirstName: evil},
			})
			pagetest.Golden(t, name, rec)
		})
	}
}
