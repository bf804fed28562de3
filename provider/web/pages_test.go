package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/page/pagetest"
	"github.com/nightlatch/nightlatch/provider/web"
)

const resources = "/realms/demo/resources"

func pages(t *testing.T) *web.Pages {
	t.Helper()
	p, err := web.New(pagetest.Look(t, resources))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Every page, as it is, in testdata: a change is seen in review.
func TestPages(t *testing.T) {
	p := pages(t)
	const evil = pagetest.Evil
	for name, show := range map[string]func(http.ResponseWriter, *http.Request){
		"login": func(w http.ResponseWriter, r *http.Request) {
			p.Login(w, r, web.Login{Action: "/login?request=a&b=c", CSRF: "proof", Client: "Portal"})
		},
		"login_failed": func(w http.ResponseWriter, r *http.Request) {
			p.Login(w, r, web.Login{Action: "/login", CSRF: "proof", Client: evil, Username: evil, Problem: "Username or password is wrong."})
		},
		"consent": func(w http.ResponseWriter, r *http.Request) {
			p.Consent(w, r, web.Consent{Action: "/consent", CSRF: "proof", Client: "Reports", User: "alice", Scopes: []string{"User profile", "Email address"}})
		},
		"consent_offline": func(w http.ResponseWriter, r *http.Request) {
			p.Consent(w, r, web.Consent{Action: "/consent", CSRF: "proof", Client: evil, User: evil, Scopes: []string{evil}, Offline: true, Account: "/realms/demo/account"})
		},
		"consent_jobs": func(w http.ResponseWriter, r *http.Request) {
			p.Consent(w, r, web.Consent{
				Action: "/consent", CSRF: "proof", Client: "Portal", User: "alice", Offline: true, Account: "/realms/demo/account",
				Jobs: []web.Job{{Name: "nightly-backup", May: "read your profile"}, {Name: evil, May: evil}},
			})
		},
		"consent_device": func(w http.ResponseWriter, r *http.Request) {
			p.Consent(w, r, web.Consent{Action: "/consent", CSRF: "proof", Client: "TV", User: "alice", Scopes: []string{"User profile"}, UserCode: "BCDF-GHJK"})
		},
		"device": func(w http.ResponseWriter, r *http.Request) {
			p.Device(w, r, web.Device{Action: "/device", CSRF: "proof", UserCode: "BCDF-GHJK"})
		},
		"device_failed": func(w http.ResponseWriter, r *http.Request) {
			p.Device(w, r, web.Device{Action: "/device", CSRF: "proof", UserCode: evil, Problem: "This code is wrong or has expired."})
		},
		"device_connected": func(w http.ResponseWriter, r *http.Request) {
			p.DeviceDone(w, r, web.DeviceDone{Client: evil, Connected: true})
		},
		"device_declined": func(w http.ResponseWriter, r *http.Request) { p.DeviceDone(w, r, web.DeviceDone{Client: "TV"}) },
		"logout": func(w http.ResponseWriter, r *http.Request) {
			p.Logout(w, r, web.Logout{Action: "/logout", CSRF: "proof", User: "alice", Account: "/realms/demo/account", Fields: []web.Field{{Name: "state", Value: evil}}})
		},
		"loggedout": func(w http.ResponseWriter, r *http.Request) { p.LoggedOut(w, r) },
		"error": func(w http.ResponseWriter, r *http.Request) {
			p.Error(w, r, http.StatusBadRequest, "invalid_request", "redirect_uri is not registered for this application", "")
		},
		"error_ours": func(w http.ResponseWriter, r *http.Request) {
			p.Error(w, r, http.StatusInternalServerError, "server_error", "", "AAAAAAAAAAAAAAAAAAAAAA")
		},
		"formpost": func(w http.ResponseWriter, r *http.Request) {
			p.FormPost(w, r, "https://app.test/callback", url.Values{"state": {evil}, "code": {"c"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			show(rec, httptest.NewRequest(http.MethodGet, "/", nil))
			pagetest.Golden(t, name, rec)
		})
	}
}

func TestStatic(t *testing.T) {
	p := pages(t)
	rec := httptest.NewRecorder()
	p.LoggedOut(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	style := regexp.MustCompile(`href="(` + resources + `/style\.[0-9a-f]+\.css)"`).FindStringSubmatch(rec.Body.String())
	if style == nil {
		t.Fatal("no stylesheet")
	}
	get := func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		p.Static(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec
	}
	css := get(style[1])
	if css.Code != http.StatusOK || !strings.HasPrefix(css.Header().Get("Content-Type"), "text/css") || !strings.Contains(css.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("%d %v", css.Code, css.Header())
	}
	for _, outside := range []string{"http:", "https:", "url(", "@import"} {
		if strings.Contains(css.Body.String(), outside) {
			t.Errorf("the stylesheet fetches something: %s", outside)
		}
	}
	for _, path := range []string{resources + "/", resources + "/style.css", resources + "/../templates/login.html"} {
		if got := get(path); got.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
}
