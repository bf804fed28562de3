package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/nightlatch/nightlatch/storage"
)

// RekeyConfig of Rekey.
type RekeyConfig struct {
	Store *storage.Store
	// File is the key file, which has to be writable, and its folder too.
	File string
	// Live is what this process, the only one, seals with while it goes on to use
	// the store: everything that it writes is sealed with the new key from the
	// moment on when that is on disk, and Rekey does the rest. nil: nobody else has
	// the store open.
	Live *Live
	// Progress, if not nil, is told now and then how many items were looked at in
	// a step: "sealing anew", then "verifying".
	Progress func(step string, items int)
}

// Rekeyed tells what Rekey did.
type Rekeyed struct {
	Resealed int // values that an older key had sealed
	Verified int // values that open with the new key alone
	Newest   KeyID
}

// Rekey replaces the sealing key of a store: it adds a key to the file, seals
// every value anew, makes sure that the new key alone opens all of them, and
// drops the others. No other process may have the store open. Derived keys stay,
// and so do all hashes, forms and sessions that hang on them.
//
// The order lets the process die at any instant: at each moment the key file on
// disk opens all that the store holds, and the same command again goes on. The
// key file as it was stands beside it, with ".old" behind its name, until the
// end.
//
//	file            note in the store   values
//	old             old                 old
//	old, new        old                 old
//	old, new        old, new            old, then more and more new
//	old, new        new                 new
//	new             new                 new
func Rekey(ctx context.Context, c RekeyConfig) (Rekeyed, error) {
	k, err := c.addKey(ctx)
	if err != nil {
		return Rekeyed{}, err
	}
	// From here on nobody starts with a file that lacks the new key.
	if err := Check(ctx, c.Store, k); err != nil {
		return Rekeyed{}, err
	}
	if c.Live != nil {
		if err := c.takeOver(ctx, k); err != nil {
			return Rekeyed{}, err
		}
	}
	r := Rekeyed{Newest: k.newest}
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
	err = c.Store.Converge(ctx, func(tx storage.Tx) error {
		return note{Fingerprint: newest.Fingerprint(), Keys: newest.holds}.put(tx)
	})
	if err != nil {
		return r, fmt.Errorf("noting the new sealing key: %w", err)
	}
	if err := newest.Save(c.File, true); err != nil {
		return r, err
	}
	if c.Live != nil {
		c.Live.exchange(newest)
	}
	if err := os.Remove(c.old()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("removing the old sealing key: %w", err)
	}
	return r, nil
}

// takeOver lets the process seal with the new key, and waits until nothing is
// written any more that was sealed before: transactions that run, and behind them,
// since commits come in order, those whose callers have left.
func (c RekeyConfig) takeOver(ctx context.Context, k *Keyset) error {
	if !k.opens(c.Live.Keyset()) {
		return fmt.Errorf("the key file %s is another one than the key in use: %w", c.File, ErrForeignKey)
	}
	c.Live.exchange(k)
	err := c.Store.Settle(ctx)
	if err == nil {
		err = c.Store.Converge(ctx, func(tx storage.Tx) error {
			return note{Fingerprint: k.Fingerprint(), Keys: k.holds}.put(tx)
		})
	}
	if err != nil {
		return fmt.Errorf("waiting for what is sealed with the old key: %w", err)
	}
	return nil
}

func (c RekeyConfig) old() string { return c.File + ".old" }

// addKey returns the keyset of the file with a key that seals nothing old. One
// with several keys was left by a Rekey that did not end: its newest is the one.
func (c RekeyConfig) addKey(ctx context.Context) (*Keyset, error) {
	k, err := Load(c.File)
	if err != nil {
		return nil, err
	}
	if len(k.holds) > 1 {
		return k, nil
	}
	if err := Check(ctx, c.Store, k); err != nil {
		return nil, err
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

// page is how many items one transaction looks at.
const page = 256

// reseal seals with the newest key whatever another one has sealed.
func (c RekeyConfig) reseal(ctx context.Context, k *Keyset) (total int, err error) {
	var after []byte
	limit := page
	for seen := 0; ; {
		var last []byte
		looked, resealed := 0, 0
		err := c.Store.Converge(ctx, func(tx storage.Tx) error {
			items, err := tx.Scan(nil, after, limit)
			if err != nil {
				return err
			}
			looked, resealed = len(items), 0
			for _, it := range items {
				last = bytes.Clone(it.Key)
				by, sealed := SealedWith(it)
				if !sealed || by == k.newest {
					continue
				}
				if err := k.renew(tx, it.Key); err != nil {
					return err
				}
				resealed++
			}
			return nil
		})
		if errors.Is(err, storage.ErrTooLarge) && limit > 1 {
			limit /= 2
			continue
		}
		if err != nil {
			return total, err
		}
		total, seen = total+resealed, seen+looked
		c.tell("sealing anew", seen)
		if looked < limit {
			return total, nil
		}
		after, limit = last, page
	}
}

// renew seals one item with the newest key. It reads it by Get, which guards it.
func (k *Keyset) renew(tx storage.Tx, key []byte) error {
	it, err := tx.Get(key)
	if err != nil {
		return err
	}
	plain, err := k.open(it)
	if err != nil {
		return err
	}
	if it.Value, err = k.Seal(it.Key, plain); err != nil {
		return err
	}
	return tx.Put(it)
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
