// Package userinfo is the UserInfo endpoint (OpenID Connect Core §5.3): claims
// about the user of an access token that has the scope openid, as they are now.
//
// It does not own the judgement of the token (provider/standing) nor the claims
// (provider/user). provider.go mounts Handler at
// …/protocol/openid-connect/userinfo. One request costs one signature check, two
// Views and no write.
package userinfo
