// Package introspect is the introspection endpoint (RFC 7662): it tells a
// confidential client whether an access, refresh or offline token works now, by
// the session behind it and the settings of now, and what is in it. To a client
// that the token was neither issued to nor meant for, it does not.
//
// It does not own the judgement (provider/standing, provider/session) nor the
// tokens (provider/token). provider.go mounts Handler at
// …/protocol/openid-connect/token/introspect. One request costs two Views, no
// write and at most two signature checks.
package introspect
