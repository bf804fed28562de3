package provider

import (
	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// Indexed are the tables whose index rows a store of an older version may lack:
// Store.Index comes before the first realm.
func Indexed() []storage.Indexed {
	return []storage.Indexed{
		&user.Users, &user.Roles, &client.Clients, &client.Scopes, &session.UserSessions, &session.ClientSessions, &consent.Table, audit.Indexed(),
	}
}
