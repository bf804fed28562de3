package caddymodule

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// TestKnownHolesOfPaths: known holes of rules that go by a path or a header, through
// Caddy, whose matchers judge and whose placeholders tell the app. alice is logged in
// and no administrator; the path is sent as it stands.
func TestKnownHolesOfPaths(t *testing.T) {
	g := newGateway(t)
	err := g.load("user alice {\n\tpassword alice-demo\n}", `nightlatch http://`+g.site+` {
		public /public/* /open
		header_up X-User {http.auth.user.name}
		access /admin /admin/* {
			allow role admin
		}
	}
	respond "app [{http.auth.user.id}] [{http.request.header.X-User}] [{http.request.header.X_User}]"`)
	if err != nil {
		t.Fatal(err)
	}
	alice := g.login("alice", "/")
	for _, c := range []struct {
		known, path string
		header      []string
		nobody, her int // the answers
	}{
		{"the rule itself", "/admin/a", nil, 401, 403},
		{"path /admin/* does not match /admin", "/admin", nil, 401, 403},
		{"doubled slash", "//admin/a", nil, 401, 403},
		{"other case", "/ADMIN/a", nil, 401, 403},
		{"encoded slash", "/admin%2fa", nil, 401, 403},
		{"dot segments", "/x/../admin/a", nil, 401, 403},
		{"encoded dots", "/x/%2e%2e/admin/a", nil, 401, 403},
		{"dots behind an open path", "/public/../admin/a", nil, 401, 403},
		{"encoded dots behind an open path", "/public/%2e%2e/admin/a", nil, 401, 403},
		{"an encoded slash and dots behind an open path", "/public%2f..%2fadmin/a", nil, 401, 403},
		{"CVE-2025-54576, an open path in the query", "/admin?x=/public/y", nil, 401, 403},
		{"CVE-2026-41059, number sign", "/admin/x%23/public/", nil, 401, 403},
		{"CVE-2026-41059, encoded twice", "/admin/x%2523/../../public", nil, 401, 200}, // it is /public, which the rule leaves open to nobody
		{"CVE-2026-34457, health check's name", "/admin", []string{"User-Agent: GoogleHC/1.0"}, 401, 403},
		{"CVE-2026-40575", "/admin", []string{"X-Forwarded-Uri: /public/x", "X-Original-URL: /public/x", "X-Rewrite-URL: /public/x"}, 401, 403},
		{"method by a header", "/admin", []string{"X-HTTP-Method-Override: OPTIONS"}, 401, 403},
		{"CVE-2026-30851 and CVE-2026-52845, headers on an open path", "/open", []string{"X-User: admin", "X_User: admin", "X.User: admin", "Remote-User: admin"}, 200, 200},
	} {
		for who, want := range map[string]int{"": c.nobody, alice: c.her} {
			lines := append([]string{"GET " + c.path + " HTTP/1.1", "Host: " + g.site, "Connection: close"}, c.header...)
			if who != "" {
				lines = append(lines, "Cookie: "+who)
			}
			status, body := onTheWire(t, g.site, strings.Join(lines, "\r\n")+"\r\n\r\n")
			if status != want {
				t.Errorf("%s: %s gets %d, want %d: %s", c.known, c.path, status, want, body)
			}
			if strings.Contains(body, "http.auth") || strings.Contains(body, "[admin]") || who == "" && status == 200 && !strings.Contains(body, "app [] []") {
				t.Errorf("%s: the app is told %s", c.known, body)
			}
		}
	}
}

// onTheWire sends a request as it stands.
func onTheWire(t *testing.T, addr, request string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for buf := make([]byte, 4096); ; {
		n, err := conn.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if _, err := fmt.Sscanf(all.String(), "HTTP/1.1 %d", &status); err != nil {
		t.Fatalf("%q: %v", all.String(), err)
	}
	return status, all.String()
}

// TestKnownHolesOfAddresses: who may come in by a mail address (CVE-2026-40574,
// CVE-2021-21291).
func TestKnownHolesOfAddresses(t *testing.T) {
	domain, address := Access{Allow: &Who{EmailDomains: []string{"company.com"}}}, Access{Allow: &Who{Emails: []string{"root@company.com"}}}
	for email, want := range map[string][2]bool{
		"a@company.com":              {true, false},
		"root@COMPANY.com":           {true, true},
		"a@evil.test@company.com":    {},
		"root@company.com@evil.test": {},
		"a@evilcompany.com":          {},
		"a@company.com.evil.test":    {},
		"a@sub.company.com":          {},
		"company.com":                {},
		"@company.com":               {true, false}, // no address that a provider verifies
		"a@cоmpany.com":              {},            // a Cyrillic letter
		"a@company.com\n":            {},
		"":                           {},
	} {
		id := session.Identity{Subject: "1", Email: email, EmailVerified: true}
		if got := [2]bool{domain.permits(id), address.permits(id)}; got != want {
			t.Errorf("%q: %v, want %v", email, got, want)
		}
		id.EmailVerified = false
		if domain.permits(id) || address.permits(id) {
			t.Errorf("%q counts although it is not verified", email)
		}
	}
}
