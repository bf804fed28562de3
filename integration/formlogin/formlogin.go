// Package formlogin logs a person in at a site's path as a browser without
// scripts would: it follows redirects, keeps cookies, and fills in the forms
// "login" and "consent" by their names.
//
// It does not own what a real browser shows; those tests drive Chromium. The
// programs that load and break the gateway from outside use it (bench, crash).
package formlogin

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

var (
	formTag  = regexp.MustCompile(`(?s)<form[^>]*id="(login|consent)"[^>]*>.*?</form>`)
	actionAt = regexp.MustCompile(`<form[^>]*action="([^"]*)"`)
	inputTag = regexp.MustCompile(`<input[^>]*>`)
	attrName = regexp.MustCompile(`name="([^"]*)"`)
	attrVal  = regexp.MustCompile(`value="([^"]*)"`)
)

// maxForms: login and consent, both once more for a provider that gives an offline
// token to prompt=consent only, the site's own consent page, and one for a form
// that is shown again.
const maxForms = 6

// Login opens a site's page, fills in what it is shown, and returns the cookies
// that it came back to the site with. An error quotes the page that it got stuck
// on, so log in test users only.
func Login(ctx context.Context, page, username, password string) ([]*http.Cookie, error) {
	return LoginSlowly(ctx, page, username, password, func() {})
}

// LoginSlowly is Login of somebody who does something else before each form is
// sent.
func LoginSlowly(ctx context.Context, page, username, password string, meanwhile func()) ([]*http.Cookie, error) {
	site, err := url.Parse(page)
	if err != nil {
		return nil, fmt.Errorf("parsing page: %w", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Jar: jar, Timeout: 20 * time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return nil, err
	}
	at, text, err := do(client, req)
	for range maxForms {
		if err != nil {
			return nil, err
		}
		form := formTag.FindStringSubmatch(text)
		if form == nil {
			break
		}
		meanwhile()
		if req, err = submit(ctx, at, form[0], form[1], username, password); err != nil {
			return nil, err
		}
		at, text, err = do(client, req)
	}
	if err != nil {
		return nil, err
	}
	if at.Host != site.Host || at.Path != site.Path || formTag.MatchString(text) {
		return nil, fmt.Errorf("the login ended on %s%s: %.300s", at.Host, at.Path, text)
	}
	return jar.Cookies(site), nil
}

// do sends a request as a browser does that goes to another page; redirects keep
// the headers.
func do(client *http.Client, req *http.Request) (*url.URL, string, error) {
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.Request.URL, string(text), err
}

// submit fills in a form: name and password, or consent.
func submit(ctx context.Context, at *url.URL, form, id, username, password string) (*http.Request, error) {
	values := url.Values{}
	for _, in := range inputTag.FindAllString(form, -1) {
		if n := attrName.FindStringSubmatch(in); n != nil {
			values.Set(n[1], attr(attrVal, in))
		}
	}
	if id == "login" {
		values.Set("username", username)
		values.Set("password", password)
	} else {
		values.Set("accept", "yes")
	}
	action, err := at.Parse(attr(actionAt, form))
	if err != nil {
		return nil, fmt.Errorf("parsing action of form: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, action.String(), strings.NewReader(values.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req, nil
}

func attr(re *regexp.Regexp, tag string) string {
	if m := re.FindStringSubmatch(tag); m != nil {
		return html.UnescapeString(m[1])
	}
	return ""
}
