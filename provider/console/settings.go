package console

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

var settingsRoutes = []route{
	editing("/settings", "settings", settingsPage("").editor),
	editing("/settings/sessions", "settings", settingsPage("sessions").editor),
	editing("/settings/tokens", "settings", settingsPage("tokens").editor),
	editing("/settings/events", "settings", settingsPage("events").editor),
}

var settingsTabs = []tab{{"", "General"}, {"sessions", "Sessions"}, {"tokens", "Tokens"}, {"events", "Events"}}

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
		{member: "ssoSessionIdleTimeoutRememberMe", declared: "sso_session_idle_remember_me", label: "SSO Session Idle Remember Me", kind: spanOrInherit, hint: "Of logins with Remember me, if it is longer. Empty: SSO Session Idle."},
		{member: "ssoSessionMaxLifespanRememberMe", declared: "sso_session_max_remember_me", label: "SSO Session Max Remember Me", kind: spanOrInherit, hint: "Of logins with Remember me, if it is longer. Empty: SSO Session Max."},
	}}, {"Client session settings", []field{
		{member: "clientSessionIdleTimeout", declared: "client_session_idle", label: "Client Session Idle", kind: spanOrInherit, hint: "Of one client within a login, which goes on. Empty: SSO Session Idle."},
		{member: "clientSessionMaxLifespan", declared: "client_session_max", label: "Client Session Max", kind: spanOrInherit, hint: "Of one client within a login, which goes on. Empty: SSO Session Max."},
	}}, {"Offline session settings", []field{
		{member: "offlineSessionIdleTimeout", declared: "offline_session_idle", label: "Offline Session Idle", kind: span, hint: "Background access ends when nothing used it for this long."},
		{member: "clientOfflineSessionIdleTimeout", declared: "client_offline_session_idle", label: "Client Offline Session Idle", kind: spanOrInherit, hint: "For clients without one of their own, if it is shorter. Empty: Offline Session Idle."},
		{member: "offlineSessionMaxLifespanEnabled", declared: "offline_session_max_limited", label: "Offline Session Max Limited", kind: flag, hint: "Background access ends after a time, however much it is used."},
		{member: "offlineSessionMaxLifespan", declared: "offline_session_max", label: "Offline Session Max", kind: span, hint: "From the offline login on. Counts only while it is limited."},
		{member: "clientOfflineSessionMaxLifespan", declared: "client_offline_session_max", label: "Client Offline Session Max", kind: spanOrInherit, hint: "Empty: Offline Session Max. Counts only while that is limited."},
		{member: "attributes.offlineSessionLimit", declared: "offline_session_limit", label: "Offline sessions of one user at one client", kind: number, hint: "At the next offline login beyond it the longest unused ends, but never one that was used within 7 days."},
	}}, {"Login settings", []field{
		{member: "accessCodeLifespanLogin", declared: "login_timeout", label: "Login timeout", kind: span, hint: "From the first page of a login to its end."},
		{member: "accessCodeLifespanUserAction", declared: "login_action_timeout", label: "Login action timeout", kind: span, hint: "For one page of a login."},
	}}},
	"events": {{"User events settings", []field{
		{member: "eventsEnabled", declared: "events_enabled", label: "Save events", kind: flag, hint: "What people and applications did: logins, refreshes, what was revoked."},
		{member: "eventsExpiration", declared: "events_expiration", label: "Expiration", kind: spanOrInherit, hint: "Events are deleted after this, those of administrators too. Empty: never."},
		{member: "enabledEventTypes", declared: "enabled_event_types", label: "Saved types", kind: lines, hint: "One a line, such as REFRESH_TOKEN. Empty: every type."},
	}}, {"Admin events settings", []field{
		{member: "adminEventsEnabled", declared: "admin_events_enabled", label: "Save events", kind: flag, hint: "Who changed what here or by the REST."},
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
		page: Edit{Head: Head{Title: v.T("Realm settings"), Tabs: v.tabs("settings", settingsTabs, string(p)), Notice: v.notice()}},
		at:   "settings", groups: settingsFields[string(p)], declared: v.realm.Declared, where: "realm " + v.Settings.Name,
	}
	if p != "" {
		e.at += "/" + string(p)
	}
	if p == "sessions" {
		e.page.Hint = v.T("Sessions are judged by the settings of now: a shorter limit ends at once what is beyond it.")
	}
	e.ask = func(given object) ([]string, error) { return v.shortened(e.record, given) }
	e.send = func(given object) error { return v.send(http.MethodPut, "", given) }
	return e, v.get(&e.record, "")
}

// shortened says what ends by limits that are shorter than those of now, nil if
// none is: sessions are judged by the settings of now.
func (v *visit) shortened(now, given object) ([]string, error) {
	of := func(record object, member string) int64 {
		n, err := strconv.ParseInt(plain(record[member]), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	// shorter tells whether any limit is; one that is 0 inherits from another.
	shorter := func(members ...string) bool {
		return slices.ContainsFunc(members, func(m string) bool {
			to, changed := given[m]
			if !changed {
				return false
			}
			was, is := of(now, m), of(object{m: to}, m)
			if strings.HasSuffix(m, "RememberMe") {
				return is < was // it counts where it is the longer one
			}
			return is > 0 && (was <= 0 || is < was)
		})
	}
	limited := func(record object) bool { return record["offlineSessionMaxLifespanEnabled"] == true }
	after := maps.Clone(now)
	maps.Copy(after, given)
	logins := shorter("ssoSessionIdleTimeout", "ssoSessionMaxLifespan", "ssoSessionIdleTimeoutRememberMe", "ssoSessionMaxLifespanRememberMe",
		"clientSessionIdleTimeout", "clientSessionMaxLifespan")
	unused := shorter("offlineSessionIdleTimeout", "clientOfflineSessionIdleTimeout")
	old := limited(after) && (!limited(now) || shorter("offlineSessionMaxLifespan", "clientOfflineSessionMaxLifespan"))
	if !logins && !unused && !old {
		return nil, nil
	}
	t, err := v.totals()
	if err != nil {
		return nil, err
	}
	return v.endsBeyond(logins, unused, old, t.Regular, t.Offline), nil
}

// endsBeyond says what ends by a shorter limit of logins, of offline sessions that
// nothing uses, and of old ones, of so many as there are.
func (v *visit) endsBeyond(logins, unused, old bool, regular, offline int) (then []string) {
	if logins {
		then = append(then, v.N(regular, "Of %d regular session it ends if it is beyond the new limit.", "Of %d regular sessions those end that are beyond the new limit."))
	}
	if unused {
		then = append(then, v.N(offline, "Of %d offline session it ends if nothing used it for longer than the new limit.", "Of %d offline sessions those end that nothing used for longer than the new limit."))
	}
	if old {
		then = append(then, v.N(offline, "Of %d offline session it ends if it is older than the new limit, however much it is used.", "Of %d offline sessions those end that are older than the new limit, however much they are used."))
	}
	return append(then, v.T("That is in force at once, and a longer limit afterwards brings nothing back."))
}
