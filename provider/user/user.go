package user

import (
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// User is a person, or the service account of a client.
type User struct {
	ID            string   `json:"id"` // the sub, random
	Username      string   `json:"username"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"email_verified,omitempty"`
	FirstName     string   `json:"first_name,omitempty"`
	LastName      string   `json:"last_name,omitempty"`
	Enabled       bool     `json:"enabled"`
	PasswordHash  string   `json:"password_hash,omitempty"` // argon2id, PHC string
	Roles         []string `json:"roles,omitempty"`         // realm roles given directly
	// DefaultRoles adds the realm's default roles to Roles.
	DefaultRoles bool     `json:"default_roles,omitempty"`
	Groups       []string `json:"groups,omitempty"`
	// ServiceAccountOf is the ID of the client whose service account this is.
	ServiceAccountOf string `json:"service_account_of,omitempty"`
	// NotBefore refuses what was issued for the user earlier, in Unix
	// milliseconds; 0: off.
	NotBefore int64     `json:"not_before,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	Managed   bool      `json:"managed,omitempty"` // declared by configuration
	// DeclaredPassword fingerprints the declaration that last set the password,
	// so that it is set again only when the declaration changes.
	DeclaredPassword string `json:"declared_password,omitempty"`
	// DeclaredRoles is the declaration that last gave roles, for the same reason.
	DeclaredRoles string `json:"declared_roles,omitempty"`
	// Undeclared: enabled until it left the configuration, which disabled it.
	Undeclared bool `json:"undeclared,omitempty"`
}

// Role is a realm role; having it means having its composites too.
type Role struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Composites  []string `json:"composites,omitempty"`
}

// Users by ID; unique indexes "username" and "email" (lower case), index
// "service_account" by client.
var Users = storage.Table[User]{
	Name: "user",
	Indexes: map[string]storage.Index[User]{
		"username": {Unique: true, Values: func(u *User) []string { return []string{strings.ToLower(u.Username)} }},
		"email": {Unique: true, Values: func(u *User) []string {
			if u.Email == "" {
				return nil
			}
			return []string{strings.ToLower(u.Email)}
		}},
		"service_account": {Values: func(u *User) []string {
			if u.ServiceAccountOf == "" {
				return nil
			}
			return []string{u.ServiceAccountOf}
		}},
	},
}

// Roles of a realm by name.
var Roles = storage.Table[Role]{Name: "role"}
