package user

import (
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/oidc"
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
	Managed   bool      `json:"managed,omitempty"`  // declared by configuration
	Declared  []string  `json:"declared,omitempty"` // fields that it declares, read-only elsewhere
	// DeclaredPassword fingerprints the declaration that last set the password,
	// so that it is set again only when the declaration changes.
	DeclaredPassword string `json:"declared_password,omitempty"`
	// DeclaredRoles is the declaration that last gave roles, for the same reason.
	DeclaredRoles string `json:"declared_roles,omitempty"`
	// Retired: it left the configuration, which disabled it; Undeclared if it had
	// been enabled until then.
	Retired    bool `json:"retired,omitempty"`
	Undeclared bool `json:"undeclared,omitempty"`
}

// ReadOnly names the fields, by their JSON, that the configuration declares now:
// the next start would undo any other change of them.
func (u *User) ReadOnly() []string {
	if u.Retired {
		return nil
	}
	return u.Declared
}

// Role is a realm role; having it means having its composites too.
type Role struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Composites  []string `json:"composites,omitempty"`
	Declared    []string `json:"declared,omitempty"` // fields that the configuration declares, read-only elsewhere
}

// NewRole makes the record of a role of a realm, not yet written.
func NewRole(realm, name string) *Role {
	return &Role{ID: oidc.NamedID("role", realm, name), Name: name}
}

// People is the one value of the index "people".
const People = "people"

// Users by ID; unique indexes "username" and "email" (lower case), index
// "service_account" by client, "role" by the roles given directly. Service
// accounts apart, "people" counts all, "name" orders them by username and "names" by
// each name and the address (lower case).
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
		"role":   {Counted: true, Values: func(u *User) []string { return u.Roles }},
		"people": {Counted: true, Values: person(func(*User) string { return People })},
		"name":   {Values: person(func(u *User) string { return strings.ToLower(u.Username) })},
		"names": {Values: func(u *User) []string {
			if u.ServiceAccountOf != "" {
				return nil
			}
			return names(u)
		}},
		"service_account": {Values: func(u *User) []string {
			if u.ServiceAccountOf == "" {
				return nil
			}
			return []string{u.ServiceAccountOf}
		}},
	},
}

func person(value func(*User) string) func(*User) []string {
	return func(u *User) []string {
		if u.ServiceAccountOf != "" {
			return nil
		}
		return []string{value(u)}
	}
}

// Roles of a realm by name; the unique index "id" finds one by its ID.
var Roles = storage.Table[Role]{
	Name: "role",
	Indexes: map[string]storage.Index[Role]{
		"id": {Unique: true, Values: func(r *Role) []string {
			if r.ID == "" {
				return nil
			}
			return []string{r.ID}
		}},
	},
}
