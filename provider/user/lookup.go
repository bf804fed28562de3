package user

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// maxLogin bounds a username or e-mail address, in bytes.
const maxLogin = 255

// ByLogin returns the user with a username or, failing that, an e-mail
// address, in any case of letters; or storage.ErrNotFound. Service accounts do
// not log in.
func ByLogin(tx storage.Tx, realm, login string) (*User, error) {
	login = strings.ToLower(strings.TrimSpace(login))
	if login == "" || len(login) > maxLogin {
		return nil, storage.ErrNotFound
	}
	for _, index := range []string{"username", "email"} {
		row, err := Users.GetBy(tx, realm, index, login)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			continue
		case err != nil:
			return nil, err
		case row.Record.ServiceAccountOf != "":
			return nil, storage.ErrNotFound
		}
		return row.Record, nil
	}
	return nil, storage.ErrNotFound
}

// ServiceAccount returns the service account of a client (by client.Client.ID),
// or storage.ErrNotFound.
func ServiceAccount(tx storage.Tx, realm, client string) (*User, error) {
	rows, err := Users.ListBy(tx, realm, "service_account", client, "", 1)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, storage.ErrNotFound
	}
	return rows[0].Record, nil
}

// EnsureServiceAccount returns the service account of a client and makes it if
// need be, under the given random id. Like every new user it has the default
// roles.
func EnsureServiceAccount(tx storage.Tx, realm, id, client, clientID string, now time.Time) (*User, error) {
	u, err := ServiceAccount(tx, realm, client)
	if !errors.Is(err, storage.ErrNotFound) {
		return u, err
	}
	u = &User{
		ID:               id,
		Username:         "service-account-" + strings.ToLower(clientID),
		Enabled:          true,
		DefaultRoles:     true,
		ServiceAccountOf: client,
		CreatedAt:        now.UTC(),
	}
	if err := Users.Put(tx, realm, id, u); err != nil {
		return nil, fmt.Errorf("making service account of client %s: %w", clientID, err)
	}
	return u, nil
}
