// Package revoke is the revocation endpoint (RFC 7009). A refresh or offline
// token ends the session that it points to and with it everything made from it
// (O64); an access token ends alone.
//
// It does not own sessions (provider/session) nor the record of revoked access
// tokens (provider/standing). provider.go mounts Handler at
// …/protocol/openid-connect/revoke. One request costs one View and one Update.
package revoke
