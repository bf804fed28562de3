package caddymodule

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestMisdirected: of several sites of a server each gets its own requests, wherever
// ours stands among them, and a host that none of them has gets 421 with a text.
func TestMisdirected(t *testing.T) {
	hosts := []string{"first.localhost", "second.localhost", "third.localhost"}
	for ours := range hosts {
		t.Run(hosts[ours], func(t *testing.T) {
			g := newGateway(t)
			_, port, _ := net.SplitHostPort(g.site)
			var sites strings.Builder
			for i, host := range hosts {
				fmt.Fprintf(&sites, "}\nhttp://%s:%s {\n", host, port)
				if i == ours {
					fmt.Fprintf(&sites, "nightlatch http://%s:%s {\npublic /\n}\n", host, port)
				}
				fmt.Fprintf(&sites, "respond %s\n", host)
			}
			g.site = freeAddr(t) // of a site that is of no matter here
			if err := g.load("", "respond other\n"+sites.String()); err != nil {
				t.Fatal(err)
			}
			ask := func(host string) (int, string) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Host = host
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				return resp.StatusCode, string(body)
			}
			for _, host := range hosts {
				if status, body := ask(host + ":" + port); status != http.StatusOK || body != host {
					t.Errorf("%s answers %d %q", host, status, body)
				}
			}
			for _, host := range []string{"127.0.0.1:" + port, "fourth.localhost", "first.localhost.evil.test"} {
				if status, body := ask(host); status != http.StatusMisdirectedRequest || !strings.Contains(body, "no site of this server") {
					t.Errorf("%s answers %d %q, want 421 with a text", host, status, body)
				}
			}
			for _, s := range servers(t) {
				for _, r := range s.Routes {
					if name := caddy.GetModuleName(r.Handlers[0]); name != "subroute" {
						t.Errorf("Caddy's metrics call a site's route %q", name)
					}
				}
			}
		})
	}
}

func servers(t *testing.T) map[string]*caddyhttp.Server {
	t.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*caddyhttp.App).Servers
}
