// Package logout is the end session endpoint (OpenID Connect RP-Initiated Logout
// 1.0) and Keycloak's logout of a single session by its refresh token.
//
//	GET, POST /protocol/openid-connect/logout                  from a browser
//	POST      /protocol/openid-connect/logout refresh_token=…  from a client
//	POST      /login-actions/logout                            the confirmation
//
// A browser is logged out without a question only if id_token_hint proves that
// the application knows its session. It is sent back to a registered address of
// the client that such a hint names, or whose logout the user has confirmed.
// Offline sessions live on (O31).
//
// It does not own revocation (provider/revoke) nor what ends with a user session
// (provider/session).
package logout
