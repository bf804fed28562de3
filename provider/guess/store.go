package guess

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// record is a Count in the store, so that all nodes count together.
type record struct {
	Count
	Known   bool      `json:"known,omitempty"` // somebody has logged in from here
	Expires time.Time `json:"expires"`
}

var records = storage.Table[record]{
	Name:    "guess",
	Expires: func(r *record) time.Time { return r.Expires },
}

// slots bounds the records of one kind: whoever tries a name, or a network, for
// each guess fills no store. Two that share a slot are slowed together, those alone
// whom nobody knows there.
const slots = 1 << 20

func slot(kind, value string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + value))
	return fmt.Sprintf("%s/%05x", kind, binary.BigEndian.Uint32(sum[:])%slots)
}

// counter is one record as a transaction found it.
type counter struct {
	id     string
	policy Policy
	record record
	found  bool
}

func read(tx storage.Tx, realm, id string, p Policy) (counter, error) {
	c := counter{id: id, policy: p}
	r, err := records.Get(tx, realm, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return c, nil
	case err != nil:
		return c, fmt.Errorf("reading guesses: %w", err)
	}
	c.record, c.found = *r, true
	return c, nil
}

func (c *counter) write(tx storage.Tx, realm string) error {
	if err := records.Put(tx, realm, c.id, &c.record); err != nil {
		return fmt.Errorf("writing guesses: %w", err)
	}
	return nil
}

// wrong counts one more.
func (c *counter) wrong(tx storage.Tx, realm string, now time.Time) error {
	c.record.Count = c.policy.Add(c.record.Count, now)
	if until := c.record.Last.Add(c.policy.Forget); until.After(c.record.Expires) {
		c.record.Expires = until
	}
	return c.write(tx, realm)
}

// Attempt is a try to log in with a password. Who is known here, by a login from
// this browser or this network, has a count of his own: what strangers do
// elsewhere does not keep him out. All others share the count of the name, and
// that of their network.
type Attempt struct {
	Realm   string
	Policy  Policy
	Name    string // as somebody typed it
	User    string // id of the user that it means, "" for nobody
	Address string
	Browser string // session.Browser.Known of that user
	Now     time.Time
}

const (
	// knownFor is how long somebody is known from a network after a login.
	knownFor = 90 * 24 * time.Hour
	renewed  = 24 * time.Hour // how old that may become before it is written again
	// crowd is how many people a network stands for.
	crowd = 10
)

// place is where the user is known from.
func (a Attempt) place() string {
	if a.Browser != "" {
		return "known/" + a.User + "/browser/" + a.Browser
	}
	return "known/" + a.User + "/network/" + network(a.Address)
}

// verdict is what the counts say of an attempt.
type verdict struct {
	wait  time.Duration
	place counter   // where the user is known, or will be
	count []counter // that go up if the password is wrong
}

func (a Attempt) judge(tx storage.Tx) (v verdict, err error) {
	if a.User != "" {
		if v.place, err = read(tx, a.Realm, a.place(), a.Policy); err != nil {
			return v, err
		}
	}
	if a.Browser != "" || v.place.record.Known {
		v.count = []counter{v.place}
	} else {
		name, err := read(tx, a.Realm, slot("name", strings.ToLower(strings.TrimSpace(a.Name))), a.Policy)
		if err != nil {
			return v, err
		}
		from, err := read(tx, a.Realm, slot("network", network(a.Address)), a.Policy.times(crowd))
		if err != nil {
			return v, err
		}
		v.count = []counter{name, from}
	}
	for _, c := range v.count {
		v.wait = max(v.wait, c.policy.Wait(c.record.Count, a.Now))
	}
	return v, nil
}

// Wait tells how long the attempt has to wait, 0 for not at all. Whether there is
// such a user makes no difference.
func (a Attempt) Wait(tx storage.Tx) (time.Duration, error) {
	if a.Policy.Factor == 0 {
		return 0, nil
	}
	v, err := a.judge(tx)
	return v.wait, err
}

// Wrong counts the attempt, unless it has to wait: one that came at the same time as
// others is as good as not verified.
func (a Attempt) Wrong(tx storage.Tx) (time.Duration, error) {
	if a.Policy.Factor == 0 {
		return 0, nil
	}
	v, err := a.judge(tx)
	if err != nil || v.wait > 0 {
		return v.wait, err
	}
	for _, c := range v.count {
		if err := c.wrong(tx, a.Realm, a.Now); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// Right notes that the password was right, and that the user is known here. If the
// attempt has to wait it is as if it had not been.
func (a Attempt) Right(tx storage.Tx) (time.Duration, error) {
	if a.Policy.Factor == 0 {
		return 0, nil
	}
	v, err := a.judge(tx)
	if err != nil || v.wait > 0 {
		return v.wait, err
	}
	had := v.place.record
	if a.Browser != "" && !v.place.found || had.Known && had.Wrong == 0 && had.Expires.Sub(a.Now) > knownFor-renewed {
		return 0, nil
	}
	v.place.record = record{Known: true, Expires: a.Now.Add(knownFor)}
	return 0, v.place.write(tx, a.Realm)
}

// Own is a try whose guesser has a count of his own, whatever the realm's settings:
// at a user code, which has no name, or of a password by who is logged in.
type Own struct {
	Realm   string
	What    string // "code" or "password"
	User    string // who is logged in, "" for nobody
	Address string
	// Life of what is guessed, in which so many may be wrong (RFC 8628 §5.1).
	Life time.Duration
	Now  time.Time
}

// maxOwn tries that somebody may get wrong.
const maxOwn = 20

// counter is the user's, in all sessions, so that neighbours do not lock each
// other out; else the network's.
func (o Own) counter(tx storage.Tx) (counter, error) {
	p := Policy{Factor: maxOwn, Increment: o.Life, Max: o.Life, Forget: o.Life}
	if o.User != "" {
		return read(tx, o.Realm, o.What+"/"+o.User, p)
	}
	return read(tx, o.Realm, slot(o.What, network(o.Address)), p)
}

// Wait tells how long the try has to wait, 0 for not at all.
func (o Own) Wait(tx storage.Tx) (time.Duration, error) {
	c, err := o.counter(tx)
	return c.policy.Wait(c.record.Count, o.Now), err
}

// Wrong counts the try.
func (o Own) Wrong(tx storage.Tx) error {
	c, err := o.counter(tx)
	if err != nil {
		return err
	}
	return c.wrong(tx, o.Realm, o.Now)
}
