package caddymodule

var realmOptions = options[Realm]{
	"url":                     text(func(r *Realm) *string { return &r.URL }),
	"display_name":            text(func(r *Realm) *string { return &r.DisplayName }),
	"access_token_lifespan":   span(func(r *Realm) *Duration { return &r.AccessTokenLifespan }),
	"code_lifespan":           span(func(r *Realm) *Duration { return &r.CodeLifespan }),
	"login_timeout":           span(func(r *Realm) *Duration { return &r.LoginTimeout }),
	"sso_session_idle":        span(func(r *Realm) *Duration { return &r.SSOSessionIdle }),
	"sso_session_max":         span(func(r *Realm) *Duration { return &r.SSOSessionMax }),
	"offline_session_idle":    span(func(r *Realm) *Duration { return &r.OfflineSessionIdle }),
	"offline_session_max":     span(func(r *Realm) *Duration { return &r.OfflineSessionMax }),
	"offline_session_limit":   number(1, func(r *Realm, n int) { r.OfflineSessionLimit = n }),
	"revoke_refresh_token":    onOff(func(r *Realm, on bool) { r.RevokeRefreshToken = on }),
	"refresh_token_max_reuse": number(0, func(r *Realm, n int) { r.RefreshTokenMaxReuse = n }),
	"signing_algorithm":       text(func(r *Realm) *string { return &r.SigningAlgorithm }),
	"default_roles":           words(0, func(r *Realm) *[]string { return &r.DefaultRoles }),
	"role":                    named(func(r *Realm) *map[string]*Role { return &r.Roles }, roleOptions),
	"user":                    named(func(r *Realm) *map[string]*User { return &r.Users }, userOptions),
	"client":                  named(func(r *Realm) *map[string]*Client { return &r.Clients }, clientOptions),
}

var roleOptions = options[Role]{
	"description": text(func(r *Role) *string { return &r.Description }),
	"composites":  words(1, func(r *Role) *[]string { return &r.Composites }),
}

var userOptions = options[User]{
	"password":      text(func(u *User) *string { return &u.Password }),
	"password_hash": text(func(u *User) *string { return &u.PasswordHash }),
	"email":         text(func(u *User) *string { return &u.Email }),
	"first_name":    text(func(u *User) *string { return &u.FirstName }),
	"last_name":     text(func(u *User) *string { return &u.LastName }),
	"roles":         words(0, func(u *User) *[]string { return &u.Roles }),
	"groups":        words(1, func(u *User) *[]string { return &u.Groups }),
	"admin":         onOff(func(u *User, on bool) { u.Admin = on }),
}

var clientOptions = options[Client]{
	"name":                     text(func(c *Client) *string { return &c.Name }),
	"public":                   onOff(func(c *Client, on bool) { c.Public = on }),
	"secret":                   text(func(c *Client) *string { return &c.Secret }),
	"jwks":                     text(func(c *Client) *string { return &c.JWKS }),
	"base_url":                 text(func(c *Client) *string { return &c.BaseURL }),
	"redirect_uri":             words(1, func(c *Client) *[]string { return &c.RedirectURIs }),
	"post_logout_redirect_uri": words(1, func(c *Client) *[]string { return &c.PostLogoutRedirectURIs }),
	"web_origins":              words(1, func(c *Client) *[]string { return &c.WebOrigins }),
	"service_account":          onOff(func(c *Client, on bool) { c.ServiceAccount = on }),
	"direct_access_grants":     onOff(func(c *Client, on bool) { c.DirectAccessGrants = on }),
	"device_grant":             onOff(func(c *Client, on bool) { c.DeviceGrant = on }),
	"consent_required":         onOff(func(c *Client, on bool) { c.ConsentRequired = on }),
	"require_pkce":             onOff(func(c *Client, on bool) { c.RequirePKCE = &on }),
	"full_scope":               onOff(func(c *Client, on bool) { c.FullScope = &on }),
	"scope_roles":              words(1, func(c *Client) *[]string { return &c.ScopeRoles }),
	"default_scopes":           words(0, func(c *Client) *[]string { return &c.DefaultScopes }),
	"optional_scopes":          words(0, func(c *Client) *[]string { return &c.OptionalScopes }),
	"signing_algorithm":        text(func(c *Client) *string { return &c.SigningAlgorithm }),
	"access_token_lifespan":    span(func(c *Client) *Duration { return &c.AccessTokenLifespan }),
	"offline_session_idle":     span(func(c *Client) *Duration { return &c.OfflineSessionIdle }),
	"offline_session_max":      span(func(c *Client) *Duration { return &c.OfflineSessionMax }),
	"revoke_refresh_token":     onOff(func(c *Client, on bool) { c.RevokeRefreshToken = &on }),
	"refresh_token_max_reuse":  number(0, func(c *Client, n int) { c.RefreshTokenMaxReuse = &n }),
}
