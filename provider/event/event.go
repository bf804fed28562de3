// Package event names what the provider tells the outside about: who was given,
// used or lost what, when, from where and why. A token, code, secret or
// password is never part of an event.
//
// It does not own what becomes of an event: a Sink is injected, and the
// gateway fans it out to its log, its metrics, its event listeners and the
// vault. Endpoints emit after their transaction has committed, never inside.
package event

import (
	"context"
	"time"
)

// Type of an event, in Keycloak's names where it has one.
type Type string

// Types of events.
const (
	Login                Type = "LOGIN"
	LoginError           Type = "LOGIN_ERROR"
	CodeToToken          Type = "CODE_TO_TOKEN"
	CodeToTokenError     Type = "CODE_TO_TOKEN_ERROR"
	DeviceAuth           Type = "OAUTH2_DEVICE_AUTH" // a device began to wait
	DeviceAuthError      Type = "OAUTH2_DEVICE_AUTH_ERROR"
	DeviceVerify         Type = "OAUTH2_DEVICE_VERIFY_USER_CODE"
	DeviceVerifyError    Type = "OAUTH2_DEVICE_VERIFY_USER_CODE_ERROR"
	DeviceToToken        Type = "OAUTH2_DEVICE_CODE_TO_TOKEN"
	DeviceToTokenError   Type = "OAUTH2_DEVICE_CODE_TO_TOKEN_ERROR"
	ClientLogin          Type = "CLIENT_LOGIN"
	ClientLoginError     Type = "CLIENT_LOGIN_ERROR"
	RefreshToken         Type = "REFRESH_TOKEN"
	RefreshTokenError    Type = "REFRESH_TOKEN_ERROR"
	RefreshTokenReplay   Type = "REFRESH_TOKEN_REPLAY"   // single use broken; the session was revoked
	RefreshTokenForward  Type = "REFRESH_TOKEN_FORWARD"  // a generation ahead of the record: rolled forward
	OfflineSessionStart  Type = "OFFLINE_SESSION_START"  // an offline token was issued
	OfflineSessionEnd    Type = "OFFLINE_SESSION_END"    // revoked, logged out, evicted or expired; see Reason
	RevokeGrant          Type = "REVOKE_GRANT"           // a consent was withdrawn
	GrantConsent         Type = "GRANT_CONSENT"          // a consent was given
	ConsentDenied        Type = "CONSENT_DENIED"         // a consent was refused
	Logout               Type = "LOGOUT"                 // a user session ended
	IntrospectTokenError Type = "INTROSPECT_TOKEN_ERROR" // an inactive token was introspected
	UserChanged          Type = "USER_CHANGED"           // disabled, deleted, roles or not-before changed
	ClientChanged        Type = "CLIENT_CHANGED"         // disabled, deleted, scopes or not-before changed
	KeysRotated          Type = "KEYS_ROTATED"           // the realm has new signing keys; see Details
)

// Event is one thing that happened. Fields that do not apply are empty.
type Event struct {
	Time           time.Time
	Type           Type
	Realm          string
	Client         string // client_id
	Subject        string // sub
	Username       string
	Session        string // sid of the user session
	OfflineSession string
	IP             string
	Reason         string            // of an error or an end, e.g. "reuse_detected"
	Details        map[string]string // scope, grant_type, …
}

// Sink takes events. Emit must not block for long and must not panic.
type Sink interface {
	Emit(ctx context.Context, e Event)
}

// Discard is a Sink for tests and for parts that tell nobody.
var Discard Sink = discard{}

type discard struct{}

func (discard) Emit(context.Context, Event) {}
