// Package account is the account console: where people see what may act for
// them, and take it back.
//
//	GET       /account               background access: applications and their grants
//	GET, POST /account/remove        what a removal ends; ends it
//	GET       /account/sessions      logins
//	GET, POST /account/sign-out      what a sign-out ends; ends it
//	GET       /account/applications  what was consented to
//	GET, POST /account/password      a new password
//	GET, POST /account/profile       names and e-mail address
//	GET       /account/activity      the person's own events
//
// Keycloak's account REST lies beneath it, for access tokens whose audience is
// account; times are as Keycloak has them:
//
//	GET         /account                                the profile
//	GET         /account/applications?name=             clients, with offlineAccess
//	GET, DELETE /account/applications/{client}/consent  what a client was allowed
//	GET, DELETE /account/sessions?current=              logins; all others, or all
//	DELETE      /account/sessions/{id}                  one
//	GET         /account/credentials                    the password
//
// It owns these pages: their templates, a typed view for each, and in words.go
// all that is said to people besides. Who is not logged in goes to the realm's
// login page and comes back; the console knows people by the realm's browser
// session alone. A GET changes nothing, a POST proves by its CSRF token that it
// came from a page of this session.
//
// It does not own what ends with what (provider/standing), nor any record.
// provider.go mounts Handler.
package account
