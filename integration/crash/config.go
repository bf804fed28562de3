package main

import (
	"fmt"
	"strings"
)

// password of every user: they exist in this run only.
const password = "crash-demo"

// realmConfig: single use with no reuse, and access tokens so short that every
// ask has to refresh. The realm's public address is the proxy's.
func realmConfig(proxy, addr, app string, users []string) string {
	var declared strings.Builder
	for _, u := range users {
		fmt.Fprintf(&declared, "\t\t\tuser %s {\n\t\t\t\tpassword %s\n\t\t\t\temail %[1]s@example.com\n\t\t\t}\n", u, password)
	}
	return fmt.Sprintf(`{
	admin off
	default_bind 127.0.0.1
	nightlatch {
		store badger ./data
		realm crash {
			url http://%s
			access_token_lifespan 1s
			revoke_refresh_token on
			refresh_token_max_reuse 0
			signing_algorithm ES256
%s			client files {
				secret files-demo
				redirect_uri http://%s/.nightlatch/callback
			}
		}
	}
}
http://%s {
	nightlatch_provider
}
`, proxy, declared.String(), app, addr)
}

// gatewayConfig: a site and the jobs' address; the realm is somebody else's
// provider, found by discovery.
func gatewayConfig(proxy, app, jobs string) string {
	return fmt.Sprintf(`{
	admin off
	default_bind 127.0.0.1
	nightlatch {
		store badger ./data
		provider elsewhere http://%s/realms/crash {
			client_id files
			client_secret files-demo
		}
		job nightly {
			secret nightly-demo
			users *
			scopes openid profile
		}
	}
}
http://%[2]s {
	nightlatch http://%[2]s {
		provider elsewhere
		allow any
		offline /backup
	}
	respond "hello"
}
http://%[3]s {
	nightlatch_tokens
}
`, proxy, app, jobs)
}
