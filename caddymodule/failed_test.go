package caddymodule

import (
	"net/http"
	"strings"
	"testing"
)

var navigating = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}

// styled is a site with handle_errors for some answers.
func (g *gateway) styled(handleErrors string) string {
	return `nightlatch http://` + g.site + ` {
		access /admin {
			allow role admin
		}
		offline /backup
	}
	error /broken "an upstream's" 502
	respond app
	` + handleErrors
}

// TestHandleErrors: handle_errors of the site takes the place of the pages on which a
// person reads what did not work, with the headers that belong to the answer. Where it
// is not there, does not fit, does not answer or fails, it is our page; programs get
// JSON in any case, and what a person decides stays ours.
func TestHandleErrors(t *testing.T) {
	const styledPage = `respond "styled {err.status_code} {http.nightlatch.error.code} {http.nightlatch.error.title} <{err.message}> [{http.nightlatch.error.again}] [{http.nightlatch.error.logout}] {http.request.uri}"`
	g := newGateway(t)
	for name, c := range map[string]struct {
		handleErrors string
		forbidden    bool // whether it answers 403
		others       bool // whether it answers all others
	}{
		"none":              {"", false, false},
		"all":               {"handle_errors {\n" + styledPage + "\n}", true, true},
		"one status":        {"handle_errors 403 {\n" + styledPage + "\n}", true, false},
		"two blocks":        {"handle_errors 403 {\n" + styledPage + "\n}\nhandle_errors 4xx {\n" + styledPage + "\n}", true, true},
		"other status":      {"handle_errors 418 5xx {\n" + styledPage + "\n}", false, false},
		"falls through":     {"handle_errors {\nheader X-Seen {err.status_code}\n}", false, false},
		"fails":             {"handle_errors {\nroot * " + t.TempDir() + "\nrewrite * /{err.status_code}.html\nfile_server\n}", false, false},
		"by the page asked": {"handle_errors {\n@admin path /admin\nrespond @admin \"styled 403 access_denied This account may not come in <You are logged in as alice, and this account may not use this site.> [] [/.nightlatch/logout] /admin?x=1\"\n}", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := g.load("user alice {\n\tpassword alice-demo\n}", g.styled(c.handleErrors)); err != nil {
				t.Fatal(err)
			}
			http.DefaultTransport.(*http.Transport).CloseIdleConnections()
			alice := g.login("alice", "/")
			for _, ask := range []struct {
				method, path string
				header       []string
				status       int
				json, styled string
				own          string
				always       bool // our page, whatever the site has
			}{
				{
					"GET", "/admin?x=1", append([]string{"Cookie", alice}, navigating...), 403, "",
					"styled 403 access_denied This account may not come in <You are logged in as alice, and this account may not use this site.> [] [/.nightlatch/logout] /admin?x=1",
					"This account may not come in", false,
				},
				{"GET", "/admin?x=1", []string{"Cookie", alice}, 403, `"access_denied"`, "", "", false},
				{"POST", "/", navigating, 401, "", "styled 401 unauthorized Please log in again <You are not logged in any more,", "Please log in again", false},
				{"GET", "/", nil, 401, `"unauthorized"`, "", "", false},
				{"GET", "/.nightlatch/callback?code=x&state=y", navigating, 400, "", "styled 400 invalid_request This did not work <This login has ended", "This login has ended", false},
				{"GET", "/.nightlatch/none", navigating, 404, "", "styled 404 not_found Nothing here <There is no such page here.>", "Nothing here", false},
				{"GET", "/.nightlatch/none", nil, 404, `"not_found"`, "", "", false},
				{"GET", "/.nightlatch/logout", append([]string{"Cookie", alice}, navigating...), 200, "", "", `id="logout"`, true},
			} {
				resp, body := answerOf(t, ask.method, "http://"+g.site+ask.path, ask.header...)
				if resp.StatusCode != ask.status || resp.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s: %d %v", ask.method, ask.path, resp.StatusCode, resp.Header)
				}
				if ask.status == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s %s: no challenge: %v", ask.method, ask.path, resp.Header)
				}
				isStyled, kind := c.others, resp.Header.Get("Content-Type")
				if ask.status == 403 {
					isStyled = c.forbidden
				}
				switch {
				case ask.json != "":
					if kind != "application/json" || !strings.Contains(body, ask.json) {
						t.Errorf("%s %s: a program gets %s %s", ask.method, ask.path, kind, body)
					}
				case isStyled && !ask.always:
					if !strings.HasPrefix(body, ask.styled) {
						t.Errorf("%s %s: %q, want %q", ask.method, ask.path, body, ask.styled)
					}
				case !strings.Contains(body, ask.own) || !strings.Contains(body, "<h1>") || strings.Contains(body, "styled") || resp.Header.Get("Content-Security-Policy") == "":
					t.Errorf("%s %s: %v %s", ask.method, ask.path, resp.Header, body)
				}
			}
			if resp, body := answerOf(t, "GET", "http://"+g.site+"/broken", "Cookie", alice); resp.StatusCode != 502 || name == "all" && body != "styled 502   <an upstream's> [] [] /broken" {
				t.Errorf("an error of another handler: %d %q", resp.StatusCode, body)
			}
			if resp, body := answerOf(t, "GET", "http://"+g.site+"/", "Cookie", alice); resp.StatusCode != 200 || body != "app" {
				t.Errorf("the app: %d %s", resp.StatusCode, body)
			}
		})
	}
}

// TestErrorTextIsNoMarkup: what a person's name holds reaches a site's page escaped.
func TestErrorTextIsNoMarkup(t *testing.T) {
	g := newGateway(t)
	site := g.styled("handle_errors {\nrespond \"<p>{err.message}</p>\"\n}")
	if err := g.load("user \"<b>a&\" {\n\tpassword <b>a&-demo\n}", site); err != nil {
		t.Fatal(err)
	}
	_, body := answerOf(t, "GET", "http://"+g.site+"/admin", append([]string{"Cookie", g.login("<b>a&", "/")}, navigating...)...)
	if want := "<p>You are logged in as &lt;b&gt;a&amp;, and this account may not use this site.</p>"; body != want {
		t.Errorf("%s, want %s", body, want)
	}
}

// TestErrorsOfTwoSites: each site has its own, though they share a server, and one is
// for every host.
func TestErrorsOfTwoSites(t *testing.T) {
	g := newGateway(t)
	_, port, _ := strings.Cut(g.site, ":")
	other := "127.0.0.1:" + port
	site := g.styled("handle_errors 418 {\n\trespond one\n}") +
		"\n}\nhttp://" + other + " {\n\terror 418\n\thandle_errors {\n\t\trespond two\n\t}" +
		"\n}\nhttp://:" + port + " {\n\terror 418\n\thandle_errors {\n\t\trespond three\n\t}"
	if err := g.load("user alice {\n\tpassword alice-demo\n}", site); err != nil {
		t.Fatal(err)
	}
	if resp, body := answerOf(t, "POST", "http://"+g.site+"/", navigating...); resp.StatusCode != 401 || !strings.Contains(body, "Please log in again") {
		t.Errorf("the site that handles 418 alone: %d %s", resp.StatusCode, body)
	}
	if resp, body := answerOf(t, "GET", "http://"+other+"/"); resp.StatusCode != 418 || body != "two" {
		t.Errorf("the other site: %d %s", resp.StatusCode, body)
	}
}
