// Package event names what the provider tells about: who was given, used or lost
// what, when, from where and why. A token, code, secret or password is never
// part of an event.
//
// It does not own what becomes of an event: provider/audit keeps it in the store
// and passes it to a Sink, which the gateway fans out to its log, its metrics,
// its event listeners and the vault.
package event

import (
	"context"
	"strings"
	"time"
)

// Type of an event, in Keycloak's names where it has one.
type Type string

// Types of events.
const (
	Login                 Type = "LOGIN"
	LoginError            Type = "LOGIN_ERROR"
	CodeToToken           Type = "CODE_TO_TOKEN"
	CodeToTokenError      Type = "CODE_TO_TOKEN_ERROR"
	DeviceAuth            Type = "OAUTH2_DEVICE_AUTH" // a device began to wait
	DeviceAuthError       Type = "OAUTH2_DEVICE_AUTH_ERROR"
	DeviceVerify          Type = "OAUTH2_DEVICE_VERIFY_USER_CODE"
	DeviceVerifyError     Type = "OAUTH2_DEVICE_VERIFY_USER_CODE_ERROR"
	DeviceToToken         Type = "OAUTH2_DEVICE_CODE_TO_TOKEN"
	DeviceToTokenError    Type = "OAUTH2_DEVICE_CODE_TO_TOKEN_ERROR"
	ClientLogin           Type = "CLIENT_LOGIN"
	ClientLoginError      Type = "CLIENT_LOGIN_ERROR"
	TokenExchange         Type = "TOKEN_EXCHANGE"
	TokenExchangeError    Type = "TOKEN_EXCHANGE_ERROR"
	RefreshToken          Type = "REFRESH_TOKEN"
	RefreshTokenError     Type = "REFRESH_TOKEN_ERROR"
	RefreshTokenReplay    Type = "REFRESH_TOKEN_REPLAY"  // single use broken; the session was revoked
	RefreshTokenForward   Type = "REFRESH_TOKEN_FORWARD" // a generation ahead of the record: rolled forward
	OfflineSessionStart   Type = "OFFLINE_SESSION_START" // an offline token was issued
	OfflineSessionEnd     Type = "OFFLINE_SESSION_END"   // revoked, logged out, evicted or expired; see Reason
	RevokeGrant           Type = "REVOKE_GRANT"          // a token was revoked, or a consent withdrawn
	RevokeGrantError      Type = "REVOKE_GRANT_ERROR"
	GrantConsent          Type = "GRANT_CONSENT"  // a consent was given
	UpdateConsent         Type = "UPDATE_CONSENT" // more was consented to
	ConsentDenied         Type = "CONSENT_DENIED" // a consent was refused
	Logout                Type = "LOGOUT"         // a user session ended
	LogoutError           Type = "LOGOUT_ERROR"
	IntrospectTokenError  Type = "INTROSPECT_TOKEN_ERROR" // an inactive token was introspected
	UpdateCredential      Type = "UPDATE_CREDENTIAL"      // a password was changed
	UpdateCredentialError Type = "UPDATE_CREDENTIAL_ERROR"
	UpdateProfile         Type = "UPDATE_PROFILE" // a user changed his names or e-mail address
	UserChanged           Type = "USER_CHANGED"   // disabled, deleted, roles or not-before changed
	ClientChanged         Type = "CLIENT_CHANGED" // disabled, enabled, deleted, scopes or not-before changed
	KeysRotated           Type = "KEYS_ROTATED"   // the realm has new signing keys; see Details
	RealmChanged          Type = "REALM_CHANGED"  // not-before or default roles changed

	// What an administrator did; Details has resource_type and resource_path.
	AdminCreate Type = "ADMIN_CREATE"
	AdminUpdate Type = "ADMIN_UPDATE"
	AdminDelete Type = "ADMIN_DELETE"
	AdminAction Type = "ADMIN_ACTION"
)

// Types lists all but the administrators': what a realm can be told to keep.
func Types() []Type {
	return []Type{
		Login, LoginError, CodeToToken, CodeToTokenError, DeviceAuth, DeviceAuthError,
		DeviceVerify, DeviceVerifyError, DeviceToToken, DeviceToTokenError, ClientLogin, ClientLoginError,
		TokenExchange, TokenExchangeError, RefreshToken, RefreshTokenError, RefreshTokenReplay, RefreshTokenForward,
		OfflineSessionStart, OfflineSessionEnd, RevokeGrant, RevokeGrantError, GrantConsent, UpdateConsent,
		ConsentDenied, Logout, LogoutError, IntrospectTokenError, UpdateCredential, UpdateCredentialError,
		UpdateProfile, UserChanged,
		ClientChanged, KeysRotated, RealmChanged,
	}
}

// Admin tells whether an event is about what an administrator did, kept and read
// apart from the others.
func (t Type) Admin() bool { return strings.HasPrefix(string(t), "ADMIN_") }

// Error tells whether an event is about something that was refused.
func (t Type) Error() bool { return strings.HasSuffix(string(t), "_ERROR") }

// Event is one thing that happened. Fields that do not apply are empty.
type Event struct {
	Time           time.Time         `json:"time"`
	Type           Type              `json:"type"`
	Realm          string            `json:"-"`                  // its record is the realm's
	Client         string            `json:"client,omitempty"`   // client_id
	Subject        string            `json:"sub,omitempty"`      // of the user whom it is about; of an Admin event the administrator
	Username       string            `json:"username,omitempty"` // as known, or as somebody typed it
	Session        string            `json:"session,omitempty"`  // sid of the user session
	OfflineSession string            `json:"offline,omitempty"`  // id of a client session with offline access
	IP             string            `json:"ip,omitempty"`       // of who asked
	Reason         string            `json:"reason,omitempty"`   // of an error or an end, e.g. "reuse_detected"
	Details        map[string]string `json:"details,omitempty"`  // scope, grant_type, …
}

// ClientSession is the detail that names a client session without offline access
// which ended: its access tokens carry it.
const ClientSession = "client_session"

// Sink takes events. Emit must not block for long and must not panic.
type Sink interface {
	Emit(ctx context.Context, e Event)
}

// Discard is a Sink for tests and for parts that tell nobody.
var Discard Sink = discard{}

type discard struct{}

func (discard) Emit(context.Context, Event) {}
