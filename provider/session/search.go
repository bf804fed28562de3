package session

import (
	"fmt"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/storage"
)

// Filter says which offline sessions of a client somebody looks for. What is zero
// leaves none out.
type Filter struct {
	User string // user.User.ID
	// Address from which the person agreed; the beginning of one, if it ends in *.
	Address    string
	IssuedFrom time.Time
	IssuedTo   time.Time // inclusive
	UsedFrom   time.Time
	UsedTo     time.Time // inclusive
}

// Zero tells that it leaves none out.
func (f Filter) Zero() bool { return f == Filter{} }

func (f Filter) fits(cs *ClientSession) bool {
	begin, any := strings.CutSuffix(f.Address, "*")
	return (f.User == "" || cs.User == f.User) &&
		(f.Address == "" || cs.IP == f.Address || any && strings.HasPrefix(cs.IP, begin)) &&
		within(cs.Created, f.IssuedFrom, f.IssuedTo) && within(cs.LastUsed, f.UsedFrom, f.UsedTo)
}

func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || !t.After(to))
}

// Found is a part of what a search finds.
type Found struct {
	Sessions []ClientSession
	Looked   int    // sessions that were looked at
	Next     string // where the search goes on; "" at its end
}

// searchBudget is how many sessions one part of a search looks at, at most: some
// 20 ms of reading, whatever is looked for.
const searchBudget = 500

// SearchOffline looks for offline sessions of a client, at most limit of them, in
// the order of the index that leaves out most: by person, by address, or by the
// hour. It looks at a bounded number of sessions, so a part may have few, or none,
// and yet a Next, from which after goes on; storage.ErrCursor refuses another after. A session of an epoch that is over is
// never found.
func SearchOffline(tx storage.Tx, realm string, c *client.Client, f Filter, after string, limit int) (Found, error) {
	index, from, to := f.index(c)
	at := storage.Entry{Value: from}
	if after != "" {
		var err error
		if at, err = storage.ParseEntry(after); err != nil || at.Value < from || at.Value > to {
			return Found{}, storage.ErrCursor
		}
	}
	var out Found
	for {
		want := min(searchBudget-out.Looked, 200)
		entries, err := ClientSessions.Between(tx, realm, index, at, to, want)
		if err != nil {
			return Found{}, fmt.Errorf("searching offline sessions: %w", err)
		}
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i] = e.ID
		}
		rows, err := ClientSessions.GetMany(tx, realm, ids)
		if err != nil {
			return Found{}, fmt.Errorf("searching offline sessions: %w", err)
		}
		for i, row := range rows {
			out.Looked++
			at = entries[i]
			if cs := row.Record; cs.Client == c.ID && cs.Epoch == c.OfflineEpoch && f.fits(cs) {
				out.Sessions = append(out.Sessions, *cs)
			}
			if len(out.Sessions) == limit {
				break
			}
		}
		switch {
		case len(out.Sessions) == limit || out.Looked >= searchBudget:
			// Nothing is to be read behind it if the last entry is the last of all.
			rest, err := ClientSessions.Between(tx, realm, index, at, to, 1)
			if err == nil && len(rest) > 0 {
				out.Next = at.String()
			}
			return out, err
		case len(entries) < want:
			return out, nil
		}
	}
}

// index is the one that leaves out most, with the values between which the search
// goes.
func (f Filter) index(c *client.Client) (name, from, to string) {
	hours := func(a, b time.Time) (from, to string) {
		from, to = c.ID+"/", c.ID+"/"+beyond
		if !a.IsZero() {
			from += hour(a)
		}
		if !b.IsZero() {
			to = c.ID + "/" + hour(b)
		}
		return from, to
	}
	switch {
	case f.User != "":
		from = ofUserAtClient(f.User, c.ID, c.OfflineEpoch)
		return "offline_user_client", from, from
	case f.Address != "":
		from, to = startingWith(ofClient(c.ID, c.OfflineEpoch)+"/", f.Address)
		return "offline_address", from, to
	case span(f.UsedFrom, f.UsedTo) < span(f.IssuedFrom, f.IssuedTo):
		from, to = hours(f.UsedFrom, f.UsedTo)
		return "idle", from, to
	}
	from, to = hours(f.IssuedFrom, f.IssuedTo)
	return "created", from, to
}

// span is the length of a time in seconds; one without a beginning begins in 1970,
// one without an end ends in the year 9999.
func span(from, to time.Time) int64 {
	begin, end := int64(0), int64(253402300799)
	if !from.IsZero() {
		begin = from.Unix()
	}
	if !to.IsZero() {
		end = to.Unix()
	}
	return end - begin
}

// LoginsAt lists user sessions by the address that they began at, or how it begins,
// if address ends in *; behind an entry.
func LoginsAt(tx storage.Tx, realm, address string, after storage.Entry, limit int) ([]storage.Entry, error) {
	from, to := startingWith("", address)
	if after.ID == "" {
		after.Value = from
	}
	return UserSessions.Between(tx, realm, "address", after, to, limit)
}

// OfflineAt is LoginsAt for the offline sessions of a client.
func OfflineAt(tx storage.Tx, realm string, c *client.Client, address string, after storage.Entry, limit int) ([]storage.Entry, error) {
	from, to := startingWith(ofClient(c.ID, c.OfflineEpoch)+"/", address)
	if after.ID == "" {
		after.Value = from
	}
	return ClientSessions.Between(tx, realm, "offline_address", after, to, limit)
}

// startingWith are the first and the last index value of an address, or of those
// that begin so.
func startingWith(prefix, address string) (from, to string) {
	begin, any := strings.CutSuffix(address, "*")
	from = prefix + begin
	if any {
		return from, from + beyond
	}
	return from, from
}
