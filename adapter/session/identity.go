package session

import "slices"

// Identity is who makes a request. The zero value is nobody.
type Identity struct {
	Subject       string         `json:"sub"` // "" for nobody
	Name          string         `json:"name,omitempty"`
	Email         string         `json:"email,omitempty"`
	EmailVerified bool           `json:"email_verified,omitempty"`
	Groups        []string       `json:"groups,omitempty"`
	Roles         []string       `json:"roles,omitempty"`
	Provider      string         `json:"provider,omitempty"`
	Offline       bool           `json:"offline,omitempty"` // background access was granted
	Claims        map[string]any `json:"claims,omitempty"`
}

// HasRole tells whether the identity has a role.
func (i Identity) HasRole(role string) bool { return slices.Contains(i.Roles, role) }

// Anonymous tells that nobody is known to make the request.
func (i Identity) Anonymous() bool { return i.Subject == "" }

// FromClaims reads the identity that ID tokens, access tokens and UserInfo
// tell: preferred_username (else the subject), email, groups, and Keycloak's
// realm_access.roles.
func FromClaims(provider string, claims map[string]any) Identity {
	text := func(name string) string { s, _ := claims[name].(string); return s }
	id := Identity{
		Subject: text("sub"), Name: text("preferred_username"), Email: text("email"), Provider: provider,
		Groups: texts(claims["groups"]), Claims: claims,
	}
	if id.Name == "" {
		id.Name = id.Subject
	}
	id.EmailVerified, _ = claims["email_verified"].(bool)
	if access, ok := claims["realm_access"].(map[string]any); ok {
		id.Roles = texts(access["roles"])
	} else {
		id.Roles = texts(claims["roles"])
	}
	return id
}

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
