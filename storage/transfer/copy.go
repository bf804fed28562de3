package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/nightlatch/nightlatch/storage"
)

// Config of Copy.
type Config struct {
	From Source
	To   *storage.Store
	// What is done, in words that name the source: "copy of badger ./a". Who comes
	// with the same words goes on with a copy that was begun.
	What string
	// Begun, if not nil, is called when the target is known to be empty or a part
	// of this copy, before the first item; its error ends the copy.
	Begun func() error
	// Progress, if not nil, is told now and then how many items have passed in a
	// step: "copying", then "verifying".
	Progress func(step string, items int)
}

// Copy makes the target hold what the source holds, and verifies it. Nobody else
// may use either of them; both judge expiry by the same instant.
//
// The target is empty or a copy of the same source that did not come to its end,
// else the error is ErrNotEmpty or ErrUnfinished. A process that dies leaves a
// target that is marked (see Whole) and knows how far it is; the next Copy goes
// on there. If the source changed in between, or changes now, the checksums
// differ: then all is compared once more, and what is wrong in the target put
// right. ErrChanged: that did not help.
func Copy(ctx context.Context, c Config) (Sum, error) {
	if s, ok := c.From.(*storage.Store); ok {
		if err := Whole(ctx, s); err != nil {
			return Sum{}, fmt.Errorf("reading source: %w", err)
		}
	}
	if err := c.notEmpty(ctx); err != nil {
		return Sum{}, err
	}
	after, err := c.begin(ctx)
	if err != nil {
		return Sum{}, err
	}
	if c.Begun != nil {
		if err := c.Begun(); err != nil {
			return Sum{}, err
		}
	}
	for round := 1; ; round++ {
		if err := c.fill(ctx, after); err != nil {
			return Sum{}, fmt.Errorf("filling target: %w", err)
		}
		sum, same, err := c.verify(ctx)
		switch {
		case err != nil:
			return Sum{}, fmt.Errorf("verifying target: %w", err)
		case same:
			return sum, c.end(ctx)
		case round == 2:
			return Sum{}, ErrChanged
		}
		after = nil
	}
}

var errStop = errors.New("stop")

func (c Config) notEmpty(ctx context.Context) error {
	err := each(ctx, c.From, nil, func(storage.Item) error { return errStop })
	switch {
	case err == nil:
		return ErrEmpty
	case !errors.Is(err, errStop):
		return fmt.Errorf("reading source: %w", err)
	}
	return nil
}

// begin marks the target, or finds how far an earlier copy came.
func (c Config) begin(ctx context.Context) (after []byte, err error) {
	err = c.To.Converge(ctx, func(tx storage.Tx) error {
		m, err := readMark(tx)
		switch {
		case err != nil:
			return err
		case m == nil:
		case m.What != c.What:
			return fmt.Errorf("%w: it holds a part of another one, %s: go on with that, or empty it", ErrUnfinished, m.What)
		default:
			after = bytes.Clone(m.After)
			return nil
		}
		vacant, err := storage.Vacant(tx)
		if err != nil {
			return err
		}
		if !vacant {
			return ErrNotEmpty
		}
		return mark{What: c.What}.put(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("looking at target: %w", err)
	}
	return after, nil
}

// Limits of a batch, which is one transaction.
const (
	batchItems = 1000
	batchBytes = 1 << 20
)

// fill makes the target equal to the source behind a key.
func (c Config) fill(ctx context.Context, after []byte) error {
	var batch []storage.Item
	size, done := 0, 0
	flush := func() error {
		if err := c.write(ctx, after, batch); err != nil {
			return err
		}
		done += len(batch)
		c.tell("copying", done)
		after, batch, size = batch[len(batch)-1].Key, nil, 0
		return nil
	}
	err := each(ctx, c.From, after, func(it storage.Item) error {
		n := len(it.Key) + len(it.Value)
		if len(batch) > 0 && (len(batch) == batchItems || size+n > batchBytes) {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, it), size+n
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = flush()
	}
	if err == nil {
		err = c.truncate(ctx, after)
	}
	return err
}

// write makes the target hold nothing but the batch between after and the
// batch's last key.
func (c Config) write(ctx context.Context, after []byte, batch []storage.Item) error {
	last := batch[len(batch)-1].Key
	err := c.To.Converge(ctx, func(tx storage.Tx) error {
		have := map[string]storage.Item{}
		for from := after; ; {
			items, err := tx.Scan(nil, from, batchItems)
			if err != nil {
				return err
			}
			for _, it := range items {
				if bytes.Compare(it.Key, last) <= 0 && !stays(it.Key) {
					have[string(it.Key)] = it
				}
			}
			if len(items) < batchItems || bytes.Compare(items[len(items)-1].Key, last) >= 0 {
				break
			}
			from = items[len(items)-1].Key
		}
		for _, it := range batch {
			if old, ok := have[string(it.Key)]; !ok || !bytes.Equal(appendItem(nil, old), appendItem(nil, it)) {
				if err := tx.Put(it); err != nil {
					return err
				}
			}
			delete(have, string(it.Key))
		}
		for key := range have {
			if err := tx.Delete([]byte(key)); err != nil {
				return err
			}
		}
		return mark{What: c.What, After: last}.put(tx)
	})
	if half := len(batch) / 2; errors.Is(err, storage.ErrTooLarge) && half > 0 {
		if err := c.write(ctx, after, batch[:half]); err != nil {
			return err
		}
		return c.write(ctx, batch[half-1].Key, batch[half:])
	}
	return err
}

// truncate deletes what the target has behind the last key of the source.
func (c Config) truncate(ctx context.Context, last []byte) error {
	for after := last; ; {
		var end []byte
		err := c.To.Converge(ctx, func(tx storage.Tx) error {
			end = nil
			items, err := tx.Scan(nil, after, batchItems)
			if err != nil {
				return err
			}
			for _, it := range items {
				if stays(it.Key) {
					continue
				}
				if err := tx.Delete(it.Key); err != nil {
					return err
				}
			}
			if len(items) == batchItems {
				end = bytes.Clone(items[len(items)-1].Key)
			}
			return nil
		})
		if err != nil || end == nil {
			return err
		}
		after = end
	}
}

// verify reads both; if they differ, the next copy begins at the beginning.
func (c Config) verify(ctx context.Context) (sum Sum, same bool, err error) {
	want, err := SumOf(ctx, c.From, func(items int) { c.tell("verifying", items) })
	if err != nil {
		return Sum{}, false, err
	}
	sum, err = SumOf(ctx, c.To, func(items int) { c.tell("verifying", want.Items+items) })
	if err != nil || sum == want {
		return sum, err == nil, err
	}
	return sum, false, c.To.Converge(ctx, func(tx storage.Tx) error { return mark{What: c.What}.put(tx) })
}

func (c Config) end(ctx context.Context) error {
	if err := c.To.Converge(ctx, func(tx storage.Tx) error { return tx.Delete(markKey) }); err != nil {
		return fmt.Errorf("taking the mark off the target: %w", err)
	}
	return nil
}

func (c Config) tell(step string, items int) {
	if c.Progress != nil {
		c.Progress(step, items)
	}
}
