package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser is a Chromium with a fresh profile.
type browser struct {
	t   *testing.T
	ctx context.Context

	pictures string   // what the names of pictures begin with
	pictured []string // pages that docs/screenshots has; nil: all
}

// newBrowser starts Chromium. Without one the test is skipped, or failed where
// NIGHTLATCH_REQUIRE_ALL is set.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("NIGHTLATCH_REQUIRE_ALL") != "" {
			t.Fatal("no Chromium: run make test-deps")
		}
		t.Skip("no Chromium: run make test-deps")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.WindowSize(1280, 900),
	)
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(alloc)
	ctx, cancelTime := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(func() { cancelTime(); cancel(); cancelAlloc() })
	// The first action starts the browser and ties its life to this context.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	return &browser{t: t, ctx: ctx}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.Shot("failure")
		url, _ := chromedp.Run(b.ctx, chromedp.Location())
		text, _ := chromedp.Run(b.ctx, bodyText)
		b.t.Fatalf("browser at %s: %v\n%s", url, err, text)
	}
}

var bodyText = chromedp.Evaluate[string](`document.body.innerText`)

// ask evaluates something on the page.
func ask[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatalf("asking the browser: %v", err)
	}
	return v
}

// Open goes to an address and waits for the page.
func (b *browser) Open(url string) { b.t.Helper(); b.do(chromedp.Navigate(url)) }

// Login fills the login form that the browser is at.
func (b *browser) Login(user, password string) {
	b.t.Helper()
	b.do(
		chromedp.WaitVisible(chromedp.CSS("form#login")),
		chromedp.Clear(chromedp.CSS(`form#login [name="username"]`)),
		chromedp.SendKeys(chromedp.CSS(`form#login [name="username"]`), user),
		chromedp.SendKeys(chromedp.CSS(`form#login [name="password"]`), password),
	)
	b.Shot("login")
	b.Click(`form#login button[type="submit"], form#login input[type="submit"]`)
}

// Click presses something and waits for the page that follows.
func (b *browser) Click(selector string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)))
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		b.t.Fatalf("clicking %s: %v", selector, err)
	}
}

// URL of the page that the browser shows.
func (b *browser) URL() string {
	b.t.Helper()
	return ask(b, chromedp.Location())
}

// Text of the page.
func (b *browser) Text() string {
	b.t.Helper()
	return ask(b, bodyText)
}

// Has tells whether the page has an element.
func (b *browser) Has(selector string) bool {
	b.t.Helper()
	return ask(b, chromedp.Evaluate[int](`document.querySelectorAll(`+strconv.Quote(selector)+`).length`)) > 0
}

// Wants fails unless the page holds a text.
func (b *browser) Wants(text string) {
	b.t.Helper()
	if got := b.Text(); !strings.Contains(got, text) {
		b.Shot("failure")
		b.t.Fatalf("page %s lacks %q:\n%s", b.URL(), text, got)
	}
}

// Shot saves a picture of the page where NIGHTLATCH_SHOTS names a folder.
func (b *browser) Shot(name string) {
	dir := os.Getenv("NIGHTLATCH_SHOTS")
	if dir == "" {
		return
	}
	if png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot()); err == nil {
		_ = os.MkdirAll(dir, 0o755)
		_ = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(b.t.Name()+"-"+name, "/", "_")+".png"), png, 0o644)
	}
}
