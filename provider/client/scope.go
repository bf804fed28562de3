package client

import (
	"fmt"
	"slices"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

// builtin are the client scopes that a realm starts with: Keycloak's.
var builtin = []Scope{
	{Name: "basic", Description: "OpenID Connect scope for the basic claims of every token"},
	{Name: "profile", Description: "OpenID Connect built-in scope: profile", ConsentText: "User profile", InToken: true},
	{Name: "email", Description: "OpenID Connect built-in scope: email", ConsentText: "Email address", InToken: true},
	{Name: "address", Description: "OpenID Connect built-in scope: address", ConsentText: "Address", InToken: true},
	{Name: "phone", Description: "OpenID Connect built-in scope: phone", ConsentText: "Phone number", InToken: true},
	{Name: "roles", Description: "OpenID Connect scope for the user's roles", ConsentText: "User roles"},
	{Name: "web-origins", Description: "OpenID Connect scope for allowed web origins"},
	{Name: "acr", Description: "OpenID Connect scope for the authentication context class"},
	{Name: oidc.ScopeOfflineAccess, Description: "OpenID Connect built-in scope: offline_access", ConsentText: "Offline Access",
		InToken: true, Roles: []string{oidc.RoleOfflineAccess}},
}

// EnsureScopes gives a realm that has no client scope yet the built-in ones. A
// realm that has some keeps what its administrators made of them.
func EnsureScopes(tx storage.Tx, realm string) error {
	have, err := ScopeSet(tx, realm)
	if err != nil {
		return err
	}
	put := func(s Scope) error {
		s.ID = NewScope(realm, s.Name).ID
		if err := Scopes.Put(tx, realm, s.Name, &s); err != nil {
			return fmt.Errorf("writing client scope %s: %w", s.Name, err)
		}
		return nil
	}
	for _, s := range have {
		if s.ID == "" { // of a version without ids
			if err := put(*s); err != nil {
				return err
			}
		}
	}
	if len(have) > 0 {
		return nil
	}
	for _, s := range builtin {
		if err := put(s); err != nil {
			return err
		}
	}
	return nil
}

// ScopeSet reads all client scopes of a realm by name: one scan.
func ScopeSet(tx storage.Tx, realm string) (map[string]*Scope, error) {
	const page = 200
	set := map[string]*Scope{}
	for after := ""; ; {
		rows, err := Scopes.ListShared(tx, realm, after, page)
		if err != nil {
			return nil, fmt.Errorf("reading client scopes: %w", err)
		}
		for _, row := range rows {
			set[row.ID] = row.Record
		}
		if len(rows) < page {
			return set, nil
		}
		after = rows[len(rows)-1].ID
	}
}

// Granted is what a request of a user (or service account) at a client yields.
type Granted struct {
	// Scopes that are granted, those outside tokens too; see Visible.
	Scopes oidc.Scopes
	// Roles of the user that are in the client's scope, sorted as given.
	Roles []string
}

// RoleMissing refuses offline access because a role is missing: the user lacks
// it, or it is not in the client's scope.
type RoleMissing struct {
	Role     string
	InClient bool // the client's scope lacks it, the user has it
}

func (e *RoleMissing) Error() string {
	if e.InClient {
		return fmt.Sprintf("offline access needs the role %s, which is not in the scope of this client", e.Role)
	}
	return fmt.Sprintf("offline access needs the role %s, which the user does not have", e.Role)
}

// Evaluate decides what a new grant holds: the requested scopes and the
// client's default scopes. userRoles are all roles of the user, composites
// resolved. A scope that does not exist or is not the client's is invalid_scope
// naming it; offline_access without the role is a *RoleMissing.
func Evaluate(c *Client, scopes map[string]*Scope, userRoles []string, requested oidc.Scopes) (Granted, error) {
	var granted oidc.Scopes
	for _, name := range requested {
		if !assigned(c, scopes, name) {
			return Granted{}, oidc.Errorf(oidc.CodeInvalidScope, "scope %s is not available to this client", name)
		}
		granted = granted.With(name)
	}
	for _, name := range c.DefaultScopes {
		// As in Keycloak, a default offline_access is still only given to who
		// asks for it: not every login of the client is an offline one.
		if scopes[name] != nil && name != oidc.ScopeOfflineAccess {
			granted = granted.With(name)
		}
	}
	return judge(c, scopes, userRoles, granted)
}

// Narrow decides what a refresh yields of what was granted once: all of it, or
// the requested part. Scopes that were taken from the client meanwhile are left
// out. A requested scope that was not granted is invalid_scope. If offline
// access was granted and does not hold any more, nothing else does: the error
// is a *RoleMissing for the role, invalid_grant for the scope. The offline
// session keeps all that was granted, whatever this returns.
func Narrow(c *Client, scopes map[string]*Scope, userRoles []string, granted, requested oidc.Scopes) (Granted, error) {
	var hold oidc.Scopes
	for _, name := range granted {
		if assigned(c, scopes, name) {
			hold = append(hold, name)
		}
	}
	if granted.Has(oidc.ScopeOfflineAccess) {
		if !hold.Has(oidc.ScopeOfflineAccess) {
			return Granted{}, oidc.Errorf(oidc.CodeInvalidGrant, "the client may not use the scope offline_access any more").
				WithGrantStatus("role_missing")
		}
		if _, err := judge(c, scopes, userRoles, hold); err != nil {
			return Granted{}, err
		}
	}
	if len(requested) == 0 {
		return judge(c, scopes, userRoles, hold)
	}
	if lost := hold.Missing(requested); len(lost) > 0 {
		return Granted{}, oidc.Errorf(oidc.CodeInvalidScope, "scope %s was not granted", lost[0])
	}
	return judge(c, scopes, userRoles, requested)
}

// Visible leaves out the scopes that do not belong into a scope claim or a
// token response.
func Visible(scopes map[string]*Scope, s oidc.Scopes) oidc.Scopes {
	var out oidc.Scopes
	for _, name := range s {
		if name == oidc.ScopeOpenID || (scopes[name] != nil && scopes[name].InToken) {
			out = append(out, name)
		}
	}
	return out
}

// assigned tells whether a client may ask for a scope. openid is no client
// scope: it selects the protocol.
func assigned(c *Client, scopes map[string]*Scope, name string) bool {
	if name == oidc.ScopeOpenID {
		return true
	}
	return scopes[name] != nil && (slices.Contains(c.DefaultScopes, name) || slices.Contains(c.OptionalScopes, name))
}

// judge finds the roles that are in the client's scope and holds offline
// access against them.
func judge(c *Client, scopes map[string]*Scope, userRoles []string, granted oidc.Scopes) (Granted, error) {
	if c.NoRefreshTokens { // no refresh token, no offline access: the answer's scope says so
		granted = granted.Without(oidc.ScopeOfflineAccess)
	}
	g := Granted{Scopes: granted}
	for _, role := range userRoles {
		if inScope(c, scopes, granted, role) {
			g.Roles = append(g.Roles, role)
		}
	}
	if granted.Has(oidc.ScopeOfflineAccess) && !slices.Contains(g.Roles, oidc.RoleOfflineAccess) {
		return Granted{}, &RoleMissing{Role: oidc.RoleOfflineAccess, InClient: slices.Contains(userRoles, oidc.RoleOfflineAccess)}
	}
	return g, nil
}

func inScope(c *Client, scopes map[string]*Scope, granted oidc.Scopes, role string) bool {
	if c.FullScope || slices.Contains(c.ScopeRoles, role) {
		return true
	}
	for _, name := range granted {
		if s := scopes[name]; s != nil && slices.Contains(s.Roles, role) {
			return true
		}
	}
	return false
}
