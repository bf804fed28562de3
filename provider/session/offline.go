package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/storage"
)

// All offline sessions of a client end at once when its record counts one epoch
// more: a session of an earlier one is revoked (Check), out of its client's
// counts and lists, and deleted by the sweeper in its own time. So revoking a
// hundred thousand costs one write, and is in force when it is on disk.

// epochOf is how index values have an epoch; they sort by it.
func epochOf(n uint64) string { return fmt.Sprintf("%010d", n) }

func ofClient(id string, epoch uint64) string { return id + "/" + epochOf(epoch) }

func ofUserAtClient(user, id string, epoch uint64) string { return user + "/" + ofClient(id, epoch) }

// beyond is greater than every index value that begins with the same part.
const beyond = "\xff"

// CountOffline tells how many offline sessions a client has, without a scan.
func CountOffline(tx storage.Tx, realm string, c *client.Client) (int, error) {
	return ClientSessions.Count(tx, realm, "offline_client", ofClient(c.ID, c.OfflineEpoch))
}

// PageOffline lists offline sessions of a client in the order of their ids, from
// the first-th on; it reads little of what lies before them.
func PageOffline(tx storage.Tx, realm string, c *client.Client, first, limit int) ([]storage.Row[ClientSession], error) {
	return ClientSessions.PageBy(tx, realm, "offline_client", ofClient(c.ID, c.OfflineEpoch), first, limit)
}

// ListOffline is PageOffline behind an id.
func ListOffline(tx storage.Tx, realm string, c *client.Client, after string, limit int) ([]storage.Row[ClientSession], error) {
	return ClientSessions.ListBy(tx, realm, "offline_client", ofClient(c.ID, c.OfflineEpoch), after, limit)
}

// CountOfflineOf tells how many offline sessions a user has at a client.
func CountOfflineOf(tx storage.Tx, realm, user string, c *client.Client) (int, error) {
	return ClientSessions.Count(tx, realm, "offline_user_client", ofUserAtClient(user, c.ID, c.OfflineEpoch))
}

// ListOfflineOf lists offline sessions of a user at a client behind an id.
func ListOfflineOf(tx storage.Tx, realm, user string, c *client.Client, after string, limit int) ([]storage.Row[ClientSession], error) {
	return ClientSessions.ListBy(tx, realm, "offline_user_client", ofUserAtClient(user, c.ID, c.OfflineEpoch), after, limit)
}

// PageOfflineOf is ListOfflineOf by offset.
func PageOfflineOf(tx storage.Tx, realm, user string, c *client.Client, first, limit int) ([]storage.Row[ClientSession], error) {
	return ClientSessions.PageBy(tx, realm, "offline_user_client", ofUserAtClient(user, c.ID, c.OfflineEpoch), first, limit)
}

// OfflineClients returns the clients at which a user has offline sessions, in
// the order of their IDs. It reads one index row of each, not the sessions.
func OfflineClients(tx storage.Tx, realm, user string) ([]*client.Client, error) {
	var out []*client.Client
	err := distinct(tx, realm, "offline_user_client", user+"/", func(id string) error {
		c, err := client.Clients.Get(tx, realm, id)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		n, err := CountOfflineOf(tx, realm, user, c)
		if n > 0 {
			out = append(out, c)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing clients of a user: %w", err)
	}
	return out, nil
}

// distinct calls fn with each client whose sessions an index lists under values
// of the form prefix + client + "/" + epoch.
func distinct(tx storage.Tx, realm, index, prefix string, fn func(clientID string) error) error {
	for from := prefix; ; {
		entries, err := ClientSessions.Between(tx, realm, index, storage.Entry{Value: from}, prefix+beyond, 1)
		if err != nil || len(entries) == 0 {
			return err
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(entries[0].Value, prefix), "/")
		if err := fn(id); err != nil {
			return err
		}
		from = prefix + id + "/" + beyond
	}
}

// WithdrawDetails rewrites the authorization details of a user's offline sessions
// at a client, of at most EndBatch of them: keep says what is left of each.
func WithdrawDetails(tx storage.Tx, realm, user, client string, keep func([]json.RawMessage) []json.RawMessage) error {
	ids, err := offlineIDs(tx, realm, user, client)
	if err != nil {
		return err
	}
	for _, id := range ids {
		cs, err := ClientSessions.Get(tx, realm, id)
		if errors.Is(err, storage.ErrNotFound) || err == nil && cs.AuthorizationDetails == nil {
			continue
		}
		if err != nil {
			return err
		}
		cs.AuthorizationDetails = keep(cs.AuthorizationDetails)
		if err := Keep(tx, realm, cs); err != nil {
			return err
		}
	}
	return nil
}
