// Package adapter is the Relying Party in front of an app: plain middleware for
// one site and one OpenID Provider, built-in or foreign.
//
//	below /.nightlatch/ (Own):
//	GET        callback    the provider sends the browser back
//	GET, POST  logout      asks, then ends the session here and at the provider
//	GET        logged-out  says that it is done
//	POST       resume      goes on without background access, or tries again
//	GET        userinfo    who is logged in, as JSON
//	GET        certs       public keys of the assertions that the app gets
//	GET        auth        the same question of another proxy: 200, 401, 403 or a login
//	POST       backchannel-logout  the provider ends sessions
//
// It owns: the login (state, nonce, PKCE and the way back in one sealed cookie
// per flow), what of a request is decided (judge.go), bearer tokens, identity,
// the deletion of what a client says about itself, and the pages that go with them.
//
// It does not own browser sessions (adapter/session), offline tokens
// (adapter/vault, behind the interface Grants), which paths are public or
// offline (injected: the server's own matchers decide), nor headers towards the
// app. The gateway makes one RelyingParty for each site.
package adapter
