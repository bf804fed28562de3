package seal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// ErrUnready: a process that shares the store cannot open yet what the new key
// seals. Nothing was sealed with it.
var ErrUnready = errors.New("not every node has the new sealing key")

// RekeyConfig of Rekey.
type RekeyConfig struct {
	Store *storage.Store
	// File is the key file, which has to be writable, and its folder too.
	File string
	// Live is what this process seals with, if it goes on to use the store meanwhile.
	Live *Live
	// Lazily leaves what the old key has sealed until it is written anew, or until
	// Rekey is called again without it. Both keys stay in the file.
	Lazily bool
	// Progress, if not nil, is told now and then how many items were looked at in
	// a step: "waiting for nodes", "sealing anew", then "verifying".
	Progress func(step string, items int)
}

// Rekeyed tells what Rekey did.
type Rekeyed struct {
	Resealed int // values that an older key had sealed
	Verified int // values that open with the new key alone
	Newest   KeyID
}

// Rekey replaces the sealing key of a store: it adds a key to the file, lets
// everybody seal with it, seals every value anew, makes sure that the new key alone
// opens all of them, and drops the others. Derived keys stay, and so do all hashes,
// forms and sessions that hang on them.
//
// What the store says decides who seals with what, and every process that uses it
// says there which keys it opens (Live.Appear). So the new key seals nothing before
// all of them open it, and the old one is not dropped before all have turned away
// from it. ErrUnready names those who lack the new key: it is in the file by
// then, which has to take the place of theirs before Rekey is called again.
//
// The order lets this process, and any other, die at any instant: at each moment the
// key file on disk opens all that the store holds, and the same again goes on.
// The key file as it was stands beside it, with ".old" behind its name, until the
// end.
//
//	file            note in the store     values
//	old             old                   old
//	old, new        old                   old, until everybody has the file
//	old, new        old, new; new seals   old, then more and more new
//	old, new        new                   new
//	new             new                   new
//
// A file with several keys is one of a Rekey that has not come to its end, here or
// elsewhere: its newest key is the one.
func Rekey(ctx context.Context, c RekeyConfig) (Rekeyed, error) {
	k, err := c.addKey(ctx)
	if err != nil {
		return Rekeyed{}, err
	}
	if err := c.learn(ctx, k); err != nil {
		return Rekeyed{}, err
	}
	r := Rekeyed{Newest: k.newest}
	if err := c.turn(ctx, k); err != nil {
		return r, err
	}
	if err := c.await(ctx, k); err != nil {
		return r, fmt.Errorf("waiting for what is sealed with the old key: %w", err)
	}
	if c.Lazily {
		return r, nil
	}
	if r.Resealed, err = c.reseal(ctx, k); err != nil {
		return r, fmt.Errorf("sealing anew: %w", err)
	}
	newest, err := k.NewestOnly()
	if err != nil {
		return r, err
	}
	if r.Verified, err = c.verify(ctx, newest); err != nil {
		return r, fmt.Errorf("verifying the new sealing key: %w; the old one is still in %s", err, c.File)
	}
	err = c.update(ctx, k, func(tx storage.Tx) error {
		return note{Fingerprint: k.Fingerprint(), Keys: newest.holds, Seals: k.newest}.put(tx)
	})
	if err != nil {
		return r, fmt.Errorf("noting the new sealing key: %w", err)
	}
	if err := newest.Save(c.File, true); err != nil {
		return r, err
	}
	if err := c.learn(ctx, newest); err != nil {
		return r, err
	}
	if err := os.Remove(c.old()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("removing the old sealing key: %w", err)
	}
	return r, nil
}

// learn hands the keys of the file to this process, if it goes on to use the store.
func (c RekeyConfig) learn(ctx context.Context, k *Keyset) error {
	if c.Live == nil {
		return nil
	}
	if c.Live.File().Fingerprint() != k.Fingerprint() {
		return fmt.Errorf("the key file %s is another one than the key in use: %w", c.File, ErrForeignKey)
	}
	return c.Live.Learn(ctx, c.Store, k)
}

// turn lets the newest key seal from now on, if everybody opens it. Who comes later
// without it is refused (Open, Appear).
func (c RekeyConfig) turn(ctx context.Context, k *Keyset) error {
	var behind []string
	err := c.Store.Converge(ctx, func(tx storage.Tx) error {
		behind = nil
		n, err := readNote(tx, k)
		if err == nil {
			err = n.fits(k)
		}
		if err != nil || n.Seals == k.newest {
			return err
		}
		all, err := others(tx)
		if err != nil {
			return err
		}
		for _, o := range all {
			if !slices.Contains(o.Opens, k.newest) {
				behind = append(behind, o.Is)
			}
		}
		if len(behind) > 0 {
			return ErrUnready
		}
		return n.sealedBy(k.newest).put(tx)
	})
	if len(behind) > 0 && errors.Is(err, ErrUnready) {
		slices.Sort(behind)
		return fmt.Errorf("%w: %s cannot open what key %s seals: give them the key file %s, and reload them with it; nothing is sealed with the new key until all have it", ErrUnready, strings.Join(behind, ", "), k.newest, c.File)
	}
	if err != nil {
		return fmt.Errorf("beginning with the new sealing key: %w", err)
	}
	return nil
}

// others are the processes that share the store and seal what they write.
func others(tx storage.Tx) ([]attendant, error) {
	present, err := storage.Present(tx)
	if err != nil {
		return nil, err
	}
	var all []attendant
	for _, p := range present {
		a := attendant{Is: "node " + p.Node} // of a version that does not say more
		if len(p.Says) > 0 {
			if err := json.Unmarshal(p.Says, &a); err != nil {
				return nil, fmt.Errorf("reading what node %s says of its sealing key: %w", p.Node, err)
			}
		}
		if !a.Bystander {
			all = append(all, a)
		}
	}
	return all, nil
}

// lookEvery is how often others are asked whether they have turned to a new key.
const lookEvery = 100 * time.Millisecond

// await returns when nobody seals with another key than the newest, and nothing is
// under way that was sealed before: neither transactions that run nor behind them,
// since commits of a process come in order, those whose callers have left.
func (c RekeyConfig) await(ctx context.Context, k *Keyset) error {
	if c.Live != nil {
		if _, err := c.Live.Follow(ctx, c.Store); err != nil {
			return err
		}
		err := c.update(ctx, k, func(tx storage.Tx) error {
			n, err := readNote(tx, k)
			if err != nil {
				return err
			}
			return n.put(tx)
		})
		if err != nil {
			return err
		}
	}
	for {
		waiting := 0
		err := c.Store.View(ctx, func(tx storage.Tx) error {
			waiting = 0
			all, err := others(tx)
			for _, o := range all {
				if o.Seals != k.newest {
					waiting++
				}
			}
			return err
		})
		if err != nil || waiting == 0 {
			return err
		}
		c.tell("waiting for nodes", waiting)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lookEvery):
		}
	}
}

// update writes as long as the newest key is the one that seals: another Rekey may
// have begun with a newer one.
func (c RekeyConfig) update(ctx context.Context, k *Keyset, fn func(storage.Tx) error) error {
	return c.Store.Converge(ctx, func(tx storage.Tx) error {
		n, err := readNote(tx, k)
		if err != nil {
			return err
		}
		if n.Seals != k.newest {
			return fmt.Errorf("the store is sealed with key %s by now, not with %s: it was rekeyed meanwhile", n.Seals, k.newest)
		}
		return fn(tx)
	})
}

func (c RekeyConfig) old() string { return c.File + ".old" }

// addKey returns the keyset of the file with a key that seals nothing old.
func (c RekeyConfig) addKey(ctx context.Context) (*Keyset, error) {
	k, err := Load(c.File)
	if err != nil {
		return nil, err
	}
	if err := Check(ctx, c.Store, k); err != nil {
		return nil, err
	}
	if len(k.holds) > 1 {
		return k, nil
	}
	if err := c.keep(k); err != nil {
		return nil, err
	}
	if k, err = k.WithNewKey(); err != nil {
		return nil, err
	}
	return k, k.Save(c.File, true)
}

// keep writes the key file as it is to a second place. A file that an earlier
// Rekey left there is replaced, anybody else's is not.
func (c RekeyConfig) keep(k *Keyset) error {
	switch left, err := Load(c.old()); {
	case errors.Is(err, fs.ErrNotExist):
		return k.Save(c.old(), false)
	case err != nil:
		return err
	case left.Fingerprint() != k.Fingerprint():
		return fmt.Errorf("keeping the old sealing key: %s is there already and belongs to another store: move it away", c.old())
	}
	return k.Save(c.old(), true)
}

// page is how many values one transaction seals anew: few, so that it meets few of
// those who work beside it.
const page = 64

// reseal seals with the newest key whatever another one has sealed, and deletes what
// has expired: nobody will write that anew.
func (c RekeyConfig) reseal(ctx context.Context, k *Keyset) (total int, err error) {
	var old [][]byte
	flush := func() error {
		n, err := c.renew(ctx, k, old)
		total, old = total+n, nil
		return err
	}
	seen := 0
	err = c.Store.Each(ctx, nil, func(it storage.Item) (err error) {
		if by, sealed := SealedWith(it); sealed && by != k.newest {
			old = append(old, it.Key)
		}
		if len(old) == page {
			err = flush()
		}
		if seen++; seen%page == 0 {
			c.tell("sealing anew", seen)
		}
		return err
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		c.tell("sealing anew", seen)
		err = c.Store.Sweep(ctx)
	}
	return total, err
}

// renew seals some items with the newest key. It reads them by GetMany, which guards
// them.
func (c RekeyConfig) renew(ctx context.Context, k *Keyset, keys [][]byte) (total int, err error) {
	for limit := len(keys); len(keys) > 0; {
		some, renewed := keys[:min(limit, len(keys))], 0
		err := c.update(ctx, k, func(tx storage.Tx) error {
			renewed = 0
			items, err := tx.GetMany(some)
			if err != nil {
				return err
			}
			for _, it := range items {
				if by, sealed := SealedWith(it); !sealed || by == k.newest {
					continue // gone, or written meanwhile
				}
				plain, err := k.open(it)
				if err != nil {
					return err
				}
				if it.Value, err = k.Seal(it.Key, plain); err != nil {
					return err
				}
				if err := tx.Put(it); err != nil {
					return err
				}
				renewed++
			}
			return nil
		})
		switch {
		case errors.Is(err, storage.ErrTooLarge) && limit > 1:
			limit /= 2
			continue
		case err != nil:
			return total, err
		}
		total, keys = total+renewed, keys[len(some):]
	}
	return total, nil
}

// verify opens every sealed value.
func (c RekeyConfig) verify(ctx context.Context, k *Keyset) (opened int, err error) {
	seen := 0
	err = c.Store.Each(ctx, nil, func(it storage.Item) error {
		if seen++; seen%page == 0 {
			c.tell("verifying", seen)
		}
		if _, sealed := SealedWith(it); !sealed {
			return nil
		}
		opened++
		_, err := k.open(it)
		return err
	})
	return opened, err
}

// open names the table of a value that does not open; its key may tell more than
// a log should hold.
func (k *Keyset) open(it storage.Item) ([]byte, error) {
	plain, err := k.Open(it.Key, it.Value)
	if err != nil {
		by, _ := SealedWith(it)
		table, _ := storage.TableOf(it.Key)
		return nil, fmt.Errorf("a record of table %s, sealed with key %s, does not open with the keys %v: %w", table, by, k.holds, err)
	}
	return plain, nil
}

func (c RekeyConfig) tell(step string, items int) {
	if c.Progress != nil {
		c.Progress(step, items)
	}
}
