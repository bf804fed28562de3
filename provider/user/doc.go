// Package user owns the people of a realm and its service accounts: their
// records, how a password is hashed and verified, which realm roles somebody
// has, and which claims tell about them.
//
// It does not own sessions, consents, or what a client may see: the login page
// and the grants call it inside their transactions, passwords are hashed
// outside of them.
package user
