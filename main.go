// Command nightlatch is Caddy with Nightlatch's modules compiled in: an OpenID
// Provider, the client adapter in front of the apps, and the vault that keeps
// their offline tokens for background jobs.
package main

import (
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/nightlatch/nightlatch/caddymodule"
)

func main() {
	caddy.CustomBinaryName = "nightlatch"
	caddy.CustomLongDescription = `Nightlatch gives the apps behind a Caddy server offline access: people log in
with their browser, and background jobs get short-lived access tokens on their
behalf long after they have gone home.

	nightlatch run --config Caddyfile           start
	nightlatch reload --config Caddyfile        change a running server, losing nothing
	nightlatch validate --config Caddyfile      check a file; opens no store
	nightlatch grants token --user alice        be a job
	nightlatch store backup <file>              back up; more in docs/operators.md

It is Caddy with more modules: every command and module of Caddy is there.`
	caddycmd.Main()
	// A command that validated and found every part valid comes here.
	if err := caddymodule.Unstartable(); err != nil {
		fmt.Fprintln(os.Stderr, "Error: this configuration would not start:", err)
		os.Exit(caddy.ExitCodeFailedStartup)
	}
}
