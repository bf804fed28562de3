// Package login is how a user proves who he is: the login page.
//
//	GET  /login-actions/authenticate?request=…   the form
//	POST /login-actions/authenticate?request=…   name and password
//
// It owns checking the password, beginning the user session and its cookie. Each
// login gives the browser a fresh cookie; what it had before is worth nothing
// afterwards.
//
// It does not own what the login is for: it reads the waiting
// session.AuthorizationRequest, and sends the browser to "continue"
// (provider/authorize), which decides.
package login
