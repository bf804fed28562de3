package provider_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/nightlatch/nightlatch/provider"
)

// TestDisplayName: pages carry the name that the realm has now, errors too.
func TestDisplayName(t *testing.T) {
	w := newWorld(t)
	titled := func(address, want string) {
		t.Helper()
		page, _ := w.browser().open("GET", address, nil)
		if !strings.Contains(page.body, `<span class="owner">`+want) || !strings.Contains(page.body, " · "+want+"</title>") {
			t.Errorf("%s is not of %s:\n%s", address, want, page.body)
		}
	}
	titled(authURL("reports", "openid"), "demo")
	w.console().put("", map[string]any{"displayName": "Our <house>"}).is(http.StatusNoContent)
	titled(authURL("reports", "openid"), "Our &lt;house&gt;")
	titled(issuer+"/nowhere", "Our &lt;house&gt;")
	titled(accountURL, "Our &lt;house&gt;")
	w.console().put("", map[string]any{"displayName": ""}).is(http.StatusNoContent)
	titled(authURL("reports", "openid"), "demo")
}

// TestLanguages: ui_locales of the request hold for all pages of a login (OpenID
// Connect Core §3.1.2.1), before the browser's languages, and what programs read
// stays English.
func TestLanguages(t *testing.T) {
	w := newWorld(t)
	w.folder = fstest.MapFS{"messages/de.json": {Data: []byte(`{
		"Log in": "Anmelden", "Username or password is wrong.": "Name oder Passwort ist falsch.", "Allow access?": "Zugriff erlauben?",
		"User profile": "Profil", "Nothing here": "Hier ist nichts", "There is no such page here.": "Diese Seite gibt es nicht.",
		"This form is not valid in this browser any more; go back to the application and begin again.": "Dieses Formular gilt nicht mehr."}`)}}
	w.restart()
	b := w.browser()
	page, _ := b.open("GET", authURL("reports", "openid profile", "ui_locales", "fr de", "prompt", "login consent"), nil)
	if page.header.Get("Content-Language") != "de" || !strings.Contains(page.body, `<html lang="de"`) || !strings.Contains(page.body, "<h1>Anmelden</h1>") {
		t.Errorf("login: %v\n%s", page.header, page.body)
	}
	page, _ = b.submit(page, "login", url.Values{"username": {"alice"}, "password": {"wrong"}})
	if !strings.Contains(page.body, "Name oder Passwort ist falsch.") {
		t.Errorf("wrong password:\n%s", page.body)
	}
	page, _ = b.submit(page, "login", url.Values{"username": {"alice"}, "password": {"alice-pw"}})
	if !strings.Contains(page.body, "Zugriff erlauben?") || !strings.Contains(page.body, "<li>Profil</li>") {
		t.Errorf("consent:\n%s", page.body)
	}
	for accept, want := range map[string]string{"de-CH": "Diese Seite gibt es nicht.", "en": "There is no such page here.", "": "There is no such page here."} {
		r := httptest.NewRequest("GET", issuer+"/nowhere", nil)
		r.Header.Set("Accept-Language", accept)
		if got := w.do(r); !strings.Contains(got.body, want) {
			t.Errorf("%q:\n%s", accept, got.body)
		}
	}
	r := newForm(issuer + "/protocol/openid-connect/token")
	r.Header.Set("Accept-Language", "de")
	if got := w.do(r); got.header.Get("Content-Language") != "" || got.text("error") == "" {
		t.Errorf("a program is answered %v %s", got.header, got.body)
	}
	page, _ = w.browser().open("GET", authURL("reports", "openid", "ui_locales", strings.Repeat("de ", 200)), nil)
	if page.status != http.StatusOK || page.header.Get("Content-Language") != "en" {
		t.Errorf("too many: %d %v", page.status, page.header)
	}
}

// TestFolder: each template of the realm can be replaced, no two have one name,
// and those that are embedded bear all that their views may hold.
func TestFolder(t *testing.T) {
	all := fstest.MapFS{}
	for _, of := range []string{"../page", "../page/parts", "web/templates", "account/templates", "console/templates"} {
		files, err := fs.Glob(os.DirFS(of), "*.html")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v %v", of, files, err)
		}
		for _, file := range files {
			if all[file] != nil {
				t.Errorf("%s is there twice", file)
			}
			content, err := fs.ReadFile(os.DirFS(of), file)
			if err != nil {
				t.Fatal(err)
			}
			all[file] = &fstest.MapFile{Data: content}
		}
	}
	if err := provider.CheckPages(all); err != nil {
		t.Error(err)
	}
	for file, was := range all {
		if file == "_padlock.html" || file == "loggedout.html" {
			continue // they have no view
		}
		all[file] = &fstest.MapFile{Data: append([]byte("{{.Nothing}}\n"), was.Data...)}
		if err := provider.CheckPages(all); err == nil || !strings.Contains(err.Error(), file+":1:") {
			t.Errorf("a wrong %s: %v", file, err)
		}
		all[file] = was
	}
	all["lgoin.html"] = &fstest.MapFile{}
	if err := provider.CheckPages(all); err == nil {
		t.Error("a mistyped name is taken")
	}
	if err := provider.CheckPages(unreadable{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("an unreadable folder: %v", err)
	}
}

type unreadable struct{}

func (unreadable) Open(string) (fs.File, error) { return nil, fs.ErrPermission }
