package consent

import (
	"encoding/json"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// Consent is what a user allowed a client.
type Consent struct {
	User   string   `json:"user"`   // user.User.ID
	Client string   `json:"client"` // client.Client.ID
	Scopes []string `json:"scopes"`
	// AuthorizationDetails that were consented to (RFC 9396), as given.
	AuthorizationDetails []json.RawMessage `json:"authorization_details,omitempty"`
	CreatedAt            time.Time         `json:"created_at"`
	UpdatedAt            time.Time         `json:"updated_at"`
}

// Table of consents, by storage id user + "/" + client (see ID).
var Table = storage.Table[Consent]{
	Name: "consent",
	Indexes: map[string]storage.Index[Consent]{
		"user":   {Values: func(c *Consent) []string { return []string{c.User} }},
		"client": {Values: func(c *Consent) []string { return []string{c.Client} }},
	},
}

// ID of the consent of a user to a client.
func ID(user, client string) string { return user + "/" + client }
