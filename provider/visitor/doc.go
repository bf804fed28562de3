// Package visitor receives people at the pages of a console: it tells who is
// logged in, sends whoever is not to the login and back, and makes and checks the
// CSRF proofs of the console's forms.
//
// It does not own a page, nor what somebody may do there. provider/account and
// provider/console call it.
package visitor
