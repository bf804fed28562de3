package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// fits checks that the page needs no sideways scrolling on the narrowest phone
// and on a wide screen, and that axe finds nothing to complain about in the light
// and in the dark; it takes pictures where NIGHTLATCH_SHOTS says so.
func (b *browser) fits(name string) {
	b.t.Helper()
	for _, width := range []int64{320, 360, 1440} {
		b.do(chromedp.EmulateViewport(width, 900))
		if over := ask(b, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`)); over > 0 {
			b.t.Errorf("%s is %d pixels too wide at %d", name, over, width)
		}
		if width == 320 {
			continue
		}
		for _, scheme := range []string{"light", "dark"} {
			b.do(colors(scheme))
			b.accessible(fmt.Sprintf("%s, %s, %d pixels wide", name, scheme, width))
			b.Shot(fmt.Sprintf("%s-%d-%s", name, width, scheme))
			b.picture(name, width, scheme)
		}
	}
	b.do(colors("light"), chromedp.EmulateReset())
}

// picture saves what docs/screenshots shows of a page where NIGHTLATCH_SCREENSHOTS
// names that folder: wide in the light, and as on a phone in the dark.
func (b *browser) picture(name string, width int64, scheme string) {
	dir := os.Getenv("NIGHTLATCH_SCREENSHOTS")
	switch {
	case dir == "" || b.pictured != nil && !slices.Contains(b.pictured, name):
		return
	case width == 360 && scheme == "dark":
		name += "-360-dark"
	case width != 1440 || scheme != "light":
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, b.pictures+strings.ReplaceAll(name, "/", "-")+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// colors is what a person has chosen in the system, media any such choice.
func colors(scheme string) chromedp.Action[chromedp.Void] {
	return media("prefers-color-scheme", scheme)
}

func media(name, value string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: name, Value: value}},
		})
		return err
	})
}

// accessible has axe look at the page.
func (b *browser) accessible(name string) {
	b.t.Helper()
	script := readFile(b.t, filepath.Join(nodeModules(b.t, "axe"), "node_modules", "axe-core", "axe.min.js"))
	ask(b, chromedp.Evaluate[int](script+";0"))
	found := ask(b, chromedp.Evaluate[struct {
		Passes     int
		Violations []string
	}](`axe.run().then(r => ({Passes: r.passes.length, Violations: r.violations.map(v => v.impact + " " + v.id + ": " + v.nodes.map(n => n.target).join(", "))}))`,
		chromedp.EvalAwaitPromise))
	if found.Passes < 10 {
		b.t.Errorf("%s: axe passed %d rules; it says nothing", name, found.Passes)
	}
	for _, v := range found.Violations {
		b.t.Errorf("%s: %s", name, v)
	}
}

// TestAccountConsole: a person looks at what may act for her, takes it back, and
// the job gets nothing any more.
func TestAccountConsole(t *testing.T) {
	g := newGateway(t, example(t))
	g.Start()
	b := newBrowser(t)
	b.Open(g.URL("http://localhost:8081/backup"))
	b.Login("alice", "alice-demo")
	if !b.Has(`form#consent a[href="/realms/demo/account"], .offline a[href="/realms/demo/account"]`) {
		t.Error("the consent page does not say where it can be taken back")
	}
	b.Click(`form#consent [name="accept"]`)
	r := g.Token("alice")
	if r.Code != 0 {
		t.Fatalf("before: %+v", r)
	}
	token := strings.TrimSpace(r.Stdout)

	// Gone home; from another browser it is the realm's login first.
	b = newBrowser(t)
	b.Open(g.URL("http://localhost:8080/realms/demo/account"))
	b.Login("alice", "alice-demo")
	if want := g.URL("http://localhost:8080/realms/demo/account"); b.URL() != want {
		t.Fatalf("the browser ended on %s, want %s", b.URL(), want)
	}
	b.pictures = "account-"
	b.Wants("portal")
	b.Wants("nightly-backup")
	if !b.Has(`a[href*="job=nightly-backup"]`) {
		t.Error("the job cannot be removed alone")
	}
	b.fits("access")

	b.Click(`a[href*="/account/remove?application="]`)
	b.Wants("These jobs stop working for you")
	b.Wants("nightly-backup")
	b.fits("remove")
	if r := g.Token("alice"); r.Code != 0 {
		t.Fatalf("looking at the question ended it: %+v", r)
	}
	b.Click(`form#remove button[type="submit"]`)
	b.Wants("No application has background access")
	b.fits("removed")
	for _, page := range []string{"sessions", "sign-out", "applications", "password", "profile", "activity"} {
		b.Open(g.URL("http://localhost:8080/realms/demo/account/" + page))
		b.Wants("Alice Liddell")
		b.fits(page)
	}

	if r := g.Token("alice"); r.Code != 3 || r.Stdout != "" {
		t.Errorf("the job after the removal: %+v", r)
	}
	if resp, body := get(t, g.URL("http://localhost:8081/api/whoami"), http.Header{"Authorization": {"Bearer " + token}}); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the app still takes the token: %d %s", resp.StatusCode, body)
	}
}
