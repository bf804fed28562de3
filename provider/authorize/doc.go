// Package authorize is the authorization endpoint (RFC 6749 §3.1, OpenID Connect
// Core §3.1.2): it validates requests, decides what stands between a request and
// its code, and shows the consent page.
//
//	GET  /protocol/openid-connect/auth          a request begins
//	POST /protocol/openid-connect/auth          the same, turned into a GET
//	GET  /login-actions/continue?request=…      goes on after a login
//	POST /login-actions/consent?request=…       the consent page answers
//
// A request that has to wait for its user is kept as a
// session.AuthorizationRequest; provider/login sends the browser back to
// "continue", and provider/device sends it there for a device, whose record gets
// the answer that otherwise goes to a redirect URI. None of them knows another:
// the record and the addresses are all they share.
//
// It does not own how a user proves who he is (provider/login), what a client
// may ask for (provider/client), nor the code's exchange (provider/grant).
package authorize
