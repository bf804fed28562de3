package user

import (
	"strings"

	"github.com/nightlatch/nightlatch/provider/oidc"
)

// Claims tells about a user what the granted scopes allow (OpenID Connect Core
// §5.4), the same in ID tokens, access tokens and UserInfo, without sub. roles
// are those of the user that are in the client's scope.
//
//	profile  preferred_username, name, given_name, family_name
//	email    email, email_verified
//	roles    realm_access.roles (as Keycloak has it), groups
func Claims(u *User, roles []string, scopes oidc.Scopes) map[string]any {
	claims := map[string]any{}
	text := func(name, value string) {
		if value != "" {
			claims[name] = value
		}
	}
	if scopes.Has("profile") {
		text("preferred_username", u.Username)
		text("given_name", u.FirstName)
		text("family_name", u.LastName)
		text("name", strings.TrimSpace(u.FirstName+" "+u.LastName))
	}
	if scopes.Has("email") && u.Email != "" {
		claims["email"] = u.Email
		claims["email_verified"] = u.EmailVerified
	}
	if scopes.Has("roles") {
		if roles == nil {
			roles = []string{}
		}
		claims["realm_access"] = map[string]any{"roles": roles}
		if len(u.Groups) > 0 {
			claims["groups"] = u.Groups
		}
	}
	return claims
}
