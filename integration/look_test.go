package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// dressed is the demo with a name, a logo and German.
func dressed(t *testing.T) string {
	t.Helper()
	data, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	look := "\n\t\t\tlogo " + filepath.Join(data, "look.svg") + "\n\t\t\ttemplates " + filepath.Join(data, "look") + "\n"
	config := strings.Replace(example(t), "url http://localhost:8080\n", "url http://localhost:8080\n\t\t\tdisplay_name \"Our house\""+look, 1)
	return strings.Replace(config, "client_id portal\n", "client_id portal\n"+look, 1)
}

// wider is the demo with a client for devices, and a site with two realms to choose
// from.
func wider(t *testing.T) string {
	t.Helper()
	config := example(t)
	for was, is := range map[string]string{
		"\t\t\t\tservice_account\n":  "\t\t\t\tservice_account\n\t\t\t\tdevice_grant\n",
		"\t\tjob nightly-backup {\n": "\t\trealm second {\n\t\t\turl http://localhost:8084\n\t\t}\n\t\tjob nightly-backup {\n\t\t\tprovider demo\n",
		"\t\tclient_id portal\n":     "\t\tclient_id portal\n\t\tprovider demo\n",
		"\tnightlatch_provider\n":    "\tnightlatch_provider demo\n",
	} {
		if !strings.Contains(config, was) {
			t.Fatalf("the demo has no %q", was)
		}
		config = strings.Replace(config, was, is, 1)
	}
	return config + `
http://localhost:8084 {
	nightlatch_provider second
}
http://localhost:8083 {
	nightlatch http://localhost:8083 {
		provider demo second
		client_id both
		name Portal
	}
	respond "both"
}
`
}

// TestLook walks every page outside the consoles: each is accessible in the light
// and in the dark, needs no sideways scrolling, and is worked by the keyboard.
func TestLook(t *testing.T) {
	g := newGateway(t, wider(t))
	g.Start()
	realm, site := g.URL("http://localhost:8080/realms/demo"), g.URL("http://localhost:8081")
	b := newBrowser(t)
	look := func(name, wants string) {
		t.Helper()
		b.Wants(wants)
		b.fits(name)
		b.tabs(name)
	}

	b.Open(realm + "/protocol/openid-connect/auth?client_id=nobody&response_type=code")
	look("error", "This application is not known here")
	b.Open(g.URL("http://localhost:8083/"))
	look("choose", "Choose where you have an account")

	b.Open(site + "/backup")
	look("login", "to go on to portal")
	b.Login("alice", "wrong")
	look("login-failed", "Username or password is wrong")
	b.Login("alice", "alice-demo")
	look("consent", "nightly-backup may act for you")
	b.Click(`form#consent [name="cancel"]`)
	look("refused", "You did not allow it")
	b.Click(`form#resume [name="again"]`)
	b.Click(`form#consent [name="accept"]`)
	b.Wants("Hello alice")
	b.Open(site + "/.nightlatch/jobs")
	look("site-jobs", "nightly-backup may act for you")
	b.Open(site + "/.nightlatch/nowhere")
	look("failure", "There is no such page here")

	b.Open(realm + "/device")
	look("device", "Type the code")
	b.do(chromedp.SendKeys(chromedp.CSS("#user_code"), "BCDF-BCDF"))
	b.Click(`form#device button`)
	look("device-failed", "This code is wrong")
	b.Open(g.device(realm))
	b.Click(`form#device button`)
	look("device-consent", "Does yours not")
	b.Click(`form#consent [name="accept"]`)
	look("device-done", "Your device is connected")

	b.Open(site + "/.nightlatch/logout")
	look("site-logout", "You are logged in as alice")
	b.Open(site + "/.nightlatch/logged-out")
	look("site-logged-out", "Back to the start page")
	b.Open(realm + "/protocol/openid-connect/logout")
	look("logout", "Background access that you allowed stays")
	b.Click(`form#logout button`)
	look("logged-out", "You are logged out")

	// From a wall: a wide screen does not stretch the page, and it can be read.
	b.do(chromedp.EmulateViewport(3840, 2160))
	if width := ask(b, chromedp.Evaluate[float64](`document.querySelector("main").getBoundingClientRect().width`)); width > 800 {
		t.Errorf("the page is %v pixels wide on a screen of 3840", width)
	}
	if size := ask(b, chromedp.Evaluate[float64](`parseFloat(getComputedStyle(document.body).fontSize)`)); size < 20 {
		t.Errorf("the text is %v pixels high on a screen of 3840", size)
	}
	b.do(chromedp.EmulateReset())

	// Nothing moves for who does not want it.
	const moving = `[...document.querySelectorAll("*")].filter(e => getComputedStyle(e).transitionDuration != "0s" || getComputedStyle(e).animationName != "none").length`
	b.Open(realm + "/device")
	b.do(media("prefers-reduced-motion", "no-preference"))
	if ask(b, chromedp.Evaluate[int](moving)) == 0 {
		t.Error("nothing moves at all: the check says nothing")
	}
	b.do(media("prefers-reduced-motion", "reduce"))
	if n := ask(b, chromedp.Evaluate[int](moving)); n > 0 {
		t.Errorf("%d elements move for who does not want it", n)
	}
}

// device asks as a device does, and returns the address that it shows.
func (g *gateway) device(realm string) string {
	g.t.Helper()
	resp, err := http.PostForm(realm+"/protocol/openid-connect/auth/device", url.Values{"client_id": {"reports"}, "client_secret": {"reports-demo"}})
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Address string `json:"verification_uri_complete"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		g.t.Fatalf("a device asks: %s %v", resp.Status, err)
	}
	return answer.Address
}

// TestKeyboard logs in, consents, and takes it back without a mouse.
func TestKeyboard(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8081/backup"))
	b.do(chromedp.WaitVisible(chromedp.CSS("form#login")), chromedp.KeyEvent("alice"))
	b.tabTo("#password")
	b.do(chromedp.KeyEvent("alice-demo"))
	b.enter()
	b.tabTo(`form#consent [name="accept"]`)
	b.enter()
	b.Wants("Hello alice")

	b.Open(g.URL("http://localhost:8080/realms/demo/account"))
	b.press(kb.Tab)
	if skip := ask(b, chromedp.Evaluate[bool](`document.activeElement.matches(".skip") && document.activeElement.getBoundingClientRect().left >= 0`)); !skip {
		t.Error("the first tab does not show the link to the content")
	}
	b.press(kb.Enter)
	if at := ask(b, chromedp.Evaluate[string](`document.activeElement.id`)); at != "content" {
		t.Errorf("the link to the content leads to %q", at)
	}
	b.tabTo(`a[href*="/account/remove?application="]`)
	b.enter()
	b.tabTo(`form#remove button[type="submit"]`)
	b.enter()
	b.Wants("No application has background access")
}

// TestGerman: a file in the operator's folder brings another language, which the
// application may ask for, on the pages of the realm, of the site and of the
// account.
func TestGerman(t *testing.T) {
	g := newGateway(t, dressed(t))
	g.Start()
	german := http.Header{"Accept-Language": {"de-AT, en;q=0.5"}, "Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
	for address, want := range map[string]string{
		"http://localhost:8080/realms/demo/nowhere":    "Diese Seite gibt es hier nicht.",
		"http://localhost:8081/.nightlatch/nowhere":    "Startseite",
		"http://localhost:8081/.nightlatch/nowhere?en": "Hier ist nichts",
	} {
		if resp, body := get(t, g.URL(address), german); !strings.Contains(body, want) {
			t.Errorf("%s: %v %s", address, resp.Header, body)
		}
	}
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8080/realms/demo/protocol/openid-connect/auth?client_id=public-demo&response_type=code&scope=openid+offline_access&ui_locales=de&redirect_uri=" +
		url.QueryEscape("http://localhost:8089/callback") + "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"))
	b.Wants("Benutzername oder E-Mail")
	if lang := ask(b, chromedp.Evaluate[string](`document.documentElement.lang`)); lang != "de" {
		t.Errorf("lang is %q", lang)
	}
	if !b.Has(`header img.logo[alt]`) || ask(b, chromedp.Evaluate[int](`document.querySelector("img.logo").naturalWidth`)) == 0 {
		t.Error("the page does not show the logo")
	}
	b.Wants("Our house")
	b.fits("login-german")
	b.Login("alice", "wrong")
	b.Wants("Benutzername oder Passwort ist falsch.")
}

// TestBadTemplates: a reload with a template that would fail before people is
// refused with its file and line, and the old pages go on.
func TestBadTemplates(t *testing.T) {
	g := newGateway(t, example(t))
	folder := filepath.Join(g.Dir, "pages")
	write := func(content string) {
		t.Helper()
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "login.html"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("<h1>Ours: {{.Client}}</h1>\n<form id=login method=post action=\"{{.Action}}\"></form>")
	config := strings.Replace(example(t), "url http://localhost:8080\n", "url http://localhost:8080\n\t\t\ttemplates pages\n", 1)
	g.WriteConfig(config)
	g.Start()
	login := func() string {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Jar: jar}).Get(g.URL("http://localhost:8080/realms/demo/account"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if body := login(); !strings.Contains(body, "<h1>Ours: Account") {
		t.Fatalf("the folder's page is not shown:\n%s", body)
	}
	write("<h1>Ours</h1>\n{{if .Problem}}\n{{.Cause}}{{end}}")
	if r := g.Run(nil, "reload", "--config", "Caddyfile", "--address", g.admin, "--force"); r.Code == 0 || !strings.Contains(r.Stderr, "login.html:3:") || !strings.Contains(r.Stderr, "Cause") {
		t.Errorf("reload: %+v", r)
	}
	if body := login(); !strings.Contains(body, "<h1>Ours: Account") {
		t.Errorf("after the reload:\n%s", body)
	}
}

// press hits one key.
func (b *browser) press(key string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(key))
}

// enter presses what has the focus, and waits for the page that follows.
func (b *browser) enter() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
		b.t.Fatalf("pressing Enter: %v", err)
	}
}

// tabTo moves the focus by the tabulator.
func (b *browser) tabTo(selector string) {
	b.t.Helper()
	for range 60 {
		b.press(kb.Tab)
		if ask(b, chromedp.Evaluate[bool](fmt.Sprintf(`document.activeElement.matches(%q)`, selector))) {
			return
		}
	}
	b.t.Fatalf("no tabulator leads to %s at %s", selector, b.URL())
}

// tabs checks that the tabulator reaches everything on the page that can be used,
// and that the focus is seen wherever it is.
func (b *browser) tabs(name string) {
	b.t.Helper()
	all := ask(b, chromedp.Evaluate[int](`(() => {
		document.activeElement.blur();
		window.getSelection().collapse(document.body, 0);
		window.reachable = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea")].filter(e => e.checkVisibility());
		return reachable.length;
	})()`))
	var reached []int
	for range all + 2 {
		b.press(kb.Tab)
		at := ask(b, chromedp.Evaluate[struct {
			Index   int
			Visible bool
		}](`(() => {
			const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
			return {Index: reachable.indexOf(e), Visible: s.outlineStyle != "none" && parseFloat(s.outlineWidth) >= 2 && r.left >= 0 && r.width > 0};
		})()`))
		if at.Index < 0 {
			continue
		}
		if !at.Visible {
			b.t.Errorf("%s: the focus on %s is not seen", name, ask(b, chromedp.Evaluate[string](`document.activeElement.outerHTML`)))
		}
		if !slices.Contains(reached, at.Index) {
			reached = append(reached, at.Index)
		}
	}
	if len(reached) != all {
		b.t.Errorf("%s: the tabulator reaches %d of %d", name, len(reached), all)
	}
}
