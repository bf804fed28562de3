// Command nightlatch is Caddy with Nightlatch's modules compiled in: an OpenID
// Provider, the client adapter in front of the apps, and the vault that keeps
// their offline tokens for background jobs.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
