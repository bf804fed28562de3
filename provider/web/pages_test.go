package web_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/web"
)

var update = flag.Bool("update", false, "write the golden files anew")

const resources = "/realms/demo/resources"

func pages(t *testing.T) *web.Pages {
	t.Helper()
	look, err := page.NewLook(page.Config{Resources: resources, Name: func(context.Context) string { return "demo" }})
	if err != nil {
		t.Fatal(err)
	}
	p, err := web.New(look)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// hashed is the stylesheet's name, which a golden file does not hold.
var hashed = regexp.MustCompile(`style\.[0-9a-f]+\.css`)

// Every page, as it is, in testdata: a change is seen in review.
func TestPages(t *testing.T) {
	p := pages(t)
	const evil = `<script>alert("x")</script>`
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
			got := hashed.ReplaceAllString(rec.Body.String(), "style.css")
			golden := filepath.Join("testdata", name+".html")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s (-update writes it):\n%s", golden, got)
			}

			if strings.Contains(got, evil) {
				t.Error("a value is not escaped")
			}
			for _, attribute := range []string{" style=", " onclick=", " onload=", "javascript:"} {
				if strings.Contains(got, attribute) {
					t.Errorf("the page has %s, which its policy does not allow", attribute)
				}
			}
			policy := rec.Header().Get("Content-Security-Policy")
			script := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindStringSubmatch(got)
			if (script != nil) != strings.Contains(policy, "script-src") || strings.Contains(policy, "unsafe") {
				t.Errorf("policy %q", policy)
			}
			if script != nil {
				sum := sha256.Sum256([]byte(script[1]))
				if !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
					t.Errorf("the policy does not let the page's own script run: %q", policy)
				}
			}
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
