package session

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// UserSession is a browser login at the provider; its ID is the sid of tokens.
// The cookie holds the ID and a secret whose hash is here.
type UserSession struct {
	ID         string    `json:"id"`
	SecretHash []byte    `json:"secret_hash"`
	User       string    `json:"user"` // user.User.ID
	AuthTime   time.Time `json:"auth_time"`
	Started    time.Time `json:"started"`
	LastAccess time.Time `json:"last_access"`
	IP         string    `json:"ip"`
	Browser    string    `json:"browser"` // User-Agent, at most 256 bytes
	// RememberMe: the user asked for it at the login.
	RememberMe bool `json:"remember_me,omitempty"`
	// Clients that have an online client session in it, by client.Client.ID.
	Clients []string `json:"clients,omitempty"`
}

// ClientSession is what a refresh token points to: one user (or service
// account), one client, one grant. An online one lives in a user session and
// ends with it; an offline one lives on its own ("offline session") and
// remembers in UserSession where it was born.
type ClientSession struct {
	ID          string `json:"id"` // random, 128 bit; the claim offline_session of an offline one
	Offline     bool   `json:"offline,omitempty"`
	User        string `json:"user"`                   // user.User.ID
	Client      string `json:"client"`                 // client.Client.ID
	UserSession string `json:"user_session,omitempty"` // sid; "" for direct and service account grants
	GrantType   string `json:"grant_type"`
	// ExchangedFrom is the client session whose token was exchanged for this one
	// (RFC 8693), which ends with it.
	ExchangedFrom string `json:"exchanged_from,omitempty"`

	Scopes   []string `json:"scopes"` // all that was granted
	Resource []string `json:"resource,omitempty"`
	// AuthorizationDetails (RFC 9396) that the person still consents to; empty, but
	// there, when the last was taken back.
	AuthorizationDetails []json.RawMessage `json:"authorization_details,omitzero"`

	// AuthTime of the login behind it; zero for a service account.
	AuthTime time.Time `json:"auth_time,omitzero"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
	IP       string    `json:"ip"`
	Browser  string    `json:"browser"`

	// Epoch of the client's offline sessions that it began in; see offline.go.
	Epoch uint64 `json:"epoch,omitempty"`

	// Rotation state (see rotation.go). Generation of the newest token, from 1;
	// Uses of its predecessor; RotatedAt is the instant from which the newest
	// token's iat, jti and exp derive; Consumed are hashes of the idempotency
	// keys that consumed the last generations, newest first.
	Generation uint64    `json:"generation"`
	Uses       int       `json:"uses,omitempty"`
	RotatedAt  time.Time `json:"rotated_at"`
	Consumed   [][]byte  `json:"consumed,omitempty"`

	// Status is "" while it works; else why it ended: revoked, reuse_detected,
	// idle_expired, max_expired, logout, user_deleted. An ended session is kept for a while
	// so that a refresh can be told why, out of every listing and count.
	Status  Status    `json:"status,omitempty"`
	EndedAt time.Time `json:"ended_at,omitzero"`
}

// SID is the sid of the session's tokens: the user session that it was born in,
// else its own id.
func (cs *ClientSession) SID() string {
	if cs.UserSession != "" {
		return cs.UserSession
	}
	return cs.ID
}

// All is the one value of the index "all" of UserSessions.
const All = "all"

// UserSessions by sid; indexes "user", "client" and "all", counted, and "address". "accessed" and "started" order by
// the hour, for the sweeper, remembered logins apart from the others.
var UserSessions = storage.Table[UserSession]{
	Name: "user_session",
	Indexes: map[string]storage.Index[UserSession]{
		"user":    {Counted: true, Values: func(s *UserSession) []string { return []string{s.User} }},
		"client":  {Counted: true, Values: func(s *UserSession) []string { return s.Clients }},
		"address": {Values: func(s *UserSession) []string { return []string{s.IP} }},
		// Two rows more for each login, so that an administrator may turn to any page
		// of the list of all.
		"all":      {Counted: true, Values: func(*UserSession) []string { return []string{All} }},
		"accessed": {Values: func(s *UserSession) []string { return []string{memory(s.RememberMe) + hour(s.LastAccess)} }},
		"started":  {Values: func(s *UserSession) []string { return []string{memory(s.RememberMe) + hour(s.Started)} }},
	},
}

// ClientSessions by ID. Indexes over those that have not ended: "offline_user",
// "offline_client" (client + "/" + epoch) and "offline_user_client" (user + "/" +
// client + "/" + epoch), counted, and "offline_address" (client + "/" + epoch + "/" +
// address) list offline sessions (see offline.go);
// "user_session" lists the online ones of a user session by sid. The rest order
// by the hour: "unused" and "idle" offline sessions by last use, within user and
// client, and within client; "created" offline sessions within client; "online"
// the online ones by creation; "ended" all that have ended.
var ClientSessions = storage.Table[ClientSession]{
	Name: "client_session",
	Indexes: map[string]storage.Index[ClientSession]{
		"offline_user":        {Counted: true, Values: offline(func(s *ClientSession) string { return s.User })},
		"offline_client":      {Counted: true, Values: offline(func(s *ClientSession) string { return ofClient(s.Client, s.Epoch) })},
		"offline_user_client": {Counted: true, Values: offline(func(s *ClientSession) string { return ofUserAtClient(s.User, s.Client, s.Epoch) })},
		// One row more for each offline login, which no refresh moves: so that whoever
		// looks for an address in a million need not read them all.
		"offline_address": {Values: offline(func(s *ClientSession) string { return ofClient(s.Client, s.Epoch) + "/" + s.IP })},
		"unused":          {Values: offline(func(s *ClientSession) string { return s.User + "/" + s.Client + "/" + hour(s.LastUsed) })},
		"idle":            {Values: offline(func(s *ClientSession) string { return s.Client + "/" + hour(s.LastUsed) })},
		"created":         {Values: offline(func(s *ClientSession) string { return s.Client + "/" + hour(s.Created) })},
		"user_session":    {Values: online(func(s *ClientSession) string { return s.UserSession })},
		"online":          {Values: online(func(s *ClientSession) string { return hour(s.Created) })},
		"ended": {Values: func(s *ClientSession) []string {
			if s.Status == Working {
				return nil
			}
			return []string{hour(s.EndedAt)}
		}},
	},
}

// memory begins the index values of logins with and without Remember Me.
func memory(remembered bool) string {
	if remembered {
		return "remembered/"
	}
	return "plain/"
}

func offline(value func(*ClientSession) string) func(*ClientSession) []string {
	return func(s *ClientSession) []string {
		if !s.Offline || s.Status != Working {
			return nil
		}
		return []string{value(s)}
	}
}

func online(value func(*ClientSession) string) func(*ClientSession) []string {
	return func(s *ClientSession) []string {
		if v := value(s); !s.Offline && s.Status == Working && v != "" {
			return []string{v}
		}
		return nil
	}
}

// hour of an instant, as an index value that sorts. An hour is fine enough for
// a sweeper, which judges the record, and coarse enough that a session in use
// moves its index rows once in an hour.
func hour(t time.Time) string {
	return fmt.Sprintf("%08d", max(t.Unix()/3600, 0))
}
