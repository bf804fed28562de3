package console

import "net/http"

var settingsRoutes = []route{
	{"/settings", "settings", settingsPage("").show, settingsPage("").save},
	{"/settings/sessions", "settings", settingsPage("sessions").show, settingsPage("sessions").save},
	{"/settings/tokens", "settings", settingsPage("tokens").show, settingsPage("tokens").save},
}

var settingsTabs = []tab{{"", "General"}, {"sessions", "Sessions"}, {"tokens", "Tokens"}}

// settingsFields of each tab, in Keycloak's words.
var settingsFields = map[string][]group{
	"": {{"", []field{
		{member: "displayName", declared: "display_name", label: "Display name", kind: line, hint: "What people see instead of the realm's name."},
		{member: "rememberMe", declared: "remember_me", label: "Remember me", kind: flag, hint: "The login page offers to keep people logged in after they close the browser."},
	}}, {"Guesses", []field{
		{member: "bruteForceProtected", declared: "brute_force_protected", label: "Slow down who guesses passwords", kind: flag},
		{member: "failureFactor", declared: "failure_factor", label: "Failures before waiting", kind: number},
		{member: "waitIncrementSeconds", declared: "wait_increment", label: "Wait increment", kind: span, hint: "Each further wrong password waits longer by this."},
		{member: "maxFailureWaitSeconds", declared: "max_failure_wait", label: "Max wait", kind: span},
		{member: "maxDeltaTimeSeconds", declared: "max_delta_time", label: "Failure reset time", kind: span, hint: "So long after the last wrong password all are forgotten."},
	}}},
	"sessions": {{"SSO Session Settings", []field{
		{member: "ssoSessionIdleTimeout", declared: "sso_session_idle", label: "SSO Session Idle", kind: span, hint: "A login ends when nobody used it for this long."},
		{member: "ssoSessionMaxLifespan", declared: "sso_session_max", label: "SSO Session Max", kind: span, hint: "A login ends after this long, however much it is used."},
		{member: "ssoSessionIdleTimeoutRememberMe", declared: "sso_session_idle_remember_me", label: "SSO Session Idle Remember Me", kind: spanOrInherit},
		{member: "ssoSessionMaxLifespanRememberMe", declared: "sso_session_max_remember_me", label: "SSO Session Max Remember Me", kind: spanOrInherit},
	}}, {"Client session settings", []field{
		{member: "clientSessionIdleTimeout", declared: "client_session_idle", label: "Client Session Idle", kind: spanOrInherit},
		{member: "clientSessionMaxLifespan", declared: "client_session_max", label: "Client Session Max", kind: spanOrInherit},
	}}, {"Offline session settings", []field{
		{member: "offlineSessionIdleTimeout", declared: "offline_session_idle", label: "Offline Session Idle", kind: span, hint: "Background access ends when nothing used it for this long."},
		{member: "clientOfflineSessionIdleTimeout", declared: "client_offline_session_idle", label: "Client Offline Session Idle", kind: spanOrInherit},
		{member: "offlineSessionMaxLifespanEnabled", declared: "offline_session_max_limited", label: "Offline Session Max Limited", kind: flag, hint: "Background access ends after a time, however much it is used."},
		{member: "offlineSessionMaxLifespan", declared: "offline_session_max", label: "Offline Session Max", kind: span},
		{member: "clientOfflineSessionMaxLifespan", declared: "client_offline_session_max", label: "Client Offline Session Max", kind: spanOrInherit},
	}}, {"Login settings", []field{
		{member: "accessCodeLifespanLogin", declared: "login_timeout", label: "Login timeout", kind: span, hint: "From the first page of a login to its end."},
		{member: "accessCodeLifespanUserAction", declared: "login_action_timeout", label: "Login action timeout", kind: span, hint: "For one page of a login."},
	}}},
	"tokens": {{"General", []field{
		{member: "defaultSignatureAlgorithm", declared: "signing_algorithm", label: "Default Signature Algorithm", kind: choice, options: same("RS256", "ES256", "EdDSA"), hint: "Of ID and access tokens, where a client has none of its own."},
	}}, {"Refresh tokens", []field{
		{member: "revokeRefreshToken", declared: "revoke_refresh_token", label: "Revoke Refresh Token", kind: flag, hint: "Each refresh token works once; one that is used again ends its session."},
		{member: "refreshTokenMaxReuse", declared: "refresh_token_max_reuse", label: "Refresh Token Max Reuse", kind: number, hint: "How often the last one may be used again before that."},
	}}, {"Access tokens", []field{
		{member: "accessTokenLifespan", declared: "access_token_lifespan", label: "Access Token Lifespan", kind: span},
		{member: "accessTokenLifespanForImplicitFlow", declared: "access_token_lifespan_implicit", label: "Access Token Lifespan For Implicit Flow", kind: span, hint: "Kept for tools that read it: there is no implicit flow here."},
		{member: "accessCodeLifespan", declared: "code_lifespan", label: "Client Login Timeout", kind: span, hint: "An authorization code has to be used within this."},
	}}},
}

// settingsPage is a tab of the realm's settings, by its address.
type settingsPage string

func (p settingsPage) editor(v *visit) (*editor, error) {
	e := &editor{
		page: Edit{Head: Head{Title: "Realm settings", Tabs: v.tabs("settings", settingsTabs, string(p)), Notice: v.notice()}},
		at:   "settings", groups: settingsFields[string(p)], declared: v.realm.Declared, where: "realm " + v.Settings.Name,
	}
	if p != "" {
		e.at += "/" + string(p)
	}
	return e, v.get(&e.record, "")
}

func (p settingsPage) show(v *visit) error {
	e, err := p.editor(v)
	if err == nil {
		e.show(v)
	}
	return err
}

func (p settingsPage) save(v *visit) error {
	e, err := p.editor(v)
	if err != nil {
		return err
	}
	return e.save(v, func(given object) error { return v.send(http.MethodPut, "", given) })
}
